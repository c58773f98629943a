/*
 * Who may do what in the database: the catalog's grants against what the roles
 * are for.  A grant that was added without thought fails here.
 */
#include <check.h>
#include <stdlib.h>

#include "pg.h"

static struct pg *pg;

/* What must fail with "permission denied" (42501) for a role. */
static const struct refusal {
	const char *role, *sql;
} refusals[] = {
	/* The process that faces the network reads no credential and writes no outcome. */
	{"web", "select sealed from account"},
	{"web", "select * from account"},
	{"web", "update account set owner_id = 1"},
	{"web", "update account set status = 'ok'"},
	{"web", "update account set identity = 'x'"},
	{"web", "update account set checked_version = 1"},
	{"web", "update account set checked_at = now()"},
	{"web", "update account set check_at = now()"},
	{"web", "update account set provider = 'local'"},
	{"web", "update account set swept_at = now()"},
	{"web", "update account set refused_code = 'account'"},
	{"web", "select sweep_from from account"},
	{"web", "update account set consent_at = now()"},
	{"web", "update account set consent_version = 1"},
	{"web", "update account set scopes = '{x}'"},
	{"web", "select verifier from oauth_consent"},
	{"web", "select code from oauth_consent"},
	{"web", "update oauth_consent set expires_at = now()"},
	{"provisioner", "update account set paid_at = now()"},
	{"provisioner", "insert into oauth_consent(state_hash, account_id, user_id, scopes, verifier, key_id, sealed_version) "
		"values ('\\x00', 1, 1, '{}', '\\x00', 1, 1)"},
	{"events", "select state_hash from oauth_consent"},
	{"local", "select state_hash from oauth_consent"},
	{"provisioner", "update account set deleting_at = now()"},
	{"local", "select deleting_at from account"},
	{"web", "update account_circuit set failures = 0"},
	{"web", "update session_poll set due = now()"},
	{"local", "select count(*) from session_poll"},
	{"local", "select count(*) from account_circuit"},
	{"events", "update session set over_at = now()"},
	{"web", "insert into account(owner_id, provider, status) values (1, 'kaggle', 'ok')"},
	{"web", "insert into account(owner_id, provider, identity) values (1, 'kaggle', 'x')"},
	{"web", "update worker set remote_name = 'x'"},
	{"web", "update provider_limit set concurrent = 1000"},
	{"web", "update provider_accelerator set usable = true"},
	{"web", "update session set state = 'ended'"},
	{"web", "insert into session(worker_id, owner_id, account_id, provider, generation) values (1, 1, 1, 'local', 1)"},
	{"web", "update worker set state = 'healthy'"},
	{"web", "update worker set session_id = null"},
	{"web", "update operation set state = 'done'"},
	{"web", "insert into operation(worker_id, provider, kind, generation, state) values (1, 'local', 'start', 1, 'done')"},
	{"web", "update provider_policy set sharing_allowed = true"},
	{"web", "insert into sealing_key values (1, '\\x00', 'new', now())"},
	{"web", "insert into job_lease(id, lease, session_id, worker_id, lane, owner_id, gpus, attempt, run, max_attempts, seconds, until) "
		"values (1, gen_random_uuid(), 1, 1, 1, 1, 1, 1, 1, 1, 1, now())"},
	{"web", "update job set payload = '{}'"},
	{"web", "delete from job"},
	{"web", "select data from job_log"},
	{"web", "select partition_drop(0, 0)"},
	{"web", "create table gpupool.x()"},
	/* Who faces the network neither gives hours nor takes them back. */
	{"web", "update quota set used_seconds = 0"},
	{"web", "insert into quota(account_id, resource, resets_at, limit_seconds, margin_seconds) values (1, 'gpu', now(), 1, 1)"},
	{"web", "delete from reservation"},
	{"web", "select quota_settle(1)"},
	{"web", "update budget_use set used_seconds = 0"},
	{"web", "select budget_fit(1)"},
	{"provisioner", "update budget set month_seconds = null"},
	{"provisioner", "update price set micros_per_hour = 0"},
	{"provisioner", "delete from budget_use"},
	{"events", "select * from budget"},
	{"local", "select * from budget_use"},
	{"web", "update account_cooldown set refusals = 0"},
	{"web", "select cooldown_begun(1, 'gpu')"},
	{"events", "select * from account_cooldown"},
	{"local", "select * from account_cooldown"},
	{"web", "select quota_tell(1, 'gpu', 1, now(), 0, 0)"},
	{"web", "update provider_limit set concurrent = 1000"},
	{"events", "select * from quota"},
	{"events", "update reservation set settled_at = now(), used_seconds = 0"},
	{"local", "select quota_settle(1)"},
	{"provisioner", "update provider_limit set concurrent = 1000"},
	/* The browser instance sees no box, no key, and leads nothing; who gives it a password cannot read it again. */
	{"browser", "select sealed from account"},
	{"browser", "select * from account"},
	{"browser", "update account set email = 'x'"},
	{"browser", "select * from sealing_key"},
	{"browser", "select * from oauth_consent"},
	{"browser", "select name from user_secret"},
	{"browser", "select * from users"},
	{"browser", "select payload from job"},
	{"browser", "select * from login"},
	{"browser", "delete from job_delayed"},
	{"browser", "update provider_limit set concurrent = 1000"},
	{"browser", "update worker set desired = 'running'"},
	{"browser", "insert into browser_password(account_id, key_id, sealed) values (1, 1, '\\x00')"},
	{"browser", "select data from event"},
	{"web", "select sealed from browser_password"},
	{"web", "select key_id from browser_password"},
	{"web", "update browser_password set sealed = '\\x00'"},
	{"web", "insert into browser_key(public_key, expires_at) values (decode(repeat('00', 32), 'hex'), now())"},
	{"web", "insert into account_picture(account_id, png) values (1, '\\x00')"},
	{"events", "select * from account_picture"},
	{"events", "select * from browser_password"},
	{"provisioner", "select sealed from browser_password"},
	{"provisioner", "select png from account_picture"},
	{"local", "select * from browser_key"},
	{"secrets", "select * from browser_password"},
	/* What happened stays. */
	{"web", "delete from audit"},
	{"web", "update audit set action = 'x'"},
	{"web", "delete from event"},
	{"events", "delete from event"},
	{"provisioner", "delete from audit"},
	{"provisioner", "update decision set reason = 'x'"},
	/* The event loop opens nothing and signs nobody in. */
	{"events", "select sealed from account"},
	{"events", "update users set role = 'admin'"},
	{"events", "insert into api_token(user_id, name, token_hash, scopes) values (1, 'x', '\\x00', '{admin}')"},
	{"events", "insert into login(user_id, token_hash, csrf_key, expires_at) values (1, '\\x00', '\\x00', now())"},
	{"events", "insert into worker(owner_id, account_id, provider, title, accelerator, desired) values (1, 1, 'local', 'x', 'cpu', 'running')"},
	{"events", "update worker set desired = 'running'"},
	{"events", "update session set owner_id = 2"},
	{"events", "select partition_drop(0, 0)"},
	{"events", "select account_check_soon(1)"},
	{"local", "select account_check_soon(1)"},
	{"local", "select key_id from account"},
	/* Accounts are people's; the provisioner says what came of them. */
	{"provisioner", "insert into account(owner_id, provider) values (1, 'kaggle')"},
	{"provisioner", "update account set owner_id = 1"},
	{"provisioner", "update account set sealed_version = 9"},
	{"provisioner", "delete from account"},
	/* The provisioner cannot become a person. */
	{"provisioner", "select token_hash from login"},
	{"provisioner", "select token_hash from api_token"},
	{"provisioner", "update users set role = 'admin'"},
	{"provisioner", "insert into users(name, role) values ('x', 'admin')"},
	{"provisioner", "update job set payload = '{}'"},
	/* This machine's own provisioner sees no credential and no person. */
	{"local", "select sealed from account"},
	{"local", "select * from users"},
	{"local", "select * from job"},
	{"local", "select * from login"},
	{"local", "select partition_drop(0, 0)"},
	{"secrets", "select * from users"},
	{"secrets", "select * from job"},
	{"secrets", "select sealed from account"},
	/* A secret is read by the role that hands it out, and by no other. */
	{"web", "select sealed from user_secret"},
	{"web", "select * from user_secret"},
	{"web", "update user_secret set owner_id = 1"},
	{"web", "update user_secret set name = 'X'"},
	{"web", "update user_secret set last_used_at = now()"},
	{"events", "select name from user_secret"},
	{"events", "delete from user_secret"},
	{"provisioner", "select name from user_secret"},
	{"provisioner", "insert into user_secret(owner_id, name, sealed, key_id) values (1, 'X', '\\x00', 1)"},
	{"local", "select name from user_secret"},
	{"secrets", "insert into user_secret(owner_id, name, sealed, key_id) values (1, 'X', '\\x00', 1)"},
	{"secrets", "delete from user_secret"},
	{"secrets", "update user_secret set owner_id = 1"},
	{"secrets", "update user_secret set sealed_version = 2"},
	/* It sees a session's token hash and state, and of a job the names that it asked for. */
	{"secrets", "select * from session"},
	{"secrets", "update session set state = 'ended'"},
	{"secrets", "select payload from job"},
	{"secrets", "select * from job_lease"},
	{"secrets", "delete from job_lease"},
	{"secrets", "select * from audit"},
	{"secrets", "delete from audit"},
	{"secrets", "delete from sealing_key"},
	{"secrets", "select * from login"},
	/* Who scales is told by rows that only the person writes; what is kept of it by those who act. */
	{"web", "update session set then_stop = true"},
	{"web", "insert into scaling_state(owner_id) values (1)"},
	{"web", "update scaling_plan set expires_at = now() + interval '1 day'"},
	{"web", "delete from scaling_round"},
	{"web", "delete from scaling_policy"},
	/* Why jobs wait is the leader's to note; what an owner has used is shown, not set. */
	{"web", "select * from lane_wait"},
	{"events", "select * from lane_wait"},
	{"local", "select * from lane_wait"},
	{"web", "update owner_usage set seconds = 0"},
	{"web", "delete from usage_delta"},
	{"events", "update worker set idle_default = true"},
	{"local", "update worker set idle_default = true"},
	/* Policies are changed by functions that want an administrator and keep what was. */
	{"web", "update provider_policy set source = 'x'"},
	{"web", "update provider_limit set as_of = now()"},
	{"web", "insert into policy_change(provider, was, became) values ('kaggle', '{}', '{}')"},
	{"web", "update policy_change set user_id = null"},
	{"web", "delete from policy_change"},
	{"web", "select policy_set_limit(0, 'kaggle', 'gpu', '{\"weekSeconds\": 9}', 'x')"},
	{"web", "select policy_set_terms(0, 'kaggle', '{\"sharingAllowed\": true}', 'x')"},
	{"events", "select policy_set_limit(1, 'kaggle', 'gpu', '{}', 'x')"},
	{"events", "select * from policy_change"},
	{"provisioner", "select policy_set_terms(1, 'kaggle', '{}', 'x')"},
	{"provisioner", "update provider_limit set week_seconds = 1"},
	{"local", "select policy_set_limit(1, 'kaggle', 'gpu', '{}', 'x')"},
	{"secrets", "select policy_set_terms(1, 'kaggle', '{}', 'x')"},
	{"provisioner", "update scaling_policy set enabled = true"},
	{"provisioner", "update scaling_round set snapshot = ''"},
	{"events", "select * from scaling_policy"},
	{"events", "select session_drain(1, 1, false, 'x', 'x')"},
	{"local", "select session_drain(1, 1, false, 'x', 'x')"},
	{"local", "select * from scaling_round"},
	/* What was used and how long it ran comes from leases, not from those who submit. */
	{"web", "insert into run_time(owner_id, type, name, model, seconds) values (1, 0, 'x', 'cpu', '{1}')"},
	{"web", "select * from run_delta"},
	{"web", "update owner_usage set seconds = 0"},
	{"web", "delete from usage_delta"},
	{"events", "insert into usage_delta values (1, -1000)"},
	{"events", "delete from owner_usage"},
	{"events", "delete from run_time"},
	{"provisioner", "update owner_usage set seconds = 0"},
	{"provisioner", "update run_time set seconds = '{1}'"},
	{"local", "select * from owner_usage"},
	/* Keys are written by those who open what is sealed to them: the other purpose's rows are not theirs. */
	{"web", "update sealing_key set state = 'retired'"},
	{"web", "insert into instance(name, purpose) values ('x', 'secrets')"},
	{"events", "select * from sealing_key"},
	{"provisioner", "insert into sealing_key(id, public_key, state, purpose) values (900, decode(repeat('00', 32), 'hex'), 'new', 'secrets')"},
	{"provisioner", "insert into instance(name, purpose) values ('x', 'secrets')"},
	{"secrets", "insert into sealing_key(id, public_key, state) values (900, decode(repeat('00', 32), 'hex'), 'new')"},
	{"secrets", "insert into instance(name, purpose) values ('x', 'credentials')"},
};

