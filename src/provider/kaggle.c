/* kaggle - the provider's table, and its functions that are one call or two. */
#include "provider/kaggle.h"

#include <math.h>
#include <string.h>

#include "base/asset.h"
#include "base/clock.h"
#include "base/crashpoint.h"

enum {
	LIST_PAGE = 25,
	LIST_PAGES_MOST = 20,          /* of one call */
	LIST_MOST = 60,                /* notebooks that are looked into by one call, and a page more */
};

/* ---- check, verify, usage ------------------------------------------------- */

static enum err check(struct provider_call *c)
{
	if (!asset_find("agent/kaggle-start.py") || !asset_find("agent/gpupool-agent.py"))
		return error_set(c->error, ERR_INVALID, "This program was built without its agent.");
	return OK;
}

static int64_t rounded(double seconds, double (*how)(double))
{
	return seconds < 0 ? -1 : (int64_t)how(seconds);
}

static enum err usage(struct provider_call *c, struct usage_list *ret)
{
	static const struct {
		const char *resource, *key;
	} kinds[] = {{"gpu", "gpuQuota"}, {"tpu", "tpuQuota"}};
	cleanup_json struct json *answer = NULL;
	enum err err = kaggle_call(c, "kernels.KernelsApiService/GetAcceleratorQuotaStatistics", json_object(), 0, &answer);

	*ret = (struct usage_list){0};
	/* A key that is good for all else may be kept from this: the hours are not told, then. */
	if ((err == ERR_FORBIDDEN || err == ERR_NOT_FOUND) && !c->error->reason)
		return OK;
	if (err)
		return err;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const struct json *q = kaggle_get(answer, kinds[i].key);

		if (json_type_of(q) != JSON_OBJECT)
			continue;
		ret->items[ret->count++] = (struct usage){
			.resource = kinds[i].resource,
			.used_seconds = rounded(kaggle_duration(q, "timeUsed"), ceil),
			.reserved_seconds = rounded(kaggle_duration(q, "timeReserved"), ceil),
			.limit_seconds = rounded(kaggle_duration(q, "totalTimeAllowed"), floor),
			.resets_at = kaggle_time(answer, "quotaRefreshTime"),
		};
	}
	return OK;
}

/* ---- list ----------------------------------------------------------------- */

/* A notebook that may be ours by its name: only its source tells.  Kaggle's list
 * does not say whether it runs, and asking for each would double the calls. */
static enum err add_found(struct provider_call *c, struct str owner, struct str name, struct run_list *ret)
{
	cleanup_kernel struct kaggle_kernel k = {0};
	struct kaggle_reference r = {.owner = arena_str(c->arena, owner).ptr, .name = arena_str(c->arena, name).ptr};
	struct run_found *f = &ret->items[ret->count];
	enum err err;

	if (!r.owner || !r.name)
		return kaggle_no_memory(c);
	err = kaggle_kernel_get(c, r.owner, r.name, &k);
	if (err || !k.ours)
		return err == ERR_NOT_FOUND ? OK : err;
	r.version = k.version;
	r.kernel_id = k.id;
	f->worker = k.mark.worker;
	f->intent = arena_str(c->arena, k.mark.intent);
	ret->count++;
	return f->intent.ptr ? kaggle_reference_make(c, &r, NULL, &f->run) : kaggle_no_memory(c);
}

/* looked: into so many sources. */
static enum err list_page(struct provider_call *c, const char *owner, const char *token, struct run_list *ret, int *looked)
{
	cleanup_json struct json *answer = NULL;
	struct json *args = json_object(), *kernels;
	struct str there, name, next;
	enum err err;

	json_put_cstr(args, "group", "PROFILE");
	json_put_i64(args, "pageSize", LIST_PAGE);
	if (token)
		json_put_cstr(args, "pageToken", token);
	err = kaggle_prove(c, kaggle_call(c, "kernels.KernelsApiService/ListKernels", args, 0, &answer));
	kernels = err ? NULL : kaggle_get(answer, "kernels");
	for (size_t i = 0; !err && i < json_len(kernels) && ret->count < LIST_MOST + LIST_PAGE; i++)
		if (kaggle_ref_read(kaggle_text(json_at(kernels, i), "ref"), &there, &name) && str_ieqz(there, owner) &&
		    str_starts(name, "gpupool-")) {
			err = add_found(c, there, name, ret);
			*looked += 1;
		}
	next = err ? STR_NULL : kaggle_text(answer, "nextPageToken");
	ret->more = next.len && !(token && str_eqz(next, token)) ? arena_str(c->arena, next).ptr : NULL;
	return err == ERR_NOT_FOUND ? ERR_UPSTREAM : err;
}

