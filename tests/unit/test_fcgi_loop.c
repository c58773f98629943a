/* The FastCGI responder over a socketpair: every split of the input, and peers that misbehave. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "web/fcgi_loop.h"
#include "web/fcgi_params.h"

/* A handler that answers with what it saw: parameters as "name=value;", then the body. */
struct echo {
	struct buf seen;
	struct fcgi_call *call;
	int begun, gone, drained;
	bool answer, early;
};

static void echo_begin(void *ctx, struct fcgi_call *c, struct str params)
{
	struct echo *e = ctx;
	struct str name, value;
	bool ok;

	e->begun++;
	e->call = c;
	fcgi_set_user(c, e);
	buf_reset(&e->seen);
	while (fcgi_next_param(&params, &name, &value, &ok))
		buf_addf(&e->seen, "%.*s=%.*s;", STR_ARG(name), STR_ARG(value));
	if (!ok)
		buf_adds(&e->seen, "MALFORMED");
	if (e->early) {
		fcgi_write(c, STR("early"));
		fcgi_finish(c);
	}
}

static void echo_body(void *ctx, struct fcgi_call *c, struct str bytes, bool end)
{
	struct echo *e = ctx;

	ck_assert_ptr_eq(fcgi_user(c), e);
	buf_addstr(&e->seen, bytes);
	if (end && e->answer) {
		fcgi_write(c, buf_str(&e->seen));
		fcgi_finish(c);
	}
}

static void echo_gone(void *ctx, struct fcgi_call *c)
{
	struct echo *e = ctx;

	(void)c;
	e->gone++;
	e->call = NULL;
}

static void echo_drained(void *ctx, struct fcgi_call *c)
{
	struct echo *e = ctx;

	(void)c;
	e->drained++;
}

static const struct fcgi_handler handler = {echo_begin, echo_body, echo_drained, echo_gone};

struct rig {
	struct loop *loop;
	struct fcgi_server *server;
	struct echo echo;
	int peer;
	struct buf got; /* what the peer received */
};

static void rig_connect(struct rig *r)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	r->peer = fds[0];
	ck_assert(fcgi_server_adopt(r->server, fds[1]));
	buf_reset(&r->got);
}

static void rig_open(struct rig *r)
{
	*r = (struct rig){.echo = {.seen = BUF_INIT(1 << 20), .answer = true}, .got = BUF_INIT(128 << 20)};
	ck_assert_int_eq(loop_new(&r->loop), OK);
	ck_assert_int_eq(fcgi_server_new(r->loop, &fcgi_limits_usual, &handler, &r->echo, &r->server), OK);
	rig_connect(r);
}

static void rig_close(struct rig *r)
{
	fcgi_server_free(r->server);
	loop_free(r->loop);
	close(r->peer);
	buf_free(&r->echo.seen);
	buf_free(&r->got);
}

static void turn(struct rig *r)
{
	for (int i = 0; i < 3; i++)
		loop_turn(r->loop, 0, NULL);
}

static void feed(struct rig *r, struct str bytes)
{
	while (bytes.len) {
		ssize_t n = send(r->peer, bytes.ptr, bytes.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EPIPE)
			return;
		if (n > 0) {
			bytes.ptr += n;
			bytes.len -= (size_t)n;
		}
		turn(r);
	}
}

/* Reads what there is; true when the server closed the connection. */
static bool drain(struct rig *r)
{
	char bytes[65536];
	ssize_t n;

	while ((n = recv(r->peer, bytes, sizeof(bytes), 0)) > 0) {
		buf_add(&r->got, bytes, (size_t)n);
		turn(r);
	}
	return n == 0 || errno == ECONNRESET;
}

/* ---- records ---- */

static void record(struct buf *b, int type, int id, struct str content, int pad)
{
	char head[8] = {1, (char)type, (char)(id >> 8), (char)id, (char)(content.len >> 8), (char)content.len, (char)pad, 0};
	static const char zeros[255];

	buf_add(b, head, 8);
	buf_addstr(b, content);
	buf_add(b, zeros, (size_t)pad);
}

static void begin(struct buf *b, int id, int role, bool keep)
{
	char body[8] = {0, (char)role, keep, 0};

	record(b, 1, id, (struct str){body, 8}, 0);
}

static void request(struct buf *b, int id, bool keep, struct str params, struct str body)
{
	begin(b, id, 1, keep);
	record(b, 4, id, params, 5);
	record(b, 4, id, STR(""), 0);
	if (body.len)
		record(b, 5, id, body, 3);
	record(b, 5, id, STR(""), 0);
}

