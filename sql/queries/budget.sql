-- What an account may cost a month, and what its machines cost an hour.  After account_hold.

-- name: budget_set
-- $2 seconds and $3 millionths of the currency $4 a month, null = any.
insert into budget as b (account_id, month_seconds, month_micros, currency) values ($1::int, $2::bigint, $3::bigint, coalesce($4, 'USD'))
on conflict (account_id) do update set month_seconds = excluded.month_seconds, month_micros = excluded.month_micros,
  currency = coalesce($4, b.currency), updated_at = clock_timestamp();

-- name: budget_prices
-- In place of those that were: accelerators $2, millionths an hour $3, sources $4.  A price that stays keeps its date.
with t as (
  select lower(a) as accelerator, max(m) as micros, max(s) as source from unnest($2::text[], $3::bigint[], $4::text[]) t(a, m, s) group by lower(a)),
gone as (
  delete from price where account_id = $1::int and accelerator <> all(array(select accelerator from t)))
insert into price as p (account_id, accelerator, micros_per_hour, source) select $1::int, accelerator, micros, source from t
on conflict (account_id, accelerator) do update set micros_per_hour = excluded.micros_per_hour, source = excluded.source, as_of = current_date
where (p.micros_per_hour, p.source) is distinct from (excluded.micros_per_hour, excluded.source);

-- name: budget_known idempotent
-- Which of these names ($2) the account's provider does not have.
select n from unnest($2::text[]) n
where not exists (select from account a join provider_accelerator x on x.provider = a.provider where a.id = $1::int and lower(x.name) = lower(n)) limit 1;
