-- Providers elsewhere: sealed credentials, what each provider allows, and the ledger of its hours.

-- ---- sealing keys ---------------------------------------------------------

-- Each purpose has key pairs of its own.  What is new is sealed to the active key of the highest id;
-- while a rotation re-seals, the one before it is active too.
alter table sealing_key add purpose text not null default 'credentials' check (purpose in ('credentials', 'secrets'));
drop index sealing_key_state_idx;
create index on sealing_key (purpose, id) where state = 'active';

-- Programs that live, and the private keys that each of them can use: a rotation waits for all.
create table instance (
  name      text primary key,                       -- host:pid:random
  purpose   text not null check (purpose in ('credentials', 'secrets')),
  providers text[] not null default '{}',
  keys      int[] not null default '{}',
  seen_at   timestamptz not null default now());

-- ---- what providers allow -------------------------------------------------

alter table provider_policy
  add named boolean not null default false,         -- a worker has a name at the provider, made from its title
  add notice text not null default '';              -- the term that whoever adds an account is shown
insert into provider_policy(provider, sharing_allowed, implicit, accounts_per_person, enrol_seconds, knows_runs, source, as_of, named, notice) values
  ('kaggle', false, false, 1, 21600, true, 'Kaggle''s terms, section 3, and acceptable use policy of 2025-06-22', '2026-11-24', true,
   'Kaggle allows one account a person, for that person''s own, non-commercial use; accounts and their hours may not be shared.');

-- Of one kind of machine.  null = no limit.
create table provider_limit (
  provider               text not null references provider_policy,
  resource               text not null check (resource in ('gpu', 'cpu', 'tpu')),
  session_seconds        int check (session_seconds > 0),            -- the provider ends a session then
  session_margin_seconds int not null default 3600 check (session_margin_seconds >= 0), -- and we, so much sooner
  week_seconds           int check (week_seconds >= 0),              -- where the provider's own figure is not known
  week_margin_seconds    int not null default 900 check (week_margin_seconds >= 0),
  week_starts            smallint not null default 6 check (week_starts between 0 and 6), -- day, at 00:00 UTC; 0 = Sunday
  concurrent             smallint check (concurrent between 1 and 1000), -- sessions at once
  idle_seconds           int check (idle_seconds > 0),               -- the provider ends an idle one
  min_session_seconds    int not null default 900 check (min_session_seconds > 0), -- a shorter one is not worth its start
  source                 text not null,
  as_of                  date not null,
  primary key (provider, resource),
  check (session_seconds is null or session_margin_seconds < session_seconds),
  check (week_seconds is null or week_margin_seconds <= week_seconds));
insert into provider_limit(provider, resource, session_seconds, week_seconds, week_margin_seconds, concurrent, source, as_of) values
  ('kaggle', 'gpu', 43200, 108000, 900, 2, 'Kaggle''s refusals and quota answers: 12 h a session, 30 h a week, 2 at once', '2026-11-24'),
  ('kaggle', 'cpu', 32400, null, 0, 5, 'Kaggle''s refusals: 5 at once; 9 to 12 h a session', '2026-11-24'),
  ('kaggle', 'tpu', 32400, 72000, 900, 1, 'Kaggle''s quota answers: 9 h a session, 20 h a week', '2026-11-24');

-- What may be asked of a provider.  One without rows here takes any name.
create table provider_accelerator (
  provider text not null references provider_policy,
  name     text not null check (name ~ '^[A-Za-z0-9._-]{1,64}$'),
  resource text not null check (resource in ('gpu', 'cpu', 'tpu')),
  shape    text not null default '',                -- what the provider calls it
  gets     text[] not null,                         -- a session should have got one of these names
  usable   boolean not null default true,
  note     text not null default '',                -- who may use it; why not
  primary key (provider, name));
