/* A throwaway PostgreSQL cluster; see pg.h. */
#include "pg.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/asset.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "db/migrate.h"

static struct pg the_pg;

_Noreturn static void give_up(const char *why)
{
	fprintf(stderr, "test cluster: %s (errno %s)\n", why, strerror(errno));
	exit(99);
}

/* PostgreSQL refuses root: another user owns the cluster then. */
static const struct passwd *cluster_user(void)
{
	const struct passwd *pw;

	if (geteuid() != 0)
		return NULL;
	pw = getpwnam("postgres");
	return pw ? pw : getpwnam("nobody");
}

static pid_t spawn(const struct pg *pg, const char *const argv[])
{
	const struct passwd *pw = cluster_user();
	char path[256], log[128];
	pid_t pid = fork();
	int fd;

	if (pid)
		return pid;
	if (pw && (setgroups(0, NULL) || setgid(pw->pw_gid) || setuid(pw->pw_uid)))
		_exit(98);
	prctl(PR_SET_PDEATHSIG, SIGQUIT);
	setpgid(0, 0);
	snprintf(log, sizeof(log), "%s/log", pg->dir);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 || chdir(pg->dir))
		_exit(97);
	snprintf(path, sizeof(path), "%s/%s", pg->bindir, argv[0]);
	execv(path, (char *const *)argv);
	_exit(96);
}

static void run(const struct pg *pg, const char *const argv[])
{
	int status = 0;
	pid_t pid = spawn(pg, argv);

	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		give_up(argv[0]);
}

static void find_bindir(struct pg *pg)
{
	FILE *f = popen("pg_config --bindir", "r");

	if (!f || !fgets(pg->bindir, sizeof(pg->bindir), f))
		give_up("pg_config is missing");
	pclose(f);
	pg->bindir[strcspn(pg->bindir, "\n")] = '\0';
}

static void start_postmaster(struct pg *pg)
{
	char data[256];
	const char *argv[] = {"postgres", "-D", data, "-k", pg->dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c",
			"shared_buffers=64MB", "-c", "max_connections=150", "-c", "shared_preload_libraries=pg_stat_statements",
			"-c", "timezone=UTC", NULL};

	snprintf(data, sizeof(data), "%s/data", pg->dir);
	pg->pid = spawn(pg, argv);
	if (pg->pid < 0)
		give_up("fork");
}

static bool answers(void *ctx)
{
	cleanup_db struct db *db = NULL;

	return db_open(&(struct db_options){.conninfo = pg_conninfo(ctx, "postgres", "postgres")}, &db) == OK && db_raw(db) != NULL;
}

static void stop_at_exit(void)
{
	pg_stop(&the_pg);
}

static void make_database(const struct pg *pg)
{
	struct db *super = pg_db(pg, "postgres", "postgres"), *owner;
	struct error e = {0};
	int applied;

	pg_sql(super, asset_find("sql/roles.sql")->bytes.ptr, NULL);
	pg_sql(super, "create database gpupool owner gpupool_owner", NULL);
	db_close(super);
	super = pg_db(pg, "postgres", "gpupool");
	pg_sql(super, "create extension pg_stat_statements schema public", NULL);
	db_close(super);
	owner = pg_db(pg, "owner", "gpupool");
	if (migrate_run(owner, &applied, &e))
		give_up(e.msg);
	db_close(owner);
}

/*
 * A database is a thousand files, and a test makes one: on ext4, which steps over
 * each lately freed inode when it makes another, that soon takes longer than all
 * else.  In memory, where there is room, it does not.
 */
static const char *base_directory(void)
{
	static const char memory[] = "/dev/shm";
	struct statvfs fs;

	if (access(memory, W_OK | X_OK) || statvfs(memory, &fs) || (uint64_t)fs.f_bavail * fs.f_frsize < UINT64_C(3) << 30)
		return "/tmp";
	return memory;
}

struct pg *pg_start(void)
{
	struct pg *pg = &the_pg;
	const struct passwd *pw = cluster_user();
	char data[256];
	const char *initdb[] = {"initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", NULL};

