/*
 * webdriver - a client of W3C WebDriver, and the ChromeDriver that it drives.
 *
 * A ChromeDriver is a process of ours in a session (setsid) of its own, with its
 * browser and all that this starts; it outlives whoever started it, and is known
 * again by its process id and start time.  It is ended by these, never by name.
 * The commands are one HTTP call each, to 127.0.0.1, one after the other.
 *
 * What a command's error means:
 *   ERR_NOT_FOUND  no such element, frame or shadow root (yet)
 *   ERR_CONFLICT   the element is stale, or something lies over it: find it again
 *   ERR_GONE       the session, the window or the browser is no more
 *   ERR_TIMEOUT    the page or the script took too long
 *   ERR_INVALID    no browser can be started, for a reason that a person must change
 *   ERR_UNAVAILABLE, ERR_UPSTREAM  no answer, or none that makes sense
 *
 * Strings that come from the page are hostile; they are UTF-8 and bounded.
 */
#ifndef PROVIDER_WEBDRIVER_H
#define PROVIDER_WEBDRIVER_H

#include <sys/types.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/http.h"
#include "base/json.h"

/* ---- the process ---------------------------------------------------------- */

struct wd_process {
	pid_t pid;
	int64_t started; /* as /proc says it: clock ticks since boot */
	int port;        /* of 127.0.0.1 */
};

struct wd_program {
	const char *path; /* chromedriver, absolute */
	const char *dir;  /* its working directory and HOME: a directory of ours that no other program works in */
};

/* On a free port.  ERR_INVALID when it cannot be executed, ERR_TIMEOUT when it does not say its port. */
enum err wd_process_start(const struct wd_program *program, struct wd_process *ret, struct error *e) must_check;
bool wd_process_alive(const struct wd_process *p);
/* Ends it, its browser and all else of its session: by asking, then by force.  False when some are still there. */
bool wd_process_end(const struct wd_process *p);
/* Likewise those that work in dir, of whom nothing else is known any more. */
void wd_process_end_in(const char *dir);
/* Is there any process of this number? */
bool wd_number_alive(pid_t pid);
/* Bytes of memory that it and all of its session share or own (PSS); -1 when /proc does not say. */
int64_t wd_process_memory(const struct wd_process *p);

/* ---- commands ------------------------------------------------------------- */

enum { WD_SESSION = 80 };

struct wd {
	struct http_client *http;
	struct arena *arena;    /* of what is returned */
	struct error *error;
	int64_t deadline_ms;    /* clock_ms() at which every command must be over */
	int port;
	char session[WD_SESSION];
	int calls;              /* made so far */
};

/* What a node of the page is called; valid until the page changes. */
struct wd_node {
	const char *id;
};

struct wd_browser {
	const char *path;          /* chromium, absolute */
	const char *profile;       /* its directory */
	const char *const *args;   /* more of them; end with NULL; may be NULL */
};

enum err wd_open(struct wd *wd, const struct wd_browser *b) must_check;
void wd_close(struct wd *wd);
/* Is it there, and has it a page? */
enum err wd_ping(struct wd *wd) must_check;
enum err wd_go(struct wd *wd, const char *url) must_check;
enum err wd_url(struct wd *wd, const char **ret) must_check;
enum err wd_find(struct wd *wd, const char *css, struct wd_node *ret) must_check;
/* The shadow root of a node; ret is good for wd_find_in() with shadow true. */
enum err wd_shadow(struct wd *wd, struct wd_node node, struct wd_node *ret) must_check;
enum err wd_find_in(struct wd *wd, struct wd_node node, bool shadow, const char *css, struct wd_node *ret) must_check;
enum err wd_text(struct wd *wd, struct wd_node node, const char **ret) must_check;
/* A real pointer's click, in the node's middle. */
enum err wd_click(struct wd *wd, struct wd_node node) must_check;
/* Types; into <input type=file> the path of a file. */
enum err wd_type(struct wd *wd, struct wd_node node, struct str text) must_check;
/* Presses and releases keys together, in this order: WD_CTRL WD_F9. */
#define WD_CTRL "\xee\x80\x89"
#define WD_ENTER "\xee\x80\x87"
#define WD_ESCAPE "\xee\x80\x8c"
#define WD_F9 "\xee\x80\xb9"
enum err wd_keys(struct wd *wd, const char *const *keys, size_t n) must_check;
/* script is a function's body; args becomes its arguments (an array, or NULL) and is freed. */
enum err wd_script(struct wd *wd, const char *script, struct json *args, struct json **ret) must_check;
/* The node that a script returned; ERR_NOT_FOUND when it is none. */
enum err wd_node_of(struct wd *wd, const struct json *value, struct wd_node *ret) must_check;
/* Into a frame, or with id NULL back to the page. */
enum err wd_frame(struct wd *wd, struct wd_node frame) must_check;
/* A PNG of what is to be seen. */
enum err wd_screenshot(struct wd *wd, struct str *ret) must_check;

#endif
