/* The table of a worker: complete, leading everywhere, and the same as SQL's list. */
#include <stdlib.h>
#include <string.h>

#include "base/asset.h"
#include "domain/worker_fsm.h"
#include "unit.h"

START_TEST(test_each_pair_has_exactly_one_edge)
{
	ck_assert_uint_eq(worker_edge_count, (size_t)WORKER_STATE_COUNT * DESIRE_COUNT);
	for (int s = 0; s < WORKER_STATE_COUNT; s++)
		for (int d = 0; d < DESIRE_COUNT; d++) {
			int n = 0;

			for (size_t i = 0; i < worker_edge_count; i++)
				n += worker_edges[i].state == (enum worker_state)s && worker_edges[i].desire == (enum worker_desire)d;
			ck_assert_int_eq(n, 1);
		}
}
END_TEST

/* Where a step may leave the worker when all goes well. */
static bool step_reaches(const struct worker_edge *e, enum worker_state to)
{
	switch (e->step) {
	case STEP_START:
		return to == WORKER_STARTING || to == WORKER_HEALTHY || to == WORKER_NEEDS_HUMAN;
	case STEP_STOP:
		return to == WORKER_STOPPING || to == WORKER_STOPPED;
	case STEP_DELETE:
		return to == WORKER_STOPPING || to == WORKER_DELETED;
	case STEP_VERIFY:
	case STEP_REST:
	case STEP_COUNT:
		return to == e->state;
	}
	return false;
}

static bool is_wish(enum worker_state s, enum worker_desire d)
{
	switch (d) {
	case DESIRE_RUNNING: /* or a person has the next word */
		return s == WORKER_HEALTHY || s == WORKER_UNHEALTHY || s == WORKER_DRAINING || s == WORKER_NEEDS_HUMAN;
	case DESIRE_STOPPED:
		return s == WORKER_STOPPED;
	case DESIRE_DELETED:
		return s == WORKER_DELETED;
	case DESIRE_COUNT:
		break;
	}
	return false;
}

static bool leads(enum worker_state from, enum worker_desire d, bool seen[WORKER_STATE_COUNT])
{
	const struct worker_edge *e = worker_edge(from, d);

	if (is_wish(from, d))
		return true;
	seen[from] = true;
	for (int to = 0; to < WORKER_STATE_COUNT; to++)
		if (!seen[to] && worker_may_move(from, (enum worker_state)to) && step_reaches(e, (enum worker_state)to) &&
		    leads((enum worker_state)to, d, seen))
			return true;
	return false;
}

START_TEST(test_every_state_reaches_what_is_desired)
{
	for (int s = 0; s < WORKER_STATE_COUNT; s++)
		for (int d = 0; d < DESIRE_COUNT; d++) {
			bool seen[WORKER_STATE_COUNT] = {false};

			if (s == WORKER_DELETED)
				continue; /* nothing leaves it */
			ck_assert_msg(leads((enum worker_state)s, (enum worker_desire)d, seen), "%s never becomes %s", worker_state_name((enum worker_state)s),
				      worker_desire_name((enum worker_desire)d));
		}
}
END_TEST

START_TEST(test_every_state_is_entered_and_only_deleted_is_the_end)
{
	for (int s = 0; s < WORKER_STATE_COUNT; s++) {
		int in = 0, out = 0;

		for (size_t i = 0; i < worker_move_count; i++) {
			in += worker_moves[i].to == (enum worker_state)s;
			out += worker_moves[i].from == (enum worker_state)s;
			ck_assert_uint_gt(strlen(worker_moves[i].why), 3);
			for (size_t k = 0; k < i; k++)
				ck_assert(worker_moves[i].from != worker_moves[k].from || worker_moves[i].to != worker_moves[k].to);
		}
		ck_assert_msg(in > 0, "%s is never entered", worker_state_name((enum worker_state)s));
		ck_assert_int_eq(out == 0, s == WORKER_DELETED);
	}
}
END_TEST

START_TEST(test_rest_and_verify_open_nothing)
{
	for (size_t i = 0; i < worker_edge_count; i++) {
		const struct worker_edge *e = &worker_edges[i];
		const char *kind = e->step == STEP_START ? "start" : e->step == STEP_STOP ? "stop" : e->step == STEP_DELETE ? "delete" : NULL;

		if (kind)
			ck_assert_str_eq(e->opens, kind);
		else
			ck_assert_ptr_null(e->opens);
	}
}
END_TEST

/* The names between the brackets after `column text … check (column in (`. */
static int count_names(const char *after, bool (*known)(struct str))
{
	const char *p = strstr(asset_find("sql/migrations/0001_init.sql")->bytes.ptr, after), *end;
	int n = 0;

	ck_assert_ptr_nonnull(p);
	p += strlen(after);
	end = strchr(p, ')');
	while ((p = strchr(p, '\'')) && p < end) {
		const char *close = strchr(p + 1, '\'');

		ck_assert_msg(known((struct str){p + 1, (size_t)(close - p - 1)}), "%.*s is not in the C list", (int)(close - p - 1), p + 1);
		p = close + 1;
		n++;
	}
	return n;
}

static bool known_state(struct str name)
{
	for (int s = 0; s < WORKER_STATE_COUNT; s++)
		if (str_eqz(name, worker_state_name((enum worker_state)s)))
			return true;
	return false;
}

static bool known_desire(struct str name)
{
	for (int d = 0; d < DESIRE_COUNT; d++)
		if (str_eqz(name, worker_desire_name((enum worker_desire)d)))
			return true;
	return false;
}

START_TEST(test_sql_lists_are_the_c_lists)
{
	ck_assert_int_eq(count_names("state               text not null default 'stopped' check (state in (", known_state), WORKER_STATE_COUNT);
	ck_assert_int_eq(count_names("desired             text not null check (desired in (", known_desire), DESIRE_COUNT);
	for (int s = 0; s < WORKER_STATE_COUNT; s++)
		ck_assert_int_eq(worker_state_parse(str_of(worker_state_name((enum worker_state)s))), s);
	for (int d = 0; d < DESIRE_COUNT; d++)
		ck_assert_int_eq(worker_desire_parse(str_of(worker_desire_name((enum worker_desire)d))), d);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("worker_fsm");
	TCase *t = tcase_create("table");

	tcase_add_test(t, test_each_pair_has_exactly_one_edge);
	tcase_add_test(t, test_every_state_reaches_what_is_desired);
	tcase_add_test(t, test_every_state_is_entered_and_only_deleted_is_the_end);
	tcase_add_test(t, test_rest_and_verify_open_nothing);
	tcase_add_test(t, test_sql_lists_are_the_c_lists);
	suite_add_tcase(s, t);
	return unit_run(s);
}
