/* peer - a server that answers with exactly the bytes given.  See peer.h. */
#include "peer.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"

enum { RECEIVED_MOST = 8 << 20 };

struct connection {
	struct peer *peer;
	int fd;
};

static void write_all(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		bytes += n;
		len -= (size_t)n;
	}
}

/* Whether b holds a whole request, with as much body as its header says. */
static bool is_whole(const struct buf *b)
{
	const char *end = b->len ? strstr(b->ptr, "\r\n\r\n") : NULL;
	const char *length = end ? strcasestr(b->ptr, "\r\nContent-Length: ") : NULL;
	size_t body = length && length < end ? strtoul(length + 18, NULL, 10) : 0;

	return end && b->len >= (size_t)(end + 4 - b->ptr) + body;
}

/* The answer to the next request of this connection, or NULL at its end. */
static const struct peer_answer *next_answer(struct connection *c)
{
	cleanup_buf struct buf request = BUF_INIT(RECEIVED_MOST);
	const struct peer_answer *answer = NULL;
	struct peer *p = c->peer;
	char bytes[4096];
	ssize_t n;

	do {
		n = recv(c->fd, bytes, sizeof(bytes), 0);
		buf_add(&request, bytes, n > 0 ? (size_t)n : 0);
	} while (n > 0 && !is_whole(&request));
	pthread_mutex_lock(&p->lock);
	buf_addstr(&p->received, buf_str(&request));
	if (is_whole(&request) && p->answered < p->count)
		answer = &p->answers[p->answered++];
	pthread_mutex_unlock(&p->lock);
	return answer;
}

static void *serve_connection(void *ctx)
{
	struct connection *c = ctx;
	const struct peer_answer *answer;
	char byte;

	while ((answer = next_answer(c))) {
		write_all(c->fd, answer->bytes, strlen(answer->bytes));
		if (answer->then == PEER_WAIT)
			while (recv(c->fd, &byte, 1, 0) > 0)
				;
		if (answer->then != PEER_KEEP)
			break;
	}
	close(c->fd);
	free(c);
	return NULL;
}

static void *serve(void *ctx)
{
	struct peer *p = ctx;
	pthread_t thread;
	int fd;

	while ((fd = accept(p->fd, NULL, NULL)) >= 0) {
		struct connection *c = malloc(sizeof(*c));

		if (!c)
			error_no_memory();
		*c = (struct connection){p, fd};
		pthread_mutex_lock(&p->lock);
		p->connections++;
		pthread_mutex_unlock(&p->lock);
		if (pthread_create(&thread, NULL, serve_connection, c))
			BUG("no thread");
		pthread_detach(thread);
	}
	return NULL;
}

void peer_start(struct peer *p, const char *unix_path, const struct peer_answer *answers, size_t count)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr *address = unix_path ? (struct sockaddr *)&un : (struct sockaddr *)&in;
	socklen_t len = unix_path ? sizeof(un) : sizeof(in);

	*p = (struct peer){.answers = answers, .count = count, .received = BUF_INIT(RECEIVED_MOST)};
	pthread_mutex_init(&p->lock, NULL);
	if (unix_path)
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", unix_path);
	p->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->fd < 0 || bind(p->fd, address, len) || listen(p->fd, 16))
		BUG("cannot listen");
	if (!unix_path && getsockname(p->fd, (struct sockaddr *)&in, &len))
		BUG("getsockname");
	p->port = ntohs(in.sin_port);
	if (pthread_create(&p->thread, NULL, serve, p))
		BUG("no thread");
}

const char *peer_stop(struct peer *p)
{
	shutdown(p->fd, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->fd);
	/* For good: connections still open must not add to what is now read. */
	pthread_mutex_lock(&p->lock);
	return buf_str(&p->received).ptr;
}

void peer_free(struct peer *p)
{
	buf_free(&p->received);
}
