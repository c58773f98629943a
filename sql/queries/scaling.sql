-- Scaling: policies of persons, the snapshot that the autoscaler decides on, and what it leaves behind.

-- name: scaling_lock
-- One at a time decides and acts: until the transaction ends …
select pg_advisory_xact_lock(('x' || substr(md5('gpupool.scaling'), 1, 8))::bit(32)::int8);

-- name: scaling_begin
-- … or until the round of the leader does.  wanted: a policy is on.
select pg_try_advisory_lock(('x' || substr(md5('gpupool.scaling'), 1, 8))::bit(32)::int8) as mine,
  exists (select from scaling_policy where enabled) as wanted;

-- name: scaling_holds
-- Has this connection the lock of such a round?  One that was made anew has not.
select exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and granted
  and classid = 0 and objid = ('x' || substr(md5('gpupool.scaling'), 1, 8))::bit(32)::int8::oid and objsubid = 1) as holds;

-- name: scaling_end
select pg_advisory_unlock(('x' || substr(md5('gpupool.scaling'), 1, 8))::bit(32)::int8);

-- name: scaling_get idempotent
-- The policy of owner $1, who may be another's only for $3 (sees all); $2 principal.  A row without `version`: none was set.
select u.id as owner_id, u.name as owner, p.enabled, p.paused, p.accelerator, p.min_workers, p.max_workers, p.queue_threshold,
  p.target_wait_seconds, p.up_delay_seconds, p.down_delay_seconds, p.idle_stop_seconds, array_to_string(p.accounts, ',') as accounts,
  p.account_order, p.version, p.updated_at
from users u left join scaling_policy p on p.owner_id = u.id
where u.id = $1::int and (u.id = $2::int or $3::boolean);

-- name: scaling_accounts idempotent
-- Which of accounts $2 owner $1 may use.
select a.id from account a join provider_policy p on p.provider = a.provider
where a.id = any($2::int[]) and a.deleted_at is null
  and (a.owner_id = $1::int or (p.sharing_allowed and (a.sharing = 'all' or (a.sharing = 'named' and $1 = any(a.shared_with)))));

-- name: scaling_put
-- $1 owner; the version that it must have: $2 (0 = there must be none, null = whatever there is); then its fields.
-- No row: another version.
insert into scaling_policy(owner_id, enabled, paused, accelerator, min_workers, max_workers, queue_threshold, target_wait_seconds,
  up_delay_seconds, down_delay_seconds, idle_stop_seconds, accounts, account_order)
select $1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::int[], $14
where coalesce($2::int, 0) = 0 or exists (select from scaling_policy where owner_id = $1::int)
on conflict (owner_id) do update set enabled = excluded.enabled, paused = excluded.paused, accelerator = excluded.accelerator,
  min_workers = excluded.min_workers, max_workers = excluded.max_workers, queue_threshold = excluded.queue_threshold,
  target_wait_seconds = excluded.target_wait_seconds, up_delay_seconds = excluded.up_delay_seconds,
  down_delay_seconds = excluded.down_delay_seconds, idle_stop_seconds = excluded.idle_stop_seconds, accounts = excluded.accounts,
  account_order = excluded.account_order, version = scaling_policy.version + 1, updated_at = now()
where $2::int is null or scaling_policy.version = $2
returning version;

-- name: scaling_look idempotent
-- The snapshot of domain/autoscaler.h: a row an object, as JSON.  $1: whose plan this is (his policy counts as on), or null.
with pol as materialized (
  select p.*, s.up_since, s.down_since
  from scaling_policy p join users u on u.id = p.owner_id left join scaling_state s on s.owner_id = p.owner_id
  where (p.enabled and u.active and u.role <> 'viewer') or p.owner_id = $1::int),
acc as materialized (
  select a.id, a.owner_id, a.provider, a.status, a.reason, a.sealed_version = a.checked_version as checked,
    case when p.sharing_allowed then a.sharing else 'none' end as sharing, a.shared_with, c.open_until, c.reason as circuit
  from account a join provider_policy p on p.provider = a.provider left join account_circuit c on c.account_id = a.id and c.open_until > now()
  where a.deleted_at is null and a.deleting_at is null and (a.owner_id in (select owner_id from pol) or (p.sharing_allowed and a.sharing <> 'none'))),
