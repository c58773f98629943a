/*
 * fcgi_params - the name and value pairs of a FastCGI request, of which no length
 * is believed.
 */
#ifndef WEB_FCGI_PARAMS_H
#define WEB_FCGI_PARAMS_H

#include "base/str.h"

/* Cuts the next pair off; false at the end or when malformed (*ok = false). */
bool fcgi_next_param(struct str *rest, struct str *name, struct str *value, bool *ok);

#endif
