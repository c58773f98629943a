/*
 * local_keeper - the process that stays with one local run.  See local.h.
 *
 * It outlives the provisioner, holds the run to its limit, ends it on SIGTERM
 * (first by asking, then by force, with every descendant), and writes how the
 * run ended.  It runs nothing of a job's and reads nothing that a job wrote.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "provider/local.h"

enum { TURN_MS = 10000, KILL_TURN_MS = 20, KILL_TURNS = 250 };

enum cause { CAUSE_NONE, CAUSE_ASKED, CAUSE_LIMIT };

struct keeper {
	const struct local_keeper *k;
	pid_t agent;
	int status;                    /* of the agent, once it is gone */
	bool gone, forced;
	enum cause cause;
	int64_t kill_at, limit_at;     /* clock_ms(); INT64_MAX = never */
};

/* What the agent's exit codes say; the rest is "failed". */
static const struct exit_word {
	int status;
	bool orderly;
	const char *code, *reason;
} exit_words[] = {
	{0, true, "ended", "The agent ended by itself."},
	{3, false, "token_refused", "The server refused the agent's token."},
	{4, false, "other_instance", "The session belongs to another agent."},
	{5, true, "session_over", "The server said that the session is over."},
	{6, false, "unreachable", "The agent could not reach the server."},
};

/* ---- ending --------------------------------------------------------------- */

struct below {
	pid_t parent, child;
	int64_t born;
};

static bool note_oldest(void *ctx, pid_t pid, const struct local_process *p)
{
	struct below *b = ctx;

	if (p->parent == b->parent && (!b->child || p->start_time < b->born)) {
		b->child = pid;
		b->born = p->start_time;
	}
	return true;
}

static pid_t oldest_child(pid_t parent)
{
	struct below b = {.parent = parent};

	local_process_each(note_oldest, &b);
	return b.child;
}

/* Under bubblewrap the agent is the child of the first process of its own
 * process ids; bubblewrap itself would die of the signal and take all along. */
static void ask(struct keeper *s, enum cause cause)
{
	pid_t to = s->agent, inner;

	if (s->cause != CAUSE_NONE || s->gone)
		return;
	s->cause = cause;
	s->kill_at = clock_ms() + LOCAL_STOP_MS;
	if (s->k->sandbox->mode == LOCAL_BWRAP && (inner = oldest_child(s->agent)) && (inner = oldest_child(inner)))
		to = inner;
	kill(to, SIGTERM);
}

static bool kill_child(void *ctx, pid_t pid, const struct local_process *p)
{
	if (p->parent == *(pid_t *)ctx)
		kill(pid, SIGKILL);
	return true;
}

static void kill_all(const struct keeper *s)
{
	pid_t self = getpid();

	if (s->k->sandbox->mode == LOCAL_UID)
		local_uid_kill(s->k->sandbox->uid, s->k->record.intent);
	if (!s->gone)
		kill(-s->agent, SIGKILL);
	/* Orphans come to us (we are a subreaper), so each round reaches one generation more. */
	local_process_each(kill_child, &self);
}

static bool reap(struct keeper *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != s->agent)
			continue;
		s->gone = true;
		s->status = status;
	}
	return pid == 0; /* someone is left */
}

static void clear_away(struct keeper *s)
{
	for (int i = 0; i < KILL_TURNS; i++) {
		kill_all(s);
		if (!reap(s))
			return;
		clock_sleep_ms(KILL_TURN_MS);
	}
}

/* ---- how it ended --------------------------------------------------------- */

