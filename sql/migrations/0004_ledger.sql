-- The ledger of accounts' hours: what brings it to the present, in one place.
--
-- An account is locked first (for no key update), and time is read after that: two who reserve come one
-- after the other, and what the second sees is what the first left.  (One statement that locks and reads
-- would read what was there before it waited; a function of several statements does not.)
--
-- For each row of quota and all reservations of it that are not settled
--   reserved_seconds = sum(granted_seconds - counted_seconds)
-- and a reservation whose week is over moves, with what is left of it, to the week after.

alter table session
  add queued_at timestamptz;                         -- last time its provider said that it waits for a machine: its hours begin later

alter table quota
  add told_limit        int check (told_limit >= 0), -- null = the provider never said; kept over weeks
  add told_reset        boolean not null default false, -- resets_at is the provider's word
  add elsewhere_seconds int not null default 0 check (elsewhere_seconds >= 0); -- it holds reserved beyond what is ours

alter table reservation
  drop constraint reservation_granted_seconds_check,
  add check (granted_seconds >= 0),                  -- 0: cut to nothing
  add check (resets_at is null or granted_seconds is not null),
  add check ((settled_at is null) = (used_seconds is null)),
  drop constraint reservation_session_id_fkey,
  add foreign key (session_id) references session on delete cascade,
  drop constraint reservation_account_id_resource_resets_at_fkey,
  add foreign key (account_id, resource, resets_at) references quota on update cascade on delete cascade;

-- The one clock of the ledger.
create function quota_clock() returns timestamptz language sql volatile as 'select clock_timestamp()';

-- The first midnight (UTC) of this day of the week after a time.
create function quota_next_reset(day int, after timestamptz) returns timestamptz language sql immutable as $$
  select (d + ((day - extract(dow from d)::int + 6) % 7 + 1))::timestamp at time zone 'utc'
  from (select (after at time zone 'utc')::date) x(d) $$;

-- Since when a session has used hours; null while nothing is known to run.
create function quota_began(s session) returns timestamptz language sql stable as $$
  select case when s.provider_ref is not null or s.registered_at is not null
    then coalesce(greatest(s.queued_at, s.launched_at), s.started_at) end $$;

-- The seconds used by then, of those granted (null = any number).
create function quota_elapsed(began timestamptz, till timestamptz, granted int) returns int language sql immutable as $$
  select case when till > began then least(granted, 2147483647, ceil(extract(epoch from till - began))) else 0 end::int $$;

-- The row of the week in which `after` lies, made if missing; null where no week is limited.
create function quota_week(account int, kind text, after timestamptz) returns quota
language plpgsql set search_path = gpupool, pg_temp as $$
declare q quota; last quota; l provider_limit;
begin
  select * into q from quota where account_id = account and resource = kind and resets_at > after order by resets_at limit 1;
  if found then
    return q;
  end if;
  select p.* into l from account a join provider_limit p on p.provider = a.provider where a.id = account and p.resource = kind;
  select * into last from quota where account_id = account and resource = kind order by resets_at desc limit 1;
  if l.provider is null or coalesce(last.told_limit, l.week_seconds) is null then
    return null;
  end if;
  insert into quota(account_id, resource, resets_at, limit_seconds, margin_seconds, told_limit, told_reset)
  values (account, kind,
    case when last.told_reset
      then last.resets_at + (floor(extract(epoch from after - last.resets_at) / 604800) + 1) * interval '7 days'
      else quota_next_reset(l.week_starts, after) end,
    coalesce(last.told_limit, l.week_seconds), l.week_margin_seconds, last.told_limit, coalesce(last.told_reset, false))
  returning * into q;
  return q;
end $$;

