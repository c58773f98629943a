/*
 * Who the people are that ask: API tokens and sign-in cookies, looked up in
 * batches like everything else.
 */
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "web/auth.h"
#include "web/events_role.h"
#include "web/router.h"

enum { CREDENTIAL_MOST = 512, PEOPLE_MOST = 200 };

struct people {
	struct batch resolve;
};

static bool by_token(const struct exchange *x)
{
	return x->req.authorization.ptr != NULL;
}

/* The principal is known, or there is none: may it do this? */
static void judge(struct exchange *x)
{
	struct error e = {.code = OK};

	if (router_permit(&x->req, &e)) {
		exchange_problem(x, &e);
		return;
	}
	if (method_writes(x->req.method) && x->req.principal.login_id && auth_csrf_check(x->ev->config, &x->req, &e)) {
		exchange_problem(x, &e);
		return;
	}
	exchange_hand_over(x);
}

static void bind_resolve(struct batch *b, struct arg *args)
{
	for (int i = 0; i < b->n; i++) {
		const struct exchange *x = exchange_of(b->items[i]);

		item_begin(&b->buf[0]);
		buf_addf(&b->buf[0], "{\"i\":%d,\"kind\":\"%c\",", i, by_token(x) ? 't' : 'l');
		item_hash(&b->buf[0], x);
		buf_addc(&b->buf[0], '}');
	}
	buf_addc(&b->buf[0], ']');
	args[0] = arg_buf(&b->buf[0]);
}

static unsigned scopes_of(struct str list)
{
	struct str one;
	unsigned bits = 0;

	while (str_cut(&list, ',', &one))
		bits |= scope_parse(one);
	return bits;
}

static void fill(struct exchange *x, const struct rows *rows, int row)
{
	struct principal *p = &x->req.principal;
	struct str key = row_bytes(rows, row, "csrf_key", &x->arena);

	*p = (struct principal){
		.user_id = row_i64(rows, row, "user_id"),
		.role = role_parse(row_str(rows, row, "role")),
		.token_id = row_i64(rows, row, "token_id"),
		.login_id = row_i64(rows, row, "login_id"),
	};
	p->scopes = role_scopes(p->role);
	if (p->token_id)
		p->scopes &= scopes_of(row_str(rows, row, "scopes"));
	if (key.len == sizeof(p->csrf_key))
		memcpy(p->csrf_key, key.ptr, key.len);
	snprintf(p->name, sizeof(p->name), "%s", row_cstr(rows, row, "name"));
	snprintf(p->locale, sizeof(p->locale), "%s", row_cstr(rows, row, "locale"));
}

static void resolve_done(struct batch *b, const struct rows *rows)
{
	struct exchange *items[PEOPLE_MOST];
	int n = b->n;

	for (int i = 0; i < n; i++)
		items[i] = exchange_of(b->items[i]);
	for (int row = 0; row < rows_count(rows); row++) {
		int64_t i = row_i64(rows, row, "i");

		if (i >= 0 && i < n)
			fill(items[i], rows, row);
	}
	for (int i = 0; i < n; i++)
		if (!items[i]->req.principal.user_id && by_token(items[i]))
			exchange_fail(items[i], ERR_UNAUTHORIZED, "The token is not known, or no longer good.");
		else
			judge(items[i]);
}

void people_resolve(struct exchange *x)
{
	struct str credential = by_token(x) ? auth_bearer(&x->req) : auth_cookie(x->ev->config, &x->req);

	if (!credential.len || credential.len > CREDENTIAL_MOST) {
		judge(x);
		return;
	}
	crypto_hash(credential, x->token);
	exchange_batch(x, &x->ev->people->resolve);
}

static const struct batch_kind resolve_kind = {STMT_PEOPLE_RESOLVE, PEOPLE_MOST, 0, bind_resolve, resolve_done,
					       exchange_item_failed, NULL};

static void people_open(struct events *ev)
{
	ev->people = calloc(1, sizeof(*ev->people));
	if (!ev->people)
		error_no_memory();
	batch_init(&ev->people->resolve, ev->batcher, &resolve_kind, ev->people);
}

static void people_close(struct events *ev)
{
	free(ev->people);
}

const struct events_module people_module = {.open = people_open, .close = people_close};
