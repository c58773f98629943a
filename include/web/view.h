/*
 * view - one model, shown as JSON or as a page.
 *
 * A page's model is the JSON of the API plus what every page has: `page`
 * (name, locale, version, path), `user` (null when nobody is signed in),
 * `csrf` (masked afresh each time) and what the page itself adds.
 */
#ifndef WEB_VIEW_H
#define WEB_VIEW_H

#include "web/problem.h"
#include "web/request.h"
#include "web/response.h"

/* Renders templates/NAME.html with the model, which it takes. */
enum err view_page(struct ctx *ctx, struct request *req, struct response *res, int status, const char *name,
		   struct json *model, struct error *e) must_check;

/* Whether the answer is for a person's browser: a page's route, or a form's. */
bool view_is_page(const struct request *req);

/* An error, as a page or as problem+json; a page that needs a sign-in leads there. */
void view_problem(struct ctx *ctx, struct request *req, struct response *res, const struct error *e,
		  const struct field_errors *f);

#endif