create unique index on provider_accelerator (provider, lower(name));
insert into provider_accelerator(provider, name, resource, shape, gets, usable, note) values
  ('kaggle', 'cpu', 'cpu', '', '{cpu}', true, ''),
  ('kaggle', 'gpu', 'gpu', 'NvidiaTeslaT4', '{gpu}', true, 'Two T4, so two jobs at once.'),
  ('kaggle', 'tpu', 'tpu', 'TpuV5E8', '{tpu}', true, ''),
  ('kaggle', 'T4', 'gpu', 'NvidiaTeslaT4', '{T4}', true, 'Two T4, so two jobs at once.'),
  ('kaggle', 'NvidiaTeslaT4', 'gpu', 'NvidiaTeslaT4', '{T4}', true, 'Two T4, so two jobs at once.'),
  ('kaggle', 'NvidiaTeslaT4Highmem', 'gpu', 'NvidiaTeslaT4Highmem', '{T4}', true, 'For administrators of Kaggle.'),
  ('kaggle', 'NvidiaL4', 'gpu', 'NvidiaL4', '{L4}', true, 'For participants of certain competitions.'),
  ('kaggle', 'NvidiaL4X1', 'gpu', 'NvidiaL4X1', '{L4}', true, 'For participants of certain competitions.'),
  ('kaggle', 'NvidiaTeslaA100', 'gpu', 'NvidiaTeslaA100', '{A100}', true, 'For participants of certain competitions.'),
  ('kaggle', 'NvidiaH100', 'gpu', 'NvidiaH100', '{H100}', true, 'For participants of certain competitions.'),
  ('kaggle', 'NvidiaRtxPro6000', 'gpu', 'NvidiaRtxPro6000', '{gpu}', true, 'For participants of certain competitions.'),
  ('kaggle', 'TpuV5E8', 'tpu', 'TpuV5E8', '{tpu}', true, ''),
  ('kaggle', 'TpuV6E8', 'tpu', 'TpuV6E8', '{tpu}', true, 'For participants of certain competitions.'),
  ('kaggle', 'NvidiaTeslaP100', 'gpu', 'NvidiaTeslaP100', '{P100}', false, 'Kaggle retired it in September 2026 and gives another machine without a word; ask for T4.'),
  ('kaggle', 'TpuV38', 'tpu', 'TpuV38', '{tpu}', false, 'Kaggle retired it in September 2026; ask for TpuV5E8.'),
  ('kaggle', 'Tpu1VmV38', 'tpu', 'Tpu1VmV38', '{tpu}', false, 'Kaggle retired it in September 2026; ask for TpuV5E8.');

-- ---- accounts -------------------------------------------------------------

-- sealed_version is raised with each replacement of the credentials and is what a check's outcome
-- must still meet: status counts only where checked_version equals it.
alter table account
  add sealed_version  int not null default 1,
  add checked_version int,
  add identity        text check (length(identity) <= 200), -- the user's name there, as the provider says it
  add checked_at      timestamptz,
  add check_at        timestamptz not null default now(),   -- when to ask it next
  add deleted_at      timestamptz;                  -- its credentials are gone; kept for the workers it had
create unique index account_one_a_person on account (owner_id, provider) where provider in ('kaggle', 'colab') and deleted_at is null;
-- Two persons here are not one person there.
create unique index account_identity on account (provider, lower(identity)) where identity is not null and deleted_at is null;
create index on account (provider, check_at) where deleted_at is null;

-- Whether a provider answers for an account just now: all provisioners look here before they call.
create table account_circuit (
  account_id int primary key references account on delete cascade,
  failures   int not null default 0,
  open_until timestamptz,                            -- no call before
  code       text,
  reason     text,
  updated_at timestamptz not null default now());

-- ---- workers and their runs -----------------------------------------------

alter table worker
  add remote_name text check (remote_name ~ '^[a-z][a-z0-9-]{0,98}[a-z0-9]$'),
  add inputs      jsonb not null default '{}';      -- {datasets, models, competitions, kernels: [name]}
create unique index worker_remote_name on worker (account_id, remote_name) where state <> 'deleted';

