/* What Kaggle's answers, sources and logs mean, in all the forms that were seen. */
#include <stdarg.h>

#include "base/asset.h"
#include "base/clock.h"
#include "provider/kaggle.h"
#include "unit.h"

static struct json *parsed(const char *text)
{
	struct json *j = NULL;

	ck_assert_msg(json_parse(str_of(text), SIZE_MAX, &j, NULL) == OK, "%s", text);
	return j;
}

/* ---- members ---- */

static const struct {
	const char *json;
	int64_t number;
} numbers[] = {
	{"{\"n\":7}", 7}, {"{\"n\":\"7\"}", 7}, {"{\"n\":7.0}", 7}, {"{\"n\":\"9223372036854775807\"}", INT64_MAX}, {"{\"n\":0}", 0},
	{"{}", -1}, {"{\"n\":null}", -1}, {"{\"n\":\"\"}", -1}, {"{\"n\":\"7x\"}", -1}, {"{\"n\":-3}", -1}, {"{\"n\":7.5}", -1},
	{"{\"n\":1e300}", -1}, {"{\"n\":true}", -1}, {"{\"n\":[7]}", -1}, {"{\"n\":0,\"hasN\":false}", -1}, {"{\"n\":3,\"hasN\":true}", 3},
	{"{\"nNullable\":4,\"hasN\":true}", 4}, {"{\"nNullable\":\"5\"}", 5}, {"{\"n\":\"9223372036854775808\"}", -1},
};

START_TEST(test_number)
{
	cleanup_json struct json *j = parsed(numbers[_i].json);

	ck_assert_int_eq(kaggle_number(j, "n"), numbers[_i].number);
}
END_TEST

START_TEST(test_text)
{
	cleanup_json struct json *j = parsed("{\"a\":\"x\",\"b\":\"\",\"c\":{\"d\":1},\"d\":\"x\",\"hasD\":false,\"eNullable\":\"y\",\"f\":\"\",\"fNullable\":\"\"}");

	ck_assert(str_eqz(kaggle_text(j, "a"), "x"));
	ck_assert_ptr_null(kaggle_text(j, "b").ptr);
	ck_assert_ptr_null(kaggle_text(j, "c").ptr);
	ck_assert_ptr_null(kaggle_text(j, "d").ptr);
	ck_assert(str_eqz(kaggle_text(j, "e"), "y"));
	ck_assert_ptr_null(kaggle_text(j, "f").ptr);
	ck_assert_ptr_null(kaggle_text(NULL, "a").ptr);
}
END_TEST

static const struct {
	const char *json;
	double seconds;
} durations[] = {
	{"{\"d\":\"108000s\"}", 108000}, {"{\"d\":\"71094.4s\"}", 71094.4}, {"{\"d\":\"0s\"}", 0}, {"{\"d\":12}", 12}, {"{\"d\":\"12\"}", 12},
	{"{}", -1}, {"{\"d\":\"s\"}", -1}, {"{\"d\":\"\"}", -1}, {"{\"d\":\"-5s\"}", -1}, {"{\"d\":\"5m\"}", -1}, {"{\"d\":\"5s\",\"hasD\":false}", -1},
	{"{\"d\":\"1e99s\"}", -1}, {"{\"d\":{}}", -1},
};

START_TEST(test_duration)
{
	cleanup_json struct json *j = parsed(durations[_i].json);

	ck_assert_double_eq_tol(kaggle_duration(j, "d"), durations[_i].seconds, 1e-9);
}
END_TEST

static const struct {
	const char *json;
	int64_t seconds;
} times[] = {
	{"{\"t\":\"2026-11-28T00:00:00Z\"}", 1795824000},	 {"{\"t\":\"2026-11-28T00:00:00\"}", 1795824000},
	{"{\"t\":\"2026-11-28T00:00:00.123456789Z\"}", 1795824000}, {"{\"t\":\"2026-11-28T00:00:00.5\"}", 1795824000},
	{"{\"t\":\"2026-11-28\"}", -1}, {"{\"t\":1795824000}", -1}, {"{}", -1}, {"{\"t\":\"\"}", -1}, {"{\"t\":\"soon\"}", -1},
};

