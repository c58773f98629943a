-- Periodic work of the one leader among the provisioners.

-- name: leader_look
-- Leads this connection?  A role that may not do the work never does.  Also
-- what the leader must know before it calls anything late: whether agents can
-- reach us at all just now.
select case
    when not has_table_privilege('gpupool.job_delayed', 'delete') then false
    when exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and granted
      and classid = 0 and objid = ('x' || substr(md5('gpupool.leader'), 1, 8))::bit(32)::int8::oid and objsubid = 1) then true
    else pg_try_advisory_lock(('x' || substr(md5('gpupool.leader'), 1, 8))::bit(32)::int8)
  end as leads,
  exists (select from pg_stat_activity where usename = 'gpupool_events') as listening,
  (select extract(epoch from now() - max(l.last_heartbeat))::float8
   from session s join session_live l on l.session_id = s.id where s.state in ('running', 'draining')) as silent;

-- name: watch_lead
-- The same for looking at the runs of one provider: two need not ask it twice.
select case
    when exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and granted
      and classid = 0 and objid = ('x' || substr(md5('gpupool.watch.' || $1), 1, 8))::bit(32)::int8::oid and objsubid = 1) then true
    else pg_try_advisory_lock(('x' || substr(md5('gpupool.watch.' || $1), 1, 8))::bit(32)::int8)
  end as leads;

-- name: worker_unhealthy
-- Workers whose agents have missed their heartbeats; the next one brings them back.
with late as (
  select w.id from worker w
  join session s on s.id = w.session_id
  join session_live l on l.session_id = s.id
  where w.state = 'healthy' and s.state in ('running', 'draining') and l.last_heartbeat < now() - make_interval(secs => $1::float8)
  for update of w skip locked),
moved as (
  update worker set state = 'unhealthy', reason_code = 'silent', reason = 'Its agent has missed three heartbeats.',
    version = version + 1, updated_at = now()
  where id = any(array(select id from late))
  returning id, owner_id)
insert into event(owner_id, topic, what, subjects, data)
select owner_id, 'worker', 'unhealthy', array_agg(id::bigint), jsonb_build_object('reasonCode', 'silent') from moved group by owner_id
returning subjects;

-- name: session_overdue idempotent
-- Sessions that must end by the clock: $1 grace, $2 silence after which a
-- provider that cannot tell is believed to have lost it.
select s.id, x.code, x.reason, x.unregistered, x.silent
from session s
join worker w on w.id = s.worker_id
join provider_driver p on p.name = s.driver
left join session_live l on l.session_id = s.id
cross join lateral (
  select case when p.start = 'assisted' then 'not_opened' else 'enrol_timeout' end as code, case when p.start = 'assisted'
      then 'Nobody ran its notebook within ' || p.enrol_seconds / 3600 || ' hours; start it again when you are going to.'
      else 'The agent did not register within ' || p.enrol_seconds || ' seconds of its start.' end as reason,
    true as unregistered, null::float8 as silent
  where s.state = 'starting' and s.registered_at is null and (w.state <> 'needs_human' or p.start = 'assisted')
    and s.enrol_until < now() - make_interval(secs => $1::float8)
  union all
  select 'deadline', 'The session passed its deadline.', false, null
  where s.deadline < now() - make_interval(secs => case when p.knows_runs then 600 else $1 end)
  union all
  select 'lost', 'Nothing was heard of its agent for ' || $2::float8 || ' seconds.', false, $2
  where not p.knows_runs and s.state in ('running', 'draining') and l.last_heartbeat < now() - make_interval(secs => $2)
  limit 1) x
where s.state <> 'ended'
order by x.code <> 'deadline', s.id   -- silent sessions, which may be held back, must not crowd deadlines out
limit 200;

-- name: lease_reap
-- Attempts whose time has passed ($1 grace): the job goes back or is over, and
-- the session is told to kill what it may still run.  A lease whose session
-- registered anew ends at -infinity: that agent knows nothing of it, and it goes
-- back at once; with $3 only those do.
with dead as (
  select id from job_lease where until < now() - make_interval(secs => $1::float8)
    and (until = '-infinity' or not $3::boolean)
  limit $2::int for update skip locked),
gone as materialized (
  delete from job_lease where id = any(array(select id from dead)) returning *),
