/* colab_run - one run in a browser: its start, what shows of it, its end.  See provider/colab_browser.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "provider/colab_browser.h"
#include "provider/notebook.h"

enum {
	TURN_MS = 250,
	OPEN_MS = 45000,             /* for a page, or an upload */
	DIALOG_MS = 15000,
	BEGIN_MS = 45000,            /* until a run must have shown something; it is watched on afterwards */
	LEFT_MS = 15000,             /* of a call's time, for what comes after a wait */
	CONNECT_MS = 180000,         /* longer than this no connecting takes */
	OFF_MS = 30000,              /* a page that was just opened may yet connect */
	COOL_MS = 3600 * 1000,       /* after Colab refused an accelerator: nobody says when it has one again, and a try is a browser */
	RUN_REFERENCE_MOST = 4096,
};

static enum err no_memory(struct provider_call *c)
{
	return error_set(c->error, ERR_INTERNAL, "out of memory");
}

static enum err unsettled(struct provider_call *c, const char *sentence)
{
	error_set(c->error, ERR_UNAVAILABLE, "%s", sentence);
	c->error->reason = "unsettled";
	return ERR_UNAVAILABLE;
}

static bool time_left(const struct colab_seat *s, int64_t until)
{
	return clock_ms() < until && clock_ms() + LEFT_MS < s->c->deadline_ms && !http_client_aborted(s->c->http);
}

/* ---- the end -------------------------------------------------------------- */

enum err colab_over(struct colab_seat *s, const char *code, const char *reason, bool orderly)
{
	s->run.phase = COLAB_OVER;
	s->run.code = code;
	s->run.reason = reason;
	s->run.orderly = orderly;
	return colab_seat_end(s);
}

enum err colab_delete_runtime(struct colab_seat *s)
{
	int64_t until = clock_ms() + DIALOG_MS;
	struct colab_look l;
	enum err err = colab_page_click(&s->page, false, "runtimeMenu", NULL, until);

	if (!err)
		err = colab_page_click(&s->page, false, "deleteRuntime", NULL, until);
	if (!err)
		err = colab_page_click(&s->page, true, "dialogOk", NULL, until);
	while (!err && time_left(s, until)) {
		err = colab_page_look(&s->page, &l);
		if (err || l.link == COLAB_OFF)
			return err;
		clock_sleep_ms(TURN_MS);
	}
	return err ? err : unsettled(s->c, "Colab has not yet deleted the runtime.");
}

/* What the page says against a run.  code NULL: nothing. */
struct verdict {
	const char *code, *reason;
};

static struct verdict against(struct colab_seat *s, const struct colab_look *l)
{
	struct arena *a = s->c->arena;

	switch (l->says) {
	case COLAB_QUOTA:
		return (struct verdict){"quota", arena_printf(a, "Colab gives no such accelerator for now: \"%.150s\".", l->words)};
	case COLAB_TOO_MANY:
		return (struct verdict){"capacity", arena_printf(a, "Colab says that too much of this account runs: \"%.140s\".", l->words)};
	case COLAB_IDLE:
		return (struct verdict){"idle", arena_printf(a, "Colab has ended it: \"%.170s\".", l->words)};
	case COLAB_LOADING:
		return (struct verdict){"lost", "Colab cannot load the notebook any more."};
	default:
		return (struct verdict){0};
	}
}

/* Where only time helps, starts wait too. */
static enum err cool(struct colab_seat *s, const char *code)
{
	if (strcmp(code, "quota"))
		return OK;
	s->account.cool_until = clock_wall_ms() + COOL_MS;
	return colab_account_keep(s);
}

/* ---- opening the notebook -------------------------------------------------- */

static const char *file_name(struct colab_seat *s, const struct launch *l)
{
	cleanup_buf struct buf name = BUF_INIT(128);

	buf_adds(&name, "gpupool-");
	for (const char *p = l->title; *p && name.len < 60; p++)
		buf_addc(&name, (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ? *p : '-');
	return arena_printf(s->c->arena, "%s/%s.ipynb", s->dir, name.ptr);
}

/* It holds the token that enrols the agent, once; it is removed when the page has it. */
static enum err write_notebook(struct colab_seat *s, const struct launch *l, const char *path)
{
	const struct notebook_want want = {.provider = "colab", .preset = true};
	struct str text;
	enum err err = notebook_make(s->c, l, &want, &text);

	if (err)
		return err;
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, text.ptr, text.len) != (ssize_t)text.len)
		return error_set(s->c->error, ERR_INTERNAL, "The browser's directory cannot be written (%s).", strerror(errno));
	return OK;
}

