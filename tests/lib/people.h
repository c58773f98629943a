/*
 * people - users for tests of the API: one of each role, and another operator.
 */
#ifndef TESTS_PEOPLE_H
#define TESTS_PEOPLE_H

#include "db/db.h"

enum person { ADMIN, OPERATOR, OTHER, VIEWER, NOBODY };

#define PASSWORD "correct horse 1"

/* Makes users admin, olga, otto, vera (password PASSWORD) with tokens that hold all their role may. */
void people_make(struct db *db);
/* The token of one; NULL for NOBODY. */
const char *people_token(enum person p);
int64_t people_id(enum person p);
const char *people_name(enum person p);

#endif
