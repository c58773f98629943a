/*
 * Secrets of persons: what their owner may do over the API, and the one route that
 * gives values out, asked by the right session, by wrong ones and at wrong times.
 */
#include <check.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base/crypto.h"
#include "domain/keys.h"
#include "domain/secret.h"
#include "people.h"
#include "web.h"
#include "world.h"

static struct pg *pg;
static struct world *w;
static struct web api, role;
static char keys[96];
static int64_t worker; /* olga's */

#define SECRETS "/api/gpu/secrets"
#define TOKEN "gps_the-session-of-this-test"
#define VALUE "s3cret \\\"value\\\" \\u00e9\\n2nd"    /* as JSON */
#define VALUE_PLAIN "s3cret \"value\" \u00e9\n2nd" /* as it is */

/* ---- set-up ---------------------------------------------------------------- */

static void give_token(int64_t of, const char *token)
{
	uint8_t hash[CRYPTO_HASH];
	char hex[2 * CRYPTO_HASH + 1];

	crypto_hash(str_of(token), hash);
	crypto_hex(hash, sizeof(hash), hex);
	world_sql(w, "update session set token_hash = decode('%s', 'hex') where worker_id = %lld and state <> 'ended'", hex, (long long)of);
}

static void make_key(void)
{
	struct db *db = pg_db(pg, "secrets", w->name);
	struct error e = {0};
	int64_t id;

	ck_assert_msg(keys_init(db, keys, SEAL_SECRETS, &id, &e) == OK, "%s", e.msg);
	db_close(db);
}

static void start(void)
{
	struct db *owner;
	char name[32];

	snprintf(name, sizeof(name), "secrets_%d", (int)getpid());
	w = world_open(pg, name);
	owner = pg_db(pg, "owner", name);
	people_make(owner);
	db_close(owner);
	worker = world_worker(w, world_account(w, people_id(OPERATOR), "local", "none", 0), "healthy", "{cpu}", 4);
	web_start(&api, "api", pg_conninfo(pg, "web", name), 2);
	web_start(&role, "secrets", pg_conninfo(pg, "secrets", name), 2);
	snprintf(keys, sizeof(keys), "%s/keys", role.dir);
	ck_assert_int_eq(mkdir(keys, 0700), 0);
	make_key();
}

static void stop(void)
{
	ck_assert_int_eq(web_stop(&api), 0);
	ck_assert_int_eq(web_stop(&role), 0);
	ck_assert_ptr_null(strstr(web_log(&api), "s3cret"));
	ck_assert_ptr_null(strstr(web_log(&role), "s3cret"));
	ck_assert_ptr_null(strstr(web_log(&role), TOKEN));
	world_close(w);
}

/* ---- calls ----------------------------------------------------------------- */

static int ask(enum person p, const char *method, const char *path, const char *body, struct reply *ret)
{
	struct call c = {.method = method, .path = path, .token = people_token(p), .body = str_of(body)};

	reply_free(ret);
	fcgi_call(api.socket, &c, ret);
	return ret->status;
}

