-- Watching runs at providers elsewhere.

alter table session
  add over_at timestamptz;                           -- its run is over for certain, or was never begun: asked no more
alter table account
  add swept_at timestamptz;                          -- when what it has at its provider was last compared with our rows

grant update (swept_at) on account to gpupool_provisioner;