START_TEST(test_role_may_not)
{
	const struct refusal *r = &refusals[_i];
	struct db *db = pg_db(pg, r->role, "gpupool");
	struct error e = {0};

	ck_assert_msg(db_exec_text(db, r->sql, NULL, &e) != OK, "%s may: %s", r->role, r->sql);
	ck_assert_msg(!strcmp(e.field, "42501"), "%s: %s failed for another reason: %s", r->role, r->sql, e.field);
	db_close(db);
}
END_TEST

START_TEST(test_public_may_nothing)
{
	struct db *db = pg_db(pg, "owner", "gpupool");

	ck_assert_int_eq(pg_int(db, "select count(*) from information_schema.role_table_grants where table_schema = 'gpupool' "
				    "and grantee = 'PUBLIC' and table_name <> 'schema_migration'"), 0);
	ck_assert_int_eq(pg_int(db, "select count(*) from pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a "
				    "where pronamespace = 'gpupool'::regnamespace and a.grantee = 0"), 0);
	db_close(db);
}
END_TEST

static const char two_workers[] =
	"insert into users(name, role) values ('o', 'operator');"
	"insert into account(owner_id, provider) select id, p from users, unnest(array['local', 'manual']) p;"
	"insert into worker(owner_id, account_id, provider, title, accelerator, desired)"
	" select owner_id, id, provider, provider, 'cpu', 'running' from account;"
	"insert into operation(worker_id, provider, kind, generation) select id, provider, 'start', 1 from worker";

