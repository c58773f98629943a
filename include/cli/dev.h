/*
 * dev - `gpupool dev`: a whole private installation that lives as long as this
 * process, behind `make run`.
 *
 * Everything it keeps is below GPUPOOL_STATE; sockets, configuration and
 * copies of the programs are in a run directory of short name.  As root each
 * service has a user of its own and PostgreSQL runs as `postgres`; as an
 * ordinary user all are that user, and jobs are fenced by bubblewrap.
 *
 * One thread.  Signals are blocked except inside dev_turn(), which every wait
 * goes through: it reaps and restarts services and notices Ctrl-C.
 *
 *     dev_dirs.c      state and run directory, lock, leftovers of a killed run
 *     dev_postgres.c  cluster, roles, passwords, migrations, the first user
 *     dev_keys.c      the first sealing keys
 *     dev_services.c  the table of processes, supervision, the order of the end
 *     dev_nginx.c     its configuration
 *     dev_demo.c      the worker and the example job
 */
#ifndef CLI_DEV_H
#define CLI_DEV_H

#include <limits.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/config.h"
#include "cli/process.h"

/* In the order of starting.  The end has its own order. */
enum service_id {
	SERVICE_POSTGRES,
	SERVICE_API,
	SERVICE_EVENTS,
	SERVICE_SECRETS,
	SERVICE_PROVISIONER,
	SERVICE_LOCAL,
	SERVICE_BROWSER, /* where colab_browser is on */
	SERVICE_NGINX,
	SERVICE_COUNT
};

/* State of one process under supervision. */
struct service {
	pid_t pid;          /* 0 = does not run */
	bool wanted;        /* is started again when it ends */
	int64_t started_ms; /* monotonic */
	int64_t again_ms;   /* when to start it again */
	struct backoff backoff;
	int early_ends; /* in a row */
};

struct dev {
	struct config config;
	struct arena arena; /* lives as long as the process */
	bool root;
	int lock;              /* fd of STATE/lock */
	const char *state;     /* absolute */
	const char *data;      /* where the services' data are: state, or elsewhere when others cannot reach it */
	const char *run;       /* sockets, configuration, programs */
	const char *programs;  /* where the programs were built or installed */
	const char *assets;    /* directory that holds static/ */
	const char *pg_bin;    /* directory of initdb and postgres */
	const char *nginx;     /* path of nginx */
	const char *url;       /* http://127.0.0.1:PORT */
	const char *public_url;
	const char *token;     /* content of STATE/admin-token */
	struct service services[SERVICE_COUNT];
	bool stopping;
	bool ready;
};

/* A path or text in the dev's arena. */
const char *dev_text(struct dev *d, const char *fmt, ...) printf_like(2, 3);
/* A line for the person who watches. */
void dev_say(const char *fmt, ...) printf_like(1, 2);

/* ---- dev_dirs.c ---- */
enum err dev_dirs_open(struct dev *d, struct error *e) must_check;
void dev_dirs_close(struct dev *d);
/* Remembers a process, so that the run after a kill -9 of this one ends it. */
void dev_remember(struct dev *d, pid_t pid);
/* Whom a service runs as. */
struct identity dev_identity(const struct dev *d, enum service_id s);
/* An open log file STATE/log/NAME.log for appending, of that owner; -1 = failed. */
int dev_log(struct dev *d, const char *name, struct owner o);

/* ---- dev_postgres.c ---- */
enum err dev_postgres_prepare(struct dev *d, struct error *e) must_check; /* cluster and settings; before its start */
enum err dev_postgres_setup(struct dev *d, struct error *e) must_check;   /* roles, schema, first user; while it runs */
const char *dev_conninfo(struct dev *d, const char *role);

/* ---- dev_keys.c ---- */
void dev_keys_setup(struct dev *d); /* once the database has its schema; says what it could not do */

/* ---- dev_nginx.c ---- */
enum err dev_nginx_prepare(struct dev *d, struct error *e) must_check;

/* ---- dev_services.c ---- */
enum err dev_service_start(struct dev *d, enum service_id s, struct error *e) must_check;
/* Waits up to ms for a signal or the end of a process, and deals with it.
 * False once this installation is to stop. */
bool dev_turn(struct dev *d, int64_t ms);
/* Waits until check says OK; the error of the last try when it does not in time. */
enum err dev_until(struct dev *d, enum err (*check)(struct dev *, struct error *), int64_t ms, struct error *e) must_check;
void dev_stop_all(struct dev *d);

/* ---- dev_demo.c ---- */
enum err dev_answers(struct dev *d, struct error *e) must_check; /* GET /readyz through nginx */
enum err dev_first_worker(struct dev *d, struct error *e) must_check;
enum err dev_example(struct dev *d, struct error *e) must_check;

/* ---- dev.c ---- */
int dev_main(struct config *config);

#endif
