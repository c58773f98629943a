-- Files that jobs leave.

-- name: artifact_begin
-- $1 token hash, $2 job, $3 lease, $4 name, $5 size, $6 sha256; $7 most bytes of a job.  One row each whose
-- lease holds.  verdict: ok, same (it is there), full.
select t.i, case when a.size = t.size and a.sha256 = t.sha256 then 'same'
  when l.artifact_bytes + t.size > $7::bigint then 'full' else 'ok' end verdict
from unnest($1::bytea[], $2::bigint[], $3::uuid[], $4::text[], $5::bigint[], $6::bytea[])
  with ordinality t(hash, id, lease, name, size, sha256, i)
cross join lateral (
  select id from session where token_hash = t.hash and state <> 'ended' offset 0) s
cross join lateral (
  select artifact_bytes, session_id from job_lease where id = t.id and lease = t.lease offset 0) l
left join lateral (
  select size, sha256 from artifact where id = t.id and name = t.name) a on true
where l.session_id = s.id;

-- name: artifact_commit
-- $1 token hash, $2 job, $3 lease, $4 name, $5 size, $6 sha256, $7 path; $8 most bytes of a job.  One row each
-- that was stored, with the path of the file that it replaces.
with q as (
  select * from unnest($1::bytea[], $2::bigint[], $3::uuid[], $4::text[], $5::bigint[], $6::bytea[], $7::text[])
    with ordinality t(hash, id, lease, name, size, sha256, path, i)),
l as materialized (
  select q.*, l.run, l.owner_id,
    (select a.path from artifact a where a.id = q.id and a.name = q.name) old
  from q cross join lateral (
    select id from session where token_hash = q.hash and state <> 'ended' offset 0) s
  cross join lateral (
    select * from job_lease l where l.id = q.id and l.lease = q.lease offset 0 for no key update) l
  where l.session_id = s.id and l.artifact_bytes + q.size <= $8::bigint),
put as (
  insert into artifact(id, name, run, owner_id, size, sha256, path) select id, name, run, owner_id, size, sha256, path from l
  on conflict (id, name) do update set run = excluded.run, size = excluded.size, sha256 = excluded.sha256, path = excluded.path,
    created_at = now()),
up as (
  update job_lease set artifact_bytes = artifact_bytes + (select l.size from l where l.id = job_lease.id)
  where id = any (array(select id from l))),
e as (
  insert into event(owner_id, topic, what, subjects)
  select owner_id, 'job', 'artifact', array_agg(id) from l group by owner_id)
select i, case when old <> path then old end old from l;

-- name: artifact_find
-- $1 job, $2 owner (-1 = whoever), $3 name.
select t.i, a.path, a.size, encode(a.sha256, 'hex') sha256
from unnest($1::bigint[], $2::bigint[], $3::text[]) with ordinality t(id, owner, name, i)
cross join lateral (
  select path, size, sha256 from artifact where id = t.id and name = t.name and (owner_id = t.owner or t.owner = -1) offset 0) a;

-- name: checkpoint_find
-- $1 token hash, $2 job, $3 lease: what an earlier attempt of the job left to go on from.  One row each whose lease
-- holds; path null = nothing.
select t.i, a.path, a.size, encode(a.sha256, 'hex') sha256
from unnest($1::bytea[], $2::bigint[], $3::uuid[]) with ordinality t(hash, id, lease, i)
cross join lateral (
  select id from session where token_hash = t.hash and state <> 'ended' offset 0) s
cross join lateral (
  select session_id from job_lease where id = t.id and lease = t.lease offset 0) l
left join lateral (
  select path, size, sha256 from artifact where id = t.id and name = 'checkpoint.tar') a on true
where l.session_id = s.id;

-- name: artifact_unknown
-- $1 paths of files: those that no row has.
select p path from unnest($1::text[]) p except select path from artifact;
