-- One run of a worker at its provider.

-- name: worker_look idempotent
-- A worker with its last session, as a step sees it.
select w.id, w.owner_id, w.account_id, w.driver as provider, w.title, w.accelerator, w.remote_name, w.inputs, w.desired, w.state, w.generation,
  w.early_deaths, w.max_session_seconds, a.resource, a.shape,
  s.id as session_id, s.intent, s.state as session_state, s.provider_ref, s.limit_seconds,
  s.registered_at is not null as registered, s.over_at is not null as run_over, s.outputs_at is not null as kept,
  (select x.provider_ref from session x where x.worker_id = w.id and x.provider_ref is not null order by x.id desc limit 1) as last_reference,
  extract(epoch from now() - s.launched_at)::float8 as launched_for,
  extract(epoch from now() - coalesce(l.last_heartbeat, s.registered_at))::float8 as silent,
  extract(epoch from now() - s.ended_at)::float8 as ended_for
from worker w
left join session s on s.id = w.session_id
left join session_live l on l.session_id = s.id
left join provider_accelerator a on a.provider = w.provider and lower(a.name) = lower(w.accelerator)
where w.id = $1::int;

-- name: session_open
-- A new session, before anything is started: its intent travels with the
-- start.  Without a token ($5 null) a person starts it.  $9: the seconds that were granted
-- of resource $10; null = as many as its owner allows.
with w as materialized (
  select w.* from worker w
  where w.id = $1::int and w.generation = $4::int and w.desired = 'running'
    and w.state in ('stopped', 'waiting', 'failed', 'needs_human')
  for update),
op as (
  select o.id from w cross join lateral (
    select o.id from operation o where o.id = $2::bigint and o.worker_id = w.id and o.state = 'open' and o.claimed_by = $3
    for update) o),
s as (
  insert into session(worker_id, owner_id, account_id, provider, start, generation, enrol_hash, enrol_until, limit_seconds, resource)
  select w.id, w.owner_id, w.account_id, w.provider, w.start, w.generation, $5::bytea,
    case when $5::bytea is not null then now() + make_interval(secs => p.enrol_seconds) end, coalesce($9::int, w.max_session_seconds), $10
  from w join provider_driver p on p.name = w.driver
  where exists (select from op)
  returning id, worker_id, owner_id, intent, limit_seconds, generation),
moved as (
  update worker set state = $6, reason_code = $7, reason = $8, session_id = s.id, url = null,
    early_deaths = case when exists (select from session p where p.id = worker.session_id and p.generation = worker.generation)
      then early_deaths else 0 end,
    version = version + 1, updated_at = now()
  from s where worker.id = s.worker_id
  returning worker.id),
e as (
  insert into event(owner_id, topic, what, subjects, data)
  select owner_id, 'worker', $6::text, array[worker_id::bigint], jsonb_build_object('reasonCode', $7::text) from s),
d as (
  insert into decision(kind, subject, reason, inputs)
  select 'start', 'worker ' || worker_id, coalesce($8, $6), jsonb_build_object('sessionId', id::text, 'intent', intent,
    'limitSeconds', limit_seconds, 'generation', generation) from s)
select s.id, s.intent, s.limit_seconds from s join moved on moved.id = s.worker_id;

-- name: session_token
-- Another enrolment token for a start that certainly never took place.
update session s set enrol_hash = $2::bytea, enrol_until = now() + make_interval(secs => p.enrol_seconds)
from provider_driver p
where s.id = $1::bigint and s.state = 'starting' and s.registered_at is null and p.name = s.driver
returning s.id;

-- name: session_ran
-- What the provider calls this run: kept whatever has happened meanwhile.
with s as (
  update session set provider_ref = $2::jsonb where id = $1::bigint returning id, worker_id)
update worker w set url = $3, version = version + 1, updated_at = now()
from s where w.id = s.worker_id and w.session_id = s.id and w.url is distinct from $3;

-- name: session_watch idempotent
-- Sessions that are not over, at these providers.
select s.id, s.worker_id, s.driver as provider, s.intent, s.provider_ref, s.registered_at is not null as registered,
  coalesce(s.deadline + make_interval(secs => $2::float8) < now(), false) as past_deadline
from session s
where s.state <> 'ended' and s.driver = any($1::text[])
order by s.id;

-- name: session_orphans idempotent
-- Of these intents, those that no session stands for any more.
select t.intent from unnest($1::uuid[]) t(intent)
where not exists (select from session s where s.intent = t.intent
  and (s.state <> 'ended' or s.ended_at > now() - interval '5 seconds'));

-- name: session_end
-- Ends sessions, once: tokens die, what they ran goes back to the queue or is
-- over, the worker learns why.  Arrays, one element a session: id, code,
-- sentence, last words of the agent or null; release = an orderly end, which
-- uses up no attempt; then two guards: only if it never registered, and only
-- if it has been silent for so many seconds (null = whatever it did).
--
-- A worker that should run goes to stopped (a sweep starts it again); to waiting
-- when its provider had no room, to needs_human when only a person can change
-- what ended it; when three sessions in a row died early, to failed.  One that
-- should not run goes to stopping until its provider confirms the end.
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
  update session s set state = 'ended', ended_at = now(), -- the hashes stay: late calls are told that it is over
    end_code = (select code from pick p where p.id = s.id), end_reason = (select reason from pick p where p.id = s.id),
    log_tail = coalesce((select log from pick p where p.id = s.id), s.log_tail)
  where s.id = any(array(select id from pick))
  returning s.id, s.worker_id, s.owner_id, s.registered_at, s.started_at, s.end_code, s.end_reason),
