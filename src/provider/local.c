/* local - see provider/local.h. */
#include "provider/local.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/asset.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/json.h"

static enum err no_memory(struct provider_call *c)
{
	return error_set(c->error, ERR_INTERNAL, "out of memory");
}

/* ---- references ----------------------------------------------------------- */

static enum err reference(struct provider_call *c, const struct local_record *r, struct run *ret)
{
	const char *text = arena_printf(c->arena, "{\"intent\":\"%s\",\"worker\":%lld,\"pid\":%ld}", r->intent,
					(long long)r->worker, (long)r->pid);

	if (!text)
		return no_memory(c);
	*ret = (struct run){.reference = str_of(text)};
	return OK;
}

static enum err intent_of(struct provider_call *c, const struct run *run, struct str *intent, int64_t *worker)
{
	cleanup_json struct json *j = NULL;

	if (json_parse(run->reference, 4096, &j, NULL) != OK || !str_is_uuid(json_str(j, "intent")))
		return error_set(c->error, ERR_INVALID, "this is no reference of a local run");
	*intent = arena_str(c->arena, json_str(j, "intent"));
	*worker = json_i64(j, "worker", 0);
	return intent->ptr ? OK : no_memory(c);
}

static enum err record_of(struct provider_call *c, const struct run *run, int runs_fd, struct local_record *ret)
{
	struct str intent;
	int64_t worker;
	enum err err = intent_of(c, run, &intent, &worker);

	return err ? err : local_record_read(c, runs_fd, intent, ret);
}

/* ---- the worker's directory ----------------------------------------------- */

/* nftw() has no argument for its caller; the walk is over before anyone else begins one. */
static uid_t walk_uid;

static int give_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st, (void)flag, (void)at;
	return lchown(path, walk_uid, walk_uid) && errno != ENOENT;
}

static int drop_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st, (void)at;
	if (flag == FTW_DNR)
		return chmod(path, 0700) != 0; /* a later walk can enter it */
	if (flag == FTW_DP || flag == FTW_D) {
		(void)!chmod(path, 0700);
		return rmdir(path) && errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT;
	}
	return unlink(path) && errno != ENOENT && errno != EACCES;
}

static enum err drop_tree(struct provider_call *c, const char *path)
{
	struct stat st;

	for (int i = 0; i < 64 && !lstat(path, &st); i++)
		if (nftw(path, drop_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0 && errno != ENOENT)
			break;
	if (!lstat(path, &st))
		return error_set(c->error, ERR_UNAVAILABLE, "%s cannot be removed wholly", path);
	return OK;
}

static enum err write_agent(struct provider_call *c, const char *work)
{
	const struct asset *agent = asset_find("agent/gpupool-agent.py");
	const char *path = arena_printf(c->arena, "%s/gpupool-agent.py", work);
	const char *temporary = arena_printf(c->arena, "%s/.agent.tmp", work);
	cleanup_fd int fd = -1;

	if (!agent)
		return error_set(c->error, ERR_INVALID, "this program was built without its agent");
	if (!path || !temporary)
		return no_memory(c);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 || write(fd, agent->bytes.ptr, agent->bytes.len) != (ssize_t)agent->bytes.len || fchmod(fd, 0644) ||
	    rename(temporary, path))
		return error_set(c->error, ERR_UNAVAILABLE, "cannot write the agent's file into %s: %s", work, strerror(errno));
	return OK;
}

/* work/ belongs to us and lets only this uid pass; home/ in it belongs to the uid. */
static enum err prepare(struct provider_call *c, struct local_sandbox *s)
{
	bool apart = s->mode == LOCAL_UID;
	struct stat st;
	enum err err;

