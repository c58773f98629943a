-- The ledger goes by runs, not by sessions: a session may end (its agent says goodbye, it is silent, its time is
-- over) while its run goes on at the provider, uses hours and has a place there.

-- When the run of a session was over, as far as that is known at a time; null = it may go on.
-- One that was never sent is over with its session.  One of which nothing was ever learnt is taken to be over
-- once it cannot last any longer: it was to begin before its session ended, or its agent went at once, refused.
create function quota_over(s session, granted int, at timestamptz) returns timestamptz language sql stable as $$
  select case when s.state <> 'ended' then null
    when s.launched_at is null then s.ended_at
    when s.over_at is not null then s.over_at
    else (select t from (values (s.ended_at + make_interval(secs => coalesce(granted, 86400)::float8 + 900))) x(t) where t <= quota_over.at) end $$;

-- As in 0004, but what has ended and may go on is cut last, and silently: nobody can end it sooner.
-- Sessions come first: those who hold one (an agent that registers, one that ends) wait for nobody's ledger.
create or replace function quota_fit(q quota) returns int
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
    select v.session_id, v.granted_seconds, v.counted_seconds, s.worker_id, s.owner_id, quota_began(s) as began, s.state <> 'ended' as lives
    from reservation v join session s on s.id = v.session_id
    where over > 0 and v.account_id = q.account_id and v.resource = q.resource and v.resets_at = q.resets_at
      and v.settled_at is null and v.granted_seconds > v.counted_seconds
    order by s.state = 'ended', v.reserved_at desc, v.session_id desc
  loop
    exit when over <= 0;
    take := least(over, r.granted_seconds - r.counted_seconds);
    over := over - take;
    held := held - take;
    till := greatest(at, coalesce(r.began, at) + make_interval(secs => r.granted_seconds - take));
    update reservation set granted_seconds = granted_seconds - take where session_id = r.session_id;
    continue when not r.lives;
    cut := cut + 1;
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

-- As in 0004, but a reservation is settled when its run is over.  A run that may have been and of which nothing
-- was ever learnt is taken to have used all that it was granted.
create or replace function quota_count(r reservation, s session, at timestamptz) returns boolean
language plpgsql set search_path = gpupool, pg_temp as $$
declare began timestamptz := quota_began(s); ended timestamptz := quota_over(s, r.granted_seconds, at);
  till timestamptz := least(at, ended); over boolean := ended is not null; total int;
  unknown boolean := over and began is null and s.launched_at is not null and s.over_at is null;
begin
  while r.resets_at <= till loop
    total := greatest(r.counted_seconds, quota_elapsed(began, r.resets_at, r.granted_seconds));
    update quota set used_seconds = used_seconds + total - r.counted_seconds
    where account_id = r.account_id and resource = r.resource and resets_at = r.resets_at;
    r.counted_seconds := total;
    r.resets_at := (quota_week(r.account_id, r.resource, r.resets_at)).resets_at;
  end loop;
  total := greatest(r.counted_seconds, quota_elapsed(began, till, r.granted_seconds), case when unknown then r.granted_seconds end);
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

-- As in 0004, but a place and hours are held while the run may go on.
create or replace view quota_now as
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
  select count(*) filter (where t.over is null) as live,
    coalesce(sum(e.gone - case when r.resets_at < e.till
      then greatest(r.counted_seconds, quota_elapsed(quota_began(s), r.resets_at, r.granted_seconds)) else r.counted_seconds end), 0) as used,
    coalesce(sum(r.granted_seconds - e.gone) filter (where t.over is null), 0) as reserved
  from reservation r join session s on s.id = r.session_id
  cross join lateral (select quota_over(s, r.granted_seconds, c.at) as over offset 0) t
  cross join lateral (select least(c.at, t.over) as till) u
  cross join lateral (
    select u.till, greatest(r.counted_seconds, quota_elapsed(quota_began(s), u.till, r.granted_seconds)) as gone) e
  where r.account_id = a.id and r.resource = l.resource and r.settled_at is null) v;

-- ---- grants ---------------------------------------------------------------

revoke all on function quota_over(session, int, timestamptz) from public;
grant execute on function quota_over(session, int, timestamptz) to gpupool_provisioner, gpupool_web;
