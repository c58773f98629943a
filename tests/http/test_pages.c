/*
 * The dashboard's pages against a real database: what each shows to whom, what
 * its forms do and refuse, and that no text of a person becomes markup.
 */
#include <check.h>
#include <string.h>

#include "base/crypto.h"
#include "browse.h"
#include "domain/user.h"
#include "unit.h"

static struct pg *pg;
static struct world *w;
static struct browser b;
static struct principal ann, bob, root, eve; /* operators, administrator, viewer */
static int64_t account;                      /* ann's, shared with nobody */

/* Markup, quotes, a right-to-left override; and a control character, which forms refuse. */
#define EVIL_LINE "<script>alert(\"x\")</script>'&\u202e"
#define EVIL EVIL_LINE "\001"
#define ESCAPED "&lt;script&gt;alert("

static void open_world(void)
{
	static int n;
	char name[32];

	snprintf(name, sizeof(name), "pages_%d_%d", (int)getpid(), n++);
	w = world_open(pg, name);
	browse_init(&b, w);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	bob = world_user(w, "bob", ROLE_OPERATOR);
	root = world_user(w, "root", ROLE_ADMIN);
	eve = world_user(w, "eve", ROLE_VIEWER);
	account = world_account(w, ann.user_id, "local", "none", 0);
}

static void close_world(void)
{
	browse_done(&b);
	world_close(w);
}

static void shows(const char *text)
{
	ck_assert_msg(browse_shows(&b, text), "\"%s\" is not on the page (%d): %.3000s", text, b.status, strstr(b.text, "<main") ? strstr(b.text, "<main") : b.text);
}

static void hides(const char *text)
{
	ck_assert_msg(!browse_shows(&b, text), "\"%s\" is on the page", text);
}

/* No text became markup: nothing of ours has an empty script element. */
static void is_safe(void)
{
	hides("<script>");
	hides("alert(\"x\")");
}

static const char *worker_path(int64_t id, const char *more)
{
	return world_text(w, "/admin/workers/%lld%s", (long long)id, more);
}

static const char *job_path(int64_t id, const char *more)
{
	return world_text(w, "/admin/jobs/%lld%s", (long long)id, more);
}

static int64_t submit(const struct principal *p, const char *extra)
{
	return world_submit(w, p, world_text(w, "{'type':'script','payload':{'code':'print(1)'}%s}", extra)).id;
}

/* ---- signing in ---- */

START_TEST(test_sign_in)
{
	struct error e = {0};
	struct user_change c = {.active = -1, .password = STR("correct horse")};

	open_world();
	ck_assert_msg(user_change(w->web, &w->arena, "", ann.user_id, &c, &e) == OK, "%s", e.msg);
	ck_assert_int_eq(browse(&b, "/"), 303);
	ck_assert_str_eq(b.location, "/admin/gpu-dashboard");
	ck_assert_int_eq(browse_follow(&b), 303);
	ck_assert_str_eq(b.location, "/admin/sign-in?next=%2Fadmin%2Fgpu-dashboard");
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("name=\"password\"");
	ck_assert_int_eq(browse_send(&b, "/admin/sign-in", "name", "a" EVIL_LINE, "password", "sesame", "next", "/admin/jobs", NULL), 401);
	is_safe();
	ck_assert_int_eq(browse_send(&b, "/admin/sign-in", "name", "ann", "password", "open sesame", "next", "/admin/jobs", NULL), 401);
	shows("Name or password is wrong");
	shows("value=\"ann\"");
	hides("open sesame");
	b.foreign = true;
	ck_assert_int_eq(browse_send(&b, "/admin/sign-in", "name", "ann", "password", "correct horse", NULL), 403);
	ck_assert_str_eq(b.cookie, "");
	ck_assert_int_eq(browse_send(&b, "/admin/sign-in", "name", "ann", "password", "correct horse", "next", "/admin/jobs", NULL), 303);
	ck_assert_str_eq(b.location, "/admin/jobs");
	ck_assert_int_eq(browse_follow(&b), 200);
	close_world();
}
END_TEST

START_TEST(test_sign_in_leads_nowhere_else)
{
	static const char *const bad[] = {"https://evil.example/", "//evil.example/admin/", "/admin/\\evil", "javascript:x", "/api/gpu/me"};
	struct error e = {0};
	struct user_change c = {.active = -1, .password = STR("correct horse")};

	open_world();
	ck_assert_msg(user_change(w->web, &w->arena, "", ann.user_id, &c, &e) == OK, "%s", e.msg);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		browse_as(&b, NULL);
		ck_assert_int_eq(browse_send(&b, "/admin/sign-in", "name", "ann", "password", "correct horse", "next", bad[i], NULL), 303);
		ck_assert_str_eq(b.location, "/admin/gpu-dashboard");
	}
	close_world();
}
END_TEST