/* Colab's own upload, by the input for files that its dialog has: what arrives is what was made, to the byte, nothing is
 * typed into an editor, and no consent to reach the person's Drive is needed. */
static enum err upload(struct colab_seat *s, const char *path)
{
	int64_t until = clock_ms() + OPEN_MS;
	struct wd_node input;
	enum err err;

	while ((err = colab_page_node(&s->page, false, "upload", NULL, &input)) == ERR_NOT_FOUND && time_left(s, until))
		clock_sleep_ms(TURN_MS);
	return err ? err : wd_type(&s->wd, input, str_of(path));
}

/* Waits for the notebook's own page; its address without what does not name it. */
static enum err arrive(struct colab_seat *s, struct colab_look *l)
{
	int64_t until = clock_ms() + OPEN_MS;

	while (time_left(s, until)) {
		enum err err = colab_page_look(&s->page, l);

		if (err && err != ERR_UPSTREAM)
			return err;
		if (!err && colab_asks(s, l))
			return colab_human(s, colab_asks(s, l));
		if (!err && l->says == COLAB_LOADING)
			return error_set(s->c->error, ERR_UPSTREAM, "Colab did not take the notebook: \"%.150s\".", l->words);
		if (!err && l->there && l->cells > 0 && strstr(l->url, "/drive/")) {
			s->run.url = arena_strndup(s->c->arena, l->url, strcspn(l->url, "?#"));
			return s->run.url ? OK : no_memory(s->c);
		}
		clock_sleep_ms(TURN_MS);
	}
	return error_set(s->c->error, ERR_UPSTREAM, "Colab did not open the notebook that was uploaded.");
}

static enum err open_notebook(struct colab_seat *s, const struct launch *l, struct colab_look *look)
{
	const char *path = file_name(s, l), *url = arena_printf(s->c->arena, "%s/?hl=en#upload=true", s->c->config->colab_url);
	enum err err = path && url ? wd_go(&s->wd, url) : no_memory(s->c);

	if (!err)
		err = colab_who(s, look);
	if (!err && colab_asks(s, look))
		return colab_human(s, colab_asks(s, look));
	if (!err)
		err = write_notebook(s, l, path);
	if (!err)
		err = upload(s, path);
	if (!err)
		err = arrive(s, look);
	if (path)
		unlink(path);
	return err;
}

/* ---- its accelerator ------------------------------------------------------- */

/* The notebook's metadata ask for it; where the page shows that they did not do, the dialog is used. */
static enum err choose(struct colab_seat *s, const char *shape, const struct colab_look *l)
{
	int64_t until = clock_ms() + DIALOG_MS;
	bool there = false, disabled = false, checked = false;
	enum err err;

	if (!shape || !shape[0] || !strcmp(shape, "NONE") || strstr(l->connect, shape))
		return OK;
	err = colab_page_click(&s->page, false, "runtimeMenu", NULL, until);
	if (!err)
		err = colab_page_click(&s->page, false, "changeRuntime", NULL, until);
	while (!err && !there && time_left(s, until)) {
		err = colab_page_is(&s->page, "accelerator", shape, &there, &disabled, &checked);
		if (!err && !there)
			clock_sleep_ms(TURN_MS);
	}
	if (err)
		return err;
	if (!there || disabled)
		return error_set(s->c->error, ERR_INVALID, "Colab offers this account no %s: choose another accelerator, or a plan that has it.", shape);
	if (!checked)
		err = colab_page_click(&s->page, false, "accelerator", shape, until);
	return err ? err : colab_page_click(&s->page, true, "dialogOk", NULL, until);
}

/* ---- running it ------------------------------------------------------------ */

