/*
 * events_disk - makes files durable on a thread of its own, since fsync() may
 * take seconds and the loop must not.
 *
 * A file is written under its temporary name by the loop; disk_keep() then has
 * the thread sync it, move it to its final name and sync the directory.
 */
#ifndef WEB_EVENTS_DISK_H
#define WEB_EVENTS_DISK_H

#include "base/error.h"
#include "base/str.h"
#include "web/loop.h"

enum { DISK_NAME = 48 }; /* "ab/32 hexadecimal digits" and NUL */

struct disk;

struct disk_job {
	struct disk_job *next;
	int fd;                /* taken over, closed */
	char name[DISK_NAME];  /* below the store; the temporary one is tmp/…  */
	int error;             /* errno, 0 = it is there to stay */
	void (*done)(struct disk_job *j); /* on the loop */
};

/* store: a directory, made when it is not there; ERR_INTERNAL when it cannot be used. */
enum err disk_new(struct loop *l, const char *store, struct disk **ret, struct error *e) must_check;
/* Waits for what is under way; done() of the rest is not called. */
void disk_free(struct disk *d);

/* A new random name, and its temporary file opened for writing; -1 and errno. */
int disk_create(struct disk *d, char name[DISK_NAME]);
void disk_keep(struct disk *d, struct disk_job *j);
/* The temporary file, or the one that was kept. */
void disk_remove_temporary(struct disk *d, const char *name);
void disk_remove(struct disk *d, const char *name);
/* Adds the names of a directory's files (0…255) that are older to an array argument,
 * as far as they go into `most` bytes. */
void disk_list_stale(struct disk *d, int directory, int64_t older_s, struct buf *array, size_t most);

#endif