/* STDOUT joined; counts END records, and the protocol status of the last. */
static int parse_answer(struct str in, struct buf *out, int *status)
{
	int ends = 0;

	while (in.len >= 8) {
		const unsigned char *h = (const unsigned char *)in.ptr;
		size_t len = (size_t)h[4] << 8 | h[5];

		ck_assert_uint_ge(in.len, 8 + len + h[6]);
		if (h[1] == 6)
			buf_add(out, in.ptr + 8, len);
		if (h[1] == 3) {
			ends++;
			*status = in.ptr[12];
		}
		in.ptr += 8 + len + h[6];
		in.len -= 8 + len + h[6];
	}
	ck_assert_uint_eq(in.len, 0);
	return ends;
}

static void expect(struct rig *r, int ends, int status, const char *text)
{
	cleanup_buf struct buf out = BUF_INIT(1 << 20);
	int got = -1;

	drain(r);
	ck_assert_int_eq(parse_answer(buf_str(&r->got), &out, &got), ends);
	ck_assert_int_eq(got, status);
	ck_assert_str_eq(out.ptr ? out.ptr : "", text);
	buf_reset(&r->got);
}

#define PARAMS "\x01\x02" "Axy" "\x03\x00" "Bcd" "\x01\x80\x00\x00\x03" "Llll"
#define SAW "A=xy;Bcd=;L=lll;"

START_TEST(test_every_split)
{
	cleanup_buf struct buf in = BUF_INIT(4096);
	struct rig r;

	request(&in, 1, true, STR(PARAMS), STR("the body"));
	request(&in, 258, true, STR(PARAMS), STR(""));
	rig_open(&r);
	for (size_t at = 0; at <= in.len; at++) {
		feed(&r, (struct str){in.ptr, at});
		feed(&r, (struct str){in.ptr + at, in.len - at});
		expect(&r, 2, 0, SAW "the body" SAW);
	}
	for (size_t i = 0; i < in.len; i++)
		feed(&r, (struct str){in.ptr + i, 1});
	expect(&r, 2, 0, SAW "the body" SAW);
	ck_assert_int_eq(r.echo.gone, 0);
	ck_assert_int_eq(fcgi_server_connections(r.server), 1);
	rig_close(&r);
}
END_TEST

START_TEST(test_closes_unless_kept)
{
	cleanup_buf struct buf in = BUF_INIT(4096);
	struct rig r;

	request(&in, 1, false, STR(PARAMS), STR("x"));
	rig_open(&r);
	feed(&r, buf_str(&in));
	ck_assert(drain(&r));
	expect(&r, 1, 0, SAW "x");
	ck_assert_int_eq(fcgi_server_connections(r.server), 0);
	rig_close(&r);
}
END_TEST

/* Answered before the body came: the rest is read and thrown away, the connection lives. */
START_TEST(test_early_answer)
{
	cleanup_buf struct buf in = BUF_INIT(4096);
	struct rig r;

	rig_open(&r);
	r.echo.early = true;
	for (int i = 1; i <= 2; i++) {
		buf_reset(&in);
		request(&in, i, true, STR(PARAMS), STR("a body that nobody wants"));
		feed(&r, buf_str(&in));
		expect(&r, 1, 0, "early");
	}
	buf_reset(&in);
	request(&in, 3, false, STR(PARAMS), STR("x"));
	feed(&r, buf_str(&in));
	ck_assert(drain(&r));
	rig_close(&r);
}
END_TEST

START_TEST(test_no_multiplexing)
{
	cleanup_buf struct buf in = BUF_INIT(4096);
	struct rig r;

	rig_open(&r);
	r.echo.answer = false;
	request(&in, 1, true, STR(PARAMS), STR(""));
	begin(&in, 2, 1, true);
	record(&in, 4, 2, STR(PARAMS), 0);
	record(&in, 5, 2, STR("not ours"), 0);
	feed(&r, buf_str(&in));
	expect(&r, 1, 1, "");
	ck_assert_int_eq(r.echo.begun, 1);
	fcgi_write(r.echo.call, STR("first"));
	fcgi_finish(r.echo.call);
	turn(&r);
	expect(&r, 1, 0, "first");
	rig_close(&r);
}
END_TEST

START_TEST(test_abort_and_hangup)
{
	cleanup_buf struct buf in = BUF_INIT(4096);
	struct rig r;

	rig_open(&r);
	r.echo.answer = false;
	request(&in, 7, true, STR(PARAMS), STR(""));
	record(&in, 2, 7, STR(""), 0);
	feed(&r, buf_str(&in));
	ck_assert_int_eq(r.echo.gone, 1);
	expect(&r, 1, 0, "");
	buf_reset(&in);
	request(&in, 7, true, STR(PARAMS), STR(""));
	feed(&r, buf_str(&in));
	ck_assert_int_eq(r.echo.gone, 1);
	close(r.peer);
	turn(&r);
	ck_assert_int_eq(r.echo.gone, 2);
	ck_assert_int_eq(fcgi_server_connections(r.server), 0);
	rig_connect(&r);
	rig_close(&r);
}
END_TEST

