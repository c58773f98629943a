/* api_health - is it up, is it ready, what does it see. */
#include "db/migrate.h"
#include "web/api.h"
#include "web/openapi.h"
#include "web/version.h"

enum err health_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	response_text(res, 200, "text/plain", STR("ok\n"));
	return OK;
}

enum err ready_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	enum err err = migrate_check(ctx->db, e);

	if (!err)
		response_text(res, 200, "text/plain", STR("ready\n"));
	return err;
}

/* Prometheus text: gauges of the whole pool, read from the database at each scrape.
 * Counters of one process would be useless: the next scrape meets another one. */
enum err metrics_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	struct buf *b = &res->body;
	struct str last = STR_NULL;
	enum err err = db_run(ctx->db, STMT_METRICS, NO_ARGS, &rows, e);

	if (err)
		return err;
	buf_reset(b);
	buf_adds(b, "# HELP gpupool_build_info The program that answers.\n# TYPE gpupool_build_info gauge\n"
		    "gpupool_build_info{version=\"" GPUPOOL_VERSION "\"} 1\n");
	for (int i = 0; i < rows_count(&rows); i++) {
		struct str name = row_str(&rows, i, "name"), label = row_str(&rows, i, "label");

		if (!str_eq(name, last))
			buf_addf(b, "# HELP gpupool_%.*s %.*s\n# TYPE gpupool_%.*s gauge\n", STR_ARG(name),
				 STR_ARG(row_str(&rows, i, "help")), STR_ARG(name));
		last = name;
		buf_addf(b, "gpupool_%.*s", STR_ARG(name));
		if (label.len)
			buf_addf(b, "{%.*s=\"%.*s\"}", STR_ARG(label), STR_ARG(row_str(&rows, i, "value_of_label")));
		buf_addf(b, " %.*s\n", STR_ARG(row_str(&rows, i, "value")));
	}
	res->content_type = "text/plain; version=0.0.4; charset=utf-8";
	return OK;
}

enum err openapi_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	response_json(res, 200, openapi_document(ctx->config->public_url));
	return OK;
}
