/*
 * call - how the provisioner calls providers: with a deadline, values in and
 * values out, and for a provider with accounts with the credentials of the
 * account that r->account names, opened for this one call.
 *
 * What a call teaches of the account is written here, for all callers: no
 * answer opens its circuit, an answer closes it, refused credentials mark it, and
 * so does what its provider wants of its owner first.  While the circuit is open,
 * or the credentials are known to be refused, the answer is the stored one and no
 * call is made: ERR_UNAVAILABLE "circuit" (with r->wait_seconds set),
 * ERR_UNAUTHORIZED "credentials"; ERR_GONE when the account has none any more.  An
 * account with good credentials that waits for its owner starts nothing,
 * ERR_FORBIDDEN "account", but what runs there is watched, stopped and removed.
 *
 * Private to control/.
 */
#ifndef CONTROL_CALL_H
#define CONTROL_CALL_H

#include "control/reconcile.h"

/* What a call may take in seconds: most of them, and those that start, list or fetch.  The time of a claim is longer
 * than all that is called under it. */
enum { CALL_SECONDS = 60, CALL_LONG_SECONDS = 150 };

/* Could a call be made now?  OK, or what it would get.  For a start also ERR_UNAVAILABLE
 * "unchecked" while nobody knows whether the credentials are good, and whose. */
enum err call_ready(struct reconciler *r, const struct provider *p, bool start, struct error *e) must_check;

enum err call_check(struct reconciler *r, const struct provider *p, struct error *e) must_check;
/* Also of credentials that were refused before. */
enum err call_verify(struct reconciler *r, const struct provider *p, struct identity *ret, struct error *e) must_check;
enum err call_consent(struct reconciler *r, const struct provider *p, const struct consent_code *code, struct consent_given *ret,
		      struct error *e) must_check;
enum err call_usage(struct reconciler *r, const struct provider *p, struct usage_list *ret, struct error *e) must_check;
enum err call_start(struct reconciler *r, const struct provider *p, const struct launch *l, struct run *ret, struct error *e) must_check;
enum err call_find(struct reconciler *r, const struct provider *p, const struct launch *l, struct run *ret, struct error *e) must_check;
enum err call_list(struct reconciler *r, const struct provider *p, const char *from, struct run_list *ret, struct error *e) must_check;
enum err call_poll(struct reconciler *r, const struct provider *p, const struct run *run, struct run_status *ret,
		   struct error *e) must_check;
enum err call_stop(struct reconciler *r, const struct provider *p, const struct run *run, bool insist, struct error *e) must_check;
enum err call_remove(struct reconciler *r, const struct provider *p, const struct run *run, struct error *e) must_check;
enum err call_outputs(struct reconciler *r, const struct provider *p, const struct run *run, bool log_only, struct outputs *ret,
		      struct error *e) must_check;
/* The agent's last words, STR_NULL when there are none to be had. */
struct str call_log_tail(struct reconciler *r, const struct provider *p, const struct run *run);
/* text[] of the providers that this instance serves. */
void call_provider_names(const struct reconciler *r, struct buf *ret);

#endif
