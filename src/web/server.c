/* server - prefork master.  See web/server.h. */
#include "web/server.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "web/listen.h"

struct child {
	pid_t pid; /* 0 = the place is empty */
	int number, generation;
	int64_t born_ms;
};

struct master {
	const struct server *server;
	struct arena arena; /* of config */
	struct config config;
	int listen_fd, wanted, generation;
	struct child children[SERVER_CHILDREN];
	sigset_t handled, before;
	bool draining;
	int64_t drain_until_ms, respawn_at_ms;
	int young_deaths;
	int64_t young_since_ms;
	struct backoff backoff;
};

static volatile sig_atomic_t stopping;

bool server_stopping(void)
{
	return stopping;
}

static void on_stop(int signo)
{
	stopping = 1;
}

/* ---- children --------------------------------------------------------------------- */

static void child_signals(const struct master *m)
{
	struct sigaction stop = {.sa_handler = on_stop}, ignore = {.sa_handler = SIG_IGN};

	sigaction(SIGTERM, &stop, NULL);
	/* A terminal's Ctrl-C reaches all; the master decides. */
	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGHUP, &ignore, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigprocmask(SIG_BLOCK, &m->handled, NULL);
}

static _Noreturn void run_child(struct master *m, int number, pid_t master_pid)
{
	struct server_child c = {
		.config = &m->config,
		.listen_fd = m->listen_fd,
		.number = number,
		.open_mask = &m->before,
		.shared = m->server->shared,
	};

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	child_signals(m);
	/* It may have died before the line above. */
	if (getppid() != master_pid)
		_exit(0);
	exit(m->server->child(&c));
}

static void spawn(struct master *m, struct child *place, int number)
{
	pid_t master_pid = getpid(), pid = fork();

	if (pid < 0) {
		log_error("server.fork", "error=\"%s\"", strerror(errno));
		m->respawn_at_ms = clock_ms() + backoff_next(&m->backoff);
		return;
	}
	if (!pid)
		run_child(m, number, master_pid);
	*place = (struct child){.pid = pid, .number = number, .generation = m->generation, .born_ms = clock_ms()};
}

static bool has_number(const struct master *m, int number)
{
	for (size_t i = 0; i < SERVER_CHILDREN; i++)
		if (m->children[i].pid && m->children[i].generation == m->generation && m->children[i].number == number)
			return true;
	return false;
}

static struct child *empty_place(struct master *m)
{
	for (size_t i = 0; i < SERVER_CHILDREN; i++)
		if (!m->children[i].pid)
			return &m->children[i];
	return NULL;
}

static void fill_up(struct master *m)
{
	for (int n = 0; n < m->wanted && clock_ms() >= m->respawn_at_ms; n++) {
		struct child *place = has_number(m, n) ? NULL : empty_place(m);

		if (place)
			spawn(m, place, n);
	}
}

static int living(const struct master *m)
{
	int n = 0;

	for (size_t i = 0; i < SERVER_CHILDREN; i++)
		n += m->children[i].pid != 0;
	return n;
}

static void signal_all(const struct master *m, int signo, int before_generation)
{
	for (size_t i = 0; i < SERVER_CHILDREN; i++)
		if (m->children[i].pid && m->children[i].generation < before_generation)
			kill(m->children[i].pid, signo);
}

/* Somebody's kill -9 is no sign that the program cannot run: it delays, and does not count. */
static void died_young(struct master *m, int status)
{
	int64_t now = clock_ms();

	if (now - m->young_since_ms > SERVER_YOUNG_WINDOW_MS) {
		m->young_since_ms = now;
		m->young_deaths = 0;
	}
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		m->young_deaths++;
	m->respawn_at_ms = now + backoff_next(&m->backoff);
}

static void bury(struct master *m, pid_t pid, int status)
{
	for (size_t i = 0; i < SERVER_CHILDREN; i++) {
		struct child *c = &m->children[i];

		if (c->pid != pid)
			continue;
		if (WIFSIGNALED(status))
			log_error("server.child", "pid=%d number=%d signal=%d", (int)pid, c->number, WTERMSIG(status));
		else if (WEXITSTATUS(status))
			log_error("server.child", "pid=%d number=%d exit=%d", (int)pid, c->number, WEXITSTATUS(status));
		if (m->draining || c->generation < m->generation)
			;
		else if (clock_ms() - c->born_ms < SERVER_YOUNG_MS)
			died_young(m, status);
		else
			backoff_clear(&m->backoff);
		c->pid = 0;
		return;
	}
}

