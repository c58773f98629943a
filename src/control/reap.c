/* reap - see control/reap.h. */
#include "control/reap.h"

#include "base/clock.h"
#include "base/log.h"
#include "domain/estimate.h"
#include "domain/quota.h"
#include "domain/session.h"
#include "domain/waits.h"

enum {
	ROUND_MS = 500,
	HOUSEKEEPING_MS = 60000,
	WAITS_MS = 10000,
	WAITS_WORK = 16 << 20,
	BATCH = 500,
	OUTPUTS = 200,              /* files that a round deletes: some are large */
	ACCOUNTS = 50,              /* whose ledger a round brings to the present */
	PARTITIONS_AHEAD = 3,
	AUDIT_DAYS = 365,           /* at least */
	LOST_SECONDS = 600,         /* at least, for providers that cannot tell */
	WAIT_HEARTBEATS = 4,        /* after a gap: a minute with the default of 15 s */
	SILENCE_HEARTBEATS = 40,    /* how long a silence of all is taken for ours: ten minutes */
};

void reap_init(struct reaper *r, struct db *db, const struct config *config)
{
	*r = (struct reaper){.db = db, .config = config};
}

static int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* ---- whose silence is it? ------------------------------------------------- */

static void hold(struct reaper *r, const char *why)
{
	int64_t until = clock_ms() + WAIT_HEARTBEATS * r->config->heartbeat_seconds * 1000;

	if (until - r->hold_until_ms > r->config->heartbeat_seconds * 1000)
		log_info("reap.hold", "why=%s seconds=%lld", why, (long long)(WAIT_HEARTBEATS * r->config->heartbeat_seconds));
	r->hold_until_ms = until;
}

/* `silent`: seconds since any agent was heard; < 0 = there is no agent. */
static void note_gaps(struct reaper *r, bool listening, double silent)
{
	int64_t beat = r->config->heartbeat_seconds * 1000, now = clock_ms();

	if (!r->last_ms || now - r->last_ms > beat)
		hold(r, "we_were_away");
	r->last_ms = now;
	if (!listening)
		hold(r, "no_events_process");
	if (silent * 1000 > 2.0 * (double)beat) {
		if (!r->silent_since_ms)
			r->silent_since_ms = now;
		/* One agent alone that is silent may well be dead: this has an end. */
		if (now - r->silent_since_ms < SILENCE_HEARTBEATS * beat)
			hold(r, "no_agent_heard");
	} else {
		r->silent_since_ms = 0;
	}
}

static bool look(struct reaper *r)
{
	cleanup_rows struct rows rows = {0};

	if (db_run(r->db, STMT_LEADER_LOOK, NO_ARGS, &rows, NULL))
		return false;
	if (row_bool(&rows, 0, "leads") != r->leads) {
		r->leads = !r->leads;
		r->last_ms = 0;
		log_info("reap.leader", "leads=%d", r->leads);
	}
	if (r->leads)
		note_gaps(r, row_bool(&rows, 0, "listening"), row_null(&rows, 0, "silent") ? -1 : row_double(&rows, 0, "silent"));
	return r->leads;
}

/* ---- what is late --------------------------------------------------------- */

static void mark_unhealthy(struct reaper *r)
{
	cleanup_rows struct rows rows = {0};
	double seconds = 3.0 * (double)r->config->heartbeat_seconds + 1;

	if (!db_run(r->db, STMT_WORKER_UNHEALTHY, ARGS(arg_double(seconds)), &rows, NULL))
		r->changed |= rows_count(&rows) > 0;
}

/* known: only those that their sessions certainly lost. */
static void reap_leases(struct reaper *r, bool known)
{
	cleanup_rows struct rows rows = {0};
	int n;

	if (db_run(r->db, STMT_LEASE_REAP, ARGS(arg_double((double)r->config->grace_seconds), arg_i64(BATCH), arg_bool(known)), &rows, NULL))
		return;
	n = rows_count(&rows);
	for (int i = 0; i < n; i++)
		log_info("lease.reap", "job=%lld worker=%lld", (long long)row_i64(&rows, i, "id"), (long long)row_i64(&rows, i, "worker_id"));
	r->changed |= n > 0;
	r->requeued |= n > 0;
}

static void end_overdue(struct reaper *r, bool late_counts)
{
	struct session_ending endings[SESSION_END_MOST];
	double lost = (double)most(LOST_SECONDS, most(r->config->lease_training_seconds,
						      most(r->config->lease_script_seconds, r->config->lease_inference_seconds)));
	cleanup_rows struct rows rows = {0};
	struct session_ended ended;
	int n = 0;

	if (db_run(r->db, STMT_SESSION_OVERDUE, ARGS(arg_double((double)r->config->grace_seconds), arg_double(lost)), &rows, NULL))
		return;
	for (int i = 0; i < rows_count(&rows) && n < SESSION_END_MOST; i++) {
		bool deadline = str_eqz(row_str(&rows, i, "code"), "deadline");

		/* A deadline is no matter of who was heard. */
		if (!late_counts && !deadline)
			continue;
		endings[n++] = (struct session_ending){
			.id = row_i64(&rows, i, "id"),
			.code = row_cstr(&rows, i, "code"),
			.reason = row_cstr(&rows, i, "reason"),
			.release = deadline,
			.unregistered = row_bool(&rows, i, "unregistered"),
			.silent = row_null(&rows, i, "silent") ? -1 : row_double(&rows, i, "silent"),
		};
	}
	if (session_end(r->db, endings, n, &ended, NULL))
		return;
	if (ended.ended)
		log_info("session.overdue", "ended=%d requeued=%d", ended.ended, ended.requeued);
	r->changed |= ended.ended > 0;
	r->requeued |= ended.requeued > 0;
}

