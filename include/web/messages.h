/*
 * messages - every text that a person reads in the dashboard, by language.
 *
 * A catalogue is a file src/web/messages/LOCALE.txt:
 *
 *     # comment
 *     nav.jobs = Jobs
 *     jobs.wait[one] = {{@}} job waits
 *     jobs.wait[other] = {{@}} jobs wait
 *     state[healthy] = Healthy
 *     state[other] = {{@}}
 *
 * A line that begins with a blank continues the text before it.  A text is a
 * piece of template (web/template_ops.h): it may hold values, sections and
 * other messages, and markup, since catalogues are part of the program.
 *
 * A key with [forms] is chosen by its argument: first the form named exactly
 * like it ("healthy", "0", "true"), then, for an integer, the plural category
 * that the language gives it ("one", "few", …), then "other", which must be
 * there.  Catalogues must have the same keys and the same forms, save for the
 * plural categories, which differ from language to language.
 */
#ifndef WEB_MESSAGES_H
#define WEB_MESSAGES_H

#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"
#include "web/template_ops.h"

struct message_form {
	const char *name; /* "" where the key has no forms */
	struct str text;
	int line;
	struct program program; /* filled in by web/template.c */
};

struct message {
	const char *key;
	struct message_form *forms;
	size_t count;
};

struct catalogue {
	const char *file;
	const struct locale_rules *rules;
	struct message *messages; /* sorted by key */
	size_t count;
};

/* What the program must know of a language. */
struct locale_rules {
	const char *code; /* BCP 47: "pt-BR" */
	const char *(*plural)(int64_t n); /* CLDR cardinal category of an integer */
	const char *group;                /* between thousands */
};

/* NULL for a language without rules. */
const struct locale_rules *locale_find(const char *code);

/*
 * Parses a catalogue.  The result lives in the arena, text must live as long.
 * ERR_INVALID with "file:line: what is wrong".
 */
enum err catalogue_parse(struct arena *a, const char *file, const struct locale_rules *rules,
			 struct str text, struct catalogue *ret, struct error *e) must_check;

/* Index of a key, or -1. */
ptrdiff_t catalogue_find(const struct catalogue *c, const char *key);

/* The form of that name, or NULL. */
const struct message_form *message_form_named(const struct message *m, struct str name);

/* The form that an argument chooses; number is NULL where it is no integer. */
const struct message_form *message_choose(const struct catalogue *c, const struct message *m, struct str argument,
					  const int64_t *number);

/* ERR_INVALID naming the first key or form that only one of the two has. */
enum err catalogue_compare(const struct catalogue *reference, const struct catalogue *other,
			   struct error *e) must_check;

/* An integer with the language's thousands groups: 12,345. */
void locale_add_number(const struct locale_rules *rules, int64_t n, struct buf *out);

#endif
