/* A scripted provider; see fake.h. */
#include "fake.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/json.h"

#define TEN "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define LONG_NAME HUNDRED "/" HUNDRED "/" HUNDRED "/" HUNDRED

struct shared {
	pthread_mutex_t lock; /* robust: its holder may be killed */
	struct fake fake;
};
static struct shared *shared;
struct fake *fake;

static void lock(void)
{
	if (pthread_mutex_lock(&shared->lock) == EOWNERDEAD)
		pthread_mutex_consistent(&shared->lock);
}

static void unlock(void)
{
	pthread_mutex_unlock(&shared->lock);
}

void fake_make(void)
{
	pthread_mutexattr_t attr;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		abort();
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&shared->lock, &attr);
	fake = &shared->fake;
	provider_add(&provider_fake);
}

void fake_reset(void)
{
	lock();
	memset(fake, 0, sizeof(*fake));
	unlock();
}

void fake_fail(enum fake_call call, int times, enum err err, const char *reason, bool effect)
{
	struct fake_fault *f = &fake->fault[call];

	lock();
	*f = (struct fake_fault){.times = times, .err = err, .retry_after_s = -1, .effect = effect};
	snprintf(f->reason, sizeof(f->reason), "%s", reason ? reason : "");
	snprintf(f->message, sizeof(f->message), "Fake answers %s.", err_name(err));
	unlock();
}

static struct fake_run *latest(int64_t worker)
{
	for (int i = fake->run_count - 1; i >= 0; i--)
		if (fake->run[i].worker == worker)
			return &fake->run[i];
	return NULL;
}

struct fake_run *fake_of(int64_t worker)
{
	struct fake_run *r;

	lock();
	r = latest(worker);
	unlock();
	return r;
}

int fake_live(void)
{
	int n = 0;

	lock();
	for (int i = 0; i < fake->run_count; i++)
		n += fake->run[i].phase != RUN_ENDED;
	unlock();
	return n;
}

void fake_end(int64_t worker, const char *code, const char *reason)
{
	struct fake_run *r;

	lock();
	r = latest(worker);
	if (r) {
		snprintf(r->code, sizeof(r->code), "%s", code);
		snprintf(r->reason, sizeof(r->reason), "%s", reason);
		r->phase = RUN_ENDED;
	}
	unlock();
}

/* ---- what each call does first -------------------------------------------- */

/* One of the reasons that exist, for they are static strings. */
static const char *known(const char *reason)
{
	static const char *const reasons[] = {"capacity", "quota", "credentials", "account", "inputs", "name_taken", "rate", "unsettled", "unasked", "contested"};

	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (!strcmp(reason, reasons[i]))
			return reasons[i];
	return NULL;
}

static enum err user_of(struct provider_call *c, char ret[64])
{
	cleanup_json struct json *j = NULL;

	if (!c->secret || json_parse((struct str){c->secret->ptr, c->secret->len}, 4096, &j, NULL))
		return error_set(c->error, ERR_INTERNAL, "no credentials came");
	if (!str_eqz(json_str(j, "key"), "good"))
		return error_set(c->error, ERR_UNAUTHORIZED, "Fake refuses this key.");
	snprintf(ret, 64, "%s", json_cstr(j, "username"));
	return OK;
}

/* Takes the lock.  OK: the call goes on; *after is what it returns then. */
static enum err enter(struct provider_call *c, enum fake_call call, char user[64], enum err *after)
{
	struct fake_fault *f = &fake->fault[call];
	enum err err;
	int ms;

	lock();
	fake->calls[call]++;
	ms = f->ms;
	unlock();
	if (ms)
		clock_sleep_ms(ms);
	lock();
	*after = OK;
	err = user_of(c, user);
	if (err || f->times <= 0)
		return err;
	f->times--;
	error_set(c->error, f->err, "%s", f->message);
	c->error->reason = known(f->reason);
	c->retry_after_s = f->retry_after_s;
	*after = f->err;
	return f->effect ? OK : f->err;
}

static enum err leave(enum err err)
{
	unlock();
	return err;
}

/* ---- the calls ------------------------------------------------------------ */

static enum err check(struct provider_call *c)
{
	(void)c;
	return OK;
}

static enum err verify(struct provider_call *c, struct identity *ret)
{
	char user[64] = "";
	enum err after, err = enter(c, FAKE_VERIFY, user, &after);

	ret->name = arena_strdup(c->arena, user);
	return leave(err ? err : after);
}