/* A call is made once: Check's macros evaluate twice when they fail. */
#define is(call, want)                                                              \
	do {                                                                        \
		int got_ = (call);                                                  \
		ck_assert_msg(got_ == (want), "%s: %d, not %d", #call, got_, want); \
	} while (0)

static int status(enum person p, const char *method, const char *path, const char *body)
{
	cleanup_reply struct reply r = {0};

	return ask(p, method, path, body, &r);
}

static void put(enum person p, const char *name)
{
	is(status(p, "POST", SECRETS, world_text(w, "{\"name\":\"%s\",\"value\":\"" VALUE "\"}", name)), 201);
}

static int64_t submit(enum person p, const char *secrets)
{
	cleanup_reply struct reply r = {0};
	int64_t id = 0;
	int got = ask(p, "POST", "/api/gpu/jobs",
		      world_text(w, "{\"type\":\"script\",\"payload\":{\"code\":\"x\"},\"secrets\":%s}", secrets), &r);

	ck_assert_msg(got == 202, "%s", r.body.ptr);
	ck_assert(str_to_id(json_str(r.json, "jobId"), &id));
	return id;
}

/* A job of olga's that names secrets and runs in the session of her worker; its lease. */
static const char *running(const char *secrets, int64_t *job)
{
	int64_t id = submit(OPERATOR, secrets);

	world_sql(w, "update session set token_hash = sha256(worker_id::text::bytea) where state <> 'ended'"); /* as world_claim() wants */
	world_claim(w, id, worker);
	give_token(worker, TOKEN);
	if (job)
		*job = id;
	return world_lease(w, id);
}

static int give(const char *token, int64_t of, const char *lease, struct reply *ret)
{
	const char *path = world_text(w, "/api/gpu/workers/%lld/secrets", (long long)of);
	struct call c = {.method = "POST", .path = path, .token = token, .body = str_of(world_text(w, "{\"lease\":\"%s\",\"new\":1}", lease)),
			 .headers = {{"REMOTE_ADDR", "192.0.2.7"}}};

	reply_free(ret);
	fcgi_call(role.socket, &c, ret);
	return ret->status;
}

/* ---- the owner's side ------------------------------------------------------ */

START_TEST(test_made_listed_replaced_removed)
{
	cleanup_reply struct reply r = {0};

	is(ask(OPERATOR, "POST", SECRETS, "{\"name\":\"HF_TOKEN\",\"value\":\"" VALUE "\"}", &r), 201);
	ck_assert_str_eq(json_cstr(r.json, "name"), "HF_TOKEN");
	ck_assert_ptr_null(strstr(r.body.ptr, "s3cret"));
	put(OPERATOR, "A_1");
	is(ask(OPERATOR, "GET", SECRETS, NULL, &r), 200);
	ck_assert_int_eq(json_len(json_get(r.json, "secrets")), 2);
	ck_assert_str_eq(json_as_str(json_path(r.json, "secrets.0.name")).ptr, "A_1");
	ck_assert_int_eq(json_as_str(json_path(r.json, "secrets.1.createdAt")).len, 24);
	ck_assert(json_has(json_path(r.json, "secrets.1"), "lastUsedAt") && !json_path(r.json, "secrets.1.lastUsedAt"));
	ck_assert_ptr_null(strstr(r.body.ptr, "s3cret"));
	is(ask(OPERATOR, "POST", SECRETS, "{\"name\":\"A_1\",\"value\":\"other\"}", &r), 200);
	ck_assert_int_eq(world_int(w, "select sealed_version from user_secret where name = 'A_1'"), 2);
	is(status(OPERATOR, "DELETE", SECRETS "/A_1", NULL), 204);
	is(status(OPERATOR, "DELETE", SECRETS "/A_1", NULL), 404);
	ck_assert_int_eq(world_int(w, "select count(*) from user_secret"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from audit where action like 'secrets.%%' and object in ('secret A_1', 'secret HF_TOKEN')"), 4);
	ck_assert_int_eq(world_int(w, "select count(*) from audit where detail::text like '%%s3cret%%' or object like '%%s3cret%%'"), 0);
}
END_TEST

START_TEST(test_nobody_else_sees_uses_or_removes)
{
	static const enum person others[] = {OTHER, ADMIN};

	put(OPERATOR, "MINE");
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		cleanup_reply struct reply r = {0};

		is(ask(others[i], "GET", SECRETS, NULL, &r), 200);
		ck_assert_int_eq(json_len(json_get(r.json, "secrets")), 0);
		is(ask(others[i], "POST", "/api/gpu/jobs",
				     "{\"type\":\"script\",\"payload\":{\"code\":\"x\"},\"secrets\":[\"MINE\"]}", &r), 400);
		ck_assert(reply_names(&r, "secrets.0"));
		is(status(others[i], "DELETE", SECRETS "/MINE", NULL), 404);
	}
	is(status(VIEWER, "GET", SECRETS, NULL), 403);
	is(status(VIEWER, "POST", SECRETS, "{\"name\":\"X\",\"value\":\"x\"}"), 403);
	is(status(NOBODY, "GET", SECRETS, NULL), 401);
	ck_assert_int_eq(world_int(w, "select count(*) from user_secret where owner_id = %lld", (long long)people_id(OPERATOR)), 1);
}
END_TEST

static const struct {
	const char *name;
	bool good;
} names[] = {
	{"A", true}, {"_", true}, {"HF_TOKEN2", true}, {"LDAP_PASSWORD", true}, {"PATHS", true}, {"MY_PATH", true},
	{"", false}, {"a", false}, {"1A", false}, {"A-B", false}, {"A B", false}, {"A=B", false}, {"\u00c4", false}, {"A\\n", false},
	{"PATH", false}, {"HOME", false}, {"TMPDIR", false}, {"LD_PRELOAD", false}, {"LD_", false}, {"PYTHONPATH", false}, {"PYTHON", false},
	{"GPUPOOL_RESULT", false}, {"BASH_ENV", false}, {"ENV", false}, {"CUDA_VISIBLE_DEVICES", false}, {"USER", false},
};

START_TEST(test_names)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		cleanup_reply struct reply r = {0};
		int got = ask(OPERATOR, "POST", SECRETS, world_text(w, "{\"name\":\"%s\",\"value\":\"x\"}", names[i].name), &r);

		ck_assert_msg(got == (names[i].good ? 201 : 400), "%s: %d", names[i].name, got);
		if (!names[i].good)
			ck_assert_msg(reply_names(&r, "name"), "%s: %s", names[i].name, r.body.ptr);
	}
}
END_TEST

