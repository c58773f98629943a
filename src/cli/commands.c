/* commands - the table and nothing else.  See cli/command.h. */
#include "cli/commands.h"

#define END {NULL, NULL, NULL, false}

static const struct option notebook_add[] = {
	{"accelerator", "NAME", "cpu, gpu, tpu or one of `gpupool policies` (cpu on own machines, else gpu)", false},
	{"start", "WAY", "colab: assisted (you open its notebook), api or browser", false},
	{"title", "TEXT", "what people call it", false},
	{"account", "ID", "whose hours it uses (your own there)", false},
	{"kaggle-json", "FILE", "add your account with it; - is standard input", false},
	{"dataset", "OWNER/NAME", "to read from at Kaggle", true},
	{"model", "NAME", "OWNER/MODEL/FRAMEWORK/VARIATION, to read from at Kaggle", true},
	{"competition", "NAME", "to read the data of at Kaggle", true},
	{"kernel", "OWNER/NAME", "notebook to read the output of at Kaggle", true},
	{"email", "ADDRESS", "where notices go", false},
	{"max-session", "DURATION", "end each run after this long", false},
	{"idle-stop", "DURATION", "stop when it had no job for this long", false},
	{"no-start", NULL, "do not start it yet", false},
	END,
};
static const struct option notebook_edit[] = {
	{"accelerator", "NAME", "from the next run on", false},
	{"title", "TEXT", "what people call it", false},
	{"max-session", "DURATION", "end each run after this long", false},
	{"idle-stop", "DURATION", "stop when it had no job for this long", false},
	END,
};
static const struct option notebook_line[] = {
	{"ask", NULL, "a line that asks for the token, which is printed apart", false},
	END,
};
static const struct option job_filters[] = {
	{"state", "STATE", "queued, running, succeeded, failed, cancelled or timed_out", false},
	{"type", "TYPE", "script, training or inference", false},
	{"tag", "TAG", "that have this tag", false},
	{"name", "NAME", "whose name begins so", false},
	{"search", "TEXT", "whose name, tags or id hold this", false},
	{"worker", "ID", "that ran there", false},
	{"owner", "ID", "of this person, for admins (everyone's)", false},
	{"limit", "N", "at most so many, newest first (50)", false},
	{"all", NULL, "all of them", false},
	END,
};
static const struct option job_cancel[] = {
	{"state", "STATE", "those in this state", false},
	{"type", "TYPE", "those of this type", false},
	{"tag", "TAG", "those with this tag", false},
	{"name", "NAME", "those whose name begins so", false},
	{"owner", "ID", "of this person, for admins (one's own)", false},
	END,
};
static const struct option job_submit[] = {
	{"command", NULL, "run a program: gpupool jobs submit --command -- PROGRAM ARGS", false},
	{"batch", "FILE", "many jobs: a JSON array, or one JSON object a line; - is standard input", false},
	{"endpoint", "NAME", "call this endpoint", false},
	{"input", "JSON", "the endpoint's input", false},
	{"type", "TYPE", "script, training or inference (script)", false},
	{"name", "TEXT", "what people call it", false},
	{"tag", "TAG", "to find it by", true},
	{"priority", "N", "0 to 9, 9 goes first", false},
	{"accelerator", "NAME", "cpu, gpu, tpu or a model; several = any of them", true},
	{"gpus", "N", "how many it needs (1)", false},
	{"timeout", "DURATION", "end it after this long", false},
	{"estimate", "DURATION", "how long it will take", false},
	{"max-attempts", "N", "how often it may be tried (3)", false},
	{"retry-on-error", NULL, "try again also when the job itself fails", false},
	{"after", "TIME", "not before this time, or this long from now", false},
	{"webhook", "URL", "told when it ends", false},
	{"env", "NAME=VALUE", "environment of the job; NAME alone takes the value from here", true},
	{"secret", "NAME", "a secret of yours that the job finds in its environment", true},
	{"file", "NAME=PATH", "input file, found below $GPUPOOL_INPUTS", true},
	{"requirement", "SPEC", "Python package that it needs", true},
	{"requirements", "FILE", "requirements.txt", false},
	{"wait", NULL, "wait until it ends, then show its result", false},
	{"follow", NULL, "print its log while it runs, then its result", false},
	{"wait-timeout", "DURATION", "wait no longer than this", false},
	END,
};
static const struct option job_wait[] = {
	{"timeout", "DURATION", "wait no longer than this: exit status 7", false},
	END,
};
static const struct option job_logs[] = {
	{"follow", NULL, "go on until the job ends", false},
	{"attempt", "N", "of this attempt (the latest)", false},
	{"offset", "BYTES", "from here on", false},
	END,
};
static const struct option job_artifacts[] = {
	{"to", "DIR", "bring them here; only those named, else all", false},
	END,
};
static const struct option notebook_outputs[] = {
	{"session", "ID", "of this session (the newest that left some)", false},
	{"to", "DIR", "bring them here; only those named, else all", false},
	END,
};
static const struct option account_add[] = {
	{"label", "TEXT", "what people call it", false},
	{"client-json", "FILE", "colab: the file that Google makes of an OAuth client; - is standard input", false},
	{"compute-units", NULL, "colab: I attest that the account has compute units", false},
	{"key-file", "FILE", "colab-enterprise: the JSON key of a service account; - is standard input", false},
	{"project", "ID", "colab-enterprise: the project (the key's)", false},
	{"region", "NAME", "colab-enterprise: such as us-central1", false},
	{"bucket", "NAME", "colab-enterprise: where executed notebooks go", false},
	{"kaggle-json", "FILE", "the file that Kaggle makes, or one with a token; - is standard input (asks)", false},
	END,
};
static const struct option account_connect[] = {
	{"start", "WAY", "what for: assisted (notebooks in your Drive) or api as well", false},
	END,
};
static const struct option account_replace[] = {
	{"kaggle-json", "FILE", "the file that Kaggle makes, or one with a token; - is standard input (asks)", false},
	END,
};
static const struct option account_budget[] = {
	{"hours", "N", "machine-hours a month; none = any number", false},
	{"money", "AMOUNT", "a month, by the prices; none = any amount", false},
	{"currency", "CODE", "of the money, such as EUR (USD)", false},
	{"price", "NAME=AMOUNT", "an hour of an accelerator; the given ones take the place of those that were", true},
	{"source", "TEXT", "where the prices are from", false},
	END,
};
static const struct option account_remove[] = {
	{"abandon", NULL, "forgets its credentials at once: what is left at the provider stays there", false},
	END,
};
static const struct option user_add[] = {
	{"role", "ROLE", "admin, operator or viewer (operator)", false},
	{"email", "ADDRESS", "where notices go", false},
	{"password-file", "FILE", "first password; - is standard input", false},
	END,
};
static const struct option user_edit[] = {
	{"role", "ROLE", "admin, operator or viewer", false},
	{"email", "ADDRESS", "where notices go", false},
	{"password-file", "FILE", "new password; - is standard input", false},
	{"deactivate", NULL, "end sign-ins and tokens", false},
	{"activate", NULL, "let sign in again", false},
	END,
};
static const struct option user_add_here[] = {
	{"role", "ROLE", "admin, operator or viewer (operator)", false},
	{"email", "ADDRESS", "where notices go", false},
	{"no-password", NULL, "no sign-in by password", false},
	END,
};
static const struct option token_list[] = {
	{"all", NULL, "of all users", false},
	END,
};
static const struct option token_add[] = {
	{"scope", "SCOPE", "read, submit, manage, admin or inference (read)", true},
	{"expires", "DURATION", "good for so long (for ever)", false},
	END,
};
static const struct option policies_set[] = {
	{"source", "TEXT", "where this is said; dated today", false},
	{"sharing", "yes|no", "may owners let other people's jobs run on their accounts there?", false},
	{"notice", "TEXT", "the term that whoever adds an account is shown", false},
	{"session", "DURATION", "the provider ends a session then; none = it does not", false},
	{"session-margin", "DURATION", "and we, so much sooner", false},
	{"week", "DURATION", "of an account, where its provider does not say; none = any number", false},
	{"week-margin", "DURATION", "of a week, that is never used", false},
	{"concurrent", "N", "sessions at once; none = any number", false},
	{"min-session", "DURATION", "a shorter session is not worth its start", false},
	{"idle", "DURATION", "the provider ends an idle session then; none = it does not", false},
	END,
};
static const struct option autoscale_show[] = {
	{"owner", "ID", "of this person, for admins (one's own)", false},
	END,
};
/* The parts of a scaling policy that are set, and that a replay may change. */
#define SCALING_OPTIONS \
	{"accelerator", "NAME", "of workers that are made; none = as the waiting jobs ask", false}, \
	{"min", "N", "workers that are always there", false}, \
	{"max", "N", "workers at most", false}, \
	{"threshold", "N", "one more worker for more waiting jobs than these", false}, \
	{"target-wait", "DURATION", "no job should wait longer", false}, \
	{"up-delay", "DURATION", "for how long there must be a need", false}, \
	{"down-delay", "DURATION", "for how long there must be a surplus", false}, \
	{"idle-stop", "DURATION", "stop a worker that had no job for this long; none = never", false}