static enum err usage(struct provider_call *c, struct usage_list *ret)
{
	char user[64];
	enum err after, err = enter(c, FAKE_USAGE, user, &after);

	ret->count = 0;
	if (!err && fake->usage.resource)
		ret->items[ret->count++] = fake->usage;
	return leave(err ? err : after);
}

static enum err name_run(struct provider_call *c, const struct fake_run *r, struct run *ret)
{
	char *text = arena_printf(c->arena, "{\"run\": %d}", (int)(r - fake->run));

	if (!text)
		return ERR_INTERNAL;
	*ret = (struct run){.reference = str_of(text), .url = arena_strdup(c->arena, r->url)};
	return OK;
}

static struct fake_run *run_named(const struct run *run)
{
	cleanup_json struct json *j = NULL;
	int64_t n;

	if (json_parse(run->reference, 4096, &j, NULL))
		abort();
	n = json_i64(j, "run", -1);
	if (n < 0 || n >= fake->run_count)
		abort();
	return &fake->run[n];
}

static enum err start(struct provider_call *c, const struct launch *l, struct run *ret)
{
	char user[64] = "";
	enum err after, err = enter(c, FAKE_START, user, &after);
	struct fake_run *r;
	int live = 0;

	if (err)
		return leave(err);
	for (int i = 0; i < fake->run_count; i++) {
		live += fake->run[i].phase != RUN_ENDED;
		fake->twice += fake->run[i].phase != RUN_ENDED && !strcmp(fake->run[i].name, l->name);
	}
	if (fake->room && live >= fake->room) {
		error_set(c->error, ERR_QUOTA, "Fake runs %d already.", live);
		c->error->reason = "capacity";
		return leave(ERR_QUOTA);
	}
	if (fake->run_count == FAKE_RUNS || !l->token || l->token->len < 40)
		abort();
	r = &fake->run[fake->run_count++];
	memset(r, 0, sizeof(*r));
	r->worker = l->worker;
	r->limit_seconds = l->limit_seconds;
	r->phase = fake->live_at_once ? RUN_LIVE : RUN_QUEUED;
	snprintf(r->intent, sizeof(r->intent), "%.*s", STR_ARG(l->intent));
	snprintf(r->name, sizeof(r->name), "%s", l->name);
	snprintf(r->owner, sizeof(r->owner), "%s", user);
	snprintf(r->installation, sizeof(r->installation), "%s", c->installation);
	snprintf(r->shape, sizeof(r->shape), "%s", l->shape ? l->shape : "?");
	snprintf(r->resource, sizeof(r->resource), "%s", l->resource ? l->resource : "?");
	snprintf(r->datasets, sizeof(r->datasets), "%s", l->inputs && l->inputs->datasets[0] ? l->inputs->datasets[0] : "");
	snprintf(r->url, sizeof(r->url), "https://fake.test/%s/%s", user, l->name);
	return leave(after ? after : name_run(c, r, ret));
}

static enum err find(struct provider_call *c, const struct launch *l, struct run *ret)
{
	char user[64];
	enum err after, err = enter(c, FAKE_FIND, user, &after);

	for (int i = fake->run_count - 1; !err && !after && i >= 0; i--)
		if (str_eqz(l->intent, fake->run[i].intent) && !fake->run[i].removed)
			return leave(name_run(c, &fake->run[i], ret));
	if (err || after)
		return leave(err ? err : after);
	if (l->launched_for < (double)c->config->kaggle_settle_seconds) {
		error_set(c->error, ERR_UNAVAILABLE, "It is not yet certain whether Fake took the start.");
		c->error->reason = "unsettled";
		return leave(ERR_UNAVAILABLE);
	}
	return leave(error_set(c->error, ERR_NOT_FOUND, "Fake has none."));
}

static enum err list(struct provider_call *c, struct run_list *ret)
{
	char user[64];
	enum err after, err = enter(c, FAKE_LIST, user, &after);
	int from = c->list_from ? (int)strtol(c->list_from, NULL, 10) : 0;