alter table session
  add launched_at timestamptz,                       -- just before the start was first sent; null = never sent
  add resource    text,
  add outputs_at  timestamptz;                       -- what it left was fetched
-- Which gpupool a run belongs to, said in what is started: others' runs are left alone.
create table installation (id uuid primary key default gen_random_uuid(), one boolean not null default true unique check (one));
insert into installation default values;

-- A run that its provider may still have, and when to look at it next.  To claim one is to
-- move its time.
create table session_poll (
  session_id bigint primary key references session,
  provider   text not null,
  due        timestamptz not null default now(),
  failures   smallint not null default 0,
  phase      text,                                   -- as last seen
  since      timestamptz not null default now())     -- in that phase
  with (fillfactor = 70);
create index on session_poll (provider, due);

-- What a run left at its provider: its whole log, and small files.
create table session_output (
  session_id bigint not null references session,
  name       text not null check (length(name) between 1 and 300),
  size       bigint not null,
  content    bytea,                                  -- null = too large to keep
  created_at timestamptz not null default now(),
  primary key (session_id, name));

-- ---- the ledger -----------------------------------------------------------

-- An account's hours of one resource in one week.  used holds what is gone for certain: of ended
-- sessions, of running ones as far as counted, and whatever more the provider says; reserved is
-- what running sessions may still use.  The constraint is the promise: nothing may be
-- reserved that the limit does not hold.
create table quota (
  account_id       int not null references account on delete cascade,
  resource         text not null check (resource in ('gpu', 'cpu', 'tpu')),
  resets_at        timestamptz not null,             -- the week ends
  limit_seconds    int not null check (limit_seconds >= 0),
  margin_seconds   int not null check (margin_seconds >= 0),
  used_seconds     int not null default 0 check (used_seconds >= 0),
  reserved_seconds int not null default 0 check (reserved_seconds >= 0),
  told_used        int check (told_used >= 0),       -- what the provider says
  told_reserved    int check (told_reserved >= 0),
  told_at          timestamptz,
  primary key (account_id, resource, resets_at),
  constraint quota_kept check (reserved_seconds = 0 or used_seconds + reserved_seconds + margin_seconds <= limit_seconds));

-- What one session may use.  slot counts the sessions at once: two cannot have the same.
create table reservation (
  session_id      bigint primary key references session,
  account_id      int not null,
  resource        text not null,
  slot            smallint not null check (slot >= 1),
  resets_at       timestamptz,                       -- of its week; null = no weekly limit
  granted_seconds int check (granted_seconds > 0),   -- null = no limit at all
  counted_seconds int not null default 0 check (counted_seconds >= 0 and counted_seconds <= coalesce(granted_seconds, 0)), -- moved to used
  reserved_at     timestamptz not null default now(),
  settled_at      timestamptz,
  used_seconds    int,                               -- when settled
  foreign key (account_id, resource, resets_at) references quota on update cascade);
create unique index reservation_slot on reservation (account_id, resource, slot) where settled_at is null;
create index on reservation (account_id) where settled_at is null;

-- ---- grants ---------------------------------------------------------------

grant select on instance, provider_limit, provider_accelerator, account_circuit, session_poll, quota, reservation, installation to gpupool_web;
grant select (session_id, name, size, created_at, content) on session_output to gpupool_web;
grant select (identity, checked_at, checked_version, sealed_version, deleted_at) on account to gpupool_web;
grant update (sealed_version, deleted_at) on account to gpupool_web;
grant insert (remote_name, inputs) on worker to gpupool_web;
grant update (inputs) on worker to gpupool_web;
grant select on provider_limit, provider_accelerator to gpupool_events;

grant select on instance, provider_limit, provider_accelerator, account_circuit, session_poll, session_output, quota, reservation, installation to gpupool_provisioner;
grant insert, update, delete on instance, account_circuit, session_poll, quota, reservation, session_output to gpupool_provisioner;
grant update (checked_version, identity, checked_at, check_at) on account to gpupool_provisioner;
grant select on provider_limit, provider_accelerator, installation to gpupool_local;
