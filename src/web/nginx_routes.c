/* nginx_routes - location blocks from the route table.  See web/nginx_routes.h. */
#include "web/nginx_routes.h"

#include <string.h>

#include "web/routes.h"

/* Above this a location block says its own limit; nginx's default here is 1 MiB. */
enum { DEFAULT_BODY = 1 << 20 };

/* All rows of one path together. */
struct place {
	const char *path;
	enum serves serves;
	unsigned flags;
	size_t max_body;
	bool signs_in;
	bool secret_body; /* a body that nginx may not put on the disk */
};

static struct place place_of(const char *path)
{
	struct place p = {.path = path};

	for (size_t i = 0; i < route_count; i++) {
		const struct route *r = &routes[i];

		if (strcmp(r->path, path) != 0)
			continue;
		p.serves = r->serves;
		p.flags |= r->flags;
		if (r->max_body > p.max_body)
			p.max_body = r->max_body;
		p.signs_in |= method_writes(r->method) && r->auth == AUTH_NONE;
		p.secret_body |= schema_has_secret(r->body);
	}
	return p;
}

static bool comes_first(size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (!strcmp(routes[k].path, routes[i].path))
			return false;
	return true;
}

/* "= /path" without captures, else a regular expression. */
static void add_location(struct buf *b, const char *path)
{
	struct str rest = str_of(path + 1), part;

	if (!strstr(path, "/:")) {
		buf_addf(b, "location = %s {\n", path);
		return;
	}
	buf_adds(b, "location ~ ^");
	while (str_cut(&rest, '/', &part)) {
		buf_addc(b, '/');
		if (part.len && part.ptr[0] == ':') {
			buf_adds(b, part.ptr[part.len - 1] == '*' ? ".+" : "[^/]+");
			continue;
		}
		for (size_t i = 0; i < part.len; i++)
			buf_addf(b, "%s%c", part.ptr[i] == '.' ? "\\" : "", part.ptr[i]);
	}
	buf_adds(b, "$ {\n");
}

static void add_place(struct buf *b, const struct place *p)
{
	bool events = p->serves == SERVES_EVENTS, secrets = p->serves == SERVES_SECRETS;

	add_location(b, p->path);
	if (p->signs_in && !events)
		buf_adds(b, "    limit_req zone=gpupool_signin burst=10 nodelay;\n");
	else if (!events)
		buf_adds(b, "    limit_req zone=gpupool_calls burst=200 nodelay;\n"
			    "    limit_req zone=gpupool_addresses burst=1000 nodelay;\n");
	buf_addf(b, "    fastcgi_pass gpupool_%s;\n", serves_name(p->serves));
	if (events)
		buf_adds(b, "    fastcgi_keep_conn on;\n");
	if (secrets)
		buf_adds(b, "    gzip off;\n");
	if (p->flags & ROUTE_STREAM)
		buf_adds(b, "    fastcgi_buffering off;\n    fastcgi_request_buffering off;\n    gzip off;\n");
	if (p->flags & (ROUTE_STREAM | ROUTE_WAITS))
		buf_adds(b, "    fastcgi_read_timeout 120s;\n");
	if (p->max_body > DEFAULT_BODY || (p->signs_in && p->max_body))
		buf_addf(b, "    client_max_body_size %zuk;\n", (p->max_body + 1023) >> 10);
	if (p->secret_body)
		buf_addf(b, "    client_body_buffer_size %zuk;\n", (p->max_body + 1023) >> 10);
	buf_adds(b, "}\n");
}

void nginx_routes(struct buf *b)
{
	buf_adds(b, "# Made from the route table by gpupool-web --print-nginx.\n");
	for (size_t i = 0; i < route_count; i++) {
		struct place p;

		if (!comes_first(i))
			continue;
		p = place_of(routes[i].path);
		/* What needs nothing of its own is served by `location /`. */
		if (p.serves != SERVES_API || p.signs_in || p.secret_body || p.max_body > DEFAULT_BODY)
			add_place(b, &p);
	}
}

bool nginx_routes_print(FILE *out)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 20);

	nginx_routes(&b);
	return fwrite(b.ptr, 1, b.len, out) == b.len && !fflush(out);
}