START_TEST(test_local_sees_only_its_own)
{
	struct db *owner, *local, *all;

	pg_copy(pg, "rows");
	owner = pg_db(pg, "owner", "rows");
	local = pg_db(pg, "local", "rows");
	all = pg_db(pg, "provisioner", "rows");
	pg_sql(owner, two_workers, NULL);
	ck_assert_int_eq(pg_int(all, "select count(*) from operation"), 2);
	ck_assert_int_eq(pg_int(local, "select count(*) from operation where provider = 'manual'"), 0);
	ck_assert_int_eq(pg_int(local, "select count(*) from operation"), 1);
	ck_assert_int_eq(pg_int(local, "select count(*) from worker"), 1);
	pg_sql(local, "update worker set state = 'failed'", NULL);
	ck_assert_int_eq(pg_int(owner, "select count(*) from worker where state = 'failed'"), 1);
	db_close(owner);
	db_close(local);
	db_close(all);
}
END_TEST

static const char two_ways[] =
	"insert into users(name, role) values ('o', 'operator'), ('p', 'operator');"
	"insert into account(owner_id, provider, start, email) select id, 'colab', case name when 'o' then 'browser' else '' end,"
	" case name when 'o' then 'o@example.com' else '' end from users where name in ('o', 'p');"
	"insert into worker(owner_id, account_id, provider, start, title, accelerator, desired)"
	" select owner_id, id, provider, case start when '' then 'assisted' else start end, 'x', 'cpu', 'running' from account;"
	"insert into operation(worker_id, provider, kind, generation) select id, driver, 'start', 1 from worker;"
	"insert into session(worker_id, owner_id, account_id, provider, start, generation)"
	" select id, owner_id, account_id, provider, start, 1 from worker;"
	"insert into session_poll(session_id, provider) select id, driver from session;"
	"insert into account_circuit(account_id) select id from account";

