/*
 * commands - the functions that the table in src/cli/commands.c names, and what
 * they share.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/command.h"

/* cmd_notebooks.c */
command_run cmd_notebooks_list, cmd_notebooks_add, cmd_notebooks_show, cmd_notebooks_start, cmd_notebooks_stop,
	cmd_notebooks_delete, cmd_notebooks_edit, cmd_notebooks_line, cmd_notebooks_outputs;
/* cmd_jobs.c */
command_run cmd_jobs_list, cmd_jobs_show, cmd_jobs_cancel, cmd_jobs_retry, cmd_jobs_attempts;
/* cmd_wait.c */
command_run cmd_jobs_wait, cmd_jobs_logs;
/* cmd_submit.c */
command_run cmd_jobs_submit;
/* cmd_artifacts.c */
command_run cmd_jobs_artifacts;
/* cmd_accounts.c */
command_run cmd_accounts_list, cmd_accounts_show, cmd_accounts_add, cmd_accounts_replace, cmd_accounts_check, cmd_accounts_connect, cmd_accounts_remove, cmd_accounts_budget;
/* cmd_browser.c */
command_run cmd_browser_sign_in;
/* cmd_quota.c */
command_run cmd_quota, cmd_policies;
/* cmd_policies.c */
command_run cmd_policies_set;
/* cmd_people.c */
command_run cmd_users_list, cmd_users_add, cmd_users_edit, cmd_users_delete, cmd_tokens_list, cmd_tokens_add, cmd_tokens_revoke,
	cmd_audit;
/* cmd_keys.c */
command_run cmd_keys_init, cmd_keys_list, cmd_keys_rotate;
/* cmd_secrets.c */
command_run cmd_secrets_set, cmd_secrets_list, cmd_secrets_remove;
/* cmd_autoscale.c */
command_run cmd_autoscale_show, cmd_autoscale_set, cmd_plan;
/* cmd_replay.c */
command_run cmd_replay;
/* cmd_health.c */
command_run cmd_health, cmd_openapi, cmd_doctor;
/* cmd_server.c */
command_run cmd_migrate, cmd_user_add, cmd_dev, cmd_nginx_conf, cmd_completion, cmd_fsm;

/* ---- shared ---- */

/* GET with pages: the elements of `key` of up to `most` (0 = all) rows, as one
 * {key: […]}.  path may hold a query. */
enum err cli_list(struct cli *cli, const char *path, const char *key, int64_t most, struct json **ret, struct error *e) must_check;
/* "path?a=b&c=d" of those options that were given; the names of the query are
 * the options' own unless told otherwise. */
struct query_option {
	const char *option, *query;
};
const char *cli_query(struct cli *cli, const char *path, const struct query_option *options);

/* Puts an option's value into a document, unless it was not given. */
void cli_put_text(struct cli *cli, struct json *body, const char *option, const char *field);

/* A secret of a file, or of standard input for "-": never a word of the command line, which others can
 * read.  False after saying why. */
enum { CLI_SECRET_MOST = 64 << 10 };
bool cli_read_secret(struct cli *cli, const char *path, struct str *ret) must_check;
/* A line of standard input; a terminal is prompted, and shows nothing of it when unseen.  False at the end. */
bool cli_ask(struct cli *cli, const char *prompt, bool unseen, struct str *ret) must_check;
/* What --kaggle-json holds, or the answers to questions, into body's "credentials".  False after saying why. */
bool cli_put_credentials(struct cli *cli, struct json *body) must_check;

/* Prints policies: terms, limits, accelerators. */
int cli_show_policies(const struct cli *cli, const struct json *policies);

/* Brings files of a list {name, size, sha256?} below base here: all, or those named after the first word. */
int cli_fetch(struct cli *cli, const char *base, const struct json *list, const char *to);

/* Waits for the jobs to end, with a progress bar on a terminal.  timeout_s < 0 =
 * as long as it takes.  *all_well: each succeeded.  ERR_TIMEOUT. */
enum err jobs_wait(struct cli *cli, const char *const *ids, size_t n, int64_t timeout_s, struct json **ret_jobs,
		   bool *all_well, struct error *e) must_check;
/* Prints the log from the offset on until the job has ended; *job is its last state. */
enum err jobs_follow(struct cli *cli, const char *id, const char *attempt, int64_t offset, struct json **job, struct error *e) must_check;
/* The exit code for jobs that ended, after showing their results. */
int jobs_outcome(struct cli *cli, const struct json *jobs, bool all_well);
/* Set once Ctrl-C came: what waits then ends with EXIT_INTERRUPTED. */
bool cli_interrupted(void);
void cli_catch_interrupt(void);

#endif
