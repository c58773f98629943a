-- What agents say and are given.  Every statement takes many agents' calls at once
-- and joins the session by its token itself, so a revoked token is dead at once.
--
-- The plans must not turn: rows are looked up by `cross join lateral (… offset 0)`
-- or `(… for update)`, which is never flattened, and changed by
-- `id = any (array(select …))`.  A table that has other indices holding the id is asked by
-- the id alone, the rest is compared outside; where such an index could serve a look-up by
-- id of a partition that was seen empty, `between id and id order by id` leaves the key only.
-- Leases are the only fence.

-- name: agent_register
-- $1 [{i, hash, token, instance, agent, protocol, capabilities, got, memory, slots}]; one row each
-- that has a session.  verdict: ok, taken (another instance), gone (over).
-- An agent that registers anew knows nothing of its leases: they may be reaped at once.
-- Its time runs from when its provider last said that it waits, else from its start: so the ledger counts, and the
-- provider, which ends it by its own clock, counts from later.
with q as (
  select * from jsonb_to_recordset($1::jsonb) t(i int, hash text, token text, instance text, agent text, protocol smallint,
    capabilities jsonb, got text[], memory bigint, slots smallint)),
-- Sessions are locked in the order of their ids, as by all who lock several.
known as materialized (
  select q.*, s.id as session_id from q cross join lateral (
    select id from session s where s.enrol_hash = decode(q.hash, 'hex') offset 0) s
  order by s.id),
s as materialized (
  select q.i, q.hash, q.token, q.instance, q.agent, q.protocol, q.capabilities, q.got, q.memory, q.slots,
    s.id, s.worker_id, s.owner_id, s.registered_at,
    case when s.state = 'ended' or w.desired <> 'running' or s.deadline < now()
           or (s.registered_at is null and s.enrol_until < now()) then 'gone'
         when s.instance <> q.instance then 'taken'
         else 'ok' end verdict
  from known q cross join lateral (
    select * from session s where s.id = q.session_id and s.enrol_hash = decode(q.hash, 'hex') for update) s
  cross join lateral (
    select desired from worker where id between s.worker_id and s.worker_id order by id limit 1) w),
good as materialized (
  select * from s where verdict = 'ok'),
up as (
  update session s set (state, token_hash, instance, agent, protocol, capabilities, got, gpu_memory, slots, registered_at, deadline) = (
    select case s.state when 'starting' then 'running' else s.state end, decode(g.token, 'hex'), g.instance, g.agent, g.protocol,
      g.capabilities, g.got, g.memory, g.slots, coalesce(s.registered_at, now()),
      coalesce(s.deadline, coalesce(greatest(s.queued_at, s.launched_at), now()) + s.limit_seconds * interval '1 second')
    from good g where g.id = s.id)
  where s.id = any (array(select id from good))
  returning s.id, s.deadline),
live as (
  insert into session_live(session_id) select id from good
  on conflict (session_id) do update set last_heartbeat = now()),
lost as (
  update job_lease set until = '-infinity'
  where session_id = any (array(select id from good where registered_at is not null))),
w as (
  update worker set state = 'healthy', reason_code = null, reason = null, version = version + 1, updated_at = now()
  where id = any (array(select worker_id from good)) and state in ('starting', 'waiting', 'needs_human', 'unhealthy')
  returning id, owner_id),
e as (
  insert into event(owner_id, topic, what, subjects)
  select owner_id, 'worker', 'healthy', array_agg(id) from w group by owner_id)
select s.i, s.verdict, s.worker_id, (select extract(epoch from up.deadline - now()) from up where up.id = s.id)::float8 seconds_left
from s;

-- name: claim_enter
-- $1 [{i, hash, holding}]: who claims, what may run there, which orders wait, and which leases the
-- agent does not name (holding null: not asked).  No row: nobody has this token.  Whose jobs may run is a matter
-- of the account: its owner may not be the worker's, who may have started it while the account was shared.
with q as (
  select * from jsonb_to_recordset($1::jsonb) t(i int, hash text, holding uuid[])),
