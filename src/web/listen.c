/* listen - sockets for FastCGI.  See web/listen.h. */
#include "web/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

enum { SYSTEMD_FD = 3 };

/* ---- peers ------------------------------------------------------------------- */

struct address {
	int family;
	unsigned char bytes[16];
};

static bool parse_address(struct str text, struct address *ret)
{
	char buf[INET6_ADDRSTRLEN];
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (!text.len || text.len >= sizeof(buf))
		return false;
	snprintf(buf, sizeof(buf), "%.*s", STR_ARG(text));
	if (inet_pton(AF_INET, buf, ret->bytes) == 1) {
		ret->family = AF_INET;
		return true;
	}
	if (inet_pton(AF_INET6, buf, ret->bytes) != 1)
		return false;
	ret->family = AF_INET6;
	if (!memcmp(ret->bytes, mapped, sizeof(mapped))) {
		ret->family = AF_INET;
		memmove(ret->bytes, ret->bytes + 12, 4);
	}
	return true;
}

static bool same_prefix(const unsigned char *a, const unsigned char *b, int64_t bits)
{
	size_t whole = (size_t)bits / 8;
	unsigned mask = 0xff00u >> (bits % 8) & 0xff;

	return !memcmp(a, b, whole) && ((a[whole] ^ b[whole]) & mask) == 0;
}

bool listen_peer_allowed(const char *peers, const char *address)
{
	struct str rest = str_of(*peers ? peers : "127.0.0.1,::1"), item, text;
	struct address peer, net;
	int64_t bits, most;

	if (!parse_address(str_of(address), &peer))
		return false;
	while (str_cut(&rest, ',', &item)) {
		item = str_trim(item);
		if (!str_cut(&item, '/', &text) || !parse_address(text, &net) || net.family != peer.family)
			continue;
		most = net.family == AF_INET ? 32 : 128;
		bits = most;
		if (item.ptr && !str_to_i64(item, 0, most, &bits))
			continue;
		/* The byte after the last is never looked at for a full prefix. */
		if (bits == most ? !memcmp(net.bytes, peer.bytes, (size_t)most / 8) : same_prefix(net.bytes, peer.bytes, bits))
			return true;
	}
	return false;
}

/* ---- opening ------------------------------------------------------------------- */

static bool is_unix(const char *address)
{
	return strchr(address, '/') != NULL;
}

static enum err fail(struct error *e, const char *what, const char *address)
{
	return error_field(e, errno == EADDRINUSE ? ERR_CONFLICT : ERR_INVALID, "listen", "%s %.100s: %s", what, address,
			   strerror(errno));
}

/* A socket file may be left from a process that was killed: nobody answers then. */
static bool somebody_listens(const struct sockaddr_un *sun)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && !connect(fd, (const struct sockaddr *)sun, sizeof(*sun));
}

static enum err set_group(const char *path, const char *group, struct error *e)
{
	struct group *g;

	if (!*group)
		return OK;
	g = getgrnam(group);
	if (!g)
		return error_field(e, ERR_INVALID, "listen_group", "there is no group %.64s", group);
	if (chown(path, (uid_t)-1, g->gr_gid))
		return fail(e, "cannot give to the group of listen_group the socket", path);
	return OK;
}

static enum err open_unix(const struct config *c, int *ret, struct error *e)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask;
	int bound;
	enum err err;

	if (strlen(c->listen) >= sizeof(sun.sun_path))
		return error_field(e, ERR_INVALID, "listen", "the path of the socket has more than %zu bytes: %.100s",
				   sizeof(sun.sun_path) - 1, c->listen);
	memcpy(sun.sun_path, c->listen, strlen(c->listen) + 1);
	if (fd < 0)
		return fail(e, "no socket for", c->listen);
	if (somebody_listens(&sun))
		return error_field(e, ERR_CONFLICT, "listen", "another process listens on %.100s", c->listen);
	if (unlink(c->listen) && errno != ENOENT)
		return fail(e, "cannot replace", c->listen);
	/* Nobody may connect before mode and group are right. */
	mask = umask(0177);
	bound = bind(fd, (struct sockaddr *)&sun, sizeof(sun));
	umask(mask);
	if (bound)
		return fail(e, "cannot bind", c->listen);
	err = set_group(c->listen, c->listen_group, e);
	if (err)
		return err;
	if (chmod(c->listen, 0660) || listen(fd, LISTEN_BACKLOG))
		return fail(e, "cannot listen on", c->listen);
	*ret = steal_fd(&fd);
	return OK;
}

