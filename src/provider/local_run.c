/* local_run - records of runs and what /proc says of their keepers.  See local.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "provider/local.h"

enum { RECORD_MOST = 4096, RECORDS_MOST = 4096 };

/* ---- /proc ---------------------------------------------------------------- */

static ssize_t read_small(const char *path, char *ret, size_t cap)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, cap - 1);

	ret[n > 0 ? n : 0] = '\0';
	return n;
}

bool local_process_read(pid_t pid, struct local_process *ret)
{
	char path[32], text[1024], *p;
	long parent = 0;
	unsigned long long start = 0;

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	if (read_small(path, text, sizeof(text)) <= 0)
		return false;
	/* The name may hold spaces and brackets; what follows its last one is numbers. */
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1, " %c %ld %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
			 &ret->state, &parent, &start) != 3)
		return false;
	ret->parent = (pid_t)parent;
	ret->start_time = (int64_t)start;
	return true;
}

void local_process_each(bool (*fn)(void *ctx, pid_t pid, const struct local_process *p), void *ctx)
{
	DIR *proc = opendir("/proc");
	struct local_process p;
	struct dirent *d;
	int64_t pid;

	while (proc && (d = readdir(proc)))
		if (str_to_id(str_of(d->d_name), &pid) && local_process_read((pid_t)pid, &p) && !fn(ctx, (pid_t)pid, &p))
			break;
	if (proc)
		closedir(proc);
}

void local_boot_id(char ret[37])
{
	char text[64];

	if (read_small("/proc/sys/kernel/random/boot_id", text, sizeof(text)) < 36)
		text[0] = '\0';
	snprintf(ret, 37, "%.36s", text);
}

/* ---- directories ---------------------------------------------------------- */

static enum err make_dirs(struct provider_call *c, const char *path)
{
	char *copy = arena_strdup(c->arena, path);

	if (!copy)
		return error_set(c->error, ERR_INTERNAL, "out of memory");
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0711) && errno != EEXIST)
			return error_set(c->error, ERR_INVALID, "GPUPOOL_LOCAL_DIR: cannot make %s: %s", copy, strerror(errno));
		*p = '/';
	}
	return OK;
}

enum err local_dirs(struct provider_call *c, const char **dir, int *runs_fd)
{
	const char *setting = c->config->local_dir, *runs = arena_printf(c->arena, "%s/runs/", setting);
	const char *work = arena_printf(c->arena, "%s/work/", setting);
	char *real;
	enum err err;

	if (!runs || !work)
		return error_set(c->error, ERR_INTERNAL, "out of memory");
	if ((err = make_dirs(c, runs)) || (err = make_dirs(c, work)))
		return err;
	real = realpath(setting, NULL);
	*dir = real ? arena_strdup(c->arena, real) : NULL;
	free(real);
	if (!*dir)
		return error_set(c->error, ERR_INVALID, "GPUPOOL_LOCAL_DIR: cannot use %s: %s", setting, strerror(errno));
	*runs_fd = open(runs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*runs_fd < 0 || fchmod(*runs_fd, 0700))
		return error_set(c->error, ERR_INVALID, "GPUPOOL_LOCAL_DIR: cannot use %s: %s", runs, strerror(errno));
	return OK;
}

enum err local_lock(struct provider_call *c, const char *dir, int *ret)
{
	const char *path = arena_printf(c->arena, "%s/lock", dir);
	cleanup_fd int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return error_set(c->error, ERR_UNAVAILABLE, "cannot open the lock of %s: %s", dir, strerror(errno));
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (clock_ms() >= c->deadline_ms)
			return error_set(c->error, ERR_TIMEOUT, "another start on this machine takes long");
		clock_sleep_ms(10);
	}
	*ret = steal_fd(&fd);
	return OK;
}

/* ---- records -------------------------------------------------------------- */

static enum local_mode mode_of(const char *name)
{
	if (name && !strcmp(name, local_mode_name(LOCAL_UID)))
		return LOCAL_UID;
	return name && !strcmp(name, local_mode_name(LOCAL_BWRAP)) ? LOCAL_BWRAP : LOCAL_UNSAFE;
}