START_TEST(test_browser_sees_only_its_own)
{
	static const char *const tables[] = {"account", "worker", "operation", "session", "session_poll", "account_circuit"};
	struct db *owner, *browser, *local;
	char sql[96];

	pg_copy(pg, "ways");
	owner = pg_db(pg, "owner", "ways");
	browser = pg_db(pg, "browser", "ways");
	local = pg_db(pg, "local", "ways");
	pg_sql(owner, two_ways, NULL);
	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		snprintf(sql, sizeof(sql), "select count(*) from %s", tables[i]);
		ck_assert_int_eq(pg_int(owner, sql), 2);
		ck_assert_int_eq(pg_int(browser, sql), 1);
	}
	pg_sql(browser, "update account set status = 'needs_human'", NULL);
	pg_sql(browser, "update session_poll set failures = 3", NULL);
	pg_sql(browser, "delete from account_circuit", NULL);
	ck_assert_int_eq(pg_int(owner, "select count(*) from account where status = 'needs_human'"), 1);
	ck_assert_int_eq(pg_int(owner, "select count(*) from session_poll where failures = 3"), 1);
	ck_assert_int_eq(pg_int(owner, "select count(*) from account_circuit"), 1);
	ck_assert_int_eq(pg_int(local, "select count(*) from account"), 2);
	ck_assert_int_eq(pg_int(local, "select count(*) from worker"), 0);
	db_close(owner);
	db_close(browser);
	db_close(local);
}
END_TEST