static enum err open_tcp(const struct config *c, int *ret, struct error *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *found;
	const char *colon = strrchr(c->listen, ':');
	cleanup_fd int fd = -1;
	char host[256];
	int on = 1, rc;

	if (!colon)
		return error_field(e, ERR_INVALID, "listen", "must be a path or host:port: %.100s", c->listen);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - c->listen), c->listen);
	if (host[0] == '[' && host[strlen(host) - 1] == ']') {
		host[strlen(host) - 1] = '\0';
		memmove(host, host + 1, strlen(host));
	}
	rc = getaddrinfo(host, colon + 1, &hints, &found);
	if (rc)
		return error_field(e, ERR_INVALID, "listen", "cannot find %.100s: %s", c->listen, gai_strerror(rc));
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	     bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, LISTEN_BACKLOG);
	freeaddrinfo(found);
	if (rc)
		return fail(e, "cannot listen on", c->listen);
	*ret = steal_fd(&fd);
	return OK;
}

/* systemd's protocol: LISTEN_PID is us, and there is exactly one descriptor. */
static bool from_systemd(int *ret)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	int64_t n;

	if (!pid || !fds || !str_to_id(str_of(pid), &n) || n != getpid() || strcmp(fds, "1") != 0)
		return false;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	if (fcntl(SYSTEMD_FD, F_SETFD, FD_CLOEXEC) || fcntl(SYSTEMD_FD, F_SETFL, O_NONBLOCK))
		return false;
	*ret = SYSTEMD_FD;
	return true;
}

/* A full backlog of a unix socket is an instant 502, so it should be long. */
static void check_somaxconn(void)
{
	cleanup_file FILE *f = fopen("/proc/sys/net/core/somaxconn", "r");
	char line[32] = "";
	int64_t n;

	if (f && fgets(line, sizeof(line), f) && str_to_id(str_trim(str_of(line)), &n) && n < LISTEN_BACKLOG)
		log_warn("listen.backlog", "somaxconn=%lld wanted=%d mend=\"sysctl net.core.somaxconn=%d\"", (long long)n,
			 LISTEN_BACKLOG, LISTEN_BACKLOG);
}

enum err listen_open(const struct config *c, int *ret, struct error *e)
{
	check_somaxconn();
	if (from_systemd(ret))
		return OK;
	return is_unix(c->listen) ? open_unix(c, ret, e) : open_tcp(c, ret, e);
}

void listen_close(const struct config *c, int fd)
{
	if (fd != SYSTEMD_FD && is_unix(c->listen))
		unlink(c->listen);
	close(fd);
}

/* ---- accepting -------------------------------------------------------------------- */

static bool peer_text(const struct sockaddr_storage *from, char *ret, size_t cap)
{
	const void *bytes = from->ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)from)->sin_addr
						       : (const void *)&((const struct sockaddr_in6 *)from)->sin6_addr;

	return inet_ntop(from->ss_family, bytes, ret, (socklen_t)cap) != NULL;
}

static enum accepted accept_failed(int error)
{
	switch (error) {
	case EAGAIN:
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case EPERM:
	case ETIMEDOUT: return ACCEPT_NONE;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM: log_warn("accept", "error=\"%s\"", strerror(error)); return ACCEPT_FULL;
	default: log_error("accept", "error=\"%s\"", strerror(error)); return ACCEPT_BROKEN;
	}
}

enum accepted listen_accept(int listen_fd, const char *peers, bool nonblock, int *ret)
{
	struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(from);
	char text[INET6_ADDRSTRLEN] = "?";
	int fd = accept4(listen_fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0));

	if (fd < 0)
		return accept_failed(errno);
	if ((from.ss_family == AF_INET || from.ss_family == AF_INET6) &&
	    (!peer_text(&from, text, sizeof(text)) || !listen_peer_allowed(peers, text))) {
		log_warn("accept.refused", "peer=%s", text);
		close(fd);
		return ACCEPT_NONE;
	}
	*ret = fd;
	return ACCEPTED;
}
