-- Secrets of persons, which their jobs find in their environment.  The web seals a value to the public
-- key of the purpose `secrets`; only the role of that name can read the box, and only its process has
-- the private key.

create table user_secret (
  id             int generated always as identity primary key,
  owner_id       int not null references users on delete cascade,
  name           text not null check (name ~ '^[A-Z_][A-Z0-9_]{0,63}$'),
  sealed         bytea not null,                     -- bound to owner and name: see domain/secret.h
  key_id         int not null references sealing_key,
  sealed_version int not null default 1,             -- raised with each replacement of the value
  created_at     timestamptz not null default now(),
  updated_at     timestamptz not null default now(), -- when the value was set
  last_used_at   timestamptz,                        -- when a job got it
  unique (owner_id, name));
create index on user_secret (key_id);                -- a rotation asks which still need an older key

-- Names; the values are looked up when an attempt begins.
alter table job add secrets text[];

-- As before, and the names.
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
  to_json(j.secrets) as secrets
from job j
join lane n on n.id = j.lane
left join job_done d on d.id = j.id and d.owner_id = j.owner_id
left join job_lease l on l.id = j.id
left join job_ready r on r.lane = j.lane and r.id = j.id
left join job_delayed y on y.id = j.id;

-- ---- grants ---------------------------------------------------------------

-- web: writes a box, and never reads one
grant select (id, owner_id, name, key_id, sealed_version, created_at, updated_at, last_used_at) on user_secret to gpupool_web;
grant insert (owner_id, name, sealed, key_id), delete on user_secret to gpupool_web;
grant update (sealed, key_id, sealed_version, updated_at) on user_secret to gpupool_web;

-- secrets: which session holds which lease, what that job asked for, and the boxes
grant select on user_secret, sealing_key, instance to gpupool_secrets;
grant update (sealed, key_id, last_used_at) on user_secret to gpupool_secrets; -- sealed: again, to a newer key
grant select (id, worker_id, token_hash, state) on session to gpupool_secrets;
grant select (id, lease, session_id, owner_id) on job_lease to gpupool_secrets;
grant select (id, owner_id, secrets) on job to gpupool_secrets;
grant insert (user_id, token_id, action, object, detail, address, request_id) on audit to gpupool_secrets;
grant insert, update, delete on instance to gpupool_secrets;
grant insert, update on sealing_key to gpupool_secrets;
create policy all_rows on session to gpupool_secrets using (true);

-- Each purpose's keys are written by those who serve it: neither can put a key of its own under the
-- other's secrets.
alter table sealing_key enable row level security;
create policy seen on sealing_key for select to gpupool_web, gpupool_provisioner, gpupool_secrets using (true);
create policy made on sealing_key for insert to gpupool_provisioner with check (purpose = 'credentials');
create policy changed on sealing_key for update to gpupool_provisioner using (purpose = 'credentials') with check (purpose = 'credentials');
create policy made_own on sealing_key for insert to gpupool_secrets with check (purpose = 'secrets');
create policy changed_own on sealing_key for update to gpupool_secrets using (purpose = 'secrets') with check (purpose = 'secrets');
alter table instance enable row level security;
create policy seen on instance for select to gpupool_web, gpupool_provisioner, gpupool_secrets using (true);
create policy own on instance to gpupool_provisioner using (purpose = 'credentials') with check (purpose = 'credentials');
create policy own_secrets on instance to gpupool_secrets using (purpose = 'secrets') with check (purpose = 'secrets');
