/* Faults: children killed, slow and malformed peers.  The service answers, and is back by itself. */
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "people.h"
#include "unit.h"
#include "web.h"

static struct pg *pg;
static struct db *db;

static struct call get(const char *path)
{
	return (struct call){.path = path, .token = people_token(ADMIN)};
}

static int status_of(const struct web *w, const char *path)
{
	struct call c = get(path);
	cleanup_reply struct reply r = {0};

	fcgi_call(w->socket, &c, &r);
	return r.status;
}

/* ---- processes ------------------------------------------------------------------------ */

struct respawn {
	struct web *web;
	pid_t dead;
};

static bool respawned(void *ctx)
{
	struct respawn *r = ctx;
	pid_t now[8];
	int n = web_children(r->web, now, 8);

	for (int i = 0; i < n; i++)
		if (now[i] == r->dead)
			return false;
	return n == r->web->processes;
}

static bool is_full(void *ctx)
{
	const struct web *w = ctx;
	pid_t pids[16];

	return web_children(w, pids, 16) == w->processes;
}

START_TEST(test_killed_child_is_replaced)
{
	struct web w;
	pid_t children[8];

	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 3);
	ck_assert(wait_for(is_full, &w, 10000));
	ck_assert_int_eq(web_children(&w, children, 8), 3);
	for (int i = 0; i < 3; i++) {
		struct respawn r = {&w, children[i]};

		kill(children[i], SIGKILL);
		ck_assert_int_eq(status_of(&w, "/api/gpu/me"), 200);
		ck_assert(wait_for(respawned, &r, 10000));
	}
	ck_assert_int_eq(status_of(&w, "/api/gpu/me"), 200);
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

static bool all_gone(void *ctx)
{
	pid_t *pids = ctx;

	for (int i = 0; pids[i]; i++)
		if (!kill(pids[i], 0))
			return false;
	return true;
}

START_TEST(test_children_end_with_a_killed_master)
{
	struct web w;
	pid_t children[8] = {0};

	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 2);
	ck_assert(wait_for(is_full, &w, 10000));
	ck_assert_int_eq(web_children(&w, children, 7), 2);
	kill(w.pid, SIGKILL);
	ck_assert(wait_for(all_gone, children, 10000));
	/* The next one takes the place, though the socket file is still there. */
	web_start_again(&w, "api");
	ck_assert_int_eq(status_of(&w, "/healthz"), 200);
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

static bool drains(void *ctx)
{
	return strstr(web_log(ctx), "server.drain") != NULL;
}

START_TEST(test_term_in_mid_request_answers)
{
	struct web w;
	struct call c = {.method = "POST", .path = "/api/gpu/users", .token = people_token(ADMIN), .body = STR("{\"name\":\"mid\",\"role\":\"viewer\"}")};
	cleanup_reply struct reply r = {0};
	int fd;

	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 1);
	fd = fcgi_connect(w.socket);
	fcgi_send(fd, &c, true);
	/* In the request once its child is no longer waiting for one: its debug line says so. */
	kill(w.pid, SIGTERM);
	ck_assert(wait_for(drains, &w, 5000));
	fcgi_send_body(fd, c.body);
	fcgi_receive(fd, &r);
	close(fd);
	/* Either it had begun, and is done, or it was never taken: not something between. */
	ck_assert_msg(r.status == 201 || r.status == 0, "%d", r.status);
	ck_assert_int_eq(pg_int(db, "select count(*) from users where name = 'mid'"), r.status == 201);
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

static bool has_begun(void *ctx)
{
	return pg_int(db, "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and application_name like 'gpupool-web%'") > 0;
}

START_TEST(test_term_while_the_database_works_answers)
{
	struct web w;
	struct call c = {.method = "POST", .path = "/api/gpu/users", .token = people_token(ADMIN), .body = STR("{\"name\":\"midst\",\"role\":\"viewer\"}")};
	struct db *locker = pg_db(pg, "owner", "gpupool");
	cleanup_reply struct reply r = {0};
	int fd;

	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 1);
	pg_sql(locker, "begin", NULL);
	pg_sql(locker, "lock table users in share mode", NULL);
	fd = fcgi_connect(w.socket);
	fcgi_send(fd, &c, false);
	ck_assert(wait_for(has_begun, NULL, 5000));
	kill(w.pid, SIGTERM);
	ck_assert(wait_for(drains, &w, 5000));
	pg_sql(locker, "rollback", NULL);
	fcgi_receive(fd, &r);
	close(fd);
	ck_assert_int_eq(r.status, 201);
	ck_assert_int_eq(web_stop(&w), 0);
	db_close(locker);
}
END_TEST

struct generation {
	struct web *web;
	pid_t old[8];
	int n;
};

static bool none_is_old(void *ctx)
{
	struct generation *g = ctx;
	pid_t now[8];
	int n = web_children(g->web, now, 8);

	for (int i = 0; i < n; i++)
		for (int k = 0; k < g->n; k++)
			if (now[i] == g->old[k])
				return false;
	return n > 0;
}

