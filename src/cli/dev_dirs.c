/* dev_dirs - state and run directory of `gpupool dev`.  See cli/dev.h. */
#include "cli/dev.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/clock.h"

/*
 * Users and groups of the services when root runs them.  systemd leaves
 * 60578-61183 to nobody; no password entry is needed.
 */
enum {
	UID_API = 60601,
	UID_EVENTS = 60602,
	UID_PROVISIONER = 60603,
	UID_NGINX = 60604,
	UID_SECRETS = 60606,
	UID_BROWSER = 60607,
	GID_DATABASE = 60610, /* may reach PostgreSQL's socket */
	GID_WEB = 60611,      /* may reach the FastCGI sockets */
	GID_STORE = 60612,    /* may read artifacts */
};

/* So short, since a socket's path has room for 107 bytes. */
enum { RUN_DIR_MOST = 60 };

const char *dev_text(struct dev *d, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = arena_vprintf(&d->arena, fmt, ap);
	va_end(ap);
	if (!text)
		BUG("the runner's arena is full");
	return text;
}

void dev_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

static struct owner user(uid_t uid)
{
	return (struct owner){uid, uid};
}

struct identity dev_identity(const struct dev *d, enum service_id s)
{
	const struct passwd *pw;

	if (!d->root)
		return IDENTITY_SELF;
	switch (s) {
	case SERVICE_POSTGRES:
		pw = getpwnam("postgres");
		return (struct identity){.owner = pw ? (struct owner){pw->pw_uid, pw->pw_gid} : user(60605)};
	case SERVICE_API: return (struct identity){user(UID_API), {GID_DATABASE, GID_WEB}, 2};
	case SERVICE_EVENTS: return (struct identity){user(UID_EVENTS), {GID_DATABASE, GID_WEB, GID_STORE}, 3};
	case SERVICE_SECRETS: return (struct identity){user(UID_SECRETS), {GID_DATABASE, GID_WEB}, 2};
	case SERVICE_PROVISIONER: return (struct identity){user(UID_PROVISIONER), {GID_DATABASE}, 1};
	case SERVICE_BROWSER: return (struct identity){user(UID_BROWSER), {GID_DATABASE}, 1};
	case SERVICE_NGINX: return (struct identity){user(UID_NGINX), {GID_WEB, GID_STORE}, 2};
	case SERVICE_LOCAL: /* stays root, only to give each job's process a user of its own */
	case SERVICE_COUNT: break;
	}
	return IDENTITY_SELF;
}

/* ---- leftovers ------------------------------------------------------------ */

void dev_remember(struct dev *d, pid_t pid)
{
	cleanup_file FILE *f = fopen(dev_text(d, "%s/processes", d->state), "ae");

	if (f)
		fprintf(f, "%d %lld\n", (int)pid, (long long)process_started_at(pid));
}

/* Those of the list that still are who they were. */
static int signal_leftovers(struct dev *d, int sig)
{
	cleanup_file FILE *f = fopen(dev_text(d, "%s/processes", d->state), "re");
	long long started;
	int pid, alive = 0;

	while (f && fscanf(f, "%d %lld", &pid, &started) == 2) {
		if (pid <= 1 || !started || process_started_at(pid) != started)
			continue;
		alive++;
		if (sig)
			kill(-pid, sig); /* each leads a group of its own */
	}
	return alive;
}

/* What a run that was killed left behind.  Its processes got a signal when it
 * died; here we wait for them, and help the slow ones. */
static void end_leftovers(struct dev *d)
{
	int64_t begun = clock_ms();
	int sig = SIGTERM;

	if (signal_leftovers(d, 0))
		dev_say("ending what a killed run left behind");
	while (signal_leftovers(d, sig)) {
		int64_t waited = clock_ms() - begun;

		sig = waited > 8000 ? SIGKILL : 0;
		if (waited > 12000)
			break;
		clock_sleep_ms(50);
	}
	unlink(dev_text(d, "%s/processes", d->state));
}