s as materialized (
  select q.i, q.holding, s.*
  from q cross join lateral (
    select id, worker_id, account_id, state, protocol, got, gpu_memory, slots, deadline, resource
    from session where token_hash = decode(q.hash, 'hex') offset 0) s)
select s.i, s.id session_id, s.worker_id, a.owner_id account_owner, s.state, w.desired, s.protocol, array_to_string(s.got, ',') got, s.gpu_memory,
  s.slots, extract(epoch from s.deadline - now())::float8 seconds_left,
  case when p.sharing_allowed then a.sharing else 'none' end sharing, array_to_string(a.shared_with, ',') shared_with,
  extract(epoch from (select min(q.resets_at) from quota q where q.account_id = s.account_id and q.resource = s.resource
    and q.resets_at > now()) - now())::float8 hours_end,
  (select coalesce(sum(l.gpus), 0) from job_lease l where l.session_id = s.id)
    + (select coalesce(sum(e.gpus), 0) from job_ending e where e.session_id = s.id) busy,
  (select string_agg(e.id || ' ' || e.lease, ',') from job_ending e where e.session_id = s.id) cancels,
  array_to_string(array(select l.id from job_lease l where l.session_id = s.id and l.lease <> all (s.holding)), ',') missing
from s
cross join lateral (select desired from worker where id between s.worker_id and s.worker_id order by id limit 1) w
cross join lateral (select owner_id, provider, sharing, shared_with from account where id = s.account_id offset 0) a
cross join lateral (select sharing_allowed from provider_policy where provider = a.provider offset 0) p;

-- name: claim_again
-- $1 session, $2 job: leases whose delivery may have been lost, with the same lease.
select l.id, l.lease, l.session_id, l.lane, l.attempt, l.gpus, l.seconds, j.name, j.payload, j.timeout_seconds, j.secrets, n.type
from unnest($1::bigint[], $2::bigint[]) t(session_id, id)
cross join lateral (
  select * from job_lease where id = t.id offset 0) l
cross join lateral (
  select name, payload, timeout_seconds, to_json(secrets) secrets from job where id = l.id and owner_id = l.owner_id offset 0) j
cross join lateral (
  select type from lane where id = l.lane offset 0) n
where l.session_id = t.session_id;

-- name: claim_watch
-- $1 sessions with a parked claim, $2 the room that is known of each, $3 the lowest protocol that is spoken:
-- those that orders wait for, and those that have more room (a result went to another process).
select t.id
from unnest($1::bigint[], $2::int[]) t(id, free)
cross join lateral (
  select worker_id, state, protocol, slots from session where id = t.id offset 0) s
cross join lateral (
  select desired from worker where id between s.worker_id and s.worker_id order by id limit 1) w
where s.state <> 'running' or w.desired <> 'running' or s.protocol < $3::int
  or exists (select from job_ending e where e.session_id = t.id)
  or (t.free < s.slots and t.free < s.slots - (select coalesce(sum(l.gpus), 0) from job_lease l where l.session_id = t.id));

-- name: lane_look
-- Lanes that are not empty, by what is folded and what is not yet; oldest is the floor of a claim, waited the longest
-- wait among the first few, since a retried job stands before others that wait for longer.  used: what
-- the owner has had, less what has faded, and what runs now, for at least as long as it is taken to run.
-- At most $1, of each owner those that come first: $2 seconds of waiting raise a lane by one class, $3 is the highest.
with runs as materialized (
  select owner_id, lane, sum(gpus) gpus, sum(gpus * extract(epoch from now() - started)) seconds from job_lease group by owner_id, lane),
used as materialized (
  select jsonb_object_agg(owner_id, seconds) o from (
    select owner_id, sum(seconds) seconds from (
      select owner_id, usage_left(seconds, at) seconds from owner_usage
      union all select owner_id, seconds from usage_delta
      union all select r.owner_id, greatest(r.seconds::float8, r.gpus * l.takes) from runs r cross join lateral (
        select case when estimate > 0 then estimate else (array[60, 1800, 5])[type + 1] end takes from lane where id = r.lane offset 0) l) t
    group by owner_id) t),
