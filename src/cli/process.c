/* process - see cli/process.h. */
#include "cli/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static bool become(const struct identity *as)
{
	if (as->owner.uid == (uid_t)-1)
		return true;
	return !setgroups((size_t)as->group_count, as->groups) && !setgid(as->owner.gid) && !setuid(as->owner.uid);
}

/* Between fork and exec; only what is safe there. */
_Noreturn static void child(const struct spawn *s, pid_t parent)
{
	sigset_t none;
	int null = open("/dev/null", O_RDONLY);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	setpgid(0, 0);
	if (null < 0 || dup2(null, 0) < 0 || dup2(s->output, 1) < 0 || dup2(s->output, 2) < 0)
		_exit(126);
	if (close_range(3, ~0U, 0) || !become(&s->as) || chdir(s->dir ? s->dir : "/"))
		_exit(126);
	/* After the change of user, which would clear it. */
	if (s->die_with && (prctl(PR_SET_PDEATHSIG, s->die_with) || getppid() != parent))
		_exit(126);
	execve(s->path, (char *const *)s->argv, (char *const *)s->env);
	_exit(127);
}

pid_t process_start(const struct spawn *s)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0)
		child(s, parent);
	if (pid > 0)
		setpgid(pid, pid); /* in both, so that neither runs ahead */
	return pid;
}

enum err process_run(const struct spawn *s, const char *what, struct error *e)
{
	char text[32];
	int status = 0;
	pid_t pid = process_start(s);

	if (pid < 0)
		return error_set(e, ERR_INTERNAL, "%s: cannot start a process: %s", what, strerror(errno));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_set(e, ERR_INTERNAL, "%s: %s", what, strerror(errno));
	if (status == 0)
		return OK;
	process_status_text(status, text, sizeof(text));
	return error_set(e, ERR_INTERNAL, "%s failed: %s", what, text);
}

int64_t process_started_at(pid_t pid)
{
	char path[64], line[1024], *at;
	cleanup_file FILE *f = NULL;
	unsigned long long started = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f) || !(at = strrchr(line, ')')) || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X')
		return 0;
	/* Field 22; the one after the name is the third. */
	if (sscanf(at + 2, "%*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &started) != 1)
		return 0;
	return (int64_t)started;
}

void process_status_text(int status, char *ret, size_t cap)
{
	if (WIFSIGNALED(status))
		snprintf(ret, cap, "signal %d", WTERMSIG(status));
	else
		snprintf(ret, cap, "exit status %d", WEXITSTATUS(status));
}