START_TEST(test_bounds)
{
	cleanup_reply struct reply r = {0};
	char *big = arena_alloc(&w->arena, 2 * SECRET_VALUE_MAX + 64);
	char name[SECRET_NAME_MAX + 2];

	memset(name, 'N', sizeof(name));
	name[SECRET_NAME_MAX] = '\0';
	put(OPERATOR, name);
	name[SECRET_NAME_MAX] = 'N';
	name[SECRET_NAME_MAX + 1] = '\0';
	is(status(OPERATOR, "POST", SECRETS, world_text(w, "{\"name\":\"%s\",\"value\":\"x\"}", name)), 400);
	memset(big, 'v', SECRET_VALUE_MAX + 1);
	big[SECRET_VALUE_MAX + 1] = '\0';
	is(ask(OPERATOR, "POST", SECRETS, world_text(w, "{\"name\":\"BIG\",\"value\":\"%s\"}", big), &r), 400);
	ck_assert(reply_names(&r, "value"));
	ck_assert_ptr_null(strstr(r.body.ptr, "vvv"));
	is(status(OPERATOR, "POST", SECRETS, world_text(w, "{\"name\":\"BIG\",\"value\":\"%s\"}", big + 1)), 201);
	is(status(OPERATOR, "POST", SECRETS, "{\"name\":\"E\",\"value\":\"\"}"), 400);
	is(status(OPERATOR, "POST", SECRETS, "{\"name\":\"E\",\"value\":\"a\\u0000b\"}"), 400);
	is(status(OPERATOR, "POST", SECRETS, "{\"name\":\"E\",\"value\":7}"), 400);
	is(status(OPERATOR, "POST", SECRETS, "{\"name\":\"E\"}"), 400);
	world_sql(w, "insert into user_secret(owner_id, name, sealed, key_id) select %lld, 'S' || g, '\\x00', k.id "
		     "from generate_series(1, %d) g, sealing_key k", (long long)people_id(OTHER), SECRETS_MAX);
	is(status(OTHER, "POST", SECRETS, "{\"name\":\"ONE_MORE\",\"value\":\"x\"}"), 409);
	is(status(OTHER, "POST", SECRETS, "{\"name\":\"S1\",\"value\":\"x\"}"), 200);
}
END_TEST