ending as (
  insert into job_ending(session_id, id, lease, gpus)
  select g.session_id, g.id, g.lease, g.gpus from gone g
  where g.until > '-infinity' and exists (select from session s where s.id = g.session_id and s.state <> 'ended')
  on conflict do nothing),
delayed as (
  insert into job_delayed(id, lane, owner_id, attempt, run, max_attempts, run_after, why)
  select id, lane, owner_id, attempt, run, max_attempts, now() + least(600, 2 ^ (attempt - 1)) * interval '1 second', 'retry_backoff'
  from gone where attempt < max_attempts
  returning id, owner_id),
past as (
  insert into job_attempt(id, run, attempt, lease, session_id, worker_id, outcome, reported, started, log_bytes, error)
  select id, run, attempt, lease, session_id, worker_id, 7, false, started, log_bytes,
    jsonb_build_object('type', 'lost', 'message', 'The lease ended without a renewal.')
  from gone where attempt < max_attempts),
over as (
  insert into job_done(id, owner_id, lane, state, attempt, run, max_attempts, lease, session_id, worker_id, started, progress,
    message, log_bytes, error)
  select id, owner_id, lane, 3, attempt, run, max_attempts, lease, session_id, worker_id, started, progress, message, log_bytes,
    jsonb_build_object('type', 'lost', 'message', 'The lease of the last attempt ended without a renewal.')
  from gone where attempt >= max_attempts
  returning id, owner_id, worker_id),
tally as (
  insert into worker_delta(worker_id, succeeded, failed) select worker_id, 0, count(*) from over group by worker_id),
job_events as (
  insert into event(owner_id, topic, what, subjects)
  select owner_id, 'job', 'queued', array_agg(id) from delayed group by owner_id
  union all
  select owner_id, 'job', 'failed', array_agg(id) from over group by owner_id),
why as (
  insert into decision(kind, subject, reason, inputs)
  select 'retry', 'job ' || id, case when attempt < max_attempts then 'It is tried again: its lease ended without a renewal.'
      else 'It is not tried again: its lease ended without a renewal and its attempts are used up.' end,
    jsonb_build_object('attempt', attempt, 'maxAttempts', max_attempts, 'run', run, 'workerId', worker_id::text) from gone)
select id, worker_id from gone;

-- name: job_promote
-- Jobs whose time to wait is over.
with due as (
  select id from job_delayed where run_after <= now() order by run_after limit $1::int for update skip locked),
gone as (
  delete from job_delayed where id = any(array(select id from due)) returning *),
back as (
  insert into job_ready(lane, id, owner_id, attempt, run, max_attempts)
  select lane, id, owner_id, attempt, run, max_attempts from gone returning lane),
counted as (
  insert into lane_delta(lane, n) select lane, count(*) from back group by lane)
select count(*) as n from back;

-- name: session_notice
-- Sessions take no more jobs $1 seconds before their deadline, or a tenth of their length where that is less; what
-- runs may end, or is released at the deadline.
with late as (
  select s.id, s.worker_id, s.owner_id, s.deadline from session s
  where s.state = 'running' and s.registered_at is not null and s.deadline > now()
    and s.deadline < now() + make_interval(secs => least($1::float8, coalesce(s.limit_seconds, 0) / 10.0))
  limit 100 for update skip locked),
up as (
  update session set state = 'draining' where id = any(array(select id from late))),
moved as (
  update worker w set state = 'draining', reason_code = 'deadline', version = version + 1, updated_at = now(),
    reason = 'Its session ends in ' || ceil(extract(epoch from l.deadline - now())) || ' seconds: it takes no more jobs.'
  from late l
  where w.id = l.worker_id and w.session_id = l.id and w.state in ('healthy', 'unhealthy') and w.desired = 'running'
  returning w.id, w.owner_id, w.reason),
e as (
  insert into event(owner_id, topic, what, subjects, data)
  select owner_id, 'worker', 'draining', array_agg(id::bigint), jsonb_build_object('reasonCode', 'deadline') from moved group by owner_id),
d as (
  insert into decision(kind, subject, reason, inputs)
  select 'stop', 'worker ' || worker_id, 'Its session reaches its deadline.', jsonb_build_object('sessionId', id::text, 'deadline', deadline) from late)
select id, worker_id from late;

