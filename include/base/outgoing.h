/*
 * outgoing - to which addresses we connect when others gave the URL.
 *
 * A URL from outside may name our own database, a neighbour or a cloud's
 * metadata service.  Hence: https to public addresses only, judged on the
 * address that is really connected to, since a name may mean another one at
 * each look.  The setting outgoing_allow opens exceptions, for http too.
 *
 * base/http.h asks here for each call that has .outgoing set.
 */
#ifndef BASE_OUTGOING_H
#define BASE_OUTGOING_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/str.h"

struct outgoing {
	const char *allow; /* the setting outgoing_allow */
	bool loopback;     /* 127/8 and ::1 too: whoever gave the URL is on this machine */
};

/* Nobody's special network (RFC 6890); a in host order. */
bool outgoing_v4_public(uint32_t a);
/* Global unicast that is no such network either, nor a name of IPv4 addresses. */
bool outgoing_v6_public(const struct in6_addr *a);
bool outgoing_loopback(const struct sockaddr *to);
/* Whether a URL names this machine: an address of loopback, or localhost. */
bool outgoing_url_loopback(struct str url);
/* An address of one of this machine's interfaces. */
bool outgoing_own(const struct sockaddr *to);

/* Whether a call may connect there; https is what its URL says. */
bool outgoing_may(const struct outgoing *o, bool https, const struct sockaddr *to) must_check;

/* "10.1.0.0/16:443, [fd00::/8]:*": says why a text is no such list, or NULL. */
const char *outgoing_list_check(struct str list);
bool outgoing_list_has(struct str list, const struct sockaddr *to);

#endif
