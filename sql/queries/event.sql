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
