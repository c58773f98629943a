-- What providers allow and have.

-- name: policy_list idempotent
-- $1 only this provider, or null.
select p.provider, coalesce((select json_agg(d.start order by d.start = 'assisted' desc, d.start) from provider_driver d
    where d.provider = p.provider and d.start <> ''), '[]') as starts, p.notice, p.source, p.as_of::text as as_of, p.sharing_allowed, p.implicit, p.accounts_per_person,
  coalesce((select json_agg(json_build_object('resource', l.resource, 'sessionSeconds', l.session_seconds,
      'sessionMarginSeconds', l.session_margin_seconds, 'weekSeconds', l.week_seconds, 'weekMarginSeconds', l.week_margin_seconds,
      'concurrent', l.concurrent, 'idleSeconds', l.idle_seconds, 'minSessionSeconds', l.min_session_seconds, 'source', l.source,
      'asOf', l.as_of) order by l.resource = 'gpu' desc, l.resource)
    from provider_limit l where l.provider = p.provider), '[]') as limits,
  coalesce((select json_agg(json_build_object('name', a.name, 'resource', a.resource, 'shape', a.shape, 'usable', a.usable,
      'gpus', a.gpus, 'gpuMemoryBytes', a.gpu_memory, 'note', a.note)
      order by a.usable desc, a.shape = '' desc, a.name = lower(a.name) desc, a.note like 'For %', a.name)
    from provider_accelerator a where a.provider = p.provider), '[]') as accelerators
from provider_policy p where $1::text is null or p.provider = $1 order by p.provider;

-- name: policy_set_terms
-- By user $1 of provider $2: the document $3, by source $4.  The functions of sql/migrations/0009_policies.sql.
select was, became from policy_set_terms($1::int, $2, $3::jsonb, $4);

-- name: policy_set_limit
-- By user $1 of provider $2 and resource $3: the document $4, by source $5.
select was, became from policy_set_limit($1::int, $2, $3, $4::jsonb, $5);

-- name: policy_of idempotent
-- $1 provider, $2 what is asked for; a.name is null where the provider has none of that name.  $3 the way that is asked
-- for, null = the usual one; driver is null where it has none of that name.
select p.implicit, p.named, w.starts, coalesce(d.name, case when $3 is null then p.provider end) as driver, coalesce(d.start, '') as start, a.name, a.usable, a.note, l.resource, l.session_seconds - l.session_margin_seconds as most_seconds,
  l.min_session_seconds,
  (select string_agg(o.name, ', ' order by o.shape = '' desc, o.name = lower(o.name) desc, o.note like 'For %', o.name)
   from provider_accelerator o where o.provider = p.provider and o.usable) as offered
from provider_policy p
cross join lateral (
  select string_agg(x.start, ', ' order by x.start = 'assisted' desc, x.start) as starts
  from provider_driver x where x.provider = p.provider and x.start <> '') w
left join provider_driver d on d.provider = p.provider and d.start = coalesce($3, case when w.starts is null then '' else 'assisted' end)
left join provider_accelerator a on a.provider = p.provider and lower(a.name) = lower($2)
left join provider_limit l on l.provider = p.provider and l.resource = a.resource
where p.provider = $1;
