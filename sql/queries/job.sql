-- Jobs as people submit, see, cancel and repeat them.  What agents do to jobs is in lease.sql.
--
-- Common parameters: a statement takes the principal as (id, sees all) and touches only rows of
-- that owner, or all.  Lookups by job id name the owner too: either index then finds the row at
-- once, also in a plan that was made while the day's partition was empty.

-- name: lane_ensure
-- Lanes for $1 [{"k","owner","type","acc","gpus","endpoint","prio","est"},…]; a person has at most $2.
-- Made in one order, so that two batches do not deadlock.  A lane that another made meanwhile is
-- not seen: ask again.  Columns k, id.
with want as materialized (
  select * from jsonb_to_recordset($1::jsonb)
    t(k int, owner int, type smallint, acc text, gpus smallint, endpoint int, prio smallint, est int)),
old as (
  select w.k, l.id from want w cross join lateral (
    select id from lane l where l.owner_id = w.owner and l.type = w.type and l.accelerator = w.acc
      and l.gpus = w.gpus and l.endpoint = w.endpoint and l.priority = w.prio
      and l.estimate = w.est offset 0) l),
made as (
  insert into lane(owner_id, type, accelerator, gpus, endpoint, priority, estimate)
  select distinct w.owner, w.type, w.acc, w.gpus, w.endpoint, w.prio, w.est from want w
  where w.k not in (select k from old)
    and (select count(*) from lane l where l.owner_id = w.owner) < $2::int
  order by w.owner, w.type, w.acc, w.gpus, w.endpoint, w.prio, w.est
  on conflict do nothing
  returning *)
select k, id from old
union all
select w.k, m.id from made m join want w
  on (w.owner, w.type, w.acc, w.gpus, w.endpoint, w.prio, w.est)
    = (m.owner_id, m.type, m.accelerator, m.gpus, m.endpoint, m.priority, m.estimate);