START_TEST(test_hup_makes_a_new_generation)
{
	struct web w;
	struct generation g = {.web = &w};

	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 2);
	ck_assert(wait_for(is_full, &w, 10000));
	g.n = web_children(&w, g.old, 8);
	kill(w.pid, SIGHUP);
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(status_of(&w, "/healthz"), 200);
	ck_assert(wait_for(none_is_old, &g, 10000));
	ck_assert_int_eq(status_of(&w, "/healthz"), 200);
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

static void write_settings(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static bool kept_old(void *ctx)
{
	return strstr(web_log(ctx), "server.reload kept=old") != NULL;
}

START_TEST(test_hup_with_bad_settings_keeps_the_old)
{
	struct web w;
	struct generation g = {.web = &w};
	pid_t now[8];
	char path[96];

	snprintf(path, sizeof(path), "%s/settings", pg->dir);
	write_settings(path, "retention_days = 30\n");
	setenv("GPUPOOL_CONFIG", path, 1);
	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 2);
	ck_assert(wait_for(is_full, &w, 10000));
	g.n = web_children(&w, g.old, 8);
	write_settings(path, "retention_days = -1\n");
	kill(w.pid, SIGHUP);
	ck_assert(wait_for(kept_old, &w, 5000));
	ck_assert_int_eq(web_children(&w, now, 8), g.n);
	ck_assert_mem_eq(now, g.old, sizeof(pid_t) * (size_t)g.n);
	ck_assert_int_eq(status_of(&w, "/healthz"), 200);
	write_settings(path, "retention_days = 40\n");
	kill(w.pid, SIGHUP);
	ck_assert(wait_for(none_is_old, &g, 10000));
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

static bool has_given_up(void *ctx)
{
	return strstr(web_log(ctx), "server.give_up") != NULL;
}

/* A child that cannot live must not keep the master spinning for ever. */
START_TEST(test_master_gives_up_on_children_that_die_young)
{
	struct web w;

	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 4);
	while (!has_given_up(&w)) {
		pid_t pids[8];
		int n = web_children(&w, pids, 8);

		for (int i = 0; i < n; i++)
			kill(pids[i], SIGABRT);
		ck_assert(kill(w.pid, 0) == 0);
		clock_sleep_ms(20);
	}
	ck_assert_int_eq(web_exit(&w), 1);
}
END_TEST

/* ---- peers ------------------------------------------------------------------------------ */

START_TEST(test_slow_peer_stops_nobody)
{
	struct web w;
	struct call c = get("/api/gpu/me");
	int fds[2];
	int64_t start;

	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 3);
	/* Two that begin and then say no more. */
	for (int i = 0; i < 2; i++) {
		struct call slow = {.method = "POST", .path = "/api/gpu/users", .token = people_token(ADMIN), .length = 1000};

		fds[i] = fcgi_connect(w.socket);
		fcgi_send(fds[i], &slow, true);
	}
	start = clock_ms();
	for (int i = 0; i < 20; i++) {
		cleanup_reply struct reply r = {0};

		fcgi_call(w.socket, &c, &r);
		ck_assert_int_eq(r.status, 200);
	}
	ck_assert_int_lt(clock_ms() - start, 5000);
	for (int i = 0; i < 2; i++)
		close(fds[i]);
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

START_TEST(test_silent_peer_is_dropped)
{
	struct web w;
	int64_t start;
	int fd;

	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 1);
	fd = fcgi_connect(w.socket);
	start = clock_ms();
	/* The only process is back within the second that a silent peer gets. */
	ck_assert_int_eq(status_of(&w, "/healthz"), 200);
	ck_assert_int_lt(clock_ms() - start, 8000);
	close(fd);
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