START_TEST(test_time)
{
	cleanup_json struct json *j = parsed(times[_i].json);

	ck_assert_int_eq(kaggle_time(j, "t"), times[_i].seconds);
}
END_TEST

/* ---- status ---- */

static const struct {
	const char *value;
	int status; /* -1 = none */
} statuses[] = {
	{"\"QUEUED\"", KAGGLE_QUEUED}, {"\"queued\"", KAGGLE_QUEUED}, {"\"RUNNING\"", KAGGLE_RUNNING},
	{"\"KERNEL_WORKER_STATUS_RUNNING\"", KAGGLE_RUNNING}, {"\"kernelWorkerStatusRunning\"", KAGGLE_RUNNING},
	{"\"complete\"", KAGGLE_COMPLETE}, {"\"Error\"", KAGGLE_ERROR}, {"\"cancelRequested\"", KAGGLE_CANCEL_REQUESTED},
	{"\"CANCEL_REQUESTED\"", KAGGLE_CANCEL_REQUESTED}, {"\"cancelAcknowledged\"", KAGGLE_CANCEL_ACKNOWLEDGED},
	{"\"CANCEL_ACKNOWLEDGED\"", KAGGLE_CANCEL_ACKNOWLEDGED}, {"\"newScript\"", KAGGLE_NEW_SCRIPT}, {"0", KAGGLE_QUEUED},
	{"1", KAGGLE_RUNNING}, {"6", KAGGLE_NEW_SCRIPT}, {"7", -1}, {"-1", -1},
	{"\"2\"", KAGGLE_COMPLETE}, {"\"0\"", KAGGLE_QUEUED}, {"\"7\"", -1}, {"\"-1\"", -1}, {"\"2x\"", -1}, {"3.0", KAGGLE_ERROR}, {"\"\"", -1}, {"null", -1}, {"\"HIBERNATING\"", -1},
	{"\"KERNEL_WORKER_STATUS_\"", -1}, {"{}", -1}, {"\"RUNNINGRUNNINGRUNNINGRUNNINGRUNNINGRUNNINGRUNNINGRUNNINGRUNNING\"", -1},
};

START_TEST(test_status)
{
	char text[256];
	enum kaggle_status status;

	snprintf(text, sizeof(text), "{\"status\":%s}", statuses[_i].value);
	cleanup_json struct json *j = parsed(text);

	ck_assert_msg(kaggle_status_read(j, &status) == (statuses[_i].status >= 0), "%s", text);
	if (statuses[_i].status >= 0)
		ck_assert_int_eq(status, statuses[_i].status);
}
END_TEST

START_TEST(test_no_status)
{
	cleanup_json struct json *j = parsed("{\"failureMessage\":\"x\"}");
	enum kaggle_status status;

	ck_assert(!kaggle_status_read(j, &status));
	ck_assert(!kaggle_status_read(NULL, &status));
}
END_TEST

/* ---- errors ---- */

static const struct {
	const char *json, *words; /* NULL = nothing is wrong */
	int status;
} complaints[] = {
	{"{\"error\":{\"code\":401,\"message\":\"Unauthenticated\",\"status\":\"UNAUTHENTICATED\"}}", "Unauthenticated", 401},
	{"{\"code\":403,\"message\":\"Permission 'kernels.get' was denied\"}", "Permission 'kernels.get' was denied", 403},
	{"{\"wasSuccessful\":false,\"result\":{},\"errors\":[],\"error\":{\"code\":5,\"details\":[]}}", "an error without words", 200},
	{"{\"wasSuccessful\":false}", "an error without words", 200},
	{"{\"error\":\"Maximum\",\"versionNumber\":0}", "Maximum", 200},
	{"{\"errorMessage\":\"session already ended\"}", "session already ended", 200},
	{"{\"error\":\"\",\"hasError\":false,\"errorNullable\":\"\"}", NULL, 200},
	{"{\"error\":\"old\",\"hasError\":false}", NULL, 200},
	{"{\"errorNullable\":\"bad\",\"hasError\":true}", "bad", 200},
	{"{\"error\":null}", NULL, 200},
	{"{\"error\":{}}", "an error without words", 200},
	{"{\"code\":200,\"message\":\"fine\"}", NULL, 200},
	{"{\"message\":\"only words\"}", NULL, 200},
	{"{\"code\":\"404\"}", "an error without words", 404},
	{"{\"error\":{\"code\":99999,\"message\":\"odd\"}}", "odd", 200},
	{"{}", NULL, 200},
};

