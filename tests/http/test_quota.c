/* The hours of accounts: who sees whose, and what the figures mean while sessions run. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "unit.h"

static struct pg *pg;
static struct world *w;
static struct call_site c;
static struct principal root, ann, bob, eve; /* administrator, operators, viewer */
static int64_t hers, his;                    /* accounts at Kaggle */

#define QUOTA "GET /api/gpu/quota"

static void open_site(void)
{
	char name[32];

	snprintf(name, sizeof(name), "quota_%d", (int)getpid());
	w = world_open(pg, name);
	root = world_user(w, "root", ROLE_ADMIN);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	bob = world_user(w, "bob", ROLE_OPERATOR);
	eve = world_user(w, "eve", ROLE_VIEWER);
	hers = world_account(w, ann.user_id, "kaggle", "none", 0);
	his = world_account(w, bob.user_id, "kaggle", "none", 0);
	world_account(w, ann.user_id, "manual", "none", 0);
	world_sql(w, "create or replace function gpupool.quota_clock() returns timestamptz language sql volatile as "
		     "$$ select timestamptz '2026-11-24 12:00Z' $$");
	call_init(&c, w);
}

static void close_site(void)
{
	call_done(&c);
	world_close(w);
}

/* A worker whose session holds ten hours of gpu since 11:00, and one of them is used by now. */
static int64_t running(int64_t account)
{
	int64_t id = world_worker(w, account, "healthy", "{gpu,T4}", 2);

	world_sql(w, "update worker set accelerator = 'gpu' where id = %lld;"
		     "update session set launched_at = '2026-11-24 11:00Z', provider_ref = '{}', resource = 'gpu' where worker_id = %lld;"
		     "insert into quota(account_id, resource, resets_at, limit_seconds, margin_seconds, used_seconds, reserved_seconds) "
		     "values (%lld, 'gpu', '2026-11-28 00:00Z', 108000, 900, 7200, 36000);"
		     "insert into reservation(session_id, account_id, resource, slot, resets_at, granted_seconds) "
		     "select id, account_id, 'gpu', 1, '2026-11-28 00:00Z', 36000 from session where worker_id = %lld",
		  (long long)id, (long long)id, (long long)account, (long long)id);
	return id;
}

static bool is_null(const char *path)
{
	return !json_path(c.json, path);
}

START_TEST(test_before_anything_ran)
{
	ck_assert_int_eq(call(&c, &ann, QUOTA, NULL), 200);
	ck_assert_int_eq((int)json_len(json_get(c.json, "accounts")), 1);
	ck_assert_int_eq(call_int(&c, "accounts.0.id"), hers);
	ck_assert_str_eq(call_str(&c, "accounts.0.provider"), "kaggle");
	ck_assert_str_eq(call_str(&c, "accounts.0.owner"), "ann");
	ck_assert_str_eq(call_str(&c, "accounts.0.resources.0.resource"), "gpu");
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.limitSeconds"), 108000);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.marginSeconds"), 900);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.usedSeconds"), 0);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.reservedSeconds"), 0);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.remainingSeconds"), 107100);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.sessionSeconds"), 39600);
	ck_assert_str_eq(call_str(&c, "accounts.0.resources.0.resetsAt"), "2026-11-28T00:00:00.000Z");
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.concurrent.limit"), 2);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.concurrent.used"), 0);
	ck_assert(is_null("accounts.0.resources.0.told") && is_null("accounts.0.resources.0.forecast"));
	ck_assert_str_eq(call_str(&c, "accounts.0.resources.1.resource"), "tpu");
	/* No week is limited: what there is to say is how many at once. */
	ck_assert_str_eq(call_str(&c, "accounts.0.resources.2.resource"), "cpu");
	ck_assert(is_null("accounts.0.resources.2.limitSeconds") && is_null("accounts.0.resources.2.remainingSeconds") &&
		  is_null("accounts.0.resources.2.resetsAt"));
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.2.concurrent.limit"), 5);
}
END_TEST

START_TEST(test_hours_pass_without_a_write)
{
	running(hers);
	world_sql(w, "update quota set told_used = 7000, told_reserved = 40000, told_at = '2026-11-24 11:59Z', elsewhere_seconds = 100");
	ck_assert_int_eq(call(&c, &ann, QUOTA, NULL), 200);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.usedSeconds"), 7200 + 3600);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.reservedSeconds"), 36000 - 3600);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.remainingSeconds"), 108000 - 900 - 7200 - 36000 - 100);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.concurrent.used"), 1);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.told.usedSeconds"), 7000);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.told.reservedSeconds"), 40000);
	ck_assert_str_eq(call_str(&c, "accounts.0.resources.0.told.at"), "2026-11-24T11:59:00.000Z");
	/* What is left is 26 h 43 min 20 s of one session; at the week's pace they last. */
	ck_assert_str_eq(call_str(&c, "accounts.0.resources.0.forecast.earliest"), "2026-11-25T14:43:20Z");
	ck_assert(is_null("accounts.0.resources.0.forecast.latest"));
	/* Its run is over, and nobody has settled it yet. */
	world_sql(w, "update session set state = 'ended', ended_at = '2026-11-24 11:20Z', over_at = '2026-11-24 11:30Z'");
	ck_assert_int_eq(call(&c, &ann, QUOTA, NULL), 200);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.usedSeconds"), 7200 + 1800);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.reservedSeconds"), 0);
	ck_assert_int_eq(call_int(&c, "accounts.0.resources.0.concurrent.used"), 0);
}
END_TEST

