-- What machines that are paid for by the hour may cost: a cap a month, of hours or of money or both, on an account.
--
-- A reservation counts with all that it was granted until it is settled, then with what was used, in the month (UTC) in
-- which it was made.  Money is reckoned by prices that the account's owner wrote down: an estimate, not the bill.

create table price (
  account_id      int not null references account on delete cascade,
  accelerator     text not null check (accelerator = lower(accelerator)), -- as the policy names it
  micros_per_hour bigint not null check (micros_per_hour between 0 and 1000000000000), -- of the budget's currency
  source          text not null default '',
  as_of           date not null default current_date,
  primary key (account_id, accelerator));

create table budget (
  account_id    int primary key references account on delete cascade,
  month_seconds bigint check (month_seconds >= 0),      -- null = any
  month_micros  bigint check (month_micros >= 0),
  currency      text not null default 'USD' check (currency ~ '^[A-Z]{3}$'),
  updated_at    timestamptz not null default now());

-- What is used and reserved, in the caps that held when it was last reckoned.  A cap that has fallen below what
-- cannot be had back stands at that.
create table budget_use (
  account_id       int not null references account on delete cascade,
  month            date not null,
  used_seconds     bigint not null default 0 check (used_seconds >= 0),
  reserved_seconds bigint not null default 0 check (reserved_seconds >= 0),
  used_micros      bigint not null default 0 check (used_micros >= 0),
  reserved_micros  bigint not null default 0 check (reserved_micros >= 0),
  cap_seconds      bigint,
  cap_micros       bigint,
  reckoned_at      timestamptz not null default '-infinity', -- when budget_fit() last took over the caps
  primary key (account_id, month),
  constraint budget_kept check (
    (reserved_seconds = 0 or used_seconds + reserved_seconds <= cap_seconds) and
    (reserved_micros = 0 or used_micros + reserved_micros <= cap_micros)));

alter table reservation
  add budget_month date,                                -- null = made before there were budgets, or without an end
  add price_micros bigint;                              -- an hour; null = not known

-- Rounded up: many short sessions cost no less than one long one.
create function budget_cost(price bigint, seconds bigint) returns bigint language sql immutable as $$
  select coalesce(ceil(price::numeric * seconds / 3600), 0)::bigint $$;

create function budget_month(at timestamptz) returns date language sql immutable as $$
  select date_trunc('month', at at time zone 'utc')::date $$;

-- Triggers, so that whatever changes a reservation is counted; all who do hold the account's lock.
create function budget_reserve() returns trigger language plpgsql set search_path = gpupool, pg_temp as $$
declare b budget;
begin
  if new.granted_seconds is null then
    return new;
  end if;
  select * into b from budget where account_id = new.account_id;
  new.budget_month := budget_month(new.reserved_at);
  select p.micros_per_hour into new.price_micros
  from session s join worker w on w.id = s.worker_id
  join price p on p.account_id = new.account_id and p.accelerator = lower(w.accelerator)
  where s.id = new.session_id;
  if b.month_micros is not null and new.price_micros is null then
    raise exception 'no price' using errcode = 'check_violation', constraint = 'budget_kept';
  end if;
  insert into budget_use as u (account_id, month, reserved_seconds, reserved_micros, cap_seconds, cap_micros)
  values (new.account_id, new.budget_month, new.granted_seconds, budget_cost(new.price_micros, new.granted_seconds), b.month_seconds, b.month_micros)
  on conflict (account_id, month) do update set
    reserved_seconds = u.reserved_seconds + excluded.reserved_seconds, reserved_micros = u.reserved_micros + excluded.reserved_micros,
    cap_seconds = excluded.cap_seconds, cap_micros = excluded.cap_micros;
  return new;
end $$;
create trigger budget_reserve before insert on reservation for each row execute function budget_reserve();

