-- The ledger of accounts' hours.  The work is done by the functions of sql/migrations/0004_ledger.sql; all
-- but quota_list run under the account's lock.

-- name: quota_settle
-- Takes the account's lock and brings its ledger to the present.  at: when that is.
select settled, cut, at from quota_settle($1::int);

-- name: quota_offer
-- What account $1 may have of accelerator $2 at $3, the time of quota_settle in this transaction.
-- No resource: the provider takes any name.  free: the lowest slot that nobody has.
select exists (select from provider_accelerator t where t.provider = a.provider) as listed, x.resource, x.usable, x.note,
  l.resource is not null as limited, l.session_seconds - l.session_margin_seconds as session_seconds, l.min_session_seconds,
  l.concurrent, v.live, v.ends_in,
  (select min(n) from generate_series(1, coalesce(l.concurrent, v.live + 1)) n where n <> all (v.slots)) as free,
  q.limit_seconds, q.used_seconds, q.reserved_seconds, q.resets_at, extract(epoch from q.resets_at - $3::timestamptz)::float8 as resets_in,
  q.limit_seconds::bigint - q.margin_seconds - q.used_seconds - q.reserved_seconds - q.elsewhere_seconds as left_seconds,
  b.left_seconds as budget_left, b.unpriced as budget_unpriced, b.month_seconds, b.month_micros, b.currency, b.month_ends,
  extract(epoch from b.month_ends - $3::timestamptz)::float8 as month_ends_in
from account a
left join provider_accelerator x on x.provider = a.provider and lower(x.name) = lower($2)
left join provider_limit l on l.provider = a.provider and l.resource = x.resource
left join lateral quota_week(a.id, l.resource, $3::timestamptz) q on true
left join lateral budget_offer(a.id, $2, $3::timestamptz) b on true
cross join lateral (
  select count(*)::int as live, coalesce(array_agg(r.slot::int), '{}') as slots,
    extract(epoch from min(r.reserved_at + make_interval(secs => r.granted_seconds)) - $3::timestamptz)::float8 as ends_in
  from reservation r where r.account_id = a.id and r.resource = l.resource and r.settled_at is null) v
where a.id = $1::int;

-- name: quota_attach
-- The reservation of session $1: account $2, resource $3, slot $4, end of its week $5 or null, seconds $6 or null.
with r as (
  insert into reservation(session_id, account_id, resource, slot, resets_at, granted_seconds, reserved_at)
  values ($1, $2, $3, $4, $5, $6, quota_clock())
  returning session_id, account_id, resource, resets_at, granted_seconds),
q as (
  update quota q set reserved_seconds = q.reserved_seconds + r.granted_seconds
  from r where q.account_id = r.account_id and q.resource = r.resource and q.resets_at = r.resets_at)
update session s set resource = r.resource from r where s.id = r.session_id returning s.id;

-- name: quota_due
-- Accounts, $1 at most, where a run is over and not settled, or that live over their week, or that run under
-- limits of their provider's policy that have changed.
select distinct r.account_id
from reservation r
join session s on s.id = r.session_id
join account a on a.id = r.account_id
left join provider_limit l on l.provider = a.provider and l.resource = r.resource
left join quota q on q.account_id = r.account_id and q.resource = r.resource and q.resets_at = r.resets_at
where r.settled_at is null and (quota_over(s, r.granted_seconds, quota_clock()) is not null or r.resets_at <= quota_clock()
  or (r.resets_at is null and l.week_seconds is not null)
  or (q.told_limit is null and q.limit_seconds <> l.week_seconds) or q.margin_seconds <> l.week_margin_seconds)
order by r.account_id limit $1::int;

-- name: quota_tell
select quota_tell($1::int, $2, $3::int, to_timestamp($4::float8), $5::int, $6::int) as cut;

-- name: quota_list idempotent
-- $1 principal, $2 sees all; account $3 or null; above id $4, $5 at most.  A row a resource.
select a.id, a.provider, a.label, a.owner_id, u.name as owner, n.*,
  (select cooldown_doc(c) from account_cooldown c where c.account_id = a.id and c.resource = n.resource) as cool_down,
  extract(epoch from (select quota_clock()))::bigint as now_seconds, extract(epoch from n.resets_at)::bigint as resets_seconds
from (
  select a.id, a.provider, a.label, a.owner_id from account a
  where (a.owner_id = $1::int or $2::boolean) and ($3::bigint is null or a.id = $3) and a.id > $4::bigint and a.deleted_at is null
    and exists (select from provider_limit l where l.provider = a.provider)
  order by a.id limit $5::bigint) a
join users u on u.id = a.owner_id
join quota_now n on n.account_id = a.id
order by a.id, array_position(array['gpu', 'tpu', 'cpu'], n.resource);

-- name: budget_fit
-- Takes over what account $1 may cost a month, where that has changed.
select cut, changed from budget_fit($1::int);
