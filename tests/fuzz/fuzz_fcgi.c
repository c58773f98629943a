/*
 * Fuzzes the FastCGI responder: the input arrives on a connection in pieces
 * whose sizes its first byte chooses; the handler reads the parameters and
 * answers some calls early, some at the end, and leaves some open.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "web/fcgi_loop.h"
#include "web/fcgi_params.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len);

static unsigned calls, open_calls;

static void on_begin(void *ctx, struct fcgi_call *c, struct str params)
{
	struct str name, value;
	unsigned sum = 0;
	bool ok;

	(void)ctx;
	while (fcgi_next_param(&params, &name, &value, &ok))
		for (size_t i = 0; i < value.len; i++)
			sum += (unsigned char)value.ptr[i];
	open_calls++;
	if (++calls % 5 == 0) {
		fcgi_write(c, STR("early"));
		open_calls--;
		if (sum & 1)
			fcgi_drop(c);
		else
			fcgi_finish(c);
	}
}

static void on_body(void *ctx, struct fcgi_call *c, struct str bytes, bool end)
{
	(void)ctx;
	fcgi_write(c, bytes);
	if (end && calls % 3) {
		open_calls--;
		fcgi_finish(c);
	}
}

static void on_gone(void *ctx, struct fcgi_call *c)
{
	(void)ctx;
	(void)c;
	open_calls--;
}

static const struct fcgi_handler handler = {on_begin, on_body, NULL, on_gone};

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len)
{
	static bool quiet;
	struct fcgi_server *s;
	struct loop *l;
	int fds[2];
	size_t piece;

	if (!quiet)
		log_init("fuzz", LOG_ERROR);
	quiet = true;
	if (!len || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds))
		return 0;
	piece = (size_t)bytes[0] * bytes[0] + 1;
	bytes++;
	len--;
	if (loop_new(&l) || fcgi_server_new(l, &fcgi_limits_usual, &handler, NULL, &s) || !fcgi_server_adopt(s, fds[1]))
		abort();
	while (len) {
		char got[4096];
		size_t n = piece < len ? piece : len;
		ssize_t sent = send(fds[0], bytes, n, MSG_NOSIGNAL);

		if (sent <= 0)
			break;
		bytes += sent;
		len -= (size_t)sent;
		loop_turn(l, 0, NULL);
		while (recv(fds[0], got, sizeof(got), 0) > 0)
			;
	}
	close(fds[0]);
	loop_turn(l, 0, NULL);
	fcgi_server_free(s);
	loop_free(l);
	if (open_calls)
		abort();
	return 0;
}
