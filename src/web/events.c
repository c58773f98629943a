/*
 * The process of the events role: the loop, its modules, limits of the system,
 * and the way down; see web/events.h.
 */
#include "web/events.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "db/migrate.h"
#include "web/events_role.h"
#include "web/server.h"

enum {
	CONNECTIONS_SPARE = 1000,  /* beside those that are parked */
	DESCRIPTORS_SPARE = 200,   /* files, database, listener */
	STATEMENTS_WAITING = 20000,
	SCHEMA_MS = 1000,
	SCHEMA_WAIT_MS = 5000,
	DRAIN_MS = 20000,
	TURN_MS = 1000,
};

static const struct events_module *const modules[] = {
	&people_module, &claims_module, &agents_module, &logs_module, &artifacts_module, &streams_module, &sweep_module,
};

static const char *const channels[] = {"gpupool_jobs", "gpupool_orders", "gpupool_events", NULL};

/* ---- limits of the system ---- */

static enum err raise_descriptors(rlim_t want, struct error *e)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return error_set(e, ERR_INTERNAL, "The limit of open files cannot be read.");
	if (r.rlim_cur >= want)
		return OK;
	if (r.rlim_max < want) {
		struct rlimit more = {.rlim_cur = want, .rlim_max = want};

		if (!setrlimit(RLIMIT_NOFILE, &more))
			return OK;
		return error_set(e, ERR_INTERNAL,
				 "max_parked needs %llu open files and %llu are allowed: set LimitNOFILE=%llu (systemd), or `ulimit -n`, or "
				 "lower max_parked.",
				 (unsigned long long)want, (unsigned long long)r.rlim_max, (unsigned long long)want);
	}
	r.rlim_cur = want;
	if (setrlimit(RLIMIT_NOFILE, &r))
		return error_set(e, ERR_INTERNAL, "The limit of open files cannot be raised to %llu.", (unsigned long long)want);
	return OK;
}

/* A full backlog of a unix socket is an instant 502. */
static void check_backlog(void)
{
	cleanup_file FILE *f = fopen("/proc/sys/net/core/somaxconn", "r");
	int somaxconn = 0;

	if (f && fscanf(f, "%d", &somaxconn) == 1 && somaxconn < 4096)
		log_warn("events.backlog", "somaxconn=%d want=4096 hint=\"sysctl net.core.somaxconn=4096\"", somaxconn);
}

/* ---- whether the database is ours ---- */

static void bind_schema(struct batch *b, struct arg *args)
{
	(void)b;
	(void)args;
}

static void schema_done(struct batch *b, const struct rows *rows)
{
	struct events *ev = b->ctx;
	struct error e = {.code = OK};

	if (migrate_judge(rows, &e)) {
		log_warn("events.schema", "error=\"%s\"", e.msg);
		return;
	}
	log_info("events.ready", "parked=%lld", (long long)ev->config->max_parked);
	batcher_open(ev->batcher, true);
}

static void schema_failed(struct batch *b, struct batch_item *i, enum err err, const struct error *e)
{
	(void)b;
	(void)i;
	log_warn("events.schema", "error=\"%s\"", err == ERR_UNAVAILABLE ? e->msg : "The database has no schema yet.");
}

static void look_at_schema(struct events *ev)
{
	if (!batcher_is_open(ev->batcher) && batch_quiet(&ev->schema) && !batch_add(&ev->schema, &ev->schema_item, SCHEMA_WAIT_MS))
		log_warn("events.schema", "error=\"too much waits\"");
}

static const struct batch_kind schema_kind = {STMT_MIGRATION_LIST, 1, 0, bind_schema, schema_done, schema_failed, NULL, .early = true};

/* ---- time and hints ---- */

