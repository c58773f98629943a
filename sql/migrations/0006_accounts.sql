-- Accounts that were deleted, and when an account is asked about.

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
