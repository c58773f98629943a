/*
 * The pages of accounts and secrets, and what of Kaggle the other pages show:
 * forms without JavaScript, what they refuse and where, and that nothing secret
 * comes back in any answer.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "browse.h"
#include "cli/files.h"
#include "domain/keys.h"
#include "unit.h"

static struct pg *pg;
static struct world *w;
static struct browser b;
static struct principal ann, bob, root, eve; /* operators, administrator, viewer */
static char keys[64];

#define EVIL "<script>alert(\"x\")</script>'&"
#define ESCAPED "&lt;script&gt;alert("
#define KEY "0123456789abcdef0123456789abcdef"
#define FILE_TEXT "{\"username\":\"annk\",\"key\":\"" KEY "\"}"

static void make_key(enum seal_purpose purpose)
{
	struct db *db = pg_db(pg, purpose == SEAL_SECRETS ? "secrets" : "provisioner", w->name);
	struct error e = {0};
	int64_t key;

	ck_assert_msg(keys_init(db, keys, purpose, &key, &e) == OK, "%s", e.msg);
	db_close(db);
}

static void open_world(void)
{
	char name[32];

	snprintf(name, sizeof(name), "accountpages_%d", (int)getpid());
	snprintf(keys, sizeof(keys), "/tmp/gpupool-keys-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(keys));
	w = world_open(pg, name);
	browse_init(&b, w);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	bob = world_user(w, "bob", ROLE_OPERATOR);
	root = world_user(w, "root", ROLE_ADMIN);
	eve = world_user(w, "eve", ROLE_VIEWER);
	make_key(SEAL_CREDENTIALS);
	make_key(SEAL_SECRETS);
	browse_as(&b, &ann);
}

static void close_world(void)
{
	browse_done(&b);
	world_close(w);
	files_remove_tree(keys);
}

static void shows(const char *text)
{
	ck_assert_msg(browse_shows(&b, text), "\"%s\" is not on the page (%d): %.3000s", text, b.status, strstr(b.text, "<main") ? strstr(b.text, "<main") : b.text);
}

static void hides(const char *text)
{
	ck_assert_msg(!browse_shows(&b, text), "\"%s\" is on the page", text);
}

static int64_t count(const char *table)
{
	return world_int(w, "select count(*) from %s", table);
}

static const char *path(const char *object, int64_t id, const char *more)
{
	return world_text(w, "/admin/%s/%lld%s", object, (long long)id, more);
}

/* Kaggle's rows of an account, as a check left them. */
static int64_t checked_account(const struct principal *p, const char *identity)
{
	int64_t id = world_account(w, p->user_id, "kaggle", "none", 0);

	world_sql(w, "update account set status = 'ok', checked_version = sealed_version, checked_at = now(), identity = $t$%s$t$, "
		     "key_id = (select max(id) from sealing_key) where id = %lld", identity, (long long)id);
	world_sql(w, "insert into quota(account_id, resource, resets_at, limit_seconds, margin_seconds, used_seconds, reserved_seconds) "
		     "values (%lld, 'gpu', now() + interval '2 days', 108000, 900, 51120, 34560)", (long long)id);
	return id;
}

/* ---- adding one ---- */

START_TEST(test_add_by_each_way)
{
	static const char *const ways[][4] = {
		{"file", FILE_TEXT, NULL, NULL}, {"token", "KGAT_0123456789abcdef", NULL, NULL}, {"username", "annk", "key", KEY},
	};

	ck_assert_int_eq(browse(&b, "/admin/accounts"), 200);
	shows("You have no account yet.");
	shows("Kaggle allows one account a person");
	shows("As of 2026-11-24");
	ck_assert_int_eq(browse_send(&b, "/admin/accounts", "provider", "kaggle", "label", "mine", ways[_i][0], ways[_i][1], ways[_i][2], ways[_i][3], NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("Kaggle · mine");
	shows("mine was added.");
	shows("Being checked");
	hides(KEY);
	hides("KGAT_0123");
	ck_assert_int_eq(world_int(w, "select count(*) from account where owner_id = %lld and sealed is not null", (long long)ann.user_id), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from audit where action = 'accounts.create' and detail::text like '%%" KEY "%%'"), 0);
	/* One a person: the form gives way to a word about that. */
	shows("Kaggle allows one account a person. Its page");
	ck_assert_int_eq(browse_send(&b, "/admin/accounts", "provider", "kaggle", "token", "KGAT_other0123456789", NULL), 409);
	hides("KGAT_other");
	ck_assert_int_eq(count("account"), 1);
}
END_TEST

static const struct {
	const char *names[4], *values[4], *error;
} refused[] = {
	{{"label"}, {"x"}, "id=\"err-credentials\""},
	{{"username"}, {"annk"}, "id=\"err-key\""},
	{{"key"}, {KEY}, "id=\"err-username\""},
	{{"token", "file"}, {"KGAT_0123456789abcdef", FILE_TEXT}, "id=\"err-file\""},
	{{"username", "key", "token"}, {"annk", KEY, "KGAT_0123456789abcdef"}, "id=\"err-credentials\""},
	{{"file"}, {"{\"username\":\"annk\"}"}, "id=\"err-file\""},
	{{"file"}, {"{\"username\":\"annk\",\"key\":\"" KEY "!\"}"}, "id=\"err-file\""},
	{{"file"}, {"no json but " KEY}, "id=\"err-file\""},
	{{"file"}, {"[1,2"}, "id=\"err-file\""},
	{{"username", "key"}, {EVIL, KEY}, "id=\"err-username\""},
	{{"username", "key"}, {"annk", KEY " x"}, "id=\"err-key\""},
	{{"token"}, {"GKAT_0123456789abcdef"}, "id=\"err-token\""},
};

START_TEST(test_refused_beside_its_field)
{
	const char *const *n = refused[_i].names, *const *v = refused[_i].values;

	ck_assert_int_eq(browse_send(&b, "/admin/accounts", "provider", "kaggle", n[0], v[0], n[1], v[1], n[2], v[2], NULL), 400);
	shows(refused[_i].error);
	ck_assert_int_eq(browse_count(&b, "id=\"err-"), 1);
	hides(KEY);
	hides("KGAT_0123");
	hides("<script>");
	hides("GKAT_");
	ck_assert_int_eq(count("account"), 0);
}
END_TEST

/* As browsers send a file. */
START_TEST(test_upload)
{
	char *body = arena_printf(&w->arena,
				  "--B\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\n%s\r\n--B\r\nContent-Disposition: form-data; name=\"provider\"\r\n\r\nkaggle\r\n"
				  "--B\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n\r\n--B\r\nContent-Disposition: form-data; name=\"file\"; "
				  "filename=\"kaggle.json\"\r\nContent-Type: application/json\r\n\r\n%s\n\r\n--B--\r\n", b.csrf, FILE_TEXT);

	ck_assert_int_eq(browse_upload(&b, "/admin/accounts", "multipart/form-data; boundary=B", body), 303);
	ck_assert_int_eq(count("account"), 1);
}
END_TEST

START_TEST(test_upload_too_large)
{
	char *large = arena_alloc(&w->arena, 17 << 10), *body;

	memset(large, ' ', (17 << 10) - 1);
	body = arena_printf(&w->arena, "--B\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\n%s\r\n--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n"
			    "{%s}\r\n--B--\r\n", b.csrf, large);
	ck_assert_int_eq(browse_upload(&b, "/admin/accounts", "multipart/form-data; boundary=B", body), 400);
	shows("id=\"err-file\"");
	ck_assert_int_eq(count("account"), 0);
}
END_TEST

/* ---- one account ---- */

START_TEST(test_account_page)
{
	int64_t id = checked_account(&ann, "annk" EVIL), worker = world_worker(w, id, "waiting", "{}", 0);

	world_sql(w, "update worker set title = 'train', reason_code = 'quota', reason = 'No hours until Saturday.' where id = %lld", (long long)worker);
	ck_assert_int_eq(browse(&b, "/admin/accounts"), 200);
	shows("annk" ESCAPED);
	shows("left of 30");
	shows("width=\"47%\"");
	ck_assert_int_eq(browse(&b, "%s", path("accounts", id, "")), 200);
	shows("Kaggle · annk" ESCAPED);
	shows("Works");
	shows("14.2\u00a0h used, 0\u00a0h reserved");
	shows("What Kaggle allows");
	hides("The provider itself says");
	world_sql(w, "update quota set told_used = 40000, told_at = now()");
	ck_assert_int_eq(browse(&b, "%s", path("accounts", id, "")), 200);
	shows("The provider itself says 11.1\u00a0h; the higher figure counts.");
	shows("30\u00a0h a week");
	shows("2 sessions at once.");
	shows("No hours until Saturday.");
	shows("the provider's terms do not allow it");
	shows("Notebooks elsewhere cannot reach this server.");
	hides("name=\"sharing\"");
	b.config.kaggle_url = "http://127.0.0.1:9/v1"; /* a stand-in here finds us */
	ck_assert_int_eq(browse(&b, "%s", path("accounts", id, "")), 200);
	hides("Notebooks elsewhere cannot reach this server.");
	world_sql(w, "update account set status = 'needs_human', reason = $t$Kaggle refused it. " EVIL "$t$");
	ck_assert_int_eq(browse(&b, "%s", path("accounts", id, "")), 200);
	shows("Needs you");
	shows("Kaggle refused it. " ESCAPED);
	shows("replace the credentials, then check again");
	hides("<script>");
}
END_TEST

START_TEST(test_account_is_checked_renamed_replaced)
{
	int64_t id = checked_account(&ann, "annk");

	ck_assert_int_eq(browse_send(&b, path("accounts", id, "/check"), NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("annk is being checked.");
	ck_assert_int_eq(browse_send(&b, path("accounts", id, "/edit"), "label", "lab " EVIL, NULL), 303);
	ck_assert_int_eq(world_int(w, "select count(*) from account where label like 'lab %%'"), 1);
	ck_assert_int_eq(browse_send(&b, path("accounts", id, "/edit"), "label", "x", "sharing", "all", NULL), 409);
	shows("terms do not allow it");
	ck_assert_int_eq(browse_send(&b, path("accounts", id, "/credentials"), "file", "{}" KEY, NULL), 400);
	shows("id=\"err-file\"");
	hides(KEY);
	ck_assert_int_eq(world_int(w, "select sealed_version from account"), 1);
	ck_assert_int_eq(browse_send(&b, path("accounts", id, "/credentials"), "username", "annk", "key", KEY, NULL), 303);
	ck_assert_int_eq(world_int(w, "select sealed_version from account"), 2);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("Being checked");
	shows("were replaced");
	hides(KEY);
}
END_TEST

START_TEST(test_account_is_removed_after_its_notebooks)
{
	int64_t id = checked_account(&ann, "annk"), worker = world_worker(w, id, "stopped", "{}", 0);

	ck_assert_int_eq(browse(&b, "%s", path("accounts", id, "/delete")), 200);
	shows("One notebook uses it.");
	ck_assert_int_eq(browse_send(&b, path("accounts", id, "/delete"), NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("is being removed: its notebooks go first");
	shows("Being removed");
	shows("not deleted yet: 1");
	shows("Forget the credentials now");
	hides("/admin/workers/new?provider=kaggle");
	ck_assert_int_eq(world_int(w, "select count(*) from account where deleting_at is not null and sealed is not null"), 1);
	ck_assert_int_eq(browse(&b, "/admin/accounts"), 200);
	shows("Being removed");
	ck_assert_int_eq(browse_send(&b, path("accounts", id, "/delete"), "abandon", "1", NULL), 303);
	ck_assert_int_eq(world_int(w, "select count(*) from account where deleting_at is not null and sealed is null"), 1);
	world_sql(w, "update worker set state = 'deleted', desired = 'deleted' where id = %lld", (long long)worker);
	ck_assert_int_eq(browse_send(&b, path("accounts", id, "/delete"), NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("The account was removed.");
	ck_assert_int_eq(world_int(w, "select count(*) from account where deleted_at is null"), 0);
}
END_TEST

START_TEST(test_accounts_of_others)
{
	int64_t id = checked_account(&ann, "annk");
	static const char *const below[] = {"", "/delete"}, *const writes[] = {"/check", "/edit", "/credentials", "/delete"};

	browse_as(&b, &bob);
	ck_assert_int_eq(browse(&b, "/admin/accounts"), 200);
	hides("annk");
	for (size_t i = 0; i < ARRAY_LEN(below); i++)
		ck_assert_int_eq(browse(&b, "%s", path("accounts", id, below[i])), 404);
	for (size_t i = 0; i < ARRAY_LEN(writes); i++)
		ck_assert_int_eq(browse_send(&b, path("accounts", id, writes[i]), "label", "x", "token", "KGAT_0123456789abcdef", NULL), 404);
	browse_as(&b, &eve);
	ck_assert_int_eq(browse(&b, "/admin/accounts"), 403);
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard"), 200);
	hides("/admin/accounts");
	browse_as(&b, &root);
	ck_assert_int_eq(browse(&b, "/admin/accounts"), 200);
	shows("annk");
	/* Another's account does not take the administrator's own place. */
	shows("name=\"token\"");
	b.no_csrf = true;
	ck_assert_int_eq(browse_send(&b, path("accounts", id, "/delete"), NULL), 403);
	ck_assert_int_eq(world_int(w, "select count(*) from account where deleted_at is null"), 1);
}
END_TEST

/* ---- notebooks at Kaggle ---- */

START_TEST(test_kaggle_cannot_be_chosen_when_we_cannot_be_reached)
{
	ck_assert_int_eq(browse(&b, "/admin/workers/new?provider=kaggle"), 200);
	shows("value=\"kaggle\" class=\"owns\" disabled");
	shows("Kaggle cannot be chosen: its notebooks would have to reach this server");
	shows("value=\"local\" checked");
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "kaggle", "kaggle.accelerator", "gpu", "kaggle.token", "KGAT_0123456789abcdef",
				     "title", "train", "autoStart", "1", NULL), 409);
	shows("GPUPOOL_PUBLIC_URL");
	hides("KGAT_0123");
	ck_assert_int_eq(count("worker") + count("account"), 0);
}
END_TEST

START_TEST(test_first_notebook_brings_its_account)
{
	b.config.kaggle_url = "http://127.0.0.1:9/v1"; /* a stand-in here finds us */
	ck_assert_int_eq(browse(&b, "/admin/workers/new?provider=kaggle"), 200);
	shows("value=\"kaggle\" class=\"owns\" checked");
	shows("name=\"kaggle.file\"");
	shows("<option value=\"gpu\" selected>Any GPU: Two T4, so two jobs at once.</option>");
	shows("<option value=\"NvidiaTeslaP100\" disabled>NvidiaTeslaP100: Kaggle retired it");
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "kaggle", "accelerator", "cpu", "title", "train a3", "kaggle.accelerator", "T4",
				     NULL), 400);
	shows("id=\"err-kaggle.credentials\"");
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "kaggle", "title", "train a3", "kaggle.accelerator", "NvidiaTeslaP100",
				     "kaggle.username", "annk", "kaggle.key", KEY, NULL), 400);
	shows("id=\"err-kaggle.accelerator\"");
	hides(KEY);
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "kaggle", "title", "\u6f22\u5b57", "kaggle.accelerator", "T4", "kaggle.file",
				     FILE_TEXT, NULL), 400);
	shows("id=\"err-title\"");
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "kaggle", "title", "t", "kaggle.accelerator", "T4", "kaggle.file", FILE_TEXT,
				     "kaggle.datasets", "a/b\nno slash", NULL), 400);
	shows("id=\"err-kaggle.datasets\"");
	shows("<details class=\"inputs\" open>");
	ck_assert_int_eq(count("worker") + count("account"), 0);
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "kaggle", "accelerator", "cpu", "title", "train a3", "kaggle.accelerator", "T4",
				     "kaggle.file", FILE_TEXT, "kaggle.datasets", "a/b\r\n\r\na/c", "kaggle.competitions", "digits", "autoStart", "1", NULL), 303);
	ck_assert_int_eq(world_int(w, "select count(*) from worker where provider = 'kaggle' and accelerator = 'T4' and remote_name = 'gpupool-train-a3' "
				      "and inputs -> 'datasets' = '[\"a/b\",\"a/c\"]' and inputs -> 'competitions' = '[\"digits\"]'"), 1);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("train a3 is being created.");
	hides(KEY);
	/* The second uses it. */
	ck_assert_int_eq(browse(&b, "/admin/workers/new?provider=kaggle"), 200);
	hides("name=\"kaggle.file\"");
	shows("name=\"kaggle.account\"");
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "kaggle", "title", "train a3", "kaggle.account",
				     world_text(w, "%lld", (long long)world_int(w, "select id from account")), "kaggle.accelerator", "cpu", NULL), 409);
	shows("title");
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "kaggle", "title", "train b", "kaggle.account",
				     world_text(w, "%lld", (long long)world_int(w, "select id from account")), "kaggle.accelerator", "cpu", NULL), 303);
	ck_assert_int_eq(count("worker"), 2);
	ck_assert_int_eq(count("account"), 1);
}
END_TEST

