/*
 * inputs - what a notebook is given to read at its provider: data sets, models,
 * competitions and other notebooks, by the provider's names.
 *
 *     {"datasets": ["owner/name"], "models": ["owner/model/framework/variation[/version]"],
 *      "competitions": ["name"], "kernels": ["owner/name"]}
 *
 * Here only their form is judged; whether they exist the provider says at the start.
 */
#ifndef DOMAIN_INPUTS_H
#define DOMAIN_INPUTS_H

#include "base/json.h"

enum { INPUTS_MOST = 32, INPUT_NAME_MOST = 255 };

/* sent is an object of arrays of strings.  ERR_INVALID at "inputs.datasets.3" and the like.  Appends the
 * document with all four members. */
enum err inputs_read(const struct json *sent, struct buf *ret, struct error *e) must_check;

#endif
