-- What a private installation asks of its new cluster, as superuser.

-- name: setup_database_exists idempotent
select 1 as one from pg_database where datname = $1;

-- name: setup_passwords
-- For sql/passwords.sql, in the same session.
select set_config('gpupool.passwords', $1, false) is not null as done;