START_TEST(test_what_kaggle_says_on_pool_and_worker)
{
	int64_t account = checked_account(&ann, "annk"), id = world_worker(w, account, "healthy", "{gpu,T4}", 2), session;

	session = world_int(w, "select session_id from worker where id = %lld", (long long)id);
	world_sql(w, "update worker set title = 'train', url = 'https://www.kaggle.com/code/annk/gpupool-train', reason_code = 'got_other', "
		     "reason = 'It got L4.' where id = %lld", (long long)id);
	world_sql(w, "update session set resource = 'gpu' where id = %lld", (long long)session);
	world_sql(w, "insert into session_output values (%lld, 'run.log', 1200, 'x', now()), (%lld, $n$a dir/" EVIL ".bin$n$, 9, null, now())",
		  (long long)session, (long long)session);
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard"), 200);
	shows("GPU-hours left this week");
	shows("15.5\u00a0h");
	shows("15.5\u00a0h left this week");
	ck_assert_int_eq(browse(&b, "%s", path("workers", id, "")), 200);
	shows("https://www.kaggle.com/code/annk/gpupool-train");
	shows("It got L4.");
	shows("14.2\u00a0h used, 0\u00a0h reserved");
	shows(world_text(w, "href=\"/api/gpu/workers/notebooks/%lld/sessions/%lld/outputs/run.log\"", (long long)id, (long long)session));
	shows("a dir/" ESCAPED);
	shows("too large to keep");
	shows(path("accounts", account, "\">annk"));
	hides("<script>");
	world_sql(w, "update worker set state = 'needs_human', session_id = null, reason_code = 'credentials', reason = 'Kaggle refused them.'");
	ck_assert_int_eq(browse(&b, "%s", path("workers", id, "")), 200);
	shows("Kaggle refused them. Replace the credentials");
	shows("To the account");
	browse_as(&b, &bob);
	ck_assert_int_eq(browse(&b, "%s", path("workers", id, "")), 200);
	hides("outputs/run.log");
	hides("annk");
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard"), 200);
	hides("GPU-hours left this week");
}
END_TEST

