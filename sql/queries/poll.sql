-- Runs at providers elsewhere, watched one by one.  A row of session_poll lives from the moment a run
-- is known until the provider has said that it is over and what it left is kept.  To claim a row is
-- to move its time; of one who died with it another of its host gives it up, or else it loses that time.

-- name: session_ran_remote
-- As session_ran, and the run is watched from now on; also one that was taken for never begun.
with s as (
  update session set provider_ref = $2::jsonb, over_at = case when provider_ref is not null then over_at end
  where id = $1::bigint returning id, worker_id, driver),
poll as (
  insert into session_poll(session_id, provider, due) select id, driver, now() + make_interval(secs => $4::float8) from s
  on conflict do nothing)
update worker w set url = $3, version = version + 1, updated_at = now()
from s where w.id = s.worker_id and w.session_id = s.id and w.url is distinct from $3;

-- name: session_launched
-- Just before the start of session $1 is sent, by whoever has claimed ($3) its step $2: the step is
-- locked, so that one who takes it over sees this time, and one from whom it was taken does not start.
-- No row: the session is over, its agent is there, or the step is another's by now.
with s as materialized (
  select id, worker_id from session
  where id = $1::bigint and state = 'starting' and registered_at is null for update),
o as materialized (
  select o.id from s cross join lateral (
    select id from operation where id = $2::bigint and worker_id = s.worker_id and state = 'open' and claimed_by = $3 for update) o)
update session set launched_at = now(), over_at = null
where id = any(array(select id from s)) and exists (select from o)
returning id;

-- name: poll_claim
-- The run that has been due longest of these drivers ($1), for $2 seconds, by $4; $3 grace.  `unwanted`:
-- seconds since it should have ended (its session has, it is past its deadline, or its worker is
-- wanted otherwise); null = it may run.
with due as materialized (
  select p.session_id, p.failures, p.phase, extract(epoch from now() - p.since)::float8 as phase_for
  from session_poll p where p.provider = any($1::text[]) and p.due <= now()
  order by p.due limit 1 for update skip locked),
taken as (
  update session_poll set due = now() + make_interval(secs => $2::float8), claimed_by = $4, hurried = false
  where session_id = any(array(select session_id from due)))
