/*
 * asset - files that were compiled in: templates, messages, migrations, the
 * worker agent, examples.  src/gen/embed.c makes the table.
 */
#ifndef BASE_ASSET_H
#define BASE_ASSET_H

#include <stddef.h>

#include "base/str.h"

struct asset {
	const char *name; /* "templates/pool.html"; the table is sorted by it */
	struct str bytes; /* also NUL-terminated */
};

extern const struct asset assets[];
extern const size_t asset_count;

/* NULL when there is none of that name. */
const struct asset *asset_find(const char *name);
/* The half-open range of assets whose name begins with prefix. */
void asset_range(const char *prefix, size_t *first, size_t *end);

#endif
