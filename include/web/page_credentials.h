/*
 * page_credentials - a person's credentials at a provider, as a form sends
 * them: a key file, a token, or a user name and a key, under names that may
 * have a prefix ("kaggle.token").
 *
 * Nothing of them is ever put back into a form, save the user name.
 */
#ifndef WEB_PAGE_CREDENTIALS_H
#define WEB_PAGE_CREDENTIALS_H

#include "web/page_form.h"
#include "web/schema.h"

enum { CREDENTIALS_FILE_MAX = 16 << 10 };

/* For the table of what a form may send. */
#define CREDENTIALS_SENT(prefix) \
	{prefix "username", FIELD_STRING, 0, 0, 200}, {prefix "key", FIELD_STRING, FIELD_SECRET, 0, 1000}, \
	{prefix "token", FIELD_STRING, FIELD_SECRET, 0, 1000}, {prefix "file", FIELD_TEXT, FIELD_SECRET, 0, CREDENTIALS_FILE_MAX}

/* For the table of the form itself. */
#define CREDENTIALS_FORM(prefix) \
	{prefix "username", "credentials.username", FORM_TEXT}, {prefix "key", "credentials.key", FORM_SECRET}, \
	{prefix "token", "credentials.token", FORM_SECRET}, {prefix "file", prefix "file", FORM_SECRET, FORM_PAGE}, \
	{prefix "credentials", "credentials", FORM_TEXT, FORM_PAGE}

/*
 * What the API takes as credentials, from what was sent; the caller's.  NULL with an error added to
 * req->errors when none, more than one kind, or half of one was sent.
 */
struct json *page_credentials(const struct request *req, const char *prefix);

/* Whether any of them was sent. */
bool page_credentials_sent(const struct request *req, const char *prefix);

/* After a refusal: what the API says about a member is about the file, where one was sent. */
void page_credentials_refused(const struct request *req, const char *prefix);

#endif