/* A hash of a body with a weak secret would be as good as the secret. */
START_TEST(test_no_hash_of_the_body_is_kept)
{
	struct call c = {.method = "POST", .path = SECRETS, .token = people_token(OPERATOR), .body = STR("{\"name\":\"PIN\",\"value\":\"1234\"}"),
			 .headers = {{"HTTP_IDEMPOTENCY_KEY", "k"}}};
	cleanup_reply struct reply r = {0};

	fcgi_call(api.socket, &c, &r);
	ck_assert_int_eq(r.status, 201);
	ck_assert_int_eq(world_int(w, "select count(*) from idempotency"), 0);
}
END_TEST

START_TEST(test_without_a_key_it_says_so)
{
	cleanup_reply struct reply r = {0};

	world_sql(w, "delete from sealing_key");
	is(ask(OPERATOR, "POST", SECRETS, "{\"name\":\"A\",\"value\":\"x\"}", &r), 503);
	ck_assert_ptr_nonnull(strstr(json_cstr(r.json, "detail"), "gpupool keys init --purpose=secrets"));
}
END_TEST

START_TEST(test_jobs_name_them)
{
	cleanup_reply struct reply r = {0};
	int64_t id;

	put(OPERATOR, "A");
	put(OPERATOR, "B");
	id = submit(OPERATOR, "[\"B\",\"A\"]");
	is(ask(OPERATOR, "GET", world_text(w, "/api/gpu/jobs/%lld", (long long)id), NULL, &r), 200);
	ck_assert_str_eq(json_as_str(json_path(r.json, "secrets.0")).ptr, "B");
	ck_assert_int_eq(json_len(json_get(r.json, "secrets")), 2);
	id = submit(OPERATOR, "[]");
	is(ask(OPERATOR, "GET", world_text(w, "/api/gpu/jobs/%lld", (long long)id), NULL, &r), 200);
	ck_assert_int_eq(json_len(json_get(r.json, "secrets")), 0);
	is(ask(OPERATOR, "POST", "/api/gpu/jobs/batch",
			     "{\"jobs\":[{\"type\":\"script\",\"payload\":{\"code\":\"x\"},\"secrets\":[\"A\"]},"
			     "{\"type\":\"script\",\"payload\":{\"code\":\"x\"},\"secrets\":[\"A\",\"C\"]}]}", &r), 400);
	ck_assert(reply_names(&r, "jobs.1.secrets.1") && !reply_names(&r, "jobs.0.secrets.0"));
	is(ask(OPERATOR, "POST", "/api/gpu/jobs",
			     "{\"type\":\"script\",\"payload\":{\"code\":\"x\",\"env\":{\"A\":\"x\"}},\"secrets\":[\"A\",\"B\",\"B\",\"PATH\"]}", &r), 400);
	ck_assert(reply_names(&r, "secrets.0") && reply_names(&r, "secrets.2") && reply_names(&r, "secrets.3"));
	ck_assert_int_eq(world_int(w, "select count(*) from job"), 2);
}
END_TEST

/* ---- the session's side ---------------------------------------------------- */

