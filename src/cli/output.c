/* output - see cli/output.h. */
#include "cli/output.h"

#include <math.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

enum { COLUMNS_MOST = 16, CELL_MOST = 4096, TABLE_MOST = 64 << 20, BAR = 24 };

void output_add_seconds(struct buf *b, double seconds)
{
	long s = (long)(seconds + 0.5);

	if (seconds < 0)
		buf_adds(b, "-");
	else if (seconds < 10)
		buf_addf(b, "%.1fs", seconds);
	else if (s < 60)
		buf_addf(b, "%lds", s);
	else if (s < 3600)
		buf_addf(b, "%ldm %lds", s / 60, s % 60);
	else if (s < 86400)
		buf_addf(b, "%ldh %ldm", s / 3600, s % 3600 / 60);
	else
		buf_addf(b, "%ldd %ldh", s / 86400, s % 86400 / 3600);
}

void output_add_bytes(struct buf *b, double bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	size_t u = 0;

	while (bytes >= 1000 && u + 1 < ARRAY_LEN(units)) {
		bytes /= 1000;
		u++;
	}
	buf_addf(b, u && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, units[u]);
}

static bool digits(struct str s, size_t at, size_t n, int *ret)
{

	if (at + n > s.len)
		return false;
	*ret = 0;
	for (size_t i = 0; i < n; i++) {
		if (s.ptr[at + i] < '0' || s.ptr[at + i] > '9')
			return false;
		*ret = *ret * 10 + (s.ptr[at + i] - '0');
	}
	return true;
}

bool output_parse_time(struct str s, int64_t *wall_ms)
{
	struct tm tm = {0};
	int ms = 0;

	if (!digits(s, 0, 4, &tm.tm_year) || !digits(s, 5, 2, &tm.tm_mon) || !digits(s, 8, 2, &tm.tm_mday) ||
	    !digits(s, 11, 2, &tm.tm_hour) || !digits(s, 14, 2, &tm.tm_min) || !digits(s, 17, 2, &tm.tm_sec) || !str_ends(s, "Z"))
		return false;
	if (s.len > 20 && s.ptr[19] == '.' && !digits(s, 20, 3, &ms))
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	*wall_ms = (int64_t)timegm(&tm) * 1000 + ms;
	return true;
}

/* ---- one value ------------------------------------------------------------ */

static void add_list(struct buf *b, const struct json *v)
{
	for (size_t i = 0; i < json_len(v); i++) {
		if (i)
			buf_adds(b, ",");
		buf_addstr(b, json_as_str(json_at(v, i)));
	}
}

static void add_plain(struct buf *b, const struct json *v)
{
	if (json_type_of(v) == JSON_STRING)
		buf_addstr(b, json_as_str(v));
	else
		json_write(v, b);
}

static void add_value(struct buf *b, const struct json *v, enum show show)
{
	int64_t at;

	switch (show) {
	case SHOW_AGE:
		if (output_parse_time(json_as_str(v), &at)) {
			output_add_seconds(b, (double)(clock_wall_ms() - at) / 1000);
			return;
		}
		break;
	case SHOW_SECONDS: output_add_seconds(b, json_as_double(v, -1)); return;
	case SHOW_HOURS: buf_addf(b, "%.1f h", floor(json_as_double(v, 0) / 360) / 10); return;
	case SHOW_BYTES: output_add_bytes(b, json_as_double(v, 0)); return;
	case SHOW_PERCENT: buf_addf(b, "%.0f%%", 100 * json_as_double(v, 0)); return;
	case SHOW_LIST: add_list(b, v); return;
	case SHOW_TEXT:
	case SHOW_TIME:
	case SHOW_JSON: break;
	}
	add_plain(b, v);
}

/* Safe, and on one line. */
static void add_cell(struct buf *b, const struct cli *cli, const struct json *v, enum show show)
{
	cleanup_buf struct buf value = BUF_INIT(TABLE_MOST);
	size_t from = b->len;

	if (!v) {
		buf_adds(b, "-");
		return;
	}
	add_value(&value, v, show);
	buf_add_text(b, buf_str(&value), !cli->raw);
	for (size_t i = from; !cli->raw && i < b->len; i++)
		if (b->ptr[i] == '\n' || b->ptr[i] == '\t')
			b->ptr[i] = ' ';
}

