/* view_account - view fields of accounts, their hours, and what providers allow.  See web/view_fields.h. */
#include "web/view_fields.h"

#include <stdlib.h>
#include <string.h>

enum { TOLD_APART = 360 }; /* a tenth of an hour */

/* ---- the ledger ------------------------------------------------------------- */

/* part of whole, in whole per cent; 0 where there is no whole. */
static int64_t percent_of(int64_t part, int64_t whole)
{
	if (whole <= 0 || part <= 0)
		return 0;
	return part >= whole ? 100 : part * 100 / whole;
}

void view_put_hours(struct json *object, const char *key, int64_t seconds)
{
	char text[VIEW_TEXT];

	view_hours_text(seconds, text);
	json_put_cstr(object, key, text);
}

/* What the provider says is used, where that is another figure than the one that counts. */
static void put_told(struct json *quota, int64_t used)
{
	int64_t told = json_i64(json_get(quota, "told"), "usedSeconds", -1);

	json_put(quota, "toldText", json_null());
	if (told >= 0 && llabs(used - told) >= TOLD_APART)
		view_put_hours(quota, "toldText", told);
}

/* When the week's hours are used up, from when to when; null where they last. */
static void put_forecast(const struct view *v, struct json *quota)
{
	struct json *forecast = json_get(quota, "forecast");

	json_put_bool(quota, "lasts", json_has(quota, "forecast") && !forecast && !json_bool(quota, "dry", false));
	if (!forecast) {
		json_put(quota, "forecast", json_null());
		return;
	}
	view_put_time(v, forecast, "earliest");
	view_put_time(v, forecast, "latest");
	/* Where both are the same there is no range to show. */
	json_put_bool(forecast, "range", json_str(forecast, "latest").len && !str_eq(json_str(forecast, "earliestText"), json_str(forecast, "latestText")));
}

/* Its provider refuses without a figure: until when it is not asked. */
static void put_cool_down(const struct view *v, struct json *quota)
{
	struct json *cool = json_get(quota, "coolDown");

	if (!cool) {
		json_put(quota, "coolDown", json_null());
		return;
	}
	view_put_time(v, cool, "until");
	if (!json_has(cool, "reason"))
		json_put(cool, "reason", json_null());
}

void view_quota(const struct view *v, struct json *quota)
{
	int64_t limit = json_i64(quota, "limitSeconds", 0), margin = json_i64(quota, "marginSeconds", 0);
	int64_t used = json_i64(quota, "usedSeconds", 0), reserved = json_i64(quota, "reservedSeconds", 0);
	int64_t left = json_i64(quota, "remainingSeconds", 0);
	int64_t used_percent = percent_of(used, limit), reserved_percent = percent_of(reserved, limit);
	struct json *concurrent = json_get(quota, "concurrent");

	view_put_time(v, quota, "resetsAt");
	json_put(quota, "atOnce", json_get(concurrent, "limit") ? json_ref(concurrent) : json_null());
	json_put_bool(quota, "limited", limit > 0);
	json_put_bool(quota, "dry", limit > 0 && left <= 0);
	json_put_i64(quota, "usedPercent", used_percent);
	json_put_i64(quota, "reservedPercent", reserved_percent < 100 - used_percent ? reserved_percent : 100 - used_percent);
	json_put_i64(quota, "markPercent", percent_of(limit - margin, limit));
	view_put_hours(quota, "limitText", limit);
	view_put_hours(quota, "usedText", used);
	view_put_hours(quota, "reservedText", reserved);
	view_put_hours(quota, "leftText", left);
	put_told(quota, used);
	put_forecast(v, quota);
	put_cool_down(v, quota);
}

/* ---- what a provider allows --------------------------------------------------- */

void view_limit(struct json *limit)
{
	int64_t week = json_i64(limit, "weekSeconds", -1), session = json_i64(limit, "sessionSeconds", -1);

	json_put(limit, "weekText", json_null());
	if (week >= 0)
		view_put_hours(limit, "weekText", week);
	view_put_duration(limit, "sessionText", session);
	view_put_duration(limit, "oursText", session < 0 ? -1 : session - json_i64(limit, "sessionMarginSeconds", 0));
}

/* ---- accounts -------------------------------------------------------------------- */

/* What people know it by: its name at the provider, else ours. */
static struct str title_of(const struct json *account)
{
	struct str identity = json_str(account, "identity"), label = json_str(account, "label");

	return identity.len ? identity : label.len ? label : json_str(account, "owner");
}

static const char *icon_of(struct str status)
{
	static const struct {
		const char *status, *icon;
	} icons[] = {{"ok", "healthy"}, {"unchecked", "queued"}, {"needs_human", "needs_human"}, {"disabled", "stopped"}, {"deleting", "stopping"}};

	for (size_t i = 0; i < ARRAY_LEN(icons); i++)
		if (str_eqz(status, icons[i].status))
			return icons[i].icon;
	return "queued";
}

void view_account(const struct view *v, struct json *account)
{
	static const char *const keys[] = {"identity", "reason", "checkedAt"};
	const char *id = json_cstr(account, "id");
	bool sealed = json_bool(account, "hasCredentials", false);
	struct json *can = json_object();

	view_put_missing(account, keys, ARRAY_LEN(keys));
	json_put_str(account, "title", title_of(account));
	json_put_cstr(account, "pageUrl", arena_printf(v->arena, "/admin/accounts/%s", id ? id : ""));
	json_put_cstr(account, "icon", icon_of(json_str(account, "status")));
	json_put_bool(account, "deleting", str_eqz(json_str(account, "status"), "deleting"));
	json_put_bool(account, "waits", json_bool(account, "deleting", false) || (sealed && str_eqz(json_str(account, "status"), "unchecked")));
	view_put_time(v, account, "checkedAt");
	view_put_time(v, account, "createdAt");
	json_put_bool(can, "check", sealed);
	json_put_bool(can, "use", !json_bool(account, "deleting", false));
	json_put_bool(can, "abandon", sealed && json_bool(account, "deleting", false));
	json_put_bool(can, "replace", sealed);
	json_put_bool(can, "share", json_bool(account, "sharingAllowed", false));
	json_put(account, "can", can);
	json_put(account, "quotas", json_array());
}
