/*
 * policy - what a provider allows and has, as dated rows.
 */
#ifndef DOMAIN_POLICY_H
#define DOMAIN_POLICY_H

#include "base/arena.h"
#include "base/json.h"
#include "db/db.h"
#include "domain/principal.h"

/* Appends {provider, starts, notice, source, asOf, sharingAllowed, needsCredentials, takesCredentials, accountsPerPerson, limits: [{resource,
 * sessionSeconds, sessionMarginSeconds, weekSeconds, weekMarginSeconds, concurrent, idleSeconds,
 * minSessionSeconds, source, asOf}], accelerators: [{name, resource, shape, usable, note}]} for each, or for the one that is named. */
enum err policy_list(struct db *db, const char *provider, struct json *list, struct error *e) must_check;

/* A change of terms, or of the limit of one resource. */
struct policy_wanted {
	const char *provider, *resource; /* resource NULL = the terms */
	const struct json *values;       /* members of the API's document, `source` among them; an absent one stays */
};
/*
 * Only an administrator's; dated today by the database, and what was before is kept.  Puts `was` and `became`
 * into changed.  What runs keeps what it was granted, until the ledger next settles its account: it cuts where a
 * week would not hold it any more.  ERR_NOT_FOUND; ERR_INVALID at the member at fault.
 */
enum err policy_change(struct db *db, struct arena *a, const struct principal *p, const struct policy_wanted *w, struct json *changed,
		       struct error *e) must_check;

/* What a worker is to be. */
struct policy_ask {
	const char *provider, *accelerator;
	const char *start;           /* the way in, where there are several; NULL = the usual one */
	int64_t max_session_seconds; /* 0 = any length */
	bool check_accelerator;      /* else it is one that was allowed before */
};
struct policy_grant {
	char accelerator[65];        /* as the provider spells it */
	char start[16], driver[32];  /* start "": there is only one way */
	bool implicit;               /* an account may go without credentials, and is made where there is none */
	bool named;                  /* its workers have names there */
};
/*
 * ERR_INVALID at "provider", "start", "accelerator" (naming what there is, or saying why this one is not to be
 * had any more) or "maxSessionSeconds" (naming the limit).
 */
enum err policy_check(struct db *db, const struct policy_ask *ask, struct policy_grant *ret, struct error *e) must_check;

#endif
