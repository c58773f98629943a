/* Local runs: each started once, watched, ended with all they made, and kept apart. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "local.h"
#include "pg.h"
#include "unit.h"

static struct place place;

static void set_up(void)
{
	place_make(&place, stub_agent);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static void tear_down(void)
{
	place_drop(&place);
}

static struct run started(struct launch *l)
{
	struct provider_call c = place_call(&place);
	struct run run;
	enum err err = provider_local.start(&c, l, &run);

	ck_assert_msg(err == OK, "%s", place.error.msg);
	return run;
}

static struct run_status looked(const struct run *run)
{
	struct provider_call c = place_call(&place);
	struct run_status status;

	ck_assert_int_eq(provider_local.poll(&c, run, &status), OK);
	return status;
}

static bool is_over(void *run)
{
	return looked(run).phase == RUN_ENDED;
}

static bool one_agent(void *unused)
{
	(void)unused;
	return place_agents(&place) == 1;
}

static bool no_process(void *unused)
{
	(void)unused;
	return place_count(&place) == 0;
}

static struct local_record record_of(const struct launch *l)
{
	struct provider_call c = place_call(&place);
	struct local_record r;
	const char *dir;
	int runs_fd;

	ck_assert_int_eq(local_dirs(&c, &dir, &runs_fd), OK);
	ck_assert_int_eq(local_record_read(&c, runs_fd, l->intent, &r), OK);
	close(runs_fd);
	return r;
}

static const char *log_of(const struct run *run)
{
	struct provider_call c = place_call(&place);
	struct outputs out = {0};

	ck_assert_int_eq(provider_local.outputs(&c, run, &out), OK);
	return arena_printf(&place.arena, "%.*s", STR_ARG(out.log));
}

static const char *logged;

static bool log_holds(void *run)
{
	return strstr(log_of(run), logged) != NULL;
}

static void wait_log(struct run *run, const char *word)
{
	logged = word;
	ck_assert_msg(wait_for(log_holds, run, 5000), "no \"%s\" in: %s", word, log_of(run));
}

START_TEST(test_start_runs_one_agent_and_stop_ends_all_of_it)
{
	struct launch l = place_launch(&place, 7, 0);
	struct run run = started(&l);
	struct provider_call c;
	struct run_status status;

	ck_assert_int_eq(looked(&run).phase, RUN_LIVE);
	wait_log(&run, "agent for");
	ck_assert_ptr_nonnull(strstr(log_of(&run), "token=given"));
	ck_assert(wait_for(one_agent, NULL, 2000));
	c = place_call(&place);
	ck_assert_int_eq(provider_local.stop(&c, &run, false), OK);
	ck_assert_int_eq(provider_local.stop(&c, &run, false), OK);
	ck_assert(wait_for(is_over, &run, 5000));
	status = looked(&run);
	ck_assert_str_eq(status.code, "stopped");
	ck_assert(status.orderly);
	ck_assert_ptr_nonnull(strstr(log_of(&run), "goodbye"));
	/* Also the child that the agent left behind. */
	ck_assert_int_eq(place_count(&place), 0);
	ck_assert_int_eq(provider_local.stop(&c, &run, false), OK);
}
END_TEST

START_TEST(test_token_is_on_no_command_line)
{
	struct launch l = place_launch(&place, 1, 0);
	struct run run = started(&l);
	char cmd[] = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'gpe_secret-of-[t]he-test' >/dev/null";

	wait_log(&run, "agent for");
	ck_assert_int_ne(system(cmd), 0);
}
END_TEST

START_TEST(test_same_intent_starts_once)
{
	struct launch l = place_launch(&place, 3, 0);
	struct run first = started(&l), second = started(&l);
	struct provider_call c = place_call(&place);
	struct run found;

	ck_assert(str_eq(first.reference, second.reference));
	ck_assert_int_eq(provider_local.find(&c, &(struct launch){.intent = l.intent}, &found), OK);
	ck_assert(str_eq(first.reference, found.reference));
	ck_assert(wait_for(one_agent, NULL, 2000));
	wait_log(&first, "agent for");
	ck_assert_int_eq(place_agents(&place), 1);
}
END_TEST

