-- Placement: how long jobs run, and what owners have used.

-- ---- lanes tell lengths apart ----------------------------------------------

-- Seconds that a job of the lane is taken to run, rounded (domain/estimate.h), so that few differ; 0 = not known.
alter table lane add estimate int not null default 0 check (estimate between 0 and 31536000);
alter table lane drop constraint lane_owner_id_type_accelerator_gpus_endpoint_priority_key;
alter table lane add constraint lane_key unique (owner_id, type, accelerator, gpus, endpoint, priority, estimate);

-- As before, and what its lane takes it for.
create or replace view job_view as
select j.id, j.owner_id, j.name, to_json(j.tags) as tags, to_json(j.retry_on) as retry_on, j.max_attempts, j.timeout_seconds, j.estimated_seconds, j.created_at,
  n.type, n.accelerator, n.gpus, n.endpoint, n.priority, j.lane,
  coalesce(d.state, case when l.id is null then 0 else 1 end) as state,
  coalesce(d.attempt, l.attempt, r.attempt, y.attempt, 0) as attempt,
  coalesce(d.run, l.run, r.run, y.run, 0) as run,
  coalesce(d.worker_id, l.worker_id) as worker_id,
  coalesce(d.session_id, l.session_id) as session_id,
  coalesce(d.started, l.started) as started_at, d.finished as finished_at,
  coalesce(d.progress, l.progress) as progress, coalesce(d.message, l.message) as message,
  coalesce(d.log_bytes, l.log_bytes, 0) as log_bytes,
  y.run_after, y.why as delayed_why,
  d.error, coalesce(pg_column_size(d.result), 0) as result_size,  -- as stored; the result itself is looked up
  greatest(0, date_part('epoch', coalesce(d.started, l.started, d.finished, now()) - j.created_at)) as delay_seconds,
  case when coalesce(d.started, l.started) is not null then
    greatest(0, date_part('epoch', coalesce(d.finished, now()) - coalesce(d.started, l.started))) end as run_seconds,
  to_json(j.secrets) as secrets,
  n.estimate as lane_estimate
from job j
join lane n on n.id = j.lane
left join job_done d on d.id = j.id and d.owner_id = j.owner_id
left join job_lease l on l.id = j.id
left join job_ready r on r.lane = j.lane and r.id = j.id
left join job_delayed y on y.id = j.id;

-- ---- how long jobs ran ------------------------------------------------------

-- The last runs that succeeded of one kind (owner, type, name) on one model ("gpu,T4", "cpu"), the newest last.
create table run_time (
  owner_id int not null,
  type     smallint not null,
  name     text not null,
  model    text not null,
  seconds  int[] not null check (cardinality(seconds) between 1 and 32),
  seen     timestamptz not null default now(),
  primary key (owner_id, type, name, model))
  with (fillfactor = 50);

-- What was not folded into it yet.
create table run_delta (
  id         bigint not null,
  owner_id   int not null,
  lane       int not null,
  session_id bigint not null,
  seconds    real not null)
  with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- ---- what owners used -------------------------------------------------------

-- GPU-seconds (slots of workers without a GPU) of an owner, of which each hour leaves a half.
create table owner_usage (
  owner_id int primary key,
  seconds  float8 not null,
  at       timestamptz not null default now())
  with (fillfactor = 50);

create table usage_delta (
  owner_id int not null,
  seconds  float8 not null)
  with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

create function usage_left(seconds float8, at timestamptz) returns float8 language sql stable as
  $$ select $1 * power(0.5, least(greatest(0, extract(epoch from now() - $2)), 360000) / 3600)::float8 $$;

-- However an attempt ends (result, cancel, lost lease, ended session), its lease goes: what it used counts then.
create function lease_used() returns trigger
language plpgsql security definer set search_path = gpupool, pg_temp as $$
begin
  insert into usage_delta(owner_id, seconds)
  select owner_id, sum(gpus * greatest(0, extract(epoch from now() - started))) from gone group by owner_id;
  return null;
end $$;
create trigger lease_used after delete on job_lease referencing old table as gone for each statement execute function lease_used();

-- ---- grants ---------------------------------------------------------------

revoke all on function usage_left(float8, timestamptz), lease_used() from public;
grant execute on function usage_left(float8, timestamptz) to gpupool_events, gpupool_provisioner;
grant select on run_time to gpupool_web;
grant select, insert, delete on run_delta to gpupool_events;
grant select, insert, update on run_time, owner_usage to gpupool_events;
grant select, delete on usage_delta to gpupool_events;
grant select (account_id, resource, resets_at) on quota to gpupool_events; -- when hours expire, no figures
grant select, delete on run_time to gpupool_provisioner;
grant select on owner_usage, usage_delta, run_delta to gpupool_provisioner;
