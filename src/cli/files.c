/* files - see cli/files.h. */
#include "cli/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

static enum err failed(struct error *e, const char *what, const char *path)
{
	enum err code = errno == ENOENT ? ERR_NOT_FOUND : errno == EACCES || errno == EPERM ? ERR_FORBIDDEN : ERR_INTERNAL;

	return error_set(e, code, "cannot %s %s: %s", what, path, strerror(errno));
}

static bool is_self(struct owner o)
{
	return o.uid == (uid_t)-1 && o.gid == (gid_t)-1;
}

enum err files_dir(const char *path, mode_t mode, struct owner o, struct error *e)
{
	cleanup_fd int fd = -1;

	if (mkdir(path, 0700) && errno != EEXIST)
		return failed(e, "make the directory", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return failed(e, "open the directory", path);
	if (!is_self(o) && fchown(fd, o.uid, o.gid))
		return failed(e, "give away the directory", path);
	if (fchmod(fd, mode))
		return failed(e, "set the mode of", path);
	return OK;
}

static bool write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* A new file beside path, empty, with its owner and mode. */
static int open_temporary(const char *path, mode_t mode, struct owner o, char ret[PATH_MAX])
{
	int fd;

	if (snprintf(ret, PATH_MAX, "%s.XXXXXX", path) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(ret, O_CLOEXEC);
	if (fd >= 0 && ((!is_self(o) && fchown(fd, o.uid, o.gid)) || fchmod(fd, mode))) {
		int saved = errno;

		close(fd);
		unlink(ret);
		errno = saved;
		return -1;
	}
	return fd;
}

enum err files_write(const char *path, struct str bytes, mode_t mode, struct owner o, struct error *e)
{
	char temporary[PATH_MAX];
	cleanup_fd int fd = open_temporary(path, mode, o, temporary);

	if (fd < 0)
		return failed(e, "write", path);
	if (!write_all(fd, bytes.ptr, bytes.len) || fsync(fd) || rename(temporary, path)) {
		enum err err = failed(e, "write", path);

		unlink(temporary);
		return err;
	}
	return OK;
}

enum err files_read(const char *path, size_t max, struct buf *ret, struct error *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	char chunk[16384];
	ssize_t n;

	if (fd < 0)
		return failed(e, "read", path);
	*ret = BUF_INIT(max);
	while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return failed(e, "read", path);
		buf_add(ret, chunk, (size_t)n);
		if (ret->failed)
			return error_set(e, ERR_TOO_LARGE, "%s is larger than %zu bytes", path, max);
	}
	return OK;
}

enum err files_copy(const char *from, const char *to, mode_t mode, struct owner o, struct error *e)
{
	char temporary[PATH_MAX], chunk[65536];
	cleanup_fd int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
	ssize_t n;

	if (in < 0)
		return failed(e, "read", from);
	out = open_temporary(to, mode, o, temporary);
	if (out < 0)
		return failed(e, "write", to);
	while ((n = read(in, chunk, sizeof(chunk))) > 0)
		if (!write_all(out, chunk, (size_t)n))
			break;
	if (n != 0 || rename(temporary, to)) {
		enum err err = failed(e, "copy", from);

		unlink(temporary);
		return err;
	}
	return OK;
}

enum err files_copy_tree(const char *from, const char *to, struct owner o, struct error *e)
{
	enum err err = files_dir(to, 0755, o, e);
	DIR *dir = err ? NULL : opendir(from);
	struct dirent *entry;

	if (!err && !dir)
		err = failed(e, "read the directory", from);
	while (!err && (entry = readdir(dir))) {
		char a[PATH_MAX], b[PATH_MAX];
		struct stat st;

		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(a, sizeof(a), "%s/%s", from, entry->d_name) >= (int)sizeof(a) ||
		    snprintf(b, sizeof(b), "%s/%s", to, entry->d_name) >= (int)sizeof(b) || lstat(a, &st))
			continue;
		if (S_ISDIR(st.st_mode))
			err = files_copy_tree(a, b, o, e);
		else if (S_ISREG(st.st_mode))
			err = files_copy(a, b, 0644, o, e);
	}
	if (dir)
		closedir(dir);
	return err;
}

static void remove_below(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		unlinkat(parent, name, 0);
		return;
	}
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			remove_below(dirfd(dir), entry->d_name);
	closedir(dir);
	unlinkat(parent, name, AT_REMOVEDIR);
}

void files_remove_tree(const char *path)
{
	remove_below(AT_FDCWD, path);
}

bool files_reachable(const char *path)
{
	cleanup_free char *whole = realpath(path, NULL);
	struct stat st;

	if (!whole)
		return false;
	for (char *slash = whole + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (stat(whole, &st) || !(st.st_mode & S_IXOTH))
			return false;
		*slash = '/';
	}
	return stat(whole, &st) == 0 && (!S_ISDIR(st.st_mode) || (st.st_mode & S_IXOTH));
}
