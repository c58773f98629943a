/* Notebooks at Kaggle: account, name, accelerator, length, inputs; each refusal at its field, and nothing left of it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "cli/files.h"
#include "domain/keys.h"

static struct pg *pg;
static struct world *w;
static struct call_site c;
static struct principal root, ann, bob;
static char keys[64];

#define NOTEBOOKS "/api/gpu/workers/notebooks"
#define KEY "5ecre7c0ffee0123456789abcdef0123"
#define PAIR "{'username':'ann-k','key':'" KEY "'}"

static void open_site(void)
{
	char name[32];
	struct error e = {0};
	struct db *db;
	int64_t id;

	snprintf(name, sizeof(name), "kaggle_%d", (int)getpid());
	snprintf(keys, sizeof(keys), "/tmp/gpupool-keys-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(keys));
	w = world_open(pg, name);
	root = world_user(w, "root", ROLE_ADMIN);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	bob = world_user(w, "bob", ROLE_OPERATOR);
	call_init(&c, w);
	c.config.public_url = "https://gpu.example.org";
	db = pg_db(pg, "provisioner", name);
	ck_assert_msg(keys_init(db, keys, SEAL_CREDENTIALS, &id, &e) == OK, "%s", e.msg);
	db_close(db);
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

static int post(const struct principal *p, const char *more)
{
	return call(&c, p, "POST " NOTEBOOKS, world_text(w, "{'provider':'kaggle'%s}", more));
}

static int64_t make(const struct principal *p, const char *more)
{
	ck_assert_msg(post(p, more) == 202, "%s: %s", more, call_str(&c, "detail"));
	return call_int(&c, "id");
}

static int patch(const struct principal *p, int64_t id, const char *body)
{
	return callf(&c, p, body, "PATCH " NOTEBOOKS "/%lld", (long long)id);
}

static void add_account(const struct principal *p)
{
	ck_assert_int_eq(call(&c, p, "POST /api/gpu/accounts", "{'provider':'kaggle','credentials':" PAIR "}"), 201);
}

static bool said(const char *text)
{
	return memmem(c.text.ptr, c.text.len, text, strlen(text)) != NULL;
}

START_TEST(test_account_comes_with_it)
{
	int64_t id = make(&ann, ",'accelerator':'gpu','title':'My first','credentials':" PAIR), account = call_int(&c, "accountId");

	ck_assert(!said(KEY));
	ck_assert_str_eq(call_str(&c, "remoteName"), "gpupool-my-first");
	ck_assert_str_eq(call_str(&c, "desiredState"), "running");
	ck_assert_str_eq(call_str(&c, "state"), "stopped");
	ck_assert_int_eq(json_len(json_path(c.json, "inputs.datasets")), 0);
	ck_assert_int_eq(json_len(json_get(c.json, "inputs")), 4);
	ck_assert(call_woke(&c, "gpupool_operations", "kaggle"));
	ck_assert_int_eq(world_int(w, "select count(*) from account where id = %lld and owner_id = %lld and sealed is not null and sealed_version = 1",
				   (long long)account, (long long)ann.user_id), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from operation where worker_id = %lld and provider = 'kaggle' and kind = 'start'", (long long)id), 1);
	/* Again: the same account, its credentials renewed. */
	make(&ann, ",'accelerator':'gpu','title':'second','credentials':{'token':'KGAT_5ecre7renewed'}");
	ck_assert_int_eq(call_int(&c, "accountId"), account);
	ck_assert_int_eq(count("account where sealed_version = 2"), 1);
	/* And without. */
	make(&ann, ",'accelerator':'gpu','title':'third'");
	ck_assert_int_eq(call_int(&c, "accountId"), account);
	make(&ann, world_text(w, ",'accelerator':'cpu','accountId':'%lld','title':'fourth'", (long long)account));
	ck_assert_int_eq(count("account"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from audit t where t::text ~ '5ecre7'"), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from event t where t::text ~ '5ecre7'"), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from worker t where t::text ~ '5ecre7'"), 0);
}
END_TEST

