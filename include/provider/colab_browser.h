/*
 * colab_browser - Colab through a browser: way `browser`.
 *
 * A person's sign-in lies in a profile directory of Chromium, one an account
 * (mode 0700, below the setting browser_dir), which no other program reads.  The
 * driver opens the notebook in a tab as its person would: uploads it, chooses the
 * accelerator, presses Ctrl+F9, and looks at the page from time to time.  It
 * pretends nothing: no script hides what it is, nothing is pressed to seem
 * present, and whatever asks for a person ends the run and waits for one.
 *
 * ACCOUNT/ holds
 *   lock           held (flock) while somebody uses the directory
 *   profile/       Chromium's
 *   run.json       the run: its intent, how far it is, which browser shows it
 *   account.json   whether the account is signed in, and what a person must do
 * run.json is written before Run all is pressed, so it tells for certain whether
 * an intent was ever run.  The browser outlives the provisioner: the next one
 * takes the same tab over, or ends what is left and opens the notebook again.
 *
 * Private to provider/, but for the table.
 */
#ifndef PROVIDER_COLAB_BROWSER_H
#define PROVIDER_COLAB_BROWSER_H

#include "provider/colab_page.h"
#include "provider/provider.h"

extern const struct provider provider_colab_browser;

/* ---- the directory of an account ------------------------------------------ */

enum colab_phase {
	COLAB_NO_RUN,
	COLAB_OPENING,       /* a browser is there, nothing was run */
	COLAB_PRESSED,       /* it runs, or is about to */
	COLAB_OVER,
};

struct colab_run {
	const char *intent, *url, *code, *reason;
	enum colab_phase phase;
	bool orderly, connected, ran;
	int64_t pressed, opened;  /* wall clock, ms: when it was run, and shown last anew */
	struct wd_process process;
	const char *session;
};

enum colab_state { COLAB_STATE_UNKNOWN, COLAB_SIGNED_IN, COLAB_NEEDS_HUMAN };

struct colab_account {
	enum colab_state state;
	const char *email, *reason;
	int64_t cool_until;       /* wall clock, ms: Colab gives no accelerator before */
};

struct colab_seat {
	struct provider_call *c;
	const char *dir;
	int lock;
	struct colab_run run;
	struct colab_account account;
	struct wd wd;
	struct colab_page page;
};

/* ERR_UNAVAILABLE "unsettled" while another uses it.  Leave it in any case. */
enum err colab_seat_take(struct provider_call *c, struct colab_seat *ret) must_check;
void colab_seat_leave(struct colab_seat *s);
enum err colab_run_keep(struct colab_seat *s) must_check;
enum err colab_account_keep(struct colab_seat *s) must_check;
/* The browser that shows the run; ERR_GONE when it is no more. */
enum err colab_seat_attach(struct colab_seat *s) must_check;
/* A new one; what was left of another is ended first. */
enum err colab_seat_browse(struct colab_seat *s) must_check;
enum err colab_seat_end(struct colab_seat *s) must_check;

/* ---- what a person must do ------------------------------------------------- */

/* Takes the picture, ends the browser, writes it down: ERR_FORBIDDEN "account". */
enum err colab_human(struct colab_seat *s, const char *sentence) must_check;
/* What the page asks of a person; NULL = nothing. */
const char *colab_asks(const struct colab_seat *s, const struct colab_look *l);

/* Signs in with what c->secret holds, once.  OK: signed in, s->account says as whom. */
enum err colab_sign_in(struct colab_seat *s, const char *email, struct str password) must_check;
/* Waits until the page says who is signed in, or that nobody is. */
enum err colab_who(struct colab_seat *s, struct colab_look *ret) must_check;

/* ---- the run --------------------------------------------------------------- */

enum err colab_browser_start(struct provider_call *c, const struct launch *l, struct run *ret) must_check;
enum err colab_browser_find(struct provider_call *c, const struct launch *l, struct run *ret) must_check;
enum err colab_browser_poll(struct provider_call *c, const struct run *run, struct run_status *ret) must_check;
enum err colab_browser_stop(struct provider_call *c, const struct run *run, bool insist) must_check;
/* The run is over, and its browser is ended. */
enum err colab_over(struct colab_seat *s, const char *code, const char *reason, bool orderly) must_check;
/* Presses what deletes the runtime, and waits until it is gone. */
enum err colab_delete_runtime(struct colab_seat *s) must_check;

#endif
