/* Lanes: canonical accelerators, and the process's memory of ids; see lane.h. */
#include "domain/lane.h"

#include <ctype.h>
#include <string.h>

enum { SLOTS = 1024, KEEP = SLOTS / 2, TRIES = 3 };

/* Open addressing; id 0 = free.  Half full at most, then emptied. */
static struct {
	struct lane lane;
	int32_t id;
} memory[SLOTS];
static int remembered;

/* ---- accelerators --------------------------------------------------------- */

bool accelerator_valid(struct str name)
{
	if (!name.len || name.len > 64 || !isalnum((unsigned char)name.ptr[0]))
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!isalnum((unsigned char)name.ptr[i]) && !strchr("._-", name.ptr[i]))
			return false;
	return true;
}

static struct str canonical(struct str name)
{
	static const char *const classes[] = {"cpu", "gpu", "tpu"};

	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (str_ieqz(name, classes[i]))
			return str_of(classes[i]);
	return name;
}

static int compare(struct str a, struct str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = memcmp(a.ptr, b.ptr, n);

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

bool accelerator_list(const struct str *names, int n, char ret[LANE_ACCELERATOR_MAX])
{
	struct str sorted[LANE_ACCELERATORS];
	int count = 0;
	size_t len = 0;

	if (n > LANE_ACCELERATORS)
		return false;
	for (int i = 0; i < n; i++) {
		struct str name = canonical(names[i]);
		int at = 0;

		while (at < count && compare(sorted[at], name) < 0)
			at++;
		if (at < count && !compare(sorted[at], name))
			continue;
		memmove(&sorted[at + 1], &sorted[at], (size_t)(count++ - at) * sizeof(sorted[0]));
		sorted[at] = name;
	}
	ret[0] = '\0';
	for (int i = 0; i < count; i++) {
		if (len + sorted[i].len + 2 > LANE_ACCELERATOR_MAX)
			return false;
		if (i)
			ret[len++] = ',';
		memcpy(ret + len, sorted[i].ptr, sorted[i].len);
		len += sorted[i].len;
		ret[len] = '\0';
	}
	return true;
}

/* ---- memory of ids -------------------------------------------------------- */

static bool same(const struct lane *a, const struct lane *b)
{
	return a->owner == b->owner && a->type == b->type && a->gpus == b->gpus && a->endpoint == b->endpoint &&
	       a->priority == b->priority && a->estimate == b->estimate && !strcmp(a->accelerator, b->accelerator);
}

static uint64_t hash(const struct lane *l)
{
	uint64_t h = 14695981039346656037u;
	int64_t parts[] = {l->owner, l->type, l->gpus, l->endpoint, l->priority, l->estimate};
	const unsigned char *p = (const unsigned char *)parts;

	for (size_t i = 0; i < sizeof(parts); i++)
		h = (h ^ p[i]) * 1099511628211u;
	for (p = (const unsigned char *)l->accelerator; *p; p++)
		h = (h ^ *p) * 1099511628211u;
	return h;
}

/* Where the lane is or would be. */
static size_t place(const struct lane *l)
{
	size_t i = hash(l) % SLOTS;

	while (memory[i].id && !same(&memory[i].lane, l))
		i = (i + 1) % SLOTS;
	return i;
}

static void remember(const struct lane *l, int32_t id)
{
	size_t i;

	if (remembered == KEEP)
		lane_forget();
	i = place(l);
	if (!memory[i].id)
		remembered++;
	memory[i].lane = *l;
	memory[i].id = id;
}

void lane_forget(void)
{
	if (remembered)
		memset(memory, 0, sizeof(memory));
	remembered = 0;
}

/* Asks for the lanes whose id is 0, and returns how many are still unknown. */
static enum err ask(struct db *db, const struct lane *lanes, int n, int32_t *ids, int *missing, struct error *e)
{
	cleanup_buf struct buf doc = BUF_INIT((size_t)n * 512 + 16);
	cleanup_rows struct rows rows = {0};
	const char *sep = "";
	enum err err;

	buf_addc(&doc, '[');
	for (int i = 0; i < n; i++) {
		const struct lane *l = &lanes[i];

		if (ids[i])
			continue;
		buf_addf(&doc, "%s{\"k\":%d,\"owner\":%lld,\"type\":%d,\"gpus\":%d,\"endpoint\":%d,\"prio\":%d,\"est\":%d,\"acc\":",
			 sep, i, (long long)l->owner, (int)l->type, l->gpus, l->endpoint, l->priority, l->estimate);
		buf_add_json(&doc, str_of(l->accelerator));
		buf_addc(&doc, '}');
		sep = ",";
	}
	buf_addc(&doc, ']');
	err = db_run(db, STMT_LANE_ENSURE, ARGS(arg_buf(&doc), arg_i64(LANES_PER_OWNER)), &rows, e);
	if (err)
		return err;
	for (int i = 0; i < rows_count(&rows); i++) {
		int64_t k = row_i64(&rows, i, "k");

		ids[k] = (int32_t)row_i64(&rows, i, "id");
		remember(&lanes[k], ids[k]);
	}
	*missing -= rows_count(&rows);
	return OK;
}

enum err lane_find(struct db *db, const struct lane *lanes, int n, int32_t *ids, struct error *e)
{
	int missing = 0;
	enum err err = OK;

	for (int i = 0; i < n; i++) {
		ids[i] = memory[place(&lanes[i])].id;
		missing += !ids[i];
	}
	for (int t = 0; t < TRIES && missing && !err; t++)
		err = ask(db, lanes, n, ids, &missing, e);
	if (!err && missing)
		return error_set(e, ERR_INVALID,
				 "You have too many different combinations of type, accelerator, GPUs, length and priority (%d at most).",
				 LANES_PER_OWNER);
	return err;
}
