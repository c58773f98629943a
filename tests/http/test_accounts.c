/* Accounts with credentials: what is taken, what is refused and where, and that nothing shows them again. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "call.h"
#include "cli/files.h"
#include "domain/keys.h"

static struct pg *pg;
static struct world *w;
static struct call_site c;
static struct principal root, ann, bob, eve;
static char keys[64];
static int64_t key;

#define ACCOUNTS "/api/gpu/accounts"
#define NOTEBOOKS "/api/gpu/workers/notebooks"
#define KEY "5ecre7c0ffee0123456789abcdef0123"
#define PAIR "{'username':'ann-k','key':'" KEY "'}"
#define KAGGLE(credentials) "{'provider':'kaggle','credentials':" credentials "}"

static void make_key(void)
{
	struct db *db = pg_db(pg, "provisioner", w->name);
	struct error e = {0};

	ck_assert_msg(keys_init(db, keys, SEAL_CREDENTIALS, &key, &e) == OK, "%s", e.msg);
	db_close(db);
}

static void open_site(void)
{
	char name[32];

	snprintf(name, sizeof(name), "accounts_%d", (int)getpid());
	snprintf(keys, sizeof(keys), "/tmp/gpupool-keys-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(keys));
	w = world_open(pg, name);
	root = world_user(w, "root", ROLE_ADMIN);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	bob = world_user(w, "bob", ROLE_OPERATOR);
	eve = world_user(w, "eve", ROLE_VIEWER);
	call_init(&c, w);
	c.config.public_url = "https://gpu.example.org";
	make_key();
}

static void close_site(void)
{
	call_done(&c);
	world_close(w);
	files_remove_tree(keys);
}

static int64_t count(const char *table)
{
	return world_int(w, "select count(*) from %s", table);
}

static int one(const struct principal *p, const char *method, int64_t id, const char *below, const char *body)
{
	return callf(&c, p, body, "%s " ACCOUNTS "/%lld%s", method, (long long)id, below);
}

static int64_t make(const struct principal *p, const char *credentials)
{
	ck_assert_int_eq(call(&c, p, "POST " ACCOUNTS, world_text(w, KAGGLE("%s"), credentials)), 201);
	return call_int(&c, "id");
}

/* What the provisioner would open. */
static void check_sealed(int64_t id, int64_t owner, const char *want)
{
	cleanup_rows struct rows rows = {0};
	cleanup_arena struct arena a;
	struct secret got = {0};
	struct error e = {0};
	enum err err;

	arena_init(&a, 1 << 20);
	pg_sql(w->super, world_text(w, "select sealed, key_id from account where id = %lld", (long long)id), &rows);
	err = sealed_open_credentials(keys, &(struct sealed_account){id, owner, "kaggle"}, row_i64(&rows, 0, "key_id"),
				      row_bytes(&rows, 0, "sealed", &a), &got, &e);
	ck_assert_msg(err == OK, "%s", e.msg);
	ck_assert_str_eq(got.ptr, want);
	secret_free(&got);
	ck_assert_int_eq(sealed_open_credentials(keys, &(struct sealed_account){id, owner + 1, "kaggle"}, row_i64(&rows, 0, "key_id"),
						 row_bytes(&rows, 0, "sealed", &a), &got, &e), ERR_FORBIDDEN);
}

/* No text column of any table holds it. */
static void check_nowhere(const char *secret)
{
	ck_assert_int_eq(world_int(w, "select count(*) from account t where t::text like '%%%s%%'", secret), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from worker t where t::text like '%%%s%%'", secret), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from audit t where t::text like '%%%s%%'", secret), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from event t where t::text like '%%%s%%'", secret), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from idempotency t where t::text like '%%%s%%'", secret), 0);
}

static bool is_null(const char *name)
{
	return json_has(c.json, name) && !json_get(c.json, name);
}