START_TEST(test_complaint)
{
	cleanup_json struct json *j = parsed(complaints[_i].json);
	int status = 200;
	struct str words = kaggle_complaint(j, &status);

	ck_assert_int_eq(status, complaints[_i].status);
	if (complaints[_i].words)
		ck_assert_msg(str_eqz(words, complaints[_i].words), "%.*s", STR_ARG(words));
	else
		ck_assert_ptr_null(words.ptr);
}
END_TEST

/* ---- names ---- */

static const struct {
	const char *ref, *owner, *name; /* NULL = malformed */
} refs[] = {
	{"alice/pool", "alice", "pool"}, {"/code/alice/pool", "alice", "pool"}, {"code/alice/pool", "alice", "pool"},
	{"/code/alice/pool v3", "alice", "pool"}, {"alice/pool/3", "alice", "pool"}, {"https://www.kaggle.com/code/Al_ice/po-ol?x", "Al_ice", "po-ol"},
	{"https://www.kaggle.com/alice/pool", "alice", "pool"}, {"", NULL, NULL}, {"/", NULL, NULL}, {"alice", NULL, NULL}, {"alice/", NULL, NULL},
	{"/alice", NULL, NULL}, {"../x", NULL, NULL}, {"alice/..", NULL, NULL}, {"https://www.kaggle.com", NULL, NULL}, {"a b/c", NULL, NULL},
	{"//evil/x", NULL, NULL}, {"alice/p\xc3\xa9", NULL, NULL},
};

START_TEST(test_ref)
{
	struct str owner, name;

	ck_assert_msg(kaggle_ref_read(str_of(refs[_i].ref), &owner, &name) == (refs[_i].owner != NULL), "%s", refs[_i].ref);
	if (!refs[_i].owner)
		return;
	ck_assert(str_eqz(owner, refs[_i].owner));
	ck_assert(str_eqz(name, refs[_i].name));
}
END_TEST

START_TEST(test_names)
{
	static const char *const good[] = {"gpupool-a", "abcdef", "a-b-c1", "gpupool-0123456789abcdef0123456789abcdef01234567"};
	static const char *const bad[] = {"", "abcde", "1abcdef", "-abcdef", "abcdef-", "abc--def", "Abcdef", "abc_def", "abc def", "abc/def",
					  "gpupool-0123456789abcdef0123456789abcdef0123456789"};
	static const char *const files[] = {"a", "results/out.json", "a/b/c/d/e/f/g/h", "...", "a b", "\xc3\xa9"};
	static const char *const hostile[] = {"", "/etc/passwd", "../x", "a/../b", "./a", "a//b", "a/", "a/b/c/d/e/f/g/h/i", "a\nb", "a\\b", "C:x",
					      "\xff", "a\x7f", ".."};

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ck_assert_msg(kaggle_name_valid(str_of(good[i])), "%s", good[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!kaggle_name_valid(str_of(bad[i])), "%s", bad[i]);
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		ck_assert_msg(kaggle_file_valid(str_of(files[i])), "%s", files[i]);
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++)
		ck_assert_msg(!kaggle_file_valid(str_of(hostile[i])), "%s", hostile[i]);
	ck_assert(!kaggle_file_valid((struct str){"a\0b", 3}));
	ck_assert(!kaggle_owner_valid((struct str){"a\0b", 3}));
	ck_assert(!kaggle_owner_valid(STR_NULL));
	ck_assert(kaggle_owner_valid(STR("Al_ice-9")));
	ck_assert(kaggle_owner_valid(STR("al.ice")));
	ck_assert(!kaggle_owner_valid(STR("..")));
	ck_assert(!kaggle_owner_valid(STR(".alice")));
}
END_TEST

/* ---- the mark and the source ---- */

#define INTENT "0b5f4f4e-7c1a-4d8e-9a53-1f0f5c8e2d11"
#define HERE "11111111-2222-4333-8444-555555555555"

