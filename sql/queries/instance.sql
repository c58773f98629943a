-- Programs that open sealed boxes say every few seconds which private keys they have.

-- name: instance_seen idempotent
-- $1 name, $2 purpose, $3 text[] providers, $4 int[] keys.
insert into instance(name, purpose, providers, keys) values ($1, $2, $3::text[], $4::int[])
on conflict (name) do update set providers = excluded.providers, keys = excluded.keys, seen_at = now();

-- name: instance_gone idempotent
delete from instance where name = $1;

-- name: instance_sweep idempotent
-- Those of purpose $1 that were not seen for $2 seconds.
delete from instance where purpose = $1 and seen_at < now() - make_interval(secs => $2::int);