START_TEST(test_add_pair)
{
	int64_t id;

	ck_assert_int_eq(call(&c, &ann, "POST " ACCOUNTS, "{'provider':'kaggle','label':'mine','credentials':" PAIR "}"), 201);
	id = call_int(&c, "id");
	ck_assert_ptr_null(memmem(c.text.ptr, c.text.len, KEY, strlen(KEY)));
	ck_assert_ptr_null(memmem(c.text.ptr, c.text.len, "sealed", 6));
	ck_assert_str_eq(call_str(&c, "provider"), "kaggle");
	ck_assert_str_eq(call_str(&c, "label"), "mine");
	ck_assert_str_eq(call_str(&c, "status"), "unchecked");
	ck_assert_str_eq(call_str(&c, "quotaUrl"), world_text(w, "/api/gpu/quota?account=%lld", (long long)id));
	ck_assert(is_null("identity") && is_null("checkedAt") && is_null("reason"));
	ck_assert(json_bool(c.json, "hasCredentials", false) && !json_bool(c.json, "sharingAllowed", true));
	ck_assert(call_woke(&c, "gpupool_operations", "kaggle"));
	check_sealed(id, ann.user_id, "{\"username\":\"ann-k\",\"key\":\"" KEY "\"}");
	check_nowhere(KEY);
	ck_assert_int_eq(world_int(w, "select count(*) from audit where action = 'accounts.create' and object = 'account %lld'", (long long)id), 1);
	ck_assert_int_eq(world_int(w, "select key_id from account"), key);
}
END_TEST

/* ' is " here, so a text within the document escapes its own. */
static const struct {
	const char *credentials, *sealed;
} forms[] = {
	{"{'token':'KGAT_0123abc-_.'}", "{\"token\":\"KGAT_0123abc-_.\"}"},
	{"{'key':'" KEY "','username':'Ann_K.1'}", "{\"username\":\"Ann_K.1\",\"key\":\"" KEY "\"}"},
	{"' KGAT_0123abc\\n'", "{\"token\":\"KGAT_0123abc\"}"},
	{"'{\\'username\\':\\'ann\\',\\'key\\':\\'" KEY "\\'}\\n'", "{\"username\":\"ann\",\"key\":\"" KEY "\"}"},
	{"'\xef\xbb\xbf{\\'token\\':\\'KGAT_0123abc\\'}'", "{\"token\":\"KGAT_0123abc\"}"},
};

START_TEST(test_forms)
{
	check_sealed(make(&ann, forms[_i].credentials), ann.user_id, forms[_i].sealed);
}
END_TEST

static const struct {
	const char *body, *faults;
} bodies[] = {
	{"{'provider':'kaggle'}", "credentials"},
	{KAGGLE("null"), "credentials"},
	{KAGGLE("{}"), "credentials"},
	{KAGGLE("[]"), "credentials"},
	{KAGGLE("7"), "credentials"},
	{KAGGLE("''"), "credentials"},
	{KAGGLE("'" KEY "'"), "credentials"},
	{KAGGLE("'{'"), "credentials"},
	{KAGGLE("'[1]'"), "credentials"},
	{KAGGLE("'{\\'username\\':\\'ann\\'}'"), "credentials.key"},
	{KAGGLE("{'username':'ann'}"), "credentials.key"},
	{KAGGLE("{'key':'" KEY "'}"), "credentials.username"},
	{KAGGLE("{'username':'','key':'" KEY "'}"), "credentials.username"},
	{KAGGLE("{'username':'a b','key':'" KEY "'}"), "credentials.username"},
	{KAGGLE("{'username':'a\\u0022','key':'" KEY "'}"), "credentials.username"},
	{KAGGLE("{'username':'aaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbaaaaa','key':'" KEY "'}"), "credentials.username"},
	{KAGGLE("{'username':7,'key':'" KEY "'}"), "credentials.username"},
	{KAGGLE("{'username':'ann','key':7}"), "credentials.key"},
	{KAGGLE("{'username':'ann','key':'short'}"), "credentials.key"},
	{KAGGLE("{'username':'ann','key':'" KEY "\\n'}"), "credentials.key"},
	{KAGGLE("{'username':'ann','key':'" KEY KEY KEY KEY "0'}"), "credentials.key"},
	{KAGGLE("{'username':'ann','key':'" KEY "','token':'KGAT_0123abc'}"), "credentials"},
	{KAGGLE("{'token':'" KEY "'}"), "credentials.token"},
	{KAGGLE("{'token':'KGAT_'}"), "credentials.token"},
	{KAGGLE("{'token':'KGAT_12 34'}"), "credentials.token"},
	{KAGGLE("{'token':null}"), "credentials.token"},
	{KAGGLE("{'user':'ann','key':'" KEY "'}"), "credentials"},
	{KAGGLE("{'" KEY "':''}"), "credentials"},
	{"{'provider':'manual','credentials':" PAIR "}", "credentials"},
	{"{'provider':'nobody','credentials':" PAIR "}", "provider"},
};

