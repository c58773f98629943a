/*
 * lease - what is known of leases without a database: how long they last, and
 * how job types and outcomes are spelled.
 */
#ifndef DOMAIN_LEASE_H
#define DOMAIN_LEASE_H

#include "base/config.h"
#include "base/str.h"
#include "domain/job_fsm.h"

/* What an agent may report: outcomes of an attempt. */
enum lease_outcome { LEASE_SUCCEEDED = 2, LEASE_FAILED, LEASE_TIMED_OUT, LEASE_CANCELLED, LEASE_RELEASED, LEASE_LOST };

/* Of a claim and of each renewal; by type, because an answer that somebody waits
 * for must move on soon, and a training must survive an outage. */
int lease_seconds(const struct config *c, int type);
/* Usual run time, for fair shares of owners when nothing better is known. */
double lease_estimate(int type);

const char *lease_type_name(int type); /* "script", … */
/* 0 when an agent may not say that. */
int lease_outcome_parse(struct str name);

#endif