START_TEST(test_the_session_that_holds_the_lease_gets_them)
{
	cleanup_reply struct reply r = {0};
	const char *lease;
	int64_t job;

	put(OPERATOR, "HF_TOKEN");
	put(OPERATOR, "OTHER_ONE");
	put(OTHER, "HF_TOKEN"); /* another person's of the same name */
	lease = running("[\"HF_TOKEN\"]", &job);
	ck_assert_msg(give(TOKEN, worker, lease, &r) == 200, "%s", r.body.ptr);
	ck_assert_str_eq(json_cstr(json_get(r.json, "secrets"), "HF_TOKEN"), VALUE_PLAIN);
	ck_assert_int_eq(json_len(json_get(r.json, "secrets")), 1);
	ck_assert_str_eq(reply_header(&r, "Cache-Control"), "no-store");
	ck_assert_int_eq(world_int(w, "select count(*) from user_secret where last_used_at is not null"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from user_secret where last_used_at is not null and owner_id = %lld and name = 'HF_TOKEN'",
				   (long long)people_id(OPERATOR)), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from audit where action = 'agents.secrets' and object = 'job %lld' and user_id = %lld "
				      "and address = '192.0.2.7' and detail ->> 'workerId' = '%lld' and detail -> 'secrets' = '[\"HF_TOKEN\"]'",
				   (long long)job, (long long)people_id(OPERATOR), (long long)worker), 1);
	/* Again, as after an answer that was lost. */
	is(give(TOKEN, worker, lease, &r), 200);
	ck_assert_int_eq(world_int(w, "select count(*) from audit where action = 'agents.secrets'"), 2);
}
END_TEST

START_TEST(test_a_job_without_secrets_gets_none)
{
	cleanup_reply struct reply r = {0};
	const char *lease;

	put(OPERATOR, "A");
	lease = running("[]", NULL);
	is(give(TOKEN, worker, lease, &r), 200);
	ck_assert_str_eq(r.body.ptr, "{\"secrets\":{}}");
	ck_assert_int_eq(world_int(w, "select count(*) from audit where action = 'agents.secrets'"), 0);
}
END_TEST

START_TEST(test_wrong_session_worker_or_lease)
{
	cleanup_reply struct reply r = {0};
	int64_t other = world_worker(w, world_account(w, people_id(OTHER), "local", "none", 0), "healthy", "{cpu}", 1);
	const char *lease, *none = "00000000-0000-4000-8000-000000000000";

	put(OPERATOR, "A");
	lease = running("[\"A\"]", NULL);
	give_token(other, "gps_of-another");
	is(give("gps_of-another", other, lease, &r), 410);
	is(give("gps_of-another", worker, lease, &r), 401);
	is(give(TOKEN, other, lease, &r), 401);
	is(give("gps_nobody's", worker, lease, &r), 401);
	is(give(NULL, worker, lease, &r), 401);
	is(give(people_token(OPERATOR), worker, lease, &r), 401);
	is(give(people_token(ADMIN), worker, lease, &r), 401);
	is(give(TOKEN, worker, none, &r), 410);
	is(give(TOKEN, worker, "x", &r), 400);
	ck_assert_ptr_null(strstr(r.body.ptr, "s3cret"));
	ck_assert_int_eq(world_int(w, "select count(*) from user_secret where last_used_at is not null"), 0);
}
END_TEST

START_TEST(test_when_the_lease_or_the_session_is_over)
{
	cleanup_reply struct reply r = {0};
	const char *lease;
	int64_t job;

	put(OPERATOR, "A");
	lease = running("[\"A\"]", &job);
	/* Past its time, and not yet another's: still held. */
	world_sql(w, "update job_lease set until = now() - interval '1 hour'");
	is(give(TOKEN, worker, lease, &r), 200);
	world_sql(w, "update session set token_hash = sha256(worker_id::text::bytea)");
	world_end(w, job, JOB_SUCCEEDED, NULL);
	give_token(worker, TOKEN);
	is(give(TOKEN, worker, lease, &r), 410);
	lease = running("[\"A\"]", &job);
	is(status(OPERATOR, "POST", world_text(w, "/api/gpu/jobs/%lld/cancel", (long long)job), NULL), 200);
	is(give(TOKEN, worker, lease, &r), 410);
	lease = running("[\"A\"]", &job);
	world_sql(w, "update session set state = 'ended', ended_at = now()");
	is(give(TOKEN, worker, lease, &r), 410);
}
END_TEST

