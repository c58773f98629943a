/*
 * remote_name - what a worker is called at a provider where its workers have
 * names: "gpupool-" and its title in a-z, 0-9 and single dashes.
 *
 * It is made once and stays for life, whatever the title becomes.  A provider
 * that makes names from titles of its own (Kaggle) comes to the same name from
 * remote_name_title().
 */
#ifndef DOMAIN_REMOTE_NAME_H
#define DOMAIN_REMOTE_NAME_H

#include <stdbool.h>

enum { REMOTE_NAME_MOST = 49, REMOTE_NAME_SIZE = REMOTE_NAME_MOST + 1 };

/* title NULL: eight random digits in its place.  False: nothing of the title can be in a name. */
bool remote_name_make(const char *title, char ret[REMOTE_NAME_SIZE]);

/* The name with blanks for dashes. */
void remote_name_title(const char *name, char ret[REMOTE_NAME_SIZE]);

#endif
