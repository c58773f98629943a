/*
 * autoscaler_doc - snapshots and results of the autoscaler as JSON: what the
 * database gives, what is stored with a decision, and what a person is shown.
 *
 * A snapshot: {now, policies, accounts, names, workers, lanes}; the members
 * are those of domain/autoscaler.h, by the names in sql/queries/scaling.sql.
 */
#ifndef DOMAIN_AUTOSCALER_DOC_H
#define DOMAIN_AUTOSCALER_DOC_H

#include "base/json.h"
#include "domain/autoscaler.h"

/* Strings borrow from the document; ERR_INVALID for what is no snapshot. */
enum err autoscaler_read(const struct json *document, struct arena *a, struct scale_snapshot *ret, struct error *e) must_check;

/* {action, workerId?, accountId, provider, accelerator, reason:{code, message}, dueAt?, reservesSeconds?, remainingAfterSeconds?} */
struct json *autoscaler_action(const struct scale_decision *d);
/* All that a round decided, as text: the same snapshot gives the same bytes. */
void autoscaler_write(const struct scale_snapshot *s, const struct scale_result *r, struct buf *ret);

#endif