START_TEST(test_refused_by_field)
{
	ck_assert_int_eq(call(&c, &ann, "POST " ACCOUNTS, bodies[_i].body), 400);
	ck_assert_msg(!strcmp(call_faults(&c), bodies[_i].faults), "%s: %s", bodies[_i].body, call_faults(&c));
	ck_assert_ptr_null(memmem(c.text.ptr, c.text.len, KEY, strlen(KEY)));
	ck_assert_int_eq(count("account") + count("audit"), 0);
	/* The same in a notebook's form. */
	if (strstr(bodies[_i].body, "'kaggle','credentials'") && !strstr(bodies[_i].body, ":null}")) {
		char *body = strdup(bodies[_i].body);

		body[strlen(body) - 1] = '\0';
		ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, world_text(w, "%s,'accelerator':'gpu'}", body)), 400);
		ck_assert_msg(!strcmp(call_faults(&c), bodies[_i].faults), "%s: %s", bodies[_i].body, call_faults(&c));
		ck_assert_ptr_null(memmem(c.text.ptr, c.text.len, KEY, strlen(KEY)));
		ck_assert_int_eq(count("account") + count("worker"), 0);
		free(body);
	}
}
END_TEST

START_TEST(test_one_a_person)
{
	int64_t id = make(&ann, PAIR);

	ck_assert_int_eq(call(&c, &ann, "POST " ACCOUNTS, KAGGLE(PAIR)), 409);
	ck_assert_str_eq(call_str(&c, "code"), "account_exists");
	ck_assert_int_eq(call_int(&c, "accountId"), id);
	ck_assert_int_eq(count("account"), 1);
	make(&bob, PAIR);
	ck_assert_int_eq(call(&c, &ann, "POST " ACCOUNTS, "{'provider':'manual'}"), 201);
	ck_assert_int_eq(call(&c, &ann, "POST " ACCOUNTS, "{'provider':'manual'}"), 409);
}
END_TEST

START_TEST(test_without_a_sealing_key)
{
	world_sql(w, "delete from sealing_key");
	ck_assert_int_eq(call(&c, &ann, "POST " ACCOUNTS, KAGGLE(PAIR)), 503);
	ck_assert_ptr_nonnull(strstr(call_str(&c, "detail"), "gpupool keys init"));
	ck_assert_int_eq(count("account"), 0);
}
END_TEST

START_TEST(test_status_is_of_the_present_credentials)
{
	int64_t id = make(&ann, PAIR);

	world_sql(w, "update account set status = 'ok', identity = 'ann-k', checked_at = '2026-11-24 10:00Z', checked_version = 1, check_at = now() + interval '1 hour'");
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 200);
	ck_assert_str_eq(call_str(&c, "status"), "ok");
	ck_assert_str_eq(call_str(&c, "identity"), "ann-k");
	ck_assert_str_eq(call_str(&c, "checkedAt"), "2026-11-24T10:00:00Z");
	world_sql(w, "update account set status = 'needs_human', reason = 'Kaggle refused the key.'");
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 200);
	ck_assert_str_eq(call_str(&c, "status"), "needs_human");
	ck_assert_str_eq(call_str(&c, "reason"), "Kaggle refused the key.");
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'label':'l','credentials':'KGAT_other5ecre7'}"), 200);
	ck_assert_str_eq(call_str(&c, "status"), "unchecked");
	ck_assert_str_eq(call_str(&c, "label"), "l");
	ck_assert(is_null("reason"));
	ck_assert_int_eq(count("account where sealed_version = 2 and checked_version = 1 and check_at <= now()"), 1);
	check_sealed(id, ann.user_id, "{\"token\":\"KGAT_other5ecre7\"}");
	check_nowhere("other5ecre7");
	ck_assert_int_eq(count("audit where action = 'accounts.change' and detail->>'credentials' = 'set' and detail->>'label' = 'l'"), 1);
	/* Refused: all as it was. */
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'label':'m','credentials':{'token':'x'}}"), 400);
	ck_assert_str_eq(call_faults(&c), "credentials.token");
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'credentials':null}"), 400);
	ck_assert_int_eq(count("account where sealed_version = 2 and label = 'l'"), 1);
	/* Of another: an admin may replace, and they stay bound to the owner. */
	ck_assert_int_eq(one(&bob, "PATCH", id, "", "{'credentials':" PAIR "}"), 404);
	ck_assert_int_eq(one(&root, "PATCH", id, "", "{'credentials':" PAIR "}"), 200);
	check_sealed(id, ann.user_id, "{\"username\":\"ann-k\",\"key\":\"" KEY "\"}");
}
END_TEST

