/*
 * signin - opening and closing a browser's sign-in, for the API and the page.
 */
#ifndef WEB_SIGNIN_H
#define WEB_SIGNIN_H

#include "web/request.h"

/*
 * Checks the password, ends the sign-in that the browser had, opens a new one,
 * sets the cookie and fills req->principal.  Outside a transaction.
 * ERR_UNAUTHORIZED, ERR_UNAVAILABLE.
 */
enum err signin(struct ctx *ctx, struct request *req, struct str name, struct str password, struct error *e) must_check;
/* Ends it and takes the cookie away. */
enum err signout(struct ctx *ctx, struct request *req, struct error *e) must_check;

#endif
