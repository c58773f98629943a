/* colab_enterprise - the provider's table, and what an account is good for.  See provider/colab_enterprise.h. */
#include "provider/colab_enterprise.h"

#include <string.h>

#include "base/asset.h"
#include "base/outgoing.h"
#include "provider/google_token.h"

/* ---- what the account says ------------------------------------------------ */

/* The region stands in the host's name; a stand-in has one name for all. */
static const char *base_of(struct provider_call *c, const char *project, const char *region)
{
	const char *url = c->config->vertex_url, *host = strstr(url, "://");

	if (!host || outgoing_url_loopback(str_of(url)))
		return arena_printf(c->arena, "%s/v1/projects/%s/locations/%s", url, project, region);
	return arena_printf(c->arena, "%.*s://%s-%s/v1/projects/%s/locations/%s", (int)(host - url), url, region, host + 3, project, region);
}

enum err ce_account_read(struct provider_call *c, struct ce_account *ret)
{
	cleanup_google struct json *doc = NULL;
	cleanup_google_key struct google_key key = {0};
	struct str project, region, bucket;
	enum err err = google_credentials(c, &doc);

	if (!err)
		err = google_key_read(c, doc, &key);
	if (err)
		return err;
	project = json_str(doc, "project").len ? json_str(doc, "project") : key.project;
	region = json_str(doc, "region");
	bucket = json_str(doc, "bucket");
	if (!ce_project_valid(project))
		return google_bad_credentials(c, "The account names no project of Google Cloud: its id is on the console's first page.");
	if (!ce_region_valid(region))
		return google_bad_credentials(c, "The account names no region, such as europe-west4.");
	if (!ce_bucket_valid(bucket))
		return google_bad_credentials(c, "The account names no bucket: its name alone, without gs://.");
	*ret = (struct ce_account){
		.project = arena_str(c->arena, project).ptr,
		.region = arena_str(c->arena, region).ptr,
		.bucket = arena_str(c->arena, bucket).ptr,
		.email = arena_str(c->arena, key.email).ptr,
	};
	if (!ret->project || !ret->region || !ret->bucket || !ret->email)
		return google_no_memory(c);
	ret->base = base_of(c, ret->project, ret->region);
	return ret->base ? OK : google_no_memory(c);
}

/* ---- is it good ----------------------------------------------------------- */

static enum err check(struct provider_call *c)
{
	if (!asset_find("agent/colab-start.py") || !asset_find("agent/gpupool-agent.py"))
		return error_set(c->error, ERR_INVALID, "This program was built without its agent.");
	return OK;
}

/* The cheapest question that needs key, project, region, interface and permission at once. */
static enum err check_jobs(struct provider_call *c, const struct ce_account *a)
{
	cleanup_google_answer struct google_answer answer = {0};
	enum err err = google_call(c, &(struct google_request){
		.service = "Vertex AI", .scope = GOOGLE_SCOPE_CLOUD, .url = arena_printf(c->arena, "%s/notebookExecutionJobs?pageSize=1", a->base)}, &answer);
	const struct google_fault *f = &answer.fault;

	if ((err == ERR_FORBIDDEN && (!strcmp(f->reason, "CONSUMER_INVALID") || !strcmp(f->reason, "USER_PROJECT_DENIED") ||
				      !strcmp(f->reason, "RESOURCE_PROJECT_INVALID"))) ||
	    (err == ERR_NOT_FOUND && strcasestr(f->words, "project")))
		return google_fail(c, ERR_UNAUTHORIZED, "credentials", "Google Cloud has no project %.100s that this service account may use: correct the project's id, "
				   "or add the account to it.", a->project);
	if (err == ERR_NOT_FOUND || err == ERR_INVALID)
		return google_fail(c, ERR_UNAUTHORIZED, "credentials", "Vertex AI does not serve the region %s: choose another, such as us-central1 or europe-west4.",
				   a->region);
	/* It cannot be reached where regions are part of the host's name. */
	if (err == ERR_UNAVAILABLE && !f->status && !outgoing_url_loopback(str_of(c->config->vertex_url)))
		return google_fail(c, err, NULL, "Vertex AI in %s cannot be reached: is that the name of a region?", a->region);
	return err;
}

static bool granted(const struct json *answer, const char *permission)
{
	const struct json *list = json_get(answer, "permissions");

	for (size_t i = 0; i < json_len(list); i++)
		if (str_eqz(json_as_str(json_at(list, i)), permission))
			return true;
	return false;
}

/* Asked of the bucket itself; this writes nothing. */
static enum err check_bucket(struct provider_call *c, const struct ce_account *a)
{
	static const char *const needed[] = {"storage.objects.create", "storage.objects.list", "storage.objects.get"};
	cleanup_google_answer struct google_answer answer = {0};
	cleanup_buf struct buf url = BUF_INIT(4096);
	enum err err;

	buf_addf(&url, "%s/storage/v1/b/%s/iam/testPermissions", c->config->gcs_url, a->bucket);
	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		buf_addf(&url, "%cpermissions=%s", i ? '&' : '?', needed[i]);
	err = google_call(c, &(struct google_request){.service = "Cloud Storage", .scope = GOOGLE_SCOPE_CLOUD, .url = url.ptr}, &answer);
	if (err == ERR_NOT_FOUND)
		return google_fail(c, ERR_FORBIDDEN, "account", "There is no bucket %.100s: make it in Cloud Storage, or put another into the account.", a->bucket);
	if (err)
		return err;
	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!granted(answer.doc, needed[i]))
			return google_fail(c, ERR_FORBIDDEN, "account", "The service account lacks %s on the bucket %.80s: give it the role Storage Object User there.",
					   needed[i], a->bucket);
	return OK;
}

static enum err verify(struct provider_call *c, struct identity *ret)
{
	struct ce_account a;
	enum err err = ce_account_read(c, &a);

	if (!err)
		err = check_jobs(c, &a);
	if (!err)
		err = check_bucket(c, &a);
	if (!err)
		ret->name = a.email;
	return err;
}

const struct provider provider_colab_enterprise = {
	.name = "colab-enterprise",
	.caps = CAN_START | CAN_STOP | CAN_LOGS | KNOWS_RUNS | REMOTE | NEEDS_SECRET,
	.check = check,
	.verify = verify,
	.start = ce_start,
	.find = ce_find,
	.list = ce_list,
	.poll = ce_poll,
	.stop = ce_stop,
	.remove = ce_remove,
	.outputs = ce_outputs,
	.launch_valid = ce_launch_valid,
};
