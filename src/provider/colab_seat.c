/* colab_seat - the directory of an account and its browser.  See provider/colab_browser.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "provider/colab_browser.h"

enum { WAIT_MS = 15000, TURN_MS = 50, FILE_MOST = 8192 };

static const char *const phases[] = {
	[COLAB_NO_RUN] = "none", [COLAB_OPENING] = "opening", [COLAB_PRESSED] = "pressed", [COLAB_OVER] = "over"};
static const char *const states[] = {
	[COLAB_STATE_UNKNOWN] = "unknown", [COLAB_SIGNED_IN] = "signed_in", [COLAB_NEEDS_HUMAN] = "needs_human"};

/* ---- files ---------------------------------------------------------------- */

/* NULL when there is none, or none that makes sense. */
static struct json *read_file(const char *dir, const char *name)
{
	char path[PATH_MAX], text[FILE_MOST];
	struct json *j = NULL;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (n <= 0 || json_parse((struct str){text, (size_t)n}, FILE_MOST, &j, NULL))
		return NULL;
	return j;
}

static enum err cannot_write(struct colab_seat *s, const char *path)
{
	return error_set(s->c->error, ERR_INTERNAL, "The browser's directory cannot be written (%.120s: %s).", path, strerror(errno));
}

/* It is there whole after a crash, or as it was. */
static enum err write_file(struct colab_seat *s, const char *name, const struct json *j)
{
	char path[PATH_MAX], new[PATH_MAX];
	cleanup_buf struct buf b = BUF_INIT(FILE_MOST);

	json_write(j, &b);
	if (snprintf(path, sizeof(path), "%s/%s", s->dir, name) >= PATH_MAX || snprintf(new, sizeof(new), "%s/%s.new", s->dir, name) >= PATH_MAX ||
	    b.failed)
		return error_set(s->c->error, ERR_INTERNAL, "The browser's directory has too long a name.");
	cleanup_fd int fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, b.ptr, b.len) != (ssize_t)b.len || fsync(fd) || rename(new, path))
		return cannot_write(s, path);
	return OK;
}

static const char *text(struct colab_seat *s, const struct json *j, const char *key)
{
	struct str v = json_str(j, key);

	return v.ptr ? arena_str(s->c->arena, v).ptr : NULL;
}

static int index_of(const char *const *names, size_t n, struct str name)
{
	for (size_t i = 0; i < n; i++)
		if (str_eqz(name, names[i]))
			return (int)i;
	return 0;
}

static void read_run(struct colab_seat *s)
{
	cleanup_json struct json *j = read_file(s->dir, "run.json");

	s->run = (struct colab_run){
		.intent = text(s, j, "intent"),
		.url = text(s, j, "url"),
		.code = text(s, j, "code"),
		.reason = text(s, j, "reason"),
		.phase = (enum colab_phase)index_of(phases, ARRAY_LEN(phases), json_str(j, "phase")),
		.orderly = json_bool(j, "orderly", false),
		.connected = json_bool(j, "connected", false),
		.ran = json_bool(j, "ran", false),
		.pressed = json_i64(j, "pressed", 0),
		.opened = json_i64(j, "opened", 0),
		.process = {(pid_t)json_i64(j, "pid", 0), json_i64(j, "started", 0), (int)json_i64(j, "port", 0)},
		.session = text(s, j, "session"),
	};
}

enum err colab_run_keep(struct colab_seat *s)
{
	cleanup_json struct json *j = json_object();
	const struct colab_run *r = &s->run;

	json_put_cstr(j, "intent", r->intent);
	json_put_cstr(j, "url", r->url);
	json_put_cstr(j, "code", r->code);
	json_put_cstr(j, "reason", r->reason);
	json_put_cstr(j, "phase", phases[r->phase]);
	json_put_bool(j, "orderly", r->orderly);
	json_put_bool(j, "connected", r->connected);
	json_put_bool(j, "ran", r->ran);
	json_put_i64(j, "pressed", r->pressed);
	json_put_i64(j, "opened", r->opened);
	json_put_i64(j, "pid", r->process.pid);
	json_put_i64(j, "started", r->process.started);
	json_put_i64(j, "port", r->process.port);
	json_put_cstr(j, "session", r->session);
	return write_file(s, "run.json", j);
}

static void read_account(struct colab_seat *s)
{
	cleanup_json struct json *j = read_file(s->dir, "account.json");

	s->account = (struct colab_account){
		.state = (enum colab_state)index_of(states, ARRAY_LEN(states), json_str(j, "state")),
		.email = text(s, j, "email"),
		.reason = text(s, j, "reason"),
		.cool_until = json_i64(j, "coolUntil", 0),
	};
}

enum err colab_account_keep(struct colab_seat *s)
{
	cleanup_json struct json *j = json_object();

	json_put_cstr(j, "state", states[s->account.state]);
	json_put_cstr(j, "email", s->account.email);
	json_put_cstr(j, "reason", s->account.reason);
	json_put_i64(j, "coolUntil", s->account.cool_until);
	return write_file(s, "account.json", j);
}

/* ---- taking it ------------------------------------------------------------ */

