/*
 * files - directories and small files with an owner and a mode, as the runner
 * and the command line need them.
 *
 * Every function fills e with a sentence that names the path.  uid and gid of
 * (uid_t)-1 and (gid_t)-1 leave the owner as it is.
 */
#ifndef CLI_FILES_H
#define CLI_FILES_H

#include <sys/types.h>

#include "base/error.h"
#include "base/str.h"

struct owner {
	uid_t uid;
	gid_t gid;
};

#define OWNER_SELF ((struct owner){(uid_t)-1, (gid_t)-1})

/* Makes it unless it is there; then sets owner and mode in any case. */
enum err files_dir(const char *path, mode_t mode, struct owner o, struct error *e) must_check;
/* Complete and with its mode, or not at all: a temporary file, renamed. */
enum err files_write(const char *path, struct str bytes, mode_t mode, struct owner o, struct error *e) must_check;
/* ERR_NOT_FOUND when there is none; ERR_TOO_LARGE above max. */
enum err files_read(const char *path, size_t max, struct buf *ret, struct error *e) must_check;
enum err files_copy(const char *from, const char *to, mode_t mode, struct owner o, struct error *e) must_check;
/* Regular files and directories below `from`; others are left out. */
enum err files_copy_tree(const char *from, const char *to, struct owner o, struct error *e) must_check;
/* Follows no link.  What is not there is no error. */
void files_remove_tree(const char *path);
/* Whether any user may pass through every directory on the way to path. */
bool files_reachable(const char *path);

#endif
