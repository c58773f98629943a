/* dev_keys - the first sealing keys of the private installation.  See cli/dev.h. */
#include "cli/dev.h"

#include <stdio.h>
#include <unistd.h>

/* Who holds which private keys, where: made by that user, so that nobody else ever has them. */
static const struct holder {
	enum service_id service;
	const char *role, *purpose, *dir;
} holders[] = {
	{SERVICE_PROVISIONER, "provisioner", "credentials", "keys"},
	{SERVICE_SECRETS, "secrets", "secrets", "secret-keys"},
};

static enum err make_first(struct dev *d, const struct holder *h, struct error *e)
{
	const char *const argv[] = {dev_text(d, "%s/bin/gpupool", d->run), "keys", "init", dev_text(d, "--purpose=%s", h->purpose), NULL};
	const char *const env[] = {
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", dev_text(d, "GPUPOOL_DATABASE=%s", dev_conninfo(d, h->role)),
		dev_text(d, "GPUPOOL_KEYS=%s/%s", d->data, h->dir), NULL,
	};
	struct spawn spawn = {.path = argv[0], .argv = argv, .env = env, .as = dev_identity(d, h->service)};
	enum err err;

	spawn.output = dev_log(d, "keys", spawn.as.owner);
	if (spawn.output < 0)
		return error_set(e, ERR_INTERNAL, "cannot write %s/log/keys.log", d->state);
	err = process_run(&spawn, "gpupool keys init", e);
	close(spawn.output);
	if (err)
		return error_set(e, err, "no sealing key for %s is to be had; see %s/log/keys.log", h->purpose, d->state);
	return OK;
}

/* Everything else works without; a lost file is for a person to bring, or to do without by `gpupool keys rotate`. */
void dev_keys_setup(struct dev *d)
{
	struct error e = {0};

	for (size_t i = 0; i < ARRAY_LEN(holders); i++)
		if (make_first(d, &holders[i], &e))
			dev_say("warning: %s", e.msg);
}
