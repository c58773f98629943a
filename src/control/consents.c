/*
 * consents - exchanges what people's consents came back with.  A part of
 * control/reconcile.h.
 */
#include <string.h>

#include "base/crashpoint.h"
#include "base/log.h"
#include "control/call.h"
#include "domain/consent.h"

struct exchange {
	struct reconciler *r;
	const struct provider *p;
	struct consent c;
	struct consent_given given;
	struct error e;
};

static const struct provider *served(const struct reconciler *r)
{
	for (size_t i = 0; i < r->provider_count; i++)
		if (r->providers[i]->consent)
			return r->providers[i];
	return NULL;
}

static enum err store(struct db *db, void *ctx)
{
	struct exchange *x = ctx;
	const struct secret *s = &x->given.credentials;

	return consent_store(db, &x->r->arena, &x->c, (struct str){s->ptr, s->len}, x->given.scopes, &x->e);
}

static enum err came_to_nothing(struct exchange *x, const char *why)
{
	char *sentence = arena_strdup(&x->r->arena, why);

	log_warn("consent.refused", "account=%lld message=\"%s\"", (long long)x->c.account, why);
	x->r->changed = true;
	return consent_fail(x->r->db, &x->r->arena, &x->c, sentence ? sentence : "It came to nothing. Connect again.", &x->e);
}

static enum err exchange(struct exchange *x)
{
	const struct consent_code code = {.code = {x->c.code.ptr, x->c.code.len}, .verifier = {x->c.verifier.ptr, x->c.verifier.len},
					  .redirect_uri = consent_redirect(x->r->config, &x->r->arena), .scopes = x->c.scopes};
	enum err err;

	if (x->c.late)
		return came_to_nothing(x, "Google did not answer in time. Connect again.");
	err = code.redirect_uri ? call_consent(x->r, x->p, &code, &x->given, &x->e) : ERR_INTERNAL;
	CRASH_POINT("consent.exchanged");
	if (err == ERR_FORBIDDEN || err == ERR_UNAUTHORIZED || err == ERR_GONE)
		return came_to_nothing(x, x->e.msg);
	if (!err)
		err = tx_run(x->r->db, store, x, &x->e);
	CRASH_POINT("consent.stored");
	if (err == ERR_CONFLICT)
		return came_to_nothing(x, "The OAuth client was replaced meanwhile. Connect again.");
	if (!err)
		log_info("consent.given", "account=%lld scopes=\"%.*s\"", (long long)x->c.account, STR_ARG(x->given.scopes));
	x->r->changed |= !err;
	return err;
}

int reconcile_consent(struct reconciler *r)
{
	struct exchange x = {.r = r, .p = served(r)};
	bool any = false;
	enum err err;

	if (!x.p)
		return 0;
	arena_reset(&r->arena);
	err = consent_claim(r->db, &r->arena, r->config->keys, &x.c, &any, &x.e);
	if (err && !any)
		return -1;
	if (!any)
		return 0;
	CRASH_POINT("consent.claimed");
	r->account = x.c.account;
	if (err == ERR_FORBIDDEN)
		err = came_to_nothing(&x, "What was stored of this consent does not belong to it. Connect again.");
	else if (!err)
		err = exchange(&x);
	if (err) /* the claim ends by itself */
		log_warn("consent.failed", "account=%lld error=%s message=\"%s\"", (long long)x.c.account, err_name(err), x.e.msg);
	secret_free(&x.given.credentials);
	consent_free(&x.c);
	return 1;
}
