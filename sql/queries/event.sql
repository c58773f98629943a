-- What people ask of the events role: who they are, and what happened.

-- name: people_resolve
-- $1 [{i, kind, hash}] with kind t (API token) or l (sign-in): no row = not known or no longer good.
-- The last use is kept to the minute.
with q as (
  select * from jsonb_to_recordset($1::jsonb) t(i int, kind text, hash text)),
t as materialized (
  select q.i, t.id, t.user_id, t.scopes, t.last_used_at
  from q cross join lateral (
    select * from api_token t where q.kind = 't' and t.token_hash = decode(q.hash, 'hex') and t.revoked_at is null
      and coalesce(t.expires_at > now(), true) offset 0) t),
l as materialized (
  select q.i, l.id, l.user_id, l.csrf_key, l.last_used_at
  from q cross join lateral (
    (select * from login l where q.kind = 'l' and l.token_hash = decode(q.hash, 'hex') offset 0)
    union all
    (select * from login l where q.kind = 'l' and l.previous_hash = decode(q.hash, 'hex') and l.previous_until > now() offset 0)) l
  where l.expires_at > now() and l.last_used_at > now() - interval '7 days'),
touch_t as (
  update api_token set last_used_at = now()
  where id = any (array(select id from t where coalesce(last_used_at < now() - interval '1 minute', true)))),
touch_l as (
  update login set last_used_at = now()
  where id = any (array(select id from l where last_used_at < now() - interval '1 minute')))
select x.i, x.token_id, x.login_id, x.user_id, array_to_string(x.scopes, ',') scopes, x.csrf_key, u.name, u.role, u.locale
from (
  select i, id token_id, null::bigint login_id, user_id, scopes, null::bytea csrf_key from t
  union all
  select i, null, id, user_id, null, csrf_key from l) x
cross join lateral (select name, role, locale, active from users where id = x.user_id offset 0) u
where u.active;

-- name: event_head
-- Where a stream begins that has seen nothing: what commits later comes after it.
select pg_snapshot_xmin(pg_current_snapshot())::text xid;

-- name: event_read
-- Everybody's events after the cursor ($1 xid, $2 id), for all streams at once.  Ids are not in commit order, so
-- only those below the snapshot's xmin are read: nothing can appear before them any more.
select e.xid::text xid, e.id, e.owner_id, e.topic, e.what, array_to_json(e.subjects)::text subjects, e.data::text "data",
  (extract(epoch from e.at) * 1000)::bigint at_ms
from event e
where (e.xid, e.id) > ($1::text::xid8, $2::bigint) and e.xid < pg_snapshot_xmin(pg_current_snapshot())
  and e.at > now() - interval '1 day'
order by e.xid, e.id limit 1000;

-- name: event_replay
-- $1 xid, $2 id, $3 owner (-1 = whoever): what a stream missed, at most 500 rows each, oldest first; then one row
-- with topic null for each, whose xid is the snapshot's xmin.
select t.i, e.xid, e.id, e.owner_id, e.topic, e.what, e.subjects, e.data, e.at_ms
from unnest($1::text[], $2::bigint[], $3::bigint[]) with ordinality t(xid, id, owner, i)
cross join lateral (
  (select e.xid::text xid, e.id, e.owner_id, e.topic, e.what, array_to_json(e.subjects)::text subjects, e.data::text "data",
     (extract(epoch from e.at) * 1000)::bigint at_ms
   from event e
   where (e.xid, e.id) > (t.xid::xid8, t.id) and e.xid < pg_snapshot_xmin(pg_current_snapshot())
     and e.at > now() - interval '1 day' and (e.owner_id = t.owner or t.owner = -1)
   order by e.xid, e.id limit 500)
  union all
  select pg_snapshot_xmin(pg_current_snapshot())::text, 0, 0, null, null, null, null, 0) e
order by t.i, e.topic is null, e.xid::xid8, e.id;
