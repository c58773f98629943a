/*
 * Fuzzes the template compiler, the catalogue parser and rendering: the input
 * is a catalogue, a NUL, and a template, rendered against a small model.
 * Whatever compiles must render within its limits, write no "<" that
 * only the model holds, and leak nothing.
 */
#include "base/json.h"
#include "web/template.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len);

static const char model_text[] =
	"{\"a\":{\"b\":[1,2,{\"c\":\"<x>\"}],\"d\":\"\"},\"n\":12345,\"l\":[[],[0]],\"u\":\"javascript:x\",\"f\":false}";

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len)
{
	struct str template = {(const char *)bytes, len}, messages;
	cleanup_template struct template_set *set = template_new();
	cleanup_buf struct buf out = BUF_INIT(1 << 16);
	cleanup_json struct json *model = NULL;
	struct error e;

	str_cut(&template, '\0', &messages);
	if (json_parse(STR(model_text), sizeof(model_text), &model, &e))
		abort();
	if (template_add(set, "t", template.ptr ? template : STR(""), &e) ||
	    template_add_catalogue(set, "en", messages, &e) || template_link(set, &e))
		return 0;
	if (template_render(set, "t", "en", model, false, &out, &e) == OK && out.len && !memchr(bytes, '<', len) &&
	    memchr(out.ptr, '<', out.len))
		abort();
	buf_reset(&out);
	if (template_render(set, "t", "en", model, true, &out, &e) == ERR_NOT_FOUND)
		abort();
	return 0;
}
