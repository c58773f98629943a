/* webdriver_process - ChromeDriver as a process.  See provider/webdriver.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "provider/webdriver.h"

enum {
	SAYS_PORT_MS = 20000,
	TURN_MS = 20, ASK_MS = 3000, FORCE_MS = 10000,
	VARS_MOST = 8,
	TRIES = 5,
};

/* ---- /proc ---------------------------------------------------------------- */

struct seen {
	char state;
	pid_t parent, group, session;
	int64_t started;
};

static ssize_t read_small(const char *path, char *ret, size_t cap)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, cap - 1);

	ret[n > 0 ? n : 0] = '\0';
	return n;
}

static bool look(pid_t pid, struct seen *ret)
{
	char path[32], text[1024], *p;
	long parent, group, session;
	unsigned long long started;

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	if (read_small(path, text, sizeof(text)) <= 0)
		return false;
	p = strrchr(text, ')'); /* the name may hold anything */
	if (!p || sscanf(p + 1, " %c %ld %ld %ld %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ret->state, &parent,
			 &group, &session, &started) != 5)
		return false;
	ret->parent = (pid_t)parent;
	ret->group = (pid_t)group;
	ret->session = (pid_t)session;
	ret->started = (int64_t)started;
	return true;
}

static void each(bool (*fn)(void *ctx, pid_t pid, const struct seen *s), void *ctx)
{
	DIR *proc = opendir("/proc");
	struct dirent *d;
	struct seen s;
	int64_t pid;

	while (proc && (d = readdir(proc)))
		if (str_to_id(str_of(d->d_name), &pid) && look((pid_t)pid, &s) && !fn(ctx, (pid_t)pid, &s))
			break;
	if (proc)
		closedir(proc);
}

/* ---- its session ---------------------------------------------------------- */

struct members {
	const struct wd_process *of;
	bool browser; /* ChromeDriver's own children only */
	int signal; /* 0 = counts only */
	int count;
	int64_t memory; /* PSS, KiB */
};

/* While one of a session lives the kernel gives its number to no other process. */
static bool is_member(const struct wd_process *p, const struct seen *s)
{
	return s->session == p->pid && s->started >= p->started && s->state != 'Z' && s->state != 'X';
}

static bool signal_member(void *ctx, pid_t pid, const struct seen *s)
{
	struct members *m = ctx;

	if (is_member(m->of, s) && (!m->browser || s->parent == m->of->pid)) {
		m->count++;
		if (m->signal)
			kill(pid, m->signal);
	}
	return true;
}

static int members(const struct wd_process *p, bool browser, int signal)
{
	struct members m = {.of = p, .browser = browser, .signal = signal};

	each(signal_member, &m);
	return m.count;
}

bool wd_process_alive(const struct wd_process *p)
{
	struct seen s;

	return p->pid > 1 && look(p->pid, &s) && s.started == p->started && s.state != 'Z' && s.state != 'X';
}

bool wd_number_alive(pid_t pid)
{
	struct seen s;

	return look(pid, &s) && s.state != 'Z' && s.state != 'X';
}

static bool gone_within(const struct wd_process *p, int64_t ms)
{
	int64_t until = clock_ms() + ms;
	int left;

	do {
		waitpid(p->pid, NULL, WNOHANG); /* where it is our own child */
		left = members(p, false, 0);
		if (left)
			clock_sleep_ms(TURN_MS);
	} while (left && clock_ms() < until);
	return !left;
}

bool wd_process_end(const struct wd_process *p)
{
	struct seen s;
	bool there = p->pid > 1 && look(p->pid, &s);

	/* The number may be another's by now: then nothing of ours is left. */
	if (p->pid <= 1 || (there && s.started != p->started))
		return true;
	/* The browser's main process writes down what its helpers hold, a sign-in among it, if it ends before them. */
	members(p, true, SIGTERM);
	for (int64_t until = clock_ms() + ASK_MS; members(p, true, 0) && clock_ms() < until;)
		clock_sleep_ms(TURN_MS);
	members(p, false, SIGTERM);
	if (gone_within(p, ASK_MS))
		return true;
	members(p, false, SIGKILL);
	return gone_within(p, FORCE_MS);
}

struct workers {
	const char *dir;
	struct wd_process found;
};

static bool works_in(void *ctx, pid_t pid, const struct seen *s)
{
	struct workers *w = ctx;
	char path[32], target[PATH_MAX];
	ssize_t n;

	if (s->session <= 1 || s->session == getsid(0) || s->state == 'Z')
		return true;
	snprintf(path, sizeof(path), "/proc/%ld/cwd", (long)pid);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return true;
	target[n] = '\0';
	if (strcmp(target, w->dir))
		return true;
	/* Of its session the leader is the oldest; where that is gone, whatever is left. */
	w->found = (struct wd_process){.pid = s->session};
	return false;
}

