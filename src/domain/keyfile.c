/* keyfile - private keys on the disk.  See domain/keyfile.h. */
#include "domain/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIGITS = 2 * CRYPTO_PRIVATE, NAME = 32 };

static enum err open_dir(const char *dir, int *ret, struct error *e)
{
	struct stat st;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return error_set(e, ERR_NOT_FOUND, "The directory of private keys, %.120s, is not there.", dir);
	if (fd < 0 || fstat(fd, &st)) {
		error_set(e, ERR_INTERNAL, "The directory of private keys, %.120s, cannot be opened: %s.", dir, strerror(errno));
		if (fd >= 0)
			close(fd);
		return ERR_INTERNAL;
	}
	if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH)) {
		close(fd);
		return error_set(e, ERR_INTERNAL, "The directory of private keys, %.120s, is not this user's own, or others may write to it.", dir);
	}
	*ret = fd;
	return OK;
}

/* A private regular file of ours, opened. */
static enum err open_file(int dir, int64_t id, int *ret, struct error *e)
{
	char name[NAME];
	struct stat st;
	int fd;

	snprintf(name, sizeof(name), "%lld.key", (long long)id);
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return error_set(e, ERR_NOT_FOUND, "The private key %lld is not on this machine.", (long long)id);
	if (fd < 0 || fstat(fd, &st)) {
		error_set(e, ERR_INTERNAL, "The private key %lld cannot be opened: %s.", (long long)id, strerror(errno));
		if (fd >= 0)
			close(fd);
		return ERR_INTERNAL;
	}
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_mode & (S_IRWXG | S_IRWXO)) {
		close(fd);
		return error_set(e, ERR_INTERNAL, "The private key %lld must be a file of this user's own with mode 0600.", (long long)id);
	}
	*ret = fd;
	return OK;
}

enum err keyfile_read(const char *dir, int64_t id, struct secret *ret, struct error *e)
{
	cleanup_secret struct secret text = secret_room(DIGITS + 1);
	cleanup_fd int at = -1, fd = -1;
	enum err err = open_dir(dir, &at, e);
	ssize_t n;

	if (!err)
		err = open_file(at, id, &fd, e);
	if (err)
		return err;
	n = read(fd, text.ptr, text.len);
	*ret = secret_room(CRYPTO_PRIVATE);
	if ((n == DIGITS || (n == DIGITS + 1 && text.ptr[DIGITS] == '\n')) &&
	    crypto_unhex((struct str){text.ptr, DIGITS}, ret->ptr, CRYPTO_PRIVATE))
		return OK;
	secret_free(ret);
	return error_set(e, ERR_INTERNAL, "The file of the private key %lld holds no key.", (long long)id);
}

static bool write_all(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

/* Whole or not at all: written under another name, and linked to its own, which never replaces a file. */
static enum err write_and_link(int dir, const char *name, struct str text, struct error *e)
{
	char temporary[NAME + 40], suffix[17];
	unsigned char random[8];
	enum err err = OK;

	crypto_random(random, sizeof(random));
	crypto_hex(random, sizeof(random), suffix);
	snprintf(temporary, sizeof(temporary), ".%s.%s", name, suffix);
	cleanup_fd int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_set(e, ERR_INTERNAL, "A private key cannot be written: %s.", strerror(errno));
	if (!write_all(fd, text.ptr, text.len) || fsync(fd))
		err = error_set(e, ERR_INTERNAL, "A private key cannot be written: %s.", strerror(errno));
	else if (linkat(dir, temporary, dir, name, 0))
		err = error_set(e, errno == EEXIST ? ERR_CONFLICT : ERR_INTERNAL, "The private key %s cannot be written: %s.", name,
				strerror(errno));
	unlinkat(dir, temporary, 0);
	if (!err && fsync(dir))
		err = error_set(e, ERR_INTERNAL, "The directory of private keys cannot be written: %s.", strerror(errno));
	return err;
}

enum err keyfile_write(const char *dir, int64_t id, const uint8_t priv[CRYPTO_PRIVATE], struct error *e)
{
	cleanup_secret struct secret text = secret_room(DIGITS + 1);
	cleanup_fd int at = -1;
	char name[NAME];
	enum err err = open_dir(dir, &at, e);

	if (err)
		return err;
	crypto_hex(priv, CRYPTO_PRIVATE, text.ptr);
	text.ptr[DIGITS] = '\n';
	snprintf(name, sizeof(name), "%lld.key", (long long)id);
	return write_and_link(at, name, (struct str){text.ptr, DIGITS + 1}, e);
}
