-- Waiting: when a worker without a job stops, since when a job could have run.

-- idle_stop_seconds was not chosen by a person but is the installation's: a pool that cares for the worker goes by its own.
alter table worker add idle_default boolean not null default false;

-- ---- grants ---------------------------------------------------------------

grant insert (idle_default), update (idle_default) on worker to gpupool_web;
grant insert (idle_default), update (idle_default) on worker to gpupool_provisioner;
