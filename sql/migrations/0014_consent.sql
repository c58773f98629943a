-- Consent of people at Google, and what is known of an account that is not secret.

alter table account
  add email       text not null default '',        -- whose it is to be, where that is told beforehand: the browser way
  add client_id   text not null default '',        -- of its OAuth client: stands in the address of Google's page
  add paid_at     timestamptz,                     -- its owner said then that it has compute units
  add scopes      text[] not null default '{}',    -- what its owner consented to, as the provisioner was told
  add consent_at  timestamptz,
  add consent_version int,                         -- the sealed_version that holds it: replaced credentials hold none
  add consent_error text,                          -- why the last try came to nothing
  add constraint account_email check ((start = 'browser') = (email <> ''));

-- A consent that was asked for: from the moment a person is sent to Google until the provisioner has made the
-- exchange.  What is sealed opens where credentials do; the verifier of PKCE never leaves the server otherwise.
create table oauth_consent (
  state_hash bytea primary key,                    -- of what comes back in the address, once
  account_id int not null references account on delete cascade,
  user_id    int not null references users,        -- who was signed in, and must be when it comes back
  scopes     text[] not null,
  verifier   bytea not null,
  key_id     int not null references sealing_key,
  sealed_version int not null,                     -- the client that it was asked for
  expires_at timestamptz not null default now() + interval '10 minutes',
  code       bytea,                                -- set once
  code_key_id int references sealing_key,
  claimed_at timestamptz,                          -- by the provisioner that exchanges it
  created_at timestamptz not null default now());
create index on oauth_consent (account_id);
create index on oauth_consent (created_at) where code is not null;

grant select (email, client_id, paid_at, scopes, consent_at, consent_version, consent_error) on account to gpupool_web;
grant insert (email, paid_at), update (email, client_id, paid_at, consent_error) on account to gpupool_web;
grant update (scopes, consent_at, consent_version, consent_error) on account to gpupool_provisioner;
grant select (state_hash, account_id, user_id, scopes, sealed_version, expires_at, created_at, code_key_id), insert, delete on oauth_consent
  to gpupool_web;
grant update (code, code_key_id) on oauth_consent to gpupool_web;
grant select, delete, update (claimed_at) on oauth_consent to gpupool_provisioner;