static const struct option autoscale_set[] = {
	{"on", NULL, "start and stop workers by it", false},
	{"off", NULL, "do not", false},
	{"pause", NULL, "leave everything as it is for a while", false},
	{"resume", NULL, "go on", false},
	SCALING_OPTIONS,
	{"account", "ID", "that it may use, in order; all = all you may use", true},
	{"account-order", "ORDER", "listed, or expiring: hours that expire first go first", false},
	{"owner", "ID", "of this person, for admins (one's own)", false},
	END,
};
static const struct option plan[] = {
	{"commit", NULL, "do it", false},
	{"owner", "ID", "of this person's policy, for admins (one's own)", false},
	END,
};
static const struct option replay[] = {
	SCALING_OPTIONS,
	{"owner", "ID", "in this person's policy only", false},
	{"limit", "N", "so many rounds, the latest (20)", false},
	END,
};
static const struct option audit_list[] = {
	{"limit", "N", "at most so many, newest first (50)", false},
	END,
};
static const struct option doctor[] = {
	{"local", NULL, "this machine is the server: check it too", false},
	{"nginx", "FILE", "nginx's main configuration, such as /etc/nginx/nginx.conf", false},
	END,
};
static const struct option keys[] = {
	{"purpose", "PURPOSE", "what they seal: credentials or secrets (credentials)", false},
	END,
};
static const struct option keys_rotate[] = {
	{"purpose", "PURPOSE", "what they seal: credentials or secrets (credentials)", false},
	{"wait", "DURATION", "for programs without the new key at most so long (for ever)", false},
	END,
};
static const struct option migrate[] = {
	{"check", NULL, "only say whether the schema is this program's", false},
	END,
};
static const struct option nginx_conf[] = {
	{"listen", "ADDRESS", "where browsers and agents come (80)", false},
	{"server-name", "NAME", "as which host (_)", false},
	{"api", "SOCKET", "of gpupool-web --role=api (unix:/run/gpupool/api/socket)", false},
	{"events", "SOCKET", "of gpupool-web --role=events (unix:/run/gpupool/events/socket)", false},
	{"secrets", "SOCKET", "of gpupool-web --role=secrets (unix:/run/gpupool/secrets/socket)", false},
	{"static", "DIR", "the static files", false},
	{"store", "DIR", "the artifacts: GPUPOOL_STORE", false},
	{"routes", "FILE", "where the blocks of `gpupool-web --print-nginx` are", false},
	{"access-log", "FILE", "log of requests", false},
	{"spare-loopback", NULL, "no limits for this machine itself", false},
	END,
};

