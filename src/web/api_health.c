/* api_health - is it up, is it ready, what does it see. */
#include "web/api.h"

enum err health_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	response_text(res, 200, "text/plain", STR("ok\n"));
	return OK;
}