/* ---- the pool ---- */

START_TEST(test_pool_before_the_first_worker)
{
	open_world();
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard"), 200);
	shows("No worker yet");
	shows("/admin/workers/new?provider=local");
	browse_as(&b, &eve);
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard"), 200);
	hides("/admin/workers/new");
	hides("/admin/jobs/new");
	close_world();
}
END_TEST

START_TEST(test_pool_with_every_state)
{
	static const char *const states[] = {"stopped",	  "starting", "waiting",  "healthy",	 "unhealthy",
					     "draining", "stopping", "failed", "needs_human"};
	int64_t healthy = 0, job;

	open_world();
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		bool runs = !strcmp(states[i], "healthy") || !strcmp(states[i], "draining") || !strcmp(states[i], "unhealthy");
		int64_t id = world_worker(w, account, states[i], "{gpu,T4}", runs ? 2 : 0);

		world_sql(w, "update worker set title = $t$" EVIL "%s$t$, reason_code = $t$x" EVIL "$t$, reason = $t$because " EVIL "$t$ where id = %lld",
			  states[i], (long long)id);
		if (!strcmp(states[i], "healthy"))
			healthy = id;
	}
	world_sql(w, "update session set deadline = now() + interval '30 min', started_at = now() - interval '90 min' where worker_id = %lld",
		  (long long)healthy);
	job = submit(&ann, ",'name':'<script>alert(1)</script>'");
	world_claim(w, job, healthy);
	world_sql(w, "update job_lease set progress = 0.47, message = $t$" EVIL "$t$");
	submit(&ann, ",'gpus':64");
	submit(&ann, ",'runAfter':'2027-01-01T00:00:00Z'");
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard"), 200);
	is_safe();
	ck_assert_int_eq(browse_count(&b, "<article class=\"worker\""), ARRAY_LEN(states));
	shows("2 of 9 workers are running, and 3 workers need you");
	shows("2 jobs wait");
	shows("A worker is being started for it.");
	shows("It is planned for later.");
	shows("width=\"47%\"");
	shows("because " ESCAPED);
	/* those that need a person come first */
	ck_assert(strstr(b.text, ESCAPED "&quot;x&quot;)&lt;/script&gt;&#39;&amp;\u202e\001needs_human") < strstr(b.text, "&amp;\u202e\001healthy"));
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard?state=failed"), 200);
	ck_assert_int_eq(browse_count(&b, "<article class=\"worker\""), 1);
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard?q=%%22%%3E%%3Cscript%%3E"), 200);
	is_safe();
	shows("No worker fits this filter.");
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard?q=HEALTHY&provider=local"), 200);
	ck_assert_int_eq(browse_count(&b, "<article class=\"worker\""), 2);
	close_world();
}
END_TEST

START_TEST(test_pool_of_others)
{
	int64_t id;

	open_world();
	id = world_worker(w, account, "healthy", "{gpu}", 1);
	world_sql(w, "update worker set url = 'https://provider.example/secret' where id = %lld", (long long)id);
	browse_as(&b, &bob);
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard"), 200);
	ck_assert_int_eq(browse_count(&b, "<article class=\"worker\""), 1);
	hides("provider.example");
	hides("/stop\"");
	ck_assert_int_eq(browse(&b, "%s", worker_path(id, "")), 200);
	hides("/stop\"");
	hides("name=\"maxSession\"");
	ck_assert_int_eq(browse_send(&b, worker_path(id, "/stop"), "back", "pool", NULL), 404);
	browse_as(&b, &eve);
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard"), 200);
	ck_assert_int_eq(browse_count(&b, "<article class=\"worker\""), 0);
	ck_assert_int_eq(browse(&b, "%s", worker_path(id, "")), 404);
	browse_as(&b, &root);
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard"), 200);
	shows("provider.example");
	shows("/stop\"");
	close_world();
}
END_TEST

/* ---- workers ---- */