	*ret = (struct run_list){.items = arena_array(c->arena, FAKE_RUNS, sizeof(*ret->items))};
	for (int i = from; !err && ret->items && i < fake->run_count; i++) {
		struct fake_run *r = &fake->run[i];

		if (fake->page && i == from + fake->page) {
			ret->more = arena_printf(c->arena, "%d", i);
			break;
		}
		struct run_found *f = &ret->items[ret->count];

		if (r->removed || strcmp(r->owner, user) || strcmp(r->installation, c->installation) || latest(r->worker) != r)
			continue;
		*f = (struct run_found){.intent = arena_str(c->arena, str_of(r->intent)), .live = r->phase != RUN_ENDED, .worker = r->worker};
		err = name_run(c, r, &f->run);
		ret->count++;
	}
	return leave(err ? err : after);
}

static enum err poll_run(struct provider_call *c, const struct run *run, struct run_status *ret)
{
	char user[64];
	enum err after, err = enter(c, FAKE_POLL, user, &after);
	struct fake_run *r;

	if (err || after)
		return leave(err ? err : after);
	r = run_named(run);
	if (r->removed)
		return leave(error_set(c->error, ERR_NOT_FOUND, "Fake has none."));
	*ret = (struct run_status){.phase = r->phase};
	if (r->phase == RUN_ENDED) {
		ret->code = r->code[0] ? arena_strdup(c->arena, r->code) : "ended";
		ret->reason = r->reason[0] ? arena_strdup(c->arena, r->reason) : NULL;
		ret->orderly = !strcmp(r->code, "stopped");
	}
	return leave(OK);
}

static enum err stop(struct provider_call *c, const struct run *run, bool insist)
{
	char user[64];
	enum err after, err = enter(c, FAKE_STOP, user, &after);
	struct fake_run *r;

	if (err)
		return leave(err);
	r = run_named(run);
	r->stops += !insist;
	r->insists += insist;
	if (r->phase != RUN_ENDED && (insist || !r->stubborn)) {
		r->phase = RUN_ENDED;
		snprintf(r->code, sizeof(r->code), "stopped");
	}
	return leave(after);
}

static enum err remove_run(struct provider_call *c, const struct run *run)
{
	char user[64];
	enum err after, err = enter(c, FAKE_REMOVE, user, &after);
	struct fake_run *r;

	if (err)
		return leave(err);
	r = run_named(run);
	for (int i = 0; i < fake->run_count; i++)
		if (!strcmp(fake->run[i].name, r->name) && !strcmp(fake->run[i].owner, r->owner)) {
			fake->run[i].removed = true;
			fake->run[i].phase = RUN_ENDED;
		}
	return leave(after);
}

static enum err outputs(struct provider_call *c, const struct run *run, struct outputs *ret)
{
	static const struct output_file files[] = {
		{.name = "results/out.json", .size = 2, .content = {"{}", 2}}, {.name = "model.bin", .size = 1 << 30, .content = {NULL, 0}}};
	static const struct output_file odd[] = {
		{.name = "log", .size = 2, .content = {"{}", 2}}, {.name = "log.1", .size = 2, .content = {"{}", 2}},
		{.name = LONG_NAME "/a", .size = 2, .content = {"{}", 2}}, {.name = LONG_NAME "/b", .size = 2, .content = {"{}", 2}}};
	char user[64];
	enum err after, err = enter(c, FAKE_OUTPUTS, user, &after);
	struct fake_run *r;

	if (err || after)
		return leave(err ? err : after);
	r = run_named(run);
	if (r->removed)
		return leave(error_set(c->error, ERR_GONE, "Fake has it no more."));
	if (r->late > 0) {
		r->late--;
		return leave(error_set(c->error, ERR_NOT_FOUND, "Fake shows no log yet."));
	}
	*ret = (struct outputs){.files = r->odd ? odd : files, .file_count = r->odd ? ARRAY_LEN(odd) : ARRAY_LEN(files)};
	if (c->log_only)
		ret->file_count = 0;
	else
		r->fetches++;
	if (r->mute)
		return leave(OK);
	ret->log = arena_str(c->arena, str_of(r->log[0] ? r->log : "the run's last words\n"));
	if (r->said_code[0]) {
		ret->code = arena_strdup(c->arena, r->said_code);
		ret->reason = arena_strdup(c->arena, r->said_reason);
	}
	return leave(OK);
}

const struct provider provider_fake = {
	.name = "fake",
	.caps = CAN_START | CAN_STOP | CAN_LOGS | KNOWS_RUNS | REMOTE | NEEDS_SECRET,
	.check = check,
	.verify = verify,
	.start = start,
	.find = find,
	.list = list,
	.poll = poll_run,
	.stop = stop,
	.remove = remove_run,
	.outputs = outputs,
	.usage = usage,
};
