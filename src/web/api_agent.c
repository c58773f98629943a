/* api_agent - the worker agent's one file, for machines that fetch it themselves. */
#include "base/asset.h"
#include "base/crypto.h"
#include "web/api.h"

enum err agent_file_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct asset *agent = asset_find("agent/gpupool-agent.py");
	uint8_t sum[CRYPTO_SHA256];
	char hex[2 * CRYPTO_SHA256 + 1];

	crypto_sha256(agent->bytes, sum);
	crypto_hex(sum, sizeof(sum), hex);
	/* What an upgrade order names, so that what was fetched can be told from it. */
	response_header(res, "ETag", "\"%s\"", hex);
	response_text(res, 200, "text/x-python; charset=utf-8", agent->bytes);
	return OK;
}