/* Characters, not bytes: continuation bytes take no column of their own. */
static int width(const char *s, size_t len)
{
	int n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)s[i] & 0xc0) != 0x80;
	return n;
}

/* ---- tables and fields ---------------------------------------------------- */

void output_table(const struct cli *cli, const struct json *list, const struct column *columns)
{
	int widths[COLUMNS_MOST] = {0}, n = 0;

	while (columns[n].head)
		n++;
	if (n > COLUMNS_MOST)
		BUG("a table of %d columns", n);
	for (int pass = 0; pass < 2; pass++)
		for (size_t row = 0; row <= json_len(list); row++) {
			const struct json *j = row ? json_at(list, row - 1) : NULL;

			for (int c = 0; c < n; c++) {
				cleanup_buf struct buf cell = BUF_INIT(TABLE_MOST);
				int w;

				if (row)
					add_cell(&cell, cli, json_path(j, columns[c].path), columns[c].show);
				else
					buf_adds(&cell, columns[c].head);
				w = width(cell.ptr, cell.len);
				if (!pass)
					widths[c] = w > widths[c] ? w : widths[c];
				else
					printf("%s%*s", cell.ptr ? cell.ptr : "", c + 1 < n ? widths[c] - w + 2 : 0, "");
			}
			if (pass)
				putchar('\n');
		}
}

void output_fields(const struct cli *cli, const struct json *object, const struct column *columns)
{
	for (const struct column *c = columns; c->head; c++) {
		const struct json *v = json_path(object, c->path);
		cleanup_buf struct buf cell = BUF_INIT(TABLE_MOST);

		if (!v)
			continue;
		add_cell(&cell, cli, v, c->show);
		printf("%-16s %s\n", c->head, cell.ptr ? cell.ptr : "");
	}
}

void output_json(const struct json *j)
{
	cleanup_buf struct buf b = BUF_INIT(256 << 20);

	json_write_pretty(j, &b);
	printf("%s\n", b.ptr ? b.ptr : "null");
}

bool output_as_json(const struct cli *cli, const struct json *j)
{
	if (cli->json)
		output_json(j);
	return cli->json;
}

void output_text(const struct cli *cli, struct str s)
{
	cleanup_buf struct buf b = BUF_INIT(s.len * 3 + 64);

	if (!s.len)
		return;
	if (cli->raw) {
		fwrite(s.ptr, 1, s.len, stdout);
		return;
	}
	buf_add_text(&b, s, true);
	if (b.len)
		fwrite(b.ptr, 1, b.len, stdout);
}

/* ---- progress ------------------------------------------------------------- */

static int terminal_width(void)
{
	struct winsize size;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

/* Cuts to so many columns, at a whole character. */
static void cut(struct buf *b, int columns)
{
	size_t i = 0;

	for (int n = 0; i < b->len; i++) {
		if (((unsigned char)b->ptr[i] & 0xc0) != 0x80 && n++ == columns)
			break;
	}
	b->len = i;
}

void progress_draw(struct progress *p, const char *label, double fraction, struct str message)
{
	cleanup_buf struct buf line = BUF_INIT(65536), safe = BUF_INIT(16384);
	int filled;

	if (!isatty(STDERR_FILENO))
		return;
	if (!p->started_ms)
		p->started_ms = clock_ms();
	buf_addf(&line, "%s ", label);
	if (isfinite(fraction) && fraction >= 0) {
		fraction = fraction > 1 ? 1 : fraction;
		filled = (int)(fraction * BAR);
		buf_adds(&line, "[");
		for (int i = 0; i < BAR; i++)
			buf_addc(&line, i < filled ? '#' : '.');
		buf_addf(&line, "] %3.0f%%  ", fraction * 100);
	}
	output_add_seconds(&line, (double)(clock_ms() - p->started_ms) / 1000);
	buf_add_text(&safe, message, true);
	for (size_t i = 0; i < safe.len; i++)
		if (safe.ptr[i] == '\n' || safe.ptr[i] == '\t')
			safe.ptr[i] = ' ';
	buf_adds(&line, "  ");
	buf_addstr(&line, buf_str(&safe));
	cut(&line, terminal_width() - 1);
	fprintf(stderr, "\r%.*s\033[K", (int)line.len, line.ptr);
	fflush(stderr);
	p->shown = true;
}

void progress_end(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
