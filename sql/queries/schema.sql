-- name: migration_list idempotent
select version, sha256, needs_program from gpupool.schema_migration order by version;

-- name: migration_record
insert into gpupool.schema_migration(version, name, sha256, needs_program) values ($1, $2, $3, $4);

-- name: migration_lock
select pg_advisory_lock(hashtext('gpupool.migrate'));

-- name: migration_unlock
select pg_advisory_unlock(hashtext('gpupool.migrate'));

-- name: wake
-- A hint for whoever listens; runs alone, after the commit of what it hints at.
select pg_notify($1, $2);

-- name: ping idempotent
select 1 as one;
