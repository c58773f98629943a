-- How long jobs run, and how long sessions may last.

-- name: estimate_look idempotent
-- The last runs of kinds of owner $1: types $2, names $3, one element a kind; a row a model.
select t.k, r.model, array_to_string(r.seconds, ',') as seconds
from unnest($2::smallint[], $3::text[]) with ordinality t(type, name, k)
cross join lateral (select model, seconds from run_time where owner_id = $1::int and type = t.type and name = t.name offset 0) r
order by t.k;

-- name: session_longest idempotent
-- What the accounts that owner $1 may use can give, and for how long at once; seconds null = without a limit,
-- gets null = any name.
select distinct case when x.name is not null then concat_ws(',', x.name, x.resource, array_to_string(x.gets, ',')) end as gets,
  l.session_seconds - l.session_margin_seconds as seconds
from account a
join provider_policy p on p.provider = a.provider
left join provider_accelerator x on x.provider = a.provider and x.usable
left join provider_limit l on l.provider = a.provider and l.resource = x.resource
where a.deleted_at is null
  and (a.owner_id = $1::int or (p.sharing_allowed and (a.sharing = 'all' or (a.sharing = 'named' and $1 = any(a.shared_with)))));

-- name: run_time_expire
-- Kinds that have not run for $2 days, or that an owner has beyond the newest $3; $1 at most.
delete from run_time where ctid = any(array(
  select t.tid from (
    select ctid as tid, seen, row_number() over (partition by owner_id order by seen desc) as k from run_time) t
  where t.k > $3::int or t.seen < now() - make_interval(days => $2::int) limit $1::int));
