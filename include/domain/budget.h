/*
 * budget - what an account's machines may cost a month.
 *
 * A cap of seconds, or of money by prices an hour that the account's owner wrote
 * down, or both.  No start is granted that would pass it (domain/quota.h); what it
 * no longer covers once it is lowered is cut.  Months are of UTC, and a session
 * counts for the month in which it was reserved.
 */
#ifndef DOMAIN_BUDGET_H
#define DOMAIN_BUDGET_H

#include "base/json.h"
#include "db/db.h"

/*
 * {monthSeconds: n|null, monthMoney: n|null, currency?, prices?: [{accelerator, perHour, source?}]}, checked by the
 * route's schema; NULL or without either = no cap.  What prices leaves out has no price any more; without it they stay.
 * In a transaction that holds the account.  ERR_INVALID at "budget.prices": the provider has no such accelerator.
 */
enum err budget_set(struct db *db, int64_t account, const struct json *budget, struct error *e) must_check;

#endif
