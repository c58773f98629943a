/*
 * config - every setting of every program in one table.
 *
 * A setting comes, in rising order, from its default, from the file
 * (`key = value` lines, # comments; path in GPUPOOL_CONFIG or --config) and
 * from the environment (GPUPOOL_<KEY>).  The table in config.c is the single
 * list: it fills struct config, prints --print-config, and a test compares it
 * with the table in README.md.  Adding a setting: one row there, one member
 * here, one line in README.md.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/error.h"

struct config {
	/* where things are */
	const char *database;   /* libpq connection string of this program's role */
	const char *public_url; /* how browsers and agents reach us, no trailing slash */
	int64_t port;           /* of nginx in `make run` */
	const char *state;      /* directory of `make run` */
	const char *store;      /* directory of artifacts */
	const char *listen_group; /* who else may use a unix socket; "" = the process's own group */
	const char *listen;     /* unix path or host:port of the FastCGI socket */
	const char *nginx_peers; /* who may connect to a TCP socket: CIDR list */
	const char *outgoing_allow; /* exceptions for addresses that others gave: CIDR:port list */
	const char *log_level;  /* debug info warn error */
	/* nginx, as `gpupool nginx-conf` writes it */
	const char *signin_rate; /* an address, "5r/m" */
	const char *address_rate; /* nginx: an address, whatever tokens it shows */
	const char *api_rate;    /* a token, or an address without one, "50r/s" */
	/* gpupool-web */
	int64_t web_processes;  /* 0 = 2 * cores + 2 */
	int64_t max_parked;     /* claims and streams one events process holds */
	int64_t max_body;       /* JSON request bodies, bytes */
	int64_t password_slots; /* hashes at once on this host */
	/* jobs and workers */
	int64_t heartbeat_seconds;
	int64_t lease_inference_seconds, lease_script_seconds, lease_training_seconds;
	int64_t idle_stop_seconds; /* of a worker for which nobody chose it, where hours are limited; 0 = never */
	int64_t place_own, place_time, place_expiry, place_load; /* weights of placement's preferences */
	int64_t place_hold_seconds; /* after so long free slots are kept for jobs of several GPUs; 0 = never */
	int64_t deadline_notice_seconds; /* a session drains so long before its deadline */
	int64_t grace_seconds;     /* added before anything is reaped */
	int64_t retention_days;    /* finished jobs, logs, events, outputs */
	int64_t max_log;           /* bytes an attempt */
	int64_t max_artifact;      /* bytes each */
	int64_t max_artifacts_job; /* bytes a job */
	/* provisioner */
	int64_t hands;             /* slow steps at once */
	const char *keys;          /* directory of the private sealing keys */
	const char *kaggle_url;    /* base address of its API */
	int64_t kaggle_poll_seconds;   /* between two looks at a run that has not registered */
	int64_t kaggle_settle_seconds; /* until what Kaggle shows after a push is certain */
	int64_t colab_poll_seconds; /* between two looks at a runtime that has not registered */
	const char *colab_url;     /* Colab's pages, and what is asked beside its API */
	const char *colab_api_url, *drive_url, *gcs_url; /* base addresses at Google */
	const char *vertex_url;    /* the region comes in front of its host, unless that is a loopback address */
	int64_t vertex_settle_seconds; /* until it is certain that a request without an answer made no job */
	const char *google_oauth_url;    /* tokens */
	const char *google_accounts_url; /* where a person consents, or signs in */
	bool colab_browser;        /* Colab in a browser of ours may be used */
	const char *chromium, *chromedriver; /* its programs */
	const char *browser_dir;   /* profiles of accounts, one directory each */
	const char *providers;     /* which this instance serves: comma list or "all" */
	const char *python;        /* starts local agents */
	const char *local_dir;     /* work directories of local workers */
	int64_t local_uid;         /* first uid of local workers when root; 0 = none */
	bool local_unsafe;         /* run local jobs without isolation */
	const char *pip_args;      /* passed to agents of local workers */
	/* make run */
	bool demo;
	/* tests */
	const char *crash_at;      /* test builds only: n-th crash point aborts */
};

/* Fills *ret from file (NULL: the one that GPUPOOL_CONFIG names, if any) and
 * environment; strings live in the arena and are never NULL.  What is empty
 * and follows from another setting is filled in: public_url from port; store,
 * keys, local_dir and listen from state.  ERR_INVALID names the setting. */
enum err config_load(struct arena *a, const char *file, struct config *ret, struct error *e) must_check;
/* key = value lines, passwords in connection strings masked. */
void config_print(const struct config *c, FILE *out);
/* Parses one setting for a command line `--key=value`, after config_load(); what
 * follows from it follows.  ERR_NOT_FOUND for an unknown key; *c is unchanged
 * unless OK. */
enum err config_set(struct arena *a, struct config *c, const char *key, const char *value, struct error *e) must_check;

#endif