/* A start that came to nothing, as the page says: nothing ran, so nothing is kept of it. */
static enum err refused(struct colab_seat *s, const struct verdict *v)
{
	enum err err = cool(s, v->code);

	if (!err)
		err = colab_over(s, v->code, v->reason, false);
	if (err)
		return err;
	if (strcmp(v->code, "quota") && strcmp(v->code, "capacity"))
		return error_set(s->c->error, ERR_UPSTREAM, "%s", v->reason);
	error_set(s->c->error, ERR_QUOTA, "%s", v->reason);
	s->c->error->reason = v->code;
	return ERR_QUOTA;
}

static enum err asked_of_person(struct colab_seat *s, const char *sentence)
{
	s->run.phase = COLAB_OVER;
	s->run.code = "account";
	s->run.reason = sentence;
	return colab_human(s, sentence);
}

/* OK when it connects, or may yet; what stands against it otherwise. */
static enum err see_it_begin(struct colab_seat *s)
{
	int64_t until = clock_ms() + BEGIN_MS;

	while (time_left(s, until)) {
		struct colab_look l;
		struct verdict v;
		enum err err = colab_page_look(&s->page, &l);

		if (err)
			return err;
		if (colab_asks(s, &l))
			return asked_of_person(s, colab_asks(s, &l));
		v = against(s, &l);
		if (v.code)
			return refused(s, &v);
		if (l.link == COLAB_ON) {
			s->run.connected = true;
			return OK;
		}
		/* "This notebook was not authored by Google": it was made here, for this person. */
		if (l.says == COLAB_NOT_GOOGLE && !l.opening)
			err = colab_page_click(&s->page, true, "dialogOk", NULL, clock_ms() + DIALOG_MS);
		if (err)
			return err;
		clock_sleep_ms(TURN_MS);
	}
	return OK;
}

static enum err press(struct colab_seat *s)
{
	enum err err;

	s->run.phase = COLAB_PRESSED;
	s->run.pressed = s->run.opened = clock_wall_ms();
	err = colab_run_keep(s);
	CRASH_POINT("colab.pressed");
	if (!err)
		err = wd_keys(&s->wd, (const char *const[]){WD_CTRL, WD_F9}, 2);
	CRASH_POINT("colab.ran");
	return err;
}

static enum err tell(struct colab_seat *s, struct run *ret)
{
	cleanup_json struct json *j = json_object();
	const char *text;

	json_put_cstr(j, "intent", s->run.intent);
	json_put_cstr(j, "url", s->run.url);
	text = json_text(j, s->c->arena);
	*ret = (struct run){.reference = str_of(text), .url = s->run.url};
	return text ? OK : no_memory(s->c);
}

static bool is_of(const struct colab_run *r, struct str intent)
{
	return r->intent && str_eqz(intent, r->intent);
}

/* Before a browser is opened. */
static enum err may_start(struct colab_seat *s)
{
	int64_t wait = s->account.cool_until - clock_wall_ms();

	if (s->account.state == COLAB_NEEDS_HUMAN) {
		error_set(s->c->error, ERR_FORBIDDEN, "%s", s->account.reason ? s->account.reason : "Google asks for a person.");
		s->c->error->reason = "account";
		return ERR_FORBIDDEN;
	}
	if (wait > 0) {
		error_set(s->c->error, ERR_QUOTA, "Colab gave this account no accelerator; it is asked again in %lld minutes.", (long long)(wait / 60000 + 1));
		s->c->error->reason = "quota";
		return ERR_QUOTA;
	}
	return s->run.phase == COLAB_PRESSED ? unsettled(s->c, "An earlier run of this account has not ended at Colab yet.") : OK;
}

static enum err begin(struct colab_seat *s, const struct launch *l)
{
	struct colab_look look;
	enum err err;

