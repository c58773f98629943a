/* kaggle_start - pushing a run, and finding out whether a push took effect. */
#include "provider/kaggle.h"

#include <string.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/http.h"

enum {
	CHECK_MS = 5000,               /* left for asking what an unclear push did */
	UNDO_MS = 20000,               /* for taking back a run that lacks its inputs */
	UNDO_PAUSE_MS = 1000,
	SECONDS_MOST = 43200,          /* no session at Kaggle is longer */
};

/* ---- what can be pushed at all -------------------------------------------- */

static enum err invalid(struct error *why, const char *reason, const char *sentence)
{
	error_set(why, ERR_INVALID, "%s", sentence);
	if (why)
		why->reason = reason;
	return ERR_INVALID;
}

/* "owner/name", "owner/model/framework/variation/7": so many segments at least and at most. */
static bool source_valid(const char *text, int least, int most)
{
	struct str rest = str_of(text), segment;
	int count = 0;

	while (str_cut(&rest, '/', &segment)) {
		if (!segment.len || segment.len > 128)
			return false;
		for (size_t i = 0; i < segment.len; i++)
			if (segment.ptr[i] <= ' ' || segment.ptr[i] > '~' || strchr("\"'<>\\?#%", segment.ptr[i]))
				return false;
		count++;
	}
	return count >= least && count <= most;
}

static const char *bad_source(const struct inputs *in)
{
	const struct {
		const char *const *names;
		int least, most;
	} lists[] = {{in->datasets, 2, 2}, {in->models, 4, 5}, {in->competitions, 1, 1}, {in->kernels, 2, 2}};

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (const char *const *name = lists[i].names; *name; name++)
			if (!source_valid(*name, lists[i].least, lists[i].most))
				return *name;
	return NULL;
}

bool kaggle_launch_valid(const struct launch *l, struct error *why)
{
	const char *bad;

	if (l->name && !kaggle_name_valid(str_of(l->name))) {
		invalid(why, NULL, "Kaggle takes names of 6 to 49 lower-case letters, digits and single dashes only.");
		return false;
	}
	if (l->limit_seconds < 0 || l->limit_seconds > SECONDS_MOST) {
		invalid(why, NULL, "A session at Kaggle lasts 12 hours at most.");
		return false;
	}
	if (l->resource && strcmp(l->resource, "cpu") && strcmp(l->resource, "gpu") && strcmp(l->resource, "tpu")) {
		invalid(why, NULL, "Kaggle has machines of the kinds cpu, gpu and tpu.");
		return false;
	}
	bad = l->inputs ? bad_source(l->inputs) : NULL;
	if (bad) {
		error_set(why, ERR_INVALID, "\"%.100s\" is not how Kaggle names an input.", bad);
		if (why)
			why->reason = "inputs";
		return false;
	}
	return true;
}

/* ---- what is there -------------------------------------------------------- */

static enum err name_taken(struct provider_call *c, const char *owner, const char *name)
{
	error_set(c->error, ERR_INVALID, "The notebook %s/%s at Kaggle is not gpupool's: rename or delete it there, or make one with another title here.",
		  owner, name);
	if (c->error)
		c->error->reason = "name_taken";
	return ERR_INVALID;
}

/* No failure of Kaggle's: the same question has an answer later. */
static enum err unsettled(struct provider_call *c, const char *sentence)
{
	error_set(c->error, ERR_UNAVAILABLE, "%s", sentence);
	if (c->error)
		c->error->reason = "unsettled";
	return ERR_UNAVAILABLE;
}

static enum err lost_inputs(struct provider_call *c, const char *names)
{
	error_set(c->error, ERR_INVALID, "Kaggle has no such inputs: %.180s.", names);
	if (c->error)
		c->error->reason = "inputs";
	return ERR_INVALID;
}

static bool is_of(const struct kaggle_kernel *k, const struct launch *l)
{
	return k->ours && str_eq(k->mark.intent, l->intent);
}