static void reap(struct master *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		bury(m, pid, status);
}

/* ---- signals ------------------------------------------------------------------------- */

static void drain(struct master *m)
{
	if (m->draining) {
		log_warn("server.kill", "role=%s children=%d", m->server->name, living(m));
		signal_all(m, SIGKILL, m->generation + 1);
		return;
	}
	log_info("server.drain", "role=%s children=%d", m->server->name, living(m));
	m->draining = true;
	m->drain_until_ms = clock_ms() + SERVER_DRAIN_SECONDS * 1000;
	signal_all(m, SIGTERM, m->generation + 1);
}

static void apply(struct master *m)
{
	int n = m->server->processes(&m->config);

	m->wanted = n < SERVER_CHILDREN / 2 ? n : SERVER_CHILDREN / 2;
	m->generation++;
}

static void reload(struct master *m)
{
	struct arena arena;
	struct config config;
	struct error e = {0};

	arena_init(&arena, 1 << 20);
	if (m->server->load(m->server->ctx, &arena, &config, &e)) {
		log_error("server.reload", "kept=old error=\"%s\"", e.msg);
		arena_free(&arena);
		return;
	}
	if (strcmp(config.listen, m->config.listen) != 0)
		log_warn("server.reload", "listen=unchanged why=\"a new address needs a restart\"");
	config.listen = arena_strdup(&arena, m->config.listen);
	arena_free(&m->arena);
	m->arena = arena;
	m->config = config;
	apply(m);
	log_info("server.reload", "role=%s generation=%d", m->server->name, m->generation);
	fill_up(m);
	signal_all(m, SIGTERM, m->generation);
}

/* Until something is to be done at the latest. */
static int64_t wait_ms(const struct master *m)
{
	int64_t now = clock_ms(), until = now + 60000;

	if (m->draining)
		until = m->drain_until_ms;
	else if (m->respawn_at_ms > now)
		until = m->respawn_at_ms;
	return until > now ? until - now : 0;
}

static void handle_signal(struct master *m)
{
	int64_t ms = wait_ms(m);
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	switch (sigtimedwait(&m->handled, NULL, &ts)) {
	case SIGTERM:
	case SIGINT: drain(m); break;
	case SIGHUP:
		if (!m->draining)
			reload(m);
		break;
	default: break; /* SIGCHLD, or the time passed */
	}
	reap(m);
	if (m->draining && clock_ms() >= m->drain_until_ms) {
		log_warn("server.kill", "role=%s children=%d", m->server->name, living(m));
		signal_all(m, SIGKILL, m->generation + 1);
		m->drain_until_ms = clock_ms() + 1000;
	}
}

static int supervise(struct master *m)
{
	while (!m->draining || living(m)) {
		if (m->young_deaths >= SERVER_YOUNG_DEATHS && !m->draining) {
			log_error("server.give_up", "role=%s why=\"%d processes died within %d s of their start\"", m->server->name,
				  m->young_deaths, SERVER_YOUNG_MS / 1000);
			drain(m);
			continue;
		}
		if (!m->draining)
			fill_up(m);
		handle_signal(m);
	}
	return m->young_deaths >= SERVER_YOUNG_DEATHS;
}

int server_run(const struct server *s)
{
	static struct master m; /* its table of children is too large for the stack */
	struct error e = {0};
	int status;

	m = (struct master){.server = s, .listen_fd = -1, .backoff = {.first_ms = 50, .max_ms = 1000}};
	arena_init(&m.arena, 1 << 20);
	if (s->load(s->ctx, &m.arena, &m.config, &e) || listen_open(&m.config, &m.listen_fd, &e)) {
		log_error("server.start", "role=%s error=\"%s\"", s->name, e.msg);
		arena_free(&m.arena);
		return 1;
	}
	sigemptyset(&m.handled);
	sigaddset(&m.handled, SIGTERM);
	sigaddset(&m.handled, SIGINT);
	sigaddset(&m.handled, SIGHUP);
	sigaddset(&m.handled, SIGCHLD);
	sigprocmask(SIG_BLOCK, &m.handled, &m.before);
	apply(&m);
	log_info("server.start", "role=%s listen=%s processes=%d", s->name, m.config.listen, m.wanted);
	status = supervise(&m);
	listen_close(&m.config, m.listen_fd);
	log_info("server.stop", "role=%s", s->name);
	arena_free(&m.arena);
	/* The signals stay blocked: one more must not turn this end into a death. */
	return status;
}