-- name: job_submit
-- All of $1 [{"l" lane,"n" name,"g" tags,"p" payload,"r" retry on,"m" most attempts,"t" timeout,
-- "e" estimate,"a" run after,"s" secrets' names},…] for owner $2, or nothing when one of the lanes $3 does not exist
-- (a cache of another database, or a transaction that was rolled back).  Ids in the order of $1.
with t as materialized (
  select next_job_id() as id, x.* from rows from (jsonb_to_recordset($1::jsonb)
    as (l int, n text, g text[], p jsonb, r text[], m smallint, t int, e int, a timestamptz, s text[])) with ordinality
    as x(l, n, g, p, r, m, t, e, a, s, k)
  where not exists (select from unnest($3::int[]) w(id) where not exists (select from lane where lane.id = w.id))),
j as (
  insert into job(id, owner_id, lane, name, tags, payload, retry_on, max_attempts, timeout_seconds, estimated_seconds, secrets)
  select id, $2::int, l, n, g, p, coalesce(r, '{}'), m, t, e, s from t),
ready as (
  insert into job_ready(lane, id, owner_id, max_attempts)
  select l, id, $2::int, m from t where a is null or a <= now()),
later as (
  insert into job_delayed(id, lane, owner_id, max_attempts, run_after, why)
  select id, l, $2::int, m, a, 'run_after' from t where a > now()),
counted as (
  insert into lane_delta(lane, n) select l, count(*) from t where a is null or a <= now() group by l),
told as (
  insert into event(owner_id, topic, what, subjects)
  select $2::int, 'job', 'queued', array_agg(id order by k) from t having count(*) > 0)
select id, coalesce(a > now(), false) as later from t order by k;

-- name: job_get idempotent
-- $1 id; $2, $3 principal.
select v.*, j.payload,
  (select d.result from job_done d where d.id = v.id and d.owner_id = v.owner_id) as result
from job j
cross join lateral (select * from job_view v where v.id = j.id and v.owner_id = j.owner_id offset 0) v
where j.id = $1::bigint and (j.owner_id = $2::int or $3::boolean);

-- name: job_states idempotent
-- What became of $1 bigint[]; $2, $3 principal.
select j.id, v.state, v.session_id
from (select distinct unnest($1::bigint[]) as id) x
cross join lateral (select id, owner_id from job j where j.id = x.id and (j.owner_id = $2::int or $3::boolean) limit 1) j
cross join lateral (select * from job_view v where v.id = j.id and v.owner_id = j.owner_id offset 0) v;

-- Lists, newest first.  $1, $2 principal; $3 one owner or null; $4 ids below this; $5 rows at most;
-- filters or null: $6 prefix of the name, $7 tag, $8 type, $9 text to find, $10 worker.  A result that is large
-- as stored is left out of a list.  Each walks one index backwards an owner and stops at $5 rows.

-- name: job_list_any idempotent
select v.*, case when v.result_size between 1 and 2048 then
  (select d.result from job_done d where d.id = v.id and d.owner_id = v.owner_id) end as result
from (
  select j.id, u.id as owner_id from users u cross join lateral (
    select j.id from job j where j.owner_id = u.id and j.id < $4::bigint
      and ($10::int is null or $10 = coalesce((select worker_id from job_lease l where l.id = j.id),
        (select worker_id from job_done d where d.id = j.id and d.owner_id = j.owner_id)))
      and ($6::text is null or starts_with(j.name, $6)) and ($7::text is null or j.tags @> array[$7])
      and ($8::int is null or (select type from lane where lane.id = j.lane) = $8)
      and ($9::text is null or strpos(lower(concat_ws(' ', j.name, j.id, array_to_string(j.tags, ' '))), lower($9)) > 0)
    order by j.id desc limit $5::int) j
  where (u.id = $1::int or $2::boolean) and ($3::int is null or u.id = $3)
  order by j.id desc limit $5::int) c
cross join lateral (select * from job_view v where v.id = c.id and v.owner_id = c.owner_id offset 0) v
order by c.id desc;

-- name: job_list_queued idempotent
-- Through the owner's lanes, since the hot table has no other index; and those that wait for a time.
-- None of them has a worker.
select v.*, null::jsonb as result
from (
  select r.id, u.id as owner_id from users u cross join lateral (
    select r.id from lane l cross join lateral (
      select r.id from job_ready r where r.lane = l.id and r.id < $4::bigint
        and (coalesce($6::text, $7::text, $9::text) is null or coalesce((select true from job j where j.id = r.id and j.owner_id = r.owner_id
          and ($6 is null or starts_with(j.name, $6)) and ($7 is null or j.tags @> array[$7])
          and ($9 is null or strpos(lower(concat_ws(' ', j.name, j.id, array_to_string(j.tags, ' '))), lower($9)) > 0)), false))
      order by r.id desc limit $5::int) r
    where l.owner_id = u.id and ($8::int is null or l.type = $8)
    union all
    select r.id from (
      select y.id from job_delayed y where y.owner_id = u.id and y.id < $4::bigint
        and ($8::int is null or (select type from lane where lane.id = y.lane) = $8)
        and (coalesce($6::text, $7::text, $9::text) is null or coalesce((select true from job j where j.id = y.id and j.owner_id = y.owner_id
          and ($6 is null or starts_with(j.name, $6)) and ($7 is null or j.tags @> array[$7])
          and ($9 is null or strpos(lower(concat_ws(' ', j.name, j.id, array_to_string(j.tags, ' '))), lower($9)) > 0)), false))
      order by y.id desc limit $5::int) r) r
  where (u.id = $1::int or $2::boolean) and ($3::int is null or u.id = $3) and $10::int is null
  order by r.id desc limit $5::int) c
cross join lateral (select * from job_view v where v.id = c.id and v.owner_id = c.owner_id offset 0) v
order by c.id desc;

-- name: job_list_running idempotent
select v.*, null::jsonb as result
from (
  select r.id, u.id as owner_id from users u cross join lateral (
    select l.id from job_lease l where l.owner_id = u.id and l.id < $4::bigint and ($10::int is null or l.worker_id = $10)
      and ($8::int is null or (select type from lane where lane.id = l.lane) = $8)
      and (coalesce($6::text, $7::text, $9::text) is null or coalesce((select true from job j where j.id = l.id and j.owner_id = l.owner_id
        and ($6 is null or starts_with(j.name, $6)) and ($7 is null or j.tags @> array[$7])
        and ($9 is null or strpos(lower(concat_ws(' ', j.name, j.id, array_to_string(j.tags, ' '))), lower($9)) > 0)), false))
    order by l.id desc limit $5::int) r
  where (u.id = $1::int or $2::boolean) and ($3::int is null or u.id = $3)
  order by r.id desc limit $5::int) c
cross join lateral (select * from job_view v where v.id = c.id and v.owner_id = c.owner_id offset 0) v
order by c.id desc;

-- name: job_list_done idempotent
-- $11 the state.
select v.*, case when v.result_size between 1 and 2048 then
  (select d.result from job_done d where d.id = v.id and d.owner_id = v.owner_id) end as result
from (
  select r.id, u.id as owner_id from users u cross join lateral (
    select d.id from job_done d where d.owner_id = u.id and d.state = $11::smallint and d.id < $4::bigint and ($10::int is null or d.worker_id = $10)
      and ($8::int is null or (select type from lane where lane.id = d.lane) = $8)
      and (coalesce($6::text, $7::text, $9::text) is null or coalesce((select true from job j where j.id = d.id and j.owner_id = d.owner_id
        and ($6 is null or starts_with(j.name, $6)) and ($7 is null or j.tags @> array[$7])
        and ($9 is null or strpos(lower(concat_ws(' ', j.name, j.id, array_to_string(j.tags, ' '))), lower($9)) > 0)), false))
    order by d.id desc limit $5::int) r
  where (u.id = $1::int or $2::boolean) and ($3::int is null or u.id = $3)
  order by r.id desc limit $5::int) c
cross join lateral (select * from job_view v where v.id = c.id and v.owner_id = c.owner_id offset 0) v
order by c.id desc;

-- name: job_attempts idempotent
-- $1 id; $2, $3 principal.  No row: no such job; one row without a run: not tried yet.
select a.* from job j left join lateral (
  select run, attempt, outcome, worker_id, session_id, reported, started, ended, log_bytes, error
  from job_attempt t where t.id = j.id
  union all
  select run, attempt, 1, worker_id, session_id, false, started, null, log_bytes, null
  from job_lease l where l.id = j.id
  union all
  select run, attempt, state, worker_id, session_id, reported, started, finished, log_bytes, error
  from job_done d where d.id = j.id and d.owner_id = j.owner_id and d.lease is not null) a on true
where j.id = $1::bigint and (j.owner_id = $2::int or $3::boolean)
order by a.run;

-- name: job_artifacts idempotent
-- $1 id; $2, $3 principal.  No row: no such job; one row without a name: none.
select a.name, a.run, a.size, encode(a.sha256, 'hex') as sha256, a.created_at
from job j left join artifact a on a.id = j.id
where j.id = $1::bigint and (j.owner_id = $2::int or $3::boolean)
order by a.name;

-- name: job_cancel
-- Each of $1 bigint[] that waits or runs ends now; $2, $3 principal.  A lease is gone with that, and
-- its session keeps the slot filled (job_ending) until the agent says that the process is gone.
-- A row that is not cancelled had ended, or was between two places: look, and run this again.
-- job_ready may be deleted by ctid because its rows are never updated; job_lease may not.
with mine as materialized (
  select j.* from (select distinct unnest($1::bigint[]) as id) x
  cross join lateral (select id, owner_id, lane from job j where j.id = x.id and (j.owner_id = $2::int or $3::boolean) limit 1) j),
ready as (
  delete from job_ready where ctid = any(array(
    select r.ctid from mine m cross join lateral (
      select r.ctid from job_ready r where r.lane = m.lane and r.id = m.id offset 0) r))
  returning *),
later as (
  delete from job_delayed where id = any(array(select id from mine)) returning *),
held as (
  delete from job_lease where id = any(array(select id from mine)) returning *),
counted as (
  insert into lane_delta(lane, n) select lane, -count(*) from ready group by lane),
ended as (
  insert into job_done(id, owner_id, lane, state, attempt, run, max_attempts, lease, session_id, worker_id, started, progress, message, log_bytes)
  select id, owner_id, lane, 5, attempt, run, max_attempts, null::uuid, null::bigint, null::int, null::timestamptz, null::real, null::text, 0 from ready
  union all
  select id, owner_id, lane, 5, attempt, run, max_attempts, null, null, null, null, null, null, 0 from later
  union all
  select id, owner_id, lane, 5, attempt, run, max_attempts, lease, session_id, worker_id, started, progress, message, log_bytes from held
  returning id, owner_id, worker_id),
ending as (
  insert into job_ending(session_id, id, lease, gpus) select session_id, id, lease, gpus from held),
told as (
  insert into event(owner_id, topic, what, subjects)
  select owner_id, 'job', 'cancelled', array_agg(id order by id) from ended group by owner_id)
select m.id, e.id is not null as cancelled, e.worker_id from mine m left join ended e on e.id = m.id order by m.id;

-- name: job_retry
-- A finished job waits again, with all its attempts; $1 id; $2, $3 principal.  No row: not finished,
-- not there, or its cancelled process may still run.
with d as (
  delete from job_done where id = $1::bigint and (owner_id = $2::int or $3::boolean)
    and not exists (select from job_ending e where e.id = $1)
  returning *),
past as (
  insert into job_attempt(id, run, attempt, lease, session_id, worker_id, outcome, reported, started, ended, log_bytes, error)
  select id, run, attempt, lease, session_id, worker_id, state, reported, started, finished, log_bytes, error
  from d where lease is not null),
ready as (
  insert into job_ready(lane, id, owner_id, attempt, run, max_attempts)
  select lane, id, owner_id, 0, run, max_attempts from d),
counted as (
  insert into lane_delta(lane, n) select lane, 1 from d),
told as (
  insert into event(owner_id, topic, what, subjects) select owner_id, 'job', 'queued', array[id] from d),
why as (
  insert into decision(kind, subject, reason, inputs)
  select 'retry', 'job ' || id, 'A person asked for it.', jsonb_build_object('userId', $2::int, 'state', state, 'run', run) from d)
select id, lane from d;

-- name: pool_look idempotent
-- Workers that run or are to run, as placement sees them: for forecasts, and for the reason that a
-- waiting job shows.  The claim decides.
select w.id, w.state, w.desired, w.accelerator, a.owner_id as account_owner,
  case when p.sharing_allowed then a.sharing else 'none' end as sharing, array_to_string(a.shared_with, ',') as shared_with,
  s.id as session_id, s.state as session_state, array_to_string(s.got, ',') as got, s.slots, x.free,
  date_part('epoch', s.deadline - now()) as left_seconds, w.reason_code, w.reason
from worker w
join account a on a.id = w.account_id
join provider_policy p on p.provider = w.provider
left join session s on s.id = w.session_id and s.state <> 'ended'
left join lateral (select s.slots
    - coalesce((select sum(l.gpus) from job_lease l where l.session_id = s.id), 0)
    - coalesce((select sum(e.gpus) from job_ending e where e.session_id = s.id), 0) as free) x on true
where w.state <> 'deleted' and (w.desired = 'running' or s.id is not null)
order by w.id
limit 1000;

-- name: pool_scaling idempotent
-- What scaling policies that are switched on could still start, a row a person and kind of machine: paused, and
-- whether all accounts of theirs that have such machines are out of hours, for how long.
select s.owner_id, r.resource, s.paused, coalesce(h.dry, false) as dry, h.resets_in
from scaling_policy s
cross join (values ('gpu'), ('cpu'), ('tpu')) r(resource)
left join lateral (
  select bool_and(coalesce(q.remaining_seconds < l.min_session_seconds, false)) as dry,
    date_part('epoch', min(q.resets_at) - now()) as resets_in
  from account a
  left join provider_limit l on l.provider = a.provider and l.resource = r.resource
  left join lateral (select f.remaining_seconds, f.resets_at from quota_figures(a.id, l.resource) f offset 0) q on true
  where a.owner_id = s.owner_id and a.deleted_at is null and (s.accounts = '{}' or a.id = any(s.accounts))
    and (l.resource is not null or not exists (select from provider_limit x where x.provider = a.provider))) h on not s.paused
where s.enabled
order by s.owner_id
limit 3000;
