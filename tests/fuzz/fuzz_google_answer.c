/*
 * Fuzzes what is read from Google's answers: faults, execution jobs, executed
 * notebooks, names of machines.  What is accepted must be what may be used.
 */
#include <stdlib.h>
#include <string.h>

#include "provider/colab_enterprise.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void check_name(const char *name, const char *others)
{
	for (; *name; name++)
		check((*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') || (*name >= '0' && *name <= '9') || strchr(others, *name));
}

static void check_words(const char *words)
{
	check(str_is_utf8(str_of(words)));
	for (; *words; words++)
		check((unsigned char)*words >= 0x20 && *words != 0x7f);
}

static void check_fault(const struct json *doc)
{
	struct google_fault f = {0};
	char sentence[CE_REASON];
	const char *code = NULL;

	google_fault_read(doc, &f);
	check_name(f.code, "_-.");
	check_name(f.reason, "_-.");
	check_name(f.permission, "_-.");
	check_name(f.api, "_-.");
	check_name(f.limit, "_-.");
	check_words(f.words);
	if (ce_no_machine(&f, "europe-west4", &code, sentence))
		check(code && sentence[0] && strlen(sentence) < CE_REASON);
}

static void check_job(const struct json *doc)
{
	struct ce_job job;

	if (!ce_job_read(doc, &job))
		return;
	check(job.id.len && job.id.len <= CE_ID_MOST && !memchr(job.id.ptr, '/', job.id.len) && job.worker >= 0);
	check((job.phase == RUN_ENDED) == (job.code != NULL) && (!job.code || job.sentence));
	check(!job.intent.len || (str_is_uuid(job.intent) && str_is_uuid(job.installation)));
}

static void check_notebook(const struct json *doc)
{
	cleanup_buf struct buf log = BUF_INIT(1 << 20);
	const char *code = NULL;
	char reason[CE_REASON];

	if (ce_notebook_log(doc, &log) && !log.failed && ce_diagnose(buf_str(&log), &code, reason))
		check(code && reason[0]);
}

static void check_names(struct str s)
{
	struct ce_machine m;

	if (ce_machine_read(s, &m)) {
		check_name(m.type, "-");
		check_name(m.accelerator, "_");
		check(m.type[0] && m.count >= 0 && m.count <= 16 && !m.count == !m.accelerator[0]);
	}
	if (ce_project_valid(s) || ce_region_valid(s) || ce_bucket_valid(s))
		check(!memchr(s.ptr, '/', s.len) && !memchr(s.ptr, '?', s.len));
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len)
{
	cleanup_json struct json *j = NULL;
	struct str text = {(const char *)bytes, len};
	char line[80];

	google_line(text, line, sizeof(line));
	check_words(line);
	check_names(text);
	if (json_parse(text, 1 << 20, &j, NULL) != OK)
		return 0;
	check_fault(j);
	check_job(j);
	check_notebook(j);
	return 0;
}
