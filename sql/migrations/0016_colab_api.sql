-- Colab through its API.

-- denylisted: the provider has barred the account.  It is not asked again for these credentials, and starts nothing.
alter table account drop constraint account_refused_code_check;
alter table account add check (refused_code in ('credentials', 'account', 'denylisted'));