/* Whatever the ledger says when it is brought to the present, the view said before. */
START_TEST(test_view_agrees_with_the_ledger)
{
	static const char *const times[] = {"2026-11-24 12:00Z", "2026-11-24 20:59:59.5Z", "2026-11-25 09:00Z"};
	static const char figures[] = "select used_seconds * 1000000000 + reserved_seconds from quota_now where resource = 'gpu' and account_id = %lld";
	int64_t before;

	running(hers);
	world_sql(w, "update quota set resets_at = '2026-11-24 20:00Z'");
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		world_sql(w, "create or replace function gpupool.quota_clock() returns timestamptz language sql volatile as "
			     "$$ select timestamptz '%s' $$", times[i]);
		before = world_int(w, figures, (long long)hers);
		ck_assert_int_gt(before, 0);
		world_sql(w, "select gpupool.quota_settle(%lld)", (long long)hers);
		ck_assert_int_eq(world_int(w, figures, (long long)hers), before);
		ck_assert_int_eq(world_int(w, "select used_seconds::bigint * 1000000000 + reserved_seconds from quota where resets_at > '%s'", times[i]), before);
	}
}
END_TEST

START_TEST(test_everyone_sees_their_own)
{
	ck_assert_int_eq(call(&c, &bob, QUOTA, NULL), 200);
	ck_assert_int_eq((int)json_len(json_get(c.json, "accounts")), 1);
	ck_assert_int_eq(call_int(&c, "accounts.0.id"), his);
	ck_assert_int_eq(callf(&c, &bob, NULL, QUOTA "?account=%lld", (long long)hers), 200);
	ck_assert_int_eq((int)json_len(json_get(c.json, "accounts")), 0);
	ck_assert_int_eq(call(&c, &eve, QUOTA, NULL), 200);
	ck_assert_int_eq((int)json_len(json_get(c.json, "accounts")), 0);
	ck_assert_int_eq(callf(&c, &root, NULL, QUOTA "?account=%lld", (long long)hers), 200);
	ck_assert_int_eq((int)json_len(json_get(c.json, "accounts")), 1);
	ck_assert_int_eq(call(&c, NULL, QUOTA, NULL), 401);
	world_sql(w, "update account set deleted_at = now() where id = %lld", (long long)hers);
	ck_assert_int_eq(call(&c, &ann, QUOTA, NULL), 200);
	ck_assert_int_eq((int)json_len(json_get(c.json, "accounts")), 0);
}
END_TEST

START_TEST(test_pages)
{
	ck_assert_int_eq(call(&c, &root, QUOTA "?limit=1", NULL), 200);
	ck_assert_int_eq(call_int(&c, "accounts.0.id"), hers);
	ck_assert_int_eq((int)json_len(json_path(c.json, "accounts.0.resources")), 3);
	ck_assert_int_eq(callf(&c, &root, NULL, QUOTA "?limit=1&pageToken=%s", call_str(&c, "nextPageToken")), 200);
	ck_assert_int_eq(call_int(&c, "accounts.0.id"), his);
	ck_assert_int_eq(call(&c, &root, QUOTA "?pageToken=9223372036854775807", NULL), 200);
	ck_assert_int_eq((int)json_len(json_get(c.json, "accounts")), 0);
	ck_assert_int_eq(call(&c, &root, QUOTA "?pageToken=x", NULL), 400);
	ck_assert_int_eq(call(&c, &root, QUOTA "?account=-1", NULL), 400);
	ck_assert_str_eq(call_faults(&c), "account");
	ck_assert_int_eq(call(&c, &root, QUOTA "?account=9223372036854775807", NULL), 200);
	ck_assert_int_eq(call(&c, &root, QUOTA "?provider=kaggle", NULL), 400);
	ck_assert_int_eq(call(&c, &root, "POST /api/gpu/quota", "{}"), 405);
}
END_TEST

START_TEST(test_notebook_shows_its_account)
{
	int64_t id = running(hers);

	ck_assert_int_eq(callf(&c, &ann, NULL, "GET /api/gpu/workers/notebooks/%lld", (long long)id), 200);
	ck_assert_str_eq(call_str(&c, "quota.resource"), "gpu");
	ck_assert_int_eq(call_int(&c, "quota.limitSeconds"), 108000);
	ck_assert_int_eq(call_int(&c, "quota.marginSeconds"), 900);
	ck_assert_int_eq(call_int(&c, "quota.usedSeconds"), 10800);
	ck_assert_int_eq(call_int(&c, "quota.reservedSeconds"), 32400);
	ck_assert_int_eq(call_int(&c, "quota.remainingSeconds"), 63900);
	ck_assert_str_eq(call_str(&c, "quota.resetsAt"), "2026-11-28T00:00:00.000Z");
	ck_assert_int_eq((int)json_len(json_get(c.json, "quota")), 7);
	/* Its figures are the pool's: an operator sees them. */
	ck_assert_int_eq(call(&c, &bob, "GET /api/gpu/workers/notebooks", NULL), 200);
	ck_assert_int_eq(call_int(&c, "notebooks.0.quota.usedSeconds"), 10800);
	world_sql(w, "update worker set accelerator = 'CPU'"); /* no week is limited */
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET /api/gpu/workers/notebooks/%lld", (long long)id), 200);
	ck_assert(is_null("quota"));
	world_sql(w, "update worker set accelerator = 'gone'");
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET /api/gpu/workers/notebooks/%lld", (long long)id), 200);
	ck_assert(is_null("quota"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("quota over http");
	TCase *t = tcase_create("quota");

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, open_site, close_site);
	tcase_add_test(t, test_before_anything_ran);
	tcase_add_test(t, test_hours_pass_without_a_write);
	tcase_add_test(t, test_view_agrees_with_the_ledger);
	tcase_add_test(t, test_everyone_sees_their_own);
	tcase_add_test(t, test_pages);
	tcase_add_test(t, test_notebook_shows_its_account);
	suite_add_tcase(s, t);
	return unit_run(s);
}
