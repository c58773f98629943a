/* dev_services - the processes of `gpupool dev`.  See cli/dev.h. */
#include "cli/dev.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"

extern char **environ;

enum { MOST_WORDS = 16, MOST_ENV = 120, EARLY_MS = 5000, EARLY_ENDS_MOST = 5, LOG_TAIL = 4000 };

struct command {
	const char *argv[MOST_WORDS];
	const char *env[MOST_ENV];
	size_t words, vars;
};

static void word(struct command *c, const char *w)
{
	if (c->words + 1 >= MOST_WORDS)
		BUG("too many words in a command");
	c->argv[c->words++] = w;
}

static void var(struct command *c, const char *text)
{
	if (c->vars + 1 >= MOST_ENV)
		BUG("too many environment variables for a service");
	c->env[c->vars++] = text;
}

/* ---- what each of them is ------------------------------------------------- */

static void say_postgres(struct dev *d, struct command *c)
{
	word(c, dev_text(d, "%s/postgres", d->pg_bin));
	word(c, "-D");
	word(c, dev_text(d, "%s/postgres", d->data));
}

static void say_web(struct dev *d, struct command *c, const char *name, const char *database_role)
{
	word(c, dev_text(d, "%s/bin/gpupool-web", d->run));
	word(c, dev_text(d, "--role=%s", name));
	var(c, dev_text(d, "GPUPOOL_DATABASE=%s", dev_conninfo(d, database_role)));
	var(c, dev_text(d, "GPUPOOL_LISTEN=%s/%s/socket", d->run, name));
	var(c, dev_text(d, "GPUPOOL_STATE=%s/%s", d->run, name));
	var(c, "LIBFCGI_OS_CLOSE_POLL_TIMEOUT=200");
	var(c, "LIBFCGI_IS_AF_UNIX_KEEPER_POLL_TIMEOUT=200");
}

static void say_api(struct dev *d, struct command *c)
{
	say_web(d, c, "api", "web");
}

static void say_events(struct dev *d, struct command *c)
{
	say_web(d, c, "events", "events");
}

static void say_secrets(struct dev *d, struct command *c)
{
	say_web(d, c, "secrets", "secrets");
	var(c, dev_text(d, "GPUPOOL_KEYS=%s/secret-keys", d->data));
}

static void say_provisioner(struct dev *d, struct command *c)
{
	word(c, dev_text(d, "%s/bin/gpupool-provisioner", d->run));
	word(c, "--providers=manual,kaggle,colab,colab-api,colab-enterprise");
	var(c, dev_text(d, "GPUPOOL_DATABASE=%s", dev_conninfo(d, "provisioner")));
	var(c, dev_text(d, "GPUPOOL_KEYS=%s/keys", d->data));
	var(c, dev_text(d, "GPUPOOL_STATE=%s/keys", d->data));
}

static void say_local(struct dev *d, struct command *c)
{
	word(c, dev_text(d, "%s/bin/gpupool-provisioner", d->run));
	word(c, "--providers=local");
	word(c, "--stop-workers");
	var(c, dev_text(d, "GPUPOOL_DATABASE=%s", dev_conninfo(d, "local")));
	/* The whole of it, since that is what jobs may not see. */
	var(c, dev_text(d, "GPUPOOL_STATE=%s", d->state));
	var(c, dev_text(d, "GPUPOOL_LOCAL_DIR=%s/local", d->data));
}

/* No sealing key; its profiles are its own, and its browsers outlive it. */
static void say_browser(struct dev *d, struct command *c)
{
	word(c, dev_text(d, "%s/bin/gpupool-provisioner", d->run));
	word(c, "--providers=colab-browser");
	var(c, dev_text(d, "GPUPOOL_DATABASE=%s", dev_conninfo(d, "browser")));
	var(c, dev_text(d, "GPUPOOL_STATE=%s/browser", d->data));
	var(c, dev_text(d, "GPUPOOL_BROWSER_DIR=%s/browser", d->data));
	var(c, "GPUPOOL_HANDS=2");
}

static void say_nginx(struct dev *d, struct command *c)
{
	word(c, d->nginx);
	word(c, "-p");
	word(c, dev_text(d, "%s/nginx", d->run));
	word(c, "-c");
	word(c, dev_text(d, "%s/nginx/nginx.conf", d->run));
	word(c, "-e");
	word(c, "stderr");
}

/*
 * stop: the signal that ends it in order, and how long that may take.  last:
 * what it gets when this process dies at once.
 */