/* The run of this intent, as GetKernel shows it. */
static enum err shown(struct provider_call *c, const struct launch *l, const char *owner, const struct kaggle_kernel *k, struct run *ret)
{
	const char *lost = kaggle_inputs_lost(c, k, l->inputs);
	struct kaggle_reference r = {
		.owner = owner,
		.name = l->name,
		.version = k->version,
		.kernel_id = k->id,
		.pushed = clock_wall_ms() / 1000 - (int64_t)l->launched_for, /* not by Kaggle's clock */
	};
	enum err err;

	if (!lost)
		return kaggle_reference_make(c, &r, NULL, ret);
	/* It runs without what it was to have. */
	err = kaggle_delete(c, owner, l->name);
	return err ? err : lost_inputs(c, lost);
}

enum err kaggle_find(struct provider_call *c, const struct launch *l, struct run *ret)
{
	cleanup_kernel struct kaggle_kernel k = {0};
	const char *owner;
	enum err err = kaggle_owner(c, &owner);

	if (!err && (!l->name || !kaggle_name_valid(str_of(l->name))))
		err = error_set(c->error, ERR_INVALID, "The worker has no name at Kaggle.");
	if (!err)
		err = kaggle_kernel_get(c, owner, l->name, &k);
	if (!err && is_of(&k, l))
		return shown(c, l, owner, &k, ret);
	if (err && err != ERR_NOT_FOUND)
		return err;
	/* A push may show late. */
	if (l->launched_for < (double)c->config->kaggle_settle_seconds)
		return unsettled(c, "It is not yet certain whether Kaggle took the start.");
	return error_set(c->error, ERR_NOT_FOUND, "Kaggle has no run of this start.");
}

/* OK when the name is free or ours and nothing of ours runs there; found when this very start is there. */
static enum err make_sure(struct provider_call *c, const struct launch *l, const char *owner, struct run *found)
{
	cleanup_kernel struct kaggle_kernel k = {0};
	struct run_status status;
	enum err err = kaggle_kernel_get(c, owner, l->name, &k);

	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	if (is_of(&k, l))
		return shown(c, l, owner, &k, found);
	if (!k.ours || k.mark.worker != l->worker)
		return name_taken(c, owner, l->name);
	err = kaggle_status_get(c, &(struct kaggle_reference){.owner = owner, .name = l->name, .version = k.version}, &status);
	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	return status.phase == RUN_ENDED ? OK : unsettled(c, "An earlier run of this notebook has not ended at Kaggle yet.");
}

/* ---- taking back ---------------------------------------------------------- */

/* Ends what was pushed a moment ago, which Kaggle may not even show yet. */
static enum err take_back(struct provider_call *c, const struct kaggle_reference *r, struct str intent)
{
	int64_t until = clock_ms() + UNDO_MS;
	/* What was there before this push is kept when its run can be ended otherwise. */
	enum err err = r->session_id > 0 || r->version > 1 ? kaggle_cancel(c, r) : ERR_NOT_FOUND;

	if (!err && r->version > 1)
		return OK;
	do {
		cleanup_kernel struct kaggle_kernel k = {0};

		err = kaggle_kernel_get(c, r->owner, r->name, &k);
		if (!err && !k.ours)
			return OK;
		if (!err && str_eq(k.mark.intent, intent))
			return kaggle_delete(c, r->owner, r->name);
		if (err == ERR_UNAUTHORIZED || http_client_aborted(c->http))
			break;
		clock_sleep_ms(UNDO_PAUSE_MS);
	} while (clock_ms() < until && kaggle_left(c) > CHECK_MS);
	return unsettled(c, "A run that lacks its inputs could not be ended at Kaggle yet.");
}

/* ---- the push ------------------------------------------------------------- */

/* After an error that leaves doubt: what does Kaggle show?  The error stays where it shows nothing. */
static enum err doubtful(struct provider_call *c, const struct launch *l, const char *owner, enum err err, struct run *ret)
{
	cleanup_kernel struct kaggle_kernel k = {0};
	struct error kept = *c->error;
	int64_t wait = c->retry_after_s;

	if (kaggle_left(c) > CHECK_MS && kaggle_kernel_get(c, owner, l->name, &k) == OK && is_of(&k, l))
		return shown(c, l, owner, &k, ret);
	*c->error = kept;
	c->retry_after_s = wait;
	return err;
}

