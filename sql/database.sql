-- The database, for a superuser, once a cluster and after roles.sql.
create database gpupool owner gpupool_owner encoding 'UTF8' template template0;