	crypto_init();
	log_init("test", getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERROR);
	find_bindir(pg);
	snprintf(pg->dir, sizeof(pg->dir), "%s/gpupool-test-XXXXXX", base_directory());
	if (!mkdtemp(pg->dir) || (pw && chown(pg->dir, pw->pw_uid, pw->pw_gid)))
		give_up("temporary directory");
	snprintf(data, sizeof(data), "%s/data", pg->dir);
	pg->owner = getpid();
	atexit(stop_at_exit);
	run(pg, initdb);
	start_postmaster(pg);
	if (!wait_for(answers, pg, 30000))
		give_up("PostgreSQL does not answer");
	make_database(pg);
	return pg;
}

void pg_stop(struct pg *pg)
{
	char cmd[128];

	if (pg->owner != getpid() || !pg->dir[0])
		return;
	if (pg->pid > 0) {
		kill(pg->pid, SIGQUIT);
		waitpid(pg->pid, NULL, 0);
	}
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", pg->dir);
	if (system(cmd))
		fprintf(stderr, "test cluster: %s remains\n", pg->dir);
	pg->dir[0] = '\0';
}

const char *pg_conninfo(const struct pg *pg, const char *role, const char *database)
{
	static char bufs[8][256];
	static unsigned next;
	char *buf = bufs[next++ % 8];

	snprintf(buf, sizeof(bufs[0]), "host=%s dbname=%s user=%s%s", pg->dir, database, strcmp(role, "postgres") ? "gpupool_" : "", role);
	return buf;
}

void pg_copy(const struct pg *pg, const char *database)
{
	struct db *db = pg_db(pg, "postgres", "postgres");
	char sql[256];

	snprintf(sql, sizeof(sql), "create database \"%s\" template gpupool strategy file_copy owner gpupool_owner", database);
	pg_sql(db, sql, NULL);
	db_close(db);
}

struct db *pg_db(const struct pg *pg, const char *role, const char *database)
{
	struct db *db;
	struct db_options o = {.conninfo = pg_conninfo(pg, role, database), .application = "test", .statement_timeout_ms = 60000,
			       .queue = !strcmp(role, "events")};

	if (db_open(&o, &db) || !db_raw(db))
		give_up("cannot connect");
	return db;
}

void pg_sql(struct db *db, const char *sql, struct rows *rows)
{
	struct error e = {0};

	if (db_exec_text(db, sql, rows, &e)) {
		fprintf(stderr, "%s\n", sql);
		give_up(e.msg);
	}
}

int64_t pg_int(struct db *db, const char *sql)
{
	cleanup_rows struct rows rows = {0};

	pg_sql(db, sql, &rows);
	return rows_count(&rows) ? row_i64(&rows, 0, rows_column_name(&rows, 0)) : -1;
}

void pg_crash(struct pg *pg)
{
	kill(pg->pid, SIGKILL);
	waitpid(pg->pid, NULL, 0);
	/* Its children notice and leave; the new postmaster waits for that. */
	for (int i = 0; i < 50; i++) {
		start_postmaster(pg);
		if (wait_for(answers, pg, 2000))
			return;
		kill(pg->pid, SIGQUIT);
		waitpid(pg->pid, NULL, 0);
	}
	give_up("does not come back after a crash");
}

/* The postmaster's children are in its group or lead groups of their own. */
static void signal_children(pid_t parent, int sig)
{
	DIR *proc = opendir("/proc");
	struct dirent *d;

	while (proc && (d = readdir(proc))) {
		char path[300], state;
		int pid = (int)strtol(d->d_name, NULL, 10), ppid = 0;
		FILE *f;

		if (pid <= 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%*d (%*[^)]) %c %d", &state, &ppid) == 2 && ppid == parent)
			kill(pid, sig);
		fclose(f);
	}
	if (proc)
		closedir(proc);
}

void pg_freeze(const struct pg *pg, bool stop)
{
	int sig = stop ? SIGSTOP : SIGCONT;

	kill(pg->pid, sig);
	signal_children(pg->pid, sig);
}

bool wait_for(bool (*cond)(void *), void *ctx, int ms)
{
	int64_t end = clock_ms() + ms;

	while (!cond(ctx)) {
		if (clock_ms() >= end)
			return false;
		clock_sleep_ms(20);
	}
	return true;
}