START_TEST(test_other_roles_and_management)
{
	cleanup_buf struct buf in = BUF_INIT(1 << 20);
	struct rig r;

	rig_open(&r);
	begin(&in, 1, 2, true);
	feed(&r, buf_str(&in));
	expect(&r, 1, 3, "");
	buf_reset(&in);
	record(&in, 9, 0, STR("\x0f\x00" "FCGI_MPXS_CONNS"), 0);
	record(&in, 77, 0, STR(""), 0);
	feed(&r, buf_str(&in));
	drain(&r);
	ck_assert_uint_eq(r.got.len, 8 + 18 + 8 + 8);
	ck_assert_mem_eq(r.got.ptr + 8, "\x0f\x01" "FCGI_MPXS_CONNS0", 18);
	ck_assert_int_eq(r.got.ptr[8 + 18 + 1], 11);
	buf_reset(&in);
	for (int i = 0; i < 60000; i++)
		record(&in, 77, 0, STR(""), 0);
	feed(&r, buf_str(&in)); /* never read */
	ck_assert(drain(&r));
	rig_close(&r);
}
END_TEST

static const struct {
	const char *what;
	struct str bytes;
} garbage[] = {
	{"another protocol", {"GET / HTTP/1.0\r\n\r\n", 18}},
	{"another version", {"\2\1\0\1\0\10\0\0", 8}},
	{"BEGIN too short", {"\1\1\0\1\0\7\0\0", 8}},
	{"BEGIN too long", {"\1\1\0\1\1\10\0\0", 8}},
	{"BEGIN twice", {"\1\1\0\1\0\10\0\0\0\1\1\0\0\0\0\0\1\1\0\1\0\10\0\0", 24}},
	{"STDIN before PARAMS end", {"\1\1\0\1\0\10\0\0\0\1\1\0\0\0\0\0\1\5\0\1\0\1\0\0", 24}},
	{"PARAMS after PARAMS end", {"\1\1\0\1\0\10\0\0\0\1\1\0\0\0\0\0\1\4\0\1\0\0\0\0\1\4\0\1\0\1\0\0", 32}},
};

START_TEST(test_garbage_is_cut_off)
{
	struct rig r;

	rig_open(&r);
	feed(&r, garbage[_i].bytes);
	ck_assert_msg(drain(&r), "%s", garbage[_i].what);
	ck_assert_int_eq(fcgi_server_connections(r.server), 0);
	ck_assert_int_eq(r.echo.begun, r.echo.gone);
	rig_close(&r);
}
END_TEST

/* After a good BEGIN, one with the null id and more content than a BEGIN has. */
START_TEST(test_begin_that_is_none)
{
	cleanup_buf struct buf in = BUF_INIT(1 << 16);
	static char long_body[4000];
	struct rig r;

	rig_open(&r);
	request(&in, 1, true, STR(PARAMS), STR(""));
	record(&in, 1, 0, (struct str){long_body, sizeof(long_body)}, 7);
	request(&in, 1, true, STR(PARAMS), STR(""));
	feed(&r, buf_str(&in));
	expect(&r, 2, 0, SAW SAW);
	rig_close(&r);
}
END_TEST

START_TEST(test_params_have_a_limit)
{
	cleanup_buf struct buf in = BUF_INIT(1 << 20);
	cleanup_buf struct buf big = BUF_INIT(1 << 20);
	struct rig r;

	rig_open(&r);
	begin(&in, 1, 1, true);
	for (int i = 0; i < 60000; i++)
		buf_addc(&big, 'x');
	record(&in, 4, 1, buf_str(&big), 0);
	record(&in, 4, 1, buf_str(&big), 0);
	feed(&r, buf_str(&in));
	ck_assert(drain(&r));
	ck_assert_int_eq(r.echo.begun, 0);
	rig_close(&r);
}
END_TEST

static const struct {
	struct str params;
	const char *saw;
} odd_params[] = {
	{{"\x05\x00" "ab", 4}, "MALFORMED"},
	{{"\x01", 1}, "MALFORMED"},
	{{"\x80\x00", 2}, "MALFORMED"},
	{{"\xff\xff\xff\xff\xff\xff\xff\xff", 8}, "MALFORMED"},
	{{"\xff\xff\xff\xfe\xff\xff\xff\xfe" "aa", 10}, "MALFORMED"},
	{{"\x01\x01" "ab\x01\x7f", 6}, "a=b;MALFORMED"},
};

