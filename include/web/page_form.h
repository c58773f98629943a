/*
 * page_form - an HTML form and the API document that it stands for.
 *
 * One table a form gives three things: the document that the API's route
 * judges, the form's model with what was sent and the errors beside their
 * fields, and the values of a form that changes something stored.
 */
#ifndef WEB_PAGE_FORM_H
#define WEB_PAGE_FORM_H

#include "web/request.h"

enum form_kind {
	FORM_TEXT,
	FORM_SECRET,  /* not shown again; `initial` is its autocomplete word */
	FORM_INT,
	FORM_SECONDS, /* "90m" */
	FORM_WHEN,    /* a time, or a duration from now */
	FORM_LINES,   /* an array, one a line */
	FORM_ITEMS,   /* an array, by commas or repeated */
	FORM_CHECK,   /* true or false */
	FORM_ERROR,   /* a check that means ["error"] */
};

enum form_flags {
	FORM_NULL = 1 << 0,  /* empty is null, and said so */
	FORM_EMPTY = 1 << 1, /* empty is "", and said so */
	FORM_PAGE = 1 << 2,  /* the page's own; no part of the document; errors of exactly its path are about it */
	FORM_ANY = 1 << 3,   /* "any" is absent */
};

struct form_field {
	const char *name;
	const char *path; /* in the API's document: "payload.code"; NULL = as the name */
	enum form_kind kind;
	unsigned flags;
	const char *const *options; /* of a choice, NULL-terminated */
	const char *initial;        /* in an empty form */
};

/* The document of what was sent; what cannot be read is added to req->errors. */
struct json *form_document(const struct form_field *fields, const struct request *req);

/* What would be sent to get this stored document. */
struct json *form_of_document(const struct form_field *fields, const struct json *document);

/* model.form: sent may be NULL (an empty form); errors of req->errors beside their fields, by
 * the form's or the document's names. */
void form_model(const struct form_field *fields, const struct json *sent, const struct request *req, struct json *model);

#endif
