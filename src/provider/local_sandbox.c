/*
 * local_sandbox - keeps the processes of local workers away from everything
 * else.  See local.h.
 *
 * As root a worker's processes have a uid that nothing else on the machine
 * has; as an ordinary user they live under bubblewrap: own process ids, the
 * system read-only, the home directory, the state directory and PostgreSQL's
 * socket out of sight.  Jobs of one worker share all of that with its agent.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "provider/local.h"

enum { ARGV_MOST = 256, ENV_MOST = 40, UID_RANGE = 4096, TMPDIR_MOST = 64 };

static const char bwrap[] = "/usr/bin/bwrap";
/* Of the whole machine, until it restarts: a lock, and for each uid the run that took it last. */
static const char uid_dir[] = "/run/lock/gpupool-local";

const char *local_mode_name(enum local_mode m)
{
	static const char *const names[] = {[LOCAL_UID] = "uid", [LOCAL_BWRAP] = "bwrap", [LOCAL_UNSAFE] = "unsafe"};

	return names[m];
}

/* ---- what works here ------------------------------------------------------ */

static bool ended_well(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0;
}

static bool can_take_uid(uid_t uid)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid));
	return pid > 0 && ended_well(pid);
}

static bool can_bwrap(void)
{
	static const char *const argv[] = {bwrap, "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--ro-bind", "/", "/",
					   "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--", "/bin/true", NULL};
	static const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
	posix_spawn_file_actions_t quiet;
	pid_t pid;
	int rc;

	if (access(bwrap, X_OK))
		return false;
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
	rc = posix_spawn(&pid, bwrap, &quiet, NULL, (char *const *)argv, (char *const *)envp);
	posix_spawn_file_actions_destroy(&quiet);
	return rc == 0 && ended_well(pid);
}

enum err local_mode_choose(struct provider_call *c, enum local_mode *ret)
{
	bool root = geteuid() == 0;

	if (root && c->config->local_uid > 0 && can_take_uid((uid_t)c->config->local_uid)) {
		*ret = LOCAL_UID;
	} else if (!root && can_bwrap()) {
		*ret = LOCAL_BWRAP;
	} else if (c->config->local_unsafe) {
		*ret = LOCAL_UNSAFE;
	} else if (root) {
		return error_set(c->error, ERR_INVALID,
				 "Local workers cannot be kept apart: GPUPOOL_LOCAL_UID is 0 or cannot be taken here. Set it, "
				 "or set GPUPOOL_LOCAL_UNSAFE=1 to let their jobs act as root.");
	} else {
		return error_set(c->error, ERR_INVALID,
				 "Local workers cannot be kept apart: bubblewrap is missing or may not make user namespaces here. "
				 "Install it, start as root, or set GPUPOOL_LOCAL_UNSAFE=1.");
	}
	return OK;
}

/* ---- uids ----------------------------------------------------------------- */

static bool is_busy(uid_t uid)
{
	glob_t all;
	struct stat st;
	bool busy = false;

	if (glob("/proc/[0-9]*", GLOB_NOSORT, NULL, &all))
		return false;
	for (size_t i = 0; i < all.gl_pathc && !busy; i++)
		busy = !stat(all.gl_pathv[i], &st) && st.st_uid == uid;
	globfree(&all);
	return busy;
}

/* -1 where this machine has no such place: then this installation is alone.  Anyone
 * may make directories beside it, so one that is not ours alone is no registry. */
