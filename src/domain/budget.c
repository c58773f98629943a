/* budget - see domain/budget.h. */
#include "domain/budget.h"

#include <math.h>

#include "db/stmt.h"

enum { PRICES_MOST = 64 };

static int64_t micros(const struct json *j, const char *key)
{
	return llround(json_double(j, key, 0) * 1e6);
}

static enum err check_names(struct db *db, int64_t account, const struct buf *names, struct error *e)
{
	cleanup_rows struct rows unknown = {0};
	enum err err = db_run(db, STMT_BUDGET_KNOWN, ARGS(arg_i64(account), arg_buf(names)), &unknown, e);

	if (!err && rows_count(&unknown))
		return error_field(e, ERR_INVALID, "budget.prices", "Its provider has no accelerator %.60s.", row_cstr(&unknown, 0, "n"));
	return err;
}

static enum err set_prices(struct db *db, int64_t account, const struct json *prices, struct error *e)
{
	cleanup_buf struct buf names = BUF_INIT(16 << 10), amounts = BUF_INIT(16 << 10), sources = BUF_INIT(64 << 10);
	enum err err;

	array_begin(&names);
	array_begin(&amounts);
	array_begin(&sources);
	for (size_t i = 0; i < json_len(prices) && i < PRICES_MOST; i++) {
		const struct json *p = json_at(prices, i);
		struct str source = json_str(p, "source");

		array_add_str(&names, json_str(p, "accelerator"));
		array_add_i64(&amounts, micros(p, "perHour"));
		array_add_str(&sources, source.ptr ? source : STR(""));
	}
	array_end(&names);
	array_end(&amounts);
	array_end(&sources);
	err = check_names(db, account, &names, e);
	return err ? err : db_run(db, STMT_BUDGET_PRICES, ARGS(arg_i64(account), arg_buf(&names), arg_buf(&amounts), arg_buf(&sources)), NULL, e);
}

enum err budget_set(struct db *db, int64_t account, const struct json *budget, struct error *e)
{
	bool seconds = json_get(budget, "monthSeconds"), money = json_get(budget, "monthMoney");
	enum err err = db_run(db, STMT_BUDGET_SET,
			      ARGS(arg_i64(account), seconds ? arg_i64(json_i64(budget, "monthSeconds", 0)) : arg_null(),
				   money ? arg_i64(micros(budget, "monthMoney")) : arg_null(), arg_cstr(json_cstr(budget, "currency"))),
			      NULL, e);

	return err || !json_get(budget, "prices") ? err : set_prices(db, account, json_get(budget, "prices"), e);
}
