/*
 * form_model - parts of page models that show a form: fields with what was
 * sent and what is wrong with it, and the problem of the form as a whole.
 */
#ifndef WEB_FORM_MODEL_H
#define WEB_FORM_MODEL_H

#include "web/problem.h"

/* {name, value, error}; error NULL = none. */
struct json *form_field(const char *name, struct str value, const char *error);
/* {code, detail} */
struct json *form_problem(const char *code, const char *detail);
/* The message for one field, or NULL. */
const char *form_error(const struct field_errors *f, const char *name);

#endif