create function budget_count() returns trigger language plpgsql set search_path = gpupool, pg_temp as $$
declare was bigint := case when old.settled_at is null then old.granted_seconds else 0 end; holds bigint := 0; used bigint := 0;
begin
  if tg_op = 'UPDATE' then
    holds := case when new.settled_at is null then new.granted_seconds else 0 end;
    used := case when new.settled_at is not null and old.settled_at is null then new.used_seconds else 0 end;
  end if;
  update budget_use set reserved_seconds = reserved_seconds + holds - was, used_seconds = used_seconds + used,
    reserved_micros = reserved_micros + budget_cost(old.price_micros, holds) - budget_cost(old.price_micros, was),
    used_micros = used_micros + budget_cost(old.price_micros, used)
  where account_id = old.account_id and month = old.budget_month;
  return null;
end $$;
create trigger budget_count after update of granted_seconds, settled_at on reservation for each row
  when (old.budget_month is not null and (new.granted_seconds, new.settled_at) is distinct from (old.granted_seconds, old.settled_at))
  execute function budget_count();
create trigger budget_forget after delete on reservation for each row
  when (old.budget_month is not null and old.settled_at is null) execute function budget_count();

-- What is left for a start at a time: no row = no cap.  unpriced: money is capped, and nobody said what this costs.
create function budget_offer(account int, kind text, at timestamptz)
returns table (left_seconds bigint, unpriced boolean, month_seconds bigint, month_micros bigint, currency text, month_ends timestamptz)
language sql stable set search_path = gpupool, pg_temp as $$
  select least(b.month_seconds - coalesce(u.used_seconds + u.reserved_seconds, 0),
      floor((b.month_micros - coalesce(u.used_micros + u.reserved_micros, 0))::numeric * 3600 / nullif(p.micros_per_hour, 0)))::bigint,
    b.month_micros is not null and p.micros_per_hour is null, b.month_seconds, b.month_micros, b.currency,
    (budget_month(at) + interval '1 month') at time zone 'utc'
  from budget b
  left join price p on p.account_id = b.account_id and p.accelerator = lower(kind)
  left join budget_use u on u.account_id = b.account_id and u.month = budget_month(at)
  where b.account_id = account and (b.month_seconds is not null or b.month_micros is not null) $$;

-- Takes over a cap that has changed: where it has fallen below what is promised, live sessions are cut, the latest
-- first, to what has passed of them at most.  cut: the number of those.
create function budget_fit(account int, out cut int, out changed boolean) language plpgsql set search_path = gpupool, pg_temp as $$
declare at timestamptz; b budget; u budget_use; r record; gone int; take bigint; over_seconds bigint; over_micros bigint; till timestamptz;
begin
  cut := 0;
  changed := false;
  select s.at into at from quota_settle(account) s;
  select * into b from budget where account_id = account;
  if at is null or b.account_id is null then
    return;
  end if;
  insert into budget_use(account_id, month) values (account, budget_month(at)) on conflict do nothing;
  select * into u from budget_use where account_id = account and month = budget_month(at);
  if u.reckoned_at > b.updated_at then
    return;
  end if;
  changed := true;
  update budget_use set cap_seconds = null, cap_micros = null where account_id = account and month = u.month;
  perform from session where id = any(array(select session_id from reservation
    where account_id = account and settled_at is null)) order by id for update; -- as session_end locks them
  for r in
    select v.session_id, v.granted_seconds, v.counted_seconds, v.price_micros, v.resource, s, s.worker_id, s.owner_id, s.state <> 'ended' as lives
    from reservation v join session s on s.id = v.session_id
    where v.account_id = account and v.settled_at is null and v.budget_month = u.month
    order by s.state = 'ended', v.reserved_at desc, v.session_id desc
  loop
    select * into u from budget_use where account_id = account and month = u.month;
    over_seconds := coalesce(u.used_seconds + u.reserved_seconds - b.month_seconds, 0);
    over_micros := coalesce(u.used_micros + u.reserved_micros - b.month_micros, 0);
    exit when over_seconds <= 0 and over_micros <= 0;
    gone := greatest(r.counted_seconds, quota_elapsed(quota_began(r.s), at, r.granted_seconds));
    take := least(r.granted_seconds - gone, greatest(over_seconds, ceil(over_micros::numeric * 3600 / nullif(r.price_micros, 0))));
    continue when take <= 0;
    till := greatest(at, coalesce(quota_began(r.s), at) + make_interval(secs => r.granted_seconds - take));
    update reservation set granted_seconds = granted_seconds - take where session_id = r.session_id;
    continue when not r.lives;
    cut := cut + 1;
    update session set limit_seconds = greatest(1, least(limit_seconds, r.granted_seconds - take)),
      deadline = case when registered_at is not null or till <= at then least(deadline, till) else deadline end
    where id = r.session_id and state <> 'ended';
    insert into event(owner_id, topic, what, subjects) values (r.owner_id, 'worker', 'changed', array[r.worker_id::bigint]);
    insert into decision(kind, subject, reason, inputs)
    values ('stop', 'worker ' || r.worker_id, 'Its session ends ' || take || ' seconds sooner: the account''s budget of this month was lowered.',
      jsonb_build_object('sessionId', r.session_id::text, 'accountId', account::text, 'resource', r.resource, 'cutSeconds', take,
        'grantedSeconds', r.granted_seconds - take, 'monthSeconds', b.month_seconds, 'monthMicros', b.month_micros));
  end loop;
  update budget_use v set
    cap_seconds = case when b.month_seconds is not null then greatest(b.month_seconds, v.used_seconds + v.reserved_seconds) end,
    cap_micros = case when b.month_micros is not null then greatest(b.month_micros, v.used_micros + v.reserved_micros) end,
    reckoned_at = greatest(clock_timestamp(), b.updated_at + interval '1 microsecond')
  where v.account_id = account and v.month = u.month;
  perform quota_settle(account);
