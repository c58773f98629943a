/*
 * colab - workers whose notebook a person opens in Colab and runs.
 *
 * We make the notebook.  Where the account's owner has consented to it (scope
 * drive.file), it is put into his Drive, one file a start, and the run's address
 * opens it; else the person downloads it from us.  Nothing is started for him,
 * and Colab tells us nothing: the agent's registration is the first sign.  A
 * run's reference is
 *
 *     {"worker":7,"file":"1AbC…"}     in Drive
 *     {"worker":7}                    to be downloaded
 *
 * A file of ours bears the properties gpupoolIntent, gpupoolWorker and
 * gpupoolInstallation, which only our OAuth client sees; others are not
 * touched.  What is known of an intent may lag behind an upload by moments: a
 * file that was then made twice is found, and removed, by its worker's next
 * start, its deletion or the sweep, and the token in it is void.
 */
#ifndef PROVIDER_COLAB_H
#define PROVIDER_COLAB_H

#include "base/json.h"
#include "provider/provider.h"

extern const struct provider provider_colab;

#define COLAB_SCOPE_DRIVE "https://www.googleapis.com/auth/drive.file"

/* The body of an upload in two parts, and its Content-Type; ret should be BUF_SECRET.  boundary is
 * letters and digits that the content does not hold. */
void colab_multipart(struct str metadata, struct str content, const char *boundary, struct buf *ret);

/* Whose credentials these are, by the token that they give: drivers of Colab verify() so.  ERR_FORBIDDEN "account"
 * where nobody has consented yet. */
enum err colab_verify(struct provider_call *c, struct identity *ret) must_check;

/* ---- a person's consent: colab_consent.c ---- */

enum err colab_exchange(struct provider_call *c, const struct consent_code *code, struct consent_given *ret) must_check;

#endif
