-- One run of a worker at its provider.

-- name: session_end
-- Ends sessions, once: tokens die, what they ran goes back to the queue or is
-- over, the worker learns why.  Arrays, one element a session: id, code,
-- sentence, last words of the agent or null; release = an orderly end, which
-- uses up no attempt; then two guards: only if it never registered, and only
-- if it has been silent for so many seconds (null = whatever it did).
--
-- A worker that should run goes to stopped (a sweep starts it again) or, when
-- three sessions in a row died within five minutes, to failed; one that should
-- not run goes to stopping until its provider confirms the end.
with t as (
  select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::boolean[], $7::float8[])
    t(id, code, reason, log, release, unregistered, silent) order by id),
pick as materialized (
  select s.id, t.code, t.reason, t.log, t.release from t cross join lateral (
    select s.id from session s
    where s.id = t.id and s.state <> 'ended' and (not t.unregistered or s.registered_at is null)
      and (t.silent is null or not exists (
        select from session_live l where l.session_id = s.id and l.last_heartbeat > now() - make_interval(secs => t.silent)))
    for update) s),
ended as (
  update session s set state = 'ended', ended_at = now(), enrol_hash = null, token_hash = null,
    end_code = (select code from pick p where p.id = s.id), end_reason = (select reason from pick p where p.id = s.id),
    log_tail = coalesce((select log from pick p where p.id = s.id), s.log_tail)
  where s.id = any(array(select id from pick))
  returning s.id, s.worker_id, s.owner_id, s.registered_at, s.started_at, s.end_code, s.end_reason),
dead as materialized (
  select e.*, p.release,
    coalesce(e.registered_at, e.started_at) > now() - interval '5 minutes'
      and e.end_code not in ('stopped', 'drained', 'deadline', 'limit', 'idle', 'terminated', 'upgraded') as early
  from ended e join pick p on p.id = e.id),
gone as (
  delete from job_lease where session_id = any(array(select id from dead)) returning *),
fate as materialized (
  select g.*, d.release, d.end_reason,
    not d.release and g.started > now() - interval '1 minute' and exists (
      select from job_attempt a where a.id = g.id and a.outcome = 7 and a.ended < a.started + interval '1 minute') as kills
  from gone g join dead d on d.id = g.session_id),
ready as (
  insert into job_ready(lane, id, owner_id, attempt, run, max_attempts)
  select lane, id, owner_id, attempt - 1, run, max_attempts from fate where release
  returning lane, id, owner_id),
counted as (
  insert into lane_delta(lane, n) select lane, count(*) from ready group by lane),
delayed as (
  insert into job_delayed(id, lane, owner_id, attempt, run, max_attempts, run_after, why)
  select id, lane, owner_id, attempt, run, max_attempts, now() + least(600, 2 ^ (attempt - 1)) * interval '1 second', 'retry_backoff'
  from fate where not release and not kills and attempt < max_attempts
  returning id, owner_id),
past as (
  insert into job_attempt(id, run, attempt, lease, session_id, worker_id, outcome, reported, started, log_bytes, error)
  select id, run, attempt, lease, session_id, worker_id, case when release then 6 else 7 end, false, started, log_bytes,
    jsonb_build_object('type', case when release then 'released' else 'lost' end, 'message', end_reason)
  from fate where id in (select id from ready union all select id from delayed)),
over as (
  insert into job_done(id, owner_id, lane, state, attempt, run, max_attempts, lease, session_id, worker_id, started, progress,
    message, log_bytes, error)
  select id, owner_id, lane, 3, attempt, run, max_attempts, lease, session_id, worker_id, started, progress, message, log_bytes,
    case when kills then jsonb_build_object('type', 'kills_worker', 'message', 'Two workers were lost within a minute of starting this job.')
      else jsonb_build_object('type', 'lost', 'message', 'The worker was lost in the last of its attempts: ' || end_reason) end
  from fate where not release and (kills or attempt >= max_attempts)
  returning id, owner_id, worker_id),
tally as (
  insert into worker_delta(worker_id, succeeded, failed) select worker_id, 0, count(*) from over group by worker_id),
forgotten as (
  delete from job_ending where session_id = any(array(select id from dead))),
moved as (
  update worker w set
    early_deaths = case when d.early then least(w.early_deaths + 1, 1000) else 0 end,
    state = case when w.desired <> 'running' then 'stopping'
      when d.early and w.early_deaths >= 2 then 'failed' else 'stopped' end,
    reason_code = case when w.desired = 'running' and d.early and w.early_deaths >= 2 then 'early_deaths' else d.end_code end,
    reason = case when w.desired = 'running' and d.early and w.early_deaths >= 2
      then 'Three sessions in a row ended within five minutes. The last one: ' || d.end_reason else d.end_reason end,
    version = w.version + 1, updated_at = now()
  from dead d
  where w.id = d.worker_id and w.session_id = d.id and w.state <> 'deleted'
  returning w.id, w.owner_id, w.state, w.reason_code),
worker_events as (
  insert into event(owner_id, topic, what, subjects, data)
  select owner_id, 'worker', state, array_agg(id::bigint), jsonb_build_object('reasonCode', min(reason_code))
  from moved group by owner_id, state),
job_events as (
  insert into event(owner_id, topic, what, subjects)
  select owner_id, 'job', 'queued', array_agg(id) from (select id, owner_id from ready union all select id, owner_id from delayed) q group by owner_id
  union all
  select owner_id, 'job', 'failed', array_agg(id) from over group by owner_id),
why as (
  insert into decision(kind, subject, reason, inputs)
  select case when release then 'stop' else 'lost' end, 'worker ' || worker_id, end_reason,
    jsonb_build_object('sessionId', id::text, 'code', end_code, 'early', early) from dead
  union all
  select 'retry', 'job ' || id, case when kills then 'It goes not back: two workers were lost within a minute of starting it.'
      when release then 'The worker gave it back: ' || end_reason
      when attempt < max_attempts then 'It is tried again: ' || end_reason
      else 'It is not tried again, for it has used up its attempts: ' || end_reason end,
    jsonb_build_object('attempt', attempt, 'maxAttempts', max_attempts, 'run', run, 'workerId', worker_id::text) from fate)
select d.id, d.worker_id, (select state from moved m where m.id = d.worker_id) as worker_state,
  (select count(*) from fate f where f.session_id = d.id) as leases,
  (select count(*) from ready) + (select count(*) from delayed) as requeued
from dead d;
