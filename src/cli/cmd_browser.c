/*
 * cmd_browser - a person signs in to Google in a window, on the server.
 *
 * An ordinary Chromium on the profile of the account: nothing drives it, nothing
 * looks on. The browser instance uses the same profile, so that it waits while the
 * window is open, and starts from what is there afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/process.h"

struct window {
	const char *dir;       /* of the account */
	struct identity as;    /* whose it is */
	int lock;
};

static enum err open_dir(struct cli *cli, struct window *w, struct error *e)
{
	char top[PATH_MAX];
	struct stat st;
	int64_t id;

	if (!str_to_id(str_of(cli->args[0]), &id))
		return error_set(e, ERR_INVALID, "ACCOUNT must be the id of an account: gpupool accounts list");
	if (!realpath(cli->config.browser_dir, top) || stat(top, &st))
		return error_set(e, ERR_NOT_FOUND, "There is no directory %.150s: set browser_dir to that of the browser instance.", cli->config.browser_dir);
	if (geteuid() && st.st_uid != geteuid())
		return error_set(e, ERR_FORBIDDEN, "%.150s belongs to another user: run this as that of the browser instance.", top);
	w->as = geteuid() && st.st_uid == geteuid() ? IDENTITY_SELF : (struct identity){.owner = {st.st_uid, st.st_gid}};
	w->dir = arena_printf(&cli->arena, "%s/%lld", top, (long long)id);
	if (!w->dir)
		return error_set(e, ERR_INTERNAL, "out of memory");
	return files_dir(w->dir, 0700, w->as.owner, e);
}

/* As the browser instance takes it: while one of us has it, the other waits. */
static enum err take(struct cli *cli, struct window *w, struct error *e)
{
	const char *path = arena_printf(&cli->arena, "%s/lock", w->dir);

	w->lock = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
	if (w->lock < 0 || (w->as.owner.uid != (uid_t)-1 && fchown(w->lock, w->as.owner.uid, w->as.owner.gid)))
		return error_set(e, ERR_INTERNAL, "cannot write %.150s: %s", w->dir, strerror(errno));
	if (flock(w->lock, LOCK_EX | LOCK_NB))
		return error_set(e, ERR_CONFLICT, "The account's profile is in use just now; stop its notebook, or try again in a minute.");
	return OK;
}

/* A run keeps a browser of its own on the profile. */
static enum err not_running(struct cli *cli, const struct window *w, struct error *e)
{
	const char *path = arena_printf(&cli->arena, "%s/profile/SingletonLock", w->dir);
	char target[256], *dash;
	int64_t pid;
	ssize_t n = path ? readlink(path, target, sizeof(target) - 1) : -1;

	if (n <= 0)
		return OK;
	target[n] = '\0';
	dash = strrchr(target, '-');
	if (dash && str_to_id(str_of(dash + 1), &pid) && process_started_at((pid_t)pid))
		return error_set(e, ERR_CONFLICT, "A browser (process %lld) is open on the account's profile: stop its notebook first.", (long long)pid);
	return OK;
}

static enum err show(struct cli *cli, const struct window *w, struct error *e)
{
	static const char *const passed[] = {"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR"};
	struct arena *a = &cli->arena;
	const char *argv[12], *env[10];
	size_t n = 0, vars = 0;
	struct spawn spawn = {.path = cli->config.chromium, .argv = argv, .env = env, .as = w->as, .output = STDERR_FILENO, .die_with = SIGTERM};

	argv[n++] = cli->config.chromium;
	argv[n++] = arena_printf(a, "--user-data-dir=%s/profile", w->dir);
	argv[n++] = "--password-store=basic"; /* as the instance opens it: cookies are unreadable otherwise */
	argv[n++] = "--no-first-run";
	argv[n++] = "--no-default-browser-check";
	argv[n++] = "--disable-sync";
	if (!geteuid() && !w->as.owner.uid)
		argv[n++] = "--no-sandbox"; /* root has none; the service has a user of its own */
	argv[n++] = arena_printf(a, "%s/ServiceLogin?continue=%s", cli->config.google_accounts_url, cli->config.colab_url);
	argv[n] = NULL;
	env[vars++] = "PATH=/usr/local/bin:/usr/bin:/bin";
	env[vars++] = arena_printf(a, "HOME=%s", w->dir);
	for (size_t i = 0; i < ARRAY_LEN(passed); i++)
		if (getenv(passed[i]))
			env[vars++] = arena_printf(a, "%s=%s", passed[i], getenv(passed[i]));
	env[vars] = NULL;
	return process_run(&spawn, "Chromium (it needs a screen: DISPLAY or WAYLAND_DISPLAY)", e);
}

int cmd_browser_sign_in(struct cli *cli)
{
	struct window w = {.lock = -1};
	struct error e = {0};
	const char *known;
	enum err err = open_dir(cli, &w, &e);

	if (!err)
		err = take(cli, &w, &e);
	if (!err)
		err = not_running(cli, &w, &e);
	if (!err) {
		fprintf(stderr, "Sign in to Google in the window, then close it.\n");
		err = show(cli, &w, &e);
	}
	known = arena_printf(&cli->arena, "%s/account.json", w.dir);
	if (!err && known)
		unlink(known); /* what was known of the sign-in; the next check looks anew */
	if (w.lock >= 0)
		close(w.lock);
	if (err)
		return cli_fail(cli, err, &e);
	printf("Have it checked now: gpupool accounts check %s\n", cli->args[0]);
	return EXIT_OK;
}
