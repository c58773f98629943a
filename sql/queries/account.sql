-- Accounts at providers.  What is sealed is written here and never read.

-- name: account_policy idempotent
select implicit from provider_policy where provider = $1;

-- name: account_add
-- No row: the person has one.
insert into account(owner_id, provider, label, paid_at) values ($1::int, $2, coalesce($3, ''), case when $4::boolean then now() end)
on conflict do nothing returning id;

-- name: account_own
-- The person's own at a provider, held until the transaction ends.
select id, deleting_at is not null as deleting from account where owner_id = $1::int and provider = $2 and deleted_at is null order by id limit 1 for update;

-- name: account_hold
-- The same of any that the principal ($2, $3 sees all) may change.
select id, owner_id, provider, key_id is not null or start <> '' as has_credentials from account
where id = $1::bigint and (owner_id = $2::int or $3::boolean) and deleted_at is null for update;

-- name: account_seal
-- $2 the box, $3 its key, $4 whether it replaces another, $5 the client in it or ''.  No row: that key is active no more.
update account a set sealed = $2::bytea, key_id = k.id, sealed_version = a.sealed_version + $4::boolean::int, updated_at = now(),
  start = '', email = '', client_id = $5, consent_error = null
from sealing_key k
where a.id = $1::int and a.deleted_at is null and k.id = $3::int and k.state = 'active' and k.purpose = 'credentials' returning a.id;

-- name: account_for_browser
-- Nothing is sealed: whose it is ($2) is no secret, and a browser instance signs in.  $3 whether it replaces others.
update account set sealed = null, key_id = null, sealed_version = sealed_version + $3::boolean::int, start = 'browser', email = $2,
  consent_error = null, updated_at = now()
where id = $1::int and deleted_at is null;

-- name: account_check_soon
select account_check_soon($1::int) as at;

-- name: account_set
-- No row: not this person's.  Sharing is refused by the caller where the policy says so; asked here again.
update account a
set label = coalesce($4, label), sharing = coalesce($5, sharing), shared_with = coalesce($6::int[], shared_with), updated_at = now(),
  paid_at = case $7::boolean when true then now() when false then null else a.paid_at end
from provider_policy p
where a.id = $1::bigint and (a.owner_id = $2 or $3) and a.deleted_at is null and p.provider = a.provider
  and (p.sharing_allowed or coalesce($5, 'none') = 'none') returning a.id;

-- name: account_terms idempotent
select p.sharing_allowed, p.source, p.as_of::text as as_of, a.provider
from account a join provider_policy p on p.provider = a.provider
where a.id = $1::bigint and (a.owner_id = $2 or $3) and a.deleted_at is null;

-- name: account_users_known
select count(*) as known from users where id = any($1::int[]);

-- name: account_remove
-- After account_hold: one that never had a worker leaves nothing.
delete from account a where a.id = $1::int and not exists (select from worker w where w.account_id = a.id) returning id;

-- name: account_retire
-- After account_hold: one whose workers are all deleted.
update account a set sealed = null, key_id = null, deleted_at = now(), updated_at = now()
where a.id = $1::int and not exists (select from worker w where w.account_id = a.id and w.state <> 'deleted') returning id;

-- name: account_let_go
-- After account_hold: it starts nothing more, its workers are deleted, and it goes when they have.  No row: another
-- person has workers on it.
with a as (
  update account set deleting_at = coalesce(deleting_at, now()), updated_at = now()
  where id = $1::int and not exists (
    select from worker w where w.account_id = account.id and w.state <> 'deleted' and w.owner_id <> account.owner_id)
  returning id, owner_id),
w as (
  update worker set desired = 'deleted', generation = generation + 1, version = version + 1, updated_at = now()
  where account_id = (select id from a) and desired <> 'deleted' and state <> 'deleted'
  returning id, owner_id, driver, generation),
op as (
  insert into operation(worker_id, provider, kind, generation) select id, driver, 'delete', generation from w on conflict do nothing),
told as (
  insert into event(owner_id, topic, what, subjects)
  select owner_id, 'worker', 'delete', array_agg(id::bigint) from w group by owner_id
  union all select owner_id, 'account', 'deleting', array[id::bigint] from a)
select id from a;

-- name: account_forget
-- After account_let_go: without credentials what is left at its provider stays there.
update account set sealed = null, key_id = null where id = $1::int;

-- name: account_list idempotent
-- One ($4), or those above $5.
select a.id, a.owner_id, u.name as owner, a.provider, a.label, m.unchecked, a.status, a.reason, a.refused_code, a.identity, a.sharing,
  (select json_agg(x::text) from unnest(a.shared_with) x) as shared_with, p.sharing_allowed, a.key_id is not null or a.start <> '' as has_credentials,
  a.deleting_at is not null as deleting, case when a.deleting_at is not null
    then (select count(*) from worker w where w.account_id = a.id and w.state <> 'deleted') end as workers_left,
  a.start, a.email, to_json(a.scopes) as scopes, a.provider = 'colab' and a.key_id is not null as client,
  a.consent_version = a.sealed_version as consented, a.consent_error, null::bigint as never_ms,
  (select max(o.expires_at) from oauth_consent o where o.account_id = a.id and o.sealed_version = a.sealed_version and o.expires_at > now()) is not null as consent_asked,
  (extract(epoch from a.consent_at) * 1000)::bigint as consent_ms, (extract(epoch from a.paid_at) * 1000)::bigint as paid_ms,
  budget_doc(a.id, now()) as budget,
  (select cooldown_doc(c) from account_cooldown c where c.account_id = a.id and c.until > now() order by c.until desc limit 1) as cool_down,
  (extract(epoch from a.checked_at) * 1000)::bigint as checked_ms,
  (extract(epoch from a.created_at) * 1000)::bigint as created_ms, (extract(epoch from a.updated_at) * 1000)::bigint as updated_ms
from account a join users u on u.id = a.owner_id join provider_policy p on p.provider = a.provider
cross join lateral (select (a.key_id is not null or a.start <> '') and a.checked_version is distinct from a.sealed_version as unchecked) m
where (a.owner_id = $1 or $2) and a.deleted_at is null and ($4::bigint is null or a.id = $4) and a.id > $5::bigint order by a.id limit $3;
