-- name: audit_add
insert into audit(user_id, token_id, action, object, detail, address, request_id)
values (nullif($1::int, 0), nullif($2::bigint, 0), $3, nullif($4::text, ''), $5::jsonb, $6, $7);

-- name: audit_list idempotent
-- Time and id together are the cursor: the partitions are cut by time, ids break ties.
select a.id, (extract(epoch from a.at) * 1000000)::bigint as at_us, a.user_id, u.name, a.token_id, a.action, a.object,
  a.detail, a.address, a.request_id
from audit a left join users u on u.id = a.user_id
where ($1::bigint = 0 or (a.at, a.id) < (to_timestamp($1 / 1000000.0), $2::bigint))
  and ($3::text is null or a.action = $3) and ($4::text is null or u.name = $4)
order by a.at desc, a.id desc limit $5;

-- name: decision_list idempotent
-- Decisions name their subject in words; whose it is follows from the id in it.
select d.id, (extract(epoch from d.at) * 1000000)::bigint as at_us, d.kind, d.subject, d.reason, d.inputs
from decision d
where ($1::bigint = 0 or (d.at, d.id) < (to_timestamp($1 / 1000000.0), $2::bigint))
  and ($3::text is null or d.subject = $3) and ($7::text is null or d.kind = $7)
  and ($4::boolean
    or (d.subject like 'job %' and exists (select from job j
          where j.id = substring(d.subject from '^job ([0-9]{1,18})$')::bigint and j.owner_id = $5::int))
    or (d.subject like 'worker %' and exists (select from worker w
          where w.id = substring(d.subject from '^worker ([0-9]{1,9})$')::int and w.owner_id = $5::int))
    or (d.subject like 'lane %' and exists (select from lane l
          where l.id = substring(d.subject from '^lane ([0-9]{1,9})$')::int and l.owner_id = $5::int)))
order by d.at desc, d.id desc limit $6;

-- name: decision_of_job idempotent
-- All about one job $3: what names it; why it waited (its lane, while it was there); and why it went where it ran: the
-- claim of that very moment, of which its lane's part is shown.
with j as materialized (
  select id, lane, owner_id, created_at from job where id = $3::bigint and (owner_id = $5::int or $4::boolean)),
runs as materialized (
  select l.started as at from j join job_lease l on l.id = j.id
  union select d.started from j join job_done d on d.id = j.id and d.owner_id = j.owner_id where d.started is not null
  union select t.started from j join job_attempt t on t.id = j.id),
until as materialized (
  select coalesce((select d.finished from j join job_done d on d.id = j.id and d.owner_id = j.owner_id), now()) as at)
select x.id, (extract(epoch from x.at) * 1000000)::bigint as at_us, x.kind, x.subject, x.reason, x.inputs
from (
  select d.id, d.at, d.kind, d.subject, d.reason, d.inputs
  from j join decision d on d.subject = 'job ' || j.id
  union all
  select d.id, d.at, d.kind, d.subject, d.reason, d.inputs
  from j cross join until u join decision d on d.subject = 'lane ' || j.lane and d.at between j.created_at and u.at
  union all
  select d.id, d.at, d.kind, 'job ' || j.id, 'It went to worker ' || string_agg(distinct e.value ->> 'worker', ' or ') || ': '
      || string_agg(distinct e.value ->> 'why', ', ') || '.', jsonb_agg(e.value)
  from j cross join runs r join decision d on d.at = r.at and d.subject = 'claim' and d.kind = 'placement'
  cross join lateral jsonb_array_elements(d.inputs) e
  where (e.value ->> 'lane')::int = j.lane
  group by d.id, d.at, d.kind, j.id) x
where ($1::bigint = 0 or (x.at, x.id) < (to_timestamp($1 / 1000000.0), $2::bigint)) and ($7::text is null or x.kind = $7)
order by x.at desc, x.id desc limit $6;
