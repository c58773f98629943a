/* Users for tests; see people.h. */
#include "people.h"

#include <check.h>

#include "domain/token.h"
#include "domain/user.h"

static int64_t ids[NOBODY];

static const struct {
	const char *name, *token, *scope;
	enum role role;
} rows[] = {
	[ADMIN] = {"admin", "gpt_admin-of-tests", "admin", ROLE_ADMIN},
	[OPERATOR] = {"olga", "gpt_olga-of-tests", "manage", ROLE_OPERATOR},
	[OTHER] = {"otto", "gpt_otto-of-tests", "manage", ROLE_OPERATOR},
	[VIEWER] = {"vera", "gpt_vera-of-tests", "read", ROLE_VIEWER},
};

void people_make(struct db *db)
{
	cleanup_arena struct arena a;
	struct error e = {0};

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < NOBODY; i++) {
		struct user_new u = {.name = str_of(rows[i].name), .role = rows[i].role, .password = STR(PASSWORD)};

		if (user_create(db, &a, "", &u, &ids[i], &e) ||
		    token_create_with_value(db, &a, ids[i], "test", rows[i].scope, str_of(rows[i].token), &e)) {
			fprintf(stderr, "people: %s %s\n", e.field, e.msg);
			exit(99);
		}
	}
}

const char *people_token(enum person p)
{
	return p == NOBODY ? NULL : rows[p].token;
}

int64_t people_id(enum person p)
{
	return ids[p];
}

const char *people_name(enum person p)
{
	return rows[p].name;
}
