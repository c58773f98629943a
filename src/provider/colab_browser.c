/* colab_browser - the table, and whose sign-in a profile holds.  See provider/colab_browser.h. */
#include "provider/colab_browser.h"

#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/asset.h"
#include "base/clock.h"

enum { POLL_SECONDS = 15, SESSION_SECONDS_MOST = 24 * 3600 };

/* ---- check ----------------------------------------------------------------- */

/* "Chromium 156.0.8078.79 …", "ChromeDriver 156.0.8078.79 (…)" → 156; 0 = it says none. */
static int major_of(const char *path, char *const *env)
{
	const char *argv[] = {path, "--version", "--no-sandbox", NULL};
	posix_spawn_file_actions_t files;
	char text[256] = "", *p = text;
	int ends[2], major = 0, rc;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	if (pipe(ends))
		return 0;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", 0, 0);
	posix_spawn_file_actions_adddup2(&files, ends[1], 1);
	posix_spawn_file_actions_addopen(&files, 2, "/dev/null", 1, 0);
	posix_spawn_file_actions_addclosefrom_np(&files, 3);
	rc = posix_spawn(&pid, path, &files, NULL, (char *const *)argv, env);
	posix_spawn_file_actions_destroy(&files);
	close(ends[1]);
	while (!rc && len < sizeof(text) - 1 && (n = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(ends[0]);
	if (!rc)
		waitpid(pid, NULL, 0);
	p += strcspn(p, "0123456789");
	return sscanf(p, "%d.", &major) == 1 ? major : 0;
}

static enum err check(struct provider_call *c)
{
	static const char *const env[] = {"PATH=/usr/bin:/bin", "HOME=/nonexistent", NULL};
	int browser, driver;

	if (!c->config->colab_browser)
		return error_set(c->error, ERR_INVALID, "Colab in a browser is off: colab_browser=1 turns it on; read the terms in the README first.");
	if (!asset_find("provider/colab-selectors.json") || !asset_find("provider/colab-page.js"))
		return error_set(c->error, ERR_INVALID, "This program was built without its knowledge of Colab's pages.");
	browser = major_of(c->config->chromium, (char *const *)env);
	driver = major_of(c->config->chromedriver, (char *const *)env);
	if (!browser)
		return error_set(c->error, ERR_INVALID, "There is no Chromium at %.120s: apt-get install chromium, or set chromium.", c->config->chromium);
	if (!driver)
		return error_set(c->error, ERR_INVALID, "There is no ChromeDriver at %.120s: apt-get install chromium-driver, or set chromedriver.",
				 c->config->chromedriver);
	if (browser != driver)
		return error_set(c->error, ERR_INVALID, "Chromium is version %d and ChromeDriver %d: install both of the same version.", browser, driver);
	return OK;
}

/* ---- verify ---------------------------------------------------------------- */

static enum err as_known(struct colab_seat *s, const char *email, struct identity *ret)
{
	if (s->account.state == COLAB_NEEDS_HUMAN) {
		error_set(s->c->error, ERR_FORBIDDEN, "%s", s->account.reason ? s->account.reason : "Google asks for a person.");
		s->c->error->reason = "account";
		return ERR_FORBIDDEN;
	}
	if (email && !str_ieqz(str_of(s->account.email), email)) {
		error_set(s->c->error, ERR_FORBIDDEN, "The browser profile is signed in as %.80s, not as %.80s: sign in as the latter.", s->account.email, email);
		s->c->error->reason = "account";
		return ERR_FORBIDDEN;
	}
	ret->name = s->account.email;
	return OK;
}

/* Opens Colab's front page in the profile and reads whose it is. */
static enum err learn(struct colab_seat *s, const char *email, struct str password)
{
	const char *url = arena_printf(s->c->arena, "%s/?hl=en", s->c->config->colab_url);
	struct colab_look l;
	enum err err = url ? colab_seat_browse(s) : error_set(s->c->error, ERR_INTERNAL, "out of memory");

	if (!err && password.len && email)
		err = colab_sign_in(s, email, password);
	if (!err)
		err = wd_go(&s->wd, url);
	if (!err)
		err = colab_who(s, &l);
	if (err)
		return err;
	if (!l.email)
		return colab_human(s, colab_asks(s, &l));
	s->account = (struct colab_account){.state = COLAB_SIGNED_IN, .email = l.email, .cool_until = s->account.cool_until};
	err = colab_account_keep(s);
	return err ? err : colab_seat_end(s);
}

static enum err verify_seat(struct colab_seat *s, const struct json *secret, struct identity *ret)
{
	const char *email = json_cstr(secret, "email");
	struct str password = json_str(secret, "password");
	enum err err = OK;

	if (s->run.phase == COLAB_PRESSED || (s->account.state != COLAB_STATE_UNKNOWN && !password.len)) {
		if (s->account.state == COLAB_STATE_UNKNOWN)
			err = error_set(s->c->error, ERR_UNAVAILABLE, "It is asked when its run has ended.");
		if (err)
			s->c->error->reason = "unsettled";
		return err ? err : as_known(s, email, ret);
	}
	err = learn(s, email, password);
	if (err) {
		struct error kept = *s->c->error;

		if (s->run.session && colab_seat_end(s) == OK)
			*s->c->error = kept;
		return err;
	}
	return as_known(s, email, ret);
}

static enum err verify(struct provider_call *c, struct identity *ret)
{
	cleanup_json struct json *secret = NULL;
	struct colab_seat s;
	enum err err = colab_seat_take(c, &s);

	*ret = (struct identity){0};
	if (!err && c->secret && json_parse((struct str){c->secret->ptr, c->secret->len}, 4096, &secret, NULL))
		err = error_set(c->error, ERR_INTERNAL, "The account's e-mail address is unreadable.");
	if (!err)
		err = verify_seat(&s, secret, ret);
	json_wipe(secret);
	colab_seat_leave(&s);
	return err == ERR_GONE ? error_set(c->error, ERR_UNAVAILABLE, "The browser ended while it was looked at.") : err;
}

static bool launch_valid(const struct launch *l, struct error *why)
{
	if (l->limit_seconds < 0 || l->limit_seconds > SESSION_SECONDS_MOST) {
		error_set(why, ERR_INVALID, "A session at Colab lasts 24 hours at most.");
		return false;
	}
	return true;
}

const struct provider provider_colab_browser = {
	.name = "colab-browser",
	.caps = CAN_START | CAN_STOP | KNOWS_RUNS | REMOTE | NEEDS_SECRET | KEEPS_SIGN_IN,
	.poll_seconds = POLL_SECONDS,
	.check = check,
	.verify = verify,
	.start = colab_browser_start,
	.find = colab_browser_find,
	.poll = colab_browser_poll,
	.stop = colab_browser_stop,
	.launch_valid = launch_valid,
};