START_TEST(test_add_notebook)
{
	open_world();
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "/admin/workers/new?provider=manual"), 200);
	shows("value=\"manual\" checked");
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "local", "accelerator", "gpu", "title", "bench " EVIL_LINE,
				     "maxSession", "11x", "idleStop", "20m", "autoStart", "1", "kaggle.key", "ignored", NULL), 400);
	is_safe();
	shows("Is not a duration; write 90m, 11h or 2d.");
	shows("value=\"11x\"");
	shows("value=\"bench " ESCAPED);
	ck_assert_int_eq(world_int(w, "select count(*) from worker"), 0);
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "local", "accelerator", "gpu", "idleStop", "1s", NULL), 400);
	shows("id=\"err-idleStop\"");
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "moon", "accelerator", "gpu", NULL), 400);
	ck_assert_int_eq(world_int(w, "select count(*) from worker"), 0);
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "local", "accelerator", "gpu", "title", "bench",
				     "maxSession", "11h", "idleStop", "", "autoStart", "1", NULL), 303);
	ck_assert_int_eq(world_int(w, "select count(*) from worker where title = 'bench' and desired = 'running' and "
				      "max_session_seconds = 39600 and idle_stop_seconds is null"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from operation where kind = 'start' and state = 'open'"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from audit where action = 'notebooks.create' and object like 'worker %%'"), 1);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("bench is being created.");
	shows("Start reserved");
	ck_assert_int_eq(browse(&b, "/admin/workers/new"), 200);
	shows("aria-labelledby=\"c-");
	/* without the box it is only registered */
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "local", "accelerator", "cpu", NULL), 303);
	ck_assert_int_eq(world_int(w, "select count(*) from worker where desired = 'stopped'"), 1);
	close_world();
}
END_TEST

START_TEST(test_forms_need_their_token)
{
	open_world();
	browse_as(&b, &ann);
	b.no_csrf = true;
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "local", "accelerator", "cpu", "title", "kept", NULL), 403);
	shows("This page was too old.");
	shows("value=\"kept\"");
	snprintf(b.csrf, sizeof(b.csrf), "%s", "AAAA");
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "local", "accelerator", "cpu", NULL), 403);
	browse_as(&b, &ann);
	b.foreign = true;
	ck_assert_int_eq(browse_send(&b, "/admin/workers/new", "provider", "local", "accelerator", "cpu", "title", "planted", NULL), 403);
	hides("planted");
	ck_assert_int_eq(world_int(w, "select count(*) from worker"), 0);
	close_world();
}
END_TEST

