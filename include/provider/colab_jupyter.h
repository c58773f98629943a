/*
 * colab_jupyter - the Jupyter server of one runtime at Colab: what it shows over
 * HTTP, and code that runs there, over the WebSocket of a kernel's channels.
 *
 * A runtime is reached at an address of its own with a token of its own, good
 * for an hour.  A token in its last five minutes, and one that is refused, is
 * replaced once by asking Colab for the runtime.
 *
 * What a runtime says says nothing of the account: no error here has a reason
 * by which the account would be judged, and all are ERR_UNAVAILABLE "runtime"
 * except as said.
 */
#ifndef PROVIDER_COLAB_JUPYTER_H
#define PROVIDER_COLAB_JUPYTER_H

#include "base/json.h"
#include "provider/provider.h"

/* How a runtime is reached.  Strings lie in the arena; "" = not told. */
struct colab_runtime {
	const char *id;                /* without "runtimes/" */
	const char *endpoint, *url, *token;
	int64_t expires;               /* of the token, Unix seconds; 0 = not told */
};

/* What code printed, and how it ended. */
enum { COLAB_SAID = 2048 };
struct colab_result {
	bool failed;                   /* by an exception: said ends with its name and words */
	char said[COLAB_SAID];         /* its end; any bytes, NUL-terminated */
};

/* A kernel of a new session, for one execution. */
enum err colab_jupyter_kernel(struct provider_call *c, struct colab_runtime *r, const char *name, const char **kernel) must_check;
/* OK when the code has ended, by an exception too.  ERR_TIMEOUT when it had not by within_ms.  After
 * an error it may have run, or run still. */
enum err colab_jupyter_execute(struct provider_call *c, struct colab_runtime *r, const char *kernel, struct str code, int64_t within_ms,
			       struct colab_result *ret) must_check;
/* A file ("content/x"): ERR_NOT_FOUND, ERR_TOO_LARGE; ret NULL = is it there? */
enum err colab_jupyter_file(struct provider_call *c, struct colab_runtime *r, const char *path, size_t most, struct str *ret) must_check;
/* The names of its GPUs, comma list, "" = none. */
enum err colab_jupyter_gpus(struct provider_call *c, struct colab_runtime *r, const char **ret) must_check;

/* ---- messages of the channels, apart from any connection ---- */

/* An execute_request, or the reply to a colab_request: one JSON text each. */
void colab_message_execute(struct buf *ret, const char *msg_id, const char *session, struct str code);
void colab_message_decline(struct buf *ret, const char *msg_id, const char *session, const struct json *request);

/* How far an execution is. */
struct colab_execution {
	const char *msg_id;
	bool replied, idle;            /* it has ended when both are true */
	bool asked;                    /* the last message was a colab_request */
	struct colab_result result;
};
/* Takes one message that came; false when it is none that a kernel sends. */
bool colab_message_take(struct colab_execution *x, const struct json *message);

#endif