static void remove_old_run(struct dev *d)
{
	cleanup_buf struct buf old = {0};
	struct error e;
	struct str path;
	struct stat st;

	if (files_read(dev_text(d, "%s/run", d->state), PATH_MAX, &old, &e))
		return;
	path = str_trim(buf_str(&old));
	if (!str_starts(path, "/") || !memmem(path.ptr, path.len, "/gpupool-", 9))
		return;
	if (lstat(dev_text(d, "%.*s", STR_ARG(path)), &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid())
		files_remove_tree(dev_text(d, "%.*s", STR_ARG(path)));
	rmdir(dev_text(d, "%.*s.data", STR_ARG(path)));
}

/* ---- making them ---------------------------------------------------------- */

static enum err take_lock(struct dev *d, struct error *e)
{
	char holder[32] = "";

	d->lock = open(dev_text(d, "%s/lock", d->state), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (d->lock < 0)
		return error_set(e, ERR_INTERNAL, "cannot write in %s: %s", d->state, strerror(errno));
	if (flock(d->lock, LOCK_EX | LOCK_NB)) {
		ssize_t n = pread(d->lock, holder, sizeof(holder) - 1, 0);

		holder[n > 0 ? n : 0] = '\0';
		return error_set(e, ERR_CONFLICT, "another one runs in %s already (process %s); give this one its own GPUPOOL_STATE and GPUPOOL_PORT",
				 d->state, holder);
	}
	snprintf(holder, sizeof(holder), "%d", (int)getpid());
	if (ftruncate(d->lock, 0) || pwrite(d->lock, holder, strlen(holder), 0) < 0)
		return error_set(e, ERR_INTERNAL, "cannot write %s/lock: %s", d->state, strerror(errno));
	return OK;
}

/* A short path that the services' users can reach, and where programs may run. */
static enum err make_run(struct dev *d, struct error *e)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	const char *const places[] = {d->root ? "/run" : xdg, "/tmp", NULL};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		struct statvfs fs;
		char *path;

		if (!places[i] || strlen(places[i]) > RUN_DIR_MOST || statvfs(places[i], &fs) || fs.f_flag & (ST_NOEXEC | ST_RDONLY))
			continue;
		if (d->root && !files_reachable(places[i]))
			continue;
		path = arena_printf(&d->arena, "%s/gpupool-XXXXXX", places[i]);
		if (path && mkdtemp(path)) {
			struct str text = {path, strlen(path)};

			d->run = path;
			return files_write(dev_text(d, "%s/run", d->state), text, 0600, OWNER_SELF, e);
		}
	}
	return error_set(e, ERR_INTERNAL, "no place for sockets: neither %s nor /tmp can be written and run from", places[0] ? places[0] : "XDG_RUNTIME_DIR");
}

/*
 * Services with users of their own must be able to walk to their data, and
 * below a home of mode 0700 they cannot.  In a mount namespace of this
 * installation the state then also has a short name beside the run directory
 * (never inside: that is removed with all it holds).  Where root may not
 * mount, the data get a directory of their own, which the link STATE/data names.
 */
static enum err mount_data(struct dev *d, const char *at, struct error *e)
{
	enum err err = files_dir(at, 0711, OWNER_SELF, e);

	if (err)
		return err;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount(d->state, at, NULL, MS_BIND, NULL)) {
		rmdir(at);
		return error_set(e, ERR_FORBIDDEN, "cannot mount %s: %s", at, strerror(errno));
	}
	d->data = at;
	return OK;
}

static enum err link_data(struct dev *d, const char *link, struct error *e)
{
	char made[] = "/var/lib/gpupool-XXXXXX";

	if (!mkdtemp(made) || symlink(made, link))
		return error_set(e, ERR_INTERNAL, "cannot make %s: %s", made, strerror(errno));
	d->data = dev_text(d, "%s", made);
	dev_say("other users cannot reach %s: its data are in %s", d->state, d->data);
	return files_dir(d->data, 0711, OWNER_SELF, e);
}

static enum err choose_data(struct dev *d, struct error *e)
{
	const char *link = dev_text(d, "%s/data", d->state);
	char target[PATH_MAX];
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	d->data = d->state;
	if (n > 0) {
		d->data = dev_text(d, "%.*s", (int)n, target);
		return files_dir(d->data, 0711, OWNER_SELF, e);
	}
	if (!d->root || files_reachable(d->state) || mount_data(d, dev_text(d, "%s.data", d->run), e) == OK)
		return OK;
	return link_data(d, link, e);
}

struct place {
	const char *base, *name;
	mode_t mode;
	struct owner owner; /* when root */
};