static enum err make_dir(struct colab_seat *s, const char *path)
{
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return cannot_write(s, path);
	if (lstat(path, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return error_set(s->c->error, ERR_INTERNAL, "%.180s is no directory of this program's user.", path);
	if ((st.st_mode & 0077) && chmod(path, 0700))
		return cannot_write(s, path);
	return OK;
}

static enum err lock(struct colab_seat *s)
{
	int64_t until = clock_ms() + WAIT_MS;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/lock", s->dir);
	s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock < 0)
		return cannot_write(s, path);
	while (flock(s->lock, LOCK_EX | LOCK_NB)) {
		if (clock_ms() > until || http_client_aborted(s->c->http)) {
			error_set(s->c->error, ERR_UNAVAILABLE, "The account's browser profile is in use: by its sign-in window, or by another step.");
			s->c->error->reason = "unsettled";
			return ERR_UNAVAILABLE;
		}
		clock_sleep_ms(TURN_MS);
	}
	return OK;
}

enum err colab_seat_take(struct provider_call *c, struct colab_seat *ret)
{
	char real[PATH_MAX];
	enum err err;

	*ret = (struct colab_seat){.c = c, .lock = -1, .run.phase = COLAB_NO_RUN};
	if (!c->account)
		return error_set(c->error, ERR_INTERNAL, "A browser needs an account.");
	err = make_dir(ret, c->config->browser_dir);
	if (!err && !realpath(c->config->browser_dir, real))
		err = cannot_write(ret, c->config->browser_dir);
	if (err)
		return err;
	ret->dir = arena_printf(c->arena, "%s/%lld", real, (long long)c->account);
	if (!ret->dir)
		return error_set(c->error, ERR_INTERNAL, "out of memory");
	err = make_dir(ret, ret->dir);
	if (!err)
		err = lock(ret);
	if (err)
		return err;
	read_run(ret);
	read_account(ret);
	return OK;
}

void colab_seat_leave(struct colab_seat *s)
{
	colab_page_close(&s->page);
	if (s->lock >= 0)
		close(s->lock);
	s->lock = -1;
}

/* ---- its browser ---------------------------------------------------------- */

static void prepare(struct colab_seat *s)
{
	s->wd = (struct wd){.http = s->c->http, .arena = s->c->arena, .error = s->c->error, .deadline_ms = s->c->deadline_ms,
			    .port = s->run.process.port};
	if (s->run.session)
		snprintf(s->wd.session, sizeof(s->wd.session), "%s", s->run.session);
}

enum err colab_seat_attach(struct colab_seat *s)
{
	enum err err;

	prepare(s);
	if (!s->run.session || !wd_process_alive(&s->run.process))
		return error_set(s->c->error, ERR_GONE, "Its browser has ended.");
	err = wd_ping(&s->wd);
	return err ? err : colab_page_open(&s->page, &s->wd, s->c->config->google_accounts_url);
}

/* By its number and time of birth; and what a crash left before these were written, by where it works. */
static void end_left(struct colab_seat *s)
{
	wd_process_end(&s->run.process);
	wd_process_end_in(s->dir);
	s->run.process = (struct wd_process){0};
	s->run.session = NULL;
}

enum err colab_seat_end(struct colab_seat *s)
{
	colab_page_close(&s->page);
	if (s->wd.session[0] && s->run.session)
		wd_close(&s->wd);
	end_left(s);
	return colab_run_keep(s);
}

/* Chromium writes whose it is into its lock: "host-PID".  What is dead does not count; it sees to that itself. */
static enum err in_use(struct colab_seat *s, const char *profile)
{
	char path[PATH_MAX], target[256], *dash;
	ssize_t n;
	int64_t pid;

	snprintf(path, sizeof(path), "%s/SingletonLock", profile);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return OK;
	target[n] = '\0';
	dash = strrchr(target, '-');
	if (!dash || !str_to_id(str_of(dash + 1), &pid))
		return OK;
	if (!wd_number_alive((pid_t)pid)) {
		unlink(path);
		return OK;
	}
	error_set(s->c->error, ERR_UNAVAILABLE, "The account's browser profile is in use by process %lld: close that window.", (long long)pid);
	s->c->error->reason = "unsettled";
	return ERR_UNAVAILABLE;
}

enum err colab_seat_browse(struct colab_seat *s)
{
	/* As root, in tests and on a developer's machine, Chromium refuses its sandbox; the service has a user of its own. */
	const char *args[] = {"--headless=new", "--lang=en-US", "--window-size=1400,900", "--no-first-run", "--no-default-browser-check",
			      "--password-store=basic", "--disable-breakpad", "--disable-sync", geteuid() ? NULL : "--no-sandbox", NULL};
	const char *profile = arena_printf(s->c->arena, "%s/profile", s->dir);
	enum err err;

	if (!profile)
		return error_set(s->c->error, ERR_INTERNAL, "out of memory");
	end_left(s);
	err = make_dir(s, profile);
	if (!err)
		err = in_use(s, profile);
	if (!err)
		err = wd_process_start(&(struct wd_program){s->c->config->chromedriver, s->dir}, &s->run.process, s->c->error);
	if (!err)
		err = colab_run_keep(s);
	if (err)
		return err;
	prepare(s);
	err = wd_open(&s->wd, &(struct wd_browser){s->c->config->chromium, profile, args});
	if (err) {
		end_left(s);
		(void)!colab_run_keep(s);
		return err == ERR_GONE ? ERR_UNAVAILABLE : err;
	}
	s->run.session = arena_strdup(s->c->arena, s->wd.session);
	s->run.opened = clock_wall_ms();
	err = colab_run_keep(s);
	return err ? err : colab_page_open(&s->page, &s->wd, s->c->config->google_accounts_url);
}
