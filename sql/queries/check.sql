-- Looking at accounts: are their credentials good, what hours are left, what is there of ours.

-- name: check_claim
-- The account of these drivers ($1) that is due, for $2 seconds, by $3.  Replaced credentials are due at
-- once: checked_version is cleared, so that they are claimed once.
with due as materialized (
  select a.id, a.sealed_version, a.checked_version from account a
  where a.driver = any($1::text[]) and a.deleted_at is null and (a.key_id is not null or a.start = 'browser') and a.status <> 'disabled'
    and not (a.status = 'needs_human' and a.refused_code = 'denylisted' and a.checked_version = a.sealed_version)
    and (a.check_at <= now() or (a.checked_version is not null and a.checked_version <> a.sealed_version))
  order by a.check_at limit 1 for no key update skip locked)
update account a set check_at = now() + make_interval(secs => $2::float8), claimed_by = $3, hurried = false,
  checked_version = case when d.checked_version = d.sealed_version then d.checked_version end
from due d where a.id = d.id
returning a.id, a.owner_id, a.driver as provider, a.sealed_version, a.identity,
  coalesce(a.swept_at < now() - interval '1 hour', true) as sweep, a.sweep_from,
  exists (select from worker w where w.account_id = a.id and w.state <> 'deleted') as used;

-- name: check_ok
-- The credentials of version $2 are those of user $3.  When the next look is, check_done says.  No row:
-- they were replaced meanwhile.
with old as materialized (
  select id, owner_id, status, checked_version, sealed_version from account
  where id = $1::int and sealed_version = $2::int and deleted_at is null for no key update),
a as (
  update account set status = 'ok', reason = null, identity = $3, checked_version = $2, checked_at = now(), updated_at = now()
  where id = any(array(select id from old)) returning id),
e as (
  insert into event(owner_id, topic, what, subjects)
  select owner_id, 'account', 'ok', array[id::bigint] from old where status <> 'ok' or checked_version is distinct from sealed_version)
select o.id, o.status <> 'ok' or o.checked_version is distinct from o.sealed_version as turned from old o join a on a.id = o.id;

-- name: check_refused
-- Until a person acts ($3 a sentence) the credentials of version $2 are of no use, or ($5 'account') the account
-- starts nothing; asked again in $4 seconds.
with old as materialized (
  select id, owner_id, status, checked_version, refused_code from account
  where id = $1::int and sealed_version = $2::int and deleted_at is null for no key update),
a as (
  update account set status = 'needs_human', reason = $3, refused_code = $5, checked_version = $2, checked_at = now(), updated_at = now(),
    claimed_by = null, check_at = now() + make_interval(secs => $4::float8)
  where id = any(array(select id from old)) returning id)
insert into event(owner_id, topic, what, subjects)
select owner_id, 'account', 'needs_human', array[id::bigint] from old
where status <> 'needs_human' or checked_version is distinct from $2 or refused_code <> $5
returning subjects;

-- name: check_done
-- All of the check was made.  The next is soon if somebody asked for it meanwhile, in $4 seconds while a sweep goes
-- on, in $2 while something of it runs, else in $3.
update account set claimed_by = null, hurried = false, check_at = now() + make_interval(secs => case
  when hurried then greatest(0, 30 - extract(epoch from now() - checked_at)::float8)
  when sweep_from is not null then $4::float8
  when exists (select from session s where s.account_id = $1::int and s.state <> 'ended') then $2::float8
  else $3::float8 end)
where id = $1 and checked_version = sealed_version;

-- name: check_within
-- Something of it runs: its hours are asked for in $2 seconds at the latest.
update account set check_at = least(check_at, now() + make_interval(secs => $2::float8)) where id = $1::int;

-- name: check_later
-- Nothing was learnt.
update account set claimed_by = null, check_at = now() + make_interval(secs => $2::float8) where id = $1::int;

-- name: check_failed
-- Nothing was learnt, for its provider did not answer: again when its circuit lets a call through, else in $2 seconds.
update account a set claimed_by = null, check_at = coalesce(
  (select c.open_until from account_circuit c where c.account_id = a.id and c.open_until > now()), now() + make_interval(secs => $2::float8))
where a.id = $1::int;

-- name: account_workers_free
-- Workers that waited for this account's credentials go on.
with w as (
  update worker set state = 'waiting', reason_code = 'account', reason = 'Its account is good again; it starts soon.',
    version = version + 1, updated_at = now()
  where account_id = $1::int and desired = 'running' and state = 'needs_human' and (reason_code in ('credentials', 'account')
    or (reason_code = 'compute_units' and exists (select from account a where a.id = $1::int and a.paid_at is not null)))
  returning id, owner_id)
insert into event(owner_id, topic, what, subjects, data)
select owner_id, 'worker', 'waiting', array_agg(id::bigint), jsonb_build_object('reasonCode', 'account') from w group by owner_id
returning subjects;

-- name: account_hurry
-- Steps and looks of this account that were put off are due.
with p as (
  update session_poll set due = case when claimed_by is null then least(due, now()) else due end, hurried = claimed_by is not null
  where session_id = any(array(
    select session_id from session_poll p join session s on s.id = p.session_id where s.account_id = $1::int)))
update operation o set next_try_at = least(o.next_try_at, now())
from worker w where w.account_id = $1 and w.state <> 'deleted' and o.worker_id = w.id and o.state = 'open';

-- name: account_swept
-- $2 where it goes on the next time ('' = at the beginning, for it did not get far); null = all was seen.
update account set swept_at = case when $2::text is null then now() else swept_at end, sweep_from = $2 where id = $1::int;

-- name: sweep_known idempotent
-- Of these intents ($2) at account $1, what we know of each.
select t.intent, s.id as session_id, s.worker_id, s.account_id = $1::int as ours, s.provider_ref is not null as referenced, w.state = 'deleted' as deleted
from unnest($2::uuid[]) t(intent) left join session s on s.intent = t.intent left join worker w on w.id = s.worker_id;

-- name: sweep_removed
insert into decision(kind, subject, reason, inputs)
values ('stop', 'account ' || $1::int, $2, jsonb_build_object('intent', $3::text, 'reference', $4::jsonb));