START_TEST(test_another_start_of_a_running_worker_waits)
{
	struct launch l = place_launch(&place, 3, 0), other = place_launch(&place, 3, 0);
	struct provider_call c;
	struct run run = started(&l);

	(void)run;
	c = place_call(&place);
	ck_assert_int_eq(provider_local.start(&c, &other, &run), ERR_CONFLICT);
	ck_assert_int_eq(provider_local.find(&c, &(struct launch){.intent = other.intent}, &run), ERR_NOT_FOUND);
}
END_TEST

START_TEST(test_unknown_intent_was_never_started)
{
	struct provider_call c = place_call(&place);
	struct run run;

	ck_assert_int_eq(provider_local.find(&c, &(struct launch){.intent = STR("00000000-0000-4000-8000-000000000000")}, &run), ERR_NOT_FOUND);
	ck_assert_int_eq(provider_local.find(&c, &(struct launch){.intent = STR("../../etc/passwd")}, &run), ERR_INVALID);
	run.reference = STR("{\"intent\":\"../../etc/shadow\",\"worker\":1}");
	ck_assert_int_eq(provider_local.stop(&c, &run, false), ERR_INVALID);
	ck_assert_int_eq(provider_local.remove(&c, &run), ERR_INVALID);
}
END_TEST

START_TEST(test_exit_code_is_told)
{
	static const struct {
		const char *script, *code;
		bool orderly;
	} cases[] = {
		{"#!/bin/sh\nexit 0\n", "ended", true},
		{"#!/bin/sh\nexit 3\n", "token_refused", false},
		{"#!/bin/sh\nexit 5\n", "session_over", true},
		{"#!/bin/sh\nexit 77\n", "failed", false},
		{"#!/bin/sh\nkill -9 $$\n", "killed", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct launch l = place_launch(&place, (int64_t)i + 1, 0);
		struct run run;
		struct run_status status;

		place_script(&place, cases[i].script);
		run = started(&l);
		ck_assert(wait_for(is_over, &run, 5000));
		status = looked(&run);
		ck_assert_str_eq(status.code, cases[i].code);
		ck_assert_int_eq(status.orderly, cases[i].orderly);
		ck_assert_uint_gt(strlen(status.reason), 10);
	}
}
END_TEST

START_TEST(test_what_cannot_be_executed_is_refused_with_a_sentence)
{
	struct launch l = place_launch(&place, 1, 0);
	struct provider_call c = place_call(&place);
	struct run run;

	place_script(&place, "#!/nonexistent/interpreter\n");
	ck_assert_int_eq(provider_local.start(&c, &l, &run), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(place.error.msg, "cannot be started"));
	place.config.python = "/nonexistent/python3";
	l = place_launch(&place, 2, 0);
	ck_assert_int_eq(provider_local.start(&c, &l, &run), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(place.error.msg, "GPUPOOL_PYTHON"));
	ck_assert_int_eq(provider_local.check(&c), ERR_INVALID);
}
END_TEST

START_TEST(test_limit_ends_a_run_by_itself)
{
	struct launch l = place_launch(&place, 1, 1);
	int64_t begin = clock_ms();
	struct run run = started(&l);
	struct run_status status;

	ck_assert(wait_for(is_over, &run, 8000));
	status = looked(&run);
	ck_assert_str_eq(status.code, "limit");
	ck_assert_int_ge(clock_ms() - begin, 1000);
	ck_assert_int_eq(place_count(&place), 0);
}
END_TEST

START_TEST(test_deaf_agent_is_killed_with_its_descendants)
{
	struct launch l = place_launch(&place, 1, 0);
	struct provider_call c;
	struct run run;
	int64_t begin;

	place_script(&place, stub_deaf);
	run = started(&l);
	wait_log(&run, "deaf now");
	begin = clock_ms();
	c = place_call(&place);
	ck_assert_int_eq(provider_local.stop(&c, &run, false), OK);
	ck_assert(wait_for(is_over, &run, 15000));
	ck_assert_int_ge(clock_ms() - begin, 9000);
	ck_assert_ptr_nonnull(strstr(looked(&run).reason, "killed"));
	ck_assert(!looked(&run).orderly);
	ck_assert_int_eq(place_count(&place), 0);
}
END_TEST

START_TEST(test_killed_keeper_takes_the_run_along)
{
	struct launch l = place_launch(&place, 1, 0);
	struct run run = started(&l);
	struct local_record r = record_of(&l);

	wait_log(&run, "agent for");
	kill(r.pid, SIGKILL);
	ck_assert(wait_for(is_over, &run, 5000));
	ck_assert_str_eq(looked(&run).code, "lost");
	if (r.mode != LOCAL_UNSAFE)
		ck_assert_int_eq(place_count(&place), 0);
}
END_TEST

START_TEST(test_recycled_process_id_is_not_taken_for_the_run)
{
	struct launch l = place_launch(&place, 1, 0);
	struct run run = started(&l);
	struct local_record r = record_of(&l);

	ck_assert(local_record_live(&r));
	r.start_time++;
	ck_assert(!local_record_live(&r));
	r = record_of(&l);
	r.boot[0] ^= 1;
	ck_assert(!local_record_live(&r));
	(void)run;
}
END_TEST

START_TEST(test_list_and_remove)
{
	struct launch one = place_launch(&place, 1, 0), two = place_launch(&place, 2, 0);
	struct run first = started(&one), second = started(&two);
	struct provider_call c = place_call(&place);
	struct run_list list;
	char path[160];
	int live = 0;

	ck_assert_int_eq(provider_local.list(&c, &list), OK);
	ck_assert_uint_eq(list.count, 2);
	ck_assert_int_eq(provider_local.remove(&c, &first), ERR_UNAVAILABLE); /* it lives */
	ck_assert_int_eq(provider_local.stop(&c, &first, false), OK);
	ck_assert(wait_for(is_over, &first, 5000));
	ck_assert_int_eq(provider_local.list(&c, &list), OK);
	for (size_t i = 0; i < list.count; i++)
		live += list.items[i].live;
	ck_assert_int_eq(live, 1);
	ck_assert_msg(provider_local.remove(&c, &first) == OK, "%s", place.error.msg);
	snprintf(path, sizeof(path), "%s/work/1", place.local);
	ck_assert_int_ne(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/work/2", place.local);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(provider_local.remove(&c, &first), OK);
	(void)second;
}
END_TEST

/* ---- kept apart ----------------------------------------------------------- */

/* Tries to read what it must not, as a job would; says what it got. */
static const char pry[] =
	"#!/bin/sh\n"
	"d=%s\n"
	"for f in $d/admin-token $d/keys/key $d/local/work/9/home/diary $d/local/runs/*.json $d/local/runs/*.log $d/local/lock; do\n"
	"  if cat $f >/dev/null 2>&1; then echo \"GOT $f\"; fi\n"
	"done\n"
	"if ls $d/local/runs >/dev/null 2>&1 && test -n \"$(ls $d/local/runs)\"; then echo GOT list; fi\n"
	"for p in /proc/[0-9]*; do\n"
	"  if grep -q VICTIM=1 $p/environ 2>/dev/null; then echo \"GOT $p\"; fi\n"
	"done\n"
	"if touch /usr/bin/gpupool-was-here $d/local/was-here ../was-here 2>/dev/null; then echo GOT write; fi\n"
	"if kill -0 %ld 2>/dev/null; then echo GOT signal; fi\n"
	"touch $HOME/mine && echo own home\n"
	"grep -q 'NoNewPrivs:.1' /proc/self/status && echo no new privileges\n"
	"test -e /usr/bin/env && test -r /etc/passwd && test -c /dev/null && echo system there\n"
	"ls -l /proc/self/fd | grep -v -e ' 0 ' -e ' 1 ' -e ' 2 ' -e ' 255 ' -e ' 10 ' | grep -- '->' | grep -v /proc/ | sed 's/^/GOT fd /'\n"
	"echo looked\n"
	"sleep 1000\n";

static void write_secret(const char *name)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", place.dir, name);
	for (char *p = path + strlen(place.dir) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0711);
		*p = '/';
	}
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs("secret", f);
	fclose(f);
	chmod(path, 0600);
}