n as materialized (
  select lane, sum(n) as n
  from (select id as lane, ready as n from lane where ready > 0 union all select lane, n from lane_delta) t
  group by lane having sum(n) > 0),
cold as materialized (
  select w.account_id, avg(extract(epoch from s.registered_at - s.started_at))::int as seconds
  from worker w join session s on s.id = w.session_id where s.registered_at is not null group by w.account_id)
select 'now' as kind, 0::bigint as id, to_json((extract(epoch from now()) * 1000)::bigint) as doc
union all
select 'policies', x.owner, row_to_json(x) from (
  select owner_id as owner, paused, accelerator, min_workers as min, max_workers as max, queue_threshold as threshold,
    target_wait_seconds as "targetWait", up_delay_seconds as "upDelay", down_delay_seconds as "downDelay", coalesce(idle_stop_seconds, 0) as "idleStop",
    accounts, account_order = 'expiring' as expiring, coalesce((extract(epoch from up_since) * 1000)::bigint, 0) as "upSince",
    coalesce((extract(epoch from down_since) * 1000)::bigint, 0) as "downSince" from pol) x
union all
select 'accounts', x.id, row_to_json(x) from (
  select a.id, a.owner_id as owner, a.provider, a.provider not in ('manual', 'colab') as startable, a.sharing, a.shared_with as "sharedWith",
    case when a.status in ('needs_human', 'disabled') and a.checked is not false then 'account' when a.open_until is not null then 'circuit' else '' end as blocked,
    case when a.status in ('needs_human', 'disabled') and a.checked is not false then coalesce(a.reason, 'The account needs its owner.')
      when a.open_until is not null then coalesce(a.circuit, 'Its provider does not answer just now.') else '' end as "blockedWhy",
    coalesce((extract(epoch from a.open_until) * 1000)::bigint, 0) as "blockedUntil",
    coalesce((select seconds from cold where account_id = a.id), 60) as cold,
    (select json_agg(json_build_object('name', q.resource, 'left', coalesce(q.remaining_seconds, -1),
        'resets', coalesce((extract(epoch from q.resets_at) * 1000)::bigint, 0), 'slots', coalesce(greatest(0, q.concurrent - q.live), -1),
        'session', coalesce(q.session_seconds, -1), 'min', l.min_session_seconds,
        'coolUntil', coalesce((extract(epoch from c.until) * 1000)::bigint, 0), 'coolWhy', coalesce(c.reason, '')) order by q.resource)
      from quota_now q join provider_limit l on l.provider = a.provider and l.resource = q.resource
      left join account_cooldown c on c.account_id = q.account_id and c.resource = q.resource and c.until > now()
      where q.account_id = a.id) as resources
  from acc a) x
union all
select 'names', x.ord, row_to_json(x) from (
  select row_number() over (order by provider, name) as ord, provider, name, resource, array_to_string(gets, ',') as names
  from provider_accelerator where usable and provider in (select provider from acc)) x
union all
select 'workers', x.id, row_to_json(x) from (
  select w.id, w.owner_id as owner, w.account_id as account, w.version, w.accelerator, w.state, w.desired = 'running' as wanted,
    coalesce(s.state, '') as session, s.registered_at is not null as registered, coalesce(s.then_stop, false) as "thenStop",
    coalesce(array_to_string(g.got, ','), '') as got, coalesce(g.slots, 0) as slots, l.gpus + e.gpus as busy, l.n as leases,
    case when s.deadline is not null then floor(extract(epoch from s.deadline - now()))::bigint else -1 end as left,
    case when l.n + e.n = 0 and s.registered_at is not null
      then (extract(epoch from greatest(s.registered_at, v.busy_at)) * 1000)::bigint else 0 end as "idleSince",
    coalesce(w.max_session_seconds, -1) as "maxSession"
  from worker w
  left join lateral (select * from session s where s.id = w.session_id and s.state <> 'ended' offset 0) s on true
  left join lateral (
    select got, slots from session g where g.worker_id = w.id and g.registered_at is not null order by g.id desc limit 1) g on true
  left join lateral (select busy_at from session_live v where v.session_id = s.id offset 0) v on true
  cross join lateral (select count(*) as n, coalesce(sum(gpus), 0) as gpus from job_lease l where l.session_id = s.id) l
  cross join lateral (select count(*) as n, coalesce(sum(gpus), 0) as gpus from job_ending e where e.session_id = s.id) e
  where w.state <> 'deleted' and w.desired <> 'deleted' and (w.desired = 'running' or w.owner_id in (select owner_id from pol))) x
