/*
 * template - renders pages from a model, which is a JSON document.
 *
 * A set holds all templates and the catalogue of every language, compiled once
 * at start: a malformed tag, an unknown partial or message, or a catalogue that
 * lacks a key of another one is an error with file and line, and the program
 * refuses to start.  Rendering changes nothing in a set.
 *
 * The language is described in web/template_ops.h, catalogues in
 * web/messages.h, the models in src/web/templates/MODEL.md.
 *
 * Values are always HTML-escaped; there is no way to write raw markup but a
 * template or a message.  A name is looked up in the context at hand, then in
 * those around it.  False are: null, false, "", 0 and the empty list.
 */
#ifndef WEB_TEMPLATE_H
#define WEB_TEMPLATE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

struct template_set;

/* How deep templates and messages may call each other, and contexts may nest. */
enum { TEMPLATE_CALLS_MAX = 32, TEMPLATE_CONTEXTS_MAX = 96 };
/* Operations that one rendering may take: a page takes thousands. */
enum { TEMPLATE_STEPS_MAX = 4000000 };

/* The language whose catalogue is complete by definition. */
#define TEMPLATE_LOCALE "en"

/*
 * Loads all templates and catalogues: those compiled in, or with a directory
 * DIR/templates/NAME.html and DIR/messages/LOCALE.txt, for editing them live.
 */
enum err template_load(const char *dir, struct template_set **ret, struct error *e) must_check;
void template_free(struct template_set *set);

/*
 * Appends the page to out.  A locale without a catalogue falls back to
 * TEMPLATE_LOCALE.  With strict a name that the model lacks, a list where a
 * text is expected, or a URL with a foreign scheme is ERR_INTERNAL naming template, line and key; without, they become
 * nothing (a URL becomes "#").  ERR_NOT_FOUND: no such template; ERR_TOO_LARGE:
 * out is full; what it then holds is to be thrown away.
 */
enum err template_render(const struct template_set *set, const char *name, const char *locale,
			 const struct json *model, bool strict, struct buf *out, struct error *e) must_check;

/* All names, for tests; NULL past the end. */
const char *template_name(const struct template_set *set, size_t i);
const char *template_locale(const struct template_set *set, size_t i);
/* Whether the set has a catalogue of exactly this language. */
bool template_has_locale(const struct template_set *set, const char *locale);

/* ---- a set by hand, for tests: new, add…, link ---- */
struct template_set *template_new(void);
/* Names beginning with "_" are partials by convention.  Text is copied. */
enum err template_add(struct template_set *set, const char *name, struct str text, struct error *e) must_check;
enum err template_add_catalogue(struct template_set *set, const char *locale, struct str text,
				struct error *e) must_check;
enum err template_link(struct template_set *set, struct error *e) must_check;

static inline void cleanup_template_(struct template_set **set)
{
	template_free(*set);
}
#define cleanup_template __attribute__((cleanup(cleanup_template_)))

#endif
