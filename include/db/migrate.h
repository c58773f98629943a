/*
 * migrate - brings a database to this program's schema, and says whether it is.
 *
 * Migrations are the assets sql/migrations/NNNN_name.sql, each run once, in a
 * transaction, in order, under an advisory lock, and recorded with its SHA-256.
 * A recorded file whose checksum changed is refused.  A file may hold a line
 * `-- needs program: N`, the lowest PROGRAM_SCHEMA that may run on it: later
 * programs raise the number when an old one would misread the new tables.
 */
#ifndef DB_MIGRATE_H
#define DB_MIGRATE_H

#include "db/db.h"

enum { PROGRAM_SCHEMA = 1 };

/* As the owner role, to the newest version; *applied counts. */
enum err migrate_run(struct db *db, int *applied, struct error *e) must_check;
/* As any role: OK, or ERR_UNAVAILABLE with the reason (older, newer and
 * incompatible, no schema). */
enum err migrate_check(struct db *db, struct error *e) must_check;
/* The same from the rows of STMT_MIGRATION_LIST, for those who ask asynchronously. */
enum err migrate_judge(const struct rows *rows, struct error *e) must_check;

#endif