/* A text in an answer that is otherwise fine. */
static enum err refused(struct provider_call *c, const struct launch *l, const char *owner, struct str words, struct run *ret)
{
	enum err err = kaggle_refusal(c, words, str_of(l->name), ERR_INVALID);

	/* No room means that nothing was started; other words were seen on runs that had. */
	return err == ERR_QUOTA ? err : doubtful(c, l, owner, err, ret);
}

static enum err renamed(struct provider_call *c, const struct launch *l, struct kaggle_reference *r)
{
	enum err err = take_back(c, r, l->intent);

	if (err)
		return err;
	return error_set(c->error, ERR_INVALID, "Kaggle named the notebook %.60s/%.60s, not as asked; it was taken back. Choose another title.", r->owner,
			 r->name);
}

static enum err pushed(struct provider_call *c, const struct launch *l, const char *owner, const struct json *answer, int64_t at, struct run *ret)
{
	struct str words = kaggle_complaint(answer, NULL), there, name;
	struct kaggle_reference r = {.owner = owner, .name = l->name, .pushed = at};
	const char *url = kaggle_text(answer, "url").ptr, *bad;
	enum err err;

	if (words.len)
		return refused(c, l, owner, words, ret);
	r.version = kaggle_number(answer, "versionNumber");
	r.kernel_id = kaggle_number(answer, "kernelId");
	r.session_id = kaggle_number(answer, "kernelSessionId");
	if (r.version <= 0 || !kaggle_ref_read(kaggle_text(answer, "ref").len ? kaggle_text(answer, "ref") : str_of(url), &there, &name))
		return doubtful(c, l, owner, error_set(c->error, ERR_UPSTREAM, "Kaggle does not say which run it made."), ret);
	if (!str_ieqz(there, owner) || !str_ieqz(name, l->name)) {
		r.owner = arena_str(c->arena, there).ptr;
		r.name = arena_str(c->arena, name).ptr;
		return r.owner && r.name ? renamed(c, l, &r) : kaggle_no_memory(c);
	}
	bad = kaggle_inputs_refused(c, answer);
	if (!bad)
		return kaggle_reference_make(c, &r, url, ret);
	err = take_back(c, &r, l->intent);
	return err ? err : lost_inputs(c, bad);
}

static enum err push(struct provider_call *c, const struct launch *l, const char *owner, struct run *ret)
{
	cleanup_json struct json *answer = NULL;
	struct json *args = NULL;
	int64_t at = clock_wall_ms() / 1000;
	enum err err = kaggle_push_make(c, l, owner, &args);

	if (err)
		return err;
	CRASH_POINT("kaggle.push");
	err = kaggle_call(c, "kernels.KernelsApiService/SaveKernel", args, KAGGLE_EFFECT | KAGGLE_PUSH, &answer);
	CRASH_POINT("kaggle.pushed");
	switch (err) {
	case OK:
		return pushed(c, l, owner, answer, at, ret);
	case ERR_FORBIDDEN:
	case ERR_NOT_FOUND:
		/* The credentials are good, then: it is the account that may not. */
		err = kaggle_prove(c, err);
		if (err != ERR_NOT_FOUND)
			return err;
		error_set(c->error, ERR_FORBIDDEN, "Kaggle does not let this account run notebooks: see its settings there, the phone number above all.");
		c->error->reason = "account";
		return ERR_FORBIDDEN;
	case ERR_UNAVAILABLE:
		if (c->error->reason && !strcmp(c->error->reason, "contested"))
			return err; /* said before anything was done */
		return doubtful(c, l, owner, err, ret);
	case ERR_TIMEOUT:
	case ERR_UPSTREAM:
		return doubtful(c, l, owner, err, ret);
	default:
		return err;
	}
}

enum err kaggle_start(struct provider_call *c, const struct launch *l, struct run *ret)
{
	const char *owner;
	enum err err;

	*ret = (struct run){0};
	if (!l->name || !kaggle_launch_valid(l, c->error))
		return l->name ? ERR_INVALID : error_set(c->error, ERR_INVALID, "The worker has no name at Kaggle.");
	err = kaggle_owner(c, &owner);
	if (!err)
		err = make_sure(c, l, owner, ret);
	return err || ret->reference.len ? err : push(c, l, owner, ret);
}