static void describe(const struct keeper *s, const char **code, bool *orderly, char *reason, size_t cap)
{
	*code = "failed";
	*orderly = false;
	if (s->cause == CAUSE_LIMIT) {
		*code = "limit";
		*orderly = !s->forced;
		snprintf(reason, cap, "The run passed its limit of %lld seconds and was ended.", (long long)(s->k->limit_ms / 1000));
	} else if (s->cause == CAUSE_ASKED) {
		*code = "stopped";
		*orderly = !s->forced;
		snprintf(reason, cap, s->forced ? "The agent did not end within %d seconds and was killed." : "The agent was stopped.",
			 LOCAL_STOP_MS / 1000);
	} else if (WIFSIGNALED(s->status)) {
		*code = "killed";
		snprintf(reason, cap, "The agent was killed by signal %d.", WTERMSIG(s->status));
	} else {
		snprintf(reason, cap, "The agent ended with exit code %d; its log says why.", WEXITSTATUS(s->status));
		for (size_t i = 0; i < ARRAY_LEN(exit_words); i++) {
			if (exit_words[i].status != WEXITSTATUS(s->status))
				continue;
			*code = exit_words[i].code;
			*orderly = exit_words[i].orderly;
			snprintf(reason, cap, "%s", exit_words[i].reason);
		}
	}
}

static void write_end(const struct local_keeper *k, const char *code, bool orderly, const char *reason)
{
	char name[64], temporary[64];
	cleanup_buf struct buf text = BUF_INIT(2048);
	cleanup_fd int fd = -1;

	snprintf(name, sizeof(name), "%s.end", k->record.intent);
	snprintf(temporary, sizeof(temporary), "%s.end.tmp", k->record.intent);
	buf_addf(&text, "{\"code\":\"%s\",\"orderly\":%s,\"reason\":", code, orderly ? "true" : "false");
	buf_add_json(&text, str_of(reason));
	buf_adds(&text, "}\n");
	fd = openat(k->runs_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0 && write(fd, text.ptr, text.len) == (ssize_t)text.len && !fsync(fd))
		renameat(k->runs_fd, temporary, k->runs_fd, name);
}

/* ---- watching ------------------------------------------------------------- */

