/* When hours run out, from what is left and two paces. */
#include "domain/forecast.h"
#include "unit.h"

enum { HOUR = 3600, DAY = 86400, NOW = 1795521600, RESET = NOW + 4 * DAY }; /* the third day of the week is over */

static const struct {
	struct forecast_input in;
	struct forecast out; /* times after now */
} cases[] = {
	/* Nothing runs and nothing ran. */
	{{NOW, RESET, 0, 30 * HOUR, 0}, {false, 0, 0}},
	/* Two run; at the week's pace (12 h in 3 days: a sixth) it would last. */
	{{NOW, RESET, 12 * HOUR, 18 * HOUR, 2}, {true, 9 * HOUR, 0}},
	/* Nothing runs, but at the week's pace it would not last. */
	{{NOW, RESET, 24 * HOUR, 6 * HOUR, 0}, {true, 18 * HOUR, 0}},
	/* Neither pace lasts. */
	{{NOW, RESET, 24 * HOUR, 6 * HOUR, 1}, {true, 6 * HOUR, 18 * HOUR}},
	/* More than the week's pace, still enough. */
	{{NOW, RESET, HOUR, 97 * HOUR, 1}, {false, 0, 0}},
	/* All is gone. */
	{{NOW, RESET, 30 * HOUR, 0, 0}, {true, 0, 0}},
	{{NOW, RESET, 31 * HOUR, -5, 2}, {true, 0, 0}},
	/* A young week has no pace: an hour used in its first minutes says nothing. */
	{{NOW, NOW + 7 * DAY - 60, HOUR, 29 * HOUR, 0}, {false, 0, 0}},
	{{NOW, NOW + 7 * DAY - 60, HOUR, 29 * HOUR, 1}, {true, 29 * HOUR, 29 * HOUR}},
	/* A reset further off than a week, or past. */
	{{NOW, NOW + 9 * DAY, 0, 10 * HOUR, 1}, {true, 10 * HOUR, 10 * HOUR}},
	{{NOW, NOW - 1, 30 * HOUR, 0, 1}, {false, 0, 0}},
	/* Just before and just after the reset. */
	{{NOW, RESET, 0, 4 * DAY, 1}, {false, 0, 0}},
	{{NOW, RESET, 0, 4 * DAY - 1, 1}, {true, 4 * DAY - 1, 0}},
};

START_TEST(test_cases)
{
	struct forecast f = forecast_dry(&cases[_i].in);

	ck_assert_int_eq(f.dry, cases[_i].out.dry);
	if (f.dry)
		ck_assert_int_eq(f.earliest - NOW, cases[_i].out.earliest);
	if (f.dry && f.latest)
		ck_assert_int_eq(f.latest - NOW, cases[_i].out.latest);
	ck_assert_int_eq(f.latest != 0, cases[_i].out.latest != 0 || (f.dry && cases[_i].in.left_seconds <= 0));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("forecast");
	TCase *t = tcase_create("forecast");

	tcase_add_loop_test(t, test_cases, 0, sizeof(cases) / sizeof(*cases));
	suite_add_tcase(s, t);
	return unit_run(s);
}
