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
          where w.id = substring(d.subject from '^worker ([0-9]{1,9})$')::int and w.owner_id = $5::int)))
order by d.at desc, d.id desc limit $6;
