/*
 * arena - memory that lives as long as one request or one step.
 *
 * Everything allocated from an arena is released together by arena_reset()
 * (keeps the first block for the next request) or arena_free().  An arena has
 * a hard limit in bytes: a request that would pass it gets NULL and answers
 * 413 or 500; nothing else suffers.  When the *system* has no memory left the
 * process aborts: it is one of many, and its master starts another.
 *
 * Memory is zeroed and aligned for any type.  Not thread-safe.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/str.h"

struct arena_block;

struct arena {
	struct arena_block *first, *last;
	size_t used;  /* bytes handed out since the last reset */
	size_t limit; /* never more than this */
};

void arena_init(struct arena *a, size_t limit);
void arena_reset(struct arena *a);
void arena_free(struct arena *a);

/* NULL when the limit would be passed.  size 0 gives a unique pointer. */
void *arena_alloc(struct arena *a, size_t size) must_check;
/* n * size with overflow check. */
void *arena_array(struct arena *a, size_t n, size_t size) must_check;
char *arena_strndup(struct arena *a, const char *s, size_t len) must_check;
char *arena_strdup(struct arena *a, const char *s) must_check;
char *arena_printf(struct arena *a, const char *fmt, ...) must_check printf_like(2, 3);
char *arena_vprintf(struct arena *a, const char *fmt, va_list ap) must_check printf_like(2, 0);
/* A NUL-terminated copy whose slice is returned; {NULL,0} at the limit. */
struct str arena_str(struct arena *a, struct str s) must_check;

#define arena_new(a, type) ((type *)arena_alloc((a), sizeof(type)))

#define cleanup_arena __attribute__((cleanup(arena_free)))

#endif
