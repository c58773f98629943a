-- The roles of a gpupool database, for a superuser to run once a cluster; it may
-- be run again.  Roles get no password here: `alter role … password` or a
-- pg_hba.conf line says how each of them signs in.
--
--   owner        owns the schema, runs migrations
--   web          REST and dashboard: writes intent, never an outcome or a secret
--   events       agents' calls, streams: leases, results, logs
--   secrets      reads job secrets for the one route that hands them out
--   provisioner  drives providers: sessions, operations, ledger
--   local        the provisioner of this machine's own workers
--   browser      the provisioner of workers at Colab that a browser starts
do $$
declare r text;
begin
  foreach r in array array['owner', 'web', 'events', 'secrets', 'provisioner', 'local', 'browser'] loop
    if not exists (select from pg_roles where rolname = 'gpupool_' || r) then
      execute format('create role %I login', 'gpupool_' || r);
    end if;
  end loop;
end $$;
