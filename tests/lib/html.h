/*
 * html - whether a page is what browsers should get from us: well-formed, each
 * attribute quoted and given once, no inline code or style, no id twice, no
 * reference to nothing, a CSRF field in each form that posts.
 */
#ifndef TESTS_HTML_H
#define TESTS_HTML_H

#include "base/str.h"

/* Fails the test with file, line and what is wrong. */
void html_check(const char *file, struct str text);

#endif
