-- name: metrics idempotent
-- Waiting jobs are counted from the lanes' own figures, so that a scrape costs the same with a
-- million of them.
select * from (
  select 1 as place, 'workers' as name, 'Workers by state.' as help, 'state' as label, s.state as value_of_label, count(w.id)::text as value
  from unnest(array['stopped', 'starting', 'waiting', 'healthy', 'unhealthy', 'draining', 'stopping', 'failed', 'needs_human']) s(state)
  left join worker w on w.state = s.state group by s.state
  union all
  select 2, 'jobs_queued', 'Jobs that wait and may start now.', '', '',
    ((select coalesce(sum(ready), 0) from lane) + (select coalesce(sum(n), 0) from lane_delta))::text
  union all
  select 3, 'jobs_delayed', 'Jobs that wait for a time.', '', '', (select count(*) from job_delayed)::text
  union all
  select 4, 'jobs_running', 'Jobs that hold a lease.', '', '', (select count(*) from job_lease)::text
  union all
  select 5, 'operations_open', 'Steps that provisioners have still to do.', '', '',
    (select count(*) from operation where state = 'open')::text
  union all
  select 6, 'operation_oldest_seconds', 'Age of the oldest open step.', '', '',
    (select coalesce(extract(epoch from now() - min(created_at)), 0)::numeric(12, 1) from operation where state = 'open')::text
  union all
  select 7, 'oldest_snapshot_seconds', 'Age of the oldest transaction that is open; a long one slows claims.', '', '',
    (select coalesce(extract(epoch from now() - min(xact_start)), 0)::numeric(12, 1) from pg_stat_activity
     where datname = current_database() and backend_xmin is not null)::text
) m order by place, value_of_label;