START_TEST(test_check_now)
{
	int64_t id = make(&ann, PAIR), manual;

	world_sql(w, "update account set check_at = now() + interval '1 day', checked_version = 1, checked_at = now() - interval '1 hour'");
	ck_assert_int_eq(one(&ann, "POST", id, "/check", NULL), 202);
	ck_assert(call_woke(&c, "gpupool_operations", "kaggle"));
	ck_assert_int_eq(count("account where check_at <= now()"), 1);
	/* Just asked: not again within half a minute. */
	world_sql(w, "update account set check_at = now() + interval '1 day', checked_at = now()");
	ck_assert_int_eq(one(&ann, "POST", id, "/check", NULL), 202);
	ck_assert_int_eq(count("account where check_at between now() + interval '20 s' and now() + interval '31 s'"), 1);
	ck_assert_int_eq(one(&bob, "POST", id, "/check", NULL), 404);
	ck_assert_int_eq(one(&eve, "POST", id, "/check", NULL), 403);
	ck_assert_int_eq(one(&root, "POST", id, "/check", NULL), 202);
	ck_assert_int_eq(call(&c, &ann, "POST " ACCOUNTS, "{'provider':'manual'}"), 201);
	manual = call_int(&c, "id");
	ck_assert_int_eq(one(&ann, "POST", manual, "/check", NULL), 409);
}
END_TEST

START_TEST(test_sharing_is_refused_by_the_terms)
{
	int64_t id = make(&ann, PAIR);

	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'sharing':'all'}"), 409);
	ck_assert_str_eq(call_str(&c, "code"), "sharing_not_allowed");
	ck_assert_ptr_nonnull(strstr(call_str(&c, "detail"), "2026-11-24"));
	ck_assert_int_eq(count("account where sharing = 'none'"), 1);
}
END_TEST

