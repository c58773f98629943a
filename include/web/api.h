/*
 * api - handlers and field tables that the route table names, by source file.
 */
#ifndef WEB_API_H
#define WEB_API_H

#include "web/routes.h"

/* api_health.c */
handler health_get, ready_get, metrics_get, openapi_get;

/* api_agent.c */
handler agent_file_get;

/* api_auth.c */
handler signin_create, signout_create, me_get, me_change, me_password, me_sign_out_others;
extern const struct field signin_body[], me_body[], me_password_body[];

/* page_signin.c */
handler signin_page, signin_submit, signout_submit;
again_handler signin_again;
extern const struct field signin_page_query[], signin_page_body[];

/* api_users.c */
handler users_list, users_get, users_create, users_change, users_delete;
extern const struct field user_create_body[], user_change_body[];

/* api_tokens.c */
handler tokens_list, tokens_create, tokens_revoke;
extern const struct field token_create_body[], tokens_query[];

/* api_accounts.c */
handler accounts_list, accounts_get, accounts_create, accounts_change, accounts_delete, accounts_check, accounts_picture;
extern const struct field account_create_body[], account_change_body[], account_delete_query[];

/* api_consent.c */
handler accounts_consent, consent_back;
extern const struct field consent_body[], consent_query[];

/* api_policies.c */
handler policies_list, policies_change, policies_change_limit;
extern const struct field policy_change_body[], policy_limit_body[];

/* api_secrets.c */
handler secrets_list, secrets_put, secrets_remove;
extern const struct field secret_put_body[];

/* secrets_give.c */
handler secrets_give;
extern const struct field secrets_give_body[];

/* api_quota.c */
handler quota_get;
extern const struct field quota_query[];

/* api_audit.c */
handler audit_get, decisions_get;
extern const struct field audit_query_fields[], decisions_query[];

/* api_queue.c */
handler queue_get;
extern const struct field queue_query[];

/* api_autoscale.c */
handler autoscale_get, autoscale_put, autoscale_plan, autoscale_commit, autoscale_rounds, autoscale_round;
extern const struct field autoscale_query[], autoscale_body[], autoscale_plan_body[], autoscale_rounds_query[];

/* api_jobs.c */
extern const struct field job_create_body[], job_batch_body[], job_list_query[], job_get_query[], job_cancel_body[];
handler job_create, job_batch, job_list_get, job_get_one, job_attempts_get, job_artifacts_get, job_cancel_one, job_cancel_many,
	job_retry_one;

/* api_notebooks.c */
extern const struct field notebook_create_body[], notebook_change_body[], notebook_list_query[], notebook_sessions_query[];
handler notebook_create, notebook_list, notebook_get, notebook_change, notebook_delete, notebook_start, notebook_stop, notebook_enrol,
	notebook_sessions;

/* api_notebook_file.c */
handler notebook_file_get;

/* api_outputs.c */
handler outputs_list, outputs_get;

#endif
