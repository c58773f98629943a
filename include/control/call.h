/*
 * call - how the provisioner calls providers: with a deadline, values in and
 * values out.  The seam for a pool of threads, should a provider be slow.
 * Private to control/.
 */
#ifndef CONTROL_CALL_H
#define CONTROL_CALL_H

#include "control/reconcile.h"

enum err call_check(struct reconciler *r, const struct provider *p, struct error *e) must_check;
enum err call_start(struct reconciler *r, const struct provider *p, const struct launch *l, struct run *ret, struct error *e) must_check;
enum err call_find(struct reconciler *r, const struct provider *p, const struct launch *l, struct run *ret, struct error *e) must_check;
enum err call_list(struct reconciler *r, const struct provider *p, struct run_list *ret, struct error *e) must_check;
enum err call_poll(struct reconciler *r, const struct provider *p, const struct run *run, struct run_status *ret,
		   struct error *e) must_check;
enum err call_stop(struct reconciler *r, const struct provider *p, const struct run *run, bool insist, struct error *e) must_check;
enum err call_remove(struct reconciler *r, const struct provider *p, const struct run *run, struct error *e) must_check;
/* The agent's last words, STR_NULL when there are none to be had. */
struct str call_log_tail(struct reconciler *r, const struct provider *p, const struct run *run);
/* text[] of the providers that this instance serves. */
void call_provider_names(const struct reconciler *r, struct buf *ret);

#endif