enum err local_record_read(struct provider_call *c, int runs_fd, struct str intent, struct local_record *ret)
{
	cleanup_json struct json *j = NULL;
	char name[64], text[RECORD_MOST];
	cleanup_fd int fd = -1;
	const char *boot;
	ssize_t n;

	if (!str_is_uuid(intent))
		return error_set(c->error, ERR_INVALID, "this is no reference of a local run");
	snprintf(name, sizeof(name), "%.*s.json", STR_ARG(intent));
	fd = openat(runs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return ERR_NOT_FOUND;
	n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (n < 0)
		return error_set(c->error, ERR_UNAVAILABLE, "cannot read the record of a run: %s", strerror(errno));
	if (json_parse((struct str){text, (size_t)n}, RECORD_MOST, &j, NULL) != OK)
		return error_set(c->error, ERR_UNAVAILABLE, "the record %s is damaged", name);
	boot = json_cstr(j, "boot");
	*ret = (struct local_record){
		.worker = json_i64(j, "worker", 0),
		.start_time = json_i64(j, "start", 0),
		.pid = (pid_t)json_i64(j, "pid", 0),
		.uid = (uid_t)json_i64(j, "uid", 0),
		.mode = mode_of(json_cstr(j, "mode")),
	};
	snprintf(ret->intent, sizeof(ret->intent), "%.*s", STR_ARG(intent));
	snprintf(ret->boot, sizeof(ret->boot), "%s", boot ? boot : "");
	return OK;
}

static bool write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		text += n;
		len -= (size_t)n;
	}
	return true;
}

/* link() is the arbiter: of two that make the same record one fails. */
enum err local_record_make(int runs_fd, const struct local_record *r)
{
	char name[64], temporary[80], text[512];
	cleanup_fd int fd = -1;
	int n = snprintf(text, sizeof(text),
			 "{\"intent\":\"%s\",\"worker\":%lld,\"pid\":%ld,\"start\":%lld,\"boot\":\"%s\",\"uid\":%ld,\"mode\":\"%s\"}\n",
			 r->intent, (long long)r->worker, (long)r->pid, (long long)r->start_time, r->boot, (long)r->uid,
			 local_mode_name(r->mode));
	enum err err = OK;

	snprintf(name, sizeof(name), "%s.json", r->intent);
	snprintf(temporary, sizeof(temporary), "%s.%ld.tmp", r->intent, (long)r->pid);
	fd = openat(runs_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || !write_all(fd, text, (size_t)n) || fsync(fd))
		err = ERR_UNAVAILABLE;
	else if (linkat(runs_fd, temporary, runs_fd, name, 0))
		err = errno == EEXIST ? ERR_CONFLICT : ERR_UNAVAILABLE;
	unlinkat(runs_fd, temporary, 0);
	if (!err && fsync(runs_fd))
		err = ERR_UNAVAILABLE;
	return err;
}

bool local_record_live(const struct local_record *r)
{
	struct local_process p;
	char boot[37];

	local_boot_id(boot);
	return r->pid > 0 && !strcmp(boot, r->boot) && local_process_read(r->pid, &p) && p.state != 'Z' && p.state != 'X' &&
	       p.start_time == r->start_time;
}

enum err local_records(struct provider_call *c, int runs_fd, struct local_record **ret, size_t *count)
{
	int fd = openat(runs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct local_record *all = arena_array(c->arena, RECORDS_MOST, sizeof(*all));
	struct dirent *d;
	size_t n = 0;

	if (!dir || !all) {
		if (dir)
			closedir(dir);
		else if (fd >= 0)
			close(fd);
		return error_set(c->error, ERR_UNAVAILABLE, "cannot list the runs of this machine: %s", strerror(errno));
	}
	while (n < RECORDS_MOST && (d = readdir(dir))) {
		struct str name = str_of(d->d_name);

		if (name.len == 41 && str_ends(name, ".json") &&
		    local_record_read(c, runs_fd, (struct str){name.ptr, 36}, &all[n]) == OK)
			n++;
	}
	closedir(dir);
	*ret = all;
	*count = n;
	return OK;
}

void local_record_drop(int runs_fd, const char *intent)
{
	static const char *const parts[] = {"json", "end", "log"};
	char name[64];

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		snprintf(name, sizeof(name), "%s.%s", intent, parts[i]);
		unlinkat(runs_fd, name, 0);
	}
}
