-- Accounts whose provider refuses new sessions for a while; the work is done by the functions of
-- sql/migrations/0019_cooldown.sql.

-- name: cooldown_enter
-- Whether a session of account $1 and resource $2 may be asked for now: no row = yes.
select wait, until, code, reason from cooldown_enter($1::int, $2);

-- name: cooldown_refused
-- $3 capacity or quota, $4 what its provider said.  wait null: no matter of cooling down.
select cooldown_refused($1::int, $2, $3, $4) as wait;

-- name: cooldown_begun
-- It took one; over: after refusals.
select cooldown_begun($1::int, $2) as over;

-- name: cooldown_hurry
-- Those who wait for account $1 to take sessions are due.
update operation o set next_try_at = least(o.next_try_at, now())
from worker w
where w.account_id = $1::int and w.state = 'waiting' and w.reason_code in ('capacity', 'quota') and o.worker_id = w.id and o.state = 'open';
