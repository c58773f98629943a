/* Inserts what tests of jobs and workers need; see world.h. */
#include "world.h"

#include <check.h>
#include <stdlib.h>

struct world *world_open(const struct pg *pg, const char *name)
{
	struct world *w = calloc(1, sizeof(*w));

	ck_assert_ptr_nonnull(w);
	w->pg = pg;
	snprintf(w->name, sizeof(w->name), "%s", name);
	arena_init(&w->arena, 64 << 20);
	pg_copy(pg, name);
	w->super = pg_db(pg, "postgres", name);
	w->web = pg_db(pg, "web", name);
	w->events = pg_db(pg, "events", name);
	pg_sql(w->super, "set search_path = gpupool", NULL);
	lane_forget();
	return w;
}

void world_close(struct world *w)
{
	db_close(w->super);
	db_close(w->web);
	db_close(w->events);
	arena_free(&w->arena);
	free(w);
}

const char *world_text(struct world *w, const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = arena_vprintf(&w->arena, fmt, ap);
	va_end(ap);
	ck_assert_ptr_nonnull(s);
	return s;
}

void world_sql(struct world *w, const char *fmt, ...)
{
	va_list ap;
	char *sql;

	va_start(ap, fmt);
	sql = arena_vprintf(&w->arena, fmt, ap);
	va_end(ap);
	pg_sql(w->super, sql, NULL);
}

int64_t world_int(struct world *w, const char *fmt, ...)
{
	va_list ap;
	char *sql;

	va_start(ap, fmt);
	sql = arena_vprintf(&w->arena, fmt, ap);
	va_end(ap);
	return pg_int(w->super, sql);
}

struct principal world_user(struct world *w, const char *name, enum role role)
{
	struct principal p = {.role = role, .scopes = role_scopes(role)};

	p.user_id = world_int(w, "insert into users(name, role) values ('%s', '%s') returning id", name, role_name(role));
	snprintf(p.name, sizeof(p.name), "%s", name);
	return p;
}

int64_t world_account(struct world *w, int64_t owner, const char *provider, const char *sharing, int64_t with)
{
	return world_int(w, "insert into account(owner_id, provider, sharing, shared_with, sealed) "
			    "values (%lld, '%s', '%s', '{%lld}', '\\x00') returning id",
			 (long long)owner, provider, sharing, (long long)with);
}

int64_t world_worker(struct world *w, int64_t account, const char *state, const char *got, int slots)
{
	int64_t id = world_int(w, "insert into worker(owner_id, account_id, provider, title, accelerator, desired, state) "
				  "select owner_id, id, provider, 'w', 'gpu', 'running', '%s' from account where id = %lld returning id",
			       state, (long long)account);

	if (!slots)
		return id;
	world_sql(w, "with s as (insert into session(worker_id, owner_id, account_id, provider, generation, state, got, slots, registered_at) "
		     "select id, owner_id, account_id, provider, 1, 'running', '%s', %d, now() from worker where id = %lld returning id, worker_id), "
		     "l as (insert into session_live(session_id) select id from s) "
		     "update worker set session_id = s.id from s where worker.id = s.worker_id",
		  got, slots, (long long)id);
	return id;
}

static void no_fault(void *ctx, enum err code, const char *field, const char *message)
{
	ck_abort_msg("%s: %s %s", (const char *)ctx, field, message);
}

struct job_placed world_submit(struct world *w, const struct principal *p, const char *document)
{
	char *text = arena_strdup(&w->arena, document);
	struct job_judge judge = {.arena = &w->arena, .fault = no_fault, .ctx = text, .prefix = ""};
	struct json *json = NULL;
	struct job_placed placed = {0};
	struct job_spec spec;
	struct error e = {0};

	for (char *c = text; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	ck_assert_int_eq(json_parse(str_of(text), SIZE_MAX, &json, &e), OK);
	ck_assert(job_spec_read(&judge, p->user_id, json, &spec));
	ck_assert_msg(job_submit(w->web, &w->arena, p, &spec, 1, &placed, &e) == OK, "%s", e.msg);
	json_free(json);
	return placed;
}

void world_job(struct world *w, int64_t id, struct rows *ret)
{
	struct principal all = principal_system();
	struct error e = {0};

	ck_assert_msg(job_get(w->web, &all, id, ret, &e) == OK, "%s", e.msg);
}

enum job_state world_state(struct world *w, int64_t id)
{
	cleanup_rows struct rows rows = {0};

	world_job(w, id, &rows);
	return (enum job_state)row_i64(&rows, 0, "state");
}

void world_claim(struct world *w, int64_t job, int64_t worker)
{
	int64_t n = world_int(w, "with r as (delete from job_ready where id = %lld returning *), "
				 "c as (insert into lane_delta(lane, n) select lane, -1 from r), "
				 "l as (insert into job_lease(id, lease, session_id, worker_id, lane, owner_id, gpus, attempt, run, max_attempts, seconds, until) "
				 "select r.id, gen_random_uuid(), w.session_id, w.id, r.lane, r.owner_id, n.gpus, attempt + 1, run + 1, max_attempts, 300, "
				 "now() + interval '5 min' from r join lane n on n.id = r.lane, worker w where w.id = %lld returning id) select count(*) from l",
			      (long long)job, (long long)worker);

	ck_assert_int_eq(n, 1);
}

void world_end(struct world *w, int64_t job, enum job_state state, const char *result)
{
	int64_t n = world_int(w, "with l as (delete from job_lease where id = %lld returning *), "
				 "d as (insert into job_done(id, owner_id, lane, state, attempt, run, max_attempts, lease, session_id, worker_id, reported, started, result) "
				 "select id, owner_id, lane, %d, attempt, run, max_attempts, lease, session_id, worker_id, true, started, %s from l returning id) "
				 "select count(*) from d",
			      (long long)job, (int)state, result ? world_text(w, "'%s'", result) : "null");

	ck_assert_int_eq(n, 1);
}

struct blocked {
	struct world *w;
	int n;
};

static bool are_blocked(void *ctx)
{
	struct blocked *b = ctx;

	return world_int(b->w, "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'") >= b->n;
}

void world_blocked(struct world *w, int n)
{
	ck_assert_msg(wait_for(are_blocked, &(struct blocked){w, n}, 20000), "nothing waits for a lock");
}
