/*
 * notebook - the notebook of a launch.  See base/notebook.h for what is in it.
 */
#ifndef PROVIDER_NOTEBOOK_H
#define PROVIDER_NOTEBOOK_H

#include "provider/provider.h"

struct notebook_want {
	const char *provider; /* that the agent says: "colab", "colab-enterprise" */
	bool preset;          /* launch->shape is Colab's name of a GPU or TPU, to be selected by opening it */
	bool people;          /* a person opens it */
	bool detach;          /* the cell ends at once, the agent goes on in the background */
};

/* The .ipynb, in the arena.  It holds the launch's token. */
enum err notebook_make(struct provider_call *c, const struct launch *l, const struct notebook_want *w, struct str *ret) must_check;
/* Its code alone. */
enum err notebook_source_make(struct provider_call *c, const struct launch *l, const struct notebook_want *w, struct str *ret) must_check;

#endif