-- name: worker_idle_stop
-- Workers that have held no job for as long as their owner allows, or, where he did not say, the installation, unless
-- a pool of his cares for them; or nearly as long as their provider lets a session idle, which then ends by a stop of
-- ours and not by its hand.
-- A claim locks the session, too, and each passes by what the other has locked.  This statement cannot see a lease
-- that was committed after it began: session_drain looks again, and lets the session take no more.
with idle as (
  select w.id, w.version, x.chosen, p.most, extract(epoch from now() - l.busy_at)::bigint as idle,
    case when x.chosen <= coalesce(p.seconds, 2147483647) then 'It had no job for ' || x.chosen || ' seconds.'
      else 'It had no job for ' || p.seconds || ' seconds, and its provider ends a session after ' || p.most || ' idle ones.' end as reason
  from worker w
  join session s on s.id = w.session_id
  join session_live l on l.session_id = s.id
  cross join lateral (
    select case when not w.idle_default or not exists (select from scaling_policy y where y.owner_id = w.owner_id and y.enabled
      and (y.accounts = '{}' or w.account_id = any(y.accounts))) then w.idle_stop_seconds end as chosen) x
  left join lateral (
    select x.idle_seconds as most, x.idle_seconds * 9 / 10 as seconds from provider_limit x
    where x.provider = s.provider and x.resource = s.resource and x.idle_seconds is not null) p on true
  where w.desired = 'running' and w.state = 'healthy' and s.state = 'running'
    and l.busy_at < now() - make_interval(secs => least(x.chosen, p.seconds))
    and not exists (select from job_lease j where j.session_id = s.id)
    and not exists (select from job_ending j where j.session_id = s.id)
  limit 100 for update of s, w skip locked),
drained as materialized (
  select * from idle where session_drain(id, version, true, null, null) = 'done'),
moved as (
  update worker w set desired = 'stopped', generation = generation + 1, version = version + 1, updated_at = now(),
    reason_code = 'idle', reason = (select reason from drained i where i.id = w.id)
  where id = any(array(select id from drained))
  returning id, owner_id, state, provider, account_id, reason),
e as (
  insert into event(owner_id, topic, what, subjects, data)
  select owner_id, 'worker', state, array[id::bigint], jsonb_build_object('reasonCode', 'idle') from moved),
d as (
  insert into decision(kind, subject, reason, inputs)
  select 'stop', 'worker ' || m.id, m.reason, jsonb_build_object('idleSeconds', i.idle, 'idleStopSeconds', i.chosen, 'providerIdleSeconds', i.most,
    'accountId', m.account_id::text) from moved m join drained i on i.id = m.id)
select id, provider from moved;

-- name: partition_keep
select partition_ahead($1::int) as made;

-- name: partition_forget
select partition_drop($1::int, $2::int) as dropped;

-- name: idempotency_expire
delete from idempotency where created_at < now() - interval '1 day' and created_at <= (
  select max(created_at) from (
    select created_at from idempotency where created_at < now() - interval '1 day' order by created_at limit $1::int) x);

-- name: login_expire
delete from login where expires_at < now() and expires_at <= (
  select max(expires_at) from (select expires_at from login where expires_at < now() order by expires_at limit $1::int) x);

-- name: account_gone
-- Accounts that were to go when their workers had: their credentials go with them.
with due as materialized (
  select id from account a where deleting_at is not null and deleted_at is null
    and not exists (select from worker w where w.account_id = a.id and w.state <> 'deleted') for update skip locked),
gone as (
  update account set sealed = null, key_id = null, deleted_at = now(), updated_at = now()
  where id = any(array(select id from due)) returning id, owner_id),
e as (
  insert into event(owner_id, topic, what, subjects) select owner_id, 'account', 'deleted', array[id::bigint] from gone)
select id from gone;

-- name: operation_expire
delete from operation where id = any(array(
  select id from operation where state <> 'open' and finished_at < now() - make_interval(days => $2::int)
  order by finished_at limit $1::int));

-- name: session_live_expire
delete from session_live where session_id = any(array(
  select l.session_id from session_live l join session s on s.id = l.session_id
  where s.state = 'ended' and s.ended_at < now() - interval '1 day' limit $1::int));

-- name: output_expire
-- What sessions that ended $2 days ago left, $1 files at most.
delete from session_output o using (
  select x.session_id, x.name from session_output x join session s on s.id = x.session_id
  where s.state = 'ended' and s.ended_at < now() - make_interval(days => $2::int) limit $1::int) old
where o.session_id = old.session_id and o.name = old.name;