union all
select 'lanes', x.id, row_to_json(x) from (
  select l.id, l.owner_id as owner, l.accelerator, l.gpus, l.priority, n.n as depth,
    greatest(0, extract(epoch from now() - o.since))::bigint as waited, l.estimate, l.type = 1 as resumes -- trainings go on elsewhere
  from n
  cross join lateral (select * from lane where id = n.lane offset 0) l
  cross join lateral (select min(id) as id, min(ready_since) as since from (select id, ready_since from job_ready r where r.lane = n.lane order by r.id limit 4) h having count(*) > 0) o) x
order by kind, id;

-- name: scaling_jobs idempotent
-- The first waiting jobs of lanes $1, $2 of each.
select t.ord - 1 as lane, r.id
from unnest($1::int[]) with ordinality t(lane, ord)
cross join lateral (select id from job_ready r where r.lane = t.lane order by r.id limit $2::int) r
order by t.ord, r.id;

-- name: scaling_drain
select session_drain($1::int, $2::int, $3::boolean, $4, $5) as outcome;

-- name: scaling_decided
insert into decision(kind, subject, reason, inputs) values ('scaling', $1, $2, $3::jsonb);

-- name: scaling_round
insert into scaling_round(snapshot, decisions) values ($1, $2);

-- name: scaling_rounds idempotent
-- Those below id $1, newest first, $2 at most.
select id, at, decisions::json -> 'actions' as actions from scaling_round where id < $1::bigint order by id desc limit $2::int;

-- name: scaling_round_get idempotent
select id, at, snapshot, decisions from scaling_round where id = $1::bigint;

-- name: scaling_since
-- $1 owners, $2 and $3 since when (milliseconds since 1970; 0 = it is not so).
insert into scaling_state(owner_id, up_since, down_since)
select p.owner_id, to_timestamp(nullif(t.up, 0) / 1000.0), to_timestamp(nullif(t.down, 0) / 1000.0)
from unnest($1::int[], $2::bigint[], $3::bigint[]) t(owner, up, down) join scaling_policy p on p.owner_id = t.owner
on conflict (owner_id) do update set up_since = excluded.up_since, down_since = excluded.down_since
where scaling_state.up_since is distinct from excluded.up_since or scaling_state.down_since is distinct from excluded.down_since;

-- name: scaling_settle
-- Workers that drained to be stopped: nobody starts them again.
with w as (
  select w.id from worker w join session s on s.id = w.session_id
  where w.desired = 'running' and w.state in ('stopped', 'failed') and s.state = 'ended' and s.then_stop and s.generation = w.generation
  for update of w skip locked),
moved as (
  update worker set desired = 'stopped', generation = generation + 1, version = version + 1, updated_at = now()
  where id = any(array(select id from w)) returning id, owner_id, state),
e as (
  insert into event(owner_id, topic, what, subjects) select owner_id, 'worker', 'changed', array_agg(id::bigint) from moved group by owner_id)
select id from moved;

-- name: scaling_plan_add
insert into scaling_plan(owner_id, digest) values ($1, $2) returning id, expires_at;

-- name: scaling_plan_take
-- Plan $1, if $2 may ($3 sees all): its row is locked.
select owner_id, digest, expires_at < now() as over, committed_at is not null as done
from scaling_plan where id = $1::uuid and (owner_id = $2::int or $3::boolean) for update;

-- name: scaling_plan_done
update scaling_plan set committed_at = now() where id = $1::uuid;

-- name: scaling_forget
-- Plans that are over, and $1 rounds at a time that are older than $2 days or beyond the newest $3 bytes.
with p as (delete from scaling_plan where expires_at < now() - interval '1 hour'),
r as (
  delete from scaling_round where id = any(array(
    select id from (
      select id, at, sum(pg_column_size(snapshot) + pg_column_size(decisions)) over (order by id desc) as bytes from scaling_round) t
    where at < now() - make_interval(days => $2::int) or bytes > $3::bigint order by id limit $1::int)))
select 1;
