-- What runs left at their providers: their owners' alone.  A deleted worker's too, for as long as its
-- row is kept: what its delete saved first must be there to read.
--
-- $1 principal, $2 sees all (admin), $3 worker, $4 session.

-- name: output_list idempotent
-- No row: no such session.  One row without a name: it left nothing, or nothing was fetched yet.
select o.name, o.size, o.content is not null as kept, (extract(epoch from o.created_at) * 1000)::bigint as created_ms
from session s
join worker w on w.id = s.worker_id
left join session_output o on o.session_id = s.id
where s.id = $4::bigint and w.id = $3::bigint and (w.owner_id = $1::int or $2::boolean)
order by o.name;

-- name: output_find idempotent
-- $5 the name.  content null: it was too large to keep.
select o.content
from session s
join worker w on w.id = s.worker_id
join session_output o on o.session_id = s.id
where s.id = $4::bigint and w.id = $3::bigint and (w.owner_id = $1::int or $2::boolean) and o.name = $5::text;
