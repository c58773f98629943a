/*
 * instance - programs that open sealed boxes, and which private keys each has.
 *
 * A program that holds private keys says so every INSTANCE_SECONDS, and takes
 * its row away when it ends; one that died leaves a row that grows old.  A
 * rotation (`gpupool keys rotate`) makes a key active only when every live
 * program of its purpose has it.
 */
#ifndef DOMAIN_INSTANCE_H
#define DOMAIN_INSTANCE_H

#include "db/db.h"

enum {
	INSTANCE_NAME = 128,
	INSTANCE_SECONDS = 10,
	INSTANCE_DEAD_SECONDS = 60, /* not seen for so long: counts no more */
};

/* host:pid:random, for the life of one process. */
void instance_name(char ret[INSTANCE_NAME]);

/* purpose "credentials" or "secrets"; providers NULL = none; keys are ids of sealing_key. */
enum err instance_seen(struct db *db, const char *name, const char *purpose, const char *const *providers, const int *keys, int n,
		       struct error *e) must_check;
enum err instance_gone(struct db *db, const char *name, struct error *e) must_check;
/* Takes away the rows of those that are dead. */
enum err instance_sweep(struct db *db, const char *purpose, struct error *e) must_check;

#endif