-- Writes a row with new figures, and as reserved what its reservations still hold.  Where that is more
-- than the row allows, live sessions are cut, the latest first.  The number of those.
create function quota_fit(q quota) returns int
language plpgsql set search_path = gpupool, pg_temp as $$
declare held bigint; over bigint; take int; cut int := 0; till timestamptz; r record; at timestamptz := quota_clock();
begin
  select coalesce(sum(granted_seconds::bigint - counted_seconds), 0) into held from reservation
  where account_id = q.account_id and resource = q.resource and resets_at = q.resets_at and settled_at is null;
  over := least(held, held + q.used_seconds + q.margin_seconds - q.limit_seconds);
  if over > 0 then
    perform from session where id = any(array(select session_id from reservation
      where account_id = q.account_id and settled_at is null)) order by id for update; -- as session_end locks them
  end if;
  for r in
    select v.session_id, v.granted_seconds, v.counted_seconds, s.worker_id, s.owner_id, quota_began(s) as began
    from reservation v join session s on s.id = v.session_id
    where over > 0 and v.account_id = q.account_id and v.resource = q.resource and v.resets_at = q.resets_at
      and v.settled_at is null and v.granted_seconds > v.counted_seconds
    order by v.reserved_at desc, v.session_id desc
  loop
    exit when over <= 0;
    take := least(over, r.granted_seconds - r.counted_seconds);
    over := over - take;
    held := held - take;
    cut := cut + 1;
    till := greatest(at, coalesce(r.began, at) + make_interval(secs => r.granted_seconds - take));
    update reservation set granted_seconds = granted_seconds - take where session_id = r.session_id;
    update session set limit_seconds = greatest(1, least(limit_seconds, r.granted_seconds - take)),
      deadline = case when registered_at is not null or till <= at then least(deadline, till) else deadline end
    where id = r.session_id and state <> 'ended';
    insert into event(owner_id, topic, what, subjects) values (r.owner_id, 'worker', 'changed', array[r.worker_id::bigint]);
    insert into decision(kind, subject, reason, inputs)
    values ('stop', 'worker ' || r.worker_id, 'Its session ends ' || take || ' seconds sooner: of the account''s '
        || q.limit_seconds || ' seconds of ' || q.resource || ' this week ' || q.used_seconds || ' are used.',
      jsonb_build_object('sessionId', r.session_id::text, 'accountId', q.account_id::text, 'resource', q.resource, 'cutSeconds', take,
        'grantedSeconds', r.granted_seconds - take, 'limitSeconds', q.limit_seconds, 'marginSeconds', q.margin_seconds,
        'usedSeconds', q.used_seconds, 'toldUsedSeconds', q.told_used, 'resetsAt', q.resets_at));
  end loop;
  update quota set reserved_seconds = held, used_seconds = q.used_seconds, limit_seconds = q.limit_seconds,
    margin_seconds = q.margin_seconds, told_used = q.told_used, told_reserved = q.told_reserved, told_at = q.told_at,
    told_limit = q.told_limit, told_reset = q.told_reset, elsewhere_seconds = q.elsewhere_seconds
  where account_id = q.account_id and resource = q.resource and resets_at = q.resets_at;
  return cut;
end $$;

-- One reservation: charges the weeks that it has passed through since it was last looked at, and settles
-- it if its session has ended.  While this works, its weeks' rows hold nothing reserved.
create function quota_count(r reservation, s session, at timestamptz) returns boolean
language plpgsql set search_path = gpupool, pg_temp as $$
declare began timestamptz := quota_began(s); till timestamptz := least(at, s.ended_at); over boolean := s.state = 'ended'; total int;
begin
  while r.resets_at <= till loop
    total := greatest(r.counted_seconds, quota_elapsed(began, r.resets_at, r.granted_seconds));
    update quota set used_seconds = used_seconds + total - r.counted_seconds
    where account_id = r.account_id and resource = r.resource and resets_at = r.resets_at;
    r.counted_seconds := total;
    r.resets_at := (quota_week(r.account_id, r.resource, r.resets_at)).resets_at;
  end loop;
  total := greatest(r.counted_seconds, quota_elapsed(began, till, r.granted_seconds));
  if r.resets_at is not null then
    update quota set used_seconds = used_seconds + total - r.counted_seconds
    where account_id = r.account_id and resource = r.resource and resets_at = r.resets_at;
    r.counted_seconds := total;
  end if;
  update reservation set counted_seconds = r.counted_seconds, resets_at = r.resets_at,
    settled_at = case when over then at end, used_seconds = case when over then total end
  where session_id = r.session_id;
  return over;