START_TEST(test_worker_page_and_edit)
{
	int64_t id, job;
	const char *version;

	open_world();
	id = world_worker(w, account, "healthy", "{gpu,T4}", 1);
	world_sql(w, "update session set capabilities = '{\"gpus\":[{\"name\":\"Tesla T4\",\"memoryBytes\":16000000000,\"driver\":\"550\"},"
		     "{\"name\":\"Tesla T4\",\"memoryBytes\":16000000000,\"driver\":\"550\"}]}', log_tail = $t$" EVIL "\nsecond$t$");
	world_sql(w, "update session_live set utilization = 94, memory_used = 14066000000, memory_total = 17179869184");
	job = submit(&ann, ",'name':'here'");
	world_claim(w, job, id);
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "%s", worker_path(id, "")), 200);
	is_safe();
	shows("2\u00a0×\u00a0Tesla T4");
	shows(", 13.1 / 16\u00a0GB</dd>");
	shows(">here</a>");
	shows(ESCAPED);
	version = world_text(w, "%lld", (long long)world_int(w, "select version from worker"));
	ck_assert_int_eq(browse_send(&b, worker_path(id, "/edit"), "version", version, "title", "", "accelerator", "gpu", NULL), 400);
	shows("id=\"err-title\"");
	ck_assert_int_eq(browse_send(&b, worker_path(id, "/edit"), "version", version, "title", "renamed", "accelerator", "L4",
				     "maxSession", "", "idleStop", "20m", NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("renamed was saved.");
	shows("value=\"20m\"");
	shows("<option value=\"L4\" selected>");
	/* somebody who still sees the old version */
	ck_assert_int_eq(browse_send(&b, worker_path(id, "/edit"), "version", version, "title", "late", "accelerator", "gpu", NULL), 412);
	shows("Somebody else changed this meanwhile.");
	shows("value=\"renamed\"");
	ck_assert_int_eq(world_int(w, "select count(*) from worker where title = 'renamed' and idle_stop_seconds = 1200"), 1);
	close_world();
}
END_TEST

START_TEST(test_worker_stop_start_delete)
{
	int64_t id;

	open_world();
	id = world_worker(w, account, "healthy", "{gpu}", 1);
	world_sql(w, "update worker set title = 'desk'");
	browse_as(&b, &ann);
	ck_assert_int_eq(browse_send(&b, worker_path(id, "/stop"), "back", "pool", NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("desk is stopping.");
	ck_assert_int_eq(browse_send(&b, worker_path(id, "/start"), "back", "worker", NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("desk is starting.");
	ck_assert_int_eq(browse(&b, "%s", worker_path(id, "/delete")), 200);
	shows("Delete desk?");
	ck_assert_int_eq(world_int(w, "select count(*) from worker where desired = 'deleted'"), 0);
	ck_assert_int_eq(browse_send(&b, worker_path(id, "/delete"), NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("desk is being deleted.");
	ck_assert_int_eq(world_int(w, "select count(*) from worker where desired = 'deleted'"), 1);
	/* a button of a page that was too old */
	ck_assert_int_eq(browse_send(&b, worker_path(id, "/start"), NULL), 409);
	shows("The notebook is being deleted.");
	ck_assert_int_eq(browse(&b, "%s", worker_path(id, "/start")), 405);
	close_world();
}
END_TEST

START_TEST(test_enrolment_line_is_shown_once)
{
	int64_t id;

	open_world();
	id = world_worker(w, world_account(w, ann.user_id, "manual", "none", 0), "needs_human", "{}", 1);
	world_sql(w, "update session set state = 'starting', registered_at = null");
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "%s", worker_path(id, "")), 200);
	shows("Paste the line into a terminal there.");
	hides("GPUPOOL_ENROL_TOKEN");
	ck_assert_int_eq(browse_send(&b, worker_path(id, "/enrol"), NULL), 200);
	shows("GPUPOOL_ENROL_TOKEN=gpe");
	ck_assert_str_eq(b.cache, "no-store");
	ck_assert_int_eq(world_int(w, "select count(*) from session where enrol_hash is not null"), 1);
	ck_assert_int_eq(browse(&b, "%s", worker_path(id, "")), 200);
	hides("GPUPOOL_ENROL_TOKEN");
	browse_as(&b, &bob);
	ck_assert_int_eq(browse_send(&b, worker_path(id, "/enrol"), NULL), 404);
	ck_assert_int_eq(browse(&b, "%s", worker_path(id, "")), 200);
	hides("gpupool-agent.py");
	close_world();
}
END_TEST

/* ---- jobs ---- */

START_TEST(test_submit_job)
{
	const char *path;

	open_world();
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "/admin/jobs/new"), 200);
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/new", "name", "n " EVIL_LINE, "type", "script", "code", "print('</textarea>" EVIL_LINE "')\r\n",
				     "requirements", "a b\n-r x", "priority", "high", "timeout", "soon", "maxAttempts", "1000", "gpus", "1", NULL), 400);
	is_safe();
	shows("id=\"err-priority\"");
	shows("id=\"err-timeout\"");
	shows("value=\"soon\"");
	hides("print('</textarea>");
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/new", "type", "script", "code", "print(1)\r\n", "requirements", "numpy\n-r x", NULL), 400);
	shows("id=\"err-requirements\"");
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/new", "type", "script", NULL), 400);
	shows("id=\"err-code\"");
	ck_assert_int_eq(world_int(w, "select count(*) from job"), 0);
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/new", "name", "first", "type", "training", "code", "print(1)\r\nprint(2)\r\n", "args",
				     "--epochs\r\n30", "requirements", "numpy", "tags", "vision, sweep", "priority", "7", "timeout", "90m",
				     "maxAttempts", "2", "accelerator", "any", "gpus", "1", "retryOnError", "1", "runAfter", "2h", "rest",
				     "{\"env\":{\"A\":\"1\"},\"code\":\"evil\"}", NULL), 303);
	ck_assert_int_eq(world_int(w, "select count(*) from job where name = 'first' and tags = '{vision,sweep}' and timeout_seconds = 5400 "
				      "and max_attempts = 2 and retry_on = '{error}' and payload = '{\"code\":\"print(1)\\nprint(2)\\n\","
				      "\"args\":[\"--epochs\",\"30\"],\"requirements\":[\"numpy\"],\"env\":{\"A\":\"1\"}}'"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from job_delayed where run_after between now() + interval '115 min' and now() + interval '125 min'"), 1);
	path = world_text(w, "%s", b.location);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("first was queued.");
	shows("It is planned for later.");
	(void)path;
	/* and again from it */
	ck_assert_int_eq(browse(&b, "/admin/jobs/new?from=%lld", (long long)world_int(w, "select id from job")), 200);
	shows("value=\"first\"");
	shows("print(2)");
	shows("--epochs");
	shows("value=\"90m\"");
	shows("value=\"vision, sweep\"");
	shows("{&quot;env&quot;:{&quot;A&quot;:&quot;1&quot;}}");
	hides("value=\"2h\"");
	browse_as(&b, &bob);
	ck_assert_int_eq(browse(&b, "/admin/jobs/new?from=%lld", (long long)world_int(w, "select id from job")), 404);
	browse_as(&b, &eve);
	ck_assert_int_eq(browse(&b, "/admin/jobs/new"), 403);
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/new", "type", "script", "code", "1", NULL), 403);
	close_world();
}
END_TEST

START_TEST(test_jobs_list_and_search)
{
	int64_t worker, job;

	open_world();
	worker = world_worker(w, account, "healthy", "{gpu}", 1);
	world_sql(w, "update worker set title = 'desk'");
	job = submit(&ann, ",'name':'alpha','tags':['<b>x']");
	world_claim(w, job, worker);
	world_end(w, job, JOB_FAILED, "null");
	world_sql(w, "update job_done set error = jsonb_build_object('type', 'Error', 'message', 'boom ' || $t$" EVIL "$t$)");
	submit(&ann, ",'name':'beta <script>alert(1)</script>'");
	submit(&bob, ",'name':'gamma'");
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "/admin/jobs"), 200);
	is_safe();
	ck_assert_int_eq(browse_count(&b, "<tr id=\"job-"), 2);
	shows("boom " ESCAPED);
	shows("/admin/jobs?tag=");
	hides("gamma");
	ck_assert_int_eq(browse(&b, "/admin/jobs?state=failed"), 200);
	ck_assert_int_eq(browse_count(&b, "<tr id=\"job-"), 1);
	ck_assert_int_eq(browse(&b, "/admin/jobs?q=BETA"), 200);
	ck_assert_int_eq(browse_count(&b, "<tr id=\"job-"), 1);
	ck_assert_int_eq(browse(&b, "/admin/jobs?tag=%%3Cb%%3Ex"), 200);
	ck_assert_int_eq(browse_count(&b, "<tr id=\"job-"), 1);
	shows("Only jobs with the tag <b>&lt;b&gt;x</b>");
	ck_assert_int_eq(browse(&b, "/admin/jobs?worker=%lld", (long long)worker), 200);
	ck_assert_int_eq(browse_count(&b, "<tr id=\"job-"), 1);
	shows("Only jobs of the worker <b>desk</b>");
	ck_assert_int_eq(browse(&b, "/admin/jobs?state=nonsense"), 400);
	ck_assert_int_eq(browse(&b, "/admin/jobs?q=%%22%%3E%%3Cscript%%3E&utm=1"), 200);
	is_safe();
	shows("No job is here.");
	browse_as(&b, &eve);
	ck_assert_int_eq(browse(&b, "/admin/jobs"), 200);
	hides("Cancel selected");
	hides("/admin/jobs/new");
	close_world();
}
END_TEST

