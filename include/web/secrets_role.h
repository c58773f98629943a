/*
 * secrets_role - gpupool-web --role=secrets: the one program that can open the
 * secrets of persons, and the one route that gives them to the worker that runs
 * a job which names them.
 *
 * Its private keys are files in the directory `keys`; nobody but its user may
 * read them.  Its memory is closed to other processes of the same user, and it
 * leaves no core dump.  Every INSTANCE_SECONDS each process says which keys it
 * can open, which is what a rotation waits for.
 */
#ifndef WEB_SECRETS_ROLE_H
#define WEB_SECRETS_ROLE_H

#include "web/server.h"

int secrets_child(const struct server_child *child);

#endif