/* Its hours are limited: it stops without a job, unless a person says otherwise. */
START_TEST(test_idle_stop_by_default)
{
	int64_t id;

	add_account(&ann);
	id = make(&ann, ",'accelerator':'gpu','title':'one'");
	ck_assert_int_eq(call_int(&c, "idleStopSeconds"), 1800);
	ck_assert_int_eq(count("worker where idle_default"), 1);
	ck_assert_int_eq(patch(&ann, id, "{'idleStopSeconds':900}"), 200);
	ck_assert_int_eq(call_int(&c, "idleStopSeconds"), 900);
	ck_assert_int_eq(count("worker where idle_default"), 0);
	make(&ann, ",'accelerator':'gpu','title':'two','idleStopSeconds':0");
	make(&ann, ",'accelerator':'gpu','title':'three','idleStopSeconds':null");
	ck_assert_int_eq(count("worker where idle_stop_seconds is null and not idle_default"), 2);
	c.config.idle_stop_seconds = 0;
	make(&ann, ",'accelerator':'gpu','title':'four'");
	ck_assert_int_eq(count("worker where idle_stop_seconds is null and not idle_default"), 3);
}
END_TEST

START_TEST(test_account_of_ones_own)
{
	int64_t hers;

	ck_assert_int_eq(post(&ann, ",'accelerator':'gpu'"), 400);
	ck_assert_str_eq(call_faults(&c), "accountId");
	add_account(&ann);
	hers = call_int(&c, "id");
	ck_assert_int_eq(post(&bob, ",'accelerator':'gpu'"), 400);
	ck_assert_str_eq(call_faults(&c), "accountId");
	ck_assert_int_eq(post(&bob, world_text(w, ",'accelerator':'gpu','accountId':'%lld'", (long long)hers)), 400);
	ck_assert_str_eq(call_faults(&c), "accountId");
	ck_assert_int_eq(post(&ann, world_text(w, ",'accelerator':'gpu','accountId':'%lld','credentials':" PAIR, (long long)hers)), 400);
	ck_assert_str_eq(call_faults(&c), "credentials");
	ck_assert_int_eq(count("worker"), 0);
	ck_assert_int_eq(count("account where sealed_version = 1"), 1);
}
END_TEST

/* Field at fault, and a word that the message must have; all with credentials, of which nothing may be left. */
static const struct {
	const char *more, *fault, *word;
} bodies[] = {
	{",'accelerator':'RTX4090'", "accelerator", "NvidiaTeslaT4"},
	{",'accelerator':'P100'", "accelerator", "cpu, gpu, tpu"},
	{",'accelerator':'NvidiaTeslaP100'", "accelerator", "ask for T4"},
	{",'accelerator':'TpuV38'", "accelerator", "TpuV5E8"},
	{",'accelerator':'a b'", "accelerator", NULL},
	{",'accelerator':'gpu','title':'日本'", "title", "a to z"},
	{",'accelerator':'gpu','title':'!!!'", "title", "a to z"},
	{",'accelerator':'gpu','maxSessionSeconds':39601", "maxSessionSeconds", "39600"},
	{",'accelerator':'cpu','maxSessionSeconds':28801", "maxSessionSeconds", "28800"},
	{",'accelerator':'tpu','maxSessionSeconds':39600", "maxSessionSeconds", "28800"},
	{",'accelerator':'gpu','maxSessionSeconds':899", "maxSessionSeconds", "900"},
	{",'accelerator':'gpu','inputs':[]", "inputs", NULL},
	{",'accelerator':'gpu','inputs':{'dataset':[]}", "inputs.dataset", NULL},
	{",'accelerator':'gpu','inputs':{'datasets':'a/b'}", "inputs.datasets", NULL},
	{",'accelerator':'gpu','inputs':{'datasets':['b']}", "inputs.datasets.0", "owner/name"},
	{",'accelerator':'gpu','inputs':{'datasets':['a/b','a/b/c']}", "inputs.datasets.1", "owner/name"},
	{",'accelerator':'gpu','inputs':{'datasets':['a/b','a/b']}", "inputs.datasets.1", "twice"},
	{",'accelerator':'gpu','inputs':{'datasets':['../b']}", "inputs.datasets.0", NULL},
	{",'accelerator':'gpu','inputs':{'datasets':['a/b c']}", "inputs.datasets.0", NULL},
	{",'accelerator':'gpu','inputs':{'datasets':['a//b']}", "inputs.datasets.0", NULL},
	{",'accelerator':'gpu','inputs':{'kernels':['/b']}", "inputs.kernels.0", NULL},
	{",'accelerator':'gpu','inputs':{'competitions':['a/b']}", "inputs.competitions.0", NULL},
	{",'accelerator':'gpu','inputs':{'competitions':['é']}", "inputs.competitions.0", NULL},
	{",'accelerator':'gpu','inputs':{'models':['a/b/c']}", "inputs.models.0", "framework"},
	{",'accelerator':'gpu','inputs':{'models':['a/b/c/d/e']}", "inputs.models.0", NULL},
	{",'accelerator':'gpu','inputs':{'models':['a/b/c/d/0']}", "inputs.models.0", NULL},
	{",'accelerator':'gpu','inputs':{'models':['a/b/c/d/1/2']}", "inputs.models.0", NULL},
};