n as (
  select lane, sum(n) n
  from (select id lane, ready n from lane where ready > 0 union all select lane, n from lane_delta) t
  group by lane having sum(n) > 0)
select x.*
from (
  select l.id, l.type, l.accelerator, l.gpus, l.endpoint, l.owner_id, l.priority, n.n depth, o.id oldest, o.waited, u.weight, l.estimate,
    coalesce(((select o from used) ->> l.owner_id::text)::float8, 0) used,
    row_number() over (partition by l.owner_id order by least($3::int, l.priority + floor(o.waited / $2::float8)) desc, o.waited desc) place
  from n
  cross join lateral (select * from lane where id = n.lane offset 0) l
  cross join lateral (
    select min(id) id, greatest(0, extract(epoch from now() - min(ready_since)))::float8 waited
    from (select id, ready_since from job_ready r where r.lane = n.lane order by r.id limit 4) h) o
  cross join lateral (select weight from users where id = l.owner_id offset 0) u
  where o.id is not null) x
order by x.place, x.waited desc
limit $1::int;

-- name: lane_fold
-- Adds up the deltas of lanes, workers, run times and owners' use; one process at a time.  A kind keeps its last 32 runs;
-- of more than 2,000 results at once, the rest is not learnt from.
with lock as materialized (
  select pg_try_advisory_xact_lock(hashtext('gpupool.fold')) ok),
d as (
  delete from lane_delta where (select ok from lock) returning lane, n),
s as (
  select lane, sum(n) n from d group by lane having sum(n) <> 0),
u as (
  update lane l set ready = l.ready + (select s.n from s where s.lane = l.id)
  where l.id = any (array(select lane from s))),
wd as (
  delete from worker_delta where (select ok from lock) returning worker_id, succeeded, failed),
w as (
  insert into worker_tally(worker_id, succeeded, failed)
  select worker_id, sum(succeeded), sum(failed) from wd group by worker_id order by worker_id
  on conflict (worker_id) do update set succeeded = worker_tally.succeeded + excluded.succeeded,
    failed = worker_tally.failed + excluded.failed),
rd as (
  delete from run_delta where (select ok from lock) returning id, owner_id, lane, session_id, seconds),
ran as (
  select d.owner_id, l.type, j.name, array_to_string(s.got[1:2], ',') model,
    array_agg(least(31536000, greatest(1, round(d.seconds)))::int order by d.id) seconds
  from (select * from rd limit 2000) d
  cross join lateral (select name from job where id = d.id and owner_id = d.owner_id offset 0) j
  cross join lateral (select type from lane where id = d.lane offset 0) l
  cross join lateral (select got from session where id = d.session_id offset 0) s
  where j.name is not null and cardinality(s.got) > 0
  group by 1, 2, 3, 4),
rt as (
  insert into run_time(owner_id, type, name, model, seconds)
  select owner_id, type, name, model, seconds[greatest(1, cardinality(seconds) - 31):] from ran order by 1, 2, 3, 4
  on conflict (owner_id, type, name, model) do update set seen = now(), seconds = (run_time.seconds || excluded.seconds)[
    greatest(1, cardinality(run_time.seconds) + cardinality(excluded.seconds) - 31):]),
ud as (
  delete from usage_delta where (select ok from lock) returning owner_id, seconds),
us as (
  insert into owner_usage(owner_id, seconds)
  select owner_id, sum(seconds) from ud group by owner_id order by owner_id
  on conflict (owner_id) do update set seconds = usage_left(owner_usage.seconds, owner_usage.at) + excluded.seconds, at = now())
select ok from lock;

