/*
 * browse - a person's browser without JavaScript and without a socket: pages of
 * the api role through router_handle(), with cookie and CSRF token.
 *
 * Every page that comes is checked by html_check() and rendered strictly.
 */
#ifndef TESTS_BROWSE_H
#define TESTS_BROWSE_H

#include "base/config.h"
#include "web/template.h"
#include "web/wake.h"
#include "world.h"

struct browser {
	struct world *world;
	struct config config;
	struct template_set *templates;
	struct wakes wakes;
	char cookie[200], csrf[128];
	/* of the next request only */
	bool no_csrf, foreign; /* without token; from another site's page */
	const char *accept_language;
	/* of the last answer, until the next */
	int status;
	const char *text; /* the body; "" = none */
	char location[2048], cache[64];
	struct arena arena;
};

void browse_init(struct browser *b, struct world *w);
void browse_done(struct browser *b);
/* Signs p in, as the sign-in page would; NULL signs out. */
void browse_as(struct browser *b, const struct principal *p);

/* The status. */
int browse(struct browser *b, const char *fmt, ...) printf_like(2, 3);
/* A form: name, value, …, NULL.  Each value is encoded. */
int browse_send(struct browser *b, const char *path, ...) __attribute__((sentinel));
/* A body as it is. */
int browse_upload(struct browser *b, const char *path, const char *type, const char *body);
/* Follows a 303. */
int browse_follow(struct browser *b);
bool browse_shows(const struct browser *b, const char *text);
/* How often. */
int browse_count(const struct browser *b, const char *text);

#endif