static pid_t make_victim(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execle("/bin/sleep", "sleep", "1000", NULL, (char *const[]){(char *)"VICTIM=1", NULL});
		_exit(127);
	}
	return pid;
}

static void try_to_pry(void)
{
	struct launch l = place_launch(&place, 1, 0);
	pid_t victim = make_victim();
	struct run run;

	write_secret("admin-token");
	write_secret("keys/key");
	write_secret("local/work/9/home/diary");
	place_script(&place, arena_printf(&place.arena, pry, place.dir, (long)victim));
	run = started(&l);
	wait_log(&run, "looked");
	ck_assert_msg(!strstr(log_of(&run), "GOT"), "%s", log_of(&run));
	ck_assert_ptr_nonnull(strstr(log_of(&run), "own home"));
	ck_assert_ptr_nonnull(strstr(log_of(&run), "no new privileges"));
	ck_assert_ptr_nonnull(strstr(log_of(&run), "system there"));
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
}

START_TEST(test_job_reads_nothing_of_others_as_root)
{
	struct launch l = place_launch(&place, 2, 0), other = place_launch(&place, 4, 0);

	if (geteuid() != 0)
		return;
	try_to_pry();
	place_script(&place, stub_agent);
	(void)started(&l);
	(void)started(&other);
	ck_assert_int_eq(record_of(&l).mode, LOCAL_UID);
	ck_assert_uint_ne(record_of(&l).uid, record_of(&other).uid);
	ck_assert_uint_ge(record_of(&l).uid, (unsigned)place.config.local_uid);
}
END_TEST

