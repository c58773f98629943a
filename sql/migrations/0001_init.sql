-- The whole first schema.  Words: see README.md.  Rules that shaped it:
--   * A row that many statements change is narrow and has no index on what changes (HOT updates).
--   * Waiting, running and finished jobs are different tables; what is immutable (job) is apart.
--   * What leaves by age lies in partitions of a day and leaves by DROP, never by DELETE.
--   * Times are the database's; enums are text with CHECK, or smallint where rows come by the million.

-- ---- people ---------------------------------------------------------------

create table users (
  id             int generated always as identity primary key,
  name           text not null unique check (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
  email          text check (length(email) <= 254),
  role           text not null check (role in ('admin', 'operator', 'viewer')),
  password_hash  text,                              -- argon2id; null = no sign-in by password
  active         boolean not null default true,
  locale         text not null default 'en',
  weight         real not null default 1 check (weight > 0 and weight <= 1000), -- share in fair order
  failed_signins smallint not null default 0,
  signin_after   timestamptz,                       -- earlier tries are refused unseen
  created_at     timestamptz not null default now());

-- A browser that is signed in.  The cookie's value changes; the old one is good for a minute.
create table login (
  id             bigint generated always as identity primary key,
  user_id        int not null references users on delete cascade,
  token_hash     bytea not null unique check (length(token_hash) = 32),
  previous_hash  bytea unique check (length(previous_hash) = 32),
  previous_until timestamptz,
  csrf_key       bytea not null check (length(csrf_key) = 32),
  created_at     timestamptz not null default now(),
  rotated_at     timestamptz not null default now(),
  last_used_at   timestamptz not null default now(),
  expires_at     timestamptz not null);
create index on login (user_id);

create table api_token (
  id           bigint generated always as identity primary key,
  user_id      int not null references users on delete cascade,
  name         text not null check (length(name) between 1 and 100),
  token_hash   bytea not null unique check (length(token_hash) = 32),
  scopes       text[] not null check (scopes <@ array['read', 'submit', 'manage', 'admin', 'inference'] and cardinality(scopes) > 0),
  endpoints    text[],                              -- null = all
  created_at   timestamptz not null default now(),
  expires_at   timestamptz,
  last_used_at timestamptz,
  revoked_at   timestamptz);
create index on api_token (user_id);

-- A POST that may be repeated: the first reply is kept for a day.
create table idempotency (
  user_id    int not null references users on delete cascade,
  route      text not null,
  key        text not null check (length(key) between 1 and 255),
  body_hash  bytea not null check (length(body_hash) = 32),
  status     smallint,                              -- null = the first request still runs
  reply      text,                                  -- null with a status = held a secret, not stored
  object     text,                                  -- what was made, named when the reply is not stored
  created_at timestamptz not null default now(),
  primary key (user_id, route, key));
create index on idempotency (created_at);

-- ---- providers and accounts -----------------------------------------------

-- Public halves of the sealing keys; the private ones are files of the provisioner.
create table sealing_key (
  id         int primary key,
  public_key bytea not null check (length(public_key) = 32),
  state      text not null check (state in ('new', 'active', 'retired')),
  created_at timestamptz not null default now());
create unique index on sealing_key (state) where state = 'active';

-- What a provider allows, as data with date and source.
create table provider_policy (
  provider            text primary key,
  sharing_allowed     boolean not null,             -- may jobs of other people run on an account?
  implicit            boolean not null,             -- needs no credentials: the account makes itself
  accounts_per_person int not null default 1,
  enrol_seconds       int not null,                 -- from start to registration, at most
  knows_runs          boolean not null,             -- can the provider tell that a run is over?
  source              text not null,
  as_of               date not null);
insert into provider_policy values
  ('local', true, true, 1, 60, true, 'the machine is the operator''s own', '2026-11-24'),
  ('manual', true, true, 1, 86400, false, 'the machine is the person''s own', '2026-11-24');

create table account (
  id          int generated always as identity primary key,
  owner_id    int not null references users,
  provider    text not null references provider_policy,
  label       text not null default '' check (length(label) <= 100),
  sealed      bytea,                                -- null = the provider needs none
  key_id      int references sealing_key,
  status      text not null default 'unchecked' check (status in ('unchecked', 'ok', 'needs_human', 'disabled')),
  reason      text,
  sharing     text not null default 'none' check (sharing in ('none', 'all', 'named')),
  shared_with int[] not null default '{}',
  created_at  timestamptz not null default now(),
  updated_at  timestamptz not null default now());
create index on account (owner_id, provider);
-- One account a person where nothing but the person tells accounts apart.
create unique index on account (owner_id, provider) where sealed is null;

-- ---- workers, sessions, operations ----------------------------------------

create table worker (
  id                  int generated always as identity primary key,
  owner_id            int not null references users,
  account_id          int not null references account,
  provider            text not null references provider_policy,
  title               text not null check (length(title) between 1 and 100),
  accelerator         text not null,                -- what is asked: cpu, gpu, tpu or a name
  email               text check (length(email) <= 254),
  desired             text not null check (desired in ('running', 'stopped', 'deleted')),
  generation          int not null default 1,       -- raised with each change of desired
  state               text not null default 'stopped' check (state in ('stopped', 'starting', 'waiting', 'healthy',
                        'unhealthy', 'draining', 'stopping', 'failed', 'needs_human', 'deleted')),
  reason_code         text,
  reason              text,                         -- a sentence that a person can act on
  version             int not null default 1,       -- the ETag: raised with each change a person can see
  max_session_seconds int check (max_session_seconds between 60 and 31536000),  -- null = unlimited
  idle_stop_seconds   int check (idle_stop_seconds between 60 and 31536000),    -- null = never
  url                 text,
  session_id          bigint,                       -- the session that runs or starts, else the last one
  early_deaths        smallint not null default 0,  -- sessions in a row that died within 5 min
  created_at          timestamptz not null default now(),
  updated_at          timestamptz not null default now(),
  deleted_at          timestamptz);
create index on worker (owner_id, id);
create index on worker (account_id);
create index on worker (id) where state <> 'deleted';

create table session (
  id             bigint generated always as identity primary key,
  worker_id      int not null references worker,
  owner_id       int not null,
  account_id     int not null,
  provider       text not null,
  intent         uuid not null unique default gen_random_uuid(), -- travels with the start; provider.find() asks for it
  generation     int not null,
  state          text not null default 'starting' check (state in ('starting', 'running', 'draining', 'ended')),
  enrol_hash     bytea unique check (length(enrol_hash) = 32),
  enrol_until    timestamptz,
  token_hash     bytea unique check (length(token_hash) = 32),
  instance       text,                              -- made by the agent; the token is good for one
  agent          text,
  protocol       smallint,
  capabilities   jsonb,                             -- as registered
  got            text[] not null default '{}',      -- names a job's accelerator may match: {gpu,T4,…} or {cpu}
  gpu_memory     bigint not null default 0,         -- bytes of the smallest GPU
  slots          smallint not null default 1 check (slots between 1 and 256),
  limit_seconds  int,                               -- reserved; null = no deadline
  started_at     timestamptz not null default now(),
  registered_at  timestamptz,
  deadline       timestamptz,
  ended_at       timestamptz,
  end_code       text,
  end_reason     text,
  provider_ref   jsonb,                             -- what the provider calls this run
  log_tail       text);                             -- the agent's own last words
create index on session (worker_id, id);
-- One intent, at most one session that is not over.
create unique index on session (worker_id) where state <> 'ended';
alter table worker add foreign key (session_id) references session;

-- What a heartbeat changes, apart from all else.
create table session_live (
  session_id     bigint primary key references session,
  last_heartbeat timestamptz not null default now(),
  busy_at        timestamptz not null default now(),  -- last time it held a job
  utilization    real,
  memory_used    bigint,
  memory_total   bigint)
  with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- One step that a provisioner must do for a worker.
create table operation (
  id            bigint generated always as identity primary key,
  worker_id     int not null references worker,
  provider      text not null,
  kind          text not null check (kind in ('start', 'stop', 'delete', 'poll')),
  generation    int not null,                        -- of the worker, when it was opened
  state         text not null default 'open' check (state in ('open', 'done', 'failed', 'superseded')),
  attempts      smallint not null default 0,
  next_try_at   timestamptz not null default now(),
  claimed_by    text,
  claimed_until timestamptz,                         -- a claim ends by itself
  error         text,
  created_at    timestamptz not null default now(),
  finished_at   timestamptz);
create unique index operation_open on operation (worker_id) where state = 'open';
create index on operation (provider, next_try_at) where state = 'open';
create index on operation (finished_at) where state <> 'open';

-- ---- jobs -----------------------------------------------------------------
-- states: 0 queued, 1 running, 2 succeeded, 3 failed, 4 timed out, 5 cancelled;
-- outcomes of an attempt also: 6 released, 7 lost.   types: 0 script, 1 training, 2 inference.

-- (seconds since 2026 << 22 | sequence): ordered by time, exact in JSON until 2094.
create sequence job_seq maxvalue 4194303 cycle cache 1000;
create function next_job_id() returns bigint language sql volatile as
  $$ select ((extract(epoch from now())::bigint - 1767225600) << 22) | nextval('gpupool.job_seq') $$;
create function day_id(d date) returns bigint language sql immutable as
  $$ select (extract(epoch from d::timestamp)::bigint - 1767225600) << 22 $$;
create function id_time(i bigint) returns timestamptz language sql immutable as
  $$ select to_timestamp((i >> 22) + 1767225600) $$;

-- A lane is all that placement may tell apart.  PostgreSQL keeps a lane first-in first-out;
-- the placement core chooses lanes.
create table lane (
  id          int generated always as identity primary key,
  type        smallint not null check (type between 0 and 2),
  accelerator text not null,                         -- sorted comma list; '' = any
  gpus        smallint not null check (gpus between 1 and 64),
  endpoint    int not null default 0,
  owner_id    int not null,
  priority    smallint not null check (priority between 0 and 9), -- 9 first
  ready       bigint not null default 0,             -- folded from lane_delta
  unique (owner_id, type, accelerator, gpus, endpoint, priority))
  with (fillfactor = 50);

create table lane_delta (
  lane int not null,
  n    int not null)
  with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- What was submitted; never changes.
create table job (
  id                bigint not null default next_job_id(),
  owner_id          int not null,
  lane              int not null,
  name              text,
  tags              text[],
  payload           jsonb not null,
  retry_on          text[] not null default '{}',
  max_attempts      smallint not null default 3,
  timeout_seconds   int,
  estimated_seconds int,
  created_at        timestamptz not null default now(), -- the id's time is to the second only
  primary key (id)) partition by range (id);
create index on job (owner_id, id);
create index on job (owner_id, name, id) where name is not null;
create index on job using gin (tags) where tags is not null;

create table job_ready (
  lane         int not null,
  id           bigint not null,
  owner_id     int not null,
  attempt      smallint not null default 0,          -- attempts used up so far
  run          smallint not null default 0,          -- leases given so far (a release uses a run, not an attempt)
  max_attempts smallint not null,
  primary key (lane, id))
  with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

create table job_delayed (
  id           bigint primary key,
  lane         int not null,
  owner_id     int not null,
  attempt      smallint not null default 0,
  run          smallint not null default 0,
  max_attempts smallint not null,
  run_after    timestamptz not null,
  why          text not null check (why in ('run_after', 'retry_backoff')));
create index on job_delayed (run_after);
create index on job_delayed (owner_id);

-- A job that runs: one attempt, one session, one fencing token.
create table job_lease (
  id           bigint primary key,
  lease        uuid not null,
  session_id   bigint not null,
  worker_id    int not null,
  lane         int not null,
  owner_id     int not null,
  gpus         smallint not null,
  attempt      smallint not null,
  run          smallint not null,
  max_attempts smallint not null,
  seconds      int not null,                         -- what a renewal adds
  until        timestamptz not null,                 -- past it: reapable, not stale
  started      timestamptz not null default now(),
  progress     real,
  message      text,
  log_bytes    bigint not null default 0,
  artifact_bytes bigint not null default 0)
  with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
create index on job_lease (session_id);
create index on job_lease (owner_id);               -- no other index may serve a look-up by id

-- A cancelled job whose process is not yet known to be gone: still fills its slot.
create table job_ending (
  session_id bigint not null,
  id         bigint not null,
  lease      uuid not null,
  gpus       smallint not null,
  since      timestamptz not null default now(),
  primary key (session_id, lease));                  -- a retried job may end here twice

-- A job that ended, with its last attempt.
create table job_done (
  id         bigint not null,
  owner_id   int not null,
  lane       int not null,
  state      smallint not null check (state between 2 and 5),
  attempt    smallint not null,
  run        smallint not null,
  max_attempts smallint not null,
  lease      uuid,                                   -- null = ended while it waited
  session_id bigint,
  worker_id  int,
  reported   boolean not null default false,         -- by the agent itself: a repeat is accepted
  started    timestamptz,
  finished   timestamptz not null default now(),
  progress   real,
  message    text,
  log_bytes  bigint not null default 0,
  result     jsonb,
  error      jsonb,                                  -- {type, message, traceback?}
  primary key (id)) partition by range (id);
create index on job_done (owner_id, state, id);

-- A job as its owner sees it, wherever it is now: exactly one of the four tables
-- joined here holds it in any snapshot.
create view job_view as
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
    greatest(0, date_part('epoch', coalesce(d.finished, now()) - coalesce(d.started, l.started))) end as run_seconds
from job j
join lane n on n.id = j.lane
left join job_done d on d.id = j.id and d.owner_id = j.owner_id
left join job_lease l on l.id = j.id
left join job_ready r on r.lane = j.lane and r.id = j.id
left join job_delayed y on y.id = j.id;

-- Earlier attempts; the current one is in job_lease, the last one in job_done.
create table job_attempt (
  id         bigint not null,
  run        smallint not null,
  attempt    smallint not null,
  lease      uuid not null,
  session_id bigint not null,
  worker_id  int not null,
  outcome    smallint not null check (outcome between 2 and 7),
  reported   boolean not null,
  started    timestamptz not null,
  ended      timestamptz not null default now(),
  log_bytes  bigint not null default 0,
  error      jsonb,
  primary key (id, run)) partition by range (id);

create table job_log (
  id   bigint not null,
  run  smallint not null,
  off  bigint not null,                              -- of the first byte of data
  data bytea not null,
  primary key (id, run, off)) partition by range (id);

-- Files below GPUPOOL_STORE; a later run's file of the same name replaces an earlier one's.
create table artifact (
  id         bigint not null,
  name       text not null check (length(name) <= 1100),
  run        smallint not null,
  owner_id   int not null,
  size       bigint not null check (size >= 0),
  sha256     bytea not null check (length(sha256) = 32),
  path       text not null,                          -- random; below the store
  created_at timestamptz not null default now(),
  primary key (id, name)) partition by range (id);

-- Finished jobs of a worker: deltas by the statements, folded like lanes.
create table worker_tally (
  worker_id int primary key,
  succeeded bigint not null default 0,
  failed    bigint not null default 0)
  with (fillfactor = 50);
create table worker_delta (
  worker_id int not null,
  succeeded int not null,
  failed    int not null)
  with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- ---- what happened --------------------------------------------------------

-- Streams read rows below the snapshot's xmin in order of (xid, id): ids are not in commit order.
create table event (
  id       bigint generated always as identity,
  xid      xid8 not null default pg_current_xact_id(),
  at       timestamptz not null default now(),
  owner_id int not null,
  topic    text not null check (topic in ('worker', 'job', 'account', 'pool')),
  what     text not null,                            -- the new state, or what was done
  subjects bigint[] not null,                        -- one row for all of one statement
  data     jsonb) partition by range (at);
create index on event (xid, id);

create table audit (
  id         bigint generated always as identity,
  at         timestamptz not null default now(),
  user_id    int,
  token_id   bigint,                                 -- null = browser or program
  action     text not null,                          -- the route's or command's name
  object     text,
  detail     jsonb,
  address    text,
  request_id text) partition by range (at);
create index on audit (at, id);

create table decision (
  id      bigint generated always as identity,
  at      timestamptz not null default now(),
  kind    text not null check (kind in ('placement', 'scaling', 'refusal', 'retry', 'start', 'stop', 'lost')),
  subject text not null,                             -- 'job 123', 'worker 4'
  reason  text not null,
  inputs  jsonb) partition by range (at);
create index on decision (at, id);
create index on decision (subject, at);

-- ---- partitions: made ahead, dropped by age -------------------------------

create function partition_tables() returns table (name text, by_id boolean) language sql immutable as
  $$ values ('job', true), ('job_done', true), ('job_attempt', true), ('job_log', true), ('artifact', true),
            ('event', false), ('audit', false), ('decision', false) $$;

create function partition_ahead(days int) returns int
language plpgsql security definer set search_path = gpupool, pg_temp as $$
declare t record; d date; made int := 0; part text;
begin
  perform pg_advisory_xact_lock(hashtext('gpupool.partitions'));
  for t in select * from partition_tables() loop
    for k in -1..days loop
      d := (now() at time zone 'utc')::date + k;
      part := t.name || '_' || to_char(d, 'YYYYMMDD');
      if to_regclass('gpupool.' || part) is null then
        if t.by_id then
          execute format('create table %I partition of %I for values from (%s) to (%s)', part, t.name, day_id(d), day_id(d + 1));
        else
          execute format('create table %I partition of %I for values from (%L) to (%L)', part, t.name,
                         d::timestamp at time zone 'utc', (d + 1)::timestamp at time zone 'utc');
        end if;
        made := made + 1;
      end if;
    end loop;
  end loop;
  return made;
end $$;

-- Drops one day of one table if it is older than `keep` days and nothing of it waits or runs.
-- One table a call, so that its lock is short; the name dropped, or null when nothing is left to do.
create function partition_drop(keep int, keep_audit int) returns text
language plpgsql security definer set search_path = gpupool, pg_temp as $$
declare p record; d date; lo bigint; hi bigint;
begin
  for p in
    select c.relname part, t.name, t.by_id
    from partition_tables() t
    join pg_class parent on parent.relname = t.name and parent.relnamespace = 'gpupool'::regnamespace
    join pg_inherits i on i.inhparent = parent.oid
    join pg_class c on c.oid = i.inhrelid
    order by c.relname
  loop
    d := to_date(right(p.part, 8), 'YYYYMMDD');
    continue when d >= (now() at time zone 'utc')::date - case when p.name = 'audit' then keep_audit else keep end;
    if p.by_id then
      lo := day_id(d); hi := day_id(d + 1);
      continue when exists (select from job_lease where id >= lo and id < hi)
                 or exists (select from job_delayed where id >= lo and id < hi)
                 or exists (select from lane l cross join lateral
                      (select 1 from job_ready r where r.lane = l.id and r.id >= lo and r.id < hi limit 1) x);
    end if;
    execute format('drop table %I', p.part);
    return p.part;
  end loop;
  return null;
end $$;

select partition_ahead(3);

-- ---- what only the right token may do -------------------------------------

-- A new enrolment token for a session that a person starts by hand; the web role
-- may not write sessions otherwise.  Null: there is no such session to enrol.
create function session_enrol(worker int, new_hash bytea) returns timestamptz
language sql volatile security definer set search_path = gpupool, pg_temp as $$
  update session s set enrol_hash = new_hash, instance = null,
    enrol_until = now() + make_interval(secs => p.enrol_seconds)
  from provider_policy p
  where s.worker_id = worker and s.state = 'starting' and s.provider = 'manual' and p.provider = s.provider
  returning s.enrol_until $$;

-- A running session ends sooner than it was to: never later.  The web role may not
-- write sessions otherwise.
create function session_shorten(worker int, seconds int) returns void
language sql volatile security definer set search_path = gpupool, pg_temp as $$
  update session s set limit_seconds = least(s.limit_seconds, seconds),
    deadline = case when s.registered_at is not null then least(s.deadline, s.registered_at + make_interval(secs => seconds)) end
  where s.worker_id = worker and s.state <> 'ended' $$;

-- ---- grants ---------------------------------------------------------------

revoke all on all tables in schema gpupool from public;
grant select on schema_migration to public; -- every program asks whether it fits
revoke all on all functions in schema gpupool from public;
grant usage on schema gpupool to gpupool_web, gpupool_events, gpupool_secrets, gpupool_provisioner, gpupool_local;
grant execute on function next_job_id(), day_id(date), id_time(bigint) to gpupool_web, gpupool_events, gpupool_provisioner, gpupool_local;
grant execute on function partition_ahead(int), partition_drop(int, int), partition_tables() to gpupool_provisioner;
grant execute on function session_enrol(int, bytea), session_shorten(int, int) to gpupool_web;
grant usage on sequence job_seq to gpupool_web;

-- web: people and intent
grant select, insert, update, delete on users, login, api_token, idempotency to gpupool_web;
grant select on sealing_key, provider_policy, session, session_live, operation, lane, lane_delta, job, job_ready, job_delayed, job_lease,
  job_ending, job_done, job_attempt, artifact, worker, worker_tally, worker_delta, event, audit, decision to gpupool_web;
grant select (id, owner_id, provider, label, key_id, status, reason, sharing, shared_with, created_at, updated_at) on account to gpupool_web;
grant insert (owner_id, provider, label, sealed, key_id, sharing, shared_with) on account to gpupool_web;
grant update (sealed, key_id, label, sharing, shared_with, updated_at) on account to gpupool_web;
grant delete on account to gpupool_web;
grant insert (owner_id, account_id, provider, title, accelerator, email, desired, state, reason_code, reason, max_session_seconds, idle_stop_seconds) on worker to gpupool_web;
grant update (title, accelerator, email, desired, generation, version, max_session_seconds, idle_stop_seconds, updated_at) on worker to gpupool_web;
grant insert (worker_id, provider, kind, generation) on operation to gpupool_web;
grant select on job_view to gpupool_web;
grant insert on lane, lane_delta, job, job_ready, job_delayed, job_ending, job_done, job_attempt to gpupool_web;
grant delete on job_ready, job_delayed, job_lease, job_done to gpupool_web;
grant update (ready) on lane to gpupool_web; -- for row locks of on conflict only
grant insert on event, audit, decision to gpupool_web;

-- events: what agents say
grant select on users, login, api_token, provider_policy, worker, session, session_live, lane, lane_delta, job, job_ready, job_lease, job_ending,
  job_done, job_attempt, job_log, artifact, worker_tally, worker_delta, event, operation to gpupool_events;
grant select (id, owner_id, provider, sharing, shared_with) on account to gpupool_events;
grant update (last_used_at) on login, api_token to gpupool_events;
grant update (state, token_hash, enrol_hash, instance, agent, protocol, capabilities, got, gpu_memory, slots, registered_at, deadline,
  ended_at, end_code, end_reason, log_tail) on session to gpupool_events;
grant insert, update on session_live to gpupool_events;
grant update (state, reason_code, reason, version, updated_at, early_deaths) on worker to gpupool_events;
grant insert, delete on lane_delta, worker_delta to gpupool_events;
grant update (ready) on lane to gpupool_events;
grant insert, update on worker_tally to gpupool_events;
grant insert, delete, update on job_ready, job_delayed, job_lease to gpupool_events;
grant select on job_delayed to gpupool_events;
grant insert, delete on job_ending to gpupool_events;
grant insert on job_done, job_attempt, job_log, event, decision to gpupool_events;
grant insert, update, delete on artifact to gpupool_events;

-- provisioner: what providers do
grant select on all tables in schema gpupool to gpupool_provisioner;
revoke select on login, api_token, idempotency from gpupool_provisioner;
grant update (status, reason, sealed, key_id, updated_at) on account to gpupool_provisioner;
grant insert, update on sealing_key, session, session_live, operation to gpupool_provisioner;
grant update (state, reason_code, reason, version, url, session_id, early_deaths, updated_at, deleted_at, desired, generation) on worker to gpupool_provisioner;
grant delete on operation, session_live, idempotency, login to gpupool_provisioner;
grant select (created_at) on idempotency to gpupool_provisioner;
grant select (expires_at) on login to gpupool_provisioner;
grant insert, delete on lane_delta, worker_delta, job_ready, job_delayed, job_lease, job_ending to gpupool_provisioner;
grant update on job_lease, job_delayed, job_ready to gpupool_provisioner;
grant update (ready) on lane to gpupool_provisioner;
grant insert, update on worker_tally to gpupool_provisioner;
grant insert on job_done, job_attempt, event, audit, decision to gpupool_provisioner;
grant delete on artifact to gpupool_provisioner;

-- local: the same steps, for its own operations only; no credential is visible
grant select on provider_policy, job_lease, job_ending to gpupool_local;
grant select (id, owner_id, provider, label, status, sharing) on account to gpupool_local;
grant select, insert, update on operation, session, session_live to gpupool_local;
grant select on worker to gpupool_local;
grant update (state, reason_code, reason, version, url, session_id, early_deaths, updated_at, deleted_at) on worker to gpupool_local;
grant delete on session_live, job_lease, job_ending to gpupool_local;
grant insert on job_ready, job_delayed, job_done, job_attempt, lane_delta, worker_delta, event, decision to gpupool_local;
grant select on lane, job_ready, job_delayed, job_attempt to gpupool_local;
alter table operation enable row level security;
alter table worker enable row level security;
alter table session enable row level security;
create policy everyone on operation to gpupool_owner, gpupool_web, gpupool_events, gpupool_provisioner using (true) with check (true);
create policy everyone on worker to gpupool_owner, gpupool_web, gpupool_events, gpupool_provisioner using (true) with check (true);
create policy everyone on session to gpupool_owner, gpupool_web, gpupool_events, gpupool_provisioner using (true) with check (true);
create policy own on operation to gpupool_local using (provider = 'local') with check (provider = 'local');
create policy own on worker to gpupool_local using (provider = 'local') with check (provider = 'local');
create policy own on session to gpupool_local using (provider = 'local') with check (provider = 'local');