START_TEST(test_jobs_in_pages)
{
	const char *older;

	open_world();
	for (int i = 0; i < 53; i++)
		submit(&ann, "");
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "/admin/jobs?q=1"), 200);
	ck_assert_int_eq(browse(&b, "/admin/jobs?type=script"), 200);
	ck_assert_int_eq(browse_count(&b, "<tr id=\"job-"), 50);
	older = strstr(b.text, "/admin/jobs?type=script&amp;pageToken=");
	ck_assert_ptr_nonnull(older);
	older = world_text(w, "%.*s", (int)strcspn(older, "\""), older);
	ck_assert_int_eq(browse(&b, "/admin/jobs?type=script&pageToken=%s", strrchr(older, '=') + 1), 200);
	ck_assert_int_eq(browse_count(&b, "<tr id=\"job-"), 3);
	shows("href=\"/admin/jobs?type=script\"");
	close_world();
}
END_TEST

START_TEST(test_bulk_cancel)
{
	int64_t one, other;

	open_world();
	one = submit(&ann, ",'name':'sweep 1','tags':['s']");
	submit(&ann, ",'name':'sweep 2','tags':['s']");
	other = submit(&ann, ",'name':'keep'");
	submit(&bob, ",'name':'sweep 3','tags':['s']");
	browse_as(&b, &ann);
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/cancel", "which", "selected", NULL), 303);
	ck_assert_int_eq(world_int(w, "select count(*) from job_done"), 0);
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/cancel", "which", "", "id", world_text(w, "%lld", (long long)one), NULL), 400);
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/cancel", "which", "selected", "id", world_text(w, "%lld", (long long)one), "state", "",
				     "q", "sweep", NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("1 job was cancelled.");
	ck_assert_int_eq(world_state(w, one), JOB_CANCELLED);
	/* all of a list is what its filter shows, not more */
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/cancel", "which", "all", "q", "sweep", "tag", "s", NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("1 job was cancelled.");
	ck_assert_int_eq(world_state(w, other), JOB_QUEUED);
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/cancel", "which", "all", "state", "failed", NULL), 303);
	ck_assert_int_eq(world_state(w, other), JOB_QUEUED);
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/cancel", "which", "all", NULL), 303);
	ck_assert_int_eq(world_state(w, other), JOB_CANCELLED);
	ck_assert_int_eq(world_int(w, "select count(*) from job_done"), 3);
	b.no_csrf = true;
	ck_assert_int_eq(browse_send(&b, "/admin/jobs/cancel", "which", "all", NULL), 403);
	close_world();
}
END_TEST

