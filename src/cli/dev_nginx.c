/* dev_nginx - the configuration of `gpupool dev`'s own nginx.  See cli/dev.h. */
#include "cli/dev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/nginx_conf.h"

static enum err find_nginx(struct dev *d, struct error *e)
{
	static const char *const places[] = {"/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx"};

	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (access(places[i], X_OK) == 0) {
			d->nginx = places[i];
			return OK;
		}
	return error_set(e, ERR_NOT_FOUND, "nginx is not installed: apt-get install nginx-light");
}

/* Said now and clearly, rather than by nginx in its log. */
static enum err check_port(struct dev *d, struct error *e)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)d->config.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (d->config.port < 1024)
		return error_set(e, ERR_INVALID, "GPUPOOL_PORT must be at least 1024: nginx does not run as root here");
	if (fd < 0)
		return error_set(e, ERR_INTERNAL, "no socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 1))
		return error_set(e, ERR_CONFLICT, "port %d: %s; choose another with GPUPOOL_PORT", (int)d->config.port, strerror(errno));
	return OK;
}

/* As many open files as the limit lets us have, for us and all we start. */
static long raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 1024;
	limit.rlim_cur = limit.rlim_max > 1 << 20 ? 1 << 20 : limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	return (long)limit.rlim_cur;
}

static enum err fill(struct dev *d, const char *asset, const struct nginx_value *values, const char *to, struct error *e)
{
	cleanup_buf struct buf text = {0};
	enum err err = nginx_conf_fill(asset, values, &text, e);

	return err ? err : files_write(dev_text(d, "%s/nginx/%s", d->run, to), buf_str(&text), 0644, OWNER_SELF, e);
}

/* The route table's own blocks, as the program prints them. */
static enum err write_routes(struct dev *d, struct error *e)
{
	const char *program = dev_text(d, "%s/bin/gpupool-web", d->run), *path = dev_text(d, "%s/nginx/routes.conf", d->run);
	const char *argv[] = {program, "--print-nginx", NULL}, *env[] = {"LANG=C.UTF-8", NULL};
	cleanup_fd int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (out < 0)
		return error_set(e, ERR_INTERNAL, "cannot write %s: %s", path, strerror(errno));
	return process_run(&(struct spawn){.path = program, .argv = argv, .env = env, .as = IDENTITY_SELF, .output = out}, "gpupool-web --print-nginx", e);
}

enum err dev_nginx_prepare(struct dev *d, struct error *e)
{
	long files = raise_files(), connections = nginx_connections((long)d->config.max_parked);
	enum err err = find_nginx(d, e);

	if (!err)
		err = check_port(d, e);
	if (err)
		return err;
	if (connections > files - 64) {
		dev_say("note: %ld open files allowed, %ld wanted for GPUPOOL_MAX_PARKED=%d (ulimit -n)", files, connections + 64, (int)d->config.max_parked);
		connections = files - 64;
	}
	const struct nginx_value values[] = {
		{"RUN", dev_text(d, "%s/nginx", d->run)},
		{"CONF", dev_text(d, "%s/nginx/gpupool.conf", d->run)},
		{"ROUTES", dev_text(d, "%s/nginx/routes.conf", d->run)},
		{"WORKERS", "2"},
		{"NOFILE", dev_text(d, "%ld", connections + 64)},
		{"CONNECTIONS", dev_text(d, "%ld", connections)},
		{"API", dev_text(d, "unix:%s/api/socket", d->run)},
		{"EVENTS", dev_text(d, "unix:%s/events/socket", d->run)},
		{"SECRETS", dev_text(d, "unix:%s/secrets/socket", d->run)},
		{"LOOPBACK_LIMITED", "0"},
		{"SIGNIN_RATE", d->config.signin_rate},
		{"ADDRESS_RATE", d->config.address_rate},
		{"API_RATE", d->config.api_rate},
		{"LISTEN", dev_text(d, "127.0.0.1:%d", (int)d->config.port)},
		{"SERVER_NAME", "_"},
		{"STATIC", dev_text(d, "%s/static", d->run)},
		{"STORE", dev_text(d, "%s/store", d->data)},
		{"ACCESS_LOG", "/dev/stdout"},
		{NULL, NULL},
	};
	err = fill(d, "nginx/main.conf", values, "nginx.conf", e);
	if (!err)
		err = fill(d, "nginx/gpupool.conf", values, "gpupool.conf", e);
	return err ? err : write_routes(d, e);
}
