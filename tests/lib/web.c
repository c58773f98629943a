/* A running gpupool-web; see web.h. */
#include "web.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

_Noreturn static void give_up(const char *why)
{
	fprintf(stderr, "gpupool-web for tests: %s (%s)\n", why, strerror(errno));
	exit(99);
}

/* build/X/tests/http/test_y -> build/X/gpupool-web */
static void program_path(char *ret, size_t cap)
{
	char self[1024];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		give_up("/proc/self/exe");
	self[n] = '\0';
	for (int i = 0; i < 3; i++)
		*strrchr(self, '/') = '\0';
	if (snprintf(ret, cap, "%s/gpupool-web", self) >= (int)cap)
		give_up("path");
}

static bool listens(void *ctx)
{
	const struct web *w = ctx;
	int fd = fcgi_connect(w->socket);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

void web_spawn(struct web *w, const char *role)
{
	char program[1024], log[96], option[32], number[16];
	int fd;

	program_path(program, sizeof(program));
	snprintf(option, sizeof(option), "--role=%s", role);
	snprintf(log, sizeof(log), "%s/log", w->dir);
	snprintf(number, sizeof(number), "%d", w->processes);
	w->pid = fork();
	if (w->pid < 0)
		give_up("fork");
	if (!w->pid) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(fd, 2);
		setenv("GPUPOOL_DATABASE", w->database, 1);
		setenv("GPUPOOL_LISTEN", w->socket, 1);
		setenv("GPUPOOL_STATE", w->dir, 1);
		setenv("GPUPOOL_WEB_PROCESSES", number, 1);
		setenv("GPUPOOL_LOG_LEVEL", "debug", 1);
		execl(program, "gpupool-web", option, (char *)NULL);
		_exit(127);
	}
}

void web_start_again(struct web *w, const char *role)
{
	web_spawn(w, role);
	if (!wait_for(listens, w, 10000))
		give_up("does not listen");
}

/* Directories of this process, to be removed at its end. */
static struct {
	char dir[16][64];
	int count;
	pid_t owner;
} made;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

static void remove_all(void)
{
	for (int i = 0; made.owner == getpid() && !getenv("TEST_KEEP") && i < made.count; i++)
		nftw(made.dir[i], remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void keep_for_removal(const char *dir)
{
	if (made.owner != getpid()) {
		made.owner = getpid();
		made.count = 0;
		atexit(remove_all);
	}
	if (made.count < (int)ARRAY_LEN(made.dir))
		snprintf(made.dir[made.count++], sizeof(made.dir[0]), "%s", dir);
}

void web_start(struct web *w, const char *role, const char *conninfo, int processes)
{
	*w = (struct web){.processes = processes};
	snprintf(w->dir, sizeof(w->dir), "/tmp/gpupool-web-XXXXXX");
	if (!mkdtemp(w->dir))
		give_up("mkdtemp");
	keep_for_removal(w->dir);
	snprintf(w->socket, sizeof(w->socket), "%s/socket", w->dir);
	snprintf(w->database, sizeof(w->database), "%s", conninfo);
	web_start_again(w, role);
}

struct ending {
	pid_t pid;
	int status;
};

static bool ended(void *ctx)
{
	struct ending *e = ctx;

	return waitpid(e->pid, &e->status, WNOHANG) == e->pid;
}

int web_exit(struct web *w)
{
	struct ending e = {.pid = w->pid};

	if (!wait_for(ended, &e, 30000)) {
		kill(w->pid, SIGKILL);
		return -1;
	}
	w->pid = 0;
	return WIFEXITED(e.status) ? WEXITSTATUS(e.status) : -1;
}

int web_stop(struct web *w)
{
	kill(w->pid, SIGTERM);
	return web_exit(w);
}

int web_children(const struct web *w, pid_t *ret, int most)
{
	char path[64];
	FILE *f;
	int n = 0, pid;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)w->pid, (int)w->pid);
	f = fopen(path, "r");
	while (f && n < most && fscanf(f, "%d", &pid) == 1)
		ret[n++] = pid;
	if (f)
		fclose(f);
	return n;
}

const char *web_log(const struct web *w)
{
	static char text[1 << 20];
	char path[96];
	FILE *f;
	size_t n = 0;

	snprintf(path, sizeof(path), "%s/log", w->dir);
	f = fopen(path, "r");
	if (f) {
		n = fread(text, 1, sizeof(text) - 1, f);
		fclose(f);
	}
	text[n] = '\0';
	return text;
}