static void send_garbage(const struct web *w, const void *bytes, size_t len)
{
	int fd = fcgi_connect(w->socket);

	ck_assert_int_ge(fd, 0);
	(void)!send(fd, bytes, len, MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	close(fd);
}

START_TEST(test_garbage_peers)
{
	struct web w;
	unsigned char noise[4096];
	/* BEGIN with a huge length; params whose lengths are near INT_MAX; a stray END_REQUEST. */
	static const unsigned char long_begin[] = {1, 1, 0, 1, 0xff, 0xff, 0xff, 0, 0, 1, 0, 0};
	static const unsigned char wild_params[] = {1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0,
			1, 4, 0, 1, 0, 8, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const unsigned char almost_params[] = {1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0,
			1, 4, 0, 1, 0, 8, 0, 0, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xfe};
	static const unsigned char stray_end[] = {1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	static const unsigned char other_role[] = {1, 1, 0, 1, 0, 8, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 4, 0, 1, 0, 0, 0, 0, 1, 5, 0, 1, 0, 0, 0, 0};

	srandom(1);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (unsigned char)random();
	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 2);
	for (int i = 0; i < 10; i++) {
		send_garbage(&w, noise + i * 100, 1000);
		send_garbage(&w, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
		send_garbage(&w, long_begin, sizeof(long_begin));
		send_garbage(&w, wild_params, sizeof(wild_params));
		send_garbage(&w, stray_end, sizeof(stray_end));
		send_garbage(&w, other_role, sizeof(other_role));
		send_garbage(&w, "", 0);
	}
	/* This one makes libfcgi itself abort, on a failed allocation: the process is replaced. */
	send_garbage(&w, almost_params, sizeof(almost_params));
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(status_of(&w, "/api/gpu/me"), 200);
	ck_assert_int_eq(web_stop(&w), 0);
	ck_assert_ptr_null(strstr(web_log(&w), "Sanitizer: heap"));
	ck_assert_ptr_null(strstr(web_log(&w), "runtime error"));
}
END_TEST

START_TEST(test_client_that_leaves)
{
	struct web w;

	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 1);
	for (int i = 0; i < 20; i++) {
		struct call c = get("/api/openapi.json");
		int fd = fcgi_connect(w.socket);

		fcgi_send(fd, &c, false);
		close(fd);
	}
	ck_assert_int_eq(status_of(&w, "/api/gpu/me"), 200);
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

static int tcp_connect(int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A port that was free a moment ago. */
static int free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	close(fd);
	return ntohs(at.sin_port);
}

static bool accepts(void *ctx)
{
	int fd = tcp_connect(*(int *)ctx);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* 200, or 0 when the connection was closed without an answer. */
static int over_tcp(const char *peers)
{
	struct web w = {.processes = 1};
	struct call c = {.path = "/healthz"};
	cleanup_reply struct reply r = {0};
	int port = free_port(), fd;

	snprintf(w.dir, sizeof(w.dir), "%s", pg->dir);
	snprintf(w.socket, sizeof(w.socket), "127.0.0.1:%d", port);
	snprintf(w.database, sizeof(w.database), "%s", pg_conninfo(pg, "web", "gpupool"));
	setenv("GPUPOOL_NGINX_PEERS", peers, 1);
	web_spawn(&w, "api");
	ck_assert(wait_for(accepts, &port, 10000));
	fd = tcp_connect(port);
	fcgi_send(fd, &c, false);
	fcgi_receive(fd, &r);
	close(fd);
	ck_assert_int_eq(web_stop(&w), 0);
	return r.status;
}

START_TEST(test_tcp_peers_outside_the_list_are_refused)
{
	ck_assert_int_eq(over_tcp("127.0.0.0/8"), 200);
	ck_assert_int_eq(over_tcp(""), 200);
	ck_assert_int_eq(over_tcp("192.0.2.0/24"), 0);
}
END_TEST

START_TEST(test_wildcard_address_refuses_to_start)
{
	static const char *const addresses[] = {"0.0.0.0:9000", "[::]:9000", "*:9000"};

	for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
		struct web w = {.processes = 1};

		snprintf(w.dir, sizeof(w.dir), "%s", pg->dir);
		snprintf(w.socket, sizeof(w.socket), "%s", addresses[i]);
		web_spawn(&w, "api");
		ck_assert_int_eq(web_exit(&w), 1);
	}
}
END_TEST

START_TEST(test_public_address_without_tls_refuses_to_start)
{
	struct web w = {.processes = 1};

	snprintf(w.dir, sizeof(w.dir), "%s", pg->dir);
	snprintf(w.socket, sizeof(w.socket), "%s/socket", pg->dir);
	setenv("GPUPOOL_PUBLIC_URL", "http://gpu.example.org", 1);
	web_spawn(&w, "api");
	ck_assert_int_eq(web_exit(&w), 1);
}
END_TEST

START_TEST(test_second_server_on_the_same_socket_refuses)
{
	struct web w, second;

	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 1);
	second = w;
	web_spawn(&second, "api");
	ck_assert_int_eq(web_exit(&second), 1);
	ck_assert_ptr_nonnull(strstr(web_log(&w), "another process listens"));
	ck_assert_int_eq(status_of(&w, "/healthz"), 200);
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("faults");
	TCase *t = tcase_create("faults");
	int status;

	pg = pg_start();
	db = pg_db(pg, "web", "gpupool");
	people_make(db);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_killed_child_is_replaced);
	tcase_add_test(t, test_children_end_with_a_killed_master);
	tcase_add_test(t, test_term_in_mid_request_answers);
	tcase_add_test(t, test_term_while_the_database_works_answers);
	tcase_add_test(t, test_hup_makes_a_new_generation);
	tcase_add_test(t, test_hup_with_bad_settings_keeps_the_old);
	tcase_add_test(t, test_master_gives_up_on_children_that_die_young);
	tcase_add_test(t, test_slow_peer_stops_nobody);
	tcase_add_test(t, test_silent_peer_is_dropped);
	tcase_add_test(t, test_garbage_peers);
	tcase_add_test(t, test_client_that_leaves);
	tcase_add_test(t, test_tcp_peers_outside_the_list_are_refused);
	tcase_add_test(t, test_wildcard_address_refuses_to_start);
	tcase_add_test(t, test_public_address_without_tls_refuses_to_start);
	tcase_add_test(t, test_second_server_on_the_same_socket_refuses);
	suite_add_tcase(s, t);
	status = unit_run(s);
	db_close(db);
	return status;
}