static const struct kind {
	const char *name; /* also of its log */
	void (*say)(struct dev *, struct command *);
	int stop, last;
	int64_t stop_ms;
} kinds[SERVICE_COUNT] = {
	[SERVICE_POSTGRES] = {"postgres", say_postgres, SIGINT, SIGQUIT, 30000},
	[SERVICE_API] = {"web-api", say_api, SIGTERM, SIGTERM, 8000},
	[SERVICE_EVENTS] = {"web-events", say_events, SIGTERM, SIGTERM, 8000},
	[SERVICE_SECRETS] = {"web-secrets", say_secrets, SIGTERM, SIGTERM, 8000},
	[SERVICE_PROVISIONER] = {"provisioner", say_provisioner, SIGTERM, SIGTERM, 8000},
	[SERVICE_LOCAL] = {"provisioner-local", say_local, SIGTERM, SIGTERM, 20000},
	[SERVICE_BROWSER] = {"provisioner-browser", say_browser, SIGTERM, SIGTERM, 20000},
	[SERVICE_NGINX] = {"nginx", say_nginx, SIGTERM, SIGTERM, 5000},
};

/* Agents give their jobs back while the server still answers, so the local
 * provisioner goes first and the database last. */
static const enum service_id stop_order[] = {
	SERVICE_LOCAL, SERVICE_BROWSER, SERVICE_PROVISIONER, SERVICE_NGINX, SERVICE_EVENTS, SERVICE_SECRETS, SERVICE_API, SERVICE_POSTGRES,
};

/* ---- starting ------------------------------------------------------------- */

/* Settings of ours come first, so that what was set for `make run` as a whole
 * does not reach a process that has its own. */
static void add_environment(struct dev *d, struct command *c)
{
	static const char *const passed[] = {"ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "GPUPOOL_"};

	var(c, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	var(c, "LANG=C.UTF-8");
	var(c, "TZ=UTC");
	var(c, dev_text(d, "GPUPOOL_PUBLIC_URL=%s", d->public_url));
	var(c, dev_text(d, "GPUPOOL_STORE=%s/store", d->data));
	for (char **e = environ; *e; e++) {
		size_t len = strcspn(*e, "=") + 1;
		bool wanted = false, taken = false;

		for (size_t i = 0; i < ARRAY_LEN(passed); i++)
			wanted |= !strncmp(*e, passed[i], strlen(passed[i]));
		for (size_t i = 0; i < c->vars && !taken; i++)
			taken = !strncmp(c->env[i], *e, len);
		if (wanted && !taken && strncmp(*e, "GPUPOOL_CONFIG=", len) && strncmp(*e, "GPUPOOL_TOKEN=", len) && c->vars + 1 < MOST_ENV)
			c->env[c->vars++] = *e;
	}
}

enum err dev_service_start(struct dev *d, enum service_id id, struct error *e)
{
	const struct kind *k = &kinds[id];
	struct service *s = &d->services[id];
	struct identity as = dev_identity(d, id);
	struct command c = {0};
	struct spawn spawn = {.argv = c.argv, .env = c.env, .as = as, .die_with = k->last};

	k->say(d, &c);
	add_environment(d, &c);
	spawn.path = c.argv[0];
	spawn.output = dev_log(d, k->name, as.owner);
	if (spawn.output < 0)
		return error_set(e, ERR_INTERNAL, "cannot write %s/log/%s.log: %s", d->state, k->name, strerror(errno));
	s->pid = process_start(&spawn);
	close(spawn.output);
	s->wanted = true;
	s->started_ms = clock_ms();
	if (s->pid < 0) {
		s->pid = 0;
		return error_set(e, ERR_INTERNAL, "cannot start %s: %s", k->name, strerror(errno));
	}
	dev_remember(d, s->pid);
	return OK;
}

/* ---- supervision ---------------------------------------------------------- */

static void show_log(struct dev *d, const char *name)
{
	cleanup_file FILE *f = fopen(dev_text(d, "%s/log/%s.log", d->state, name), "re");
	char text[LOG_TAIL + 1];
	size_t n;

	if (!f || fseek(f, 0, SEEK_END))
		return;
	if (fseek(f, -LOG_TAIL, SEEK_CUR))
		rewind(f);
	n = fread(text, 1, LOG_TAIL, f);
	text[n] = '\0';
	dev_say("---- the end of %s/log/%s.log\n%s----", d->state, name, text);
}

static void ended(struct dev *d, enum service_id id, int status)
{
	struct service *s = &d->services[id];
	int64_t now = clock_ms(), wait;
	char text[32];

	s->pid = 0;
	if (!s->wanted)
		return;
	process_status_text(status, text, sizeof(text));
	s->early_ends = now - s->started_ms < EARLY_MS ? s->early_ends + 1 : 0;
	if (!s->early_ends)
		backoff_clear(&s->backoff);
	s->backoff.first_ms = 200;
	s->backoff.max_ms = 10000;
	wait = backoff_next(&s->backoff);
	s->again_ms = now + wait;
	dev_say("%s ended (%s); starting it again", kinds[id].name, text);
	if (!d->ready && s->early_ends >= EARLY_ENDS_MOST) {
		dev_say("%s does not stay up", kinds[id].name);
		show_log(d, kinds[id].name);
		d->stopping = true;
	}
}

static void reap(struct dev *d)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < SERVICE_COUNT; i++)
			if (d->services[i].pid == pid)
				ended(d, (enum service_id)i, status);
}

