-- Workers (the REST path calls them notebooks): intent only.  What comes of it the provisioner writes.
--
-- $1 principal, $2 sees all (admin), $3 sees the pool (operator and above).  Everyone sees what an
-- account shares with all; an operator sees every worker's state.  Where a worker runs and what it is
-- called there, what it reads, its notices' address and its agent's log are its owner's.

-- name: worker_page idempotent
-- Workers above id $4, $5 at most; $6 provider or null, $7 state or null.  One worker is the page
-- of one above its id - 1.  The hours of an account are looked up once (offset 0 lets the plan remember them).
select w.id, w.provider, case when w.start <> '' then w.start
    when exists (select from provider_driver d where d.name = w.driver and d.start <> '') then 'assisted' end as start,
  w.driver, w.accelerator, w.title, w.state, w.desired, w.reason_code, w.reason, case when m.own then w.url end as url,
  s.registered_at, coalesce(s.capabilities #>> '{gpus,0,name}', case when s.capabilities ->> 'tpu' = 'true' then 'TPU' end) as gpu_name,
  case jsonb_typeof(s.capabilities -> 'gpus') when 'array' then jsonb_array_length(s.capabilities -> 'gpus') else 0 end as gpu_count,
  s.capabilities #>> '{gpus,0,memoryBytes}' as gpu_memory, s.capabilities #>> '{gpus,0,driver}' as gpu_driver,
  v.utilization, v.memory_used, v.memory_total,
  w.account_id, w.owner_id, u.name as owner_name, m.own, case when m.own then w.email end as email,
  case when m.own then w.remote_name end as remote_name,
  case when m.own then '{"datasets": [], "models": [], "competitions": [], "kernels": []}'::jsonb || w.inputs end as inputs,
  w.max_session_seconds, w.idle_stop_seconds, w.version, w.created_at,
  s.id as session_id, s.state as session_state, s.started_at, s.deadline,
  greatest(0, date_part('epoch', now() - s.started_at)) as runtime_seconds, v.last_heartbeat, s.agent, s.slots,
  (select count(*) from job_lease l where l.session_id = s.id) + (select count(*) from job_ending e where e.session_id = s.id) as running,
  coalesce(t.succeeded, 0) + coalesce(d.succeeded, 0) as succeeded,
  coalesce(t.failed, 0) + coalesce(d.failed, 0) as failed,
  q.resource, q.limit_seconds, q.margin_seconds, q.used_seconds, q.reserved_seconds, q.remaining_seconds, q.resets_at
from worker w
join users u on u.id = w.owner_id
join account a on a.id = w.account_id
join provider_policy p on p.provider = w.provider
cross join lateral (select w.owner_id = $1::int or $2::boolean as own) m
left join session s on s.id = w.session_id and s.state <> 'ended'
left join session_live v on v.session_id = s.id
left join worker_tally t on t.worker_id = w.id
left join (select worker_id, sum(succeeded) as succeeded, sum(failed) as failed from worker_delta group by worker_id) d on d.worker_id = w.id
left join provider_accelerator x on x.provider = w.provider and lower(x.name) = lower(w.accelerator)
left join lateral (select f.* from quota_figures(w.account_id, x.resource) f offset 0) q on m.own or $3::boolean
where w.state <> 'deleted' and w.id > $4::int
  and (m.own or $3::boolean or (p.sharing_allowed and a.sharing = 'all'))
  and ($6::text is null or w.provider = $6) and ($7::text is null or w.state = $7)
order by w.id
limit $5::int;

-- name: worker_account_lock
-- Until the transaction ends: one process at a time makes the account that a provider implies.
select pg_advisory_xact_lock(hashtext('gpupool.account'), hashtext($1));

-- name: worker_account_find
-- The account of provider $1 for the principal $2, $3: the one named $4; else, where the provider
-- implies one, that of the whole installation (local) or his own.  Nobody deletes it before the
-- transaction ends.
select id, deleting_at is not null as deleting from account
where provider = $1 and deleted_at is null and case
    when $4::int is not null then id = $4 and (owner_id = $2::int or $3::boolean)
    when provider = 'local' then true
    else owner_id = $2 end
order by id limit 1 for share;

-- name: worker_account_make
-- The implied account.  The installation's own belongs to its first administrator and is for all.
insert into account(owner_id, provider, label, sharing)
select case when $1 = 'local' then coalesce((select min(id) from users where role = 'admin' and active), $2::int) else $2 end,
  $1::text, case $1 when 'local' then 'This machine' when 'manual' then 'Own machines' else '' end, case when $1 = 'local' then 'all' else 'none' end
returning id;

-- name: worker_account_way idempotent
-- What kind of credentials an account has.
select start, key_id is not null as sealed, paid_at is not null as paid from account where id = $1::int;

-- name: worker_create
-- $1 owner, $2 account, $3 provider, $4 title or null, $5 accelerator, $6 e-mail, $7 desired,
-- $8 seconds a session, $9 idle seconds, which $12 says that a person chose (null = never); else $13, where the
-- provider limits hours or sessions; $10 its name at the provider or null, $11 inputs; $14 the way it starts; with the operation that starts it.  Unless a person does
-- that (assisted), one whose account waits for its owner waits for that from the beginning.
with a as (
  select $7 = 'running' and status = 'needs_human' and checked_version = sealed_version and $14 <> 'assisted' as waits, reason,
    not $12::boolean and $13::int is not null and exists (select from provider_limit l where l.provider = $3) as by_default
  from account where id = $2::int),
w as (
  insert into worker(owner_id, account_id, provider, title, accelerator, email, desired, max_session_seconds, idle_stop_seconds,
    idle_default, remote_name, inputs, start, state, reason_code, reason)
  select $1, $2, $3, coalesce($4, initcap($3) || ' ' || (select count(*) + 1 from worker where owner_id = $1 and provider = $3)),
    $5, $6, $7, $8, case when a.by_default then $13 else $9 end, a.by_default, $10, coalesce($11::jsonb, '{}'), $14, case when a.waits then 'needs_human' else 'stopped' end,
    case when a.waits then 'account' end, case when a.waits then 'Its account needs its owner: ' || coalesce(a.reason, 'see the accounts page.') end
  from a
  returning id, owner_id, driver, desired, generation),
op as (
  insert into operation(worker_id, provider, kind, generation)
  select id, driver, 'start', generation from w where desired = 'running'
  on conflict do nothing),
told as (
  insert into event(owner_id, topic, what, subjects) select owner_id, 'worker', 'created', array[id::bigint] from w)
select id from w;

-- name: worker_change
-- $1, $2 principal; $3 worker; $4 the version that it must have, or null.  Null keeps: $5 title,
-- $6 accelerator, $7 desired, $12 inputs.  $8 says that $9 (seconds a session) is given, $10 that $11 (idle
-- seconds) is: null is a value of theirs.  Desired "running" starts anew one that has failed, or whose
-- session ended for what a person had to change.
-- No row: not there or another's.  `done` false: nothing to do, or the row says why not: its version,
-- desired = deleted, or a running session whose time may only be lowered (`longer`).
with w as materialized (
  select w.*, s.id is not null and $8::boolean and coalesce($9::int, 2147483647) > coalesce(w.max_session_seconds, 2147483647) as longer,
    $7::text is not null and ($7 <> w.desired or ($7 = 'running' and (w.state = 'failed' or (w.state = 'needs_human' and s.id is null)))) as turned
  from worker w left join session s on s.id = w.session_id and s.state <> 'ended'
  where w.id = $3::int and (w.owner_id = $1::int or $2::boolean) and w.state <> 'deleted'
  for update of w),
new as (
  update worker t set title = coalesce($5, t.title), accelerator = coalesce($6, t.accelerator), inputs = coalesce($12::jsonb, t.inputs), desired = coalesce($7, t.desired),
    generation = t.generation + w.turned::int, version = t.version + 1, updated_at = now(),
    max_session_seconds = case when $8 then $9 else t.max_session_seconds end,
    idle_stop_seconds = case when $10::boolean then $11::int else t.idle_stop_seconds end, idle_default = t.idle_default and not $10
  from w
  where t.id = w.id and w.desired <> 'deleted' and ($4::int is null or w.version = $4) and not w.longer
    and (w.turned or $8 or $10 or coalesce($5, $6, $12) is not null)
  returning t.id, t.owner_id, t.driver, t.desired, t.generation, t.version, w.turned),
op as (
  insert into operation(worker_id, provider, kind, generation)
  select id, driver, case desired when 'running' then 'start' when 'stopped' then 'stop' else 'delete' end, generation
  from new where turned
  on conflict do nothing),
told as (
  insert into event(owner_id, topic, what, subjects)
  select owner_id, 'worker', case when not turned then 'changed' when desired = 'running' then 'start' when desired = 'stopped' then 'stop'
    else 'delete' end, array[id::bigint] from new)
select w.id, w.provider, w.version, w.desired, w.longer, n.id is not null as done, coalesce(n.turned, false) as turned
from w left join new n on n.id = w.id;

-- name: worker_shorten
-- Before worker_change in one transaction, since everybody locks the session first, then the
-- worker: its running session has at most $4 seconds.
select session_shorten(w.id, $4::int)
from worker w
where w.id = $3::int and (w.owner_id = $1::int or $2::boolean) and w.state <> 'deleted';

-- name: worker_enrol
-- A new enrolment token, by its hash $4, for the session that a person is to start by hand.
-- No row: no such worker.  Null: it is not waiting for one.
select session_enrol(w.id, $4::bytea) as until
from worker w
where w.id = $3::int and (w.owner_id = $1::int or $2::boolean) and w.state <> 'deleted';

-- name: worker_notebook
-- As worker_enrol, of one whose notebook a person opens, and what that notebook is made of.
select session_enrol(w.id, $4::bytea) as until, w.driver = 'colab' as assisted, w.id, w.title, s.intent, x.resource, x.shape,
  (select id from installation) as installation
from worker w
left join session s on s.id = w.session_id and s.state <> 'ended'
left join provider_accelerator x on x.provider = w.provider and lower(x.name) = lower(w.accelerator)
where w.id = $3::int and (w.owner_id = $1::int or $2::boolean) and w.state <> 'deleted';

-- name: worker_sessions idempotent
-- Its sessions below id $5, newest first, $6 at most; $4 the worker.  No row: no such worker; one
-- row without an id: none yet.  A deleted worker's are still its owner's to read.
select s.*
from worker w
join account a on a.id = w.account_id
join provider_policy p on p.provider = w.provider
cross join lateral (select w.owner_id = $1::int or $2::boolean as own) m
left join lateral (
  select s.id, s.state, s.started_at, s.registered_at, s.deadline, s.ended_at, s.end_code, s.end_reason, s.agent, s.slots,
    case when m.own then s.log_tail end as log_tail,
    case when m.own then (select count(*) from session_output o where o.session_id = s.id) else 0 end as outputs,
    greatest(0, date_part('epoch', coalesce(s.ended_at, now()) - s.started_at)) as runtime_seconds
  from session s where s.worker_id = w.id and s.id < $5::bigint order by s.id desc limit $6::int) s on true
where w.id = $4::int and (m.own or w.state <> 'deleted' and ($3::boolean or (p.sharing_allowed and a.sharing = 'all')))
order by s.id desc;
