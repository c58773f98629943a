-- Accounts whose provider refuses new sessions without a figure that tells for how long: what is learnt of that.

create table account_cooldown (
  account_id      int not null references account on delete cascade,
  resource        text not null check (resource in ('gpu', 'cpu', 'tpu')),
  refusals        int not null default 0 check (refusals >= 0), -- in a row, one a time that it was asked; 0 = it takes sessions
  since           timestamptz,                      -- the first of them
  until           timestamptz,                      -- it is not asked before
  probed          boolean not null default false,   -- one start was let through to ask
  learned_seconds int check (learned_seconds between 60 and 604800), -- how long such times have lasted; the last ones count most
  code            text,
  reason          text,                             -- what it said last
  primary key (account_id, resource),
  check ((refusals = 0) = (since is null) and (refusals = 0) = (until is null)))
  with (fillfactor = 70);

-- Has it a weekly limit?  All that one who may not see others' hours needs to know of them.
create function quota_limited(account int, kind text) returns boolean
language sql stable security definer set search_path = gpupool, pg_temp as $$
  select exists (select from quota_figures(account, kind) where limit_seconds is not null) $$;

-- It refused a session.  Seconds until it is to be asked again; null = that is no matter of cooling down, for its hours
-- are published.  The pause doubles with each refusal, from an eighth of what such times have lasted to a half of it.
-- Of starts that were refused together one counts.
create function cooldown_refused(account int, kind text, new_code text, said text) returns float8
language plpgsql set search_path = gpupool, pg_temp as $$
declare c account_cooldown; at timestamptz;
begin
  if new_code = 'quota' and quota_limited(account, kind) then
    return null;
  end if;
  insert into account_cooldown(account_id, resource) values (account, kind) on conflict do nothing;
  select * into c from account_cooldown where account_id = account and resource = kind for update;
  at := quota_clock();
  if c.probed or c.refusals = 0 or c.until <= at then
    c.refusals := least(c.refusals + 1, 30000);
    c.since := coalesce(c.since, at);
    c.until := at + make_interval(secs => least(greatest(60, coalesce(c.learned_seconds, 0) / 8) * 2.0 ^ least(c.refusals - 1, 20),
      greatest(600, coalesce(c.learned_seconds, 0) / 2))::float8);
  end if;
  update account_cooldown set refusals = c.refusals, since = c.since, until = c.until, probed = false, code = new_code, reason = said
  where account_id = account and resource = kind;
  return greatest(1, extract(epoch from c.until - at));
end $$;

-- Whether a start may ask it now: no row = yes, and for a minute no other.
create function cooldown_enter(account int, kind text, out wait float8, out until timestamptz, out code text, out reason text)
returns setof record language plpgsql set search_path = gpupool, pg_temp as $$
declare c account_cooldown; at timestamptz;
begin
  select * into c from account_cooldown where account_id = account and resource = kind and refusals > 0 for update;
  if not found then
    return;
  end if;
  at := quota_clock();
  if c.until > at then
    wait := extract(epoch from c.until - at);
    until := c.until;
    code := c.code;
    reason := c.reason;
    return next;
  else
    update account_cooldown k set until = at + interval '1 minute', probed = true where k.account_id = account and k.resource = kind;
  end if;
end $$;

-- It took a session: was that after refusals?  How long those lasted is learnt; where there were none, such times
-- are taken to have become shorter.
create function cooldown_begun(account int, kind text) returns boolean
language plpgsql set search_path = gpupool, pg_temp as $$
declare c account_cooldown; lasted float8;
begin
  select * into c from account_cooldown where account_id = account and resource = kind for update;
  if not found then
    return false;
  end if;
  lasted := case when c.refusals > 0 then extract(epoch from least(quota_clock(), c.until) - c.since) else c.learned_seconds / 2.0 end;
  update account_cooldown set refusals = 0, since = null, until = null, probed = false, code = null, reason = null,
    learned_seconds = greatest(60, least(604800, (coalesce(c.learned_seconds, lasted) + lasted) / 2))
  where account_id = account and resource = kind;
  return c.refusals > 0;
end $$;

-- What is shown of it.
create function cooldown_doc(c account_cooldown) returns json language sql stable as $$
  select case when c.until > quota_clock() then json_build_object(
    'until', to_char(c.until at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'reason', c.reason, 'learnedSeconds', c.learned_seconds) end $$;

-- ---- grants ---------------------------------------------------------------

revoke all on function quota_limited(int, text), cooldown_refused(int, text, text, text), cooldown_enter(int, text), cooldown_begun(int, text),
  cooldown_doc(account_cooldown) from public;
grant select, insert, update, delete on account_cooldown to gpupool_provisioner;
grant execute on function quota_limited(int, text), cooldown_refused(int, text, text, text), cooldown_enter(int, text), cooldown_begun(int, text),
  cooldown_doc(account_cooldown) to gpupool_provisioner;
grant select on account_cooldown to gpupool_web;
grant insert (start) on worker to gpupool_provisioner; -- the autoscaler makes workers by the statements of the API
grant execute on function cooldown_doc(account_cooldown) to gpupool_web;
