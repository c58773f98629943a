-- Consent of people at Google: asked for by the web, exchanged by a provisioner.

-- name: consent_account
-- Of $2's own account $1: its client and what it has consented to, held until the transaction ends.  No row: not his.
select id, owner_id, provider, key_id is not null as sealed, client_id, identity, sealed_version,
  case when consent_version = sealed_version then array_to_string(scopes, ' ') else '' end as scopes
from account where id = $1::int and owner_id = $2::int and deleted_at is null for update;

-- name: consent_begin
-- One at a time: an older one of the account is worth nothing any more.  $1 account, $2 user, $3 hash of the state, $4 scopes,
-- $5 verifier, $6 its key, $7 the sealed_version of the client.
with old as (delete from oauth_consent where account_id = $1::int)
insert into oauth_consent(account_id, user_id, state_hash, scopes, verifier, key_id, sealed_version)
values ($1, $2::int, $3::bytea, $4::text[], $5::bytea, $6::int, $7::int)
returning (extract(epoch from expires_at) * 1000)::bigint as expires_ms;

-- name: consent_of idempotent
-- What came back with a state.
select o.account_id, o.user_id, o.expires_at < now() as late, o.code_key_id is not null as used, a.owner_id, a.provider,
  encode(o.state_hash, 'hex') as state
from oauth_consent o join account a on a.id = o.account_id where o.state_hash = $1::bytea and a.deleted_at is null;

-- name: consent_code
-- No row: used meanwhile.
update oauth_consent set code = $2::bytea, code_key_id = $3::int
where state_hash = $1::bytea and code_key_id is null and expires_at > now() returning account_id;

-- name: consent_fail
-- It came to nothing, and the account says why.
with gone as (delete from oauth_consent where state_hash = $1::bytea returning account_id),
a as (
  update account a set consent_error = $2, updated_at = now() from gone where a.id = gone.account_id returning a.id, a.owner_id)
insert into event(owner_id, topic, what, subjects) select owner_id, 'account', 'consent', array[id::bigint] from a;

-- name: consent_claim
-- One that came back, for longer than an exchange may take: whoever dies with it leaves it to another.
with due as materialized (
  select state_hash from oauth_consent
  where code is not null and (claimed_at is null or claimed_at < now() - interval '45 seconds')
  order by created_at limit 1 for update skip locked)
update oauth_consent o set claimed_at = now() from due d, account a
where o.state_hash = d.state_hash and a.id = o.account_id
returning o.state_hash, encode(o.state_hash, 'hex') as state, o.account_id, a.owner_id, a.provider, o.verifier, o.key_id, o.code,
  o.code_key_id, array_to_string(o.scopes, ' ') as scopes, o.sealed_version, o.expires_at < now() as late;

-- name: consent_store
-- $1 the state, $2 the sealed_version that its client had, $3 the new box, $4 its key, $5 what was consented to.  No row: the
-- client was replaced meanwhile.
with gone as (delete from oauth_consent where state_hash = $1::bytea returning account_id),
a as (
  update account a set sealed = $3::bytea, key_id = $4::int, scopes = $5::text[], consent_at = now(), consent_version = a.sealed_version,
    consent_error = null, checked_version = null, check_at = now(), updated_at = now()
  from gone where a.id = gone.account_id and a.sealed_version = $2::int and a.deleted_at is null returning a.id, a.owner_id),
e as (
  insert into event(owner_id, topic, what, subjects) select owner_id, 'account', 'consent', array[id::bigint] from a)
select id from a;

-- name: consent_expire
delete from oauth_consent where expires_at < now() - interval '1 hour';