/* The rest of the test goes on as nobody. */
static void become_nobody(void)
{
	const struct passwd *nobody = getpwnam("nobody");

	ck_assert_ptr_nonnull(nobody);
	if (geteuid() != 0)
		return;
	place_drop(&place);
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setresgid(nobody->pw_gid, nobody->pw_gid, nobody->pw_gid), 0);
	ck_assert_int_eq(setresuid(nobody->pw_uid, nobody->pw_uid, nobody->pw_uid), 0);
	set_up();
}

static bool sandbox_here(void)
{
	struct provider_call c = place_call(&place);
	enum local_mode mode;

	if (local_mode_choose(&c, &mode) == OK && mode == LOCAL_BWRAP)
		return true;
	printf("skipped: no bubblewrap for ordinary users here: %s\n", place.error.msg);
	return false;
}

START_TEST(test_job_reads_nothing_of_others_under_bubblewrap)
{
	become_nobody();
	if (sandbox_here())
		try_to_pry();
}
END_TEST

START_TEST(test_bubblewrap_run_stops_softly_and_wholly)
{
	struct launch l;
	struct provider_call c;
	struct run run;

	become_nobody();
	if (!sandbox_here())
		return;
	l = place_launch(&place, 1, 0);
	run = started(&l);
	ck_assert_int_eq(record_of(&l).mode, LOCAL_BWRAP);
	wait_log(&run, "agent for");
	c = place_call(&place);
	ck_assert_int_eq(provider_local.stop(&c, &run, false), OK);
	ck_assert(wait_for(is_over, &run, 5000));
	ck_assert_str_eq(looked(&run).code, "stopped");
	ck_assert(looked(&run).orderly);
	ck_assert_ptr_nonnull(strstr(log_of(&run), "goodbye"));
	ck_assert_int_eq(place_count(&place), 0);
	/* And by the limit, and when its keeper is killed. */
	l = place_launch(&place, 1, 0);
	run = started(&l);
	wait_log(&run, "agent for");
	kill(record_of(&l).pid, SIGKILL);
	ck_assert(wait_for(is_over, &run, 5000));
	ck_assert(wait_for(no_process, NULL, 5000)); /* the kernel empties a pid namespace in its own time */
}
END_TEST

