-- Secrets of persons.  The web role writes boxes; only the secrets role reads one.

-- name: secret_list idempotent
select name, created_at, updated_at, last_used_at from user_secret where owner_id = $1::int order by name;

-- name: secret_known idempotent
-- Which of $2 text[] the person $1 has.
select name from user_secret where owner_id = $1::int and name = any($2::text[]);

-- name: secret_put
-- $1 owner, $2 name, $3 box, $4 its key: makes or replaces; a person has at most $5.  No row: there are
-- so many, or the key is active no more.
insert into user_secret(owner_id, name, sealed, key_id)
select $1::int, $2::text, $3::bytea, k.id
from sealing_key k
where k.id = $4::int and k.state = 'active' and k.purpose = 'secrets'
  and ((select count(*) from user_secret where owner_id = $1) < $5::int
    or exists (select from user_secret where owner_id = $1 and name = $2))
on conflict (owner_id, name) do update
  set sealed = $3, key_id = $4, sealed_version = user_secret.sealed_version + 1, updated_at = now()
returning name, created_at, updated_at, last_used_at, sealed_version = 1 as made;

-- name: secret_remove
delete from user_secret where owner_id = $1::int and name = $2 returning id;

-- name: secret_of_lease idempotent
-- $1 token hash, $2 worker, $3 lease.  No row: nobody has this token.  held: the session holds this lease
-- now.  One row each secret that its job names; id null: its owner has none of that name (any more).
select s.id as session_id, s.state, l.id is not null as held, l.id as job_id, l.owner_id, w.name, u.id, u.sealed, u.key_id
from session s
left join lateral (
  select id, owner_id from job_lease where session_id = s.id and lease = $3::uuid) l on true
left join lateral (
  select t.name, t.k from job j, unnest(j.secrets) with ordinality t(name, k)
  where j.id = l.id and j.owner_id = l.owner_id) w on true
left join user_secret u on u.owner_id = l.owner_id and u.name = w.name
where s.token_hash = $1 and s.worker_id = $2::bigint
order by w.k;

-- name: secret_given
-- Secrets $1 int[] of person $2 went to a job: object $3, detail $4; $5 address, $6 request, $7 action.
-- The last use is kept to the minute, so that one that a thousand jobs use is not written a thousand times.
with used as (
  update user_secret set last_used_at = now()
  where id = any($1::int[]) and coalesce(last_used_at < now() - interval '1 minute', true))
insert into audit(user_id, token_id, action, object, detail, address, request_id)
values ($2::int, null, $7, $3, $4::jsonb, $5, $6);

-- name: secret_stale idempotent
-- For a rotation: at most $3 boxes above id $2 that are not sealed to key $1.
select id, owner_id, name, sealed, key_id, sealed_version from user_secret
where key_id <> $1::int and id > $2::int order by id limit $3::int;

-- name: secret_reseal
-- The same value under another key, unless it was replaced meanwhile: $1 id, $2 version and $3 key as they
-- were read, $4 the new box, $5 its key.  No row: it was.
update user_secret set sealed = $4, key_id = $5::int
where id = $1::int and sealed_version = $2::int and key_id = $3::int returning id;

-- name: secret_keys idempotent
-- How many boxes are sealed to each key.
select key_id, count(*) as boxes from user_secret group by key_id order by key_id;