-- name: lease_claim
-- $1 lane, $2 token hash, $3 how many, $4 floor, $5 lease seconds, $6 gpus: one element a choice of the
-- placement core; $7 what the decision row says.  A session that is being ended is locked and gets nothing.  Whether
-- the lane's owner may use the account is asked again: what the choice went by is as old as the parked claim.
-- The k-th job of a lane goes to the k-th place of its arrays: a join would be a loop in a loop.
with pick as materialized (
  select t.lane, t.n, t.floor, t.seconds, t.gpus, t.ord, s.id session_id, s.worker_id
  from unnest($1::int[], $2::bytea[], $3::int[], $4::bigint[], $5::int[], $6::smallint[])
    with ordinality t(lane, hash, n, floor, seconds, gpus, ord)
  cross join lateral (
    select id, worker_id, account_id from session
    where token_hash = t.hash and state = 'running' and (deadline is null or deadline > now()) for share skip locked) s
  cross join lateral (
    select owner_id from lane where id = t.lane offset 0) l
  cross join lateral (
    select owner_id, provider, sharing, shared_with from account where id = s.account_id offset 0) a
  cross join lateral (
    select sharing_allowed from provider_policy where provider = a.provider offset 0) p
  where a.owner_id = l.owner_id
    or (p.sharing_allowed and (a.sharing = 'all' or (a.sharing = 'named' and l.owner_id = any (a.shared_with))))),
want as materialized (
  select p.lane, count(*) n, coalesce(min(p.floor), 0) floor, min(p.seconds) seconds, min(p.gpus) gpus,
    array_agg(p.session_id order by p.ord) sessions, array_agg(p.worker_id order by p.ord) workers
  from pick p cross join lateral generate_series(1, p.n) group by p.lane),
found as (
  select r.tid from want cross join lateral (
    select ctid tid from job_ready j where j.lane = want.lane and j.id >= want.floor
    order by j.id limit want.n for update skip locked) r),
gone as (
  delete from job_ready where ctid = any (array(select tid from found)) returning *),
held as (
  insert into job_lease(id, lease, session_id, worker_id, lane, owner_id, gpus, attempt, run, max_attempts, seconds, until)
  select g.id, gen_random_uuid(), w.sessions[g.k], w.workers[g.k], g.lane, g.owner_id, w.gpus, g.attempt + 1, g.run + 1,
    g.max_attempts, w.seconds, now() + make_interval(secs => w.seconds)
  from (select *, row_number() over (partition by lane order by id) k from gone) g join want w on w.lane = g.lane
  returning id, lease, session_id, lane, owner_id, attempt, gpus, seconds),
c as (
  insert into lane_delta(lane, n) select lane, -count(*) from held group by lane),
e as (
  insert into event(owner_id, topic, what, subjects)
  select owner_id, 'job', 'running', array_agg(id) from held group by owner_id),
d as (
  insert into decision(kind, subject, reason, inputs)
  select 'placement', 'claim', count(*) || ' jobs leased', $7::jsonb from held having count(*) > 0)
select h.id, h.lease, h.session_id, h.lane, h.attempt, h.gpus, h.seconds, j.name, j.payload, j.timeout_seconds, j.secrets, n.type
from held h
cross join lateral (
  select name, payload, timeout_seconds, to_json(secrets) secrets from job where id = h.id and owner_id = h.owner_id offset 0) j
cross join lateral (
  select type from lane where id = h.lane offset 0) n;

-- name: lease_renew
-- $1 [{i, hash, worker, busy, util, used, total}] agents, $2 [{i, id, lease}] what they hold, $3 {job: [fraction, message]}
-- what moved.  Never waits: a lease that is being completed this instant is skipped.  Rows of kind a: agents
-- that exist; of kind l: leases renewed.
with a as (
  select * from jsonb_to_recordset($1::jsonb) t(i int, hash text, worker bigint, busy boolean, util real, used bigint, total bigint)),
s as materialized (
  select a.*, s.id, s.worker_id, s.state, s.protocol, s.deadline, w.desired, w.state worker_state
  from a cross join lateral (
    select id, worker_id, state, protocol, deadline from session
    where token_hash = decode(a.hash, 'hex') and worker_id = a.worker offset 0) s
  cross join lateral (
    select desired, state from worker where id between s.worker_id and s.worker_id order by id limit 1) w),
by_i as materialized (
  select array_agg(s.id order by a.i) ids from a left join s on s.i = a.i and s.state <> 'ended'),
