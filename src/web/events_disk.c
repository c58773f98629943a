/* Durable files, off the loop; see web/events_disk.h. */
#include "web/events_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/log.h"
#include "db/stmt.h"

enum { RANDOM = 16, STALE_S = 24 * 3600 };

struct disk {
	struct loop *loop;
	int store, tmp; /* directories */
	struct watch watch;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct disk_job *todo, **todo_end, *finished;
	bool stop;
};

static const char *base_of(const char *name)
{
	return strrchr(name, '/') + 1;
}

int disk_create(struct disk *d, char name[DISK_NAME])
{
	unsigned char bytes[RANDOM];
	char hex[2 * RANDOM + 1];

	crypto_random(bytes, sizeof(bytes));
	crypto_hex(bytes, sizeof(bytes), hex);
	snprintf(name, DISK_NAME, "%.2s/%s", hex, hex);
	return openat(d->tmp, hex, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
}

void disk_remove_temporary(struct disk *d, const char *name)
{
	unlinkat(d->tmp, base_of(name), 0);
}

void disk_remove(struct disk *d, const char *name)
{
	unlinkat(d->store, name, 0);
}

void disk_list_stale(struct disk *d, int directory, int64_t older_s, struct buf *array, size_t most)
{
	char name[16];
	int fd;
	DIR *dir;
	struct dirent *entry;
	struct stat st;

	snprintf(name, sizeof(name), "%02x", (unsigned)directory & 0xff);
	fd = openat(d->store, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return;
	while ((entry = readdir(dir)) && array->len < most) {
		char path[DISK_NAME];

		if (strlen(entry->d_name) != 2 * RANDOM || fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode) ||
		    time(NULL) - st.st_mtime < older_s)
			continue;
		snprintf(path, sizeof(path), "%.2s/%.40s", name, entry->d_name);
		array_add_str(array, str_of(path));
	}
	closedir(dir);
}

/* ---- the thread ---- */

static int sync_directory(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;

	if (fd < 0)
		return -1;
	ret = fsync(fd);
	close(fd);
	return ret;
}

static int keep(const struct disk *d, const struct disk_job *j)
{
	char dir[3] = {j->name[0], j->name[1], 0};

	if (fsync(j->fd))
		return errno;
	if (mkdirat(d->store, dir, 0750) == 0) {
		if (fsync(d->store))
			return errno;
	} else if (errno != EEXIST) {
		return errno;
	}
	if (renameat(d->tmp, base_of(j->name), d->store, j->name) || sync_directory(d->store, dir))
		return errno;
	return 0;
}

static void *run(void *arg)
{
	struct disk *d = arg;
	uint64_t one = 1;

	pthread_mutex_lock(&d->lock);
	while (!d->stop || d->todo) {
		struct disk_job *j = d->todo;

		if (!j) {
			pthread_cond_wait(&d->more, &d->lock);
			continue;
		}
		d->todo = j->next;
		if (!d->todo)
			d->todo_end = &d->todo;
		pthread_mutex_unlock(&d->lock);
		j->error = keep(d, j);
		close(j->fd);
		pthread_mutex_lock(&d->lock);
		j->next = d->finished;
		d->finished = j;
		if (write(d->watch.fd, &one, sizeof(one)) < 0)
			log_error("disk.wake", "errno=%d", errno);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

/* ---- the loop's side ---- */

static void finished(void *ctx, uint32_t events)
{
	struct disk *d = ctx;
	struct disk_job *list;
	uint64_t count;

	(void)events;
	if (read(d->watch.fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_error("disk.wake", "errno=%d", errno);
	pthread_mutex_lock(&d->lock);
	list = d->finished;
	d->finished = NULL;
	pthread_mutex_unlock(&d->lock);
	while (list) {
		struct disk_job *j = list;

		list = j->next;
		j->done(j);
	}
}

void disk_keep(struct disk *d, struct disk_job *j)
{
	pthread_mutex_lock(&d->lock);
	j->next = NULL;
	*d->todo_end = j;
	d->todo_end = &j->next;
	pthread_cond_signal(&d->more);
	pthread_mutex_unlock(&d->lock);
}

/* Left by a process that was killed; younger ones may be another process's. */
static void remove_stale(const struct disk *d)
{
	int fd = openat(d->store, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	struct stat st;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (!fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) && time(NULL) - st.st_mtime > STALE_S)
			unlinkat(fd, entry->d_name, 0);
	closedir(dir);
}

static bool open_directories(struct disk *d, const char *store)
{
	if (mkdir(store, 0750) && errno != EEXIST)
		return false;
	d->store = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->store < 0 || (mkdirat(d->store, "tmp", 0750) && errno != EEXIST))
		return false;
	d->tmp = openat(d->store, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return d->tmp >= 0;
}

static void close_directories(const struct disk *d)
{
	if (d->store >= 0)
		close(d->store);
	if (d->tmp >= 0)
		close(d->tmp);
}

/* Signals are the loop's. */
static bool start_thread(struct disk *d)
{
	sigset_t all, before;
	bool ok;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	ok = pthread_create(&d->thread, NULL, run, d) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ok;
}

enum err disk_new(struct loop *l, const char *store, struct disk **ret, struct error *e)
{
	struct disk *d = calloc(1, sizeof(*d));
	int fd;

	if (!d)
		error_no_memory();
	d->loop = l;
	d->store = d->tmp = -1;
	d->todo_end = &d->todo;
	d->watch = (struct watch){.fd = -1, .ready = finished, .ctx = d};
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->more, NULL);
	if (!open_directories(d, store)) {
		error_set(e, ERR_INTERNAL, "The store %s cannot be used: %s.", store, strerror(errno));
		close_directories(d);
		free(d);
		return ERR_INTERNAL;
	}
	remove_stale(d);
	fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fd < 0 || !loop_watch(l, &d->watch, fd, EPOLLIN) || !start_thread(d))
		BUG("no thread for the store: errno %d", errno);
	*ret = d;
	return OK;
}

void disk_free(struct disk *d)
{
	int fd = d->watch.fd;

	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_cond_signal(&d->more);
	pthread_mutex_unlock(&d->lock);
	pthread_join(d->thread, NULL);
	loop_unwatch(d->loop, &d->watch);
	close(fd);
	close_directories(d);
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->more);
	free(d);
}
