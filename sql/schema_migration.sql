-- Where `gpupool migrate` keeps its own record; run before every migration.
create schema if not exists gpupool;
create table if not exists gpupool.schema_migration (
  version       int primary key,
  name          text not null,
  sha256        text not null,
  needs_program int not null default 1,  -- the lowest program version that may run on it
  at            timestamptz not null default now());
grant usage on schema gpupool to public;
grant select on gpupool.schema_migration to public;