/* Where a policy hides rows nothing fails: nothing happens. */
START_TEST(test_keys_of_another_purpose_stay)
{
	struct db *owner, *secrets, *prov;

	pg_copy(pg, "keys");
	owner = pg_db(pg, "owner", "keys");
	secrets = pg_db(pg, "secrets", "keys");
	prov = pg_db(pg, "provisioner", "keys");
	pg_sql(secrets, "insert into sealing_key(id, public_key, state, purpose) values (1, decode(repeat('01', 32), 'hex'), 'new', 'secrets')", NULL);
	pg_sql(prov, "insert into sealing_key(id, public_key, state) values (2, decode(repeat('02', 32), 'hex'), 'new')", NULL);
	pg_sql(secrets, "update sealing_key set state = 'active'", NULL);
	ck_assert_int_eq(pg_int(owner, "select count(*) from sealing_key where state = 'active' and id = 1"), 1);
	ck_assert_int_eq(pg_int(owner, "select count(*) from sealing_key where state = 'active'"), 1);
	pg_sql(prov, "update sealing_key set state = 'retired'", NULL);
	ck_assert_int_eq(pg_int(owner, "select count(*) from sealing_key where state = 'retired' and id = 2"), 1);
	ck_assert_int_eq(pg_int(owner, "select count(*) from sealing_key where state = 'active'"), 1);
	pg_sql(secrets, "insert into instance(name, purpose, keys) values ('s', 'secrets', '{1}')", NULL);
	pg_sql(prov, "insert into instance(name, purpose, keys) values ('p', 'credentials', '{2}')", NULL);
	pg_sql(prov, "delete from instance", NULL);
	ck_assert_int_eq(pg_int(owner, "select count(*) from instance where name = 's'"), 1);
	ck_assert_int_eq(pg_int(owner, "select count(*) from instance"), 1);
	db_close(owner);
	db_close(secrets);
	db_close(prov);
}
END_TEST

START_TEST(test_one_open_operation_and_one_session_a_worker)
{
	struct db *owner;
	struct error e = {0};
	const char *session = "insert into session(worker_id, owner_id, account_id, provider, generation) values (1, 1, 1, 'local', 1)";

	pg_copy(pg, "unique");
	owner = pg_db(pg, "owner", "unique");
	pg_sql(owner, two_workers, NULL);
	ck_assert_int_eq(db_exec_text(owner, "insert into operation(worker_id, provider, kind, generation) values (1, 'local', 'stop', 2)", NULL, &e),
			 ERR_CONFLICT);
	pg_sql(owner, session, NULL);
	ck_assert_int_eq(db_exec_text(owner, session, NULL, &e), ERR_CONFLICT);
	pg_sql(owner, "update session set state = 'ended'", NULL);
	pg_sql(owner, session, NULL);
	db_close(owner);
}
END_TEST

START_TEST(test_partitions_leave_by_age_only_when_nothing_of_them_is_alive)
{
	struct db *owner, *prov;

	pg_copy(pg, "parts");
	owner = pg_db(pg, "owner", "parts");
	prov = pg_db(pg, "provisioner", "parts");
	ck_assert_int_eq(pg_int(prov, "select (partition_drop(30, 365) is null)::int"), 1);
	pg_sql(owner,
	       "do $$ begin execute format('create table job_20260110 partition of job for values from (%s) to (%s)',"
	       " day_id('2026-01-10'), day_id('2026-01-11')); end $$", NULL);
	pg_sql(owner, "insert into lane(type, accelerator, gpus, owner_id, priority) values (0, '', 1, 1, 5);"
		      "insert into job_ready(lane, id, owner_id, max_attempts) select 1, day_id('2026-01-10') + 5, 1, 3", NULL);
	ck_assert_int_eq(pg_int(prov, "select (partition_drop(30, 365) is null)::int"), 1);
	pg_sql(owner, "delete from job_ready", NULL);
	ck_assert_int_eq(pg_int(prov, "select (partition_drop(30, 365) = 'job_20260110')::int"), 1);
	ck_assert_int_eq(pg_int(prov, "select (partition_drop(30, 365) is null)::int"), 1);
	ck_assert_int_ge(pg_int(prov, "select partition_ahead(10)"), 8);
	db_close(owner);
	db_close(prov);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("grants");
	TCase *t = tcase_create("grants");
	SRunner *sr;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, test_role_may_not, 0, (int)ARRAY_LEN(refusals));
	tcase_add_test(t, test_public_may_nothing);
	tcase_add_test(t, test_local_sees_only_its_own);
	tcase_add_test(t, test_browser_sees_only_its_own);
	tcase_add_test(t, test_keys_of_another_purpose_stay);
	tcase_add_test(t, test_one_open_operation_and_one_session_a_worker);
	tcase_add_test(t, test_partitions_leave_by_age_only_when_nothing_of_them_is_alive);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