static int open_uids(void)
{
	struct stat st;
	int fd;

	if (mkdir(uid_dir, 0700) && errno != EEXIST)
		return -1;
	fd = open(uid_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && (fstat(fd, &st) || st.st_uid != geteuid() || (st.st_mode & 077))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int open_uid_lock(int dir)
{
	return dir < 0 ? -1 : openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static int open_owner(int dir, uid_t uid, int flags)
{
	char name[32];

	snprintf(name, sizeof(name), "%ld", (long)uid);
	return openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static bool note_owner(int dir, uid_t uid, struct str intent)
{
	cleanup_fd int fd = open_owner(dir, uid, O_WRONLY | O_CREAT | O_TRUNC);

	return fd >= 0 && write(fd, intent.ptr, intent.len) == (ssize_t)intent.len;
}

/* Two installations on one machine draw from one range, so a lock of the whole
 * machine is held until the new uid shows in /proc. */
enum err local_uid_take(struct provider_call *c, int64_t worker, struct str intent, uid_t *ret, int *lock_fd)
{
	cleanup_fd int dir = open_uids();
	cleanup_fd int fd = open_uid_lock(dir);
	uid_t first = (uid_t)c->config->local_uid;

	while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB)) {
		if (clock_ms() >= c->deadline_ms)
			return error_set(c->error, ERR_TIMEOUT, "another start on this machine takes long");
		clock_sleep_ms(10);
	}
	for (int64_t i = 0; i < UID_RANGE; i++) {
		uid_t uid = first + (uid_t)((worker + i) % UID_RANGE);

		if (is_busy(uid))
			continue;
		if (fd >= 0 && !note_owner(dir, uid, intent))
			return error_set(c->error, ERR_UNAVAILABLE, "cannot write below %s: %s", uid_dir, strerror(errno));
		*ret = uid;
		*lock_fd = steal_fd(&fd);
		return OK;
	}
	return error_set(c->error, ERR_UNAVAILABLE, "every uid from %ld on is in use", (long)first);
}

static bool is_owner(int dir, uid_t uid, const char *intent)
{
	cleanup_fd int fd = open_owner(dir, uid, O_RDONLY);
	char text[64];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	return n > 0 && str_eqz((struct str){text, (size_t)n}, intent);
}

void local_uid_kill(uid_t uid, const char *intent)
{
	cleanup_fd int dir = -1;
	cleanup_fd int lock = -1;
	pid_t pid;

	if (!uid || geteuid() != 0 || !is_busy(uid))
		return;
	dir = open_uids();
	lock = open_uid_lock(dir);
	if (lock >= 0 && (flock(lock, LOCK_EX) || !is_owner(dir, uid, intent)))
		return;
	pid = fork();
	if (pid == 0) {
		/* From that uid -1 reaches exactly its processes, also those born meanwhile. */
		if (!setresuid(uid, uid, uid))
			kill(-1, SIGKILL);
		_exit(0);
	}
	if (pid > 0)
		(void)ended_well(pid);
}

/* ---- the command ---------------------------------------------------------- */

struct list {
	char **at;
	size_t n, most;
};

static void add(struct list *l, const char *s)
{
	if (!s || l->n + 1 >= l->most)
		BUG("list of a local agent is full");
	l->at[l->n++] = (char *)s;
}

static void add2(struct list *l, const char *a, const char *b)
{
	add(l, a);
	add(l, b);
}

static void bind(struct list *l, const char *how, const char *path)
{
	add2(l, how, path);
	add(l, path);
}

static bool below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return n > 1 && !strncmp(path, dir, n) && (path[n] == '/' || path[n] == '\0');
}

/* Hides a directory unless it is one that a program needs, or hidden already. */
static void hide(struct provider_call *c, struct list *l, const char *path)
{
	static const char *const needed[] = {"/usr", "/bin", "/lib", "/etc", "/sbin", "/lib64", "/opt", "/proc", "/sys", "/dev"};
	char *real = path && path[0] ? realpath(path, NULL) : NULL;
	bool keep = !real || !real[1] || !strcmp(real, "/tmp") || !strcmp(real, "/run");

	for (size_t i = 0; !keep && i < ARRAY_LEN(needed); i++)
		keep = below(needed[i], real);
	if (!keep)
		add2(l, "--tmpfs", arena_strdup(c->arena, real));
	free(real);
}

/* host=/directory of a connection string: where PostgreSQL's socket lies. */
static const char *socket_dir(struct provider_call *c)
{
	const char *p = strstr(c->config->database, "host=");

	if (!p)
		return "/var/run/postgresql";
	p += 5 + strspn(p + 5, "'");
	if (!strncmp(p, "%2F", 3))
		return NULL; /* URI form: below /run, /tmp or the state directory */
	return arena_printf(c->arena, "%.*s", (int)strcspn(p, " '&,"), p);
}

/* What lies beside it is an installation's as well: passwords beside the socket, keys beside the workers. */
static void hide_parent(struct provider_call *c, struct list *l, const char *path)
{
	const char *end = path ? strrchr(path, '/') : NULL;

	if (end && end > path)
		hide(c, l, arena_strndup(c->arena, path, (size_t)(end - path)));
}

static void add_devices(struct provider_call *c, struct list *l)
{
	static const char *const kinds[] = {"/dev/nvidia*", "/dev/dri", "/dev/kfd"};
	glob_t found;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (glob(kinds[i], 0, NULL, &found))
			continue;
		for (size_t k = 0; k < found.gl_pathc && l->n + 16 < l->most; k++)
			bind(l, "--dev-bind-try", arena_strdup(c->arena, found.gl_pathv[k]));
		globfree(&found);
	}
}

static bool is_hidden(const char *path, const char *home)
{
	return (home && below(path, home)) || below(path, "/home") || below(path, "/tmp") || below(path, "/var/tmp");
}

/* A Python of one's own below a hidden directory: what it was installed into, PREFIX of PREFIX/bin/python. */
static const char *python_prefix(struct provider_call *c)
{
	const char *end = strstr(c->config->python, "/bin/");

	return end ? arena_strndup(c->arena, c->config->python, (size_t)(end - c->config->python)) : "";
}