	s->run = (struct colab_run){.intent = arena_str(s->c->arena, l->intent).ptr, .phase = COLAB_OPENING, .process = s->run.process};
	err = colab_seat_browse(s);
	CRASH_POINT("colab.browser");
	if (!err)
		err = open_notebook(s, l, &look);
	CRASH_POINT("colab.uploaded");
	if (!err)
		err = colab_run_keep(s);
	if (!err)
		err = choose(s, l->shape, &look);
	CRASH_POINT("colab.chosen");
	if (err && s->run.phase == COLAB_OPENING) { /* nothing was run */
		struct error kept = *s->c->error;

		s->run.phase = COLAB_NO_RUN;
		if (colab_seat_end(s) == OK)
			*s->c->error = kept;
	}
	return err ? err : press(s);
}

static enum err start(struct colab_seat *s, const struct launch *l, struct run *ret)
{
	enum err err;

	if (is_of(&s->run, l->intent) && s->run.phase >= COLAB_PRESSED)
		return tell(s, ret);
	err = may_start(s);
	if (!err)
		err = begin(s, l);
	if (!err)
		err = see_it_begin(s);
	if (!err && s->run.connected)
		err = colab_run_keep(s);
	return err ? err : tell(s, ret);
}

enum err colab_browser_start(struct provider_call *c, const struct launch *l, struct run *ret)
{
	struct colab_seat s;
	enum err err = colab_seat_take(c, &s);

	if (!err)
		err = start(&s, l, ret);
	colab_seat_leave(&s);
	return err == ERR_GONE ? error_set(c->error, ERR_UNAVAILABLE, "The browser ended during the start.") : err;
}

enum err colab_browser_find(struct provider_call *c, const struct launch *l, struct run *ret)
{
	struct colab_seat s;
	enum err err = colab_seat_take(c, &s);

	/* The file was written before anything was run, so what it does not name never was. */
	if (!err && is_of(&s.run, l->intent) && s.run.phase >= COLAB_PRESSED)
		err = tell(&s, ret);
	else if (!err)
		err = error_set(c->error, ERR_NOT_FOUND, "No browser here has run it.");
	colab_seat_leave(&s);
	return err;
}

/* ---- looking at it --------------------------------------------------------- */

static struct run_status ended(const struct colab_run *r)
{
	return (struct run_status){
		.phase = RUN_ENDED, .code = r->code ? r->code : "ended", .reason = r->reason ? r->reason : "It has ended.", .orderly = r->orderly};
}

/* The same tab; or, where its browser is no more, the same notebook in a new one. */
static enum err reopen(struct colab_seat *s)
{
	enum err err = colab_seat_attach(s);
	struct colab_look l;

	if (err != ERR_GONE)
		return err;
	colab_page_close(&s->page);
	if (!s->run.url)
		return ERR_GONE;
	err = colab_seat_browse(s);
	CRASH_POINT("colab.reopened");
	if (!err)
		err = wd_go(&s->wd, s->run.url);
	for (int64_t until = clock_ms() + OPEN_MS / 3; !err && time_left(s, until);) {
		err = colab_page_look(&s->page, &l);
		if (err == ERR_UPSTREAM)
			err = OK;
		else if (err || l.there || colab_asks(s, &l))
			break;
		clock_sleep_ms(TURN_MS);
	}
	return err == ERR_GONE ? ERR_UNAVAILABLE : err;
}

/* Its cells have ended, so its agent has: the machine is given back. */
static enum err finished(struct colab_seat *s, const struct colab_look *l, struct run_status *ret)
{
	bool failed = l->failed > 0;
	enum err err = colab_delete_runtime(s);

	if (!err)
		err = colab_over(s, failed ? "failed" : "ended", failed ? "The notebook's cell ended with an error." : "The agent ended by itself.", !failed);
	*ret = ended(&s->run);
	return err;
}

static enum err over(struct colab_seat *s, const char *code, const char *reason, struct run_status *ret)
{
	enum err err = colab_over(s, code, reason, false);

	*ret = ended(&s->run);
	return err;
}

static enum err judge_on(struct colab_seat *s, struct colab_look *l, struct run_status *ret)
{
	bool busy = l->running > 0 || l->pending > 0, news = !s->run.connected || (busy && !s->run.ran);
	enum err err = OK;