START_TEST(test_mark)
{
	static const char *const bad[] = {
		"", "print('hi')\n", "# gpupool intent " INTENT "\n", "# gpupool worker 7 of " HERE "\n# gpupool intent " INTENT "\n",
		"\n# gpupool intent " INTENT "\n# gpupool worker 7 of " HERE "\n", "# gpupool intent x\n# gpupool worker 7 of " HERE "\n",
		"# gpupool intent " INTENT "\n# gpupool worker 0 of " HERE "\n", "# gpupool intent " INTENT "\n# gpupool worker 7\n",
		"# gpupool intent " INTENT "\n# gpupool worker 7 in " HERE "\n", "# gpupool intent " INTENT " \n#\n# gpupool worker 7 of " HERE "\n",
		"# gpupool intent " INTENT "\n# gpupool worker 7 of " HERE "x\n", " # gpupool intent " INTENT "\n# gpupool worker 7 of " HERE "\n",
	};
	struct kaggle_mark m;

	ck_assert(kaggle_mark_read(STR("# gpupool intent " INTENT "\n# gpupool worker 7 of " HERE "\nprint()\n"), &m));
	ck_assert(str_eqz(m.intent, INTENT));
	ck_assert_int_eq(m.worker, 7);
	ck_assert(str_eqz(m.installation, HERE));
	ck_assert(kaggle_mark_read(STR("# gpupool intent " INTENT "\r\n# gpupool worker 7 of " HERE "\r"), &m));
	ck_assert(str_eqz(m.installation, HERE));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!kaggle_mark_read(str_of(bad[i]), &m), "%s", bad[i]);
}
END_TEST

static struct arena arena;
static struct error error;
static struct secret token;

static void setup(void)
{
	crypto_init();
	arena_init(&arena, 32 << 20);
	token = secret_new(STR("gpe_0123456789012345678901234567890123456789012"));
}

static void teardown(void)
{
	secret_free(&token);
	arena_free(&arena);
}

static const char *python_says(const char *source, const char *more)
{
	char dir[] = "/tmp/gpupool-source-XXXXXX";
	char path[64], command[512], *text = arena_alloc(&arena, 65536);
	FILE *f;
	size_t n;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s.py", dir);
	f = fopen(path, "we");
	fprintf(f, "%s%s", source, more);
	fclose(f);
	snprintf(command, sizeof(command), "cd %s && PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -c 'import s' 2>&1", dir);
	f = popen(command, "re");
	n = fread(text, 1, 65535, f);
	text[n] = '\0';
	ck_assert_msg(pclose(f) == 0, "%s", text);
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0);
	return text;
}

static const char *const hostile_urls[] = {
	"https://pool.example.org", "https://x/\"\"\"\nimport os\nos._exit(9)\n\"\"\"", "https://x/\\", "https://x/'\" + exit(9) + \"",
	"https://x/\xe2\x80\xa8\xf0\x9f\x98\x80", "@TOKEN@", "\"@TOKEN@\"",
};

START_TEST(test_source_is_python_whatever_it_is_given)
{
	struct provider_call c = {.arena = &arena, .error = &error, .installation = HERE};
	struct launch l = {.intent = STR(INTENT), .worker = 7, .name = "gpupool-a", .resource = "gpu", .token = &token,
			   .title = "\"\"\"\nexit(9)", .server_url = hostile_urls[_i]};
	cleanup_buf struct buf expected = BUF_INIT(4096);
	struct kaggle_mark m;
	struct str source;
	const char *said;

	ck_assert_int_eq(kaggle_source_make(&c, &l, &source), OK);
	ck_assert_uint_lt(source.len, 1000000);
	ck_assert(kaggle_mark_read(source, &m));
	ck_assert(str_eqz(m.intent, INTENT));
	ck_assert_int_eq(m.worker, 7);
	ck_assert_ptr_null(strstr(source.ptr, "exit(9)\n\""));
	said = python_says(source.ptr, "import hashlib\nprint(RESOURCE, TOKEN, hashlib.sha256(base64.b64decode(AGENT)).hexdigest(), "
				       "SERVER.encode('utf-8').hex())\n");
	buf_adds(&expected, "gpu gpe_0123456789012345678901234567890123456789012 ");
	{
		const struct asset *agent = asset_find("agent/gpupool-agent.py");
		uint8_t hash[CRYPTO_SHA256];
		char hex[2 * CRYPTO_SHA256 + 1], url[2 * 128 + 1];

		crypto_sha256(agent->bytes, hash);
		crypto_hex(hash, sizeof(hash), hex);
		crypto_hex(hostile_urls[_i], strlen(hostile_urls[_i]), url);
		buf_addf(&expected, "%s %s\n", hex, url);
	}
	ck_assert_str_eq(said, expected.ptr);
}
END_TEST

