/*
 * idempotency - a POST with Idempotency-Key has its effect once.
 *
 * The key's row is written in the transaction of the work itself, so that a
 * crash can neither lose the row of a POST that was done nor leave one of a
 * POST that was not.  Keys are a principal's and a route's and count for a day.
 */
#ifndef WEB_IDEMPOTENCY_H
#define WEB_IDEMPOTENCY_H

#include "web/request.h"
#include "web/response.h"

/* Whether this request asks for it; ERR_INVALID for a malformed key. */
enum err idempotency_wanted(const struct request *req, bool *ret, struct error *e) must_check;

/*
 * First in the transaction.  *replayed: res holds the stored answer and nothing
 * is to be done.  ERR_UNPROCESSABLE: another body under this key;
 * ERR_CONFLICT: the first request still runs, or its answer held a secret.
 */
enum err idempotency_begin(struct ctx *ctx, const struct request *req, struct response *res, bool *replayed,
			   struct error *e) must_check;
/* Last in the transaction: keeps the answer. */
enum err idempotency_end(struct ctx *ctx, const struct request *req, const struct response *res, struct error *e) must_check;

#endif
