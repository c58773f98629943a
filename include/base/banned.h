/*
 * banned - functions that no code here may call; included by the compiler
 * command line before every file.  Each has a bounded counterpart in
 * base/str.h, base/arena.h or base/clock.h.
 */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok
#pragma GCC poison atoi atol atoll localtime gmtime ctime asctime tmpnam
#undef alloca
#pragma GCC poison alloca

#endif
