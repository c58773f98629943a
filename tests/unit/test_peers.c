/* Agents with a parked claim: more of them than are considered at once have their turn. */
#include <stdlib.h>

#include "unit.h"
#include "web/events_claim.h"

struct seen {
	int64_t sessions[8];
	int count;
};

static void see(struct peer *p, void *ctx)
{
	struct seen *s = ctx;

	s->sessions[s->count++] = p->session_id;
}

START_TEST(test_each_from_a_place_goes_round)
{
	struct peer peers[] = {{.session_id = 1}, {.session_id = 2}, {.session_id = 3}, {.session_id = 4}};
	struct claims *c = calloc(1, sizeof(*c));
	struct seen s = {.count = 0};

	c->buckets[0] = &peers[0];
	peers[0].next = &peers[1];
	c->buckets[500] = &peers[2];
	c->buckets[PEER_BUCKETS - 1] = &peers[3];
	peers_each(c, see, &s);
	peers_each_from(c, 1, see, &s);
	ck_assert_int_eq(s.count, 8);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(s.sessions[i], ((const int64_t[]){1, 2, 3, 4, 3, 4, 1, 2})[i]);
	free(c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("peers");
	TCase *t = tcase_create("peers");

	tcase_add_test(t, test_each_from_a_place_goes_round);
	suite_add_tcase(s, t);
	return unit_run(s);
}