START_TEST(test_one_that_is_gone_is_named)
{
	cleanup_reply struct reply r = {0};
	const char *lease;

	put(OPERATOR, "A");
	put(OPERATOR, "B");
	lease = running("[\"A\",\"B\"]", NULL);
	is(status(OPERATOR, "DELETE", SECRETS "/B", NULL), 204);
	is(give(TOKEN, worker, lease, &r), 200);
	ck_assert_str_eq(r.body.ptr, "{\"secrets\":{},\"missing\":[\"B\"]}");
	ck_assert_int_eq(world_int(w, "select count(*) from user_secret where last_used_at is not null"), 0);
}
END_TEST

/* Who can write rows moves a box to another owner or name: it opens nowhere. */
START_TEST(test_a_moved_box_does_not_open)
{
	cleanup_reply struct reply r = {0};
	const char *lease;

	put(OTHER, "A");
	put(OPERATOR, "A");
	put(OPERATOR, "B");
	world_sql(w, "update user_secret u set sealed = o.sealed from user_secret o where u.owner_id = %lld and o.owner_id = %lld and u.name = 'A'",
		  (long long)people_id(OPERATOR), (long long)people_id(OTHER));
	lease = running("[\"A\",\"B\"]", NULL);
	is(give(TOKEN, worker, lease, &r), 200);
	ck_assert_str_eq(r.body.ptr, "{\"secrets\":{},\"missing\":[\"A\"]}");
	ck_assert_ptr_nonnull(strstr(web_log(&role), "secret.open"));
	world_sql(w, "update user_secret u set sealed = o.sealed from user_secret o where u.owner_id = %lld and o.owner_id = u.owner_id "
		     "and u.name = 'A' and o.name = 'B'", (long long)people_id(OPERATOR));
	is(give(TOKEN, worker, lease, &r), 200);
	ck_assert_str_eq(r.body.ptr, "{\"secrets\":{},\"missing\":[\"A\"]}");
}
END_TEST

START_TEST(test_many_large_ones)
{
	cleanup_reply struct reply r = {0};
	cleanup_buf struct buf list = BUF_INIT(4096), value = BUF_INIT(1 << 20);
	const char *lease;

	for (int i = 0; i < SECRET_VALUE_MAX - 8; i++)
		buf_adds(&value, "\\t");
	for (int i = 0; i < JOB_SECRETS_MAX; i++) {
		is(status(OPERATOR, "POST", SECRETS, world_text(w, "{\"name\":\"N%d\",\"value\":\"%s\"}", i, value.ptr)), 201);
		buf_addf(&list, "%s\"N%d\"", i ? "," : "[", i);
	}
	buf_addc(&list, ']');
	lease = running(list.ptr, NULL);
	is(give(TOKEN, worker, lease, &r), 200);
	ck_assert_int_eq(json_len(json_get(r.json, "secrets")), JOB_SECRETS_MAX);
	ck_assert_int_eq(json_str(json_get(r.json, "secrets"), "N31").len, SECRET_VALUE_MAX - 8);
}
END_TEST

/* ---- the process ----------------------------------------------------------- */

START_TEST(test_other_roles_do_not_serve_it)
{
	struct web events;
	struct call c = {.method = "POST", .token = TOKEN};
	cleanup_reply struct reply a = {0}, b = {0}, d = {0};

	put(OPERATOR, "A");
	c.body = str_of(world_text(w, "{\"lease\":\"%s\"}", running("[\"A\"]", NULL)));
	c.path = world_text(w, "/api/gpu/workers/%lld/secrets", (long long)worker);
	web_start(&events, "events", pg_conninfo(pg, "events", w->name), 1);
	fcgi_call(api.socket, &c, &a);
	fcgi_call(events.socket, &c, &b);
	ck_assert_int_eq(a.status, 421);
	ck_assert_int_eq(b.status, 421);
	ck_assert_ptr_nonnull(strstr(json_cstr(a.json, "detail"), "--role=secrets"));
	c = (struct call){.path = "/api/gpu/me", .token = people_token(ADMIN)};
	fcgi_call(role.socket, &c, &d);
	ck_assert_int_eq(d.status, 421);
	ck_assert_int_eq(web_stop(&events), 0);
}
END_TEST

