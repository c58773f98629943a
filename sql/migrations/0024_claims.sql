-- Who looks at an account or a run just now, so that what a dead process had in hand is taken up at once.

alter table account add claimed_by text;             -- null = nobody
alter table session_poll
  add claimed_by text,
  add hurried boolean not null default false;        -- somebody waits for it since it was claimed: it is due again at once

-- ---- grants ---------------------------------------------------------------

grant update (claimed_by) on account to gpupool_provisioner;
grant select (claimed_by), update (claimed_by) on account to gpupool_browser;
