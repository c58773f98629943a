/*
 * principal - who asks, and what that person may do.
 *
 * Every statement that reads or changes a row of somebody takes the principal
 * and filters in SQL: another's object is "not found".  Programs of the server
 * (command line, provisioner) use principal_system().
 */
#ifndef DOMAIN_PRINCIPAL_H
#define DOMAIN_PRINCIPAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* In rising order; each may do what the one before may. */
enum role { ROLE_NONE, ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN };

/* Of an API token.  read < submit < manage < admin, each holds those before it;
 * inference is held by submit and above. */
enum scope {
	SCOPE_READ = 1 << 0,
	SCOPE_SUBMIT = 1 << 1,
	SCOPE_MANAGE = 1 << 2,
	SCOPE_ADMIN = 1 << 3,
	SCOPE_INFERENCE = 1 << 4,
	SCOPE_ALL = SCOPE_READ | SCOPE_SUBMIT | SCOPE_MANAGE | SCOPE_ADMIN | SCOPE_INFERENCE
};

struct principal {
	int64_t user_id; /* 0 = nobody */
	enum role role;
	unsigned scopes;  /* enum scope bits in effect: of the token, never above the role's */
	int64_t token_id; /* signed in by this API token, else 0 */
	int64_t login_id; /* signed in by this browser, else 0 */
	char name[64];
	char locale[16];
	uint8_t csrf_key[32]; /* of the login */
};

const char *role_name(enum role r); /* "admin", …; "" for ROLE_NONE */
enum role role_parse(struct str name); /* ROLE_NONE when unknown */
/* The bits that a list of names gives, with those they hold; 0 = a name is unknown. */
unsigned scope_parse(struct str name);
const char *scope_name(enum scope one); /* of a single bit */
/* All that a role may do. */
unsigned role_scopes(enum role r);

/* The server itself: may do all; user_id 0. */
struct principal principal_system(void);
/* For `… where owner_id = $n or $m`: sees others' rows. */
static inline bool principal_sees_all(const struct principal *p)
{
	return p->role == ROLE_ADMIN && (p->scopes & SCOPE_ADMIN);
}

#endif
