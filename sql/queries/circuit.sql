-- Accounts as calls see them, and whether their provider answers for them just now.

-- name: account_open idempotent
-- All that a call needs to know before it is made.  wait: seconds until the next call may be made;
-- null = now.
select a.id, a.owner_id, a.provider, null as email, a.sealed, a.key_id, a.sealed_version, a.identity, a.reason,
  case when a.checked_version is distinct from a.sealed_version then 'unchecked' else a.status end as status,
  a.paid_at is not null as paid, a.refused_code, a.deleting_at is not null as deleting, a.deleted_at is not null as deleted, coalesce(c.failures, 0) as failures,
  case when c.open_until > now() then extract(epoch from c.open_until - now())::float8 end as wait,
  c.reason as circuit_reason, (select id from installation) as installation
from account a left join account_circuit c on c.account_id = a.id
where a.id = $1::int;

-- name: account_open_browser idempotent
-- The same of an account that a browser signs in, for who may see no box.
select a.id, a.owner_id, a.provider, a.email, null::bytea as sealed, null::int as key_id, a.sealed_version, a.identity, a.paid_at is not null as paid, a.reason,
  case when a.checked_version is distinct from a.sealed_version then 'unchecked' else a.status end as status,
  a.refused_code, a.deleting_at is not null as deleting, a.deleted_at is not null as deleted, coalesce(c.failures, 0) as failures,
  case when c.open_until > now() then extract(epoch from c.open_until - now())::float8 end as wait,
  c.reason as circuit_reason, (select id from installation) as installation
from account a left join account_circuit c on c.account_id = a.id
where a.id = $1::int and a.start = 'browser';

-- name: circuit_probe
-- After failures one call at a time finds out whether it answers again: no row = another does.
update account_circuit set open_until = now() + make_interval(secs => $2::float8), updated_at = now()
where account_id = $1::int and open_until <= now()
returning account_id;

-- name: circuit_fail
-- No call for $2 seconds, as the provider said; else for $3 · 2^n, at most $4, and a little by chance.
-- Of failures that were under way together one counts, and the probe's ($7) always.
insert into account_circuit as c(account_id, failures, open_until, code, reason)
values ($1::int, 1, now() + make_interval(secs => coalesce($2::float8, $3::float8 * (1 + random() / 5))), $5, $6)
on conflict (account_id) do update set
  failures = least(c.failures + ($7::boolean or c.open_until <= now())::int, 30000),
  open_until = case when $7 or c.open_until <= now()
    then now() + make_interval(secs => coalesce($2, least($4::float8, $3 * 2 ^ least(c.failures, 20)) * (1 + random() / 5)))
    else greatest(c.open_until, now() + make_interval(secs => $2)) end,
  code = excluded.code, reason = excluded.reason, updated_at = now();

-- name: circuit_close
delete from account_circuit where account_id = $1::int;
