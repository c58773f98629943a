/*
 * template_set - what template.c (rendering) and template_set.c (loading and
 * linking) share.  Not for others: include web/template.h.
 */
#ifndef WEB_TEMPLATE_SET_H
#define WEB_TEMPLATE_SET_H

#include "base/arena.h"
#include "web/messages.h"
#include "web/template.h"
#include "web/template_ops.h"

enum { SET_TEMPLATES_MAX = 128, SET_CATALOGUES_MAX = 8 };

struct template {
	const char *name;
	struct program program;
};

struct template_set {
	struct arena arena; /* owns all texts and programs */
	struct template templates[SET_TEMPLATES_MAX];
	size_t template_count;
	struct catalogue catalogues[SET_CATALOGUES_MAX]; /* [0] is TEMPLATE_LOCALE once linked */
	size_t catalogue_count;
};

/* Index, or -1. */
ptrdiff_t template_find(const struct template_set *set, struct str name);

#endif
