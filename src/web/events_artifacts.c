/*
 * Artifacts: files that jobs leave.  Uploads are written as they come, checked
 * against their announced length and hash, made durable, and only then known to
 * the database; a cut or wrong upload leaves nothing.  nginx reads them out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/log.h"
#include "web/events_disk.h"
#include "web/events_role.h"

enum {
	BATCH_MOST = 100,
	EARLY_MOST = 512 << 10, /* bytes that come before the lease is known to hold */
	SEGMENTS_MOST = 8,
	SEGMENT_MOST = 128,
	UPLOADS_MOST = 64,
	UPLOADS_SESSION = 16,   /* one agent that sends slowly leaves room for the others */
};

struct artifacts {
	struct events *ev;
	struct batch begin, commit, find, checkpoint;
	struct disk *disk;
	struct upload *first;
	int uploads;
};

/* ---- names ---- */

static bool segment_ok(struct str s)
{
	if (!s.len || s.len > SEGMENT_MOST || str_eqz(s, ".") || str_eqz(s, ".."))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

static bool name_ok(struct str name)
{
	int segments = 0;
	struct str one;

	while (str_cut(&name, '/', &one))
		if (!segment_ok(one) || ++segments > SEGMENTS_MOST)
			return false;
	return segments > 0;
}

/* ---- uploads ---- */

enum step { ASKING, WRITING, KEEPING, COMMITTING };

struct upload {
	struct disk_job job; /* first: found by it */
	struct exchange *x;
	struct upload *prev, *next; /* of all that go on */
	enum step step;
	int64_t id, size, got;
	const char *name, *lease;
	uint8_t sum[CRYPTO_SHA256];
	struct crypto_sha256 sha;
	bool ended;    /* the body is complete, and waits in x->body for the verdict */
	bool has_file;
};

static void take_up(struct artifacts *a, struct upload *u)
{
	u->next = a->first;
	if (u->next)
		u->next->prev = u;
	a->first = u;
	a->uploads++;
}

static void put_down(struct artifacts *a, struct upload *u)
{
	if (u->prev)
		u->prev->next = u->next;
	else
		a->first = u->next;
	if (u->next)
		u->next->prev = u->prev;
	a->uploads--;
}

static bool has_room(const struct artifacts *a, const struct exchange *x)
{
	int own = 0;

	for (const struct upload *u = a->first; u; u = u->next)
		own += !memcmp(u->x->token, x->token, CRYPTO_HASH);
	return a->uploads < UPLOADS_MOST && own < UPLOADS_SESSION;
}

static void set_down(struct upload *u)
{
	struct artifacts *a = u->x->ev->artifacts;

	if (u->has_file && u->step == WRITING)
		close(u->job.fd);
	if (u->has_file && u->step <= KEEPING)
		disk_remove_temporary(a->disk, u->job.name);
	if (u->has_file && u->step == COMMITTING)
		disk_remove(a->disk, u->job.name);
	u->x->on_body = NULL;
	u->x->gone = NULL;
	u->x->state = NULL;
	put_down(a, u);
	free(u);
}

static void fail(struct upload *u, enum err err, const char *why)
{
	struct exchange *x = u->x;

	set_down(u);
	exchange_fail(x, err, "%s", why);
}

static void answer(struct upload *u, int status)
{
	struct exchange *x = u->x;
	struct json *j = json_object();
	char hex[2 * CRYPTO_SHA256 + 1];

	crypto_hex(u->sum, sizeof(u->sum), hex);
	json_put_cstr(j, "name", u->name);
	json_put_i64(j, "size", u->size);
	json_put_cstr(j, "sha256", hex);
	u->has_file = false; /* it is the row's */
	set_down(u);
	exchange_json(x, status, j);
}

static const char *write_error(int number)
{
	log_error("artifact.write", "error=\"%s\"", strerror(number));
	return number == ENOSPC || number == EDQUOT ? "The store is full." : "The file cannot be stored.";
}

/* False when the upload was failed. */
static bool write_piece(struct upload *u, struct str bytes)
{
	crypto_sha256_add(&u->sha, bytes.ptr, bytes.len);
	while (bytes.len) {
		ssize_t n = write(u->job.fd, bytes.ptr, bytes.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			fail(u, ERR_UNAVAILABLE, write_error(errno));
			return false;
		}
		bytes.ptr += n;
		bytes.len -= (size_t)n;
	}
	return true;
}

static void kept(struct disk_job *j);

static void body_over(struct upload *u)
{
	uint8_t sum[CRYPTO_SHA256];

	crypto_sha256_end(&u->sha, sum);
	if (u->got != u->size) {
		fail(u, ERR_INVALID, "The body is shorter than its Content-Length.");
		return;
	}
	if (!crypto_equal(sum, u->sum, sizeof(sum))) {
		fail(u, ERR_INVALID, "The body does not have this Content-Digest.");
		return;
	}
	u->step = KEEPING;
	u->job.done = kept;
	disk_keep(u->x->ev->artifacts->disk, &u->job);
}

static void upload_body(struct exchange *x, struct str bytes, bool end)
{
	struct upload *u = x->state;

	u->got += (int64_t)bytes.len;
	if (u->got > u->size) {
		if (u->step == ASKING && !batch_remove(&x->ev->artifacts->begin, &x->item))
			return; /* the verdict's handler sees it */
		fail(u, ERR_INVALID, "The body is longer than its Content-Length.");
		return;
	}
	if (u->step == ASKING) {
		buf_addstr(&x->body, bytes);
		u->ended |= end;
		return;
	}
	if (write_piece(u, bytes) && end)
		body_over(u);
}

static void upload_gone(struct exchange *x)
{
	struct upload *u = x->state;
	struct artifacts *a = x->ev->artifacts;

	if (u->step == WRITING || (u->step == ASKING && batch_remove(&a->begin, &x->item))) {
		set_down(u);
		exchange_end(x);
	}
	/* else statement or disk end it: what is complete is kept */
}

/* ---- first statement: may it come? ---- */

static void bind_upload(struct batch *b, struct arg *args, bool with_path)
{
	int columns = with_path ? 7 : 6;

	for (int k = 0; k < columns; k++)
		array_begin(&b->buf[k]);
	for (int i = 0; i < b->n; i++) {
		const struct exchange *x = exchange_of(b->items[i]);
		const struct upload *u = x->state;

		array_add_bytes(&b->buf[0], x->token, CRYPTO_HASH);
		array_add_i64(&b->buf[1], u->id);
		array_add_str(&b->buf[2], str_of(u->lease));
		array_add_str(&b->buf[3], str_of(u->name));
		array_add_i64(&b->buf[4], u->size);
		array_add_bytes(&b->buf[5], u->sum, sizeof(u->sum));
		if (with_path)
			array_add_str(&b->buf[6], str_of(u->job.name));
	}
	for (int k = 0; k < columns; k++) {
		array_end(&b->buf[k]);
		args[k] = arg_buf(&b->buf[k]);
	}
	args[columns] = arg_i64(((struct artifacts *)b->ctx)->ev->config->max_artifacts_job);
}

static void bind_begin(struct batch *b, struct arg *args)
{
	bind_upload(b, args, false);
}

static void start_writing(struct artifacts *a, struct upload *u)
{
	struct exchange *x = u->x;
	int fd = disk_create(a->disk, u->job.name);

	if (fd < 0) {
		fail(u, ERR_UNAVAILABLE, write_error(errno));
		return;
	}
	u->job.fd = fd;
	u->has_file = true;
	u->step = WRITING;
	crypto_sha256_init(&u->sha);
	if (!write_piece(u, buf_str(&x->body)))
		return;
	buf_free(&x->body);
	if (u->ended)
		body_over(u);
	else
		fcgi_pause(x->call, false);
}

/* The row of item i (from 1), searched from *row on; -1 = none. */
static int row_of(const struct rows *rows, int64_t i, int *row)
{
	int n = rows_count(rows);

	for (int tries = 0; tries < n; tries++, *row = (*row + 1) % n)
		if (row_i64(rows, *row, "i") == i)
			return *row;
	return -1;
}

static void begin_verdict(struct artifacts *a, struct upload *u, const struct rows *rows, int row)
{
	struct exchange *x = u->x;

	if (!x->call) {
		set_down(u);
		exchange_end(x);
	} else if (row < 0) {
		fail(u, ERR_GONE, "This lease is void.");
	} else if (u->got > u->size) {
		fail(u, ERR_INVALID, "The body is longer than its Content-Length.");
	} else if (str_eqz(row_str(rows, row, "verdict"), "full")) {
		fail(u, ERR_TOO_LARGE, "The artifacts of this job reach their limit.");
	} else if (str_eqz(row_str(rows, row, "verdict"), "same")) {
		answer(u, 200);
	} else {
		start_writing(a, u);
	}
}

static void begin_done(struct batch *b, const struct rows *rows)
{
	int row = 0;

	for (int i = 0; i < b->n; i++) {
		struct upload *u = exchange_of(b->items[i])->state;

		begin_verdict(b->ctx, u, rows, row_of(rows, i + 1, &row));
	}
}

static void upload_failed(struct batch *b, struct batch_item *i, enum err err, const struct error *e)
{
	(void)b;
	fail(exchange_of(i)->state, err, e->msg);
}

/* ---- second statement: it is there ---- */

static void kept(struct disk_job *j)
{
	struct upload *u = (struct upload *)j;
	struct artifacts *a = u->x->ev->artifacts;

	if (j->error) {
		fail(u, ERR_UNAVAILABLE, write_error(j->error));
		return;
	}
	u->step = COMMITTING;
	if (!batch_add(&a->commit, &u->x->item, BATCH_WAIT_MS))
		fail(u, ERR_UNAVAILABLE, "Too many calls wait here; try again.");
}

static void bind_commit(struct batch *b, struct arg *args)
{
	bind_upload(b, args, true);
}

static void commit_done(struct batch *b, const struct rows *rows)
{
	struct artifacts *a = b->ctx;
	int row = 0;

	for (int i = 0; i < b->n; i++) {
		struct upload *u = exchange_of(b->items[i])->state;
		int at = row_of(rows, i + 1, &row);

		if (at < 0) {
			fail(u, ERR_GONE, "This lease is void, or the artifacts of its job reach their limit.");
			continue;
		}
		if (!row_null(rows, at, "old"))
			disk_remove(a->disk, row_cstr(rows, at, "old"));
		answer(u, 201);
	}
	streams_hint(a->ev);
}

static bool same_job(const struct batch_item *a, const struct batch_item *b)
{
	const struct upload *x = ((const struct exchange *)a)->state, *y = ((const struct exchange *)b)->state;

	return x->id == y->id;
}

/* ---- the handlers ---- */

const struct field artifact_put_query[] = {
	{"lease", FIELD_UUID, FIELD_REQUIRED},
	{0},
};

/* sha-256=:BASE64: among what RFC 9530 allows. */
static bool parse_digest(struct str header, uint8_t ret[CRYPTO_SHA256])
{
	struct str one, key;

	while (str_cut(&header, ',', &one)) {
		cleanup_buf struct buf bytes = BUF_INIT(64);

		one = str_trim(one);
		if (!str_cut(&one, '=', &key) || !str_ieqz(key, "sha-256") || one.len < 3 || one.ptr[0] != ':' || one.ptr[one.len - 1] != ':')
			continue;
		if (!crypto_unbase64((struct str){one.ptr + 1, one.len - 2}, &bytes) || bytes.len != CRYPTO_SHA256)
			return false;
		memcpy(ret, bytes.ptr, CRYPTO_SHA256);
		return true;
	}
	return false;
}

static enum err check_upload(struct exchange *x, struct upload *u, struct error *e)
{
	const struct config *c = x->ev->config;
	struct str name = request_capture(&x->req, "name");
	enum err err = request_capture_id(&x->req, "id", &u->id, e);

	if (err)
		return err;
	if (!name_ok(name))
		return error_field(e, ERR_INVALID, "name", "A name has at most 8 segments of 1 to 128 letters, digits, dots, hyphens and underscores.");
	if (x->req.content_length < 0)
		return error_field(e, ERR_INVALID, "Content-Length", "Send the Content-Length.");
	if (x->req.content_length > c->max_artifact)
		return error_field(e, ERR_TOO_LARGE, "Content-Length", "A file may have at most %lld bytes.", (long long)c->max_artifact);
	if (!parse_digest(x->req.content_digest, u->sum))
		return error_field(e, ERR_INVALID, "Content-Digest", "Send Content-Digest: sha-256=:BASE64:.");
	u->name = arena_str(&x->arena, name).ptr;
	u->lease = json_cstr(x->req.params, "lease");
	u->size = x->req.content_length;
	return u->name ? OK : error_set(e, ERR_TOO_LARGE, "The request is too large.");
}

void events_artifact_put(struct events *ev, struct exchange *x)
{
	struct artifacts *a = ev->artifacts;
	struct upload *u = calloc(1, sizeof(*u));
	struct error e = {.code = OK};

	if (!u)
		error_no_memory();
	if (check_upload(x, u, &e)) {
		free(u);
		exchange_problem(x, &e);
		return;
	}
	if (!a->disk || !has_room(a, x)) {
		free(u);
		exchange_fail(x, ERR_UNAVAILABLE, a->disk ? "Too many uploads at once; try again." : "There is no store for files.");
		return;
	}
	u->x = x;
	x->state = u;
	x->on_body = upload_body;
	x->gone = upload_gone;
	x->body = BUF_INIT(EARLY_MOST);
	take_up(a, u);
	fcgi_pause(x->call, true);
	if (!batch_add(&a->begin, &x->item, BATCH_WAIT_MS))
		fail(u, ERR_UNAVAILABLE, "Too many calls wait here; try again.");
}

struct lookup {
	int64_t id;
	const char *name;
	const char *lease; /* of the agent that asks; NULL = a person does */
};

static void bind_find(struct batch *b, struct arg *args)
{
	for (int k = 0; k < 3; k++)
		array_begin(&b->buf[k]);
	for (int i = 0; i < b->n; i++) {
		const struct exchange *x = exchange_of(b->items[i]);
		const struct lookup *l = x->state;

		array_add_i64(&b->buf[0], l->id);
		array_add_i64(&b->buf[1], principal_sees_all(&x->req.principal) ? -1 : x->req.principal.user_id);
		array_add_str(&b->buf[2], str_of(l->name));
	}
	for (int k = 0; k < 3; k++) {
		array_end(&b->buf[k]);
		args[k] = arg_buf(&b->buf[k]);
	}
}

static void bind_checkpoint(struct batch *b, struct arg *args)
{
	for (int k = 0; k < 3; k++)
		array_begin(&b->buf[k]);
	for (int i = 0; i < b->n; i++) {
		const struct exchange *x = exchange_of(b->items[i]);
		const struct lookup *l = x->state;

		array_add_bytes(&b->buf[0], x->token, CRYPTO_HASH);
		array_add_i64(&b->buf[1], l->id);
		array_add_str(&b->buf[2], str_of(l->lease));
	}
	for (int k = 0; k < 3; k++) {
		array_end(&b->buf[k]);
		args[k] = arg_buf(&b->buf[k]);
	}
}

static void find_done(struct batch *b, const struct rows *rows)
{
	int row = 0;

	for (int i = 0; i < b->n; i++) {
		struct exchange *x = exchange_of(b->items[i]);
		const struct lookup *l = x->state;
		const char *last = strrchr(l->name, '/');
		int at = row_of(rows, i + 1, &row);

		if (at < 0 && l->lease) {
			exchange_fail(x, ERR_GONE, "This session does not hold that lease.");
			continue;
		}
		if (at < 0 || row_null(rows, at, "path")) {
			exchange_fail(x, ERR_NOT_FOUND, "There is no such file.");
			continue;
		}
		x->res.status = 200;
		x->res.content_type = "application/octet-stream";
		x->res.stream = true; /* nginx knows the length */
		response_header(&x->res, "X-Accel-Redirect", "/internal/store/%s", row_cstr(rows, at, "path"));
		response_header(&x->res, "Content-Disposition", "attachment; filename=\"%s\"", last ? last + 1 : l->name);
		response_header(&x->res, "Content-Security-Policy", "sandbox");
		response_header(&x->res, "ETag", "\"%s\"", row_cstr(rows, at, "sha256"));
		exchange_end(x);
	}
}

void events_artifact_get(struct events *ev, struct exchange *x)
{
	struct lookup *l = arena_new(&x->arena, struct lookup);
	struct str name = request_capture(&x->req, "name");
	struct error e = {.code = OK};

	if (!l)
		BUG("no room for a look-up");
	if (!name_ok(name) || request_capture_id(&x->req, "id", &l->id, &e)) {
		exchange_fail(x, ERR_NOT_FOUND, "There is no such file.");
		return;
	}
	l->name = arena_str(&x->arena, name).ptr;
	x->state = l;
	exchange_batch(x, &ev->artifacts->find);
}

const struct field checkpoint_query[] = {
	{"lease", FIELD_STRING, FIELD_REQUIRED, .min = 36, .max = 36, .doc = "The lease under which the job runs."},
	{0},
};

void events_checkpoint_get(struct events *ev, struct exchange *x)
{
	struct lookup *l = arena_new(&x->arena, struct lookup);
	struct error e = {.code = OK};

	if (!l)
		BUG("no room for a look-up");
	l->name = "checkpoint.tar";
	l->lease = json_cstr(x->req.params, "lease");
	if (request_capture_id(&x->req, "id", &l->id, &e) || !str_is_uuid(str_of(l->lease))) {
		exchange_fail(x, ERR_GONE, "This session does not hold that lease.");
		return;
	}
	x->state = l;
	exchange_batch(x, &ev->artifacts->checkpoint);
}

struct disk *artifacts_disk(const struct events *ev)
{
	return ev->artifacts->disk;
}

/* ---- the module ---- */

static const struct batch_kind begin_kind = {STMT_ARTIFACT_BEGIN, BATCH_MOST, 0, bind_begin, begin_done, upload_failed, NULL};
static const struct batch_kind commit_kind = {STMT_ARTIFACT_COMMIT, BATCH_MOST, 0, bind_commit, commit_done, upload_failed, same_job};
static const struct batch_kind find_kind = {STMT_ARTIFACT_FIND, BATCH_MOST, 0, bind_find, find_done, exchange_item_failed, NULL};
static const struct batch_kind checkpoint_kind = {STMT_CHECKPOINT_FIND, BATCH_MOST, 0, bind_checkpoint, find_done, exchange_item_failed, NULL};

static void artifacts_open(struct events *ev)
{
	struct artifacts *a = calloc(1, sizeof(*a));
	struct error e = {.code = OK};

	if (!a)
		error_no_memory();
	a->ev = ev;
	ev->artifacts = a;
	batch_init(&a->begin, ev->batcher, &begin_kind, a);
	batch_init(&a->commit, ev->batcher, &commit_kind, a);
	batch_init(&a->find, ev->batcher, &find_kind, a);
	batch_init(&a->checkpoint, ev->batcher, &checkpoint_kind, a);
	if (disk_new(ev->loop, ev->config->store, &a->disk, &e))
		log_error("artifact.store", "error=\"%s\"", e.msg);
}

static void artifacts_close(struct events *ev)
{
	if (ev->artifacts->disk)
		disk_free(ev->artifacts->disk);
	free(ev->artifacts);
}

const struct events_module artifacts_module = {.open = artifacts_open, .close = artifacts_close};