START_TEST(test_refused_by_field)
{
	ck_assert_int_eq(post(&ann, world_text(w, ",'credentials':" PAIR "%s", bodies[_i].more)), 400);
	ck_assert_msg(!strcmp(call_faults(&c), bodies[_i].fault), "%s: %s", bodies[_i].more, call_faults(&c));
	ck_assert_msg(!bodies[_i].word || said(bodies[_i].word), "%s: %s", bodies[_i].more, call_str(&c, "detail"));
	ck_assert_int_eq(count("worker") + count("account") + count("operation") + count("audit"), 0);
	ck_assert(!said(KEY));
}
END_TEST

START_TEST(test_accelerators_have_one_spelling)
{
	add_account(&ann);
	make(&ann, ",'accelerator':'GPU','title':'a'");
	ck_assert_str_eq(call_str(&c, "accelerator"), "gpu");
	make(&ann, ",'accelerator':'nvidiatESLAt4','title':'b'");
	ck_assert_str_eq(call_str(&c, "accelerator"), "NvidiaTeslaT4");
	make(&ann, ",'accelerator':'t4','title':'c','maxSessionSeconds':39600");
	ck_assert_str_eq(call_str(&c, "accelerator"), "T4");
	make(&ann, ",'accelerator':'tpu','title':'d','maxSessionSeconds':900");
}
END_TEST

START_TEST(test_names)
{
	int64_t id, other;

	add_account(&ann);
	id = make(&ann, ",'accelerator':'gpu','title':'Ünïcode 🚀 work'");
	ck_assert_str_eq(call_str(&c, "remoteName"), "gpupool-unicode-work");
	ck_assert_int_eq(post(&ann, ",'accelerator':'cpu','title':'unicode -- WORK'"), 409);
	ck_assert_str_eq(call_faults(&c), "title");
	ck_assert(said("gpupool-unicode-work"));
	ck_assert_int_eq(count("worker"), 1);
	/* Another person's may be called so, too. */
	add_account(&bob);
	other = make(&bob, ",'accelerator':'cpu','title':'unicode work'");
	ck_assert_int_ne(other, id);
	/* The name stays when the title changes, and is free again when the notebook is deleted. */
	ck_assert_int_eq(patch(&ann, id, "{'title':'renamed'}"), 200);
	ck_assert_str_eq(call_str(&c, "remoteName"), "gpupool-unicode-work");
	ck_assert_str_eq(call_str(&c, "title"), "renamed");
	ck_assert_int_eq(post(&ann, ",'accelerator':'cpu','title':'unicode work'"), 409);
	world_sql(w, "update worker set state = 'deleted', deleted_at = now() where id = %lld", (long long)id);
	make(&ann, ",'accelerator':'cpu','title':'unicode work'");
	/* Without a title it has one that nobody else has. */
	make(&ann, ",'accelerator':'cpu'");
	ck_assert_str_eq(call_str(&c, "title"), "Kaggle 3");
	ck_assert_int_eq(world_int(w, "select count(*) from worker where title = 'Kaggle 3' and remote_name ~ '^gpupool-[0-9a-f]{8}$'"), 1);
	make(&ann, ",'accelerator':'cpu'");
	/* No other provider's has a name. */
	ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, "{'provider':'manual','accelerator':'cpu','title':'日本'}"), 202);
	ck_assert_str_eq(call_str(&c, "remoteName"), "");
}
END_TEST