end $$;

-- Brings an account to the present.  at = the time that this is; cut = live sessions that were.
-- No row: no such account.
create function quota_settle(account int, out settled int, out cut int, out at timestamptz) returns setof record
language plpgsql set search_path = gpupool, pg_temp as $$
declare v record; q quota; l provider_limit;
begin
  perform from account a where a.id = account for no key update;
  if not found then
    return;
  end if;
  at := quota_clock();
  settled := 0;
  cut := 0;
  update quota set reserved_seconds = 0 where account_id = account and reserved_seconds > 0;
  for v in
    select r, s from reservation r join session s on s.id = r.session_id
    where r.account_id = account and r.settled_at is null order by r.reserved_at, r.session_id
  loop
    settled := settled + quota_count(v.r, v.s, at)::int;
  end loop;
  for q in
    select * from quota k where account_id = account and (resets_at > at or exists (select from reservation r
      where r.account_id = account and r.resource = k.resource and r.resets_at = k.resets_at and r.settled_at is null))
  loop
    select p.* into l from account a join provider_limit p on p.provider = a.provider where a.id = account and p.resource = q.resource;
    q.limit_seconds := coalesce(q.told_limit, l.week_seconds, q.limit_seconds);
    q.margin_seconds := coalesce(l.week_margin_seconds, q.margin_seconds);
    cut := cut + quota_fit(q);
  end loop;
  return next;
end $$;

-- Takes over what the provider says of one resource; null = it does not say.  The number of live sessions cut.
create function quota_tell(account int, kind text, new_limit int, new_reset timestamptz, new_used int, new_reserved int) returns int
language plpgsql set search_path = gpupool, pg_temp as $$
declare q quota; l provider_limit; at timestamptz; cuts int;
begin
  select s.at, s.cut into at, cuts from quota_settle(account) s;
  select p.* into l from account a join provider_limit p on p.provider = a.provider where a.id = account and p.resource = kind;
  if at is null or l.provider is null or new_reset <= at or new_reset > at + interval '366 days' then
    return coalesce(cuts, 0);
  end if;
  q := quota_week(account, kind, at);
  if q.account_id is null then
    if new_limit is null then
      return cuts;
    end if;
    insert into quota(account_id, resource, resets_at, limit_seconds, margin_seconds, told_reset)
    values (account, kind, coalesce(new_reset, quota_next_reset(l.week_starts, at)), new_limit, l.week_margin_seconds, new_reset is not null)
    returning * into q;
    -- What runs without a limit by the week is held to it from now on.
    update reservation set resets_at = q.resets_at, granted_seconds = coalesce(granted_seconds, 2147483647)
    where account_id = account and resource = kind and resets_at is null and settled_at is null;
    select s.cut into cuts from quota_settle(account) s;
    q := quota_week(account, kind, at);
  elsif new_reset <> q.resets_at then
    -- Over half a week later than what it said before is the week after: its clock is ahead of ours.
    if (q.told_reset and new_reset > q.resets_at + interval '84 hours')
        or exists (select from quota where account_id = account and resource = kind and resets_at = new_reset) then
      return cuts;
    end if;
    update quota set resets_at = new_reset where account_id = account and resource = kind and resets_at = q.resets_at;
    q.resets_at := new_reset;
  end if;
  q.told_reset := q.told_reset or new_reset is not null;
  q.told_limit := coalesce(new_limit, q.told_limit);
  q.told_used := new_used;
  q.told_reserved := new_reserved;
  q.told_at := at;
  q.limit_seconds := coalesce(q.told_limit, q.limit_seconds);
  q.used_seconds := greatest(q.used_seconds, new_used);
  q.elsewhere_seconds := greatest(0, coalesce(new_used, 0)::bigint + coalesce(new_reserved, 0) - q.used_seconds - q.reserved_seconds);
  return cuts + quota_fit(q);
