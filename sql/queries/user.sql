-- name: token_principal idempotent
-- The last use is kept to the minute, so that a busy token is not written with each request.
with t as (
  select t.id, t.user_id, t.scopes, t.revoked_at is not null as revoked, coalesce(t.expires_at <= now(), false) as expired,
    u.active, u.name, u.role, u.locale, t.last_used_at
  from api_token t join users u on u.id = t.user_id
  where t.token_hash = $1),
touch as (
  update api_token set last_used_at = now()
  from t where api_token.id = t.id and not t.revoked and not t.expired
    and coalesce(t.last_used_at < now() - interval '1 minute', true))
select id, user_id, array_to_string(scopes, ',') as scopes, revoked, expired, active, name, role, locale from t;

-- name: login_principal idempotent
with l as (
  select l.id, l.user_id, l.csrf_key, l.token_hash = $1 and l.rotated_at < now() - interval '12 hours' as stale,
    u.name, u.role, u.locale, l.last_used_at
  from login l join users u on u.id = l.user_id
  where (l.token_hash = $1 or (l.previous_hash = $1 and l.previous_until > now()))
    and l.expires_at > now() and l.last_used_at > now() - interval '7 days' and u.active),
touch as (
  update login set last_used_at = now()
  from l where login.id = l.id and l.last_used_at < now() - interval '1 minute')
select id, user_id, csrf_key, stale, name, role, locale from l;

-- name: user_principal idempotent
select id, name, role, locale, active from users where name = $1;

-- name: signin_try
-- Counts the try before the password is looked at: tries at once cannot outrun the count.
-- Not flushed, so that a name that exists takes no longer than one that does not.
update users
set failed_signins = least(failed_signins + 1, 30000),
    signin_after = case when failed_signins >= 4
      then now() + least(60 * 2 ^ least(failed_signins - 4, 10), 900) * interval '1 second' end
where name = $1 and active and (signin_after is null or signin_after <= now())
  and set_config('synchronous_commit', 'off', true) = 'off'
returning id, name, role, locale, password_hash;

-- name: signin_forgive
-- The try was right ($2), or was not looked at after all.
update users
set failed_signins = case when $2 then 0 else greatest(failed_signins - 1, 0) end, signin_after = null
where id = $1;

-- name: login_open
insert into login(user_id, token_hash, csrf_key, expires_at)
values ($1, $2, $3, now() + interval '30 days') returning id;

-- name: login_close
delete from login where id = $1;

-- name: login_close_hash
delete from login where token_hash = $1 or previous_hash = $1;

-- name: login_close_others
delete from login where user_id = $1::bigint and id <> $2;

-- name: login_rotate
update login
set previous_hash = token_hash, previous_until = now() + interval '60 seconds', token_hash = $3, rotated_at = now()
where id = $1 and token_hash = $2 returning id;

-- name: login_age
-- The next use of each sign-in of this user replaces its cookie.
update login set rotated_at = '-infinity' where user_id = $1;

-- name: user_add
insert into users(name, role, email, password_hash, locale) values ($1, $2, $3, $4, coalesce($5, 'en')) returning id;

-- name: user_admins_lock
-- Two changes at once must not each leave the other as the last admin.
select pg_advisory_xact_lock(hashtext('admins'));

-- name: user_others_admin
select exists (select from users where role = 'admin' and active and id <> $1::bigint) as any;

-- name: user_set
update users
set role = coalesce($2, role), active = coalesce($3, active), email = case when $4 then $5 else email end,
    password_hash = coalesce($6, password_hash), locale = coalesce($7, locale), weight = coalesce($8::real, weight),
    failed_signins = case when $6::text is null then failed_signins else 0 end,
    signin_after = case when $6::text is null then signin_after end
where id = $1::bigint returning id;

-- name: user_end_tokens
update api_token set revoked_at = now() where user_id = $1 and revoked_at is null;

-- name: user_remove
delete from users u
where u.id = $1::bigint and not exists (select from account a where a.owner_id = u.id)
  and not exists (select from worker w where w.owner_id = u.id)
  and not exists (select from job j where j.owner_id = u.id)
returning id;

-- name: user_get idempotent
select u.id, u.name, u.email, u.role, u.active, u.locale, u.weight, u.password_hash is not null as has_password,
  (extract(epoch from u.created_at) * 1000)::bigint as created_ms,
  (extract(epoch from greatest((select max(last_used_at) from login l where l.user_id = u.id),
     (select max(last_used_at) from api_token t where t.user_id = u.id))) * 1000)::bigint as used_ms
from users u where u.id = $1::bigint;

-- name: user_list idempotent
select u.id, u.name, u.email, u.role, u.active, u.locale, u.weight, u.password_hash is not null as has_password,
  (extract(epoch from u.created_at) * 1000)::bigint as created_ms,
  (extract(epoch from greatest((select max(last_used_at) from login l where l.user_id = u.id),
     (select max(last_used_at) from api_token t where t.user_id = u.id))) * 1000)::bigint as used_ms
from users u where u.id > $1::bigint order by u.id limit $2;

-- name: token_add
insert into api_token(user_id, name, token_hash, scopes, expires_at)
values ($1, $2, $3, $4::text[], now() + nullif($5::bigint, 0) * interval '1 second') returning id;

-- name: token_replace
-- For a token whose value somebody else chose: the row of this name takes it.
with old as (delete from api_token where user_id = $1 and name = $2 and token_hash <> $3)
insert into api_token(user_id, name, token_hash, scopes) values ($1, $2, $3, $4::text[])
on conflict (token_hash) do update set revoked_at = null, scopes = excluded.scopes
where api_token.user_id = excluded.user_id;

-- name: token_revoke
update api_token set revoked_at = coalesce(revoked_at, now())
where id = $1 and (user_id = $2 or $3) returning id;

-- name: token_list idempotent
select t.id, t.user_id, u.name as user_name, t.name, array_to_json(t.scopes) as scopes,
  (extract(epoch from t.created_at) * 1000)::bigint as created_ms, (extract(epoch from t.expires_at) * 1000)::bigint as expires_ms,
  (extract(epoch from t.last_used_at) * 1000)::bigint as used_ms, (extract(epoch from t.revoked_at) * 1000)::bigint as revoked_ms
from api_token t join users u on u.id = t.user_id
where (t.user_id = $1 or $2) and t.id > $3 order by t.id limit $4;
