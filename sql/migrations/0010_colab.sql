-- Google Colab: two providers more, and several ways to start the workers of one.

-- ---- drivers --------------------------------------------------------------

-- How the workers of a provider are started and watched.  Most providers have one driver, of their own
-- name.  Colab has three: in whose hands a start lies is `start` of the worker, and each way has what is true of
-- it alone.  operation.provider and session_poll.provider name the driver: they say who does the step.
create table provider_driver (
  name          text primary key,
  provider      text not null references provider_policy,
  start         text not null default '',           -- as people name the way; '' where there is only one
  enrol_seconds int not null,                       -- from start to registration, at most
  knows_runs    boolean not null,                   -- can it tell that a run is over?
  unique (provider, start));
insert into provider_driver(name, provider, enrol_seconds, knows_runs)
select provider, provider, enrol_seconds, knows_runs from provider_policy;

insert into provider_policy(provider, sharing_allowed, implicit, accounts_per_person, enrol_seconds, knows_runs, source, as_of, named, notice) values
  ('colab', false, true, 1, 86400, false, 'Colab FAQ and additional terms of 2024-05-14', '2026-11-24', false,
   'Colab is for interactive use by the account''s own person: one account a person, no access for others. Not allowed on any plan: serving files, media or web services that have nothing to do with interactive computing, file sharing between peers, connecting to remote proxies, mining, attacks, cracking passwords, deepfakes, several accounts to get round limits. Without a positive balance of compute units also not: remote control such as SSH, working mainly through another web page than the notebook''s, chess training, and workers of distributed computing, which is what a worker of this pool is; such a runtime may be ended without warning, and the account be barred.'),
  ('colab-enterprise', true, false, 1000, 3600, true, 'Google Cloud''s terms', '2026-11-24', false,
   'Google Cloud bills the project for every machine while it runs: processor, memory, GPU and disk.');
insert into provider_driver(name, provider, start, enrol_seconds, knows_runs) values
  ('colab', 'colab', 'assisted', 86400, false),     -- a person opens the notebook and runs it
  ('colab-api', 'colab', 'api', 1800, true),
  ('colab-browser', 'colab', 'browser', 1800, true),
  ('colab-enterprise', 'colab-enterprise', '', 3600, true);
alter table provider_policy drop enrol_seconds, drop knows_runs;

insert into provider_limit(provider, resource, session_seconds, week_seconds, week_margin_seconds, concurrent, idle_seconds, source, as_of) values
  ('colab', 'gpu', 43200, null, 0, 1, 5400, 'Colab FAQ: up to 12 h; about 90 idle minutes; how many at once is not published', '2026-11-24'),
  ('colab', 'cpu', 43200, null, 0, 1, 5400, 'Colab FAQ: up to 12 h; about 90 idle minutes; how many at once is not published', '2026-11-24'),
  ('colab', 'tpu', 43200, null, 0, 1, 5400, 'Colab FAQ: up to 12 h; about 90 idle minutes; how many at once is not published', '2026-11-24'),
  ('colab-enterprise', 'gpu', 86400, null, 0, null, null, 'Vertex AI: an execution has 24 h unless told otherwise', '2026-11-24'),
  ('colab-enterprise', 'cpu', 86400, null, 0, null, null, 'Vertex AI: an execution has 24 h unless told otherwise', '2026-11-24');

-- shape: Colab's name of the accelerator; for Enterprise machine type/accelerator type/count.
insert into provider_accelerator(provider, name, resource, shape, gets, note) values
  ('colab', 'cpu', 'cpu', 'NONE', '{cpu}', ''),
  ('colab', 'gpu', 'gpu', 'T4', '{gpu}', 'A T4: the one that is usually there without a plan.'),
  ('colab', 'tpu', 'tpu', 'V5E1', '{tpu}', ''),
  ('colab', 'T4', 'gpu', 'T4', '{T4}', ''),
  ('colab', 'L4', 'gpu', 'L4', '{L4}', 'Needs compute units.'),
  ('colab', 'G4', 'gpu', 'G4', '{gpu}', 'Needs compute units.'),
  ('colab', 'A100', 'gpu', 'A100', '{A100}', 'Needs compute units.'),
  ('colab', 'H100', 'gpu', 'H100', '{H100}', 'Needs compute units.'),
  ('colab', 'V5E1', 'tpu', 'V5E1', '{tpu}', ''),
  ('colab', 'V6E1', 'tpu', 'V6E1', '{tpu}', 'Needs compute units.'),
  ('colab-enterprise', 'cpu', 'cpu', 'e2-standard-4', '{cpu}', ''),
  ('colab-enterprise', 'gpu', 'gpu', 'n1-standard-4/NVIDIA_TESLA_T4/1', '{gpu}', 'One T4.'),
  ('colab-enterprise', 'T4', 'gpu', 'n1-standard-4/NVIDIA_TESLA_T4/1', '{T4}', ''),
  ('colab-enterprise', 'T4x2', 'gpu', 'n1-standard-8/NVIDIA_TESLA_T4/2', '{T4}', 'Two T4, so two jobs at once.'),
  ('colab-enterprise', 'L4', 'gpu', 'g2-standard-8/NVIDIA_L4/1', '{L4}', ''),
  ('colab-enterprise', 'V100', 'gpu', 'n1-standard-8/NVIDIA_TESLA_V100/1', '{V100}', ''),
  ('colab-enterprise', 'P100', 'gpu', 'n1-standard-8/NVIDIA_TESLA_P100/1', '{P100}', ''),
  ('colab-enterprise', 'A100', 'gpu', 'a2-highgpu-1g/NVIDIA_TESLA_A100/1', '{A100}', '40 GB.'),
  ('colab-enterprise', 'A100-80GB', 'gpu', 'a2-ultragpu-1g/NVIDIA_A100_80GB/1', '{A100}', '80 GB.'),
  ('colab-enterprise', 'H100', 'gpu', 'a3-highgpu-1g/NVIDIA_H100_80GB/1', '{H100}', '80 GB.');

-- ---- workers, sessions, accounts ------------------------------------------

-- Each names the way; of an account it says which driver checks it, since there are several kinds of credentials.
alter table worker add start text not null default '' check (start in ('', 'assisted', 'api', 'browser'));
alter table session add start text not null default '';
alter table account add start text not null default '';
alter table worker add driver text not null generated always as
  (case when start in ('', 'assisted') then provider else provider || '-' || start end) stored;
alter table session add driver text not null generated always as
  (case when start in ('', 'assisted') then provider else provider || '-' || start end) stored;
alter table account add driver text not null generated always as
  (case when start in ('', 'assisted') then provider else provider || '-' || start end) stored;
create index on account (driver, check_at) where deleted_at is null;
create index on session (driver, id) where state <> 'ended';

-- As before, for every driver whose start is a person's.
create or replace function session_enrol(worker int, new_hash bytea) returns timestamptz
language sql volatile security definer set search_path = gpupool, pg_temp as $$
  update session s set enrol_hash = new_hash, instance = null,
    enrol_until = now() + make_interval(secs => d.enrol_seconds)
  from provider_driver d
  where s.worker_id = worker and s.state = 'starting' and s.driver in ('manual', 'colab') and d.name = s.driver
  returning s.enrol_until $$;

-- ---- grants ---------------------------------------------------------------

grant select on provider_driver to gpupool_web, gpupool_events, gpupool_provisioner, gpupool_local;
grant insert (start) on worker to gpupool_web;
grant select (start, driver) on account to gpupool_web, gpupool_events, gpupool_local;
grant insert (start), update (start) on account to gpupool_web;