static void bound_log(int fd)
{
	static const char marker[] = "[the log passed its limit and begins anew]\n";
	struct stat st;

	/* The agent appends, so it goes on at the new end. */
	if (!fstat(fd, &st) && st.st_size > LOCAL_LOG_MOST && !ftruncate(fd, 0))
		(void)!write(fd, marker, sizeof(marker) - 1);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void watch(struct keeper *s, int signals)
{
	struct pollfd p = {.fd = signals, .events = POLLIN};
	struct signalfd_siginfo info;

	while (!s->gone) {
		int64_t now = clock_ms(), until = least(s->kill_at, s->cause ? INT64_MAX : s->limit_at);

		poll(&p, 1, (int)least(TURN_MS, until > now ? until - now : 0));
		while (read(signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
			if (info.ssi_signo == SIGTERM)
				ask(s, CAUSE_ASKED);
		reap(s);
		now = clock_ms();
		if (!s->gone && now >= s->limit_at)
			ask(s, CAUSE_LIMIT);
		if (!s->gone && now >= s->kill_at) {
			s->forced = true;
			clear_away(s);
			s->gone = true; /* or beyond anyone's reach */
		}
		bound_log(s->k->log_fd);
	}
	clear_away(s);
}

/* ---- starting ------------------------------------------------------------- */

static _Noreturn void become_agent(const struct local_keeper *k, pid_t keeper, int tell)
{
	int null = open("/dev/null", O_RDONLY), why;

	setsid();
	if (null < 0 || dup2(null, 0) < 0 || dup2(k->log_fd, 1) < 0 || dup2(k->log_fd, 2) < 0)
		_exit(127);
	/* Whatever else is open closes at exec; only the telling end is used until then. */
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	why = local_sandbox_enter(k->sandbox);
	if (!why && getppid() == keeper) {
		execve(k->sandbox->argv[0], k->sandbox->argv, k->sandbox->envp);
		why = errno;
	}
	(void)!write(tell, &why, sizeof(why));
	_exit(127);
}

/* The errno of what failed, 0 once the program runs. */
static int spawn(struct keeper *s)
{
	pid_t self = getpid();
	int tell[2], why = 0;
	ssize_t n;

	if (pipe2(tell, O_CLOEXEC))
		return errno;
	s->agent = fork();
	if (s->agent == 0)
		become_agent(s->k, self, tell[1]);
	why = s->agent < 0 ? errno : 0;
	close(tell[1]);
	while (!why && (n = read(tell[0], &why, sizeof(why))) < 0 && errno == EINTR)
		;
	close(tell[0]);
	return why;
}

static void report(int fd, const char *text)
{
	(void)!write(fd, text, strlen(text));
	close(fd);
}

static void say_failed(const struct local_keeper *k, int why)
{
	const struct local_sandbox *s = k->sandbox;
	char text[512];

	if (why == EACCES && s->mode == LOCAL_UID)
		snprintf(text, sizeof(text),
			 "The worker's user (uid %ld) cannot enter %s: every directory above it must let others pass (mode o+x), "
			 "or set GPUPOOL_LOCAL_DIR elsewhere.", (long)s->uid, s->home);
	else
		snprintf(text, sizeof(text), "The agent cannot be started by %s: %s.", s->argv[0], strerror(why));
	write_end(k, "start_failed", false, text);
	report(k->report_fd, text);
}

/* What ps shows: a keeper is no provisioner.  The name is written over the
 * arguments, which lie one after the other from argv[0] on. */
static void set_title(const struct local_keeper *k)
{
	char line[4096];
	cleanup_fd int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t room = fd < 0 ? -1 : read(fd, line, sizeof(line));

	prctl(PR_SET_NAME, "gpupool-keeper", 0, 0, 0);
	if (room <= 0 || line[room - 1])
		return;
	memset(program_invocation_name, 0, (size_t)room);
	snprintf(program_invocation_name, (size_t)room, "gpupool-keeper worker %lld", (long long)k->record.worker);
}

/* Also its own three: whoever reads the provisioner's output must see its end. */
static void close_all_but(const struct local_keeper *k)
{
	int null = open("/dev/null", O_RDWR);
	int keep[] = {k->runs_fd, k->log_fd, k->lock_fd, k->uid_lock_fd, k->report_fd};

	for (int fd = 0; null >= 0 && fd < 3; fd++)
		dup2(null, fd);
	for (int fd = 3; fd < 4096; fd++) {
		bool kept = false;

		for (size_t i = 0; i < ARRAY_LEN(keep); i++)
			kept |= fd == keep[i];
		if (!kept)
			close(fd);
	}
	close_range(4096, ~0U, 0);
}

_Noreturn void local_keeper_main(const struct local_keeper *k)
{
	struct keeper s = {.k = k, .kill_at = INT64_MAX, .limit_at = k->limit_ms ? clock_ms() + k->limit_ms : INT64_MAX};
	struct local_record record = k->record;
	struct local_process self;
	const char *code;
	char reason[256];
	sigset_t mask;
	bool orderly;
	enum err err;
	int signals, why;

	setsid();
	set_title(k);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGCHLD);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	close_all_but(k);
	signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
	record.pid = getpid();
	local_boot_id(record.boot);
	if (signals < 0 || !local_process_read(record.pid, &self)) {
		report(k->report_fd, "The run cannot be watched.");
		_exit(1);
	}
	record.start_time = self.start_time;
	err = local_record_make(k->runs_fd, &record);
	if (err) {
		report(k->report_fd, err == ERR_CONFLICT ? "" : "The record of the run cannot be written.");
		_exit(1);
	}
	close(k->lock_fd);
	why = spawn(&s);
	if (k->uid_lock_fd >= 0)
		close(k->uid_lock_fd);
	if (why) {
		say_failed(k, why);
		_exit(1);
	}
	close(k->report_fd);
	watch(&s, signals);
	describe(&s, &code, &orderly, reason, sizeof(reason));
	write_end(k, code, orderly, reason);
	_exit(0);
}
