-- Scaling: what persons want of their pools, what the autoscaler must remember, what it decided on.

create table scaling_policy (
  owner_id            int primary key references users on delete cascade,
  enabled             boolean not null default false,
  paused              boolean not null default false,
  accelerator         text not null default '' check (accelerator ~ '^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$'), -- '' = as jobs ask
  min_workers         int not null default 0 check (min_workers between 0 and 1000),
  max_workers         int not null default 3 check (max_workers between 0 and 10000),
  queue_threshold     int not null default 5 check (queue_threshold between 0 and 1000000),
  target_wait_seconds int not null default 300 check (target_wait_seconds between 1 and 604800),
  up_delay_seconds    int not null default 30 check (up_delay_seconds between 0 and 86400),
  down_delay_seconds  int not null default 300 check (down_delay_seconds between 0 and 86400),
  idle_stop_seconds   int default 600 check (idle_stop_seconds between 1 and 31536000), -- null = never
  accounts            int[] not null default '{}',   -- in order; none = all that the owner may use
  account_order       text not null default 'expiring' check (account_order in ('listed', 'expiring')),
  version             int not null default 1,
  updated_at          timestamptz not null default now(),
  check (min_workers <= max_workers));

-- Since when there was reason to grow or to shrink; no row = there was none.
create table scaling_state (
  owner_id   int primary key references scaling_policy on delete cascade,
  up_since   timestamptz,
  down_since timestamptz)
  with (fillfactor = 50);

-- What was shown to a person, who may have just that done within a minute.
create table scaling_plan (
  id           uuid primary key default gen_random_uuid(),
  owner_id     int not null references users on delete cascade, -- of the policy
  digest       bytea not null check (length(digest) = 32),      -- of its actions
  created_at   timestamptz not null default now(),
  expires_at   timestamptz not null default now() + interval '1 minute',
  committed_at timestamptz);
create index on scaling_plan (expires_at);

-- Rounds in which something was done, with all that they saw: to be decided again under another policy.
create table scaling_round (
  id        bigint generated always as identity primary key,
  at        timestamptz not null default now(),
  snapshot  text not null,                           -- JSON as it was read, byte for byte
  decisions text not null);
create index on scaling_round (at);

-- It drains to be stopped: its worker is not started again.
alter table session add then_stop boolean not null default false;

-- A worker takes no more jobs: the row that a claim locks says so, and no claim comes in between.
-- idle_only: only if it holds nothing, and it is then to be stopped; else it may finish what it holds
-- first.  What was seen of the worker must still hold (its version).  done, busy (it holds something), none
-- (nothing to drain), changed.  Neither the web role nor the leader may write another's session otherwise.
create function session_drain(worker_id int, seen int, idle_only boolean, code text, sentence text) returns text
language plpgsql volatile security definer set search_path = gpupool, pg_temp as $$
declare s session; w worker;
begin
  select * into s from session t where t.worker_id = session_drain.worker_id and t.state <> 'ended' for update;
  select * into w from worker t where t.id = session_drain.worker_id for update;
  if w.id is null or w.version <> seen or w.desired <> 'running' then
    return 'changed';
  elsif s.id is null then
    return 'none';
  elsif idle_only and (exists (select from job_lease l where l.session_id = s.id) or exists (select from job_ending e where e.session_id = s.id)) then
    return 'busy';
  elsif s.state = 'running' then
    update session t set state = 'draining', then_stop = not idle_only where t.id = s.id;
  elsif not idle_only then
    return 'none';
  end if;
  if not idle_only and w.state in ('healthy', 'unhealthy') then
    update worker t set state = 'draining', reason_code = code, reason = sentence, version = version + 1, updated_at = now() where t.id = w.id;
    insert into event(owner_id, topic, what, subjects, data)
    values (w.owner_id, 'worker', 'draining', array[w.id::bigint], jsonb_build_object('reasonCode', code));
  end if;
  return 'done';
end $$;

-- ---- grants ---------------------------------------------------------------

revoke all on function session_drain(int, int, boolean, text, text) from public;
grant execute on function session_drain(int, int, boolean, text, text) to gpupool_web, gpupool_provisioner;

grant select, insert, update on scaling_policy to gpupool_web;
grant select on scaling_state, scaling_round to gpupool_web;
grant select, insert on scaling_plan to gpupool_web;
grant update (committed_at) on scaling_plan to gpupool_web;
grant insert (snapshot, decisions) on scaling_round to gpupool_web;

-- The leader starts workers by the statements of the API.
grant execute on function quota_figures(int, text) to gpupool_provisioner;
grant select on scaling_policy to gpupool_provisioner;
grant select, insert, update, delete on scaling_state to gpupool_provisioner;
grant select, insert, delete on scaling_plan, scaling_round to gpupool_provisioner;
grant insert (owner_id, account_id, provider, title, accelerator, email, desired, state, reason_code, reason, max_session_seconds,
  idle_stop_seconds, remote_name, inputs) on worker to gpupool_provisioner;
grant update (title, accelerator, max_session_seconds, idle_stop_seconds, inputs) on worker to gpupool_provisioner;
