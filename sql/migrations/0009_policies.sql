-- What an administrator may change of providers' terms and limits.
--
-- The web role still writes neither table.  It calls these functions: they set what a person may, date the
-- row by the database's clock, take only an administrator of this installation as who did it, and leave what
-- the row was before in policy_change, which no role but the owner can write or empty.  So a stolen web role
-- can change no policy without a name, a date and the former row being there to see and to put back; what the
-- program itself relies on (implicit, knows_runs, enrol_seconds, named, week_starts) it cannot change at all.

create table policy_change (
  id       bigint generated always as identity primary key,
  at       timestamptz not null default now(),
  user_id  int references users on delete set null,
  provider text not null references provider_policy,
  resource text,                                    -- null = its terms
  was      jsonb not null,
  became   jsonb not null);
create index on policy_change (provider, id);

alter table provider_limit rename constraint provider_limit_check to provider_limit_session_margin;
alter table provider_limit rename constraint provider_limit_check1 to provider_limit_week_margin;

-- Rows as the API shows them.
create function policy_terms_doc(p provider_policy) returns jsonb language sql immutable as $$
  select jsonb_build_object('sharingAllowed', p.sharing_allowed, 'notice', p.notice, 'source', p.source, 'asOf', p.as_of) $$;
create function policy_limit_doc(l provider_limit) returns jsonb language sql immutable as $$
  select jsonb_build_object('sessionSeconds', l.session_seconds, 'sessionMarginSeconds', l.session_margin_seconds, 'weekSeconds', l.week_seconds,
    'weekMarginSeconds', l.week_margin_seconds, 'concurrent', l.concurrent, 'idleSeconds', l.idle_seconds,
    'minSessionSeconds', l.min_session_seconds, 'source', l.source, 'asOf', l.as_of) $$;

create function policy_only_admin(by int) returns void
language plpgsql stable set search_path = gpupool, pg_temp as $$
begin
  if not exists (select from users where id = by and role = 'admin' and active) then
    raise exception 'user % may not change what providers allow', by using errcode = 'insufficient_privilege';
  end if;
end $$;

-- wanted: members of the API's document; an absent one stays, null is "no limit".  No row: no such provider.
create function policy_set_terms(by int, of_provider text, wanted jsonb, said text, out was jsonb, out became jsonb) returns setof record
language plpgsql security definer set search_path = gpupool, pg_temp as $$
declare p provider_policy; d jsonb;
begin
  perform policy_only_admin(by);
  select * into p from provider_policy where provider = of_provider for update;
  if not found then
    return;
  end if;
  was := policy_terms_doc(p);
  d := was || wanted;
  update provider_policy set sharing_allowed = (d ->> 'sharingAllowed')::boolean, notice = d ->> 'notice', source = said,
    as_of = (now() at time zone 'utc')::date
  where provider = of_provider returning * into p;
  became := policy_terms_doc(p);
  insert into policy_change(user_id, provider, was, became) values (by, of_provider, was, became);
  return next;
end $$;

create function policy_set_limit(by int, of_provider text, of_resource text, wanted jsonb, said text, out was jsonb, out became jsonb)
returns setof record
language plpgsql security definer set search_path = gpupool, pg_temp as $$
declare l provider_limit; d jsonb;
begin
  perform policy_only_admin(by);
  select * into l from provider_limit where provider = of_provider and resource = of_resource for update;
  if not found then
    return;
  end if;
  was := policy_limit_doc(l);
  d := was || wanted;
  update provider_limit set session_seconds = (d ->> 'sessionSeconds')::int, session_margin_seconds = (d ->> 'sessionMarginSeconds')::int,
    week_seconds = (d ->> 'weekSeconds')::int, week_margin_seconds = (d ->> 'weekMarginSeconds')::int,
    concurrent = (d ->> 'concurrent')::smallint, idle_seconds = (d ->> 'idleSeconds')::int,
    min_session_seconds = (d ->> 'minSessionSeconds')::int, source = said, as_of = (now() at time zone 'utc')::date
  where provider = of_provider and resource = of_resource returning * into l;
  if l.min_session_seconds > l.session_seconds - l.session_margin_seconds then
    raise exception 'no session could be so long' using errcode = 'check_violation', constraint = 'provider_limit_min_session';
  end if;
  became := policy_limit_doc(l);
  insert into policy_change(user_id, provider, resource, was, became) values (by, of_provider, of_resource, was, became);
  return next;
end $$;

-- ---- grants ---------------------------------------------------------------

revoke all on function policy_terms_doc(provider_policy), policy_limit_doc(provider_limit), policy_only_admin(int),
  policy_set_terms(int, text, jsonb, text), policy_set_limit(int, text, text, jsonb, text) from public;
grant execute on function policy_set_terms(int, text, jsonb, text), policy_set_limit(int, text, text, jsonb, text) to gpupool_web;
grant select on policy_change to gpupool_web;