START_TEST(test_inputs)
{
	int64_t id;

	add_account(&ann);
	id = make(&ann, ",'accelerator':'gpu','title':'a','inputs':{'datasets':['ann/d-1','o.x/d_2'],'models':['g/m/pyTorch/1b','g/m/f/v/12'],"
			"'competitions':['titanic'],'kernels':['ann/k']}");
	ck_assert_str_eq(call_str(&c, "inputs.datasets.1"), "o.x/d_2");
	ck_assert_str_eq(call_str(&c, "inputs.models.1"), "g/m/f/v/12");
	ck_assert_str_eq(call_str(&c, "inputs.competitions.0"), "titanic");
	ck_assert_str_eq(call_str(&c, "inputs.kernels.0"), "ann/k");
	ck_assert_int_eq(patch(&ann, id, "{'inputs':{'kernels':['b/c']}}"), 200);
	ck_assert_str_eq(call_str(&c, "inputs.kernels.0"), "b/c");
	ck_assert_int_eq(json_len(json_path(c.json, "inputs.datasets")), 0);
	ck_assert_int_eq(call_int(&c, "version"), 2);
	ck_assert_int_eq(patch(&ann, id, "{'inputs':{'kernels':['b']}}"), 400);
	ck_assert_str_eq(call_faults(&c), "inputs.kernels.0");
	ck_assert_int_eq(patch(&ann, id, "{'inputs':{}}"), 200);
	ck_assert_int_eq(json_len(json_path(c.json, "inputs.kernels")), 0);
	/* What it reads and is called is its owner's. */
	ck_assert_int_eq(callf(&c, &bob, NULL, "GET " NOTEBOOKS "/%lld", (long long)id), 200);
	ck_assert(json_has(c.json, "inputs") && !json_get(c.json, "inputs") && !json_get(c.json, "remoteName"));
	ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, "{'provider':'manual','accelerator':'cpu','inputs':{'kernels':['b/c']}}"), 400);
	ck_assert_str_eq(call_faults(&c), "inputs");
}
END_TEST

START_TEST(test_many_inputs)
{
	cleanup_buf struct buf text = BUF_INIT(64 << 10);

	add_account(&ann);
	buf_adds(&text, ",'accelerator':'gpu','title':'a','inputs':{'datasets':[");
	for (int i = 0; i < 33; i++)
		buf_addf(&text, "%s'o/d%d'", i ? "," : "", i);
	buf_adds(&text, "]}");
	ck_assert_int_eq(post(&ann, text.ptr), 400);
	ck_assert_str_eq(call_faults(&c), "inputs.datasets");
}
END_TEST

START_TEST(test_change)
{
	int64_t id;

	add_account(&ann);
	id = make(&ann, ",'accelerator':'gpu','title':'a','autoStart':false");
	ck_assert_int_eq(patch(&ann, id, "{'accelerator':'nvidiateslaa100'}"), 200);
	ck_assert_str_eq(call_str(&c, "accelerator"), "NvidiaTeslaA100");
	ck_assert_int_eq(patch(&ann, id, "{'accelerator':'NvidiaTeslaP100'}"), 400);
	ck_assert_str_eq(call_faults(&c), "accelerator");
	ck_assert_int_eq(patch(&ann, id, "{'accelerator':'H200'}"), 400);
	ck_assert_int_eq(patch(&ann, id, "{'maxSessionSeconds':39601}"), 400);
	ck_assert_str_eq(call_faults(&c), "maxSessionSeconds");
	ck_assert_int_eq(patch(&ann, id, "{'accelerator':'cpu','maxSessionSeconds':39600}"), 400);
	ck_assert_str_eq(call_faults(&c), "maxSessionSeconds");
	ck_assert_int_eq(patch(&ann, id, "{'accelerator':'cpu','maxSessionSeconds':28800}"), 200);
	ck_assert_int_eq(patch(&ann, id, "{'maxSessionSeconds':null}"), 200);
	/* One that was allowed when it was made, and is retired since: everything else of it may change. */
	world_sql(w, "update provider_accelerator set usable = false where name = 'cpu'");
	ck_assert_int_eq(patch(&ann, id, "{'maxSessionSeconds':3600}"), 200);
	ck_assert_int_eq(patch(&bob, id, "{'accelerator':'gpu'}"), 404);
	ck_assert_int_eq(patch(&bob, id, "{'accelerator':'H200'}"), 404);
}
END_TEST

