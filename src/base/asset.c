/* asset - lookup in the table of compiled-in files.  See base/asset.h. */
#include "base/asset.h"

#include <string.h>

/* The first asset whose name is not below (or, with `after`, not at or below)
 * name; only len bytes are compared. */
static size_t lower_bound(const char *name, size_t len, bool after)
{
	size_t low = 0, high = asset_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strncmp(assets[mid].name, name, len);

		if (order < 0 || (after && order == 0))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct asset *asset_find(const char *name)
{
	size_t i = lower_bound(name, strlen(name) + 1, false);

	return i < asset_count && !strcmp(assets[i].name, name) ? &assets[i] : NULL;
}

void asset_range(const char *prefix, size_t *first, size_t *end)
{
	size_t len = strlen(prefix);

	*first = lower_bound(prefix, len, false);
	*end = lower_bound(prefix, len, true);
}