START_TEST(test_delete)
{
	int64_t id = make(&ann, PAIR), again;

	ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, "{'provider':'kaggle','accelerator':'gpu','title':'x','autoStart':false}"), 202);
	ck_assert_int_eq(call_int(&c, "accountId"), id);
	ck_assert_int_eq(one(&bob, "DELETE", id, "", NULL), 404);
	/* Its notebooks go first, and its credentials are kept just so long. */
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(one(&ann, "DELETE", id, "", NULL), 202);
		ck_assert_str_eq(call_str(&c, "status"), "deleting");
		ck_assert_ptr_nonnull(strstr(call_str(&c, "reason"), "not deleted yet: 1"));
	}
	ck_assert_int_eq(count("worker where desired = 'deleted' and generation = 2"), 1);
	ck_assert_int_eq(count("operation where state = 'open' and kind = 'delete'"), 1);
	ck_assert_int_eq(count("account where sealed is not null and deleting_at is not null and deleted_at is null"), 1);
	ck_assert_int_eq(count("event where topic = 'account' and what = 'deleting'"), 2);
	/* Nothing new begins there; what is needed to end the old may still be told. */
	ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, "{'provider':'kaggle','accelerator':'gpu','title':'y'}"), 409);
	ck_assert_str_eq(call_faults(&c), "accountId");
	ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, "{'provider':'kaggle','accelerator':'gpu','credentials':" PAIR "}"), 409);
	ck_assert_int_eq(call(&c, &ann, "POST " ACCOUNTS, KAGGLE(PAIR)), 409);
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'credentials':" PAIR "}"), 200);
	world_sql(w, "update account set status = 'needs_human', reason = 'Revoked.', checked_version = sealed_version");
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 200);
	ck_assert_str_eq(call_str(&c, "status"), "deleting");
	ck_assert_str_eq(call_str(&c, "reason"), "Revoked.");
	ck_assert_str_eq(call_str(&c, "reasonCode"), "credentials");
	world_sql(w, "update worker set state = 'deleted', deleted_at = now()");
	ck_assert_int_eq(one(&ann, "DELETE", id, "", NULL), 204);
	ck_assert_int_eq(count("account where sealed is null and key_id is null and deleted_at is not null"), 1);
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 404);
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'label':'x'}"), 404);
	ck_assert_int_eq(one(&ann, "POST", id, "/check", NULL), 404);
	ck_assert_int_eq(one(&ann, "DELETE", id, "", NULL), 404);
	ck_assert_int_eq(call(&c, &ann, "GET " ACCOUNTS, NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "accounts")), 0);
	ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, "{'provider':'kaggle','accelerator':'gpu'}"), 400);
	ck_assert_str_eq(call_faults(&c), "accountId");
	/* It may come again, and go again; one that never had a notebook leaves nothing. */
	again = make(&ann, PAIR);
	ck_assert_int_ne(again, id);
	ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, "{'provider':'kaggle','accelerator':'gpu','title':'x','autoStart':false}"), 202);
	world_sql(w, "update worker set state = 'deleted', deleted_at = now()");
	ck_assert_int_eq(one(&ann, "DELETE", again, "", NULL), 204);
	ck_assert_int_eq(count("account where deleted_at is not null"), 2);
	again = make(&ann, PAIR);
	ck_assert_int_eq(one(&ann, "DELETE", again, "", NULL), 204);
	ck_assert_int_eq(count("account"), 2);
	/* What cannot be ended there any more is given up. */
	again = make(&ann, PAIR);
	ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, "{'provider':'kaggle','accelerator':'gpu','title':'x','autoStart':false}"), 202);
	ck_assert_int_eq(one(&ann, "DELETE", again, "?abandon=true", NULL), 202);
	ck_assert_int_eq(count("account where sealed is null and key_id is null and deleting_at is not null and deleted_at is null"), 1);
	ck_assert_int_eq(one(&ann, "DELETE", again, "?abandon=perhaps", NULL), 400);
	/* Notebooks of others are not one's own to delete. */
	world_sql(w, "update worker set owner_id = %lld where state <> 'deleted'", (long long)bob.user_id);
	ck_assert_int_eq(one(&ann, "DELETE", again, "", NULL), 409);
}
END_TEST

START_TEST(test_who_sees_what)
{
	int64_t id = make(&ann, PAIR);

	ck_assert_int_eq(one(&bob, "GET", id, "", NULL), 404);
	ck_assert_int_eq(one(&eve, "GET", id, "", NULL), 403);
	ck_assert_int_eq(one(&root, "GET", id, "", NULL), 200);
	ck_assert_ptr_null(memmem(c.text.ptr, c.text.len, KEY, strlen(KEY)));
	ck_assert_int_eq(call(&c, &eve, "POST " ACCOUNTS, KAGGLE(PAIR)), 403);
}
END_TEST

START_TEST(test_replayed_without_its_secret)
{
	c.idempotency_key = "k";
	ck_assert_int_eq(call(&c, &ann, "POST " ACCOUNTS, KAGGLE(PAIR)), 201);
	c.idempotency_key = "k";
	ck_assert_int_eq(call(&c, &ann, "POST " ACCOUNTS, KAGGLE(PAIR)), 201);
	ck_assert_int_eq(count("account"), 1);
	/* The stored hash is of what is no secret: nobody can try values against it. */
	c.idempotency_key = "k";
	ck_assert_int_eq(call(&c, &ann, "POST " ACCOUNTS, KAGGLE("'KGAT_0123abc'")), 201);
	c.idempotency_key = "k";
	ck_assert_int_eq(call(&c, &ann, "POST " ACCOUNTS, "{'provider':'kaggle','label':'x','credentials':" PAIR "}"), 422);
	check_nowhere(KEY);
}
END_TEST

