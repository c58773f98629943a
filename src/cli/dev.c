/* dev - brings the private installation up, keeps it, takes it down.  See cli/dev.h. */
#include "cli/dev.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"

enum { ARENA_MOST = 64 << 20, ANSWER_MS = 60000, SOCKET_MS = 20000 };

/* Where this program lies tells where the others and static/ are: in a build
 * directory of the source, or below PREFIX. */
static enum err find_ourselves(struct dev *d, struct error *e)
{
	char path[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n <= 0)
		return error_set(e, ERR_INTERNAL, "/proc/self/exe cannot be read");
	path[n] = '\0';
	slash = strrchr(path, '/');
	*slash = '\0';
	d->programs = dev_text(d, "%s", path);
	d->assets = dev_text(d, "%s/../share/gpupool", path);
	if (access(dev_text(d, "%s/static", d->assets), R_OK))
		d->assets = dev_text(d, "%s/../..", path);
	if (access(dev_text(d, "%s/static", d->assets), R_OK))
		return error_set(e, ERR_NOT_FOUND, "the directory static/ is neither in %s nor in ../share/gpupool", d->assets);
	return OK;
}

/* Signals wait for dev_turn(); descendants whose parent died come to us; and
 * when make dies, so do we. */
static void take_charge(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (getenv("MAKELEVEL"))
		prctl(PR_SET_PDEATHSIG, SIGTERM);
	umask(022);
}

static enum err api_listens(struct dev *d, struct error *e)
{
	static const char *const roles[] = {"api", "events", "secrets"};
	bool all = true;

	for (size_t i = 0; i < ARRAY_LEN(roles); i++)
		all = all && access(dev_text(d, "%s/%s/socket", d->run, roles[i]), F_OK) == 0;
	return all ? OK : error_set(e, ERR_TIMEOUT, "gpupool-web does not listen; see %s/log", d->state);
}

static enum err start_services(struct dev *d, struct error *e)
{
	static const enum service_id first[] = {SERVICE_API, SERVICE_EVENTS, SERVICE_SECRETS}, then[] = {SERVICE_NGINX, SERVICE_PROVISIONER, SERVICE_LOCAL};
	enum err err = OK;

	for (size_t i = 0; !err && i < ARRAY_LEN(first); i++)
		err = dev_service_start(d, first[i], e);
	if (!err)
		err = dev_until(d, api_listens, SOCKET_MS, e);
	for (size_t i = 0; !err && i < ARRAY_LEN(then); i++)
		err = dev_service_start(d, then[i], e);
	if (!err && d->config.colab_browser)
		err = dev_service_start(d, SERVICE_BROWSER, e);
	return err ? err : dev_until(d, dev_answers, ANSWER_MS, e);
}

static enum err bring_up(struct dev *d, struct error *e)
{
	enum err err = find_ourselves(d, e);

	if (!err)
		err = dev_dirs_open(d, e);
	if (!err)
		err = dev_nginx_prepare(d, e);
	if (!err)
		err = dev_postgres_prepare(d, e);
	if (!err)
		err = dev_service_start(d, SERVICE_POSTGRES, e);
	if (!err)
		err = dev_postgres_setup(d, e);
	if (!err)
		dev_keys_setup(d);
	return err ? err : start_services(d, e);
}

static void say_ready(const struct dev *d)
{
	dev_say("\nready %s/\n\nSign in as admin; the password is the content of %s/admin-token,\n"
		"which is also a bearer token for the API and the command line:\n"
		"  gpupool --server %s --token-file %s/admin-token jobs list\n"
		"Ctrl-C stops everything; what is stored is there at the next start.",
		d->url, d->state, d->url, d->state);
}

/* A worker or an example that fails leaves an installation that can be looked
 * into; the exit status still says it. */
static int show_off(struct dev *d)
{
	struct error e = {0};
	enum err err = dev_first_worker(d, &e);

	if (!err && d->config.demo)
		err = dev_example(d, &e);
	if (err && !d->stopping)
		dev_say("warning: %s", e.msg);
	return err && !d->stopping ? 1 : 0;
}

int dev_main(struct config *config)
{
	struct dev d = {.config = *config, .root = geteuid() == 0};
	struct error e = {0};
	int status = 0;

	arena_init(&d.arena, ARENA_MOST);
	take_charge();
	log_init("gpupool-dev", LOG_ERROR); /* what matters is said in words */
	d.url = dev_text(&d, "http://127.0.0.1:%d", (int)config->port);
	d.public_url = config->public_url[0] ? config->public_url : d.url;
	if (bring_up(&d, &e)) {
		if (!d.stopping || e.code != ERR_UNAVAILABLE)
			fprintf(stderr, "gpupool dev: %s\n", e.msg);
		status = 1;
	} else {
		status = show_off(&d);
		d.ready = true;
		if (!d.stopping)
			say_ready(&d);
		while (dev_turn(&d, 60000))
			;
	}
	if (d.services[SERVICE_POSTGRES].pid)
		dev_say("stopping");
	dev_stop_all(&d);
	dev_dirs_close(&d);
	arena_free(&d.arena);
	return status;
}
