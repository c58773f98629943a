/* gpupool-web - FastCGI processes behind nginx: --role=api, --role=events or --role=secrets. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/log.h"
#include "web/events.h"
#include "web/fcgi.h"
#include "web/nginx_routes.h"
#include "web/secrets_role.h"
#include "web/template.h"
#include "web/version.h"

static const char usage[] =
	"usage: gpupool-web [--role=api|events|secrets] [--config=FILE] [--print-config | --print-nginx]\n"
	"\n"
	"  --role=api      REST and dashboard (the default)\n"
	"  --role=events   what waits and streams: agents' calls, event streams, logs, artifacts\n"
	"  --role=secrets  gives jobs the secrets that they name; has their private key\n"
	"  --config=FILE   settings, `key = value` lines; GPUPOOL_<KEY> in the environment wins\n"
	"  --print-config  show the settings in effect, and end\n"
	"  --print-nginx   show nginx's location blocks for the routes, and end\n"
	"\n"
	"Signals: TERM drains and ends, HUP reads the settings again.\n";

struct options {
	const char *role, *config_file;
	bool print_config, print_nginx;
};

static int api_processes(const struct config *c)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	return c->web_processes ? (int)c->web_processes : (int)(2 * (cores > 0 ? cores : 1) + 2);
}

/* One loop serves thousands; more of them are more installations or hosts. */
static int events_processes(const struct config *c)
{
	return 1;
}

/* Two, so that one may end. */
static int secrets_processes(const struct config *c)
{
	return c->web_processes == 1 ? 1 : 2;
}

static const struct role_row {
	const char *name, *process;
	int (*processes)(const struct config *c);
	int (*child)(const struct server_child *child);
} role_rows[] = {
	{"api", "gpupool-web", api_processes, fcgi_child},
	{"events", "gpupool-web-events", events_processes, events_child},
	{"secrets", "gpupool-web-secrets", secrets_processes, secrets_child},
};

static const struct role_row *find_role(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(role_rows); i++)
		if (!strcmp(role_rows[i].name, name))
			return &role_rows[i];
	return NULL;
}

static enum err load(void *arg, struct arena *a, struct config *ret, struct error *e)
{
	const struct options *o = arg;
	enum log_level level;
	enum err err = config_load(a, o->config_file, ret, e);

	if (!err && log_level_parse(ret->log_level, &level))
		log_init(find_role(o->role)->process, level);
	return err;
}

static int print_config(struct options *o)
{
	cleanup_arena struct arena a;
	struct config c;
	struct error e = {0};

	arena_init(&a, 1 << 20);
	if (load(o, &a, &c, &e)) {
		fprintf(stderr, "gpupool-web: %s\n", e.msg);
		return 1;
	}
	config_print(&c, stdout);
	return 0;
}

static int serve(struct options *o, const struct role_row *role)
{
	cleanup_template struct template_set *templates = NULL;
	struct server s = {.name = role->name, .load = load, .ctx = o, .processes = role->processes, .child = role->child};
	struct error e = {0};

	if (template_load(NULL, &templates, &e)) {
		fprintf(stderr, "gpupool-web: %s\n", e.msg);
		return 1;
	}
	s.shared = templates;
	return server_run(&s);
}

static bool parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"role", required_argument, NULL, 'r'},
		{"config", required_argument, NULL, 'c'},
		{"print-config", no_argument, NULL, 'p'},
		{"print-nginx", no_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		switch (c) {
		case 'r': o->role = optarg; break;
		case 'c': o->config_file = optarg; break;
		case 'p': o->print_config = true; break;
		case 'n': o->print_nginx = true; break;
		case 'h': fputs(usage, stdout); exit(0);
		case 'V': puts("gpupool-web " GPUPOOL_VERSION); exit(0);
		default: return false;
		}
	return optind == argc;
}

int main(int argc, char **argv)
{
	struct options o = {.role = "api"};
	const struct role_row *role;

	if (!parse(argc, argv, &o) || !(role = find_role(o.role))) {
		fputs(usage, stderr);
		return 2;
	}
	log_init(role->process, LOG_INFO);
	crypto_init();
	if (o.print_config)
		return print_config(&o);
	if (o.print_nginx)
		return nginx_routes_print(stdout) ? 0 : 1;
	return serve(&o, role);
}