held as materialized (
  select x.id
  from jsonb_to_recordset($2::jsonb) t(i int, id bigint, lease uuid)
  cross join lateral (
    select l.id, l.session_id from job_lease l where l.id = t.id and l.lease = t.lease offset 0 for no key update skip locked) x
  where x.session_id = (select ids from by_i)[t.i + 1]),
up as (
  update job_lease l set until = now() + make_interval(secs => l.seconds),
    progress = coalesce(($3::jsonb -> l.id::text ->> 0)::real, l.progress),
    message = coalesce($3::jsonb -> l.id::text ->> 1, l.message)
  where l.id = any (array(select id from held))
  returning l.id, l.lease, l.seconds, l.session_id),
live as (
  insert into session_live(session_id, last_heartbeat, busy_at, utilization, memory_used, memory_total)
  select distinct on (id) id, now(), case when busy then now() else '-infinity' end, util, used, total
  from s where state <> 'ended' order by id, i
  on conflict (session_id) do update set last_heartbeat = now(), busy_at = greatest(session_live.busy_at, excluded.busy_at),
    utilization = coalesce(excluded.utilization, session_live.utilization),
    memory_used = coalesce(excluded.memory_used, session_live.memory_used),
    memory_total = coalesce(excluded.memory_total, session_live.memory_total)),
w as (
  update worker set state = 'healthy', reason_code = null, reason = null, version = version + 1, updated_at = now()
  where id = any (array(select worker_id from s where state = 'running' and worker_state = 'unhealthy')) and state = 'unhealthy'
  returning id, owner_id),
e as (
  insert into event(owner_id, topic, what, subjects)
  select owner_id, 'worker', 'healthy', array_agg(id) from w group by owner_id)
select 'a' kind, s.i, null::bigint id, s.id session_id, s.worker_id, s.state, s.desired, s.protocol,
  extract(epoch from s.deadline - now())::float8 seconds_left,
  (select string_agg(x.id || ' ' || x.lease, ',') from job_ending x where x.session_id = s.id) cancels,
  null::uuid lease, null::int seconds
from s
union all
select 'l', null, up.id, up.session_id, null, null, null, null, null, null, up.lease, up.seconds from up;

-- name: result_take
-- $1 [{i, hash, worker}] agents, $2 [{i, n, id, lease, state, result, error}] what they report, $3 seconds until the first retry.
-- Rows of kind a: agents that exist; of kind r: one verdict a lease: accepted, cancelled, stale, unknown.
-- A release (6) uses up no attempt; a failure returns to the queue only where the job asked for it.
-- A job may come and go between two heartbeats, so results say that a session was busy, too: every 5 seconds are enough.
with a as (
  select * from jsonb_to_recordset($1::jsonb) t(i int, hash text, worker bigint)),
s as materialized (
  select a.i, s.id, s.state, s.worker_id
  from a cross join lateral (
    select id, state, worker_id from session where token_hash = decode(a.hash, 'hex') and worker_id = a.worker offset 0) s),
by_i as materialized (
  select array_agg(s.id order by a.i) ids from a left join s on s.i = a.i and s.state <> 'ended'),
r as materialized (
  select distinct on (t.id, t.lease) t.id, t.lease, t.state, t.result, t.error, (select ids from by_i)[t.i + 1] session_id
  from jsonb_to_recordset($2::jsonb) t(i int, n int, id bigint, lease uuid, state smallint, result jsonb, error jsonb)
  where (select ids from by_i)[t.i + 1] is not null
  order by t.id, t.lease, t.n),
ok as materialized (
  select l.*, r.state reported_state, r.result, r.error,
    case when r.state in (3, 4) and l.attempt < l.max_attempts then (
      select case r.state when 3 then 'error' else 'timed_out' end = any (j.retry_on)
      from job j where j.id = l.id and j.owner_id = l.owner_id) else false end again
  from r cross join lateral (
    select * from job_lease l where l.id = r.id and l.lease = r.lease offset 0 for update) l
  where l.session_id = r.session_id),
gone as (
  delete from job_lease where id = any (array(select id from ok))),
