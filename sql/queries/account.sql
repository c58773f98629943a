-- name: account_add
-- No row: there is no such provider, or it needs credentials.
insert into account(owner_id, provider, label)
select $1, provider, coalesce($3, '') from provider_policy where provider = $2 and implicit returning id;

-- name: account_set
-- No row: not this person's.  Sharing is refused by the caller where the policy says so; asked here again.
update account a
set label = coalesce($4, label), sharing = coalesce($5, sharing), shared_with = coalesce($6::int[], shared_with), updated_at = now()
from provider_policy p
where a.id = $1::bigint and (a.owner_id = $2 or $3) and p.provider = a.provider
  and (p.sharing_allowed or coalesce($5, 'none') = 'none') returning a.id;

-- name: account_terms idempotent
select p.sharing_allowed, p.source, p.as_of::text as as_of
from account a join provider_policy p on p.provider = a.provider where a.id = $1::bigint and (a.owner_id = $2 or $3);

-- name: account_users_known
select count(*) as known from users where id = any($1::int[]);

-- name: account_remove
delete from account a where a.id = $1::bigint and (a.owner_id = $2 or $3)
  and not exists (select from worker w where w.account_id = a.id) returning id;

-- name: account_list idempotent
-- One ($4), or those above $5.
select a.id, a.owner_id, u.name as owner, a.provider, a.label, a.status, a.reason, a.sharing,
  (select json_agg(x::text) from unnest(a.shared_with) x) as shared_with, p.sharing_allowed, a.key_id is not null as has_credentials,
  (extract(epoch from a.created_at) * 1000)::bigint as created_ms, (extract(epoch from a.updated_at) * 1000)::bigint as updated_ms
from account a join users u on u.id = a.owner_id join provider_policy p on p.provider = a.provider
where (a.owner_id = $1 or $2) and ($4::bigint is null or a.id = $4) and a.id > $5::bigint order by a.id limit $3;