static struct json *push_of(struct launch l)
{
	struct provider_call c = {.arena = &arena, .error = &error, .installation = HERE};
	struct json *j = NULL;

	l.intent = STR(INTENT);
	l.worker = 7;
	l.token = &token;
	l.server_url = "https://pool.example.org";
	ck_assert_int_eq(kaggle_push_make(&c, &l, "alice", &j), OK);
	return j;
}

START_TEST(test_push)
{
	static const char *const datasets[] = {"alice/data", "bob/more", NULL}, *const none[] = {NULL}, *const competition[] = {"titanic", NULL};
	struct inputs in = {.datasets = datasets, .models = none, .competitions = competition, .kernels = none};
	cleanup_json struct json *gpu = push_of((struct launch){.name = "gpupool-my-run", .resource = "gpu", .limit_seconds = 39600, .inputs = &in});
	cleanup_json struct json *cpu = push_of((struct launch){.name = "gpupool-my-run", .resource = "cpu", .shape = ""});
	cleanup_json struct json *tpu = push_of((struct launch){.name = "gpupool-my-run", .resource = "tpu", .shape = "TpuV6E8"});

	ck_assert(str_eqz(json_str(gpu, "slug"), "alice/gpupool-my-run"));
	ck_assert(str_eqz(json_str(gpu, "newTitle"), "gpupool my run"));
	ck_assert(str_eqz(json_str(gpu, "language"), "python"));
	ck_assert(str_eqz(json_str(gpu, "kernelType"), "script"));
	ck_assert(str_eqz(json_str(gpu, "kernelExecutionType"), "SAVE_AND_RUN_ALL"));
	ck_assert(json_bool(gpu, "isPrivate", false) && json_bool(gpu, "enableInternet", false) && json_bool(gpu, "enableGpu", false));
	ck_assert(!json_bool(gpu, "enableTpu", true));
	ck_assert(str_eqz(json_str(gpu, "machineShape"), "NvidiaTeslaT4"));
	ck_assert_int_eq(json_i64(gpu, "sessionTimeoutSeconds", 0), 39600);
	ck_assert_uint_eq(json_len(json_get(gpu, "datasetDataSources")), 2);
	ck_assert(str_eqz(json_as_str(json_path(gpu, "competitionDataSources.0")), "titanic"));
	ck_assert(!json_has(gpu, "modelDataSources") && !json_has(gpu, "kernelDataSources"));
	ck_assert(!json_has(gpu, "dockerImage") && !json_has(gpu, "id"));
	ck_assert(json_has(cpu, "enableGpu") && !json_bool(cpu, "enableGpu", true) && !json_has(cpu, "machineShape"));
	ck_assert(!json_has(cpu, "sessionTimeoutSeconds") && !json_has(cpu, "datasetDataSources"));
	ck_assert(json_bool(tpu, "enableTpu", false) && str_eqz(json_str(tpu, "machineShape"), "TpuV6E8"));
}
END_TEST

/* ---- what can be pushed ---- */

static bool valid(struct launch l)
{
	error = (struct error){0};
	return kaggle_launch_valid(&l, &error);
}

