/* arena - memory that is released together.  See base/arena.h. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum {
	BLOCK_FIRST = 8 << 10,
	BLOCK_MOST = 256 << 10, /* larger only for one allocation that is larger */
};

struct arena_block {
	struct arena_block *next;
	size_t size, used;
	alignas(max_align_t) unsigned char bytes[];
};

void arena_init(struct arena *a, size_t limit)
{
	*a = (struct arena){.limit = limit};
}

static void free_chain(struct arena_block *b)
{
	while (b) {
		struct arena_block *next = b->next;

		free(b);
		b = next;
	}
}

void arena_free(struct arena *a)
{
	free_chain(a->first);
	*a = (struct arena){.limit = a->limit};
}

void arena_reset(struct arena *a)
{
	struct arena_block *b = a->first;

	/* One giant request must not hold its memory for ever. */
	if (!b || b->size > BLOCK_MOST) {
		arena_free(a);
		return;
	}
	free_chain(b->next);
	memset(b->bytes, 0, b->used);
	b->next = NULL;
	b->used = 0;
	a->last = b;
	a->used = 0;
}

static struct arena_block *add_block(struct arena *a, size_t least)
{
	size_t size = a->last ? a->last->size * 2 : BLOCK_FIRST;
	struct arena_block *b;

	if (size > BLOCK_MOST)
		size = BLOCK_MOST;
	if (size < least)
		size = least;
	b = calloc(1, sizeof(*b) + size);
	if (!b)
		error_no_memory();
	b->size = size;
	if (a->last)
		a->last->next = b;
	else
		a->first = b;
	a->last = b;
	return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
	const size_t align = alignof(max_align_t);
	struct arena_block *b = a->last;
	void *p;

	if (!size)
		size = 1;
	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + align - 1) / align * align;
	if (size > a->limit - a->used)
		return NULL;
	if (!b || size > b->size - b->used)
		b = add_block(a, size);
	p = b->bytes + b->used;
	b->used += size;
	a->used += size;
	return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
	size_t total;

	return __builtin_mul_overflow(n, size, &total) ? NULL : arena_alloc(a, total);
}

struct str arena_str(struct arena *a, struct str s)
{
	char *p = s.len < SIZE_MAX ? arena_alloc(a, s.len + 1) : NULL;

	if (!p)
		return STR_NULL;
	if (s.len)
		memcpy(p, s.ptr, s.len);
	return (struct str){p, s.len};
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
	struct str copy = arena_str(a, (struct str){s, strnlen(s, len)});

	/* Arena memory is nobody's constant. */
	return (char *)copy.ptr;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return arena_strndup(a, s, strlen(s));
}

char *arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
	va_list again;
	char *p;
	int len;

	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (len < 0)
		BUG("format %s", fmt);
	p = arena_alloc(a, (size_t)len + 1);
	if (p)
		vsnprintf(p, (size_t)len + 1, fmt, ap);
	return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *p;

	va_start(ap, fmt);
	p = arena_vprintf(a, fmt, ap);
	va_end(ap);
	return p;
}