/* ---- secrets ---- */

START_TEST(test_secrets)
{
	ck_assert_int_eq(browse(&b, "/admin/secrets"), 200);
	shows("You have no secret.");
	ck_assert_int_eq(browse_send(&b, "/admin/secrets", "name", "hf " EVIL, "value", "s3cr3t", NULL), 400);
	shows("id=\"err-name\"");
	hides("s3cr3t");
	hides("<script>");
	ck_assert_int_eq(browse_send(&b, "/admin/secrets", "name", "HF_TOKEN", "value", "", NULL), 400);
	shows("id=\"err-value\"");
	ck_assert_int_eq(browse_send(&b, "/admin/secrets", "name", "HF_TOKEN", "value", "s3cr3t\r\nline", NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("HF_TOKEN was saved.");
	hides("s3cr3t");
	ck_assert_int_eq(browse_send(&b, "/admin/secrets", "name", "HF_TOKEN", "value", "other s3cr3t", NULL), 303);
	ck_assert_int_eq(world_int(w, "select sealed_version from user_secret where name = 'HF_TOKEN'"), 2);
	ck_assert_int_eq(world_int(w, "select count(*) from audit where detail::text like '%%s3cr3t%%'"), 0);
	browse_as(&b, &bob);
	ck_assert_int_eq(browse(&b, "/admin/secrets"), 200);
	hides("HF_TOKEN</b>");
	ck_assert_int_eq(browse_send(&b, "/admin/secrets/HF_TOKEN/delete", NULL), 404);
	browse_as(&b, &ann);
	ck_assert_int_eq(browse_send(&b, "/admin/secrets/HF_TOKEN/delete", NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("HF_TOKEN was deleted.");
	ck_assert_int_eq(count("user_secret"), 0);
	browse_as(&b, &eve);
	ck_assert_int_eq(browse(&b, "/admin/secrets"), 403);
}
END_TEST

START_TEST(test_jobs_choose_secrets)
{
	int64_t id;

	ck_assert_int_eq(browse(&b, "/admin/jobs/new"), 200);
	hides("name=\"secrets\"");
	shows("/admin/secrets\"");
	ck_assert_int_eq(browse_send(&b, "/admin/secrets", "name", "HF_TOKEN", "value", "a", NULL), 303);
	ck_assert_int_eq(browse_send(&b, "/admin/secrets", "name", "WANDB", "value", "b", NULL), 303);
	ck_assert_int_eq(browse(&b, "/admin/jobs/new"), 200);
	shows("name=\"secrets\" value=\"HF_TOKEN\">");
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/new", "code", "print(1)", "type", "script", "secrets", "WANDB", "secrets", "GONE", NULL), 400);
	shows("id=\"err-secrets\"");
	shows("value=\"WANDB\" checked");
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/new", "code", "print(1)", "type", "script", "secrets", "WANDB", "secrets", "HF_TOKEN", NULL), 303);
	id = world_int(w, "select max(id) from job");
	ck_assert_int_eq(world_int(w, "select count(*) from job where secrets @> '{HF_TOKEN,WANDB}'"), 1);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("WANDB, HF_TOKEN");
	ck_assert_int_eq(browse(&b, "/admin/jobs/new?from=%lld", (long long)id), 200);
	shows("value=\"WANDB\" checked");
	shows("value=\"HF_TOKEN\" checked");
	/* Another's names are not offered to whoever repeats his job. */
	browse_as(&b, &root);
	ck_assert_int_eq(browse(&b, "/admin/jobs/new?from=%lld", (long long)id), 200);
	hides("HF_TOKEN");
}
END_TEST

/* The list of the provider; what is stored stays a choice when it is no more. */
START_TEST(test_edit_offers_what_the_provider_has)
{
	int64_t id = world_worker(w, checked_account(&ann, "annk"), "stopped", "{}", 0);
	const char *version;

	world_sql(w, "update worker set accelerator = 'NvidiaTeslaP100', remote_name = 'gpupool-w' where id = %lld", (long long)id);
	ck_assert_int_eq(browse(&b, "%s", path("workers", id, "")), 200);
	shows("<option value=\"NvidiaTeslaP100\" selected>");
	shows("<option value=\"TpuV38\" disabled>");
	shows("<option value=\"NvidiaTeslaT4\">");
	version = world_text(w, "%lld", (long long)world_int(w, "select version from worker"));
	ck_assert_int_eq(browse_send(&b, path("workers", id, "/edit"), "version", version, "title", "w", "accelerator", "TpuV38", NULL), 400);
	shows("id=\"err-accelerator\"");
	ck_assert_int_eq(browse_send(&b, path("workers", id, "/edit"), "version", version, "title", "w", "accelerator", "T4", NULL), 303);
	ck_assert_int_eq(world_int(w, "select count(*) from worker where accelerator = 'T4'"), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("account pages");
	TCase *t = tcase_create("account pages");

	crypto_init();
	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, open_world, close_world);
	tcase_add_loop_test(t, test_add_by_each_way, 0, 3);
	tcase_add_loop_test(t, test_refused_beside_its_field, 0, ARRAY_LEN(refused));
	tcase_add_test(t, test_upload);
	tcase_add_test(t, test_upload_too_large);
	tcase_add_test(t, test_account_page);
	tcase_add_test(t, test_account_is_checked_renamed_replaced);
	tcase_add_test(t, test_account_is_removed_after_its_notebooks);
	tcase_add_test(t, test_accounts_of_others);
	tcase_add_test(t, test_kaggle_cannot_be_chosen_when_we_cannot_be_reached);
	tcase_add_test(t, test_first_notebook_brings_its_account);
	tcase_add_test(t, test_what_kaggle_says_on_pool_and_worker);
	tcase_add_test(t, test_secrets);
	tcase_add_test(t, test_jobs_choose_secrets);
	tcase_add_test(t, test_edit_offers_what_the_provider_has);
	suite_add_tcase(s, t);
	return unit_run(s);
}
