/*
 * colab_page - what Colab's page shows, read through a browser.
 *
 * Where things are, and which words mean what, is data: colab-selectors.json,
 * with the date each was last seen right.  A look is one script that changes
 * nothing; clicks and keys are those of a real pointer and keyboard.
 *
 * Private to provider/.
 */
#ifndef PROVIDER_COLAB_PAGE_H
#define PROVIDER_COLAB_PAGE_H

#include "provider/webdriver.h"

/* What a page asks for or says; the worst that it says counts. */
enum colab_says {
	COLAB_NOTHING,
	COLAB_LOADING,      /* the notebook cannot be loaded */
	COLAB_NOT_GOOGLE,   /* "not authored by Google": asks whether to run it */
	COLAB_IDLE,         /* the runtime was disconnected */
	COLAB_TOO_MANY,     /* sessions at once */
	COLAB_QUOTA,        /* no accelerator for now */
	COLAB_SIGN_IN,      /* nobody is signed in */
	COLAB_CAPTCHA,      /* a person is asked for */
	COLAB_DENYLISTED,   /* the account is barred */
};

enum colab_link {
	COLAB_UNKNOWN,      /* the page does not tell (yet) */
	COLAB_OFF, COLAB_CONNECTING, COLAB_ON,
};

struct colab_look {
	enum colab_says says;
	const char *words;    /* the dialog's own, ≤ 160 bytes; NULL = none */
	enum colab_link link;
	const char *url, *connect, *page_words;
	const char *email;    /* of the account that the page shows; NULL = none */
	bool loaded, there, opening, at_google, email_asked, password_asked, challenge;
	int64_t cells, running, pending, failed;
};

struct colab_page {
	struct wd *wd;
	const char *paths;          /* JSON text, in the arena */
	struct json *data, *texts;  /* the latter is a part of the former */
	const char *accounts_url;   /* where signing in is */
};

enum err colab_page_open(struct colab_page *p, struct wd *wd, const char *accounts_url) must_check;
void colab_page_close(struct colab_page *p);
enum err colab_page_look(struct colab_page *p, struct colab_look *ret) must_check;
/* The first element of a name, in the open dialog or anywhere; value stands for @, or NULL. */
enum err colab_page_node(struct colab_page *p, bool dialog, const char *name, const char *value, struct wd_node *ret) must_check;
/* Waits until it is there and takes a click, for as long as until (clock_ms()). */
enum err colab_page_click(struct colab_page *p, bool dialog, const char *name, const char *value, int64_t until) must_check;
/* *there false: no such element. */
enum err colab_page_is(struct colab_page *p, const char *name, const char *value, bool *there, bool *disabled, bool *checked) must_check;

#endif