static bool announced(void *ctx)
{
	return world_int(w, "select count(*) from instance i join sealing_key k on k.id = any (i.keys) where i.purpose = 'secrets' and k.state = 'active'") >=
	       *(const int *)ctx;
}

static bool none_left(void *ctx)
{
	return world_int(w, "select count(*) from instance") == 0;
}

START_TEST(test_says_which_keys_it_has)
{
	int two = 2;

	/* It was started before its key was made, and looks again. */
	ck_assert(wait_for(announced, &two, 15000));
	world_sql(w, "insert into instance(name, purpose, seen_at) values ('dead', 'secrets', now() - interval '1 day')");
	kill(role.pid, SIGHUP); /* a new generation; the old ones say goodbye */
	ck_assert(wait_for(announced, &two, 15000));
	web_stop(&role);
	ck_assert(wait_for(none_left, NULL, 5000));
	web_start_again(&role, "secrets");
}
END_TEST

/* The private key went missing: that is an outage, not a missing secret. */
START_TEST(test_without_its_key_it_is_an_outage)
{
	cleanup_reply struct reply r = {0};
	const char *lease, *old = world_text(w, "%s", keys), *away = world_text(w, "%s.away", keys);

	put(OPERATOR, "A");
	lease = running("[\"A\"]", NULL);
	ck_assert_int_eq(rename(old, away), 0);
	is(give(TOKEN, worker, lease, &r), 503);
	ck_assert_ptr_nonnull(reply_header(&r, "Retry-After"));
	ck_assert_int_eq(rename(away, old), 0);
	is(give(TOKEN, worker, lease, &r), 200);
}
END_TEST

/* The process's memory is not another's of the same user to read. */
START_TEST(test_its_memory_is_closed)
{
	pid_t children[8];
	int n = web_children(&role, children, 8);
	char path[64];
	struct stat st;

	ck_assert_int_eq(n, 2);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "/proc/%d/mem", (int)children[i]);
		ck_assert_int_eq(stat(path, &st), 0);
		if (geteuid()) /* of one that may be dumped it is the user's own */
			ck_assert_int_eq(st.st_uid, 0);
		snprintf(path, sizeof(path), "/proc/%d/limits", (int)children[i]);
		FILE *f = fopen(path, "r");
		char line[256];
		bool seen = false;

		ck_assert_ptr_nonnull(f);
		while (fgets(line, sizeof(line), f))
			seen |= !strncmp(line, "Max core file size        0 ", 28);
		fclose(f);
		ck_assert(seen);
	}
}
END_TEST

/* How often the text is in what that process may write to. */
static int in_memory(pid_t pid, const char *text)
{
	char path[64], line[512], mode[8];
	unsigned long from, to;
	int found = 0;
	FILE *maps, *memory;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "r");
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	memory = fopen(path, "r");
	ck_assert(maps && memory);
	while (fgets(line, sizeof(line), maps)) {
		char *bytes, *at;
		size_t n;

		if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || mode[0] != 'r' || mode[1] != 'w' || to - from > 512UL << 20)
			continue;
		bytes = malloc(to - from);
		ck_assert_ptr_nonnull(bytes);
		n = fseek(memory, (long)from, SEEK_SET) ? 0 : fread(bytes, 1, to - from, memory);
		for (at = bytes; (at = memmem(at, n - (size_t)(at - bytes), text, strlen(text))); at++)
			found++;
		free(bytes);
	}
	fclose(maps);
	fclose(memory);
	return found;
}

static bool wiped(void *child)
{
	return in_memory(*(pid_t *)child, "s3cret") == 0;
}

/* After the answer was sent there is no value left in the process that gave it: it wipes what it sent
 * once that is sent, when we may have it already. */
