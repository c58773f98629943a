-- Accounts that may not start anything just now, or are being deleted; what a machine should have; sweeps in parts.

alter table account
  add refused_code text not null default 'credentials' check (refused_code in ('credentials', 'account')),
                                                    -- of needs_human: account = its provider wants something of its owner
                                                    -- before it starts more; what runs is watched and ended as ever
  add deleting_at  timestamptz,                     -- its owner has deleted it: it goes when its workers have
  add sweep_from   text;                            -- where the sweep under way goes on; null = at the beginning
create index on account (id) where deleting_at is not null and deleted_at is null;

-- What a run that was over is said to have ended as, by its provider's word.
alter table session
  add over_code text;

-- Names of files are paths: up to eight segments of 128 bytes.
alter table session_output
  drop constraint session_output_name_check,
  add check (length(name) between 1 and 1100);

-- What a session should have got besides a name of `gets`; null = not said.
alter table provider_accelerator
  add gpus       smallint check (gpus between 1 and 64),
  add gpu_memory bigint check (gpu_memory > 0);     -- bytes of each GPU, at least
update provider_accelerator set gpus = 2, gpu_memory = 14::bigint << 30
where provider = 'kaggle' and shape = 'NvidiaTeslaT4';
update provider_accelerator set gpus = t.gpus, gpu_memory = t.gib << 30, gets = coalesce(t.gets, provider_accelerator.gets)
from (values ('NvidiaL4', 4, 21::bigint, null::text[]), ('NvidiaL4X1', 1, 21, null), ('NvidiaTeslaA100', 1, 38, null),
  ('NvidiaH100', 1, 76, null), ('NvidiaRtxPro6000', 1, 90, '{PRO6000,RTX6000}')) t(shape, gpus, gib, gets)
where provider = 'kaggle' and provider_accelerator.shape = t.shape;

grant select (refused_code, deleting_at) on account to gpupool_web;
grant update (deleting_at) on account to gpupool_web;
grant update (refused_code, deleted_at, sweep_from) on account to gpupool_provisioner;