end $$;

-- What an account may use of each resource, at this moment: live sessions' hours are used as they pass.
-- limit_seconds null = no week is limited.
create view quota_now as
select a.id as account_id, l.resource, x.limit_seconds,
  case when x.limit_seconds is not null then coalesce(q.margin_seconds, l.week_margin_seconds) end as margin_seconds,
  coalesce(q.used_seconds, 0) + v.used as used_seconds, v.reserved as reserved_seconds,
  case when x.limit_seconds is not null then greatest(0, x.limit_seconds - coalesce(q.margin_seconds, l.week_margin_seconds)
    - coalesce(q.used_seconds, 0) - v.used - v.reserved - coalesce(q.elsewhere_seconds, 0)) end as remaining_seconds,
  case when x.limit_seconds is not null then coalesce(q.resets_at,
    last.resets_at + (floor(extract(epoch from c.at - last.resets_at) / 604800) + 1) * interval '7 days',
    quota_next_reset(l.week_starts, c.at)) end as resets_at,
  q.told_used, q.told_reserved, q.told_at, l.concurrent, v.live, l.session_seconds - l.session_margin_seconds as session_seconds
from account a
join provider_limit l on l.provider = a.provider
cross join (select quota_clock() as at offset 0) c
left join lateral (
  select * from quota q where q.account_id = a.id and q.resource = l.resource and q.resets_at > c.at order by q.resets_at limit 1) q on true
left join lateral (
  select b.told_limit, case when b.told_reset then b.resets_at end as resets_at from quota b
  where b.account_id = a.id and b.resource = l.resource order by b.resets_at desc limit 1) last on q.account_id is null
cross join lateral (select coalesce(q.limit_seconds, last.told_limit, l.week_seconds) as limit_seconds) x
cross join lateral (
  select count(*) filter (where s.state <> 'ended') as live,
    coalesce(sum(e.gone - case when r.resets_at < e.till
      then greatest(r.counted_seconds, quota_elapsed(quota_began(s), r.resets_at, r.granted_seconds)) else r.counted_seconds end), 0) as used,
    coalesce(sum(r.granted_seconds - e.gone) filter (where s.state <> 'ended'), 0) as reserved
  from reservation r join session s on s.id = r.session_id
  cross join lateral (select least(c.at, s.ended_at) as till) t
  cross join lateral (
    select t.till, greatest(r.counted_seconds, quota_elapsed(quota_began(s), t.till, r.granted_seconds)) as gone) e
  where r.account_id = a.id and r.resource = l.resource and r.settled_at is null) v;

-- Its row of one account and resource, for statements that seldom need one: the view is large, and even to
-- make ready to read it takes a while.
create function quota_figures(account int, kind text) returns setof quota_now
language plpgsql stable strict rows 1 cost 1000 set search_path = gpupool, pg_temp as $$
begin
  return query select * from quota_now where account_id = account and resource = kind;
end $$;

-- ---- grants ---------------------------------------------------------------

revoke all on function quota_clock(), quota_next_reset(int, timestamptz), quota_began(session), quota_elapsed(timestamptz, timestamptz, int),
  quota_week(int, text, timestamptz), quota_fit(quota), quota_count(reservation, session, timestamptz), quota_settle(int),
  quota_tell(int, text, int, timestamptz, int, int), quota_figures(int, text) from public;
grant execute on function quota_clock(), quota_next_reset(int, timestamptz), quota_began(session), quota_elapsed(timestamptz, timestamptz, int),
  quota_week(int, text, timestamptz), quota_fit(quota), quota_count(reservation, session, timestamptz), quota_settle(int),
  quota_tell(int, text, int, timestamptz, int, int) to gpupool_provisioner;
grant execute on function quota_clock(), quota_next_reset(int, timestamptz), quota_began(session),
  quota_elapsed(timestamptz, timestamptz, int), quota_figures(int, text) to gpupool_web;
grant select on quota_now to gpupool_web, gpupool_provisioner;