	if ((mkdir(s->work, 0700) && errno != EEXIST) || (err = write_agent(c, s->work)))
		return errno == EEXIST ? err : error_set(c->error, ERR_UNAVAILABLE, "cannot make %s: %s", s->work, strerror(errno));
	if (mkdir(s->home, 0700) && errno != EEXIST)
		return error_set(c->error, ERR_UNAVAILABLE, "cannot make %s: %s", s->home, strerror(errno));
	if (!apart)
		return OK;
	if (lstat(s->home, &st) || !S_ISDIR(st.st_mode))
		return error_set(c->error, ERR_UNAVAILABLE, "%s is no directory", s->home);
	walk_uid = s->uid;
	if ((st.st_uid != s->uid && nftw(s->home, give_one, 32, FTW_PHYS | FTW_MOUNT)) || lchown(s->work, 0, s->uid) ||
	    chmod(s->work, 0710))
		return error_set(c->error, ERR_UNAVAILABLE, "cannot give %s to the worker: %s", s->home, strerror(errno));
	return OK;
}

/* ---- start ---------------------------------------------------------------- */

/* Kills what an ended run may have left; its keeper did so unless it died itself. */
static void clear_leftovers(const struct local_record *r)
{
	char boot[37];

	local_boot_id(boot);
	if (r->mode == LOCAL_UID && !strcmp(boot, r->boot))
		local_uid_kill(r->uid, r->intent);
}

/* The records of a worker's earlier runs; ERR_CONFLICT while one of them lives. */
static enum err drop_records(struct provider_call *c, int runs_fd, int64_t worker)
{
	struct local_record *all = NULL;
	size_t count = 0;
	enum err err = local_records(c, runs_fd, &all, &count);

	for (size_t i = 0; !err && i < count; i++) {
		if (all[i].worker != worker)
			continue;
		if (local_record_live(&all[i]))
			return error_set(c->error, ERR_CONFLICT, "An earlier run of this worker has not ended yet.");
		clear_leftovers(&all[i]);
		local_record_drop(runs_fd, all[i].intent);
	}
	return err;
}

/* What the keeper says: nothing and the end when the agent runs. */
static enum err wait_report(struct provider_call *c, int fd)
{
	char text[256];
	size_t len = 0;
	ssize_t n;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left = c->deadline_ms - clock_ms();

		if (left <= 0 || poll(&p, 1, (int)left) == 0)
			return error_set(c->error, ERR_TIMEOUT, "The start takes longer than expected.");
		n = read(fd, text + len, sizeof(text) - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
		if (len == sizeof(text))
			break;
	}
	return len ? error_set(c->error, ERR_INVALID, "%.*s", (int)len, text) : OK;
}

static enum err launch_keeper(struct provider_call *c, struct local_keeper *k)
{
	int ends[2];
	enum err err;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return error_set(c->error, ERR_UNAVAILABLE, "no pipe: %s", strerror(errno));
	k->report_fd = ends[1];
	CRASH_POINT("local.fork");
	pid = fork();
	if (pid == 0)
		local_keeper_main(k);
	close(ends[1]);
	CRASH_POINT("local.forked");
	err = pid < 0 ? error_set(c->error, ERR_UNAVAILABLE, "no process can be made: %s", strerror(errno)) : wait_report(c, ends[0]);
	close(ends[0]);
	return err;
}

static enum err open_log(struct provider_call *c, int runs_fd, struct str intent, int *ret)
{
	char name[64];

	snprintf(name, sizeof(name), "%.*s.log", STR_ARG(intent));
	*ret = openat(runs_fd, name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	return *ret < 0 ? error_set(c->error, ERR_UNAVAILABLE, "cannot open a log: %s", strerror(errno)) : OK;
}

static enum err start_new(struct provider_call *c, const struct launch *l, const char *dir, int runs_fd, int lock_fd)
{
	struct local_sandbox s = {.dir = dir};
	cleanup_fd int log_fd = -1;
	cleanup_fd int uid_lock_fd = -1;
	struct local_keeper k = {.sandbox = &s, .runs_fd = runs_fd, .lock_fd = lock_fd};
	enum err err = drop_records(c, runs_fd, l->worker);

