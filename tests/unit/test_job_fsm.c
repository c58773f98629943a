/* The table of a job's edges. */
#include "domain/job_fsm.h"
#include "unit.h"

START_TEST(test_every_state_ends)
{
	bool reaches[JOB_STATE_COUNT] = {false};

	/* Without the edges that only a person's wish makes. */
	for (int round = 0; round < JOB_STATE_COUNT; round++)
		for (size_t i = 0; i < job_edge_count; i++) {
			const struct job_edge *e = &job_edges[i];

			reaches[e->to] |= job_state_ended(e->to);
			if (!job_state_ended(e->from))
				reaches[e->from] |= reaches[e->to];
		}
	for (int s = 0; s < JOB_STATE_COUNT; s++)
		ck_assert_msg(reaches[s], "%s never ends", job_state_name(s));
}
END_TEST

START_TEST(test_every_state_is_reached_from_queued)
{
	bool reached[JOB_STATE_COUNT] = {[JOB_QUEUED] = true};

	for (int round = 0; round < JOB_STATE_COUNT; round++)
		for (size_t i = 0; i < job_edge_count; i++)
			if (reached[job_edges[i].from])
				reached[job_edges[i].to] = true;
	for (int s = 0; s < JOB_STATE_COUNT; s++)
		ck_assert_msg(reached[s], "%s is never reached", job_state_name(s));
}
END_TEST

START_TEST(test_edges_that_must_not_be)
{
	ck_assert(!job_may(JOB_QUEUED, JOB_SUCCEEDED));
	for (int from = 0; from < JOB_STATE_COUNT; from++) {
		ck_assert(!job_may(from, from));
		for (int to = 0; job_state_ended(from) && to < JOB_STATE_COUNT; to++)
			ck_assert(to == JOB_QUEUED || !job_may(from, to));
	}
}
END_TEST

START_TEST(test_each_edge_once_and_explained)
{
	for (size_t i = 0; i < job_edge_count; i++) {
		ck_assert_int_gt(strlen(job_edges[i].why), 5);
		for (size_t k = 0; k < i; k++)
			ck_assert(job_edges[i].from != job_edges[k].from || job_edges[i].to != job_edges[k].to);
	}
}
END_TEST

START_TEST(test_names)
{
	for (int s = 0; s < JOB_STATE_COUNT; s++)
		ck_assert_int_eq(job_state_parse(str_of(job_state_name(s))), s);
	ck_assert_int_eq(job_state_parse(STR("lost")), JOB_STATE_COUNT);
	ck_assert_int_eq(job_state_parse(STR("")), JOB_STATE_COUNT);
	ck_assert_int_eq(job_state_parse(STR_NULL), JOB_STATE_COUNT);
	ck_assert_str_eq(job_outcome_name(JOB_LOST), "lost");
	ck_assert_str_eq(job_outcome_name(JOB_RELEASED), "released");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("job_fsm");
	TCase *t = tcase_create("edges");

	tcase_add_test(t, test_every_state_ends);
	tcase_add_test(t, test_every_state_is_reached_from_queued);
	tcase_add_test(t, test_edges_that_must_not_be);
	tcase_add_test(t, test_each_edge_once_and_explained);
	tcase_add_test(t, test_names);
	suite_add_tcase(s, t);
	return unit_run(s);
}
