/* cmd_artifacts - lists a job's artifacts, and brings them here. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"
#include "cli/commands.h"
#include "cli/output.h"

enum { SEGMENTS_MOST = 8, SEGMENT_MOST = 128, FETCH_MS = 24 * 3600 * 1000 };

static const struct column columns[] = {
	{"NAME", "name", SHOW_TEXT},
	{"SIZE", "size", SHOW_BYTES},
	{"SHA256", "sha256", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

/* C0, DEL, and C1 in UTF-8. */
static bool is_control(struct str s)
{
	unsigned char c = (unsigned char)s.ptr[0];

	return c < ' ' || c == 0x7f || (c == 0xc2 && s.len > 1 && (unsigned char)s.ptr[1] < 0xa0);
}

/* The name becomes a path here: no part of it may lead elsewhere or steer a terminal. */
static bool is_safe(struct str name)
{
	struct str segment;
	int n = 0;

	if (!name.len)
		return false;
	while (str_cut(&name, '/', &segment)) {
		if (++n > SEGMENTS_MOST || !segment.len || segment.len > SEGMENT_MOST || str_eqz(segment, ".") || str_eqz(segment, ".."))
			return false;
		for (size_t i = 0; i < segment.len; i++)
			if (is_control((struct str){segment.ptr + i, segment.len - i}))
				return false;
	}
	return true;
}

struct download {
	int fd;
	int64_t size;
	struct crypto_sha256 sum;
	struct progress bar;
	const char *name;
	int64_t expected;
};

static bool save(void *ctx, struct str bytes)
{
	struct download *d = ctx;
	size_t done = 0;

	while (done < bytes.len) {
		ssize_t n = write(d->fd, bytes.ptr + done, bytes.len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		done += (size_t)n;
	}
	d->size += (int64_t)bytes.len;
	crypto_sha256_add(&d->sum, bytes.ptr, bytes.len);
	progress_draw(&d->bar, d->name, d->expected ? (double)d->size / (double)d->expected : -1, STR(""));
	return !cli_interrupted();
}

/* Opens the directory part of name below dir, making what is missing and
 * following no link; *last is the file's own part. */
static int open_parent(int dir, char *name, char **last)
{
	int fd = dup(dir);

	*last = name;
	for (char *slash; fd >= 0 && (slash = strchr(*last, '/')); *last = slash + 1) {
		int next;

		*slash = '\0';
		mkdirat(fd, *last, 0777);
		next = openat(fd, *last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(fd);
		fd = next;
		*slash = '/';
	}
	return fd;
}

/* Where the server told a hash; else the transfer itself would have failed. */
static bool is_whole(const struct download *d, const struct json *artifact)
{
	struct crypto_sha256 sum = d->sum;
	uint8_t got[CRYPTO_SHA256], told[CRYPTO_SHA256];

	if (!json_has(artifact, "sha256"))
		return true;
	crypto_sha256_end(&sum, got);
	return d->size == d->expected && crypto_unhex(json_str(artifact, "sha256"), told, sizeof(told)) && !memcmp(got, told, sizeof(got));
}

/* Under a temporary name until it is whole and its hash is right. */
static enum err fetch(struct cli *cli, const char *path, int dir, const struct json *artifact, struct error *e)
{
	struct download d = {.fd = -1, .expected = json_i64(artifact, "size", 0), .name = json_cstr(artifact, "name")};
	char *name = cli_text(cli, "%s", d.name), *last;
	const char *temporary = ".gpupool-partial";
	cleanup_fd int parent = open_parent(dir, name, &last);
	enum err err;

	if (parent >= 0) {
		unlinkat(parent, temporary, 0);
		d.fd = openat(parent, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	}
	if (d.fd < 0)
		return error_set(e, ERR_INTERNAL, "cannot write %s: %s", d.name, strerror(errno));
	crypto_sha256_init(&d.sum);
	err = rest_stream(&cli->rest, path, "*/*", FETCH_MS, save, &d, e);
	progress_end(&d.bar);
	if (!err && !is_whole(&d, artifact))
		err = error_set(e, ERR_UPSTREAM, "%s arrived damaged: size or sha256 differ", d.name);
	if (close(d.fd) && !err)
		err = error_set(e, ERR_INTERNAL, "cannot write %s: %s", d.name, strerror(errno));
	if (!err && renameat(parent, temporary, parent, last))
		err = error_set(e, ERR_INTERNAL, "cannot write %s: %s", d.name, strerror(errno));
	if (err)
		unlinkat(parent, temporary, 0);
	return err;
}

static bool is_wanted(const struct cli *cli, const char *name)
{
	for (int i = 1; i < cli->arg_count; i++)
		if (!strcmp(cli->args[i], name))
			return true;
	return cli->arg_count == 1;
}

/* "base/a/b%20c" */
static const char *url_of(struct cli *cli, const char *base, struct str name)
{
	cleanup_buf struct buf url = BUF_INIT(64 << 10);
	struct str segment;

	buf_adds(&url, base);
	while (str_cut(&name, '/', &segment)) {
		buf_addc(&url, '/');
		buf_add_url(&url, segment);
	}
	return cli_text(cli, "%s", url.ptr);
}

int cli_fetch(struct cli *cli, const char *base, const struct json *list, const char *to)
{
	struct error e = {0};
	int found = 0;
	cleanup_fd int dir = -1;

	if ((mkdir(to, 0777) && errno != EEXIST) || (dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return cli_usage(cli, "cannot write in %s: %s", to, strerror(errno));
	cli_catch_interrupt();
	for (size_t i = 0; i < json_len(list) && !cli_interrupted(); i++) {
		const struct json *artifact = json_at(list, i);
		const char *name = json_cstr(artifact, "name");
		enum err err;

		if (!name || !is_wanted(cli, name))
			continue;
		if (!is_safe(str_of(name)))
			return cli_fail(cli, ERR_UPSTREAM, &(struct error){.msg = "The server names a file that is no safe file name."});
		if (!json_bool(artifact, "kept", true)) {
			fprintf(stderr, "%s was too large to keep: only its provider has it\n", name);
			continue;
		}
		err = fetch(cli, url_of(cli, base, str_of(name)), dir, artifact, &e);
		if (err)
			return cli_interrupted() ? EXIT_INTERRUPTED : cli_fail(cli, err, &e);
		if (!cli->json)
			printf("%s/%s\n", to, name);
		found++;
	}
	if (cli_interrupted())
		return EXIT_INTERRUPTED;
	if (found < cli->arg_count - 1)
		return cli_fail(cli, ERR_NOT_FOUND, &(struct error){.msg = "Not every file named is there."});
	return EXIT_OK;
}

int cmd_jobs_artifacts(struct cli *cli)
{
	const char *base = cli_text(cli, "/api/gpu/jobs/%s/artifacts", cli_segment(cli, cli->args[0])), *to = cli_option(cli, "to");
	cleanup_json struct json *reply = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, "GET", base, NULL, &reply, &e);
	struct json *list = json_get(reply, "artifacts");

	if (err)
		return cli_fail(cli, err, &e);
	if (cli->json)
		output_json(reply);
	if (to)
		return cli_fetch(cli, base, list, to);
	if (cli->arg_count > 1)
		return cli_usage(cli, "names are for --to DIR");
	if (!cli->json)
		output_table(cli, list, columns);
	return EXIT_OK;
}
