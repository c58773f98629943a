-- Colab in a browser: its provisioner instance has a role of its own, which sees what is of its accounts only,
-- and no sealing key.

-- ---- a password that is given once ----------------------------------------

-- Public keys whose private halves are in the memory of a browser instance, for ten minutes.  What was sealed to one
-- opens nowhere afterwards: not from a backup, not from the log of changes.
create table browser_key (
  id         int generated always as identity primary key,
  public_key bytea not null check (length(public_key) = 32),
  expires_at timestamptz not null);

-- Taken, which removes it, by the instance that signs in.
create table browser_password (
  account_id int primary key references account on delete cascade,
  key_id     int not null references browser_key on delete cascade,
  sealed     bytea not null);

-- What a page asked of a person when nothing could go on without one.
create table account_picture (
  account_id int primary key references account on delete cascade,
  taken_at   timestamptz not null default now(),
  png        bytea not null check (length(png) <= 16777216));

-- ---- rows of the browser way ----------------------------------------------

create policy browser on operation to gpupool_browser using (provider = 'colab-browser') with check (provider = 'colab-browser');
create policy browser on worker to gpupool_browser using (driver = 'colab-browser') with check (driver = 'colab-browser');
create policy browser on session to gpupool_browser using (driver = 'colab-browser') with check (driver = 'colab-browser');
alter table account enable row level security;
create policy everyone on account to gpupool_owner, gpupool_web, gpupool_events, gpupool_provisioner, gpupool_local
  using (true) with check (true);
create policy browser on account to gpupool_browser using (driver = 'colab-browser') with check (driver = 'colab-browser');
do $$
declare t text;
begin
  foreach t in array array['account_circuit', 'account_cooldown', 'price', 'budget', 'budget_use', 'quota', 'reservation', 'browser_password', 'account_picture'] loop
    execute format('alter table %I enable row level security', t);
    execute format('create policy everyone on %I to gpupool_owner, gpupool_web, gpupool_events, gpupool_provisioner using (true) with check (true)', t);
    execute format('create policy browser on %I to gpupool_browser using (exists (select from account a where a.id = account_id))', t);
  end loop;
  foreach t in array array['session_poll', 'session_output'] loop
    execute format('alter table %I enable row level security', t);
    execute format('create policy everyone on %I to gpupool_owner, gpupool_web, gpupool_events, gpupool_provisioner using (true) with check (true)', t);
    execute format('create policy browser on %I to gpupool_browser using (exists (select from session s where s.id = session_id))', t);
  end loop;
end $$;

-- ---- grants ---------------------------------------------------------------

grant select on browser_key to gpupool_web;
grant insert, delete on browser_password to gpupool_web;
grant select (account_id) on browser_password to gpupool_web; -- to remove one, unread
grant select on account_picture to gpupool_web;
grant select, insert, delete on browser_key to gpupool_browser;
grant select, delete on browser_password to gpupool_browser;
grant select, insert, update, delete on account_picture to gpupool_browser;

grant usage on schema gpupool to gpupool_browser;
grant execute on function next_job_id(), day_id(date), id_time(bigint) to gpupool_browser;
grant select on provider_policy, provider_driver, provider_limit, provider_accelerator, installation, job_lease, job_ending, lane, job_ready,
  job_delayed, job_attempt to gpupool_browser;
grant select, insert, update on operation, session, session_live to gpupool_browser;
grant select on worker to gpupool_browser;
grant update (state, reason_code, reason, version, url, session_id, early_deaths, updated_at, deleted_at) on worker to gpupool_browser;
grant delete on session_live, job_lease, job_ending to gpupool_browser;
grant insert on job_ready, job_delayed, job_done, job_attempt, lane_delta, worker_delta, event, decision to gpupool_browser;
-- Of an account no box: there is none, and none of another kind is to be seen.
grant select (id, owner_id, provider, key_id, start, driver, email, paid_at, label, status, reason, refused_code, sealed_version, checked_version, identity, checked_at,
  check_at, swept_at, sweep_from, sharing, updated_at, deleted_at, deleting_at) on account to gpupool_browser;
grant update (status, reason, refused_code, checked_version, identity, checked_at, check_at, swept_at, sweep_from, updated_at)
  on account to gpupool_browser;
grant select, insert, update, delete on account_circuit, account_cooldown, session_poll, session_output, quota, reservation to gpupool_browser;
grant select on price, budget to gpupool_browser;
grant select, insert, update on budget_use to gpupool_browser;
grant select (id, subjects) on event to gpupool_browser; -- what its own inserts return
do $$
declare f regprocedure;
begin
  for f in select p.oid from pg_proc p where p.pronamespace = 'gpupool'::regnamespace and p.proname ~ '^(quota|cooldown|budget)_'
    and has_function_privilege('gpupool_provisioner', p.oid, 'execute')
  loop
    execute format('grant execute on function %s to gpupool_browser', f);
  end loop;
end $$;
