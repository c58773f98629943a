-- Who looks at an account or a run just now, so that what a dead process had in hand is taken up at once.

alter table account
  add claimed_by text,                               -- null = nobody
  add hurried boolean not null default false;        -- somebody asked for a check since it was claimed: there is another
alter table session_poll
  add claimed_by text,
  add hurried boolean not null default false;        -- somebody waits for it since it was claimed: it is due again at once

-- As in 0006, also for an account that a browser signs in; and while a check is under way, whose end would put its
-- own time in place of this, the next one is asked for.
create or replace function account_check_soon(account_id int) returns timestamptz
language sql volatile security definer set search_path = gpupool, pg_temp as $$
  update account a set hurried = a.claimed_by is not null and a.checked_version is not distinct from a.sealed_version,
    check_at = case when a.checked_version is distinct from a.sealed_version then least(a.check_at, now())
      when a.claimed_by is not null then a.check_at
      else least(a.check_at, greatest(now(), a.checked_at + interval '30 seconds')) end
  where a.id = account_id and (a.key_id is not null or a.start = 'browser') and a.deleted_at is null returning a.check_at $$;

-- ---- grants ---------------------------------------------------------------

grant update (claimed_by, hurried) on account to gpupool_provisioner;
grant select (claimed_by, hurried), update (claimed_by, hurried) on account to gpupool_browser;
