-- A limit by the week where there was none holds what runs already.

-- As in 0004; a reservation without a week gets one as soon as there is one, with all that it has used so far.
create or replace function quota_settle(account int, out settled int, out cut int, out at timestamptz) returns setof record
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
  update reservation r set resets_at = w.resets_at, granted_seconds = coalesce(r.granted_seconds, 2147483647)
  from (select n.resource, (quota_week(account, n.resource, quota_settle.at)).resets_at
    from (select distinct resource from reservation where account_id = account and settled_at is null and resets_at is null) n) w
  where r.account_id = account and r.resource = w.resource and r.settled_at is null and r.resets_at is null and w.resets_at is not null;
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
