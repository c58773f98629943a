-- Steps that a provisioner does for workers.  Its instances serve drivers, which operation.provider names.  Locks are taken in the order
-- session, worker, operation: the API writes the worker before it opens an
-- operation, and must never wait for one who waits for it.

-- name: operation_claim
-- Steps that are due at these providers.  A step whose worker's desired state
-- has changed since is due at once, whatever its backoff said.
with due as (
  select o.id from operation o join worker w on w.id = o.worker_id
  where o.state = 'open' and o.provider = any($1::text[])
    and (o.next_try_at <= now() or o.generation < w.generation)
    and (o.claimed_until is null or o.claimed_until < now())
  order by o.next_try_at limit $4::int
  for update of o skip locked)
update operation o set claimed_by = $2, claimed_until = now() + make_interval(secs => $3::float8)
where o.id = any(array(select id from due))
returning o.id, o.worker_id, o.kind, o.generation, o.attempts, extract(epoch from now() - o.created_at)::float8 as age;

-- name: operation_claimants idempotent
-- Who on this host ($1, a prefix) holds claims at these providers.
select distinct claimed_by from operation
where state = 'open' and provider = any($2::text[]) and starts_with(claimed_by, $1);

-- name: operation_unclaim
-- Of one who is certainly dead.
update operation set claimed_until = null where state = 'open' and claimed_by = $1;

-- name: operation_step
-- The outcome of a step: moves the worker and closes or re-arms the operation,
-- if the operation is still ours and the worker still as the step saw it.
with w as materialized (
  select id from worker
  where id = $1::int and generation = $4::int and ($5::text is null or state = $5) for update),
op as (
  update operation o set
    state = $9,
    next_try_at = case when $10::float8 is null then o.next_try_at else now() + make_interval(secs => $10) end,
    claimed_by = case when $9 = 'open' and $10 is null then o.claimed_by end,
    claimed_until = case when $9 = 'open' and $10 is null then o.claimed_until end,
    attempts = least(o.attempts + $12::int, 30000),
    error = coalesce($11, o.error),
    finished_at = case when $9 <> 'open' then now() end
  from w where o.id = $2::bigint and o.worker_id = w.id and o.state = 'open' and o.claimed_by = $3
  returning o.worker_id, o.kind),
moved as (
  update worker set state = coalesce($6, state), reason_code = $7, reason = $8, version = version + 1, updated_at = now(),
    deleted_at = case when $6 = 'deleted' then now() else deleted_at end
  where id = any(array(select worker_id from op))
    and (($6::text is not null and state <> $6)
      or ($7::text is not null and (reason_code is distinct from $7 or reason is distinct from $8)))
  returning id, owner_id, state, session_id),
e as (
  insert into event(owner_id, topic, what, subjects, data)
  select owner_id, 'worker', state, array[id::bigint], jsonb_build_object('reasonCode', $7::text) from moved),
d as (
  insert into decision(kind, subject, reason, inputs)
  select case when op.kind in ('stop', 'delete') then 'stop' else 'start' end, 'worker ' || m.id, coalesce($8, m.state),
    jsonb_build_object('state', m.state, 'code', $7::text, 'sessionId', m.session_id::text, 'generation', $4::int)
  from moved m, op)
select worker_id from op;

-- name: operation_let_go
-- A step that came to no outcome: another may take it after $3 seconds.  When
-- the worker is wanted otherwise by now, it is over; the next sweep opens what
-- that needs.
update operation o set
  state = case when o.generation < w.generation then 'superseded' else 'open' end,
  finished_at = case when o.generation < w.generation then now() end,
  claimed_by = null, claimed_until = null, next_try_at = greatest(o.next_try_at, now() + make_interval(secs => $3::float8))
from worker w
where o.id = $1::bigint and o.claimed_by = $2 and o.state = 'open' and w.id = o.worker_id
returning o.state;

-- name: operation_sweep
-- Opens what is missing: $2..$4 are the rows of the worker's table that open an
-- operation (state, desired, kind).  A worker that begins a session anew after
-- an early death waits a little; one that a person must look at starts only for a new generation;
-- one that is starting needs nothing once its run is known.
insert into operation(worker_id, provider, kind, generation, next_try_at)
select w.id, w.driver, t.kind, w.generation,
  now() + make_interval(secs => case when t.kind = 'start' then (array[0, 5, 30])[least(w.early_deaths, 2) + 1] else 0 end)
from worker w
join unnest($2::text[], $3::text[], $4::text[]) t(state, desired, kind) on t.state = w.state and t.desired = w.desired
left join session s on s.id = w.session_id
where w.driver = any($1::text[]) and w.state <> 'deleted'
  and not exists (select from operation o where o.worker_id = w.id and o.state = 'open')
  and (w.state <> 'starting' or t.kind <> 'start' or s.provider_ref is null)
  and (w.state not in ('failed', 'needs_human') or t.kind <> 'start'
    or not exists (select from operation o where o.worker_id = w.id and o.generation = w.generation))
  and (t.kind <> 'start' or not coalesce(s.then_stop and s.state = 'ended' and s.generation = w.generation, false)) -- it drained to be stopped
on conflict do nothing
returning worker_id;