START_TEST(test_memory_is_wiped)
{
	cleanup_reply struct reply r = {0};
	const char *lease;
	pid_t children[8];
	int n;

	if (geteuid())
		return; /* only root may look */
	put(OPERATOR, "A");
	ck_assert_int_eq(world_int(w, "select count(*) from user_secret"), 1);
	lease = running("[\"A\"]", NULL);
	for (int i = 0; i < 6; i++)
		is(give(TOKEN, worker, lease, &r), 200);
	n = web_children(&role, children, 8);
	ck_assert_int_eq(n, 2);
	for (int i = 0; i < n; i++) {
		ck_assert_msg(in_memory(children[i], "gpupool-web secrets/") > 0, "the search finds nothing");
		ck_assert_msg(wait_for(wiped, &children[i], 20000), "a value stays");
	}
}
END_TEST

struct turning {
	struct db *db;
	struct keys_rotation rotation;
	enum keys_step step;
	const char *lease;
};

static bool turned(void *ctx)
{
	struct turning *t = ctx;
	cleanup_reply struct reply r = {0};
	struct error e = {0};

	ck_assert_msg(keys_rotate(t->db, keys, SEAL_SECRETS, &t->rotation, &t->step, &e) == OK, "%s", e.msg);
	is(give(TOKEN, worker, t->lease, &r), 200);
	ck_assert_str_eq(json_cstr(json_get(r.json, "secrets"), "A"), VALUE_PLAIN);
	return t->step == KEYS_RETIRED;
}

/* Rotation: what was sealed to the old key opens while and after it is sealed anew. */
START_TEST(test_rotation)
{
	struct turning t = {.db = pg_db(pg, "secrets", w->name)};
	int two = 2;

	put(OPERATOR, "A");
	t.lease = running("[\"A\"]", NULL);
	ck_assert(wait_for(announced, &two, 15000));
	ck_assert(wait_for(turned, &t, 20000));
	ck_assert_int_eq(world_int(w, "select count(*) from user_secret u join sealing_key k on k.id = u.key_id where k.state = 'active'"), 1);
	ck_assert_int_eq(world_int(w, "select sealed_version from user_secret"), 1);
	put(OPERATOR, "B");
	ck_assert_int_eq(world_int(w, "select count(distinct key_id) from user_secret"), 1);
	db_close(t.db);
}
END_TEST

static TCase *tcase(Suite *s, const char *name)
{
	TCase *t = tcase_create(name);

	tcase_add_checked_fixture(t, start, stop);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	return t;
}

int main(void)
{
	Suite *s = suite_create("secrets");
	TCase *t;
	SRunner *sr;
	int failed;

	pg = pg_start();
	t = tcase(s, "owner");
	tcase_add_test(t, test_made_listed_replaced_removed);
	tcase_add_test(t, test_nobody_else_sees_uses_or_removes);
	tcase_add_test(t, test_names);
	tcase_add_test(t, test_bounds);
	tcase_add_test(t, test_no_hash_of_the_body_is_kept);
	tcase_add_test(t, test_without_a_key_it_says_so);
	tcase_add_test(t, test_jobs_name_them);
	t = tcase(s, "session");
	tcase_add_test(t, test_the_session_that_holds_the_lease_gets_them);
	tcase_add_test(t, test_a_job_without_secrets_gets_none);
	tcase_add_test(t, test_wrong_session_worker_or_lease);
	tcase_add_test(t, test_when_the_lease_or_the_session_is_over);
	tcase_add_test(t, test_one_that_is_gone_is_named);
	tcase_add_test(t, test_a_moved_box_does_not_open);
	tcase_add_test(t, test_many_large_ones);
	t = tcase(s, "process");
	tcase_add_test(t, test_other_roles_do_not_serve_it);
	tcase_add_test(t, test_says_which_keys_it_has);
	tcase_add_test(t, test_without_its_key_it_is_an_outage);
	tcase_add_test(t, test_its_memory_is_closed);
	tcase_add_test(t, test_memory_is_wiped);
	tcase_add_test(t, test_rotation);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
