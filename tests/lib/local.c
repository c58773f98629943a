/* A directory for local workers; see local.h. */
#include "local.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "pg.h"

const char stub_agent[] =
	"#!/bin/sh\n"
	"echo \"agent for $3 token=${GPUPOOL_ENROL_TOKEN:+given} home=$HOME\"\n"
	"trap 'echo goodbye; exit 0' TERM\n"
	"sleep 1000 &\n"
	"wait\n";

const char stub_deaf[] =
	"#!/bin/sh\n"
	"trap '' TERM\n"
	"echo deaf now\n"
	"setsid sleep 1000 &\n"
	"while :; do sleep 1; done\n";

void place_script(struct place *p, const char *script)
{
	char temporary[128];
	FILE *f;

	/* A new file each time: one that runs cannot be written. */
	snprintf(temporary, sizeof(temporary), "%s.new", p->python);
	f = fopen(temporary, "w");
	if (!f || fputs(script, f) < 0 || fclose(f) || chmod(temporary, 0755) || rename(temporary, p->python))
		abort();
}

void place_make(struct place *p, const char *script)
{
	memset(p, 0, sizeof(*p));
	arena_init(&p->arena, 16 << 20);
	snprintf(p->dir, sizeof(p->dir), "/tmp/gpupool-local-XXXXXX");
	if (!mkdtemp(p->dir) || chmod(p->dir, 0711))
		abort();
	snprintf(p->python, sizeof(p->python), "%s/python", p->dir);
	snprintf(p->local, sizeof(p->local), "%s/local", p->dir);
	place_script(p, script);
	if (config_load(&p->arena, NULL, &p->config, &p->error))
		abort();
	p->config.python = p->python;
	p->config.local_dir = p->local;
	p->config.state = p->dir;
	p->config.public_url = "http://127.0.0.1:1";
	p->config.database = "";
	p->config.grace_seconds = 0;
	p->config.providers = "local";
}

void place_kill(struct place *p)
{
	struct provider_call c = place_call(p);
	struct local_record *all = NULL;
	size_t count = 0;
	const char *dir;
	int runs_fd = -1;

	if (!local_dirs(&c, &dir, &runs_fd) && !local_records(&c, runs_fd, &all, &count))
		for (size_t i = 0; i < count; i++) {
			if (local_record_live(&all[i]))
				kill(all[i].pid, SIGKILL);
			if (all[i].mode == LOCAL_UID)
				local_uid_kill(all[i].uid, all[i].intent);
		}
	if (runs_fd >= 0)
		close(runs_fd);
}

void place_drop(struct place *p)
{
	char cmd[128];

	place_kill(p);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", p->dir);
	if (system(cmd))
		fprintf(stderr, "%s remains\n", p->dir);
	arena_free(&p->arena);
}

struct provider_call place_call(struct place *p)
{
	p->error = (struct error){0};
	return (struct provider_call){
		.arena = &p->arena, .config = &p->config, .deadline_ms = clock_ms() + 10000, .error = &p->error};
}

struct launch place_launch(struct place *p, int64_t worker, int64_t limit_seconds)
{
	struct secret *token = arena_new(&p->arena, struct secret);
	char intent[37];

	if (!token)
		abort();
	crypto_uuid(intent);
	*token = secret_new(STR("gpe_secret-of-the-test"));
	return (struct launch){
		.intent = str_of(arena_strdup(&p->arena, intent)),
		.worker = worker,
		.title = "test",
		.accelerator = "cpu",
		.token = token,
		.server_url = p->config.public_url,
		/* A test that fails leaves its runs behind; they end by themselves. */
		.limit_seconds = limit_seconds ? limit_seconds : 120,
	};
}

static bool holds(const char *path, const void *bytes, size_t len)
{
	char text[16384];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	if (fd >= 0)
		close(fd);
	return n > 0 && memmem(text, (size_t)n, bytes, len);
}

static bool process_holds(pid_t pid, const char *file, const void *bytes, size_t len)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%ld/%s", (long)pid, file);
	return holds(path, bytes, len);
}

/* once: not those whose parent counts, such as a shell's child before its exec. */
static int count_with(const void *bytes, size_t len, const char *file, bool once)
{
	DIR *proc = opendir("/proc");
	struct dirent *d;
	int n = 0;

	while (proc && (d = readdir(proc))) {
		struct local_process p;
		int64_t pid;

		if (!str_to_id(str_of(d->d_name), &pid) || pid == getpid() || !local_process_read((pid_t)pid, &p) || p.state == 'Z')
			continue;
		n += process_holds((pid_t)pid, file, bytes, len) && !(once && process_holds(p.parent, file, bytes, len));
	}
	if (proc)
		closedir(proc);
	return n;
}

int place_count(const struct place *p)
{
	return count_with(p->dir, strlen(p->dir), "cmdline", false) + count_with(p->dir, strlen(p->dir), "environ", false);
}

/* bubblewrap names the script too, but only the shell that runs it has it for its second word. */
int place_agents(const struct place *p)
{
	static const char shell[] = "/bin/sh";
	char start[160];

	memcpy(start, shell, sizeof(shell)); /* with its NUL, as in /proc */
	snprintf(start + sizeof(shell), sizeof(start) - sizeof(shell), "%s", p->python);
	return count_with(start, sizeof(shell) + strlen(p->python), "cmdline", true);
}

char *place_read(struct place *p, const char *path)
{
	char *text = arena_alloc(&p->arena, 65536);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, 65535);

	if (!text)
		abort();
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return text;
}
