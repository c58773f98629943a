-- What a browser instance alone may know: passwords that are given once, and what its pages ask of people.

-- name: browser_key_add
-- The public half of a key that its maker keeps for $2 seconds; those that are over go.
with old as (
  delete from browser_key where expires_at < now())
insert into browser_key(public_key, expires_at) values ($1::bytea, now() + make_interval(secs => $2::float8)) returning id;

-- name: browser_key_to_use idempotent
-- The newest that will be there for $1 seconds more.
select id, public_key from browser_key where expires_at > now() + make_interval(secs => $1::float8) order by id desc limit 1;

-- name: browser_password_drop
delete from browser_password where account_id = $1::int;

-- name: browser_password_give
-- After browser_password_drop, while the account is held: what is there cannot be read.
insert into browser_password(account_id, key_id, sealed) values ($1::int, $2::int, $3::bytea);

-- name: browser_password_take
-- It is nobody's afterwards.
delete from browser_password where account_id = $1::int returning key_id, sealed;

-- name: browser_picture_put
insert into account_picture(account_id, png) values ($1::int, $2::bytea)
on conflict (account_id) do update set png = excluded.png, taken_at = now();

-- name: browser_picture_drop
delete from account_picture where account_id = $1::int;

-- name: browser_picture idempotent
-- The owner's alone ($2), or none.
select p.png from account_picture p join account a on a.id = p.account_id
where p.account_id = $1::bigint and a.owner_id = $2::int and a.deleted_at is null;