/* As many pages as one call may take: each notebook of ours costs a call of its own. */
static enum err list(struct provider_call *c, struct run_list *ret)
{
	int64_t half = kaggle_left(c) / 2;
	const char *owner;
	int looked = 0;
	enum err err = kaggle_owner(c, &owner);

	*ret = (struct run_list){.items = arena_array(c->arena, LIST_MOST + LIST_PAGE, sizeof(*ret->items)), .more = c->list_from};
	if (!err && !ret->items)
		err = kaggle_no_memory(c);
	for (int page = 0; !err && page < LIST_PAGES_MOST && looked < LIST_MOST && (!page || (ret->more && kaggle_left(c) > half)); page++)
		err = list_page(c, owner, ret->more, ret, &looked);
	return err;
}

/* ---- poll ----------------------------------------------------------------- */

static enum err poll_run(struct provider_call *c, const struct run *run, struct run_status *ret)
{
	struct kaggle_reference r;
	enum err err = kaggle_reference_read(c, run, &r);

	if (!err)
		err = kaggle_status_get(c, &r, ret);
	if (err != ERR_NOT_FOUND)
		return err;
	/* Shortly after its push a notebook looks as if it were not there. */
	if (clock_wall_ms() / 1000 - r.pushed < c->config->kaggle_settle_seconds)
		*ret = (struct run_status){.phase = RUN_QUEUED};
	else
		*ret = (struct run_status){.phase = RUN_ENDED, .code = "gone", .reason = "The notebook is no longer at Kaggle: somebody deleted it there."};
	return OK;
}

/* ---- the end -------------------------------------------------------------- */

/* OK with *there false when nothing of ours is there; ERR_INVALID when what is there is not ours. */
static enum err look(struct provider_call *c, const struct kaggle_reference *r, bool *there)
{
	cleanup_kernel struct kaggle_kernel k = {0};
	enum err err = kaggle_kernel_get(c, r->owner, r->name, &k);

	*there = !err;
	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	if (k.ours)
		return OK;
	error_set(c->error, ERR_INVALID, "The notebook %s/%s at Kaggle is no longer gpupool's; what runs in it must be ended there.", r->owner, r->name);
	c->error->reason = "name_taken";
	return ERR_INVALID;
}

static enum err stop(struct provider_call *c, const struct run *run, bool insist)
{
	struct kaggle_reference r;
	bool there;
	enum err err = kaggle_reference_read(c, run, &r);

	if (err)
		return err;
	/* A session that the push itself told is ours without a look. */
	if (!insist && r.session_id > 0)
		return (err = kaggle_cancel(c, &r)) == ERR_NOT_FOUND ? OK : err;
	err = look(c, &r, &there);
	if (err || !there)
		return err;
	if (insist) {
		CRASH_POINT("kaggle.delete");
		return kaggle_delete(c, r.owner, r.name);
	}
	/* Where no session can be had the caller insists when its patience ends. */
	err = kaggle_cancel(c, &r);
	return err == ERR_NOT_FOUND ? OK : err;
}

static enum err remove_kernel(struct provider_call *c, const struct run *run)
{
	struct kaggle_reference r;
	bool there = false;
	enum err err = kaggle_reference_read(c, run, &r);

	if (!err)
		err = look(c, &r, &there);
	/* What is another's by now holds nothing of ours. */
	if (err == ERR_INVALID && c->error->reason)
		return OK;
	CRASH_POINT("kaggle.remove");
	return err || !there ? err : kaggle_delete(c, r.owner, r.name);
}

const struct provider provider_kaggle = {
	.name = "kaggle",
	.caps = CAN_START | CAN_STOP | CAN_LOGS | KNOWS_RUNS | REMOTE | NEEDS_SECRET,
	.check = check,
	.verify = kaggle_verify,
	.start = kaggle_start,
	.find = kaggle_find,
	.list = list,
	.poll = poll_run,
	.stop = stop,
	.remove = remove_kernel,
	.outputs = kaggle_outputs,
	.usage = usage,
	.launch_valid = kaggle_launch_valid,
};
