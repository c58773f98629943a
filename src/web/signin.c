/* signin - sign-ins of browsers.  See web/signin.h. */
#include "web/signin.h"

#include "domain/user.h"
#include "web/auth.h"

enum err signin(struct ctx *ctx, struct request *req, struct str name, struct str password, struct error *e)
{
	struct str before = auth_cookie(ctx->config, req);
	char cookie[CRYPTO_TOKEN_TEXT];
	struct principal p;
	enum err err = user_check_password(ctx->db, ctx->config->state, name, password, &p, e);

	if (!err && before.len)
		err = login_close_cookie(ctx->db, before, e);
	if (err)
		return err;
	crypto_token("gpl", cookie);
	err = login_open(ctx->db, p.user_id, str_of(cookie), &p, e);
	if (err)
		return err;
	req->principal = p;
	auth_set_cookie(ctx, req, cookie);
	return OK;
}

enum err signout(struct ctx *ctx, struct request *req, struct error *e)
{
	enum err err = req->principal.login_id ? login_close(ctx->db, req->principal.login_id, e) : OK;

	if (!err)
		auth_set_cookie(ctx, req, "");
	return err;
}
