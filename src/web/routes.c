/* routes - the table and nothing else.  See web/routes.h. */
#include "web/routes.h"

#include "web/api.h"
#include "web/pages.h"
#include "web/events.h"
#include "web/paging.h"

#define API(method, path, name) METHOD_##method, path, name, SERVES_API
#define SECRETS(method, path, name) METHOD_##method, path, name, SERVES_SECRETS
/* The asynchronous handler comes as .async. */
#define EVENTS(method, path, name) METHOD_##method, path, name, SERVES_EVENTS

/* No body, a JSON body, a form. */
#define NOTHING BODY_NONE, 0
#define JSON(max) BODY_JSON, max
#define FORM(max) BODY_FORM, max
#define BYTES(max) BODY_BYTES, max
/* Of the dashboard: addresses and forms of pages are nobody's interface; what they do not know they ignore. */
#define PAGE(handler) BODY_NONE, 0, handler, .flags = ROUTE_HIDDEN | ROUTE_LENIENT
#define SENT(max, handler) BODY_FORM, max, handler, .flags = ROUTE_HIDDEN | ROUTE_LENIENT

const struct route routes[] = {
	/* ---- state of the service ---- */
	{API(GET, "/healthz", "health"), AUTH_NONE, PERM_NONE, NOTHING, health_get, .flags = ROUTE_NO_DATABASE,
	 .summary = "Whether the process answers."},
	{API(GET, "/readyz", "ready"), AUTH_NONE, PERM_NONE, NOTHING, ready_get, .flags = ROUTE_NO_DATABASE,
	 .summary = "Whether database and schema are there."},
	{API(GET, "/metrics", "metrics"), AUTH_NONE, PERM_NONE, NOTHING, metrics_get, .summary = "Gauges of the pool as Prometheus text."},
	{API(GET, "/api/openapi.json", "openapi"), AUTH_NONE, PERM_NONE, NOTHING, openapi_get, .flags = ROUTE_NO_DATABASE,
	 .summary = "This document."},
	{API(GET, "/agent/gpupool-agent.py", "agent.file"), AUTH_NONE, PERM_NONE, NOTHING, agent_file_get, .flags = ROUTE_NO_DATABASE,
	 .summary = "The worker agent; its entity tag is its SHA-256."},

	/* ---- signing in ---- */
	{API(POST, "/api/gpu/sign-in", "signin.create"), AUTH_NONE, PERM_NONE, JSON(KiB(16)), signin_create, .body = signin_body,
	 .flags = ROUTE_NO_TX, .summary = "Sign in by name and password; sets the cookie, answers with the CSRF token."},
	{API(POST, "/api/gpu/sign-out", "signout.create"), AUTH_ANY, PERM_NONE, NOTHING, signout_create, .success = 204,
	 .summary = "End this browser's sign-in."},
	{API(GET, "/api/gpu/me", "me.get"), AUTH_ANY, PERM_NONE, NOTHING, me_get, .summary = "Who I am and what I may do."},
	{API(PATCH, "/api/gpu/me", "me.change"), AUTH_ANY, PERM_SELF, JSON(KiB(16)), me_change, .body = me_body,
	 .summary = "Change my settings."},
	{API(POST, "/api/gpu/me/password", "me.password"), AUTH_ANY, PERM_SELF, JSON(KiB(16)), me_password, .body = me_password_body,
	 .flags = ROUTE_NO_TX, .success = 204, .summary = "Change my password; other sign-ins end."},

	{API(POST, "/api/gpu/me/sign-out-others", "me.signOutOthers"), AUTH_ANY, PERM_SELF, NOTHING, me_sign_out_others, .success = 204,
	 .summary = "End my sign-ins in other browsers."},

	/* ---- people ---- */
	{API(GET, "/api/gpu/users", "users.list"), AUTH_ANY, PERM_ADMIN, NOTHING, users_list, .query = paging_query,
	 .summary = "All users."},
	{API(POST, "/api/gpu/users", "users.create"), AUTH_ANY, PERM_ADMIN, JSON(KiB(16)), users_create, .body = user_create_body,
	 .success = 201, .summary = "Add a user."},
	{API(GET, "/api/gpu/users/:id", "users.get"), AUTH_ANY, PERM_ADMIN, NOTHING, users_get, .summary = "One user."},
	{API(PATCH, "/api/gpu/users/:id", "users.change"), AUTH_ANY, PERM_ADMIN, JSON(KiB(16)), users_change,
	 .body = user_change_body, .summary = "Change, deactivate or activate a user."},
	{API(DELETE, "/api/gpu/users/:id", "users.delete"), AUTH_ANY, PERM_ADMIN, NOTHING, users_delete, .success = 204,
	 .summary = "Remove a user who owns nothing."},

	/* ---- API tokens ---- */
	{API(GET, "/api/gpu/tokens", "tokens.list"), AUTH_ANY, PERM_SELF, NOTHING, tokens_list, .query = tokens_query,
	 .summary = "My tokens, without their values."},
	{API(POST, "/api/gpu/tokens", "tokens.create"), AUTH_ANY, PERM_SELF, JSON(KiB(16)), tokens_create, .body = token_create_body,
	 .success = 201, .summary = "Make a token; its value is in this answer and nowhere else."},
	{API(DELETE, "/api/gpu/tokens/:id", "tokens.revoke"), AUTH_ANY, PERM_SELF, NOTHING, tokens_revoke, .success = 204,
	 .summary = "Revoke a token."},

	/* ---- accounts at providers ---- */
	{API(GET, "/api/gpu/accounts", "accounts.list"), AUTH_ANY, PERM_MANAGE, NOTHING, accounts_list, .query = paging_query,
	 .summary = "My accounts; all of them for an admin."},
	{API(POST, "/api/gpu/accounts", "accounts.create"), AUTH_ANY, PERM_MANAGE, JSON(KiB(64)), accounts_create,
	 .body = account_create_body, .success = 201, .summary = "Add an account."},
	{API(GET, "/api/gpu/accounts/:id", "accounts.get"), AUTH_ANY, PERM_MANAGE, NOTHING, accounts_get, .summary = "One account."},
	{API(PATCH, "/api/gpu/accounts/:id", "accounts.change"), AUTH_ANY, PERM_MANAGE, JSON(KiB(64)), accounts_change,
	 .body = account_change_body, .summary = "Rename or share an account, or replace its credentials."},
	{API(DELETE, "/api/gpu/accounts/:id", "accounts.delete"), AUTH_ANY, PERM_MANAGE, NOTHING, accounts_delete, .success = 204,
	 .summary = "Remove an account that has no notebooks; its credentials are gone at once."},
	{API(POST, "/api/gpu/accounts/:id/check", "accounts.check"), AUTH_ANY, PERM_MANAGE, NOTHING, accounts_check, .success = 202,
	 .summary = "Ask its provider whether its credentials are good."},
	{API(GET, "/api/gpu/policies", "policies.list"), AUTH_ANY, PERM_READ, NOTHING, policies_list,
	 .summary = "What each provider allows and has: terms, limits, accelerators."},
	{API(PATCH, "/api/gpu/policies/:provider", "policies.change"), AUTH_ANY, PERM_ADMIN, JSON(KiB(16)), policies_change,
	 .body = policy_change_body, .summary = "Change a provider's terms; dated today, and what was before is kept."},
	{API(PATCH, "/api/gpu/policies/:provider/limits/:resource", "policies.changeLimit"), AUTH_ANY, PERM_ADMIN, JSON(KiB(16)),
	 policies_change_limit, .body = policy_limit_body,
	 .summary = "Change the limits of one resource; for starts from now on, and for the week of what runs."},

	/* ---- secrets of one's own ---- */
	{API(GET, "/api/gpu/secrets", "secrets.list"), AUTH_ANY, PERM_MANAGE, NOTHING, secrets_list,
	 .summary = "My secrets, without their values."},
	{API(POST, "/api/gpu/secrets", "secrets.put"), AUTH_ANY, PERM_MANAGE, JSON(KiB(256)), secrets_put, .body = secret_put_body,
	 .flags = ROUTE_REPEATABLE, .success = 201, .summary = "Make a secret, or give it another value; nothing shows it again."},
	{API(DELETE, "/api/gpu/secrets/:name", "secrets.remove"), AUTH_ANY, PERM_MANAGE, NOTHING, secrets_remove, .success = 204,
	 .summary = "Remove a secret of mine."},

	/* ---- hours ---- */
	{API(GET, "/api/gpu/quota", "quota.list"), AUTH_ANY, PERM_READ, NOTHING, quota_get, .query = quota_query,
	 .summary = "The hours of my accounts: used, reserved, remaining; of all accounts for an admin."},

	/* ---- what happened ---- */
	{API(GET, "/api/gpu/audit", "audit.list"), AUTH_ANY, PERM_ADMIN, NOTHING, audit_get, .query = audit_query_fields,
	 .summary = "Who did what, newest first."},
	{API(GET, "/api/gpu/decisions", "decisions.list"), AUTH_ANY, PERM_READ, NOTHING, decisions_get, .query = decisions_query,
	 .summary = "What the pool decided and why, newest first."},

	/* ---- jobs: what agents, logs and waiting need is the events role's, below ---- */
	{API(POST, "/api/gpu/jobs", "jobs.create"), AUTH_ANY, PERM_SUBMIT, JSON(MiB(1) + KiB(64)), job_create,
	 .body = job_create_body, .success = 202, .summary = "Submit a job."},
	{API(POST, "/api/gpu/jobs/batch", "jobs.batch"), AUTH_ANY, PERM_SUBMIT, JSON(MiB(32)), job_batch,
	 .body = job_batch_body, .success = 202, .summary = "Submit up to 1,000 jobs, all or none."},
	{API(POST, "/api/gpu/jobs/cancel", "jobs.cancelMany"), AUTH_ANY, PERM_SUBMIT, JSON(KiB(64)), job_cancel_many,
	 .body = job_cancel_body, .summary = "Cancel jobs by id or by what they have in common."},
	{API(GET, "/api/gpu/jobs", "jobs.list"), AUTH_ANY, PERM_READ, NOTHING, job_list_get,
	 .query = job_list_query, .summary = "Your jobs, newest first."},
	{API(GET, "/api/gpu/jobs/:id", "jobs.get"), AUTH_ANY, PERM_READ, NOTHING, job_get_one,
	 .query = job_get_query, .summary = "One job."},
	{API(GET, "/api/gpu/jobs/:id/attempts", "jobs.attempts"), AUTH_ANY, PERM_READ, NOTHING, job_attempts_get,
	 .summary = "Every run of a job, the first one first."},
	{API(GET, "/api/gpu/jobs/:id/artifacts", "jobs.artifacts"), AUTH_ANY, PERM_READ, NOTHING, job_artifacts_get,
	 .summary = "The files that a job left."},
	{API(POST, "/api/gpu/jobs/:id/cancel", "jobs.cancel"), AUTH_ANY, PERM_SUBMIT, NOTHING, job_cancel_one,
	 .summary = "Cancel a job at once, whether it waits or runs."},
	{API(POST, "/api/gpu/jobs/:id/retry", "jobs.retry"), AUTH_ANY, PERM_SUBMIT, NOTHING, job_retry_one,
	 .success = 202, .summary = "Run a finished job again, with fresh attempts."},

	{API(GET, "/api/gpu/queue", "queue.get"), AUTH_ANY, PERM_READ, NOTHING, queue_get, .query = queue_query,
	 .summary = "How many of your jobs wait and run, and why they wait."},

	/* ---- scaling ---- */
	{API(GET, "/api/gpu/autoscale", "autoscale.get"), AUTH_ANY, PERM_READ, NOTHING, autoscale_get, .query = autoscale_query,
	 .summary = "Your scaling policy."},
	{API(PUT, "/api/gpu/autoscale", "autoscale.set"), AUTH_ANY, PERM_MANAGE, JSON(KiB(64)), autoscale_put, .query = autoscale_query,
	 .body = autoscale_body, .summary = "Set your scaling policy; what is absent becomes the default. If-Match guards against changes of others."},
	{API(POST, "/api/gpu/autoscale/plan", "autoscale.plan"), AUTH_ANY, PERM_MANAGE, JSON(KiB(4)), autoscale_plan,
	 .body = autoscale_plan_body, .summary = "What your policy would start and stop now, and why; nothing is done."},
	{API(POST, "/api/gpu/autoscale/plan/:id/commit", "autoscale.commit"), AUTH_ANY, PERM_MANAGE, NOTHING, autoscale_commit,
	 .flags = ROUTE_NO_TX, .summary = "Do what a plan of the last minute says; 409 with a new plan when the pool has changed."},
	{API(GET, "/api/gpu/autoscale/rounds", "autoscale.rounds"), AUTH_ANY, PERM_ADMIN, NOTHING, autoscale_rounds,
	 .query = autoscale_rounds_query, .summary = "Rounds in which something was started or stopped, newest first."},
	{API(GET, "/api/gpu/autoscale/rounds/:id", "autoscale.round"), AUTH_ANY, PERM_ADMIN, NOTHING, autoscale_round,
	 .summary = "One round with all that it saw, so that it can be decided again."},

	/* ---- notebooks ---- */
	{API(POST, "/api/gpu/workers/notebooks", "notebooks.create"), AUTH_ANY, PERM_MANAGE, JSON(KiB(64)), notebook_create,
	 .body = notebook_create_body, .success = 202, .summary = "Make a notebook, and start it."},
	{API(GET, "/api/gpu/workers/notebooks", "notebooks.list"), AUTH_ANY, PERM_READ, NOTHING, notebook_list,
	 .query = notebook_list_query, .summary = "Notebooks with their sessions."},
	{API(GET, "/api/gpu/workers/notebooks/:id", "notebooks.get"), AUTH_ANY, PERM_READ, NOTHING, notebook_get,
	 .summary = "One notebook."},
	{API(PATCH, "/api/gpu/workers/notebooks/:id", "notebooks.change"), AUTH_ANY, PERM_MANAGE, JSON(KiB(64)), notebook_change,
	 .body = notebook_change_body, .summary = "Change a notebook; If-Match guards against changes of others."},
	{API(DELETE, "/api/gpu/workers/notebooks/:id", "notebooks.delete"), AUTH_ANY, PERM_MANAGE, NOTHING, notebook_delete,
	 .success = 202, .summary = "Stop its session, then delete it."},
	{API(POST, "/api/gpu/workers/notebooks/:id/start", "notebooks.start"), AUTH_ANY, PERM_MANAGE, NOTHING, notebook_start,
	 .success = 202, .summary = "Start it."},
	{API(POST, "/api/gpu/workers/notebooks/:id/stop", "notebooks.stop"), AUTH_ANY, PERM_MANAGE, NOTHING, notebook_stop,
	 .success = 202, .summary = "Stop it; its jobs return to the queue."},
	{API(POST, "/api/gpu/workers/notebooks/:id/enrolment", "notebooks.enrol"), AUTH_ANY, PERM_MANAGE, NOTHING, notebook_enrol,
	 .summary = "A line with a fresh token, to start a worker by hand."},
	{API(GET, "/api/gpu/workers/notebooks/:id/sessions", "notebooks.sessions"), AUTH_ANY, PERM_READ, NOTHING,
	 notebook_sessions, .query = notebook_sessions_query, .summary = "Its sessions, newest first."},
	{API(GET, "/api/gpu/workers/notebooks/:id/sessions/:session/outputs", "outputs.list"), AUTH_ANY, PERM_READ, NOTHING,
	 outputs_list, .summary = "What a session of yours left at its provider."},
	{API(GET, "/api/gpu/workers/notebooks/:id/sessions/:session/outputs/:name*", "outputs.get"), AUTH_ANY, PERM_READ, NOTHING,
	 outputs_get, .summary = "The log of a session, as text, or a file that it left."},

	/* ---- what waits and streams: agents ---- */
	{EVENTS(GET, "/healthz/events", "events.health"), AUTH_NONE, PERM_NONE, NOTHING, .async = events_health,
	 .summary = "Whether the events process answers."},
	{EVENTS(POST, "/api/gpu/workers/auto-register", "agents.register"), AUTH_ENROL, PERM_NONE, JSON(KiB(64)), .async = events_register,
	 .body = register_body, .flags = ROUTE_LENIENT, .summary = "An agent presents its enrolment token and gets a session."},
	{EVENTS(POST, "/api/gpu/workers/:id/claim", "agents.claim"), AUTH_SESSION, PERM_NONE, JSON(KiB(64)), .async = events_claim,
	 .body = claim_body, .flags = ROUTE_LENIENT | ROUTE_WAITS, .summary = "Waits for jobs and orders."},
	{EVENTS(POST, "/api/gpu/workers/:id/heartbeat", "agents.heartbeat"), AUTH_SESSION, PERM_NONE, JSON(KiB(512)),
	 .async = events_heartbeat, .body = heartbeat_body, .flags = ROUTE_LENIENT, .summary = "Renews leases and reports progress."},
	{EVENTS(POST, "/api/gpu/workers/:id/results", "agents.results"), AUTH_SESSION, PERM_NONE, JSON(MiB(16)), .async = events_results,
	 .body = results_body, .flags = ROUTE_LENIENT, .summary = "Reports what became of jobs."},
	{EVENTS(POST, "/api/gpu/workers/:id/goodbye", "agents.goodbye"), AUTH_SESSION, PERM_NONE, JSON(KiB(128)), .async = events_goodbye,
	 .body = goodbye_body, .flags = ROUTE_LENIENT, .success = 204, .summary = "Ends the session at once."},
	{EVENTS(POST, "/api/gpu/jobs/:id/logs", "agents.log"), AUTH_SESSION, PERM_NONE, BYTES(KiB(256)), .async = events_log_append,
	 .query = log_append_query, .flags = ROUTE_LENIENT, .summary = "Appends to the log of an attempt."},
	{EVENTS(PUT, "/api/gpu/jobs/:id/artifacts/:name*", "agents.artifact"), AUTH_SESSION, PERM_NONE, BYTES((size_t)1 << 40),
	 .async = events_artifact_put, .query = artifact_put_query, .flags = ROUTE_LENIENT | ROUTE_STREAM, .success = 201,
	 .summary = "Stores a file of a job."},

	/* ---- what opens secrets ---- */
	{SECRETS(GET, "/healthz/secrets", "secrets.health"), AUTH_NONE, PERM_NONE, NOTHING, health_get, .flags = ROUTE_NO_DATABASE,
	 .summary = "Whether the secrets process answers."},
	{SECRETS(POST, "/api/gpu/workers/:id/secrets", "agents.secrets"), AUTH_SESSION, PERM_NONE, JSON(KiB(4)), secrets_give,
	 .body = secrets_give_body, .flags = ROUTE_LENIENT | ROUTE_NO_TX | ROUTE_NO_AUDIT,
	 .summary = "Gives the session that holds a job the secrets that the job names."},

	/* ---- what waits and streams: people ---- */
	{EVENTS(GET, "/api/gpu/events", "events.stream"), AUTH_ANY, PERM_READ, NOTHING, .async = events_stream_get,
	 .query = events_stream_query, .flags = ROUTE_STREAM, .summary = "What happens, as server-sent events; Last-Event-ID resumes."},
	{EVENTS(GET, "/api/gpu/jobs/:id/logs", "jobs.logs"), AUTH_ANY, PERM_READ, NOTHING, .async = events_log_read,
	 .query = log_read_query, .flags = ROUTE_STREAM, .summary = "The log of an attempt as text; followed with Accept: text/event-stream."},
	{EVENTS(GET, "/api/gpu/jobs/:id/artifacts/:name*", "artifacts.get"), AUTH_ANY, PERM_READ, NOTHING, .async = events_artifact_get,
	 .summary = "A file of a job."},

	/* ---- pages; a form has the name of the API's route that it stands for ---- */
	{API(GET, "/", "page.home"), AUTH_NONE, PERM_NONE, PAGE(page_home), .summary = "To the dashboard."},
	{API(GET, "/admin", "page.home"), AUTH_NONE, PERM_NONE, PAGE(page_home), .summary = "To the dashboard."},
	{API(GET, "/admin/", "page.home"), AUTH_NONE, PERM_NONE, PAGE(page_home), .summary = "To the dashboard."},
	{API(GET, "/admin/gpu-dashboard", "page.pool"), AUTH_PAGE, PERM_READ, PAGE(page_pool), .query = page_pool_query,
	 .summary = "The pool."},
	{API(GET, "/admin/workers/new", "page.workerNew"), AUTH_PAGE, PERM_MANAGE, PAGE(page_worker_new),
	 .query = page_worker_new_query, .summary = "Add a notebook."},
	{API(POST, "/admin/workers/new", "notebooks.create"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(64), page_worker_create),
	 .body = page_worker_new_body, .again = page_worker_new_again, .summary = "Adds a notebook."},
	{API(GET, "/admin/workers/:id", "page.worker"), AUTH_PAGE, PERM_READ, PAGE(page_worker), .query = page_query,
	 .summary = "One worker."},
	{API(POST, "/admin/workers/:id/start", "notebooks.start"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(4), page_worker_start),
	 .body = page_worker_act_body, .summary = "Starts it."},
	{API(POST, "/admin/workers/:id/stop", "notebooks.stop"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(4), page_worker_stop),
	 .body = page_worker_act_body, .summary = "Stops it."},
	{API(POST, "/admin/workers/:id/edit", "notebooks.change"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(16), page_worker_edit),
	 .body = page_worker_edit_body, .again = page_worker_again, .summary = "Changes it."},
	{API(POST, "/admin/workers/:id/enrol", "notebooks.enrol"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(4), page_worker_enrol),
	 .summary = "Shows the line that starts it by hand."},
	{API(GET, "/admin/workers/:id/delete", "page.workerDelete"), AUTH_PAGE, PERM_MANAGE, PAGE(page_worker_delete_ask),
	 .query = page_query, .summary = "Asks whether to delete it."},
	{API(POST, "/admin/workers/:id/delete", "notebooks.delete"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(4), page_worker_delete),
	 .summary = "Deletes it."},
	{API(GET, "/admin/jobs", "page.jobs"), AUTH_PAGE, PERM_READ, PAGE(page_jobs), .query = page_jobs_query, .summary = "Jobs."},
	{API(POST, "/admin/jobs/cancel", "jobs.cancelMany"), AUTH_PAGE, PERM_SUBMIT, SENT(KiB(64), page_jobs_cancel),
	 .body = page_jobs_cancel_body, .summary = "Cancels several."},
	{API(GET, "/admin/jobs/new", "page.jobNew"), AUTH_PAGE, PERM_SUBMIT, PAGE(page_job_new), .query = page_job_new_query,
	 .summary = "Submit a job."},
	/* A byte may be sent as three. */
	{API(POST, "/admin/jobs/new", "jobs.create"), AUTH_PAGE, PERM_SUBMIT, SENT(MiB(4), page_job_create),
	 .body = page_job_new_body, .again = page_job_new_again, .summary = "Submits a job."},
	{API(GET, "/admin/jobs/:id", "page.job"), AUTH_PAGE, PERM_READ, PAGE(page_job), .query = page_job_query, .summary = "One job."},
	{API(POST, "/admin/jobs/:id/cancel", "jobs.cancel"), AUTH_PAGE, PERM_SUBMIT, SENT(KiB(4), page_job_cancel),
	 .summary = "Cancels it."},
	{API(POST, "/admin/jobs/:id/retry", "jobs.retry"), AUTH_PAGE, PERM_SUBMIT, SENT(KiB(4), page_job_retry),
	 .summary = "Runs it again."},
	{API(GET, "/admin/accounts", "page.accounts"), AUTH_PAGE, PERM_MANAGE, PAGE(page_accounts), .query = page_query,
	 .summary = "Accounts at providers."},
	{API(POST, "/admin/accounts", "accounts.create"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(64), page_account_create),
	 .body = page_account_create_body, .again = page_accounts_again, .summary = "Adds an account."},
	{API(GET, "/admin/accounts/:id", "page.account"), AUTH_PAGE, PERM_MANAGE, PAGE(page_account), .query = page_query,
	 .summary = "One account."},
	{API(POST, "/admin/accounts/:id/credentials", "accounts.change"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(64), page_account_replace),
	 .body = page_account_replace_body, .again = page_account_again, .summary = "Replaces its credentials."},
	{API(POST, "/admin/accounts/:id/edit", "accounts.change"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(4), page_account_edit),
	 .body = page_account_edit_body, .again = page_account_edit_again, .summary = "Renames or shares it."},
	{API(POST, "/admin/accounts/:id/check", "accounts.check"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(4), page_account_check),
	 .again = page_account_again, .summary = "Has it checked now."},
	{API(GET, "/admin/accounts/:id/delete", "page.accountDelete"), AUTH_PAGE, PERM_MANAGE, PAGE(page_account_delete_ask),
	 .query = page_query, .summary = "Asks whether to remove it."},
	{API(POST, "/admin/accounts/:id/delete", "accounts.delete"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(4), page_account_delete),
	 .again = page_account_delete_again, .summary = "Removes it."},
	{API(GET, "/admin/secrets", "page.secrets"), AUTH_PAGE, PERM_MANAGE, PAGE(page_secrets), .query = page_secrets_query,
	 .summary = "My secrets, without their values."},
	{API(POST, "/admin/secrets", "secrets.put"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(128), page_secret_put),
	 .body = page_secret_put_body, .again = page_secrets_again, .summary = "Names a secret, or gives it another value."},
	{API(POST, "/admin/secrets/:name/delete", "secrets.remove"), AUTH_PAGE, PERM_MANAGE, SENT(KiB(4), page_secret_remove),
	 .again = page_secrets_again, .summary = "Deletes it."},
	{API(GET, "/admin/users", "page.users"), AUTH_PAGE, PERM_ADMIN, PAGE(page_users), .query = page_query, .summary = "Users."},
	{API(POST, "/admin/users", "users.create"), AUTH_PAGE, PERM_ADMIN, SENT(KiB(16), page_user_create),
	 .body = page_user_create_body, .again = page_users_again, .summary = "Adds a user."},
	{API(POST, "/admin/users/:id/edit", "users.change"), AUTH_PAGE, PERM_ADMIN, SENT(KiB(16), page_user_edit),
	 .body = page_user_edit_body, .again = page_users_again, .summary = "Changes a user."},
	{API(GET, "/admin/tokens", "page.tokens"), AUTH_PAGE, PERM_SELF, PAGE(page_tokens), .query = page_query, .summary = "My tokens."},
	{API(POST, "/admin/tokens", "tokens.create"), AUTH_PAGE, PERM_SELF, SENT(KiB(16), page_token_create),
	 .body = page_token_create_body, .again = page_tokens_again, .summary = "Makes a token and shows it once."},
	{API(POST, "/admin/tokens/:id/delete", "tokens.revoke"), AUTH_PAGE, PERM_SELF, SENT(KiB(4), page_token_revoke),
	 .summary = "Revokes a token."},
	{API(GET, "/admin/profile", "page.profile"), AUTH_PAGE, PERM_SELF, PAGE(page_profile), .query = page_query,
	 .summary = "My account."},
	{API(POST, "/admin/profile", "me.password"), AUTH_PAGE, PERM_SELF, BODY_FORM, KiB(16), page_password,
	 .body = page_password_body, .again = page_profile_again, .flags = ROUTE_HIDDEN | ROUTE_NO_TX, .summary = "Changes my password."},
	{API(POST, "/admin/profile/sign-out-others", "me.signOutOthers"), AUTH_PAGE, PERM_SELF, SENT(KiB(4), page_sign_out_others),
	 .summary = "Ends my other sign-ins."},
	{API(GET, "/admin/sign-in", "page.signin"), AUTH_NONE, PERM_NONE, NOTHING, signin_page, .query = signin_page_query,
	 .flags = ROUTE_HIDDEN | ROUTE_NO_DATABASE, .summary = "Sign-in page."},
	{API(POST, "/admin/sign-in", "signin.create"), AUTH_NONE, PERM_NONE, FORM(KiB(16)), signin_submit, .body = signin_page_body, .again = signin_again,
	 .flags = ROUTE_HIDDEN | ROUTE_NO_TX, .summary = "Signs in."},
	{API(POST, "/admin/sign-out", "signout.create"), AUTH_PAGE, PERM_NONE, FORM(KiB(4)), signout_submit, .flags = ROUTE_HIDDEN,
	 .summary = "Signs out."},
};

const size_t route_count = ARRAY_LEN(routes);
