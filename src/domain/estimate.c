/* Percentiles, steps, and what past runs say of a submission; see estimate.h. */
#include "domain/estimate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/placement.h"

/* ---- figures ---------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int64_t estimate_p95(int64_t *seconds, size_t n)
{
	if (n < ESTIMATE_RUNS)
		return 0;
	qsort(seconds, n, sizeof(*seconds), by_value);
	return seconds[(95 * n + 99) / 100 - 1];
}

int64_t estimate_round(int64_t seconds)
{
	int64_t step = 1;

	if (seconds <= 0)
		return 0;
	if (seconds <= ESTIMATE_LEAST)
		return ESTIMATE_LEAST;
	while (seconds > 8 * step)
		step *= 2;
	seconds = (seconds + step - 1) / step * step;
	return seconds < JOB_SECONDS_MAX ? seconds : JOB_SECONDS_MAX;
}

bool estimate_holds(int64_t seconds, int64_t longest)
{
	return !longest || seconds <= longest - ESTIMATE_START;
}

int64_t estimate_within(int64_t seconds, int64_t longest)
{
	int64_t rounded = estimate_round(seconds), minutes = (seconds + 59) / 60 * 60;

	if (estimate_holds(rounded, longest) || !estimate_holds(seconds, longest))
		return rounded;
	return estimate_holds(minutes, longest) ? minutes : seconds;
}

const char *estimate_text(int64_t seconds, char *ret)
{
	int64_t minutes = (seconds + 30) / 60;

	if (seconds < 120)
		snprintf(ret, ESTIMATE_TEXT, "%lld s", (long long)seconds);
	else if (minutes < 60)
		snprintf(ret, ESTIMATE_TEXT, "%lld min", (long long)minutes);
	else if (minutes % 60)
		snprintf(ret, ESTIMATE_TEXT, "%lld h %lld min", (long long)(minutes / 60), (long long)(minutes % 60));
	else
		snprintf(ret, ESTIMATE_TEXT, "%lld h", (long long)(minutes / 60));
	return ret;
}

/* ---- what past runs say ------------------------------------------------------- */

static struct str name_of(const struct job_spec *s)
{
	return json_str(s->document, "name");
}

static bool same_kind(const struct job_spec *a, const struct job_spec *b)
{
	return a->lane.type == b->lane.type && str_eq(name_of(a), name_of(b));
}

/* kind[i]: the first job of the same kind, -1 where it has none.  The number of different kinds. */
static int find_kinds(const struct job_spec *specs, int n, int *kind)
{
	int kinds = 0;

	for (int i = 0; i < n; i++) {
		kind[i] = name_of(&specs[i]).len ? i : -1;
		for (int k = 0; kind[i] == i && k < i; k++)
			if (kind[k] == k && same_kind(&specs[k], &specs[i]))
				kind[i] = k;
		kinds += kind[i] == i;
	}
	return kinds;
}

static enum err look(struct db *db, const struct principal *p, const struct job_spec *specs, int n, const int *kind, struct rows *ret,
		     struct error *e)
{
	cleanup_buf struct buf types = BUF_INIT((size_t)n * 4 + 16), names = BUF_INIT((size_t)n * (6 * JOB_NAME_MAX + 8) + 16);

	array_begin(&types);
	array_begin(&names);
	for (int i = 0; i < n; i++) {
		if (kind[i] != i)
			continue;
		array_add_i64(&types, specs[i].lane.type);
		array_add_str(&names, name_of(&specs[i]));
	}
	array_end(&types);
	array_end(&names);
	return db_run(db, STMT_ESTIMATE_LOOK, ARGS(arg_i64(p->user_id), arg_buf(&types), arg_buf(&names)), ret, e);
}

static int64_t row_p95(const struct rows *rows, int row)
{
	struct str list = row_str(rows, row, "seconds"), one;
	int64_t seconds[ESTIMATE_KEPT];
	size_t n = 0;

	while (n < ESTIMATE_KEPT && str_cut(&list, ',', &one))
		n += str_to_i64(one, 1, INT64_MAX, &seconds[n]);
	return estimate_p95(seconds, n);
}

/* The slowest of the models that it may get; k counts kinds from 1. */
static int64_t learned(const struct rows *rows, int64_t k, const struct lane *l)
{
	int64_t most = 0;

	for (int i = 0; i < rows_count(rows); i++) {
		int64_t seconds;

		if (row_i64(rows, i, "k") != k || !place_matches(l->accelerator, row_cstr(rows, i, "model")))
			continue;
		seconds = row_p95(rows, i);
		most = seconds > most ? seconds : most;
	}
	return most;
}

static void judge(const struct job_spec *s, int64_t known, struct estimate *ret)
{
	*ret = (struct estimate){.seconds = known ? known : s->estimated_seconds, .learned = known > 0};
	if (s->timeout_seconds && ret->seconds > s->timeout_seconds)
		ret->seconds = s->timeout_seconds;
}

/* ---- how long a session may last ------------------------------------------------ */

static int64_t longest(const struct rows *rows, const struct lane *l)
{
	int64_t most = 0;

	for (int i = 0; i < rows_count(rows); i++) {
		if (!row_null(rows, i, "gets") && !place_matches(l->accelerator, row_cstr(rows, i, "gets")))
			continue;
		if (row_null(rows, i, "seconds"))
			return 0;
		if (row_i64(rows, i, "seconds") > most)
			most = row_i64(rows, i, "seconds");
	}
	return most;
}

enum err estimate_specs(struct db *db, struct arena *a, const struct principal *p, struct job_spec *specs, int n, struct estimate *ret,
			struct error *e)
{
	cleanup_rows struct rows runs = {0}, sessions = {0};
	int *kind = arena_array(a, (size_t)n, sizeof(*kind));
	int64_t *order = arena_array(a, (size_t)n, sizeof(*order)), next = 0;
	enum err err = OK;
	bool any = false;

	if (!kind || !order)
		return error_set(e, ERR_TOO_LARGE, "The request is too large.");
	if (find_kinds(specs, n, kind))
		err = look(db, p, specs, n, kind, &runs, e);
	for (int i = 0; !err && i < n; i++) {
		if (kind[i] == i)
			order[i] = ++next;
		judge(&specs[i], kind[i] < 0 ? 0 : learned(&runs, order[kind[i]], &specs[i].lane), &ret[i]);
		any |= ret[i].seconds > 0;
	}
	if (!err && any)
		err = db_run(db, STMT_SESSION_LONGEST, ARGS(arg_i64(p->user_id)), &sessions, e);
	for (int i = 0; !err && i < n; i++) {
		ret[i].longest = longest(&sessions, &specs[i].lane);
		specs[i].lane.estimate = (int)estimate_within(ret[i].seconds, ret[i].longest);
	}
	return err;
}

bool estimate_too_long(const struct job_spec *s, const struct estimate *est)
{
	return !est->learned && s->lane.type != JOB_TRAINING && est->seconds && !estimate_holds(est->seconds, est->longest);
}