/* What the process says, at its most talkative. */
START_TEST(test_log_says_nothing_of_it)
{
	cleanup_buf struct buf text = BUF_INIT(1 << 20);
	char path[96];
	int before = dup(2);
	struct error e;

	snprintf(path, sizeof(path), "%s/log", keys);
	ck_assert_ptr_nonnull(freopen(path, "w", stderr));
	log_init("test", LOG_DEBUG);
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		call(&c, &ann, "POST " ACCOUNTS, bodies[i].body);
	make(&ann, PAIR);
	call(&c, &ann, "POST " ACCOUNTS, KAGGLE(PAIR));
	one(&ann, "PATCH", call_int(&c, "accountId"), "", "{'credentials':" PAIR "}");
	call(&c, &ann, "POST " NOTEBOOKS, "{'provider':'kaggle','accelerator':'x','credentials':" PAIR "}");
	fflush(stderr);
	dup2(before, 2);
	close(before);
	ck_assert_int_eq(files_read(path, 1 << 20, &text, &e), OK);
	ck_assert_ptr_nonnull(strstr(text.ptr, "route=accounts.create"));
	ck_assert_ptr_null(strstr(text.ptr, KEY));
}
END_TEST

/* What is given back to be used again holds nothing of it, also after a refusal. */
START_TEST(test_memory_of_the_body_is_wiped)
{
	static const char *const with[] = {KAGGLE(PAIR), KAGGLE("{'username':'" KEY "'}"), "{'provider':'kaggle','x':1,'credentials':" PAIR "}"};

	for (size_t i = 0; i < ARRAY_LEN(with); i++) {
		call(&c, &ann, "POST " ACCOUNTS, with[i]);
		ck_assert_uint_eq(c.sent.len, strlen(with[i]));
		for (size_t k = 0; k < c.sent.len; k++)
			ck_assert_int_eq(c.sent.ptr[k], 0);
	}
	/* Elsewhere it stays as it was. */
	call(&c, &ann, "POST /api/gpu/jobs", "{'type':'script'}");
	ck_assert_int_eq(c.sent.ptr[0], '{');
}
END_TEST

START_TEST(test_policies)
{
	const struct json *kaggle = NULL, *list;

	ck_assert_int_eq(call(&c, &eve, "GET /api/gpu/policies", NULL), 200);
	list = json_get(c.json, "policies");
	for (size_t i = 0; i < json_len(list); i++)
		if (str_eqz(json_str(json_at(list, i), "provider"), "kaggle"))
			kaggle = json_at(list, i);
	ck_assert_ptr_nonnull(kaggle);
	ck_assert(json_bool(kaggle, "needsCredentials", false) && !json_bool(kaggle, "sharingAllowed", true));
	ck_assert_ptr_nonnull(strstr(json_cstr(kaggle, "notice"), "one account a person"));
	ck_assert_str_eq(json_cstr(kaggle, "asOf"), "2026-11-24");
	ck_assert_str_eq(json_as_str(json_path(kaggle, "limits.0.resource")).ptr, "gpu");
	ck_assert_int_eq(json_as_i64(json_path(kaggle, "limits.0.sessionSeconds"), 0), 43200);
	ck_assert_int_eq(json_as_i64(json_path(kaggle, "limits.0.concurrent"), 0), 2);
	ck_assert_str_eq(json_as_str(json_path(kaggle, "accelerators.0.name")).ptr, "cpu");
	ck_assert_int_eq(json_len(json_get(kaggle, "accelerators")), world_int(w, "select count(*) from provider_accelerator where provider = 'kaggle'"));
	ck_assert_int_eq(call(&c, NULL, "GET /api/gpu/policies", NULL), 401);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("accounts over http");
	TCase *t = tcase_create("accounts");
	SRunner *runner;
	int failed;

	crypto_init();
	pg = pg_start();
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, open_site, close_site);
	tcase_add_test(t, test_add_pair);
	tcase_add_loop_test(t, test_forms, 0, ARRAY_LEN(forms));
	tcase_add_loop_test(t, test_refused_by_field, 0, ARRAY_LEN(bodies));
	tcase_add_test(t, test_one_a_person);
	tcase_add_test(t, test_without_a_sealing_key);
	tcase_add_test(t, test_status_is_of_the_present_credentials);
	tcase_add_test(t, test_check_now);
	tcase_add_test(t, test_sharing_is_refused_by_the_terms);
	tcase_add_test(t, test_delete);
	tcase_add_test(t, test_who_sees_what);
	tcase_add_test(t, test_replayed_without_its_secret);
	tcase_add_test(t, test_log_says_nothing_of_it);
	tcase_add_test(t, test_memory_of_the_body_is_wiped);
	tcase_add_test(t, test_policies);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	pg_stop(pg);
	return failed ? 1 : 0;
}