START_TEST(test_it_must_reach_us)
{
	int64_t id;

	add_account(&ann);
	c.config.public_url = "http://127.0.0.1:8080";
	ck_assert_int_eq(post(&ann, ",'accelerator':'gpu','title':'a'"), 409);
	ck_assert_str_eq(call_str(&c, "code"), "public_url");
	ck_assert_int_eq(count("worker"), 0);
	/* A stand-in on this machine reaches whatever we do. */
	c.config.kaggle_url = "http://127.0.0.1:9000/v1";
	id = make(&ann, ",'accelerator':'gpu','title':'a','autoStart':false");
	c.config.kaggle_url = "https://api.kaggle.com/v1";
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST " NOTEBOOKS "/%lld/start", (long long)id), 409);
	ck_assert_str_eq(call_str(&c, "code"), "public_url");
	/* An account needs nothing of that. */
	add_account(&bob);
}
END_TEST

START_TEST(test_account_that_needs_its_owner)
{
	add_account(&ann);
	world_sql(w, "update account set status = 'needs_human', reason = 'Kaggle refused the key.', checked_version = 1");
	make(&ann, ",'accelerator':'gpu','title':'a'");
	ck_assert_str_eq(call_str(&c, "state"), "needs_human");
	ck_assert_str_eq(call_str(&c, "reason.code"), "account");
	ck_assert(strstr(call_str(&c, "reason.message"), "Kaggle refused the key.") != NULL);
	ck_assert_int_eq(count("operation"), 1);
	make(&ann, ",'accelerator':'gpu','title':'b','autoStart':false");
	ck_assert_str_eq(call_str(&c, "state"), "stopped");
	/* New credentials are not known to be bad. */
	make(&ann, ",'accelerator':'gpu','title':'c','credentials':" PAIR);
	ck_assert_str_eq(call_str(&c, "state"), "stopped");
}
END_TEST

START_TEST(test_without_a_sealing_key)
{
	world_sql(w, "delete from sealing_key");
	ck_assert_int_eq(post(&ann, ",'accelerator':'gpu','credentials':" PAIR), 503);
	ck_assert(said("gpupool keys init"));
	ck_assert_int_eq(count("worker") + count("account"), 0);
}
END_TEST

START_TEST(test_replayed_without_its_secret)
{
	int64_t id;

	c.idempotency_key = "k";
	id = make(&ann, ",'accelerator':'gpu','title':'a','credentials':" PAIR);
	c.idempotency_key = "k";
	ck_assert_int_eq(make(&ann, ",'accelerator':'gpu','title':'a','credentials':" PAIR), id);
	ck_assert_int_eq(count("worker"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from idempotency t where t::text ~ '5ecre7'"), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kaggle notebooks over http");
	TCase *t = tcase_create("kaggle");
	SRunner *runner;
	int failed;

	crypto_init();
	pg = pg_start();
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, open_site, close_site);
	tcase_add_test(t, test_account_comes_with_it);
	tcase_add_test(t, test_idle_stop_by_default);
	tcase_add_test(t, test_account_of_ones_own);
	tcase_add_loop_test(t, test_refused_by_field, 0, ARRAY_LEN(bodies));
	tcase_add_test(t, test_accelerators_have_one_spelling);
	tcase_add_test(t, test_names);
	tcase_add_test(t, test_inputs);
	tcase_add_test(t, test_many_inputs);
	tcase_add_test(t, test_change);
	tcase_add_test(t, test_it_must_reach_us);
	tcase_add_test(t, test_account_that_needs_its_owner);
	tcase_add_test(t, test_without_a_sealing_key);
	tcase_add_test(t, test_replayed_without_its_secret);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	pg_stop(pg);
	return failed ? 1 : 0;
}
