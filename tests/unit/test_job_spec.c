/* What a person may ask for in a job, by the misuse each row tries. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "domain/job_spec.h"
#include "unit.h"

static char faults[1024];
static enum err worst;

static void note(void *ctx, enum err code, const char *field, const char *message)
{
	size_t n = strlen(faults);

	ck_assert_ptr_null(ctx);
	ck_assert_int_gt(strlen(message), 5);
	worst = worst ? worst : code;
	snprintf(faults + n, sizeof(faults) - n, "%s%s", n ? " " : "", field);
}

/* The fields at fault, with ' for ". */
static const char *judge_at(const char *prefix, const char *text, struct job_spec *ret)
{
	static struct json *document;
	static struct arena arena;
	struct job_judge j = {.arena = &arena, .fault = note, .prefix = prefix};
	struct job_spec spec;
	char *json = strdup(text);
	bool good;

	json_free(document);
	arena_free(&arena);
	arena_init(&arena, 1 << 20);
	for (char *p = json; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	ck_assert_msg(json_parse(str_of(json), SIZE_MAX, &document, NULL) == OK, "%s", json);
	free(json);
	faults[0] = '\0';
	worst = OK;
	good = job_spec_read(&j, 7, document, ret ? ret : &spec);
	ck_assert(good == !faults[0]);
	return faults;
}

static const char *judge(const char *text)
{
	return judge_at("", text, NULL);
}

static const struct {
	const char *document, *faults;
} cases[] = {
	{"{'type':'script','payload':{'code':'x'}}", ""},
	{"{'type':'training','payload':{'command':['sh','-c','']}}", ""},
	{"{'type':'script','payload':{'code':'x','args':['',' -x'],'env':{'A_1':'','_b':'x'},'requirements':['numpy>=1'],"
	 "'files':{'a/b.txt':'','c':{'base64':'AA=='}}}}", ""},
	{"{'type':'other','payload':{'code':'x'}}", "type"},
	{"{'payload':{'code':'x'}}", "type"},
	{"{'type':'script'}", "payload"},
	{"{'type':'script','payload':[]}", "payload"},
	{"{'type':'script','payload':'code'}", "payload"},
	{"{'type':'script','payload':{}}", "payload.code"},
	{"{'type':'script','payload':{'code':''}}", "payload.code"},
	{"{'type':'script','payload':{'code':null}}", "payload.code"},
	{"{'type':'script','payload':{'code':5}}", "payload.code"},
	{"{'type':'script','payload':{'code':'x','command':['x']}}", "payload.command"},
	{"{'type':'script','payload':{'command':[]}}", "payload.command"},
	{"{'type':'script','payload':{'command':['']}}", "payload.command.0"},
	{"{'type':'script','payload':{'command':'rm -rf /'}}", "payload.command"},
	{"{'type':'script','payload':{'command':['x'],'args':['y']}}", "payload.args"},
	{"{'type':'script','payload':{'command':['x'],'requirements':[]}}", "payload.requirements"},
	{"{'type':'script','payload':{'code':'x','args':'y'}}", "payload.args"},
	{"{'type':'script','payload':{'code':'x','args':['y',1,null]}}", "payload.args.1 payload.args.2"},
	{"{'type':'script','payload':{'code':'x','shell':true}}", "payload.shell"},
	{"{'type':'script','payload':{'code':'x','env':['A']}}", "payload.env"},
	{"{'type':'script','payload':{'code':'x','env':{'1A':'','A=B':'','':'','A-B':''}}}",
	 "payload.env.1A payload.env.A=B payload.env. payload.env.A-B"},
	{"{'type':'script','payload':{'code':'x','env':{'A':1}}}", "payload.env.A"},
	{"{'type':'script','payload':{'code':'x','env':{'GPUPOOL_RESULT':'/etc/passwd'}}}", "payload.env.GPUPOOL_RESULT"},
	{"{'type':'script','payload':{'code':'x','requirements':['--index-url=http://x']}}", "payload.requirements.0"},
	{"{'type':'script','payload':{'code':'x','requirements':['ok',1]}}", "payload.requirements.1"},
	{"{'type':'script','payload':{'code':'x','files':{'../a':'','/etc/x':'','a//b':'','b/./b':'','c/':''}}}",
	 "payload.files.../a payload.files./etc/x payload.files.a//b payload.files.b/./b payload.files.c/"},
	{"{'type':'script','payload':{'code':'x','files':{'a b':'','~':''}}}", "payload.files.a b payload.files.~"},
	{"{'type':'script','payload':{'code':'x','files':{'a':'','a/b':''}}}", "payload.files.a"},
	{"{'type':'script','payload':{'code':'x','files':{'a':1,'b':{},'c':{'base64':1},'d':{'base64':'','x':1}}}}",
	 "payload.files.a payload.files.b payload.files.c payload.files.d"},
	{"{'type':'script','payload':{'code':'x','files':{'a':{'base64':'A'},'b':{'base64':'A==='},'c':{'base64':'A_-='}}}}",
	 "payload.files.a.base64 payload.files.b.base64 payload.files.c.base64"},
	{"{'type':'script','payload':{'code':'x'},'accelerator':'T4; drop'}", "accelerator"},
	{"{'type':'script','payload':{'code':'x'},'accelerator':''}", "accelerator"},
	{"{'type':'script','payload':{'code':'x'},'accelerator':['T4','a,b']}", "accelerator.1"},
	{"{'type':'script','payload':{'code':'x'},'accelerator':['1','2','3','4','5','6','7','8','9']}", "accelerator"},
	{"{'type':'script','payload':{'code':'x'},'tags':['a','b','a']}", "tags.2"},
	{"{'type':'script','payload':{'code':'x'},'retryOn':['error','error']}", "retryOn.1"},
	{"{'type':'script','payload':{'code':'x'},'secrets':['A','_B2']}", ""},
	{"{'type':'script','payload':{'code':'x','env':{'B':'','C':''}},'secrets':['A','B','A','c','LD_PRELOAD','PATH']}",
	 "secrets.1 secrets.2 secrets.3 secrets.4 secrets.5"},
	{"{'type':'script','payload':{'code':'x'},'runAfter':'tomorrow'}", "runAfter"},
	{"{'type':'script','payload':{'code':'x'},'runAfter':'2099-01-01T00:00:00Z'}", "runAfter"},
	{"{'type':'script','payload':{'code':'x'},'runAfter':'2020-01-01T00:00:00Z'}", ""},
	{"{'type':'inference','payload':{'input':1},'endpoint':'none'}", "endpoint"},
	{"{'type':'script','payload':{'code':'x'},'webhook':'http://169.254.169.254/'}", "webhook"},
};

START_TEST(test_fields_at_fault)
{
	const char *got = judge(cases[_i].document);

	ck_assert_msg(!strcmp(got, cases[_i].faults), "%s: \"%s\", not \"%s\"", cases[_i].document, got, cases[_i].faults);
	ck_assert_int_eq(worst, *got ? ERR_INVALID : OK);
}
END_TEST

START_TEST(test_prefix_of_a_batch)
{
	ck_assert_str_eq(judge_at("jobs.3", "{'type':'script','payload':{'code':1}}", NULL), "jobs.3.payload.code");
}
END_TEST

START_TEST(test_defaults_and_values)
{
	struct job_spec s;

	judge_at("", "{'type':'training','payload':{'code':'x'}}", &s);
	ck_assert_int_eq(s.lane.owner, 7);
	ck_assert_int_eq(s.lane.type, JOB_TRAINING);
	ck_assert_int_eq(s.lane.priority, 5);
	ck_assert_int_eq(s.lane.gpus, 1);
	ck_assert_int_eq(s.max_attempts, 3);
	ck_assert_str_eq(s.lane.accelerator, "");
	judge_at("", "{'type':'script','payload':{'code':'x'},'accelerator':['T4','GPU','A100','T4'],'gpus':2,'priority':0,'maxAttempts':9}", &s);
	ck_assert_str_eq(s.lane.accelerator, "A100,T4,gpu");
	ck_assert_int_eq(s.lane.gpus, 2);
	ck_assert_int_eq(s.lane.priority, 0);
	ck_assert_int_eq(s.max_attempts, 9);
}
END_TEST

START_TEST(test_payload_too_large)
{
	cleanup_buf struct buf b = BUF_INIT(4 << 20);

	buf_adds(&b, "{'type':'script','payload':{'code':'");
	for (int i = 0; i < JOB_PAYLOAD_MAX - 11; i++)
		buf_addc(&b, 'x');
	buf_adds(&b, "'}}");
	ck_assert_str_eq(judge(b.ptr), "");
	buf_reset(&b);
	buf_adds(&b, "{'type':'script','payload':{'code':'");
	for (int i = 0; i < JOB_PAYLOAD_MAX - 10; i++)
		buf_addc(&b, 'x');
	buf_adds(&b, "'}}");
	ck_assert_str_eq(judge(b.ptr), "payload");
	ck_assert_int_eq(worst, ERR_TOO_LARGE);
}
END_TEST

static const struct {
	const char *text;
	bool good;
} requirements[] = {
	{"numpy", true},
	{"numpy==1.26.4", true},
	{"numpy >= 1.24, < 2", true},
	{"scikit-learn~=1.3", true},
	{"torch==2.1.*", true},
	{"torch==2.1.0+cu118", true},
	{"uvicorn[standard,http2]>=0.2", true},
	{"a===1", true},
	{"a; python_version < '3.11' and sys_platform == \"linux\"", true},
	{"pkg @ https://example.org/pkg-1.0-py3-none-any.whl#sha256=ab", true},
	{"pkg @ git+https://example.org/x.git@v1", true},
	{"", false},
	{"-r other.txt", false},
	{"--index-url=http://evil", false},
	{"-e .", false},
	{" numpy", false},
	{"./local", false},
	{"../x", false},
	{"/etc/passwd", false},
	{"numpy --hash=sha256:00", false},
	{"numpy -i http://evil", false},
	{"numpy\n--index-url=http://evil", false},
	{"numpy\tx", false},
	{"a/b.whl", false},
	{"pkg @ file:///etc/passwd", false},
	{"pkg @ http://plain", false},
	{"pkg @", false},
	{"pkg[", false},
	{"pkg[a", false},
	{"pkg==", false},
	{"pkg==1,", false},
	{"pkg=====1", false},
	{"pkg-", false},
	{"pkg==1 other", false},
	{"pkg; os.system('x'); y", false},
	{"$(id)", false},
	{"p\xc3\xa9kg", false},
};

START_TEST(test_requirement)
{
	ck_assert_msg(requirement_valid(str_of(requirements[_i].text)) == requirements[_i].good, "%s", requirements[_i].text);
}
END_TEST

START_TEST(test_file_names)
{
	ck_assert(file_name_valid(STR("1/2/3/4/5/6/7/8")));
	ck_assert(!file_name_valid(STR("1/2/3/4/5/6/7/8/9")));
	ck_assert(file_name_valid(STR(".hidden/a..b/...")));
	ck_assert(!file_name_valid(STR("a/..")));
	ck_assert(!file_name_valid(STR("")));
	ck_assert(!file_name_valid(STR_NULL));
	ck_assert(!file_name_valid(STR("a\\b")));
}
END_TEST

START_TEST(test_accelerators)
{
	char list[LANE_ACCELERATOR_MAX];
	struct str two[] = {STR("tPu"), STR("L4")}, longest[LANE_ACCELERATORS];
	char names[LANE_ACCELERATORS][65];

	ck_assert(accelerator_list(two, 2, list));
	ck_assert_str_eq(list, "L4,tpu");
	for (int i = 0; i < LANE_ACCELERATORS; i++) {
		memset(names[i], 'a' + i, 64);
		longest[i] = (struct str){names[i], 64};
		ck_assert(accelerator_valid(longest[i]));
	}
	ck_assert(!accelerator_list(longest, LANE_ACCELERATORS, list)); /* 519 bytes */
	ck_assert(accelerator_list(longest, 3, list));
	ck_assert(!accelerator_valid(STR("-x")));
	ck_assert(!accelerator_valid(STR("a b")));
	ck_assert(!accelerator_valid((struct str){"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 65}));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("job_spec");
	TCase *t = tcase_create("spec");

	tcase_add_loop_test(t, test_fields_at_fault, 0, ARRAY_LEN(cases));
	tcase_add_test(t, test_prefix_of_a_batch);
	tcase_add_test(t, test_defaults_and_values);
	tcase_add_test(t, test_payload_too_large);
	tcase_add_loop_test(t, test_requirement, 0, ARRAY_LEN(requirements));
	tcase_add_test(t, test_file_names);
	tcase_add_test(t, test_accelerators);
	suite_add_tcase(s, t);
	return unit_run(s);
}