select d.*, s.worker_id, s.account_id, s.driver as provider, s.intent, s.provider_ref, s.resource,
  exists (select from job_lease j where j.session_id = s.id) as busy,
  s.state = 'ended' as ended, s.registered_at is not null as registered, s.over_at is not null as over, s.outputs_at is not null as kept,
  extract(epoch from now() - s.over_at)::float8 as over_for,
  s.got <> '{}' and not coalesce(s.resource = any(s.got) or s.resource = 'cpu', true) as got_none,
  a.gets && s.got as got_asked, array_to_string(a.gets, ' or ') as gets, a.gpus as asked_gpus, a.gpu_memory as asked_memory,
  coalesce(s.capabilities #>> '{gpus,0,name}', array_to_string(s.got, ', ')) as got, s.gpu_memory as got_memory,
  case jsonb_typeof(s.capabilities -> 'gpus') when 'array' then jsonb_array_length(s.capabilities -> 'gpus') else 0 end as got_gpus,
  w.session_id = s.id as current, w.desired, w.state as worker_state,
  s.deadline + make_interval(secs => $3::float8) < now() as past_deadline,
  extract(epoch from s.deadline - now())::float8 + $3::float8 as left,
  extract(epoch from now() - coalesce(l.last_heartbeat, s.registered_at))::float8 as silent,
  extract(epoch from greatest(
    now() - s.ended_at,
    case when s.deadline + make_interval(secs => $3::float8) < now() then now() - s.deadline - make_interval(secs => $3::float8) end,
    case when w.desired <> 'running' and w.session_id = s.id then
      coalesce(now() - (select o.created_at from operation o where o.worker_id = w.id and o.state = 'open' and o.kind <> 'start'),
        interval '0') end))::float8 as unwanted
from due d
join session s on s.id = d.session_id
join worker w on w.id = s.worker_id
left join session_live l on l.session_id = s.id
left join provider_accelerator a on a.provider = w.provider and lower(a.name) = lower(w.accelerator);

-- name: poll_next
-- Looked at: due again in $2 seconds, after so many failures; null keeps the phase.
update session_poll set claimed_by = null, hurried = false,
  due = now() + make_interval(secs => case when hurried and $3 = 0 then least($2::float8, 1) else $2 end), failures = least($3::int, 30000),
  phase = coalesce($4, phase), since = case when $4 is distinct from phase and $4 is not null then now() else since end
where session_id = $1::bigint;

-- name: poll_end
delete from session_poll where session_id = $1::bigint;

-- name: poll_hurry
-- Somebody waits for the end of this run, or for what it left: it is looked at within $2 seconds, and
-- watched again should its row be missing.  Not one that failed: its provider is not to be hurried.  One that is being
-- looked at is looked at again afterwards, for two looks at once would each act on what they see.
insert into session_poll as p(session_id, provider, due)
select id, driver, now() + make_interval(secs => $2::float8) from session
where id = $1::bigint and provider_ref is not null and (over_at is null or outputs_at is null)
on conflict (session_id) do update set due = case when p.claimed_by is null then least(p.due, excluded.due) else p.due end,
  hurried = p.claimed_by is not null
where p.failures = 0;

-- name: session_phase
-- What is known of the run shows with its worker, while that is in one of these states ($4).
with w as (
  update worker set reason_code = $2, reason = $3, version = version + 1, updated_at = now()
  where session_id = $1::bigint and state = any($4::text[]) and (reason_code is distinct from $2 or reason is distinct from $3)
  returning id, owner_id, state)
insert into event(owner_id, topic, what, subjects, data)
select owner_id, 'worker', state, array[id::bigint], jsonb_build_object('reasonCode', $2::text) from w
returning id;

-- name: session_over
-- Its run is over for certain; a step of its worker that waits for that is due.
with s as (
  update session set over_at = coalesce(over_at, now()) where id = $1::bigint returning worker_id)
update operation o set next_try_at = least(o.next_try_at, now()) from s where o.worker_id = s.worker_id and o.state = 'open';

-- name: session_ended_as
-- What its provider calls the end of its run.
update session set over_code = $2 where id = $1::bigint;

-- name: session_stuck idempotent
-- A run at account $1, of resource $2, that was cancelled and that its provider may still count: its worker does
-- nothing else there (but the start $3, which was refused), and all that it left is kept here.
select s.id, s.worker_id, s.provider_ref
from session s
where s.account_id = $1::int and s.resource = $2 and s.over_code = 'cancelled' and s.state = 'ended' and s.outputs_at is not null
  and s.ended_at > now() - interval '7 days'
  and not exists (select from session_output o where o.session_id = s.id and o.content is null)
  and not exists (
    select from session n where n.worker_id = s.worker_id and n.id > s.id and n.id <> $3::bigint
      and (n.provider_ref is not null or n.state <> 'ended' or (n.launched_at is not null and n.over_at is null)))
order by s.over_at limit 1;

-- name: session_unstuck
with s as (
  update session set over_code = 'removed' where id = $1::bigint and over_code = 'cancelled' returning id, worker_id)
insert into decision(kind, subject, reason, inputs)
select 'stop', 'worker ' || worker_id, 'Its notebook was deleted there: its cancelled run may still hold a place, and all that it left is kept here.',
  jsonb_build_object('sessionId', id::text) from s;

-- name: session_room
-- Its run is over and it has ended: a worker of its account that waits for room is due, and may ask for it.
with c as (
  update account_cooldown c set until = least(c.until, now()) from session s
  where s.id = $1::bigint and c.account_id = s.account_id and c.resource = s.resource and c.code = 'capacity' and c.refusals > 0)
update operation o set next_try_at = least(o.next_try_at, now())
from session s join worker w on w.account_id = s.account_id and w.state = 'waiting' and w.reason_code = 'capacity'
where s.id = $1::bigint and o.worker_id = w.id and o.state = 'open';

-- name: session_keep
-- What it left: $2 the log's end, or null; $3 names, $4 sizes, $5 contents (null = too large); $6 nothing more is
-- expected.  What was kept before stays.
with s as (
  update session set outputs_at = case when $6::boolean then coalesce(outputs_at, now()) else outputs_at end, log_tail = coalesce($2, log_tail)
  where id = $1::bigint
  returning id),
files as (
  insert into session_output(session_id, name, size, content)
  select s.id, f.name, f.size, f.content from s cross join unnest($3::text[], $4::bigint[], $5::bytea[]) f(name, size, content)
  on conflict do nothing)
select id from s;

-- name: session_queued
-- Its provider said, asked $2 seconds ago, that it waits for a machine: its hours begin later.
update session set queued_at = now() - make_interval(secs => $2::float8) where id = $1::bigint and state <> 'ended';

-- name: looks_claimants idempotent
-- Who on this host ($1, a prefix) looks at accounts or runs of these drivers.
select claimed_by from account where starts_with(claimed_by, $1) and driver = any($2::text[])
union select claimed_by from session_poll where starts_with(claimed_by, $1) and provider = any($2::text[]);

-- name: looks_unclaim
-- Of one who is certainly dead: due now.
with a as (update account set claimed_by = null, check_at = now() where claimed_by = $1)
update session_poll set claimed_by = null, due = now() where claimed_by = $1;