	s->run.connected = true;
	s->run.ran |= busy;
	if (news)
		err = colab_run_keep(s);
	if (err || busy || !s->run.ran)
		return err;
	/* Between two cells nothing shows; what is over stays so. */
	for (int i = 0; i < 4 && !err; i++) {
		clock_sleep_ms(TURN_MS);
		err = colab_page_look(&s->page, l);
		if (!err && (l->link != COLAB_ON || l->running > 0 || l->pending > 0))
			return OK;
	}
	return err ? err : finished(s, l, ret);
}

static enum err judge(struct colab_seat *s, struct colab_look *l, struct run_status *ret)
{
	int64_t now = clock_wall_ms();

	switch (l->link) {
	case COLAB_ON:
		return judge_on(s, l, ret);
	case COLAB_CONNECTING:
		if (s->run.connected)
			return OK;
		ret->phase = RUN_QUEUED;
		return now - s->run.pressed > CONNECT_MS ? over(s, "stuck", "Colab did not connect the notebook to a machine in three minutes.", ret) : OK;
	case COLAB_OFF:
		if (now - s->run.opened < OFF_MS)
			return OK;
		return s->run.connected ? over(s, "idle", "Colab has disconnected the runtime.", ret)
					: over(s, "stuck", "Colab did not connect the notebook to a machine.", ret);
	case COLAB_UNKNOWN:
		break;
	}
	return OK; /* its agent's heartbeat is the better witness */
}

static enum err look(struct colab_seat *s, struct run_status *ret)
{
	struct colab_look l;
	struct verdict v;
	enum err err = reopen(s);

	if (!err)
		err = colab_page_look(&s->page, &l);
	if (err)
		return err;
	if (colab_asks(s, &l)) {
		err = asked_of_person(s, colab_asks(s, &l));
		*ret = ended(&s->run);
		return err == ERR_FORBIDDEN ? OK : err;
	}
	v = against(s, &l);
	if (v.code) {
		err = cool(s, v.code);
		return err ? err : over(s, v.code, v.reason, ret);
	}
	return judge(s, &l, ret);
}

static enum err seat_of(struct provider_call *c, const struct run *run, struct colab_seat *s, bool *mine)
{
	cleanup_json struct json *j = NULL;
	enum err err = colab_seat_take(c, s);

	if (!err && json_parse(run->reference, RUN_REFERENCE_MOST, &j, NULL))
		err = error_set(c->error, ERR_INTERNAL, "The run's reference is unreadable.");
	*mine = !err && is_of(&s->run, json_str(j, "intent")) && s->run.phase >= COLAB_PRESSED;
	return err;
}

enum err colab_browser_poll(struct provider_call *c, const struct run *run, struct run_status *ret)
{
	struct colab_seat s;
	bool mine;
	enum err err = seat_of(c, run, &s, &mine);

	*ret = (struct run_status){.phase = RUN_LIVE};
	if (!err && !mine)
		*ret = (struct run_status){.phase = RUN_ENDED, .code = "gone", .reason = "Nothing is known of it here any more."};
	else if (!err && s.run.phase == COLAB_OVER)
		*ret = ended(&s.run);
	else if (!err)
		err = look(&s, ret);
	colab_seat_leave(&s);
	return err == ERR_GONE ? error_set(c->error, ERR_UNAVAILABLE, "The browser ended while it was looked at.") : err;
}

/* ---- ending it ------------------------------------------------------------- */

static enum err stop(struct colab_seat *s, bool insist)
{
	enum err err = reopen(s);
	struct colab_look l;

	if (!err)
		err = colab_page_look(&s->page, &l);
	if (!err && colab_asks(s, &l))
		return asked_of_person(s, colab_asks(s, &l));
	if (!err && l.link != COLAB_OFF)
		err = colab_delete_runtime(s);
	/* Without a page Colab ends the runtime by itself, for being idle. */
	return err && !insist ? err : colab_over(s, "stopped", "It was stopped.", true);
}

enum err colab_browser_stop(struct provider_call *c, const struct run *run, bool insist)
{
	struct colab_seat s;
	bool mine;
	enum err err = seat_of(c, run, &s, &mine);

	if (!err && mine && s.run.phase == COLAB_PRESSED)
		err = stop(&s, insist);
	colab_seat_leave(&s);
	return err == ERR_FORBIDDEN ? OK : err;
}
