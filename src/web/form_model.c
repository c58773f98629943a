/* form_model - models of forms.  See web/form_model.h. */
#include "web/form_model.h"

#include <string.h>

struct json *form_field(const char *name, struct str value, const char *error)
{
	struct json *j = json_object();

	json_put_cstr(j, "name", name);
	json_put_str(j, "value", value.ptr ? value : STR(""));
	json_put_cstr(j, "error", error);
	return j;
}

struct json *form_problem(const char *code, const char *detail)
{
	struct json *j = json_object();

	json_put_cstr(j, "code", code);
	json_put_cstr(j, "detail", detail);
	return j;
}

const char *form_error(const struct field_errors *f, const char *name)
{
	for (int i = 0; f && i < f->count; i++)
		if (!strcmp(f->list[i].field, name))
			return f->list[i].message;
	return NULL;
}
