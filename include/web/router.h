/*
 * router - from a request to its row of the route table, and through the checks
 * that the row asks for, to the handler.
 *
 * The api and secrets roles call router_handle() for the whole way.  The events role calls
 * the steps that it needs: router_match(), then router_body() once the body is
 * there; its principals come with its own batched statements, judged by
 * router_permit().
 */
#ifndef WEB_ROUTER_H
#define WEB_ROUTER_H

#include "web/request.h"
#include "web/response.h"
#include "web/routes.h"

/*
 * Finds the row: sets req->route and captures.  ERR_NOT_FOUND; ERR_METHOD (an
 * Allow header is added to res); ERR_MISDIRECTED when another role serves it;
 * ERR_TOO_LARGE, ERR_MEDIA_TYPE by the head of the request alone, before the
 * body was read; ERR_INVALID for a token in the query string.
 */
enum err router_match(struct request *req, enum serves serves, struct response *res, struct error *e) must_check;

/* Bytes of body that may be read for this matched request. */
size_t router_max_body(const struct request *req);

/* Parses and checks query and body against the row: fills params and json.
 * Not OK: f says what is wrong (ERR_INVALID), or e alone does. */
enum err router_body(struct request *req, struct field_errors *f, struct error *e) must_check;

/* Whether req->principal has what the row asks for: OK, ERR_UNAUTHORIZED or ERR_FORBIDDEN. */
enum err router_permit(const struct request *req, struct error *e) must_check;

/* All of it; res always ends up with an answer.  Errors are logged here, once. */
void router_handle(struct ctx *ctx, struct request *req, struct response *res);

#endif
