/*
 * colab_signin - who is signed in, and signing in.  See provider/colab_browser.h.
 *
 * A password is typed once.  Whatever Google then asks beyond it is for a person:
 * there is no second try, no other page is visited, and nothing is answered.
 */
#include <string.h>

#include "base/clock.h"
#include "provider/colab_browser.h"

enum { TURN_MS = 250, WHO_MS = 25000, STEP_MS = 20000 };

enum err colab_human(struct colab_seat *s, const char *sentence)
{
	enum err err;

	s->account.state = COLAB_NEEDS_HUMAN;
	s->account.reason = sentence;
	if (s->page.wd && wd_screenshot(&s->wd, &s->c->picture))
		s->c->picture = STR_NULL;
	err = colab_account_keep(s);
	if (!err)
		err = colab_seat_end(s);
	if (err)
		return err;
	error_set(s->c->error, ERR_FORBIDDEN, "%s", sentence);
	s->c->error->reason = "account";
	return ERR_FORBIDDEN;
}

static const char *sign_in_line(const struct colab_seat *s, const char *what)
{
	const char *line = arena_printf(s->c->arena, "%s Sign in on the server: gpupool browser sign-in %lld.", what, (long long)s->c->account);

	return line ? line : "Google asks for a person.";
}

const char *colab_asks(const struct colab_seat *s, const struct colab_look *l)
{
	if (strstr(l->url, "/signin/rejected"))
		return sign_in_line(s, "Google refused to sign this browser in.");
	if (l->says == COLAB_DENYLISTED)
		return "Colab has barred this account from its machines: an appeal is made at Colab, by the account's owner. It is not tried again.";
	if (l->says == COLAB_CAPTCHA)
		return sign_in_line(s, "Google asks whether a person is there.");
	if (l->at_google && l->challenge)
		return sign_in_line(s, "Google asks for a second step of the sign-in.");
	if (l->says == COLAB_SIGN_IN)
		return sign_in_line(s, "Google asks for a sign-in.");
	return NULL;
}

enum err colab_who(struct colab_seat *s, struct colab_look *ret)
{
	int64_t until = clock_ms() + WHO_MS;
	enum err err;

	do {
		err = colab_page_look(&s->page, ret);
		if (err || ret->email || colab_asks(s, ret))
			return err;
		clock_sleep_ms(TURN_MS);
	} while (clock_ms() < until);
	return error_set(s->c->error, ERR_UPSTREAM, "Colab's page shows neither an account nor a sign-in.");
}

/* ---- with a password ------------------------------------------------------- */

/* Until the page asks for what comes next, has left Google's, or wants a person. */
static enum err step(struct colab_seat *s, bool password, struct colab_look *ret)
{
	int64_t until = clock_ms() + STEP_MS;
	enum err err;

	do {
		err = colab_page_look(&s->page, ret);
		if (err == ERR_UPSTREAM) /* between two pages */
			err = OK;
		else if (err || !ret->at_google || (password ? ret->password_asked : ret->email_asked) || strstr(ret->url, "/rejected") ||
			 ret->challenge || ret->says == COLAB_CAPTCHA)
			return err;
		clock_sleep_ms(TURN_MS);
	} while (clock_ms() < until);
	return OK;
}

static enum err fill(struct colab_seat *s, const char *field, const char *button, struct str text)
{
	struct wd_node node;
	enum err err = colab_page_node(&s->page, false, field, NULL, &node);

	if (!err)
		err = wd_type(&s->wd, node, text);
	return err ? err : colab_page_click(&s->page, false, button, NULL, clock_ms() + STEP_MS);
}

static const char *refusal(struct colab_seat *s, const struct colab_look *l)
{
	if (strcasestr(l->page_words, "wrong password"))
		return sign_in_line(s, "Google says that the password is wrong.");
	if (strcasestr(l->page_words, "find your google account"))
		return sign_in_line(s, "Google knows no account of this e-mail address.");
	if (strstr(l->url, "/rejected") || l->challenge || l->says == COLAB_CAPTCHA)
		return colab_asks(s, l);
	return sign_in_line(s, "Google did not take the sign-in.");
}

/* The form is sent; waits for what Google makes of it. */
static enum err after_password(struct colab_seat *s, struct colab_look *l)
{
	int64_t until = clock_ms() + STEP_MS;
	enum err err;

	do {
		err = colab_page_look(&s->page, l);
		if (err && err != ERR_UPSTREAM)
			return err;
		if (!err && (!l->at_google || l->challenge || strstr(l->url, "/rejected") || l->says == COLAB_CAPTCHA ||
			     strcasestr(l->page_words, "wrong password")))
			return OK;
		clock_sleep_ms(TURN_MS);
	} while (clock_ms() < until);
	return OK;
}

static enum err go(struct colab_seat *s)
{
	cleanup_buf struct buf url = BUF_INIT(4096), back = BUF_INIT(2048);

	buf_addf(&back, "%s/?hl=en", s->c->config->colab_url);
	buf_addf(&url, "%s/ServiceLogin?hl=en&continue=", s->c->config->google_accounts_url);
	buf_add_url(&url, buf_str(&back));
	return wd_go(&s->wd, url.ptr);
}

enum err colab_sign_in(struct colab_seat *s, const char *email, struct str password)
{
	struct colab_look l;
	enum err err = go(s);

	if (!err)
		err = step(s, false, &l);
	if (!err && l.at_google) {
		if (!l.email_asked || l.says == COLAB_CAPTCHA || strstr(l.url, "/rejected"))
			return colab_human(s, refusal(s, &l));
		err = fill(s, "email", "emailNext", str_of(email));
		if (!err)
			err = step(s, true, &l);
		if (!err && (!l.password_asked || l.says == COLAB_CAPTCHA))
			return colab_human(s, refusal(s, &l));
		if (!err)
			err = fill(s, "password", "passwordNext", password);
		if (!err)
			err = after_password(s, &l);
		if (!err && l.at_google)
			return colab_human(s, refusal(s, &l));
	}
	return err;
}
