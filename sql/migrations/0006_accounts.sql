-- Who may write which sealing keys, and accounts that were deleted.

-- Everyone who may read keys reads all of them (they are public halves); each program that opens
-- writes those of its own purpose, and says that it lives for that purpose only.
grant select, insert, update on sealing_key to gpupool_secrets;
grant select, insert, update, delete on instance to gpupool_secrets;
alter table sealing_key enable row level security;
create policy seen on sealing_key for select using (true);
create policy owner on sealing_key to gpupool_owner using (true) with check (true);
create policy credentials on sealing_key to gpupool_provisioner using (purpose = 'credentials') with check (purpose = 'credentials');
create policy secrets on sealing_key to gpupool_secrets using (purpose = 'secrets') with check (purpose = 'secrets');
alter table instance enable row level security;
create policy seen on instance for select using (true);
create policy owner on instance to gpupool_owner using (true) with check (true);
create policy credentials on instance to gpupool_provisioner using (purpose = 'credentials') with check (purpose = 'credentials');
create policy secrets on instance to gpupool_secrets using (purpose = 'secrets') with check (purpose = 'secrets');

-- A deleted account has no credentials either, and there may be several.
drop index account_owner_id_provider_idx1;
create unique index account_implied on account (owner_id, provider) where sealed is null and deleted_at is null;

-- Asks the provider soon: at once where the credentials are new, else half a minute after the last
-- time at the earliest.  The web role may not write when an account is checked.
create function account_check_soon(account_id int) returns timestamptz
language sql volatile security definer set search_path = gpupool, pg_temp as $$
  update account a set check_at = least(a.check_at, case when a.checked_version is distinct from a.sealed_version then now()
    else greatest(now(), a.checked_at + interval '30 seconds') end)
  where a.id = account_id and a.sealed is not null and a.deleted_at is null returning a.check_at $$;
revoke all on function account_check_soon(int) from public;
grant execute on function account_check_soon(int) to gpupool_web;