end $$;

-- For people: what is spent this month, and by live sessions until now.
create function budget_doc(account int, at timestamptz) returns json
language sql stable set search_path = gpupool, pg_temp as $$
  select json_build_object(
    'monthSeconds', b.month_seconds, 'monthMoney', b.month_micros / 1e6, 'currency', coalesce(b.currency, 'USD'),
    'usedSeconds', coalesce(u.used_seconds, 0), 'reservedSeconds', coalesce(u.reserved_seconds, 0),
    'usedMoney', coalesce(u.used_micros, 0) / 1e6, 'reservedMoney', coalesce(u.reserved_micros, 0) / 1e6,
    'month', to_char(budget_month(at), 'YYYY-MM'), 'resetsAt', to_char((budget_month(at) + interval '1 month'), 'YYYY-MM-DD"T00:00:00Z"'),
    'prices', coalesce((select json_agg(json_build_object('accelerator', coalesce(x.name, p.accelerator), 'perHour', p.micros_per_hour / 1e6,
        'source', p.source, 'asOf', p.as_of) order by p.accelerator)
      from price p join account a on a.id = p.account_id
      left join provider_accelerator x on x.provider = a.provider and lower(x.name) = p.accelerator
      where p.account_id = account), '[]'::json))
  from (select account as id) x left join budget b on b.account_id = x.id
  left join budget_use u on u.account_id = x.id and u.month = budget_month(at) $$;

-- ---- grants ---------------------------------------------------------------

grant select, insert, update, delete on price, budget to gpupool_web;
grant select on budget_use to gpupool_web;
grant select on price, budget to gpupool_provisioner;
grant select, insert, update on budget_use to gpupool_provisioner;
revoke all on function budget_cost(bigint, bigint), budget_month(timestamptz), budget_offer(int, text, timestamptz), budget_fit(int),
  budget_doc(int, timestamptz), budget_reserve(), budget_count() from public;
grant execute on function budget_cost(bigint, bigint), budget_month(timestamptz), budget_offer(int, text, timestamptz), budget_fit(int)
  to gpupool_provisioner;
grant execute on function budget_month(timestamptz), budget_doc(int, timestamptz) to gpupool_web;
