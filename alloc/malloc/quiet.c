/* SPDX-License-Identifier: MIT */
/* Who is quiet around certain system calls. */
#include "alloc/malloc/quiet.h"

#include <stddef.h>
#include <sys/types.h>
#include <unistd.h>

#include "alloc/pager/probe.h"

static const struct ferry__quiet *quiet;
static pid_t owner;

void ferry__quiet_set(const struct ferry__quiet *fresh)
{
	owner = getpid();
	/* Q1 pairs with the load in ferry__quiet_begin(). */
	__atomic_store_n(&quiet, fresh, __ATOMIC_RELEASE);
}

/* One thread. Under a filter nobody asks for the owner. */
void ferry__quiet_fork_child(void)
{
	if (quiet)
		owner = getpid();
}

const struct ferry__quiet *ferry__quiet_begin(void)
{
	/* Q1 pairs with the stores in ferry__quiet_set() and _end(). */
	const struct ferry__quiet *who =
		__atomic_load_n(&quiet, __ATOMIC_ACQUIRE);

	if (!who || owner != getpid())
		return NULL;
	FERRY__PROBE0(quiet_begin);
	who->begin();
	return who;
}

void ferry__quiet_end(const struct ferry__quiet *who, bool for_ever)
{
	if (!who)
		return;
	who->end(for_ever);
	FERRY__PROBE1(quiet_end, for_ever);
	/* The next filter may be met by one that forbids even getpid(2). Q1. */
	if (for_ever)
		__atomic_store_n(&quiet, NULL, __ATOMIC_RELEASE);
}