static void tick(void *ctx)
{
	struct events *ev = ctx;

	for (size_t i = 0; i < ARRAY_LEN(modules); i++)
		if (modules[i]->tick)
			modules[i]->tick(ev);
	if (++ev->ticks % (SCHEMA_MS / TICK_MS) == 0)
		look_at_schema(ev);
	ev->tick.at = loop_now(ev->loop) + TICK_MS;
}

static void notified(void *ctx, const char *channel, const char *payload)
{
	struct events *ev = ctx;

	for (size_t i = 0; i < ARRAY_LEN(modules); i++)
		if (modules[i]->hint)
			modules[i]->hint(ev, channel, payload);
}

/* ---- life ---- */

void events_health(struct events *ev, struct exchange *x)
{
	struct json *j = json_object();

	json_put_cstr(j, "status", "ok");
	json_put_bool(j, "database", batcher_is_open(ev->batcher));
	json_put_i64(j, "connections", fcgi_server_connections(ev->server));
	exchange_json(x, 200, j);
}

enum err events_new(const struct config *config, int listen_fd, struct events **ret, struct error *e)
{
	int connections = (int)config->max_parked + CONNECTIONS_SPARE;
	enum err err = raise_descriptors((rlim_t)connections + DESCRIPTORS_SPARE, e);
	struct events *ev;

	if (err)
		return err;
	check_backlog();
	ev = calloc(1, sizeof(*ev));
	if (!ev)
		error_no_memory();
	ev->config = config;
	ev->limits = fcgi_limits_usual;
	ev->limits.connections = connections;
	ev->limits.peers = config->nginx_peers;
	if (loop_new(&ev->loop) || fcgi_server_new(ev->loop, &ev->limits, &exchange_handler, ev, &ev->server))
		BUG("no event loop");
	ev->batcher = batcher_new(ev->loop, config->database, STATEMENTS_WAITING);
	batch_init(&ev->schema, ev->batcher, &schema_kind, ev);
	batcher_listen(ev->batcher, channels, notified, ev);
	for (size_t i = 0; i < ARRAY_LEN(modules); i++)
		modules[i]->open(ev);
	ev->tick = (struct timer){.at = loop_now(ev->loop) + TICK_MS, .due = tick, .ctx = ev};
	loop_add_timer(ev->loop, &ev->tick);
	batcher_start(ev->batcher);
	look_at_schema(ev);
	*ret = ev;
	if (!fcgi_server_listen(ev->server, listen_fd)) {
		events_free(ev);
		return error_set(e, ERR_INTERNAL, "The listening socket cannot be watched.");
	}
	return OK;
}

void events_turn(struct events *ev, int64_t max_ms, const sigset_t *open_mask)
{
	loop_turn(ev->loop, max_ms, open_mask);
}

bool events_drain(struct events *ev)
{
	if (!ev->draining) {
		ev->draining = true;
		fcgi_server_drain(ev->server);
		for (size_t i = 0; i < ARRAY_LEN(modules); i++)
			if (modules[i]->drain)
				modules[i]->drain(ev);
	}
	return !ev->count && !fcgi_server_connections(ev->server);
}

void events_free(struct events *ev)
{
	fcgi_server_free(ev->server);
	loop_remove_timer(ev->loop, &ev->tick);
	batcher_free(ev->batcher); /* while its batches, which are the modules', are there */
	for (size_t i = 0; i < ARRAY_LEN(modules); i++)
		modules[i]->close(ev);
	loop_free(ev->loop);
	free(ev);
}

int events_child(const struct server_child *child)
{
	struct events *ev;
	struct error e = {.code = OK};
	int64_t until;

	if (events_new(child->config, child->listen_fd, &ev, &e)) {
		log_error("events.start", "error=\"%s\"", e.msg);
		return 1;
	}
	while (!server_stopping())
		events_turn(ev, TURN_MS, child->open_mask);
	until = clock_ms() + DRAIN_MS;
	while (!events_drain(ev) && clock_ms() < until)
		events_turn(ev, 100, NULL);
	/* What is left ends with the process; its peers see the connection close. */
	return 0;
}
