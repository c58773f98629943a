-- Passwords of the roles, for a superuser: {"web": "…", …} in the session's
-- setting gpupool.passwords, so that none is part of a statement's text.
do $$
declare r record;
begin
  for r in select * from json_each_text(current_setting('gpupool.passwords')::json) loop
    execute format('alter role %I password %L', 'gpupool_' || r.key, r.value);
  end loop;
end $$;
