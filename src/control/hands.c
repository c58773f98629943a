/* hands - see control/hands.h. */
#include "control/hands.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/http.h"
#include "base/log.h"
#include "control/reconcile.h"
#include "domain/browser.h"
#include "domain/keys.h"

struct hand {
	struct hands *all;
	pthread_t thread;
	struct db *db;
	struct http_client *http;
	struct reconciler rec;
};

struct hands {
	pthread_mutex_t lock;
	pthread_cond_t more;
	int wakes;                 /* given and not yet taken; guarded */
	atomic_bool stopping;
	int64_t announce_at;       /* clock_ms(); guarded */
	char name[INSTANCE_NAME];  /* of this program among those that hold keys */
	bool opens;                /* credentials; a browser instance does not */
	struct browser_keys *browser_keys; /* of such a one; else NULL */
	int count;
	struct hand hand[];
};

/* ---- waiting -------------------------------------------------------------- */

void hands_wake(struct hands *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	if (h->wakes < h->count)
		h->wakes++;
	pthread_cond_signal(&h->more);
	pthread_mutex_unlock(&h->lock);
}

static void wait_for_work(struct hands *h)
{
	pthread_mutex_lock(&h->lock);
	while (!h->wakes && !h->stopping)
		pthread_cond_wait(&h->more, &h->lock);
	if (h->wakes)
		h->wakes--;
	pthread_mutex_unlock(&h->lock);
}

/* ---- work ----------------------------------------------------------------- */

/* True for one hand, whenever it is time. */
static bool announces(struct hands *h)
{
	bool due;

	pthread_mutex_lock(&h->lock);
	due = clock_ms() >= h->announce_at;
	if (due)
		h->announce_at = clock_ms() + INSTANCE_SECONDS * 1000;
	pthread_mutex_unlock(&h->lock);
	return due;
}

/* Rotations wait until every live program has the new key. */
static void announce(struct hand *hand)
{
	const char *names[RECONCILE_PROVIDERS + 1] = {NULL};
	struct hands *h = hand->all;
	struct error e;

	if (h->browser_keys && browser_keys_turn(h->browser_keys, hand->db, &e))
		log_warn("browser.keys", "message=\"%s\"", e.msg);
	for (size_t i = 0; i < hand->rec.provider_count; i++)
		names[i] = hand->rec.providers[i]->name;
	if (h->opens && keys_announce(hand->db, hand->rec.config->keys, SEAL_CREDENTIALS, h->name, names, &e))
		log_warn("keys.announce", "message=\"%s\"", e.msg);
}

/* One thing of each kind, so that none waits for ever behind another; false when there was nothing to
 * do, or the database did not answer. */
static bool turn(struct hand *hand)
{
	static int (*const kinds[])(struct reconciler *) = {reconcile_turn, reconcile_consent, reconcile_poll, reconcile_account};
	int done = 0;

	if (announces(hand->all))
		announce(hand);
	for (size_t i = 0; i < ARRAY_LEN(kinds) && !hand->all->stopping; i++) {
		int n = kinds[i](&hand->rec);

		if (n < 0)
			return false;
		if (n > 0)
			reconcile_tell(&hand->rec);
		done += n;
	}
	return done > 0;
}

static void *work(void *ctx)
{
	struct hand *hand = ctx;
	struct hands *h = hand->all;

	while (!h->stopping) {
		wait_for_work(h);
		while (!h->stopping && turn(hand))
			hands_wake(h);
	}
	return NULL;
}

/* ---- life ----------------------------------------------------------------- */

static enum err hand_init(struct hand *hand, const struct config *config, struct error *e)
{
	struct db_options options = {.conninfo = config->database, .application = "gpupool-hand", .queue = true};
	enum err err = db_open(&options, &hand->db);

	if (!err)
		err = http_client_new(&hand->http);
	if (!err)
		err = reconcile_init(&hand->rec, hand->db, config, true, e);
	hand->rec.http = hand->http;
	hand->rec.stopping = &hand->all->stopping;
	for (size_t i = 0; !err && i < hand->rec.provider_count; i++) {
		bool keeps = hand->rec.providers[i]->caps & KEEPS_SIGN_IN;

		hand->all->opens |= !keeps;
		if (keeps && !hand->all->browser_keys)
			hand->all->browser_keys = browser_keys_new();
	}
	hand->rec.browser_keys = hand->all->browser_keys;
	return err;
}

static void hand_free(struct hand *hand)
{
	reconcile_free(&hand->rec);
	http_client_free(hand->http);
	if (hand->db)
		db_close(hand->db);
}

static void hands_free(struct hands *h)
{
	for (int i = 0; i < h->count; i++)
		hand_free(&h->hand[i]);
	browser_keys_free(h->browser_keys);
	pthread_cond_destroy(&h->more);
	pthread_mutex_destroy(&h->lock);
	free(h);
	prctl(PR_SET_DUMPABLE, 1); /* nothing secret is left, and leak checkers look now */
}

/* Does config->providers name any that is elsewhere? */
static enum err any_elsewhere(const struct config *config, bool *ret, struct error *e)
{
	struct reconciler r;
	enum err err = reconcile_init(&r, NULL, config, true, e);

	*ret = r.provider_count > 0;
	reconcile_free(&r);
	return err;
}

/* Credentials that are opened here are for no other process of the same user to read, and for no file after a crash. */
static enum err close_memory(struct error *e)
{
	static const struct rlimit none = {0};

	if (setrlimit(RLIMIT_CORE, &none) || prctl(PR_SET_DUMPABLE, 0))
		return error_set(e, ERR_INVALID, "This process's memory cannot be closed to others, so it opens no credentials.");
	return OK;
}

static void launch(struct hands *h)
{
	for (int i = 0; i < h->count; i++)
		if (pthread_create(&h->hand[i].thread, NULL, work, &h->hand[i]))
			BUG("no thread can be started");
}

enum err hands_start(const struct config *config, struct hands **ret, struct error *e)
{
	struct hands *h;
	bool any;
	enum err err = any_elsewhere(config, &any, e);

	*ret = NULL;
	if (!err && any)
		err = close_memory(e);
	if (err || !any)
		return err;
	h = calloc(1, sizeof(*h) + (size_t)config->hands * sizeof(h->hand[0]));
	if (!h)
		error_no_memory();
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->more, NULL);
	h->count = (int)config->hands;
	instance_name(h->name);
	for (int i = 0; i < h->count && !err; i++) {
		h->hand[i].all = h;
		err = hand_init(&h->hand[i], config, e);
	}
	if (!err)
		err = reconcile_check(&h->hand[0].rec, e);
	if (err) {
		hands_free(h);
		return err;
	}
	launch(h);
	log_info("hands.start", "hands=%d", h->count);
	*ret = h;
	return OK;
}

void hands_stop(struct hands *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stopping = true;
	pthread_cond_broadcast(&h->more);
	pthread_mutex_unlock(&h->lock);
	for (int i = 0; i < h->count; i++)
		http_client_abort(h->hand[i].http);
	for (int i = 0; i < h->count; i++)
		pthread_join(h->hand[i].thread, NULL);
	if (h->opens)
		(void)!instance_gone(h->hand[0].db, h->name, NULL);
	log_info("hands.stop", "");
	hands_free(h);
}