START_TEST(test_launch_valid)
{
	static const char *const none[] = {NULL};
	static const struct {
		const char *name;
		bool dataset, model, competition;
	} names[] = {
		{"alice/data", true, false, false}, {"titanic", false, false, true}, {"a/b/c/d", false, true, false}, {"a/b/c/d/7", false, true, false},
		{"", false, false, false}, {"a//b", false, false, false}, {"a/b\n", false, false, false}, {"../..", true, false, false},
		{"a/b c", false, false, false}, {"a/b?x", false, false, false},
	};

	ck_assert(valid((struct launch){.name = "gpupool-a", .resource = "gpu", .limit_seconds = 43200}));
	ck_assert(valid((struct launch){.worker = 1}));
	ck_assert(!valid((struct launch){.name = "gpupool--a"}) && error.msg[0]);
	ck_assert(!valid((struct launch){.name = "gpupool-a", .limit_seconds = 43201}) && error.msg[0]);
	ck_assert(!valid((struct launch){.name = "gpupool-a", .limit_seconds = -1}));
	ck_assert(!valid((struct launch){.name = "gpupool-a", .resource = "quantum"}) && error.msg[0]);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *const one[] = {names[i].name, NULL};

		ck_assert_int_eq(valid((struct launch){.inputs = &(struct inputs){one, none, none, none}}), names[i].dataset);
		ck_assert_int_eq(valid((struct launch){.inputs = &(struct inputs){none, none, none, one}}), names[i].dataset);
		ck_assert_int_eq(valid((struct launch){.inputs = &(struct inputs){none, one, none, none}}), names[i].model);
		ck_assert_int_eq(valid((struct launch){.inputs = &(struct inputs){none, none, one, none}}), names[i].competition);
		if (!names[i].competition)
			ck_assert_str_eq(error.reason, "inputs");
	}
}
END_TEST

/* ---- logs ---- */

static const struct {
	const char *raw, *text;
} logs[] = {
	{"[{\"stream_name\":\"stdout\",\"time\":1.25,\"data\":\"hi\\n\"},{\"stream_name\":\"stderr\",\"time\":2,\"data\":\"oh\\n\"}]", "hi\noh\n"},
	{"[]", ""},
	{"", ""},
	{"  \n", ""},
	{"plain words\nof a log", "plain words\nof a log"},
	{"[notes] of a log", "[notes] of a log"},
	{"[{\"time\":1,\"data\":\"a\"}", "a"},                                /* cut off */
	{"[{\"data\":\"a\"},{\"data\":\"b", "ab"},
	{"[{\"data\":\"a\"},\n {\"data\":\"b\",\"x\":{\"data\":\"no\",\"y\":[1,\"]\"]}}]", "ab"},
	{"[{\"data\":\"\\u00e9\\ud83d\\ude00\\t\\\"\\\\\\/\"}]", "\xc3\xa9\xf0\x9f\x98\x80\t\"\\/"},
	{"[{\"data\":\"a\\ud83dz\"}]", "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz"}, /* half a character */
	{"[{\"data\":\"a\\u0000b\"}]", "a\xef\xbf\xbd" "b"},
	{"[{\"data\":\"a\\uzzzzb\"}]", "auzzzzb"},
	{"[{\"data\":7},{\"data\":null},{\"data\":\"c\"}]", "c"},
	{"[1,2]", "[1,2]"},
	{"[{\"data\":\"gpe_0123456789012345678901234567890123456789012 KGAT_abcdefgh12\"}]",
	 "gpe_******************************************* KGAT_**********"},
	{"a\xff" "b", "a\xef\xbf\xbd" "b"},
};

START_TEST(test_log)
{
	cleanup_buf struct buf b = BUF_INIT(KAGGLE_LOG_MOST);

	kaggle_log_read(str_of(logs[_i].raw), &b);
	ck_assert(!b.failed);
	ck_assert_msg(str_eqz(buf_str(&b), logs[_i].text), "%s", b.len ? b.ptr : "(empty)");
}
END_TEST

START_TEST(test_long_log_keeps_its_end)
{
	cleanup_buf struct buf raw = BUF_INIT(16 << 20), b = BUF_INIT(KAGGLE_LOG_MOST), plain = BUF_INIT(16 << 20);

	buf_adds(&raw, "[");
	for (int i = 0; i < 60000; i++) {
		buf_addf(&raw, "%s{\"stream_name\":\"stdout\",\"time\":%d.5,\"data\":\"line \\u00e9 number %d of a long log of a training\\n\"}",
			 i ? "," : "", i, i);
		buf_addf(&plain, "line \xc3\xa9 number %d of a long log of a training\n", i);
	}
	buf_adds(&raw, "]");
	ck_assert(!raw.failed);
	kaggle_log_read(buf_str(&raw), &b);
	ck_assert(!b.failed);
	ck_assert(str_starts(buf_str(&b), "[The beginning of the log was left out.]\nline "));
	ck_assert(str_ends(buf_str(&b), "number 59999 of a long log of a training\n"));
	ck_assert_uint_gt(b.len, KAGGLE_LOG_MOST - 200);
	ck_assert(str_is_utf8(buf_str(&b)));
	buf_reset(&b);
	kaggle_log_read(buf_str(&plain), &b);
	ck_assert(!b.failed && str_starts(buf_str(&b), "[The beginning of the log was left out.]\nline "));
	ck_assert(str_ends(buf_str(&b), "number 59999 of a long log of a training"));
}
END_TEST