START_TEST(test_odd_params)
{
	cleanup_buf struct buf in = BUF_INIT(4096);
	struct rig r;

	rig_open(&r);
	request(&in, 1, true, odd_params[_i].params, STR(""));
	feed(&r, buf_str(&in));
	expect(&r, 1, 0, odd_params[_i].saw);
	rig_close(&r);
}
END_TEST

/* 3 MB to a peer that reads slowly arrive whole; drained() comes when they have left. */
START_TEST(test_slow_reader)
{
	cleanup_buf struct buf in = BUF_INIT(4096), out = BUF_INIT(8 << 20);
	static char big[3 << 20];
	struct rig r;
	int status;

	memset(big, 'z', sizeof(big));
	rig_open(&r);
	r.echo.answer = false;
	request(&in, 1, true, STR(PARAMS), STR(""));
	feed(&r, buf_str(&in));
	fcgi_write(r.echo.call, (struct str){big, sizeof(big)});
	turn(&r);
	ck_assert_uint_gt(fcgi_pending(r.echo.call), 0);
	ck_assert_int_eq(r.echo.drained, 0);
	for (int i = 0; i < 100000 && !r.echo.drained; i++) {
		char some[4096];
		ssize_t n = recv(r.peer, some, sizeof(some), 0);

		if (n > 0)
			buf_add(&r.got, some, (size_t)n);
		turn(&r);
	}
	ck_assert_int_eq(r.echo.drained, 1);
	fcgi_finish(r.echo.call);
	turn(&r);
	drain(&r);
	ck_assert_int_eq(parse_answer(buf_str(&r.got), &out, &status), 1);
	ck_assert_uint_eq(out.len, sizeof(big));
	rig_close(&r);
}
END_TEST

static const struct {
	const char *what;
	bool begin, body, answer_pending;
	int after_ms;
} silences[] = {
	{"before a request", false, false, false, 76000},
	{"within the parameters", true, false, false, 11500},
	{"within the body", true, true, false, 61500},
	{"not reading its answer", true, true, true, 31500},
};

START_TEST(test_silent_peers_are_cut_off)
{
	cleanup_buf struct buf in = BUF_INIT(4096);
	static char big[1 << 20];
	struct rig r;

	clock_fake(1000000);
	rig_open(&r);
	r.echo.answer = false;
	if (silences[_i].begin)
		begin(&in, 1, 1, true);
	if (silences[_i].body) {
		record(&in, 4, 1, STR(""), 0);
		record(&in, 5, 1, STR("x"), 0);
	}
	if (silences[_i].answer_pending)
		record(&in, 5, 1, STR(""), 0);
	feed(&r, buf_str(&in));
	if (silences[_i].answer_pending)
		fcgi_write(r.echo.call, (struct str){big, sizeof(big)});
	turn(&r);
	clock_fake(1000000 + silences[_i].after_ms - 3000);
	turn(&r);
	ck_assert_int_eq(fcgi_server_connections(r.server), 1);
	clock_fake(1000000 + silences[_i].after_ms);
	turn(&r);
	ck_assert_msg(fcgi_server_connections(r.server) == 0, "%s", silences[_i].what);
	rig_close(&r);
	clock_real();
}
END_TEST

/* An answer may take as long as it likes: parked agents are the purpose. */
START_TEST(test_parked_calls_stay)
{
	cleanup_buf struct buf in = BUF_INIT(4096);
	struct rig r;

	clock_fake(1000000);
	rig_open(&r);
	r.echo.answer = false;
	request(&in, 1, true, STR(PARAMS), STR(""));
	feed(&r, buf_str(&in));
	clock_fake(5000000);
	turn(&r);
	ck_assert_int_eq(fcgi_server_connections(r.server), 1);
	ck_assert_int_eq(r.echo.gone, 0);
	rig_close(&r);
	clock_real();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fcgi_loop");
	TCase *t = tcase_create("fcgi_loop");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 30);
	tcase_add_test(t, test_every_split);
	tcase_add_test(t, test_closes_unless_kept);
	tcase_add_test(t, test_early_answer);
	tcase_add_test(t, test_no_multiplexing);
	tcase_add_test(t, test_abort_and_hangup);
	tcase_add_test(t, test_other_roles_and_management);
	tcase_add_loop_test(t, test_garbage_is_cut_off, 0, ARRAY_LEN(garbage));
	tcase_add_test(t, test_begin_that_is_none);
	tcase_add_test(t, test_params_have_a_limit);
	tcase_add_loop_test(t, test_odd_params, 0, ARRAY_LEN(odd_params));
	tcase_add_test(t, test_slow_reader);
	tcase_add_loop_test(t, test_silent_peers_are_cut_off, 0, ARRAY_LEN(silences));
	tcase_add_test(t, test_parked_calls_stay);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