dead as materialized (
  select e.*, p.release,
    coalesce(e.registered_at > now() - interval '5 minutes', true)
      and e.end_code <> all('{stopped,drained,deadline,limit,idle,terminated,upgraded,superseded,refused,inputs,name_taken}')
      and e.end_code <> all('{capacity,quota,contested,credentials,account,no_gpu,no_internet,phone,needs_human,not_opened}') as early,
    case when e.end_code in ('capacity', 'quota', 'contested') then 'waiting'
      when e.end_code in ('credentials', 'account', 'no_gpu', 'no_internet', 'phone', 'needs_human', 'not_opened') then 'needs_human' end as becomes
  from ended e join pick p on p.id = e.id),
gone as (
  delete from job_lease where session_id = any(array(select id from dead)) returning *),
judged as materialized (
  select g.*, d.release, d.end_reason,
    not d.release and g.started > now() - interval '1 minute' and exists (
      select from job_attempt a where a.id = g.id and a.outcome = 7 and a.ended < a.started + interval '1 minute') as kills
  from gone g join dead d on d.id = g.session_id),
fate as materialized (
  select j.*, not release and (kills or attempt >= max_attempts) as ends from judged j),
ready as (
  insert into job_ready(lane, id, owner_id, attempt, run, max_attempts)
  select lane, id, owner_id, attempt - 1, run, max_attempts from fate where release),
counted as (
  insert into lane_delta(lane, n) select lane, count(*) from fate where release group by lane),
delayed as (
  insert into job_delayed(id, lane, owner_id, attempt, run, max_attempts, run_after, why)
  select id, lane, owner_id, attempt, run, max_attempts, now() + least(600, 2 ^ (attempt - 1)) * interval '1 second', 'retry_backoff'
  from fate where not release and not ends),
past as (
  insert into job_attempt(id, run, attempt, lease, session_id, worker_id, outcome, reported, started, log_bytes, error)
  select id, run, attempt, lease, session_id, worker_id, case when release then 6 else 7 end, false, started, log_bytes,
    jsonb_build_object('type', case when release then 'released' else 'lost' end, 'message', end_reason)
  from fate where not ends),
over as (
  insert into job_done(id, owner_id, lane, state, attempt, run, max_attempts, lease, session_id, worker_id, started, progress,
    message, log_bytes, error)
  select id, owner_id, lane, 3, attempt, run, max_attempts, lease, session_id, worker_id, started, progress, message, log_bytes,
    case when kills then jsonb_build_object('type', 'kills_worker', 'message', 'Two workers were lost within a minute of starting this job.')
      else jsonb_build_object('type', 'lost', 'message', 'The worker was lost in the last of its attempts: ' || end_reason) end
  from fate where ends),
tally as (
  insert into worker_delta(worker_id, succeeded, failed) select worker_id, 0, count(*) from fate where ends group by worker_id),
forgotten as (
  delete from job_ending where session_id = any(array(select id from dead))),
moved as (
  update worker w set
    early_deaths = case when d.early then least(w.early_deaths + 1, 1000) when d.becomes = 'waiting' then w.early_deaths else 0 end,
    state = case when w.desired <> 'running' then 'stopping' when d.becomes is not null then d.becomes
      when d.early and w.early_deaths >= 2 then 'failed' else 'stopped' end,
    reason_code = case when w.desired = 'running' and d.early and w.early_deaths >= 2 then 'early_deaths' else d.end_code end,
    reason = case when w.desired = 'running' and d.early and w.early_deaths >= 2
      then 'Three sessions in a row ended early. The last one: ' || d.end_reason else d.end_reason end,
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
  select owner_id, 'job', case when ends then 'failed' else 'queued' end, array_agg(id) from fate group by owner_id, ends),
why as (
  insert into decision(kind, subject, reason, inputs)
  select case when release then 'stop' else 'lost' end, 'worker ' || worker_id, end_reason,
    jsonb_build_object('sessionId', id::text, 'code', end_code, 'early', early) from dead
  union all
  select 'retry', 'job ' || id, case when kills then 'It goes not back: two workers were lost within a minute of starting it.'
      when release then 'The worker gave it back: ' || end_reason
      when not ends then 'It is tried again: ' || end_reason
      else 'It is not tried again, for it has used up its attempts: ' || end_reason end,
    jsonb_build_object('attempt', attempt, 'maxAttempts', max_attempts, 'run', run, 'workerId', worker_id::text) from fate)
select d.id, d.worker_id, (select state from moved m where m.id = d.worker_id) as worker_state,
  (select count(*) from fate f where f.session_id = d.id) as leases,
  (select count(*) from fate where not ends) as requeued
from dead d;

-- name: session_contested idempotent
-- How many starts of worker $1 in this generation ($2) came to nothing in a row because its name was contested.
select count(*) as tries from session s
where s.worker_id = $1::int and s.generation = $2::int and s.end_code = 'contested'
  and s.id > coalesce((select max(o.id) from session o where o.worker_id = s.worker_id and o.end_code <> 'contested'), 0);