START_TEST(test_job_page)
{
	int64_t worker, job;

	open_world();
	worker = world_worker(w, account, "healthy", "{gpu}", 1);
	world_sql(w, "update worker set title = $t$desk " EVIL "$t$");
	job = world_submit(w, &ann, "{'type':'script','name':'</title><script>alert(1)</script>','tags':['t'],'payload':{'code':'print(1) # <b>',"
				    "'requirements':['numpy']},'timeoutSeconds':5400,'accelerator':['T4','A100']}").id;
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "%s", job_path(job, "")), 200);
	is_safe();
	shows("It waits for a worker.");
	shows("It has not run yet.");
	shows("A100, T4");
	shows("print(1) # &lt;b&gt;");
	shows("1\u00a0h 30\u00a0min");
	world_claim(w, job, worker);
	world_sql(w, "update job_lease set progress = 0.5, message = $t$half " EVIL "$t$, log_bytes = 12");
	ck_assert_int_eq(browse(&b, "%s", job_path(job, "")), 200);
	is_safe();
	shows("width=\"50%\"");
	shows("half " ESCAPED);
	shows(world_text(w, "data-follow=\"/api/gpu/jobs/%lld/logs?run=1\" data-offset=\"0\"", (long long)job));
	shows(job_path(job, "/cancel\""));
	world_end(w, job, JOB_SUCCEEDED, "{\"accuracy\":0.97,\"x\":\"</pre><script>\"}");
	world_sql(w, "insert into artifact(id, name, run, owner_id, size, sha256, path) values (%lld, 'a b/<m>.bin', 1, %lld, 98566144, "
		     "decode(repeat('00', 32), 'hex'), 'x')", (long long)job, (long long)ann.user_id);
	world_sql(w, "update job_done set log_bytes = 1000000");
	ck_assert_int_eq(browse(&b, "%s", job_path(job, "?run=1")), 200);
	is_safe();
	shows("&quot;accuracy&quot;: 0.97");
	shows(world_text(w, "href=\"/api/gpu/jobs/%lld/artifacts/a%%20b/%%3Cm%%3E.bin\"", (long long)job));
	shows("94\u00a0MB");
	shows("data-offset=\"934464\"");
	shows("Only the end is shown here.");
	hides(job_path(job, "/cancel\""));
	ck_assert_int_eq(browse_send(&b, job_path(job, "/cancel"), NULL), 409);
	shows("The job has ended already");
	ck_assert_int_eq(browse(&b, "%s", job_path(job, "?run=99")), 200);
	browse_as(&b, &root);
	ck_assert_int_eq(browse(&b, "%s", job_path(job, "")), 200);
	shows("<dd>ann</dd>");
	browse_as(&b, &bob);
	ck_assert_int_eq(browse(&b, "%s", job_path(job, "")), 404);
	ck_assert_int_eq(browse_send(&b, job_path(job, "/cancel"), NULL), 404);
	close_world();
}
END_TEST

