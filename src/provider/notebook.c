/* notebook - see provider/notebook.h. */
#include "provider/notebook.h"

#include "base/notebook.h"

static enum err make(struct provider_call *c, const struct launch *l, const struct notebook_want *w, struct str *ret,
		     enum err (*write)(const struct notebook *, struct buf *, struct error *))
{
	const struct notebook n = {
		.intent = l->intent,
		.worker = l->worker,
		.installation = c->installation,
		.title = l->title,
		.provider = w->provider,
		.resource = l->resource,
		.machine = w->preset ? l->shape : NULL,
		.token = {l->token->ptr, l->token->len},
		.server_url = l->server_url,
		.people = w->people,
		.detach = w->detach,
	};
	cleanup_buf struct buf b = BUF_SECRET(NOTEBOOK_MOST);
	enum err err = write(&n, &b, c->error);

	if (err)
		return err;
	*ret = arena_str(c->arena, buf_str(&b));
	return ret->ptr ? OK : error_set(c->error, ERR_TOO_LARGE, "The notebook takes more memory than one call may have.");
}

enum err notebook_make(struct provider_call *c, const struct launch *l, const struct notebook_want *w, struct str *ret)
{
	return make(c, l, w, ret, notebook_write);
}

enum err notebook_source_make(struct provider_call *c, const struct launch *l, const struct notebook_want *w, struct str *ret)
{
	return make(c, l, w, ret, notebook_source);
}
