/*
 * pages - handlers and form tables of the dashboard, by source file; the route
 * table names them.
 */
#ifndef WEB_PAGES_H
#define WEB_PAGES_H

#include "web/routes.h"

/* Query members of a page that shows nothing but a note. */
extern const struct field page_query[];

/* page_home.c */
handler page_home, page_profile, page_password, page_sign_out_others;
again_handler page_profile_again;
extern const struct field page_password_body[];

/* page_pool.c */
handler page_pool;
extern const struct field page_pool_query[];

/* page_worker_new.c */
handler page_worker_new, page_worker_create;
again_handler page_worker_new_again;
extern const struct field page_worker_new_query[], page_worker_new_body[];

/* page_worker.c */
handler page_worker, page_worker_start, page_worker_stop, page_worker_edit, page_worker_enrol, page_worker_delete_ask,
	page_worker_delete;
again_handler page_worker_again;
extern const struct field page_worker_act_body[], page_worker_edit_body[];

/* page_jobs.c */
handler page_jobs, page_jobs_cancel;
extern const struct field page_jobs_query[], page_jobs_cancel_body[];

/* page_job_new.c */
handler page_job_new, page_job_create;
again_handler page_job_new_again;
extern const struct field page_job_new_query[], page_job_new_body[];

/* page_job.c */
handler page_job, page_job_cancel, page_job_retry;
extern const struct field page_job_query[];

/* page_users.c */
handler page_users, page_user_create, page_user_edit;
again_handler page_users_again;
extern const struct field page_user_create_body[], page_user_edit_body[];

/* page_tokens.c */
handler page_tokens, page_token_create, page_token_revoke;
again_handler page_tokens_again;
extern const struct field page_token_create_body[];

/* page_accounts.c */
handler page_accounts, page_account_create, page_account, page_account_replace, page_account_edit, page_account_check, page_account_consent,
	page_account_delete_ask, page_account_delete;
again_handler page_accounts_again, page_account_again, page_account_edit_again, page_account_delete_again;
extern const struct field page_account_create_body[], page_account_replace_body[], page_account_consent_body[], page_account_edit_body[], page_account_delete_body[];

/* page_secrets.c */
handler page_secrets, page_secret_put, page_secret_remove;
again_handler page_secrets_again;
extern const struct field page_secrets_query[], page_secret_put_body[];

/* page_scaling.c */
handler page_scaling, page_scaling_save, page_scaling_plan, page_scaling_commit;
again_handler page_scaling_again, page_scaling_save_again;
extern const struct field page_scaling_body[];

/* page_policies.c */
handler page_policies, page_policy_terms, page_policy_terms_save, page_policy_limit, page_policy_limit_save;
again_handler page_policy_terms_again, page_policy_limit_again;
extern const struct field page_policy_terms_body[], page_policy_limit_body[];

#endif
