-- Logs of attempts: bytes at an offset.

-- name: log_append
-- $1 token hash, $2 job, $3 lease, $4 offset, $5 bytes; $6 most bytes of a log.  One row each whose lease
-- holds.  What is there already is skipped; the piece that passes the limit is cut and ends in a marker.
with q as (
  select * from unnest($1::bytea[], $2::bigint[], $3::uuid[], $4::bigint[], $5::bytea[]) with ordinality t(hash, id, lease, off, data, i)),
l as materialized (
  select q.i, q.off, q.data, l.id, l.run, l.log_bytes, l.owner_id
  from q cross join lateral (
    select id from session where token_hash = q.hash and state <> 'ended' offset 0) s
  cross join lateral (
    select * from job_lease l where l.id = q.id and l.lease = q.lease offset 0 for no key update) l
  where l.session_id = s.id),
new as (
  select l.*, case when off <= log_bytes and log_bytes <= $6::bigint and off + length(data) > log_bytes
    then substring(data from (log_bytes - off + 1)::int) else ''::bytea end part
  from l),
cut as materialized (
  select id, run, log_bytes, i, off, case when length(part) > 0 and log_bytes + length(part) > $6::bigint
    then substring(part from 1 for ($6::bigint - log_bytes)::int) || convert_to(E'\n[The log ends here: it reached its limit.]\n', 'UTF8')
    else part end part
  from new),
put as (
  insert into job_log(id, run, off, data) select id, run, log_bytes, part from cut where length(part) > 0),
up as (
  update job_lease set log_bytes = (select cut.log_bytes + length(cut.part) from cut where cut.id = job_lease.id)
  where id = any (array(select id from cut where length(part) > 0)))
select i, id, log_bytes + length(part) length, log_bytes + length(part) > $6::bigint "full", off > log_bytes gap from cut;

-- name: log_read
-- $1 job, $2 owner (-1 = whoever), $3 attempt (0 = the last), $4 run (0 = not known yet), $5 offset: one row each
-- whose job is the owner's; run null = it has not begun.  data begins at first and holds at most about 256 KiB.
select t.i, r.run, r.attempt, r.log_bytes, r.ended, c.first, c.data
from unnest($1::bigint[], $2::bigint[], $3::int[], $4::int[], $5::bigint[]) with ordinality t(id, owner, attempt, run, off, i)
cross join lateral (
  select owner_id from job where id between t.id and t.id order by id limit 1) j
left join lateral (
  select * from (
    select run, attempt, log_bytes, false ended from job_lease where id = t.id
    union all
    select run, attempt, log_bytes, true from (
      select * from job_done where id between t.id and t.id order by id limit 1) d where lease is not null
    union all
    select run, attempt, log_bytes, true from job_attempt where id = t.id) x
  where (t.run = 0 or x.run = t.run) and (t.attempt = 0 or x.attempt = t.attempt)
  order by x.run desc limit 1) r on true
left join lateral (
  select min(x.off) "first", string_agg(x.data, ''::bytea order by x.off) data
  from (
    select g.off, g.data, sum(length(g.data)) over (order by g.off) - length(g.data) before
    from (
      select off, data from job_log
      where id = t.id and run = r.run and off >= coalesce((
        select max(f.off) from job_log f where f.id = t.id and f.run = r.run and f.off <= t.off), 0)
      order by off limit 64) g) x
  where x.before < 262144) c on t.off < r.log_bytes
where j.owner_id = t.owner or t.owner = -1;
