/* gpupool-provisioner - the program that drives providers; see control/loop.h. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/crashpoint.h"
#include "base/crypto.h"
#include "base/log.h"
#include "control/loop.h"

static const char usage[] =
	"usage: gpupool-provisioner [options]\n"
	"\n"
	"Takes the operations of some providers and keeps the pool as it is wanted.\n"
	"\n"
	"  --providers=LIST   comma list of providers to serve, or \"all\"\n"
	"  --config=FILE      settings; the environment (GPUPOOL_...) goes before them\n"
	"  --print-config     show the settings and exit\n"
	"  --stop-workers     on SIGTERM, first end the agents of this machine\n"
	"  --help             this text\n";

enum { OPT_PROVIDERS = 1, OPT_CONFIG, OPT_PRINT, OPT_STOP, OPT_HELP };

static const struct option options[] = {
	{"providers", required_argument, NULL, OPT_PROVIDERS}, {"config", required_argument, NULL, OPT_CONFIG},
	{"print-config", no_argument, NULL, OPT_PRINT},        {"stop-workers", no_argument, NULL, OPT_STOP},
	{"help", no_argument, NULL, OPT_HELP},                 {NULL, 0, NULL, 0},
};

struct asked {
	const char *providers, *config;
	bool print, stop_workers;
};

/* -1 to go on, else the exit status. */
static int read_options(int argc, char **argv, struct asked *ret)
{
	int c;

	ret->config = getenv("GPUPOOL_CONFIG");
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case OPT_PROVIDERS:
			ret->providers = optarg;
			break;
		case OPT_CONFIG:
			ret->config = optarg;
			break;
		case OPT_PRINT:
			ret->print = true;
			break;
		case OPT_STOP:
			ret->stop_workers = true;
			break;
		case OPT_HELP:
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	return -1;
}

int main(int argc, char **argv)
{
	cleanup_arena struct arena arena;
	struct config config;
	struct asked asked = {0};
	struct error e = {0};
	enum log_level level;
	enum err err;
	int status = read_options(argc, argv, &asked);

	arena_init(&arena, 1 << 20);
	if (status >= 0)
		return status;
	err = config_load(&arena, asked.config, &config, &e);
	if (!err && asked.providers)
		err = config_set(&arena, &config, "providers", asked.providers, &e);
	if (err) {
		fprintf(stderr, "gpupool-provisioner: %s\n", e.msg);
		return 2;
	}
	if (asked.print) {
		config_print(&config, stdout);
		return 0;
	}
	log_init("gpupool-provisioner", log_level_parse(config.log_level, &level) ? level : LOG_INFO);
	crypto_init();
	crashpoint_arm(config.crash_at);
	err = loop_run(&config, asked.stop_workers, &e);
	if (err)
		fprintf(stderr, "gpupool-provisioner: %s\n", e.msg);
	return err ? 1 : 0;
}
