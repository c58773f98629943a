/* secrets_role - a process of the secrets role.  See web/secrets_role.h. */
#include "web/secrets_role.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "domain/keys.h"
#include "web/fcgi.h"

/* After a failure. */
enum { AGAIN_MS = 3000 };

static char own_name[INSTANCE_NAME];
static int64_t due_ms;

static enum err announce(const struct server_child *child, struct db *db, struct error *e)
{
	enum err err = keys_announce(db, child->config->keys, SEAL_SECRETS, own_name, NULL, e);

	if (!err && !child->number)
		err = instance_sweep(db, seal_purpose_name(SEAL_SECRETS), e);
	return err;
}

static int64_t tick(const struct server_child *child, struct db *db)
{
	int64_t now = clock_ms();
	struct error e = {0};

	if (now >= due_ms) {
		enum err err = announce(child, db, &e);

		if (err)
			log_warn("secrets.announce", "keys=%s error=\"%s\"", child->config->keys, e.msg);
		due_ms = now + (err ? AGAIN_MS : INSTANCE_SECONDS * 1000);
	}
	return due_ms - now;
}

static void end(const struct server_child *child, struct db *db)
{
	struct error e = {0};

	if (instance_gone(db, own_name, &e))
		log_debug("secrets.gone", "error=\"%s\"", e.msg);
}

int secrets_child(const struct server_child *child)
{
	static const struct fcgi_role role = {.serves = SERVES_SECRETS, .tick = tick, .end = end};
	static const struct rlimit none = {0};
	int status;

	if (setrlimit(RLIMIT_CORE, &none) || prctl(PR_SET_DUMPABLE, 0)) {
		log_error("secrets.closed", "effect=\"this process's memory is not closed to others, so it does not serve\"");
		return 1;
	}
	instance_name(own_name);
	status = fcgi_serve(child, &role);
	/* Nothing secret is left, and leak checkers look now. */
	prctl(PR_SET_DUMPABLE, 1);
	return status;
}
