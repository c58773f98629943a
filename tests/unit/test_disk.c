/* The store's files: durable under their final name, gone when removed, listed when old. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"
#include "db/stmt.h"
#include "unit.h"
#include "web/events_disk.h"

struct rig {
	struct loop *loop;
	struct disk *disk;
	char dir[64];
	int kept, failed;
};

struct one {
	struct disk_job job; /* first */
	struct rig *rig;
};

static void open_rig(struct rig *r)
{
	struct error e = {0};

	*r = (struct rig){.dir = "/tmp/gpupool-disk-XXXXXX"};
	crypto_init();
	ck_assert_ptr_nonnull(mkdtemp(r->dir));
	ck_assert_int_eq(loop_new(&r->loop), OK);
	ck_assert_msg(disk_new(r->loop, r->dir, &r->disk, &e) == OK, "%s", e.msg);
}

static void close_rig(struct rig *r)
{
	char command[128];

	disk_free(r->disk);
	loop_free(r->loop);
	snprintf(command, sizeof(command), "rm -rf '%s'", r->dir);
	ck_assert_int_eq(system(command), 0);
}

static void done(struct disk_job *j)
{
	struct rig *r = ((struct one *)j)->rig;

	if (j->error)
		r->failed++;
	else
		r->kept++;
}

static void keep(struct rig *r, struct one *o)
{
	int before = r->kept + r->failed;

	*o = (struct one){.job = {.done = done}, .rig = r};
	o->job.fd = disk_create(r->disk, o->job.name);
	ck_assert_int_ge(o->job.fd, 0);
	ck_assert_int_eq(write(o->job.fd, "abc", 3), 3);
	disk_keep(r->disk, &o->job);
	for (int i = 0; i < 500 && r->kept + r->failed == before; i++)
		loop_turn(r->loop, 20, NULL);
}

static bool exists(const struct rig *r, const char *name)
{
	char path[160];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", r->dir, name);
	return stat(path, &st) == 0 && st.st_size == 3;
}

START_TEST(test_kept_and_removed)
{
	struct rig r;
	struct one a, b;
	char name[DISK_NAME];
	int fd;

	open_rig(&r);
	keep(&r, &a);
	keep(&r, &b);
	ck_assert_int_eq(r.kept, 2);
	ck_assert(exists(&r, a.job.name) && exists(&r, b.job.name));
	ck_assert_str_ne(a.job.name, b.job.name);
	disk_remove(r.disk, a.job.name);
	ck_assert(!exists(&r, a.job.name) && exists(&r, b.job.name));
	fd = disk_create(r.disk, name);
	ck_assert_int_ge(fd, 0);
	close(fd);
	disk_remove_temporary(r.disk, name);
	ck_assert(!exists(&r, name));
	close_rig(&r);
}
END_TEST

/* The temporary file vanished: an error, and nothing under the final name. */
START_TEST(test_failure_is_told)
{
	struct rig r;
	struct one o;

	open_rig(&r);
	o = (struct one){.job = {.done = done}, .rig = &r};
	o.job.fd = disk_create(r.disk, o.job.name);
	disk_remove_temporary(r.disk, o.job.name);
	disk_keep(r.disk, &o.job);
	for (int i = 0; i < 500 && !r.failed; i++)
		loop_turn(r.loop, 20, NULL);
	ck_assert_int_eq(r.failed, 1);
	ck_assert(!exists(&r, o.job.name));
	close_rig(&r);
}
END_TEST

START_TEST(test_only_old_files_are_listed)
{
	cleanup_buf struct buf all = BUF_INIT(4096), old = BUF_INIT(4096);
	struct rig r;
	struct one o;
	int directory;

	open_rig(&r);
	keep(&r, &o);
	directory = (int)strtol((char[]){o.job.name[0], o.job.name[1], 0}, NULL, 16);
	array_begin(&old);
	disk_list_stale(r.disk, directory, 3600, &old, 4000);
	array_end(&old);
	ck_assert_str_eq(old.ptr, "{}");
	array_begin(&all);
	for (int i = 0; i < 256; i++)
		disk_list_stale(r.disk, i, 0, &all, 4000);
	array_end(&all);
	ck_assert_ptr_nonnull(strstr(all.ptr, o.job.name));
	close_rig(&r);
}
END_TEST

START_TEST(test_no_directory)
{
	struct loop *l;
	struct disk *d;
	struct error e = {0};

	ck_assert_int_eq(loop_new(&l), OK);
	ck_assert_int_eq(disk_new(l, "/nonexistent/store", &d, &e), ERR_INTERNAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "/nonexistent/store"));
	loop_free(l);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("disk");
	TCase *t = tcase_create("disk");

	tcase_set_timeout(t, 30);
	tcase_add_test(t, test_kept_and_removed);
	tcase_add_test(t, test_failure_is_told);
	tcase_add_test(t, test_only_old_files_are_listed);
	tcase_add_test(t, test_no_directory);
	suite_add_tcase(s, t);
	return unit_run(s);
}