/* ---- what is due ---------------------------------------------------------- */

static void promote(struct reaper *r)
{
	cleanup_rows struct rows rows = {0};

	if (!db_run(r->db, STMT_JOB_PROMOTE, ARGS(arg_i64(BATCH)), &rows, NULL))
		r->requeued |= row_i64(&rows, 0, "n") > 0;
}

static void stop_idle(struct reaper *r)
{
	cleanup_rows struct rows rows = {0};

	if (db_run(r->db, STMT_WORKER_IDLE_STOP, NO_ARGS, &rows, NULL))
		return;
	for (int i = 0; i < rows_count(&rows); i++)
		log_info("worker.idle", "worker=%lld", (long long)row_i64(&rows, i, "id"));
	r->changed |= rows_count(&rows) > 0;
	r->stopped |= rows_count(&rows) > 0;
}

static void forget_accounts(struct reaper *r)
{
	cleanup_rows struct rows rows = {0};

	if (db_run(r->db, STMT_ACCOUNT_GONE, NO_ARGS, &rows, NULL))
		return;
	for (int i = 0; i < rows_count(&rows); i++)
		log_info("account.gone", "account=%lld", (long long)row_i64(&rows, i, "id"));
	r->changed |= rows_count(&rows) > 0;
}

/* Their agents see it at their next call. */
static void give_notice(struct reaper *r)
{
	cleanup_rows struct rows rows = {0};

	if (db_run(r->db, STMT_SESSION_NOTICE, ARGS(arg_double((double)r->config->deadline_notice_seconds)), &rows, NULL))
		return;
	for (int i = 0; i < rows_count(&rows); i++)
		log_info("session.notice", "session=%lld worker=%lld", (long long)row_i64(&rows, i, "id"),
			 (long long)row_i64(&rows, i, "worker_id"));
	r->changed |= rows_count(&rows) > 0;
}

/* Why jobs wait, where that has changed. */
static void note_waits(struct reaper *r)
{
	cleanup_arena struct arena a;
	int noted;

	r->waits_ms = clock_ms() + WAITS_MS;
	arena_init(&a, WAITS_WORK);
	if (!waits_note(r->db, &a, (double)r->config->place_hold_seconds, &noted, NULL) && noted)
		log_info("waits.noted", "lanes=%d", noted);
}

/* One partition and one batch of each a round, so that no lock is held long. */
static void housekeep(struct reaper *r)
{
	cleanup_rows struct rows dropped = {0};
	int64_t days = r->config->retention_days;
	int accounts;
	bool more;

	(void)!db_run(r->db, STMT_PARTITION_KEEP, ARGS(arg_i64(PARTITIONS_AHEAD)), NULL, NULL);
	more = !db_run(r->db, STMT_PARTITION_FORGET, ARGS(arg_i64(days), arg_i64(most(days, AUDIT_DAYS))), &dropped, NULL) &&
	       !row_null(&dropped, 0, "dropped");
	if (more)
		log_info("retention.drop", "partition=%s", row_cstr(&dropped, 0, "dropped"));
	(void)!db_run(r->db, STMT_IDEMPOTENCY_EXPIRE, ARGS(arg_i64(BATCH)), NULL, NULL);
	(void)!db_run(r->db, STMT_CONSENT_EXPIRE, NO_ARGS, NULL, NULL);
	(void)!db_run(r->db, STMT_LOGIN_EXPIRE, ARGS(arg_i64(BATCH)), NULL, NULL);
	(void)!db_run(r->db, STMT_OPERATION_EXPIRE, ARGS(arg_i64(BATCH), arg_i64(days)), NULL, NULL);
	(void)!db_run(r->db, STMT_SESSION_LIVE_EXPIRE, ARGS(arg_i64(BATCH)), NULL, NULL);
	(void)!db_run(r->db, STMT_OUTPUT_EXPIRE, ARGS(arg_i64(OUTPUTS), arg_i64(days)), NULL, NULL);
	(void)!db_run(r->db, STMT_RUN_TIME_EXPIRE, ARGS(arg_i64(BATCH), arg_i64(days), arg_i64(ESTIMATE_KINDS)), NULL, NULL);
	if (!quota_settle_due(r->db, ACCOUNTS, &accounts, NULL))
		more |= accounts == ACCOUNTS;
	r->housekeeping_ms = clock_ms() + (more ? ROUND_MS : HOUSEKEEPING_MS);
}

void reap_turn(struct reaper *r)
{
	bool late_counts;

	if (clock_ms() < r->next_ms)
		return;
	r->next_ms = clock_ms() + ROUND_MS;
	if (!look(r))
		return;
	late_counts = clock_ms() >= r->hold_until_ms;
	promote(r);
	stop_idle(r);
	forget_accounts(r);
	give_notice(r);
	mark_unhealthy(r);
	end_overdue(r, late_counts);
	reap_leases(r, !late_counts);
	if (clock_ms() >= r->waits_ms)
		note_waits(r);
	if (clock_ms() >= r->housekeeping_ms)
		housekeep(r);
}