static void restart_due(struct dev *d)
{
	struct error e;

	for (int i = 0; i < SERVICE_COUNT; i++) {
		struct service *s = &d->services[i];

		if (s->wanted && !s->pid && clock_ms() >= s->again_ms && dev_service_start(d, (enum service_id)i, &e)) {
			dev_say("%s", e.msg);
			s->again_ms = clock_ms() + 1000;
		}
	}
}

static int64_t until_next(const struct dev *d, int64_t ms)
{
	for (int i = 0; i < SERVICE_COUNT; i++) {
		const struct service *s = &d->services[i];

		if (s->wanted && !s->pid && s->again_ms - clock_ms() < ms)
			ms = s->again_ms - clock_ms();
	}
	return ms < 0 ? 0 : ms;
}

/* Takes one signal if there is one within ms. */
static int next_signal(int64_t ms)
{
	struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	return sigtimedwait(&set, NULL, &wait);
}

bool dev_turn(struct dev *d, int64_t ms)
{
	int64_t end = clock_ms() + ms;

	while (!d->stopping) {
		int sig = next_signal(until_next(d, end - clock_ms() < 0 ? 0 : end - clock_ms()));

		if (sig == SIGINT || sig == SIGTERM || sig == SIGHUP)
			d->stopping = true;
		reap(d);
		if (!d->stopping)
			restart_due(d);
		if (clock_ms() >= end)
			break;
	}
	return !d->stopping;
}

enum err dev_until(struct dev *d, enum err (*check)(struct dev *, struct error *), int64_t ms, struct error *e)
{
	int64_t end = clock_ms() + ms;
	enum err err;

	while ((err = check(d, e)) && clock_ms() < end)
		if (!dev_turn(d, 50))
			return error_set(e, ERR_UNAVAILABLE, "stopped before it was ready");
	return err;
}

/* ---- the end -------------------------------------------------------------- */

/* True while it runs after that time; a second Ctrl-C cuts the wait short. */
static bool outlives(struct dev *d, enum service_id id, int64_t ms, bool *impatient)
{
	int64_t end = clock_ms() + ms;

	while (d->services[id].pid && clock_ms() < end && !*impatient) {
		int sig = next_signal(100);

		*impatient |= sig == SIGINT;
		reap(d);
	}
	return d->services[id].pid != 0;
}

/* Whatever is still below us: agents whose provisioner was killed. */
static void end_children(struct dev *d)
{
	for (int round = 0; round < 100; round++) {
		cleanup_file FILE *f = fopen(dev_text(d, "/proc/self/task/%d/children", (int)getpid()), "re");
		int pid, found = 0;

		while (f && fscanf(f, "%d", &pid) == 1) {
			found++;
			if (round == 0 || round == 40)
				kill(pid, round ? SIGKILL : SIGTERM);
		}
		if (!found)
			return;
		next_signal(50);
		reap(d);
	}
}

void dev_stop_all(struct dev *d)
{
	bool impatient = false;

	for (int i = 0; i < SERVICE_COUNT; i++)
		d->services[i].wanted = false;
	for (size_t i = 0; i < ARRAY_LEN(stop_order); i++) {
		enum service_id id = stop_order[i];
		const struct kind *k = &kinds[id];

		if (!d->services[id].pid)
			continue;
		kill(d->services[id].pid, k->stop);
		if (outlives(d, id, k->stop_ms, &impatient)) {
			dev_say("%s does not stop: killing it", k->name);
			kill(-d->services[id].pid, id == SERVICE_POSTGRES ? SIGQUIT : SIGKILL);
			impatient = false;
			if (outlives(d, id, 5000, &impatient))
				kill(-d->services[id].pid, SIGKILL);
		}
	}
	end_children(d);
}
