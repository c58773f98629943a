/*
 * page - what the handlers of the dashboard's pages share.
 *
 * A page never has a query of its own where the API has one: page_call() runs
 * the API's route, with its checks and its handler, for the person at hand, and
 * gives the document that a client of the API would have got.  The page adds
 * view fields (web/view_fields.h) and renders its template.  Models are
 * described in src/web/templates/MODEL.md.
 *
 * To add a page: a template with a model below tests/web/models, a handler in
 * src/web/page_x.c, a row in the route table, a case in tests/http/test_pages.c.
 */
#ifndef WEB_PAGE_H
#define WEB_PAGE_H

#include "web/routes.h"

struct page_call {
	const char *route;   /* the API route's name: "jobs.create" */
	const char *id;      /* of ":id"; NULL = as in the page's own address */
	const char *session; /* of ":session" */
	struct json *params; /* taken; NULL = none */
	struct json *body;   /* taken; NULL = none */
	const char *if_match;
};

/*
 * As a client of the API would: permission, schema (errors go to req->errors),
 * handler.  *ret is the caller's, NULL where the answer has no document.  What
 * the handler says for the audit trail and the cookie it sets go into res and
 * req; res may be NULL for reads.
 */
enum err page_call(struct ctx *ctx, struct request *req, struct response *res, const struct page_call *c,
		   struct json **ret, struct error *e) must_check;
/* Whether the principal might call it. */
bool page_may(const struct request *req, const char *route);

/* A model with `page.nav` (`current` is the key of the entry at hand), `flash`
 * and `problem`, both null. */
struct json *page_model(struct ctx *ctx, struct request *req, const char *current);

/* After a form that was taken: 303 to a path; code and subject become the next page's note. */
void page_done(struct response *res, const char *path, const char *code, const char *subject_id);
/* What page_done() left in the address: NULL or the code of the note. */
const char *page_flash_code(const struct request *req);
/* Puts the note into the model; subject, url and text may be NULL. */
void page_flash(struct json *model, const char *code, const char *subject, int64_t count, const char *url);

/* What is wrong with a form as a whole, from why its handler refused it. */
void page_problem(struct json *model, const struct request *req, const struct error *why);

/* Query members of every page that may show a note. */
#define PAGE_FLASH_FIELDS {"flash", FIELD_STRING, .max = 40}, {"of", FIELD_ID}, {"n", FIELD_INT, .max = 100000}

/* ---- what several pages show ---- */
extern const char *const page_providers[];    /* where a worker can be; NULL-terminated */
extern const char *const page_accelerators[]; /* what a form offers */
/* [{id, selected, available, unavailable, own}], own null */
struct json *page_providers_model(const struct ctx *ctx, const char *chosen);
/* Adds what is left to accounts with their view fields: quotas, hasQuotas. */
enum err page_quotas(struct ctx *ctx, struct request *req, struct json *accounts, struct error *e) must_check;
/* Gives a field's model the accelerators of a provider: options of {value, selected, retired, note}. */
enum err page_accelerators_of(struct ctx *ctx, struct request *req, const char *provider, struct json *field, struct error *e) must_check;
/* The reader's accounts (everybody's, for an administrator) with view fields and quotas; the caller's. */
enum err page_accounts_read(struct ctx *ctx, struct request *req, struct json **ret, struct error *e) must_check;
/* What a provider allows, with view fields; the caller's, NULL for one without terms. */
enum err page_policy(struct ctx *ctx, struct request *req, const char *provider, struct json **ret, struct error *e) must_check;
/* {queued, running, oldestText, reasons}, taken from the API's queue.get with or without reasons; the caller's. */
enum err page_queue(struct ctx *ctx, struct request *req, bool reasons, struct json **ret, struct error *e) must_check;

/* ---- addresses ---- */
/* "/admin/jobs?state=…&tag=…" in the arena, piece by piece: name, value, …, NULL; values that are NULL or "" are left out. */
const char *page_url(struct arena *a, const char *path, ...) __attribute__((sentinel));
/* "/a/b%20c" of the name "a/b c". */
void page_add_path(struct buf *url, struct str name);

#endif
