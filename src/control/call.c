/* call - see control/call.h. */
#include "control/call.h"

#include "base/clock.h"

/* Well below OPERATION_CLAIM_SECONDS: a claim must not end during a call. */
enum { CALL_MS = 20000 };

static struct provider_call prepare(struct reconciler *r, struct error *e)
{
	*e = (struct error){0};
	return (struct provider_call){
		.arena = &r->arena,
		.config = r->config,
		.deadline_ms = clock_ms() + CALL_MS,
		.retry_after_s = -1,
		.error = e,
	};
}

enum err call_check(struct reconciler *r, const struct provider *p, struct error *e)
{
	struct provider_call c = prepare(r, e);

	return p->check(&c);
}

enum err call_start(struct reconciler *r, const struct provider *p, const struct launch *l, struct run *ret, struct error *e)
{
	struct provider_call c = prepare(r, e);

	return p->start(&c, l, ret);
}

enum err call_find(struct reconciler *r, const struct provider *p, const struct launch *l, struct run *ret, struct error *e)
{
	struct provider_call c = prepare(r, e);

	return p->find(&c, l, ret);
}

enum err call_list(struct reconciler *r, const struct provider *p, struct run_list *ret, struct error *e)
{
	struct provider_call c = prepare(r, e);

	return p->list(&c, ret);
}

enum err call_poll(struct reconciler *r, const struct provider *p, const struct run *run, struct run_status *ret, struct error *e)
{
	struct provider_call c = prepare(r, e);

	return p->poll(&c, run, ret);
}

enum err call_stop(struct reconciler *r, const struct provider *p, const struct run *run, bool insist, struct error *e)
{
	struct provider_call c = prepare(r, e);

	return p->stop(&c, run, insist);
}

enum err call_remove(struct reconciler *r, const struct provider *p, const struct run *run, struct error *e)
{
	struct provider_call c = prepare(r, e);

	return p->remove(&c, run);
}

struct str call_log_tail(struct reconciler *r, const struct provider *p, const struct run *run)
{
	struct error e;
	struct provider_call c = prepare(r, &e);
	struct outputs out = {0};

	if (!(p->caps & CAN_LOGS) || !run->reference.len || p->outputs(&c, run, &out))
		return STR_NULL;
	return out.log;
}

void call_provider_names(const struct reconciler *r, struct buf *ret)
{
	array_begin(ret);
	for (size_t i = 0; i < r->provider_count; i++)
		array_add_str(ret, str_of(r->providers[i]->name));
	array_end(ret);
}