const struct command commands[] = {
	{"accounts add", "PROVIDER", 1, 1, NEEDS_SERVER, "Adds an account at a provider; its credentials are sealed at once", account_add, cmd_accounts_add},
	{"accounts budget", "ID", 1, 1, NEEDS_SERVER, "Shows what an account may cost a month, and sets it", account_budget, cmd_accounts_budget},
	{"accounts check", "ID", 1, 1, NEEDS_SERVER, "Has an account's credentials checked now", NULL, cmd_accounts_check},
	{"accounts connect", "ID", 1, 1, NEEDS_SERVER, "Prints the address at which you consent at Google, for ten minutes", account_connect, cmd_accounts_connect},
	{"accounts list", "", 0, 0, NEEDS_SERVER, "Lists accounts at providers", NULL, cmd_accounts_list},
	{"accounts remove", "ID", 1, 1, NEEDS_SERVER, "Removes an account: its notebooks, then its credentials", account_remove, cmd_accounts_remove},
	{"accounts replace", "ID", 1, 1, NEEDS_SERVER, "Gives an account other credentials", account_replace, cmd_accounts_replace},
	{"accounts show", "ID", 1, 1, NEEDS_SERVER, "Shows an account", NULL, cmd_accounts_show},
	{"audit", "", 0, 0, NEEDS_SERVER, "Lists who changed what", audit_list, cmd_audit},
	{"autoscale set", "", 0, 0, NEEDS_SERVER, "Changes the scaling policy", autoscale_set, cmd_autoscale_set},
	{"autoscale show", "", 0, 0, NEEDS_SERVER, "Shows the scaling policy", autoscale_show, cmd_autoscale_show},
	{"browser sign-in", "ACCOUNT", 1, 1, NEEDS_CONFIG, "On the server: opens a window in which a person signs an account of Colab in", NULL, cmd_browser_sign_in},
	{"completion", "bash", 1, 1, 0, "Prints a completion script for the shell", NULL, cmd_completion},
	{"dev", "", 0, 0, NEEDS_CONFIG, "Runs a whole private installation until Ctrl-C (`make run`)", NULL, cmd_dev},
	{"doctor", "", 0, 0, NEEDS_SERVER | NO_TOKEN, "Checks the installation, and says what to change", doctor, cmd_doctor},
	{"fsm", "", 0, 0, 0, "Prints the states of jobs and workers as Mermaid diagrams", NULL, cmd_fsm},
	{"health", "", 0, 0, NEEDS_SERVER | NO_TOKEN, "Says whether the server is ready", NULL, cmd_health},
	{"jobs artifacts", "ID [NAME…]", 1, -1, NEEDS_SERVER, "Lists a job's artifacts, or brings them here", job_artifacts, cmd_jobs_artifacts},
	{"jobs attempts", "ID", 1, 1, NEEDS_SERVER, "Lists a job's attempts", NULL, cmd_jobs_attempts},
	{"jobs cancel", "[ID…]", 0, -1, NEEDS_SERVER, "Cancels jobs, by id or by filter", job_cancel, cmd_jobs_cancel},
	{"jobs list", "", 0, 0, NEEDS_SERVER, "Lists jobs, newest first", job_filters, cmd_jobs_list},
	{"jobs logs", "ID", 1, 1, NEEDS_SERVER, "Prints a job's log", job_logs, cmd_jobs_logs},
	{"jobs retry", "ID…", 1, -1, NEEDS_SERVER, "Puts jobs that ended back into the queue", NULL, cmd_jobs_retry},
	{"jobs show", "ID", 1, 1, NEEDS_SERVER, "Shows a job and its result", NULL, cmd_jobs_show},
	{"jobs submit", "FILE [ARGS…]", 0, -1, NEEDS_SERVER, "Submits a Python file, a command, or a batch; prints the job's id", job_submit, cmd_jobs_submit},
	{"jobs wait", "ID…", 1, -1, NEEDS_SERVER, "Waits until jobs end; exit status 1 when one did not succeed", job_wait, cmd_jobs_wait},
	{"keys init", "", 0, 0, NEEDS_CONFIG, "On the server: makes the first sealing key unless there is one", keys, cmd_keys_init},
	{"keys list", "", 0, 0, NEEDS_CONFIG, "On the server: lists sealing keys, and which private halves are here", keys, cmd_keys_list},
	{"keys rotate", "", 0, 0, NEEDS_CONFIG, "On the server: makes a new sealing key, seals everything to it, and retires the old", keys_rotate, cmd_keys_rotate},
	{"migrate", "", 0, 0, NEEDS_CONFIG, "Brings the database of GPUPOOL_DATABASE to this program's schema", migrate, cmd_migrate},
	{"nginx-conf", "", 0, 0, 0, "Prints the configuration for nginx's http block", nginx_conf, cmd_nginx_conf},
	{"notebooks add", "PROVIDER", 1, 1, NEEDS_SERVER, "Creates a worker and starts it", notebook_add, cmd_notebooks_add},
	{"notebooks delete", "ID", 1, 1, NEEDS_SERVER, "Stops a worker and deletes it", NULL, cmd_notebooks_delete},
	{"notebooks edit", "ID", 1, 1, NEEDS_SERVER, "Changes a worker", notebook_edit, cmd_notebooks_edit},
	{"notebooks line", "ID", 1, 1, NEEDS_SERVER, "Prints the line that starts a manual worker on another machine", notebook_line, cmd_notebooks_line},
	{"notebooks list", "", 0, 0, NEEDS_SERVER, "Lists workers", NULL, cmd_notebooks_list},
	{"notebooks outputs", "ID [NAME…]", 1, -1, NEEDS_SERVER, "Lists what a worker's session left at its provider, or brings it here", notebook_outputs, cmd_notebooks_outputs},
	{"notebooks show", "ID", 1, 1, NEEDS_SERVER, "Shows a worker", NULL, cmd_notebooks_show},
	{"notebooks start", "ID", 1, 1, NEEDS_SERVER, "Starts a worker", NULL, cmd_notebooks_start},
	{"notebooks stop", "ID", 1, 1, NEEDS_SERVER, "Stops a worker", NULL, cmd_notebooks_stop},
	{"openapi", "", 0, 0, NEEDS_SERVER | NO_TOKEN, "Prints the OpenAPI document of the server", NULL, cmd_openapi},
	{"plan", "", 0, 0, NEEDS_SERVER, "Says what the scaling policy would start and stop now, and why", plan, cmd_plan},
	{"policies", "[PROVIDER]", 0, 1, NEEDS_SERVER, "Shows what providers allow, and their accelerators", NULL, cmd_policies},
	{"policies set", "PROVIDER [cpu|gpu|tpu]", 1, 2, NEEDS_SERVER, "Changes a provider's terms, or the limits of one resource", policies_set, cmd_policies_set},
	{"quota", "", 0, 0, NEEDS_SERVER, "Shows what each account has left", NULL, cmd_quota},
	{"replay", "[ROUND…]", 0, -1, NEEDS_SERVER, "Decides kept rounds of scaling again, here, as they were or under another policy", replay, cmd_replay},
	{"secrets list", "", 0, 0, NEEDS_SERVER, "Lists your secrets, without their values", NULL, cmd_secrets_list},
	{"secrets remove", "NAME…", 1, -1, NEEDS_SERVER, "Removes secrets of yours", NULL, cmd_secrets_remove},
	{"secrets set", "NAME", 1, 1, NEEDS_SERVER, "Makes a secret or changes it; asks for the value, or takes it from standard input", NULL, cmd_secrets_set},
	{"tokens add", "NAME", 1, 1, NEEDS_SERVER, "Makes an API token and prints it, this once", token_add, cmd_tokens_add},
	{"tokens list", "", 0, 0, NEEDS_SERVER, "Lists API tokens", token_list, cmd_tokens_list},
	{"tokens revoke", "ID", 1, 1, NEEDS_SERVER, "Ends an API token", NULL, cmd_tokens_revoke},
	{"user add", "NAME", 1, 1, NEEDS_CONFIG, "On the server: adds a user to the database; the password comes on standard input", user_add_here, cmd_user_add},
	{"users add", "NAME", 1, 1, NEEDS_SERVER, "Adds a user", user_add, cmd_users_add},
	{"users delete", "ID", 1, 1, NEEDS_SERVER, "Deletes a user who owns nothing", NULL, cmd_users_delete},
	{"users edit", "ID", 1, 1, NEEDS_SERVER, "Changes a user", user_edit, cmd_users_edit},
	{"users list", "", 0, 0, NEEDS_SERVER, "Lists users", NULL, cmd_users_list},
};
const size_t command_count = ARRAY_LEN(commands);
