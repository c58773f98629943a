/*
 * colab_api_alive - says to Colab that a runtime works, while a job runs on it.
 *
 * The interface v1beta has no call for it; this is the one that Colab's own
 * editor extension makes, as it makes it: every five minutes, while something runs.
 * Colab notes it on arrival and hands it on to a machine that often never
 * answers, so no answer within ten seconds is a good one.  Whoever refuses twice
 * in a row is not asked again.
 */
#include "provider/colab_api.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/http.h"
#include "base/log.h"

enum { ANSWER_MS = 10000, REFUSALS_MOST = 2, KNOWN_MOST = 256, TIMES = 4 };

/* Of each runtime that was told of; a process that forgets tells again. */
static struct known {
	char id[COLAB_ID];
	int64_t told_ms;               /* clock_ms() */
	int refusals;                  /* in a row */
} known[KNOWN_MOST];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Under the lock: its place, else that of the one that was told of longest ago. */
static struct known *place(const char *id)
{
	struct known *oldest = &known[0];

	for (size_t i = 0; i < KNOWN_MOST; i++) {
		if (!strcmp(known[i].id, id))
			return &known[i];
		if (known[i].told_ms < oldest->told_ms)
			oldest = &known[i];
	}
	*oldest = (struct known){0};
	snprintf(oldest->id, sizeof(oldest->id), "%s", id);
	return oldest;
}

/* A fifth less than the time between two looks, which is as much more or less by chance. */
static bool due(const struct provider_call *c, const char *id)
{
	int64_t now = clock_ms(), pause = c->config->colab_poll_seconds * 1000 * TIMES * 3 / 4;
	struct known *k;
	bool yes;

	pthread_mutex_lock(&lock);
	k = place(id);
	yes = k->refusals < REFUSALS_MOST && (!k->told_ms || now - k->told_ms >= pause);
	if (yes)
		k->told_ms = now;
	pthread_mutex_unlock(&lock);
	return yes;
}

static void note(const char *id, bool refused)
{
	struct known *k;

	pthread_mutex_lock(&lock);
	k = place(id);
	k->refusals = refused ? k->refusals + 1 : 0;
	pthread_mutex_unlock(&lock);
}

bool colab_api_alive(struct provider_call *c, const struct colab_runtime *r)
{
	static const struct http_header headers[] = {{"X-Colab-Tunnel", "Google"}, {"X-Colab-Client-Agent", "gpupool"}, {NULL, NULL}};
	cleanup_google_answer struct google_answer a = {0};
	struct error kept = *c->error;
	int64_t wait = c->retry_after_s;
	const char *url;
	enum err err;
	bool refused;

	if (!r->endpoint[0] || !due(c, r->id))
		return true;
	url = arena_printf(c->arena, "%s/tun/m/%s/keep-alive/?authuser=0", c->config->colab_url, r->endpoint);
	if (!url)
		return true;
	err = google_call(c, &(struct google_request){
		.service = "Colab", .scope = COLAB_SCOPE, .url = url, .headers = headers, .bytes = true, .most = 64 << 10, .ms = ANSWER_MS}, &a);
	refused = a.fault.status >= 400 && a.fault.status <= 499;
	note(r->id, refused);
	log_line(refused ? LOG_WARN : LOG_INFO, "colab.alive", "runtime=%s status=%d http=%s", r->id, a.status, err_name(err));
	/* Whatever came of it says nothing of the account. */
	*c->error = kept;
	c->retry_after_s = wait;
	return a.fault.status != 404;
}
