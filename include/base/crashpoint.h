/*
 * crashpoint - places at which a test build can be made to die.
 *
 * GPUPOOL_CRASH_AT=n kills the process, as kill -9 would, when the n-th
 * CRASH_POINT is passed, whichever that is.  A test runs the same work for
 * n = 1, 2, 3 … until nothing dies any more, and checks that what is left can
 * always be gone on from.  Other builds hold nothing of this.
 */
#ifndef BASE_CRASHPOINT_H
#define BASE_CRASHPOINT_H

#ifdef GPUPOOL_TEST
void crashpoint_arm(const char *at); /* config.crash_at, or the name of a point; "" = never */
void crashpoint_pass(const char *name);
#define CRASH_POINT(name) crashpoint_pass(name)
#else
#define crashpoint_arm(at) ((void)(at))
#define CRASH_POINT(name) ((void)0)
#endif

#endif