START_TEST(test_uid_that_another_run_has_taken_since_is_spared)
{
	struct launch l = place_launch(&place, 1, 0);
	struct run run;
	struct local_record r;

	if (geteuid() != 0)
		return;
	run = started(&l);
	wait_log(&run, "agent for");
	r = record_of(&l);
	local_uid_kill(r.uid, "00000000-0000-4000-8000-000000000000");
	ck_assert_int_eq(looked(&run).phase, RUN_LIVE);
	ck_assert_int_eq(place_agents(&place), 1);
	local_uid_kill(r.uid, r.intent);
	ck_assert(wait_for(is_over, &run, 5000));
	ck_assert_str_eq(looked(&run).code, "killed");
}
END_TEST

START_TEST(test_without_any_isolation_it_refuses_until_told)
{
	struct provider_call c = place_call(&place);
	struct launch l = place_launch(&place, 1, 0);
	struct run run;

	if (geteuid() != 0)
		return;
	place.config.local_uid = 0;
	ck_assert_int_eq(provider_local.check(&c), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(place.error.msg, "GPUPOOL_LOCAL_UNSAFE"));
	ck_assert_int_eq(provider_local.start(&c, &l, &run), ERR_INVALID);
	place.config.local_unsafe = true;
	ck_assert_int_eq(provider_local.check(&c), OK);
	l = place_launch(&place, 1, 0);
	run = started(&l);
	ck_assert_int_eq(record_of(&l).mode, LOCAL_UNSAFE);
	c = place_call(&place);
	ck_assert_int_eq(provider_local.stop(&c, &run, false), OK);
	ck_assert(wait_for(is_over, &run, 5000));
	ck_assert_int_eq(place_count(&place), 0);
}
END_TEST

START_TEST(test_directory_that_the_worker_cannot_enter_is_named)
{
	struct launch l = place_launch(&place, 1, 0);
	struct provider_call c = place_call(&place);
	struct run run;

	if (geteuid() != 0)
		return;
	ck_assert_int_eq(chmod(place.dir, 0700), 0);
	ck_assert_int_eq(provider_local.start(&c, &l, &run), ERR_INVALID);
	ck_assert_msg(strstr(place.error.msg, "o+x"), "%s", place.error.msg);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("local");
	TCase *t = tcase_create("runs"), *apart = tcase_create("apart");

	crypto_init();
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_start_runs_one_agent_and_stop_ends_all_of_it);
	tcase_add_test(t, test_token_is_on_no_command_line);
	tcase_add_test(t, test_same_intent_starts_once);
	tcase_add_test(t, test_another_start_of_a_running_worker_waits);
	tcase_add_test(t, test_unknown_intent_was_never_started);
	tcase_add_test(t, test_exit_code_is_told);
	tcase_add_test(t, test_what_cannot_be_executed_is_refused_with_a_sentence);
	tcase_add_test(t, test_limit_ends_a_run_by_itself);
	tcase_add_test(t, test_deaf_agent_is_killed_with_its_descendants);
	tcase_add_test(t, test_killed_keeper_takes_the_run_along);
	tcase_add_test(t, test_recycled_process_id_is_not_taken_for_the_run);
	tcase_add_test(t, test_list_and_remove);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(apart, set_up, tear_down);
	tcase_set_timeout(apart, 60);
	tcase_add_test(apart, test_job_reads_nothing_of_others_as_root);
	tcase_add_test(apart, test_job_reads_nothing_of_others_under_bubblewrap);
	tcase_add_test(apart, test_bubblewrap_run_stops_softly_and_wholly);
	tcase_add_test(apart, test_uid_that_another_run_has_taken_since_is_spared);
	tcase_add_test(apart, test_without_any_isolation_it_refuses_until_told);
	tcase_add_test(apart, test_directory_that_the_worker_cannot_enter_is_named);
	suite_add_tcase(s, apart);
	return unit_run(s);
}
