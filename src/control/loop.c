/* loop - see control/loop.h. */
#include "control/loop.h"

#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/hands.h"
#include "control/reap.h"
#include "control/reconcile.h"
#include "control/scale.h"
#include "db/migrate.h"

enum { SOON_MS = 250, IDLE_MS = 500, AWAY_MS = 1000 };

static volatile sig_atomic_t stopping;

static void on_signal(int signal)
{
	(void)signal;
	stopping = 1;
}

static void take_signals(sigset_t *open)
{
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t block;

	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigaddset(&block, SIGINT);
	sigaddset(&block, SIGHUP);
	sigprocmask(SIG_BLOCK, &block, open);
	sigdelset(open, SIGTERM);
	sigdelset(open, SIGINT);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Hints for those who wait; a lost one costs them a poll. */
static void tell(struct db *db, struct reconciler *rec, struct reaper *reap)
{
	rec->requeued |= reap->requeued;
	rec->changed |= reap->changed;
	reconcile_tell(rec);
	if (reap->stopped)
		db_notify(db, "gpupool_operations", "");
	reap->requeued = reap->changed = reap->stopped = false;
}

/* False while the database is away or not of our schema. */
static bool ready(struct db *db, bool *was)
{
	struct error e = {0};
	bool is = migrate_check(db, &e) == OK;

	if (!is && *was)
		log_warn("database.away", "message=\"%s\"", e.msg);
	if (is && !*was)
		log_info("database.ready", "");
	*was = is;
	return is;
}

/* False when the database did not answer. */
static bool turn(struct db *db, struct reconciler *rec, struct reaper *reap, struct scaler *scale, struct hands *hands,
		 const sigset_t *open)
{
	int done;
	int64_t wait;

	hands_wake(hands);
	done = reconcile_turn(rec);
	if (done < 0)
		return false;
	wait = rec->again_soon ? SOON_MS : IDLE_MS;
	rec->again_soon = false;
	reconcile_watch(rec);
	reap_turn(reap);
	tell(db, rec, reap);
	if (scale_turn(scale, reap->leads) || done || (rec->sweep_at == 0 && rec->provider_count))
		wait = 0; /* see at once what the change calls for */
	if (!stopping)
		db_wait(db, -1, wait, open);
	return true;
}

enum err loop_run(const struct config *config, bool stop_workers, struct error *e)
{
	/* The set statements of the queue want the queue's planner settings. */
	struct db_options options = {.conninfo = config->database, .application = "gpupool-provisioner", .queue = true};
	struct reconciler rec;
	struct reaper reap;
	struct scaler scale;
	cleanup_db struct db *db = NULL;
	struct hands *hands = NULL;
	bool usable = false, was_ready = true;
	sigset_t open;
	enum err err = db_open(&options, &db);

	if (!err)
		err = reconcile_init(&rec, db, config, false, e);
	if (err)
		return err;
	take_signals(&open);
	scale_init(&scale, db, config);
	err = reconcile_check(&rec, e);
	if (!err)
		err = hands_start(config, &hands, e);
	if (!err) {
		reap_init(&reap, db, config);
		(void)!db_listen(db, "gpupool_operations");
		log_info("provisioner.start", "providers=%s me=%s", config->providers, rec.me);
	}
	while (!err && !stopping) {
		usable = usable || ready(db, &was_ready);
		if (usable)
			usable = turn(db, &rec, &reap, &scale, hands, &open);
		if (!usable && !stopping)
			db_wait(db, -1, AWAY_MS, &open);
	}
	hands_stop(hands);
	if (!err && stop_workers)
		reconcile_stop_local(&rec);
	log_info("provisioner.stop", "");
	scale_free(&scale);
	reconcile_free(&rec);
	return err;
}
