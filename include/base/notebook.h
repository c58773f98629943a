/*
 * notebook - the Jupyter notebook (.ipynb) that starts a worker's agent, for
 * whoever runs it: a person who opens it in Colab, or a provider's machine.
 *
 * Its code is a script of src/agent with its values filled in, the agent
 * among them, behind the mark by which it is known again:
 *
 *     # gpupool intent <uuid of the start>
 *     # gpupool worker <id> of <uuid of this installation>
 *
 * It holds an enrolment token, which is good once; wipe what was made of it.
 * Providers make theirs by provider/notebook.h.
 */
#ifndef BASE_NOTEBOOK_H
#define BASE_NOTEBOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

enum { NOTEBOOK_MOST = 1 << 20 }; /* bytes that one may have */

struct notebook {
	const char *script;        /* of src/agent; NULL = colab-start.py */
	struct str intent;         /* uuid */
	int64_t worker;
	const char *installation;  /* uuid of this gpupool */
	const char *title;
	const char *provider;      /* that the agent says: "colab" */
	const char *resource;      /* cpu, gpu, tpu: without a GPU that was asked for it ends before it registers */
	const char *machine;       /* Colab's name of the GPU or TPU, which opening it selects: "T4"; NULL = none */
	struct str token;
	const char *server_url;    /* how the agent reaches us */
	bool people;               /* says above its code what to do with it, and folds the code away */
	bool detach;               /* its cell ends at once, the agent goes on in the background */
};

/* The code alone; ret should be BUF_SECRET(NOTEBOOK_MOST), or of what is taken where it goes.  ERR_INVALID: this program was built without its agent,
 * or it would be too large. */
enum err notebook_source(const struct notebook *n, struct buf *ret, struct error *e) must_check;
/* The whole file. */
enum err notebook_write(const struct notebook *n, struct buf *ret, struct error *e) must_check;

#endif
