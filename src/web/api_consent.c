/* api_consent - a person's consent at Google: where he goes, and what he comes back with. */
#include "domain/consent.h"
#include "web/api.h"
#include "web/page.h"
#include "web/pages.h"
#include "web/wake.h"

#include "base/clock.h"

static const char *const ways[] = {"assisted", "api", NULL};

const struct field consent_body[] = {
	{"start", FIELD_ENUM, 0, .choices = ways, .doc = "What it is for: assisted (the default: notebooks in your Drive), or api as well."},
	{0},
};
const struct field consent_query[] = {
	{"state", FIELD_STRING, 0, 0, 200}, {"code", FIELD_STRING, 0, 0, 4000}, {"error", FIELD_STRING, 0, 0, 200}, {0},
};

enum err accounts_consent(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const char *way = json_cstr(req->json, "start");
	struct consent_begun begun;
	char until[32];
	struct json *j;
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = consent_begin(ctx->db, ctx->arena, &req->principal, id, way ? way : "assisted", ctx->config, &begun, e);
	if (err)
		return err;
	j = json_object();
	json_put_cstr(j, "url", begun.url);
	json_put_cstr(j, "redirectUri", consent_redirect(ctx->config, ctx->arena));
	clock_rfc3339(begun.expires_ms, until, sizeof(until));
	json_put_cstr(j, "expiresAt", until);
	res->secret = true; /* the state in it is good once */
	response_object(res, "account %lld", (long long)id);
	response_json(res, 200, j);
	return OK;
}

/* ---- back from Google ----------------------------------------------------------- */

struct back {
	struct ctx *ctx;
	struct request *req;
	int64_t account;
	struct error *e;
};

static enum err take(struct db *db, void *arg)
{
	struct back *b = arg;
	const struct json *q = b->req->params;
	const struct consent_reply reply = {.state = json_str(q, "state"), .code = json_str(q, "code"), .error = json_str(q, "error")};

	return consent_take(db, b->ctx->arena, &b->req->principal, &reply, &b->account, b->e);
}

/* A GET that has an effect, as OAuth has it: the state, good once and for this person, stands for the CSRF token. */
enum err consent_back(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct back b = {.ctx = ctx, .req = req, .e = e};
	enum err err = tx_run(ctx->db, take, &b, e);

	if (err)
		return err;
	wake(ctx, "gpupool_operations", "colab");
	response_header(res, "Cache-Control", "no-store");
	/* The code does not stay in the address that the browser shows. */
	page_done(res, arena_printf(req->arena, "/admin/accounts/%lld", (long long)b.account), "account_connecting", NULL);
	return OK;
}