START_TEST(test_job_cancel_and_retry)
{
	int64_t job;

	open_world();
	job = submit(&ann, ",'name':'j'");
	browse_as(&b, &ann);
	ck_assert_int_eq(browse_send(&b, job_path(job, "/cancel"), NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("j was cancelled.");
	shows(job_path(job, "/retry\""));
	ck_assert_int_eq(browse_send(&b, job_path(job, "/retry"), NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("j was queued again.");
	ck_assert_int_eq(world_state(w, job), JOB_QUEUED);
	ck_assert_int_eq(browse_send(&b, job_path(job, "/retry"), NULL), 409);
	ck_assert_int_eq(world_int(w, "select count(*) from audit where action in ('jobs.cancel', 'jobs.retry') and object = 'job %lld'",
				   (long long)job), 2);
	close_world();
}
END_TEST

/* ---- people ---- */

START_TEST(test_users)
{
	open_world();
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "/admin/users"), 403);
	shows("Your role does not allow it.");
	ck_assert_int_eq(browse_send(&b, "/admin/users", "name", "new", "role", "admin", NULL), 403);
	browse_as(&b, &root);
	world_sql(w, "update users set email = $t$" EVIL "$t$ where name = 'eve'");
	ck_assert_int_eq(browse(&b, "/admin/users"), 200);
	is_safe();
	ck_assert_int_eq(browse_count(&b, "/edit\""), 4);
	ck_assert_int_eq(browse_send(&b, "/admin/users", "name", "Chen X", "email", "", "role", "operator", "password", "short", NULL), 400);
	shows("value=\"Chen X\"");
	shows("id=\"err-password\"");
	hides("value=\"short\"");
	ck_assert_int_eq(browse_send(&b, "/admin/users", "name", "chen", "role", "operator", "password", "long enough", NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("chen can sign in now.");
	ck_assert_int_eq(browse_send(&b, "/admin/users", "name", "chen", "role", "viewer", "password", "long enough", NULL), 409);
	ck_assert_int_eq(browse_send(&b, world_text(w, "/admin/users/%lld/edit", (long long)eve.user_id), "role", "operator", NULL), 303);
	ck_assert_int_eq(world_int(w, "select count(*) from users where name = 'eve' and role = 'operator' and not active"), 1);
	/* the last administrator stays one */
	ck_assert_int_eq(browse_send(&b, world_text(w, "/admin/users/%lld/edit", (long long)root.user_id), "role", "viewer", "active", "1", NULL), 409);
	shows("role=\"alert\"");
	ck_assert_int_eq(browse_send(&b, world_text(w, "/admin/users/%lld/edit", (long long)ann.user_id), "role", "operator", "active", "1",
				     "password", "x", NULL), 400);
	shows("password");
	close_world();
}
END_TEST

START_TEST(test_tokens)
{
	int64_t id;

	open_world();
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "/admin/tokens"), 200);
	shows("You have no token.");
	hides("value=\"admin\"");
	ck_assert_int_eq(browse_send(&b, "/admin/tokens", "name", "", "scopes", "read", "expires", "never", NULL), 400);
	shows("id=\"err-name\"");
	shows("id=\"err-expires\"");
	ck_assert_int_eq(browse_send(&b, "/admin/tokens", "name", "x", "scopes", "admin", NULL), 403);
	ck_assert_int_eq(world_int(w, "select count(*) from api_token"), 0);
	ck_assert_int_eq(browse_send(&b, "/admin/tokens", "name", "lab <b>\"x\"</b>", "scopes", "read", "scopes", "submit", "expires", "90d", NULL), 200);
	shows("id=\"new-token\">gpt");
	shows("lab &lt;b&gt;");
	ck_assert_str_eq(b.cache, "no-store");
	ck_assert_int_eq(world_int(w, "select count(*) from api_token where scopes = '{read,submit}' and expires_at > now() + interval '89 days'"), 1);
	ck_assert_int_eq(browse(&b, "/admin/tokens"), 200);
	hides("new-token");
	id = world_int(w, "select id from api_token");
	browse_as(&b, &bob);
	ck_assert_int_eq(browse_send(&b, world_text(w, "/admin/tokens/%lld/delete", (long long)id), NULL), 404);
	browse_as(&b, &ann);
	ck_assert_int_eq(browse_send(&b, world_text(w, "/admin/tokens/%lld/delete", (long long)id), NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("You have no token.");
	shows("The token was revoked.");
	close_world();
}
END_TEST

START_TEST(test_profile)
{
	struct error e = {0};
	struct user_change c = {.active = -1, .password = STR("correct horse")};
	char first[200];

	open_world();
	ck_assert_msg(user_change(w->web, &w->arena, "", ann.user_id, &c, &e) == OK, "%s", e.msg);
	browse_as(&b, &ann);
	snprintf(first, sizeof(first), "%s", b.cookie);
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "/admin/profile"), 200);
	ck_assert_int_eq(browse_send(&b, "/admin/profile", "currentPassword", "wrong horse", "newPassword", "new password", "repeatPassword",
				     "new password", NULL), 400);
	shows("id=\"err-currentPassword\"");
	hides("wrong horse");
	ck_assert_int_eq(browse_send(&b, "/admin/profile", "currentPassword", "correct horse", "newPassword", "new password", "repeatPassword",
				     "other password", NULL), 400);
	shows("id=\"err-repeatPassword\"");
	ck_assert_int_eq(world_int(w, "select count(*) from login"), 2);
	ck_assert_int_eq(browse_send(&b, "/admin/profile/sign-out-others", NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("Your sign-ins in other browsers were ended.");
	ck_assert_int_eq(world_int(w, "select count(*) from login"), 1);
	ck_assert_int_eq(browse_send(&b, "/admin/profile", "currentPassword", "correct horse", "newPassword", "new password", "repeatPassword",
				     "new password", NULL), 303);
	ck_assert_int_eq(browse_follow(&b), 200);
	shows("Your password was changed.");
	snprintf(b.cookie, sizeof(b.cookie), "%s", first);
	ck_assert_int_eq(browse(&b, "/admin/profile"), 303);
	close_world();
}
END_TEST

/* ---- errors, roles, languages ---- */

START_TEST(test_errors_are_pages)
{
	open_world();
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, "/admin/nowhere"), 404);
	shows("<!doctype html>");
	shows("action=\"/admin/sign-out\"");
	shows("0123abcd");
	ck_assert_int_eq(browse(&b, "/admin/workers/abc"), 404);
	ck_assert_int_eq(browse(&b, "/admin/workers/99999999999999"), 404);
	ck_assert_int_eq(browse(&b, "/admin/jobs/99999999999999999999"), 404);
	ck_assert_int_eq(browse(&b, "/admin/gpu-dashboard?q=%%ff"), 400);
	shows("<!doctype html>");
	b.accept_language = "xx, pt-BR;q=0.9, *;q=0.1, ;;;=,\t";
	ck_assert_int_eq(browse(&b, "/admin/jobs"), 200);
	shows("lang=\"en\"");
	close_world();
}
END_TEST

START_TEST(test_pages_by_role)
{
	static const struct {
		const char *path;
		int nobody, viewer, operator, admin;
	} pages[] = {
		{"/admin/gpu-dashboard", 303, 200, 200, 200}, {"/admin/workers/new", 303, 403, 200, 200},
		{"/admin/jobs", 303, 200, 200, 200},	      {"/admin/jobs/new", 303, 403, 200, 200},
		{"/admin/users", 303, 403, 403, 200},	      {"/admin/tokens", 303, 200, 200, 200},
		{"/admin/profile", 303, 200, 200, 200},	      {"/admin/sign-in", 200, 200, 200, 200},
	};

	open_world();
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		browse_as(&b, NULL);
		ck_assert_msg(browse(&b, "%s", pages[i].path) == pages[i].nobody, "%s: %d", pages[i].path, b.status);
		browse_as(&b, &eve);
		ck_assert_msg(browse(&b, "%s", pages[i].path) == pages[i].viewer, "%s: %d", pages[i].path, b.status);
		browse_as(&b, &ann);
		ck_assert_msg(browse(&b, "%s", pages[i].path) == pages[i].operator, "%s: %d", pages[i].path, b.status);
		browse_as(&b, &root);
		ck_assert_msg(browse(&b, "%s", pages[i].path) == pages[i].admin, "%s: %d", pages[i].path, b.status);
	}
	close_world();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pages");
	TCase *t = tcase_create("pages");

	crypto_init();
	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_sign_in);
	tcase_add_test(t, test_sign_in_leads_nowhere_else);
	tcase_add_test(t, test_pool_before_the_first_worker);
	tcase_add_test(t, test_pool_with_every_state);
	tcase_add_test(t, test_pool_of_others);
	tcase_add_test(t, test_add_notebook);
	tcase_add_test(t, test_forms_need_their_token);
	tcase_add_test(t, test_worker_page_and_edit);
	tcase_add_test(t, test_worker_stop_start_delete);
	tcase_add_test(t, test_enrolment_line_is_shown_once);
	tcase_add_test(t, test_submit_job);
	tcase_add_test(t, test_jobs_list_and_search);
	tcase_add_test(t, test_jobs_in_pages);
	tcase_add_test(t, test_bulk_cancel);
	tcase_add_test(t, test_job_page);
	tcase_add_test(t, test_job_cancel_and_retry);
	tcase_add_test(t, test_users);
	tcase_add_test(t, test_tokens);
	tcase_add_test(t, test_profile);
	tcase_add_test(t, test_errors_are_pages);
	tcase_add_test(t, test_pages_by_role);
	suite_add_tcase(s, t);
	return unit_run(s);
}
