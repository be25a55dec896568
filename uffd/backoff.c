/* SPDX-License-Identifier: MIT */
/* Waiting between tries: a few yields, then sleeps that double, bounded. */
#include "uffd/handle.h"

#define YIELDS	    16
#define SHORTEST_NS 10000u
#define LONGEST_NS  1000000u

static uint64_t sleep_time(unsigned int tries, uint64_t left)
{
	unsigned int doublings = tries - YIELDS;
	uint64_t ns = LONGEST_NS;

	if (doublings < 7)
		ns = (uint64_t)SHORTEST_NS << doublings;
	return ns < left ? ns : left;
}

bool ferry__backoff_wait(struct ferry__backoff *backoff)
{
	uint64_t now = ferry__sys->now_ns(), spent;

	if (!backoff->tries)
		backoff->since = now;
	spent = now - backoff->since;
	if (spent >= backoff->limit_ns)
		return false;
	if (backoff->tries < YIELDS)
		ferry__sys->sched_yield();
	else
		ferry__sys->sleep_ns(
			sleep_time(backoff->tries, backoff->limit_ns - spent));
	backoff->tries++;
	backoff->waited_ns += ferry__sys->now_ns() - now;
	return true;
}
