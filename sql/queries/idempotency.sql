-- name: idempotency_lock
-- Held to the end of the transaction: two requests with one key do not wait for each other.
select pg_try_advisory_xact_lock(hashtextextended(format('%s %s %s', $1::int, $2::text, $3::text), 7)) as locked;

-- name: idempotency_get
-- A row older than a day counts no more; the sweep removes it.
select body_hash, status, reply, object from idempotency
where user_id = $1 and route = $2 and key = $3 and created_at > now() - interval '1 day';

-- name: idempotency_put
insert into idempotency(user_id, route, key, body_hash) values ($1, $2, $3, $4)
on conflict (user_id, route, key) do update
set body_hash = excluded.body_hash, status = null, reply = null, object = null, created_at = now();

-- name: idempotency_done
update idempotency set status = $4, reply = $5, object = $6
where user_id = $1 and route = $2 and key = $3;