fin as (
  insert into job_done(id, owner_id, lane, state, attempt, run, max_attempts, lease, session_id, worker_id, reported, started, progress,
    message, log_bytes, result, error)
  select id, owner_id, lane, reported_state, attempt, run, max_attempts, lease, session_id, worker_id, true, started,
    case when reported_state = 2 and progress is not null then 1 else progress end,
    message, log_bytes, result, error
  from ok where reported_state <> 6 and not again),
back as (
  insert into job_ready(lane, id, owner_id, attempt, run, max_attempts)
  select lane, id, owner_id, attempt - 1, run, max_attempts from ok where reported_state = 6),
later as (
  insert into job_delayed(id, lane, owner_id, attempt, run, max_attempts, run_after, why)
  select id, lane, owner_id, attempt, run, max_attempts, now() + least(600, $3::float8 * 2 ^ attempt) * interval '1 second', 'retry_backoff'
  from ok where again),
past as (
  insert into job_attempt(id, run, attempt, lease, session_id, worker_id, outcome, reported, started, log_bytes, error)
  select id, run, attempt, lease, session_id, worker_id, reported_state, true, started, log_bytes, error
  from ok where reported_state = 6 or again),
c as (
  insert into lane_delta(lane, n) select lane, count(*) from ok where reported_state = 6 group by lane),
wd as (
  insert into worker_delta(worker_id, succeeded, failed)
  select worker_id, count(*) filter (where reported_state = 2), count(*) filter (where reported_state in (3, 4))
  from ok where reported_state in (2, 3, 4) and not again group by worker_id),
rd as (
  insert into run_delta(id, owner_id, lane, session_id, seconds)
  select id, owner_id, lane, session_id, extract(epoch from now() - started) from ok where reported_state = 2),
busy as (
  update session_live set busy_at = now() where session_id = any (array(
    select v.session_id from session_live v
    where v.session_id = any (array(select session_id from ok)) and v.busy_at < now() - interval '5 seconds' for update skip locked))),
ending as (
  delete from job_ending where ctid = any (array(
    select e.tid from r cross join lateral (
      select ctid tid from job_ending e where e.session_id = r.session_id and e.id = r.id and e.lease = r.lease offset 0) e))),
e as (
  insert into event(owner_id, topic, what, subjects)
  select owner_id, 'job', case when again or reported_state = 6 then 'queued'
    else (array['succeeded', 'failed', 'timed_out', 'cancelled'])[reported_state - 1] end what, array_agg(id)
  from ok group by owner_id, what),
d as (
  insert into decision(kind, subject, reason, inputs)
  select 'retry', 'job ' || id, 'failed and the job asks for a retry', jsonb_build_object('attempt', attempt, 'maxAttempts', max_attempts)
  from ok where again),
rest as (
  select id, lease, session_id from r except select id, lease, session_id from ok)
select 'a' kind, s.i, s.id, null::uuid lease, s.state verdict, s.worker_id from s
union all
select 'r', null, ok.id, ok.lease, 'accepted', case when reported_state = 6 then 1 else 0 end from ok
union all
select 'r', null, rest.id, rest.lease, coalesce(
  (select case when d.lease <> rest.lease then null when d.reported then 'accepted' when d.state = 5 then 'cancelled' else 'stale' end
   from job_done d where d.id between rest.id and rest.id order by d.id limit 1),
  (select case when t.reported then 'accepted' else 'stale' end from job_attempt t where t.id = rest.id and t.lease = rest.lease limit 1),
  (select 'stale' from job j where j.id between rest.id and rest.id order by j.id limit 1),
  'unknown'), 0
from rest;

-- name: goodbye_find
-- $1 [{i, hash, worker}]: the sessions that say goodbye.
with q as (
  select * from jsonb_to_recordset($1::jsonb) t(i int, hash text, worker bigint))
select q.i, s.id, s.worker_id, s.state
from q cross join lateral (
  select id, worker_id, state from session where token_hash = decode(q.hash, 'hex') and worker_id = q.worker offset 0) s;
