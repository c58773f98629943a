/*
 * auth - who sends a request: sign-in cookies, bearer tokens, CSRF.
 *
 * An Authorization header, valid or not, means that the cookie is not looked
 * at.  Cookie-authenticated writes need the CSRF token (header X-CSRF-Token or
 * form field csrf) and a same-origin Sec-Fetch-Site or Origin.
 */
#ifndef WEB_AUTH_H
#define WEB_AUTH_H

#include "domain/principal.h"

#endif
