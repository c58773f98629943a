-- What waits and runs, as one person sees it; an administrator sees all.  $1, $2 principal.

-- name: backlog_count idempotent
-- A lane's count is what was folded and what was not yet.
with d as materialized (select lane, sum(n) as n from lane_delta group by lane),
l as materialized (
  select l.id, l.ready + coalesce(d.n, 0) as n from lane l left join d on d.lane = l.id
  where (l.owner_id = $1::int or $2::boolean) and l.ready + coalesce(d.n, 0) > 0),
oldest as (
  select min(x.ready_since) as since from l cross join lateral (
    select r.ready_since from job_ready r where r.lane = l.id order by r.id limit 4) x),
later as (
  select count(*) filter (where why = 'run_after') as run_after, count(*) filter (where why <> 'run_after') as retry_backoff
  from job_delayed where owner_id = $1 or $2)
select coalesce((select sum(n) from l), 0)::bigint as ready, y.run_after, y.retry_backoff,
  (select count(*) from job_lease where owner_id = $1 or $2) as running,
  greatest(0, extract(epoch from now() - (select since from oldest)))::bigint as oldest_seconds
from later y;

-- name: backlog_lanes idempotent
-- The lanes that hold waiting jobs, the fullest first; at most $3.
with d as materialized (select lane, sum(n) as n from lane_delta group by lane)
select l.owner_id, l.type, l.accelerator, l.gpus, l.endpoint, l.priority, l.estimate, (l.ready + coalesce(d.n, 0))::bigint as n
from lane l left join d on d.lane = l.id
where (l.owner_id = $1::int or $2::boolean) and l.ready + coalesce(d.n, 0) > 0
order by n desc limit $3::int;

-- name: waits_note
-- Lanes whose next job waits, $1 [{lane, reason, detail, inputs}]: a decision where the reason is not what was noted, once a
-- minute at most for each; what waits no more is forgotten.
with n as materialized (
  select * from jsonb_to_recordset($1::jsonb) t(lane int, reason text, detail text, inputs jsonb)),
gone as (
  delete from lane_wait where lane not in (select lane from n)),
changed as (
  insert into lane_wait(lane, reason) select lane, reason from n order by lane
  on conflict (lane) do update set reason = excluded.reason, since = now()
  where lane_wait.reason <> excluded.reason and lane_wait.since <= now() - interval '1 minute'
  returning lane)
insert into decision(kind, subject, reason, inputs)
select 'placement', 'lane ' || n.lane, n.detail, n.inputs from n join changed c on c.lane = n.lane
returning subject;