static const struct {
	const char *log, *code, *words;
} endings[] = {
	{"gpupool: GPUs seen: Tesla T4\ngpupool: the agent ended with status 0: a clean end\n", NULL, NULL},
	{"", NULL, NULL},
	{"[NbConvertApp] Writing\n", NULL, NULL},
	{"x [Errno -3] Temporary failure in name resolution\ngpupool: the agent ended with status 6: it could not\n", "no_internet", "phone"},
	{"x <urlopen error [Errno -2] Name or service not known>\n", "no_internet", "phone"},
	{"not registered yet: Connection refused\ngpupool: the agent ended with status 6: it could not\n", "unreachable", "public address"},
	{"gpupool: the agent ended with status 3: the server\n", "token", "token"},
	{"gpupool: the agent ended with status 5: x\n", "session_over", "over"},
	{"gpupool: a GPU was asked for, and this machine has none\ngpupool: the agent ended with status 0: a clean end\n", "no_gpu", "no GPU"},
	{"Please complete phone verification\n", "phone", "phone"},
	{"Traceback (most recent call last):\n  File \"x\"\nModuleNotFoundError: No module named 'ssl'\n"
	 "gpupool: the agent ended with status 1: it failed\n", "agent_error", "The agent failed: ModuleNotFoundError: No module named 'ssl'"},
	{"gpupool-agent: no usable enrolment token\ngpupool: the agent ended with status 1: it failed\n", "agent_error", "no usable enrolment"},
	{"gpupool: the agent was killed by signal 9, perhaps for want of memory\n", "out_of_memory", "memory"},
	{"gpupool: the agent was killed by signal 11\n", "killed", "killed"},
	{"Your notebook tried to allocate more memory than is available. It has restarted.\n", "out_of_memory", "memory"},
	{"RuntimeError: Your notebook was stopped because it exceeded the max allowed execution duration.\n", "limit", "time was over"},
	{"Temporary failure in name resolution\ngpupool: the agent ended with status 0: a clean end\n", NULL, NULL},
};

START_TEST(test_diagnosis)
{
	char reason[KAGGLE_REASON] = "";
	const char *code = NULL;

	ck_assert_msg(kaggle_diagnose(str_of(endings[_i].log), &code, reason) == (endings[_i].code != NULL), "%s", endings[_i].log);
	if (!endings[_i].code)
		return;
	ck_assert_str_eq(code, endings[_i].code);
	ck_assert_msg(strstr(reason, endings[_i].words) != NULL, "%s", reason);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kaggle parse");
	TCase *t = tcase_create("kaggle parse");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, test_number, 0, ARRAY_LEN(numbers));
	tcase_add_test(t, test_text);
	tcase_add_loop_test(t, test_duration, 0, ARRAY_LEN(durations));
	tcase_add_loop_test(t, test_time, 0, ARRAY_LEN(times));
	tcase_add_loop_test(t, test_status, 0, ARRAY_LEN(statuses));
	tcase_add_test(t, test_no_status);
	tcase_add_loop_test(t, test_complaint, 0, ARRAY_LEN(complaints));
	tcase_add_loop_test(t, test_ref, 0, ARRAY_LEN(refs));
	tcase_add_test(t, test_names);
	tcase_add_test(t, test_mark);
	tcase_add_loop_test(t, test_source_is_python_whatever_it_is_given, 0, ARRAY_LEN(hostile_urls));
	tcase_add_test(t, test_push);
	tcase_add_test(t, test_launch_valid);
	tcase_add_loop_test(t, test_log, 0, ARRAY_LEN(logs));
	tcase_add_test(t, test_long_log_keeps_its_end);
	tcase_add_loop_test(t, test_diagnosis, 0, ARRAY_LEN(endings));
	suite_add_tcase(s, t);
	return unit_run(s);
}