	s.work = arena_printf(c->arena, "%s/work/%lld", dir, (long long)l->worker);
	s.home = arena_printf(c->arena, "%s/work/%lld/home", dir, (long long)l->worker);
	if (!err && (!s.work || !s.home))
		err = no_memory(c);
	if (!err)
		err = local_mode_choose(c, &s.mode);
	if (!err && s.mode == LOCAL_UID)
		err = local_uid_take(c, l->worker, l->intent, &s.uid, &uid_lock_fd);
	if (!err)
		err = prepare(c, &s);
	if (!err)
		err = local_sandbox_fill(c, l, &s);
	if (!err)
		err = open_log(c, runs_fd, l->intent, &log_fd);
	if (err)
		return err;
	k.record = (struct local_record){.worker = l->worker, .uid = s.uid, .mode = s.mode};
	snprintf(k.record.intent, sizeof(k.record.intent), "%.*s", STR_ARG(l->intent));
	k.log_fd = log_fd;
	k.uid_lock_fd = uid_lock_fd;
	k.limit_ms = l->limit_seconds > 0 ? (l->limit_seconds + c->config->grace_seconds) * 1000 : 0;
	return launch_keeper(c, &k);
}

static enum err start(struct provider_call *c, const struct launch *l, struct run *ret)
{
	cleanup_fd int runs_fd = -1;
	cleanup_fd int lock_fd = -1;
	struct local_record r;
	const char *dir;
	enum err err = local_dirs(c, &dir, &runs_fd);

	if (!err)
		err = local_lock(c, dir, &lock_fd);
	if (!err) {
		err = local_record_read(c, runs_fd, l->intent, &r);
		if (err == ERR_NOT_FOUND)
			err = start_new(c, l, dir, runs_fd, lock_fd);
	}
	if (!err)
		err = local_record_read(c, runs_fd, l->intent, &r);
	if (err == ERR_NOT_FOUND)
		err = error_set(c->error, ERR_UNAVAILABLE, "The process that watches the run did not start.");
	return err ? err : reference(c, &r, ret);
}

static enum err find(struct provider_call *c, const struct launch *l, struct run *ret)
{
	struct str intent = l->intent;
	cleanup_fd int runs_fd = -1;
	cleanup_fd int lock_fd = -1;
	struct local_record r;
	const char *dir;
	enum err err = local_dirs(c, &dir, &runs_fd);

	if (!err)
		err = local_lock(c, dir, &lock_fd);
	if (!err)
		err = local_record_read(c, runs_fd, intent, &r);
	return err ? err : reference(c, &r, ret);
}

/* ---- watching ------------------------------------------------------------- */

static enum err list(struct provider_call *c, struct run_list *ret)
{
	cleanup_fd int runs_fd = -1;
	struct local_record *all;
	const char *dir;
	size_t count;
	enum err err = local_dirs(c, &dir, &runs_fd);