static enum err make_places(struct dev *d, struct error *e)
{
	struct owner self = OWNER_SELF, postgres = dev_identity(d, SERVICE_POSTGRES).owner;
	const struct place places[] = {
		{d->run, "", d->root ? 0711 : 0700, self},
		{d->run, "/bin", 0755, self},
		{d->run, "/pass", 0711, self},
		{d->run, "/pg", d->root ? 0750 : 0700, {postgres.uid, GID_DATABASE}},
		{d->run, "/api", d->root ? 02750 : 0700, {UID_API, GID_WEB}},
		{d->run, "/events", d->root ? 02750 : 0700, {UID_EVENTS, GID_WEB}},
		{d->run, "/secrets", d->root ? 02750 : 0700, {UID_SECRETS, GID_WEB}},
		{d->run, "/nginx", 0755, {UID_NGINX, UID_NGINX}},
		{d->state, "/log", 0755, self},
		{d->state, "/secrets", 0700, self},
		{d->data, "/store", d->root ? 02750 : 0700, {UID_EVENTS, GID_STORE}},
		{d->data, "/keys", 0700, user(UID_PROVISIONER)},
		{d->data, "/secret-keys", 0700, user(UID_SECRETS)},
		{d->data, "/local", 0711, self},
		{d->data, "/browser", 0700, user(UID_BROWSER)},
	};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		enum err err = files_dir(dev_text(d, "%s%s", places[i].base, places[i].name), places[i].mode,
					 d->root ? places[i].owner : self, e);

		if (err)
			return err;
	}
	return OK;
}

/* Copies: a rebuild does not touch what runs, and other users reach them. */
static enum err copy_programs(struct dev *d, struct error *e)
{
	static const char *const names[] = {"gpupool-web", "gpupool-provisioner", "gpupool"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		enum err err = files_copy(dev_text(d, "%s/%s", d->programs, names[i]), dev_text(d, "%s/bin/%s", d->run, names[i]), 0755, OWNER_SELF, e);

		if (err)
			return err;
	}
	return files_copy_tree(dev_text(d, "%s/static", d->assets), dev_text(d, "%s/static", d->run), OWNER_SELF, e);
}

static enum err make_parents(struct dev *d, struct error *e)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", d->state);
	for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (mkdir(path, 0755) && errno != EEXIST)
			return error_set(e, ERR_INTERNAL, "cannot make the directory %s: %s", path, strerror(errno));
		*slash = '/';
	}
	return files_dir(d->state, d->root ? 0711 : 0700, OWNER_SELF, e);
}

enum err dev_dirs_open(struct dev *d, struct error *e)
{
	cleanup_free char *cwd = getcwd(NULL, 0);
	enum err err;

	if (!cwd)
		return error_set(e, ERR_INTERNAL, "the current directory is gone");
	d->state = d->config.state[0] == '/' ? d->config.state
					     : dev_text(d, "%s/%s", cwd, d->config.state + (strncmp(d->config.state, "./", 2) ? 0 : 2));
	err = make_parents(d, e);
	if (!err)
		err = take_lock(d, e);
	if (err)
		return err;
	end_leftovers(d);
	remove_old_run(d);
	err = make_run(d, e);
	if (!err)
		err = choose_data(d, e);
	if (!err)
		err = make_places(d, e);
	if (!err)
		err = copy_programs(d, e);
	return err;
}

void dev_dirs_close(struct dev *d)
{
	if (d->run) {
		files_remove_tree(d->run);
		if (d->data && d->data != d->state && str_starts(str_of(d->data), d->run) && umount2(d->data, MNT_DETACH) == 0)
			rmdir(d->data);
		unlink(dev_text(d, "%s/run", d->state));
	}
	if (d->lock > 0)
		unlink(dev_text(d, "%s/processes", d->state));
}

int dev_log(struct dev *d, const char *name, struct owner o)
{
	const char *path = dev_text(d, "%s/log/%s.log", d->state, name);
	struct stat st;
	int fd;

	if (stat(path, &st) == 0 && st.st_size > 20 << 20)
		rename(path, dev_text(d, "%s.old", path));
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0 && d->root && o.uid != (uid_t)-1 && fchown(fd, o.uid, o.gid)) {
		close(fd);
		return -1;
	}
	return fd;
}
