/* Inserts what tests of jobs and workers need; see world.h. */
#include "world.h"

#include <check.h>
#include <stdlib.h>

#include "domain/estimate.h"

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
	world_sql(w, "with s as (insert into session(worker_id, owner_id, account_id, provider, generation, state, got, slots, registered_at, token_hash) "
		     "select id, owner_id, account_id, provider, 1, 'running', '%s', %d, now(), sha256(id::text::bytea) from worker where id = %lld returning id, worker_id), "
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
	struct estimate estimate;
	struct job_spec spec;
	struct error e = {0};

	for (char *c = text; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	ck_assert_int_eq(json_parse(str_of(text), SIZE_MAX, &json, &e), OK);
	ck_assert(job_spec_read(&judge, p->user_id, json, &spec));
	ck_assert_msg(estimate_specs(w->web, &w->arena, p, &spec, 1, &estimate, &e) == OK, "%s", e.msg);
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

/* What the agent of a worker presents, as hex. */
static const char *token_of(struct world *w, int64_t worker)
{
	cleanup_rows struct rows r = {0};

	pg_sql(w->super, world_text(w, "select encode(sha256('%lld'), 'hex') as hash", (long long)worker), &r);
	return world_text(w, "%s", row_cstr(&r, 0, "hash"));
}

int world_claim_on(struct world *w, struct db *db, int64_t job, int64_t worker)
{
	cleanup_rows struct rows r = {0};
	struct error e = {0};
	const char *lane = world_text(w, "{%lld}", (long long)world_int(w, "select lane from job where id = %lld", (long long)job));
	const char *gpus = world_text(w, "{%lld}", (long long)world_int(w, "select gpus from lane where id = (select lane from job where id = %lld)", (long long)job));
	const char *hash = world_text(w, "{\"\\\\x%s\"}", token_of(w, worker));
	enum err err = db_run(db, STMT_LEASE_CLAIM,
			      ARGS(arg_cstr(lane), arg_cstr(hash), arg_cstr("{1}"), arg_cstr(world_text(w, "{%lld}", (long long)job)),
				   arg_cstr("{300}"), arg_cstr(gpus), arg_cstr("{}")), &r, &e);

	ck_assert_msg(!err, "%s", e.msg);
	return rows_count(&r);
}

void world_claim(struct world *w, int64_t job, int64_t worker)
{
	ck_assert_int_eq(world_claim_on(w, w->super, job, worker), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from job_lease where id = %lld", (long long)job), 1);
}

const char *world_lease(struct world *w, int64_t job)
{
	cleanup_rows struct rows r = {0};

	pg_sql(w->super, world_text(w, "select lease from job_lease where id = %lld", (long long)job), &r);
	ck_assert_int_eq(rows_count(&r), 1);
	return world_text(w, "%s", row_cstr(&r, 0, "lease"));
}

const char *world_report_on(struct world *w, struct db *db, int64_t job, int64_t worker, const char *lease, enum job_state state,
			    const char *result)
{
	cleanup_rows struct rows r = {0};
	struct error e = {0};
	const char *agents = world_text(w, "[{\"i\": 0, \"hash\": \"%s\", \"worker\": %lld}]", token_of(w, worker), (long long)worker);
	const char *items = world_text(w, "[{\"i\": 0, \"n\": 0, \"id\": %lld, \"lease\": \"%s\", \"state\": %d, \"result\": %s}]",
				       (long long)job, lease, (int)state, result ? result : "null");

	ck_assert_msg(!db_run(db, STMT_RESULT_TAKE, ARGS(arg_cstr(agents), arg_cstr(items), arg_i64(1)), &r, &e), "%s", e.msg);
	for (int i = 0; i < rows_count(&r); i++)
		if (str_eqz(row_str(&r, i, "kind"), "r"))
			return world_text(w, "%s", row_cstr(&r, i, "verdict"));
	ck_abort_msg("no verdict");
}

void world_end(struct world *w, int64_t job, enum job_state state, const char *result)
{
	int64_t worker = world_int(w, "select worker_id from job_lease where id = %lld", (long long)job);

	ck_assert_str_eq(world_report_on(w, w->super, job, worker, world_lease(w, job), state, result), "accepted");
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