static void add_bwrap(struct provider_call *c, const struct local_sandbox *s, struct list *l)
{
	const struct passwd *me = getpwuid(getuid());
	const char *home = me ? me->pw_dir : NULL, *python = c->config->python, *prefix = python_prefix(c);

	add2(l, bwrap, "--unshare-pid");
	add2(l, "--unshare-ipc", "--die-with-parent");
	bind(l, "--ro-bind", "/");
	add2(l, "--dev", "/dev");
	add2(l, "--proc", "/proc");
	add2(l, "--tmpfs", "/tmp");
	add2(l, "--tmpfs", "/run");
	bind(l, "--ro-bind-try", "/run/systemd/resolve");
	bind(l, "--ro-bind-try", "/run/nvidia-persistenced");
	hide(c, l, home);
	hide(c, l, "/home");
	hide(c, l, "/var/tmp");
	if (prefix && prefix[0] && is_hidden(prefix, home))
		bind(l, "--ro-bind", prefix);
	/* After that, for they may lie below it. */
	hide(c, l, c->config->state);
	hide(c, l, c->config->store);
	hide_parent(c, l, socket_dir(c));
	hide(c, l, socket_dir(c));
	hide_parent(c, l, s->dir);
	hide(c, l, s->dir);
	if (prefix && !prefix[0] && is_hidden(python, home))
		bind(l, "--ro-bind", python);
	add_devices(c, l);
	bind(l, "--ro-bind", s->work);
	bind(l, "--bind", s->home);
	add2(l, "--chdir", s->home);
	add(l, "--");
}

static void set(struct provider_call *c, struct list *l, const char *name, const char *value)
{
	if (value && value[0])
		add(l, arena_printf(c->arena, "%s=%s", name, value));
}

static void add_environment(struct provider_call *c, const struct launch *launch, const struct local_sandbox *s, struct list *l)
{
	static const char *const passed[] = {"GPUPOOL_SLOTS", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES",
					     "NVIDIA_DRIVER_CAPABILITIES", "TZ"};
	const char *tmp = arena_printf(c->arena, "%s/tmp", s->home);

	set(c, l, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	set(c, l, "HOME", s->home);
	set(c, l, "USER", "gpupool-worker");
	set(c, l, "LOGNAME", "gpupool-worker");
	set(c, l, "SHELL", "/bin/sh");
	set(c, l, "LANG", "C.UTF-8");
	/* Sockets in it must fit into 108 bytes; where they would not, /tmp serves. */
	if (tmp && strlen(tmp) <= TMPDIR_MOST)
		set(c, l, "TMPDIR", tmp);
	set(c, l, "GPUPOOL_PROVIDER", "local");
	set(c, l, "GPUPOOL_WORK", arena_printf(c->arena, "%s/gpupool", s->home));
	set(c, l, "GPUPOOL_PIP_ARGS", c->config->pip_args);
	for (size_t i = 0; i < ARRAY_LEN(passed); i++)
		set(c, l, passed[i], getenv(passed[i]));
	if (launch->token)
		set(c, l, "GPUPOOL_ENROL_TOKEN", arena_printf(c->arena, "%.*s", (int)launch->token->len, launch->token->ptr));
}

enum err local_sandbox_fill(struct provider_call *c, const struct launch *launch, struct local_sandbox *s)
{
	struct list argv = {arena_array(c->arena, ARGV_MOST, sizeof(char *)), 0, ARGV_MOST};
	struct list env = {arena_array(c->arena, ENV_MOST, sizeof(char *)), 0, ENV_MOST};

	if (!argv.at || !env.at)
		return error_set(c->error, ERR_INTERNAL, "out of memory");
	if (access(c->config->python, X_OK))
		return error_set(c->error, ERR_INVALID, "GPUPOOL_PYTHON: %s cannot be executed: %s", c->config->python, strerror(errno));
	if (s->mode == LOCAL_BWRAP)
		add_bwrap(c, s, &argv);
	add2(&argv, c->config->python, "-u");
	add2(&argv, arena_printf(c->arena, "%s/gpupool-agent.py", s->work), launch->server_url);
	add_environment(c, launch, s, &env);
	s->argv = argv.at;
	s->envp = env.at;
	return OK;
}

/* ---- in the child --------------------------------------------------------- */

int local_sandbox_enter(const struct local_sandbox *s)
{
	const struct rlimit none = {0, 0};
	char tmp[4096];
	sigset_t empty;

	if (s->mode == LOCAL_UID &&
	    (setgroups(0, NULL) || setresgid(s->uid, s->uid, s->uid) || setresuid(s->uid, s->uid, s->uid)))
		return errno;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) || setrlimit(RLIMIT_CORE, &none) || chdir(s->home))
		return errno;
	umask(077);
	snprintf(tmp, sizeof(tmp), "%s/tmp", s->home);
	if (mkdir(tmp, 0700) && errno != EEXIST)
		return errno;
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&empty);
	sigprocmask(SIG_SETMASK, &empty, NULL);
	return 0;
}
