-- Waiting: when a worker without a job stops, since when a job could have run.

-- idle_stop_seconds was not chosen by a person but is the installation's: a pool that cares for the worker goes by its own.
alter table worker add idle_default boolean not null default false;

-- What waits counts from when it could have run: after its run_after, its retry's pause, its release.
alter table job_ready add ready_since timestamptz not null default now();

-- Why the next job of a lane waits, as it was last noted; a lane whose jobs go soon has no row.
create table lane_wait (
  lane   int primary key,
  reason text not null,
  since  timestamptz not null default now())
  with (fillfactor = 50);

-- ---- grants ---------------------------------------------------------------

grant insert (idle_default), update (idle_default) on worker to gpupool_web;
grant insert (idle_default), update (idle_default) on worker to gpupool_provisioner;

-- The order of all that waits, so that a job can be told who is before it.
grant select on owner_usage, usage_delta to gpupool_web;
grant execute on function usage_left(float8, timestamptz) to gpupool_web;
grant select, insert, update, delete on lane_wait to gpupool_provisioner;