	if (!err)
		err = local_records(c, runs_fd, &all, &count);
	if (err)
		return err;
	*ret = (struct run_list){.items = arena_array(c->arena, count + 1, sizeof(*ret->items))};
	if (!ret->items)
		return no_memory(c);
	for (size_t i = 0; i < count; i++) {
		struct run_found *f = &ret->items[ret->count++];

		f->intent = str_of(all[i].intent);
		f->live = local_record_live(&all[i]);
		if ((err = reference(c, &all[i], &f->run)))
			return err;
	}
	return OK;
}

static void read_end(struct provider_call *c, int runs_fd, const char *intent, struct run_status *ret)
{
	char name[64], text[4096];
	cleanup_json struct json *j = NULL;
	cleanup_fd int fd = -1;
	ssize_t n;

	snprintf(name, sizeof(name), "%s.end", intent);
	fd = openat(runs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (n <= 0 || json_parse((struct str){text, (size_t)n}, sizeof(text), &j, NULL) != OK)
		return;
	ret->code = arena_str(c->arena, json_str(j, "code")).ptr;
	ret->reason = arena_str(c->arena, json_str(j, "reason")).ptr;
	ret->orderly = json_bool(j, "orderly", false);
}

static enum err poll_run(struct provider_call *c, const struct run *run, struct run_status *ret)
{
	cleanup_fd int runs_fd = -1;
	struct local_record r;
	const char *dir;
	enum err err = local_dirs(c, &dir, &runs_fd);

	if (!err)
		err = record_of(c, run, runs_fd, &r);
	*ret = (struct run_status){.phase = RUN_ENDED, .code = "lost", .reason = "The run is gone from this machine."};
	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	(void)waitpid(r.pid, NULL, WNOHANG); /* if it was our own child */
	if (local_record_live(&r)) {
		*ret = (struct run_status){.phase = RUN_LIVE};
		return OK;
	}
	ret->reason = "The process that watched the agent was killed, or the machine was restarted.";
	read_end(c, runs_fd, r.intent, ret);
	if (!ret->code || !ret->reason)
		return no_memory(c);
	clear_leftovers(&r);
	return OK;
}

static enum err outputs(struct provider_call *c, const struct run *run, struct outputs *ret)
{
	cleanup_fd int runs_fd = -1;
	cleanup_fd int fd = -1;
	struct str intent;
	struct stat st;
	const char *dir;
	int64_t worker;
	enum err err = local_dirs(c, &dir, &runs_fd);
	char name[64], *text = arena_alloc(c->arena, LOCAL_LOG_TAIL);
	ssize_t n;

	if (!err)
		err = intent_of(c, run, &intent, &worker);
	if (err || !text)
		return err ? err : no_memory(c);
	snprintf(name, sizeof(name), "%.*s.log", STR_ARG(intent));
	fd = openat(runs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st))
		return errno == ENOENT ? ERR_NOT_FOUND : error_set(c->error, ERR_UNAVAILABLE, "no log: %s", strerror(errno));
	n = pread(fd, text, LOCAL_LOG_TAIL, st.st_size > LOCAL_LOG_TAIL ? st.st_size - LOCAL_LOG_TAIL : 0);
	if (n < 0)
		return error_set(c->error, ERR_UNAVAILABLE, "no log: %s", strerror(errno));
	ret->log = (struct str){text, (size_t)n};
	return OK;
}

/* ---- the end -------------------------------------------------------------- */

static enum err stop(struct provider_call *c, const struct run *run, bool insist)
{
	cleanup_fd int runs_fd = -1;
	cleanup_fd int process = -1;
	struct local_record r;
	const char *dir;
	enum err err = local_dirs(c, &dir, &runs_fd);

	(void)insist; /* its keeper kills what does not go */
	if (!err)
		err = record_of(c, run, runs_fd, &r);
	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	/* The handle is taken before the check, so the number cannot change hands between. */
	process = pidfd_open(r.pid, 0);
	if (process < 0 || !local_record_live(&r))
		return OK;
	if (pidfd_send_signal(process, SIGTERM, NULL, 0) && errno != ESRCH)
		return error_set(c->error, ERR_UNAVAILABLE, "the run cannot be signalled: %s", strerror(errno));
	return OK;
}

static enum err remove_worker(struct provider_call *c, const struct run *run)
{
	cleanup_fd int runs_fd = -1;
	cleanup_fd int lock_fd = -1;
	struct str intent;
	const char *dir, *work;
	int64_t worker;
	enum err err = local_dirs(c, &dir, &runs_fd);

	if (!err)
		err = intent_of(c, run, &intent, &worker);
	if (!err)
		err = local_lock(c, dir, &lock_fd);
	if (!err)
		err = drop_records(c, runs_fd, worker);
	if (err)
		return err == ERR_CONFLICT ? ERR_UNAVAILABLE : err;
	work = arena_printf(c->arena, "%s/work/%lld", dir, (long long)worker);
	return work ? drop_tree(c, work) : no_memory(c);
}

static enum err check(struct provider_call *c)
{
	cleanup_fd int runs_fd = -1;
	enum local_mode mode;
	const char *dir;
	enum err err = local_dirs(c, &dir, &runs_fd);

	if (!err)
		err = local_mode_choose(c, &mode);
	if (!err && access(c->config->python, X_OK))
		err = error_set(c->error, ERR_INVALID, "GPUPOOL_PYTHON: %s cannot be executed: %s", c->config->python, strerror(errno));
	return err;
}

const struct provider provider_local = {
	.name = "local",
	.caps = CAN_START | CAN_STOP | SOFT_STOP | CAN_LOGS | KNOWS_RUNS,
	.poll_seconds = 1,
	.check = check,
	.start = start,
	.find = find,
	.list = list,
	.poll = poll_run,
	.stop = stop,
	.remove = remove_worker,
	.outputs = outputs,
};
