/*
 * paging - lists by pageToken and limit, in order of id.
 */
#ifndef WEB_PAGING_H
#define WEB_PAGING_H

#include "web/schema.h"

enum { PAGE_DEFAULT = 100, PAGE_MAX = 500 };

/* `limit` and `pageToken`: for the query column of a route whose list has no other
 * parameters; others put PAGING_FIELDS into their own table. */
extern const struct field paging_query[];
#define PAGING_FIELDS                                                                                                  \
	{"limit", FIELD_INT, 0, 1, PAGE_MAX, .doc = "Most entries of a page; 100 unless given."},                       \
	{                                                                                                              \
		"pageToken", FIELD_STRING, 0, 1, 64, .doc = "nextPageToken of the page before."                        \
	}

int64_t paging_limit(const struct request *req);
/* The id after which the page begins, 0 for the first page. */
enum err paging_after(const struct request *req, int64_t *ret, struct error *e) must_check;
/* "TIME-ID" of a list in order of time. */
enum err paging_before(const struct request *req, int64_t *time, int64_t *id, struct error *e) must_check;

/* Answers {"<key>": list, "nextPageToken": …}; the token is the id of the last entry, and
 * is left out when the page is not full.  Takes the list. */
void paging_answer(struct response *res, const struct request *req, const char *key, struct json *list);
/* The same with a token made by the caller; NULL = last page. */
void paging_answer_token(struct response *res, const char *key, struct json *list, const char *token);

#endif