void wd_process_end_in(const char *dir)
{
	char real[PATH_MAX];
	struct workers w = {.dir = real};

	if (!realpath(dir, real))
		return;
	for (int round = 0; round < 8; round++) {
		struct seen s;

		w.found = (struct wd_process){0};
		each(works_in, &w);
		if (!w.found.pid)
			return;
		if (look(w.found.pid, &s))
			w.found.started = s.started;
		wd_process_end(&w.found);
	}
}

static bool add_memory(void *ctx, pid_t pid, const struct seen *s)
{
	struct members *m = ctx;
	char path[48], text[2048], *line;
	long long kib;

	if (!is_member(m->of, s))
		return true;
	snprintf(path, sizeof(path), "/proc/%ld/smaps_rollup", (long)pid);
	if (read_small(path, text, sizeof(text)) <= 0)
		return true;
	line = strstr(text, "\nPss:");
	if (line && sscanf(line, "\nPss: %lld", &kib) == 1) {
		m->memory += kib;
		m->count++;
	}
	return true;
}

int64_t wd_process_memory(const struct wd_process *p)
{
	struct members m = {.of = p};

	each(add_memory, &m);
	return m.count ? m.memory * 1024 : -1;
}

/* ---- its start ------------------------------------------------------------ */

/* "… was started successfully on port 33801." */
static int port_said(const char *path)
{
	char text[4096], *p;
	int port = 0;

	if (read_small(path, text, sizeof(text)) <= 0)
		return 0;
	p = strstr(text, "successfully on port ");
	return p && sscanf(p, "successfully on port %d.", &port) == 1 && port > 0 && port < 65536 ? port : 0;
}

/* Nothing of our own environment goes along but these; there is no secret in them. */
static void environment(const struct wd_program *program, char home[PATH_MAX + 8], const char *vars[VARS_MOST])
{
	size_t n = 0;

	snprintf(home, PATH_MAX + 8, "HOME=%s", program->dir);
	vars[n++] = home;
	vars[n++] = "PATH=/usr/local/bin:/usr/bin:/bin";
	vars[n++] = "LANG=en_US.UTF-8";
	vars[n++] = "LANGUAGE=en";
	vars[n++] = "TZ=UTC";
	vars[n] = NULL;
}

static int spawn(const struct wd_program *program, const char *out, pid_t *pid)
{
	const char *argv[] = {program->path, "--port=0", NULL}, *vars[VARS_MOST];
	char home[PATH_MAX + 8];
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	environment(program, home, vars);
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&files, 1, 2);
	posix_spawn_file_actions_addclosefrom_np(&files, 3);
	posix_spawn_file_actions_addchdir_np(&files, program->dir);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	rc = posix_spawn(pid, program->path, &files, &attr, (char *const *)argv, (char *const *)vars);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return rc;
}

/* Waits for its port; 0 when it ended, or says none in time. */
static int wait_for_port(const struct wd_process *p, const char *out, int64_t until)
{
	int port;

	while (!(port = port_said(out)) && clock_ms() < until && waitpid(p->pid, NULL, WNOHANG) == 0)
		clock_sleep_ms(TURN_MS);
	return port;
}

enum err wd_process_start(const struct wd_program *program, struct wd_process *ret, struct error *e)
{
	char out[PATH_MAX];
	int64_t until = clock_ms() + SAYS_PORT_MS;

	*ret = (struct wd_process){0};
	if (snprintf(out, sizeof(out), "%s/chromedriver.out", program->dir) >= (int)sizeof(out))
		return error_set(e, ERR_INVALID, "The browser's directory has too long a name.");
	/* It picks a port that is free with one kind of address and then gives up when the other kind is not. */
	for (int i = 0; i < TRIES && !ret->port && clock_ms() < until; i++) {
		struct seen s;
		int rc;

		unlink(out);
		rc = spawn(program, out, &ret->pid);
		if (rc)
			return error_set(e, ERR_INVALID, "ChromeDriver cannot be started (%s: %s): apt-get install chromium-driver, or set chromedriver.",
					 program->path, strerror(rc));
		ret->started = look(ret->pid, &s) ? s.started : 0;
		ret->port = wait_for_port(ret, out, until);
		if (!ret->port)
			wd_process_end(ret);
	}
	return ret->port ? OK : error_set(e, ERR_TIMEOUT, "ChromeDriver did not start: see %.120s.", out);
}
