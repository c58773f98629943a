-- Sealing keys: see domain/keys.h.

-- name: key_hold
-- Until the transaction ends no key of the purpose is retired.  A statement of its own before
-- key_to_use, whose snapshot must be later than the lock.
select pg_advisory_xact_lock_shared(hashtext('gpupool.keys'), hashtext($1));

-- name: key_to_use idempotent
select id, public_key from sealing_key where purpose = $1 and state = 'active' order by id desc limit 1;

-- name: keys_lock
-- One rotation of a purpose at a time, until the connection ends.
select pg_try_advisory_lock(hashtext('gpupool.keys.rotate'), hashtext($1)) as locked;

-- name: keys_unlock
select pg_advisory_unlock(hashtext('gpupool.keys.rotate'), hashtext($1));

-- name: keys_list idempotent
select id, public_key, state, (extract(epoch from created_at) * 1000)::bigint as created_ms from sealing_key where purpose = $1 order by id;

-- name: key_next idempotent
-- An id that is no key's, of any purpose.
select coalesce(max(id), 0) + 1 as id from sealing_key;

-- name: key_add
-- No row: somebody else made one of this id just now.
insert into sealing_key(id, public_key, state, purpose) values ($1, $2::bytea, $3, $4) on conflict do nothing returning id;

-- name: key_activate
update sealing_key set state = 'active' where id = $1::int and purpose = $2 and state = 'new' returning id;

-- name: keys_awaited idempotent
-- Programs that were alive within $3 seconds and have not said that they hold key $1 of the purpose $2.
select name, count(*) over () as missing from instance
where purpose = $2 and seen_at > now() - make_interval(secs => $3::int) and not $1::int = any(keys)
order by name limit 1;

-- name: key_retire_try
-- False: somebody seals just now.  Before key_retire, in one transaction.
select pg_try_advisory_xact_lock(hashtext('gpupool.keys'), hashtext($1)) as locked;

-- What is sealed for the purpose "credentials": accounts.  Each of these has the same parameters
-- for the other purposes' tables, which other roles may read.

-- name: key_account_uses idempotent
select key_id, count(*) as boxes from account where key_id is not null group by key_id;

-- name: key_account_retire
-- What the active key $1 follows, where nothing is sealed to it any more.
update sealing_key k set state = 'retired'
where k.purpose = $2 and k.state = 'active' and k.id < $1::int and not exists (select from account a where a.key_id = k.id)
returning k.id;

-- name: key_accounts idempotent
-- Boxes sealed to a key that is neither $1 nor newer, above id $2, $3 at most.
select id, sealed, key_id, sealed_version from account where sealed is not null and key_id < $1::int and id > $2::int order by id limit $3::int;

-- name: key_account_move
-- Only where nobody replaced the credentials meanwhile.
update account set sealed = $4::bytea, key_id = $5::int where id = $1::int and sealed_version = $2::int and key_id = $3::int returning id;

-- name: key_secret_retire
-- The same for the purpose "secrets"; its other statements are in secret.sql.
update sealing_key k set state = 'retired'
where k.purpose = $2 and k.state = 'active' and k.id < $1::int and not exists (select from user_secret u where u.key_id = k.id)
returning k.id;
