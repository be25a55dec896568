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

static const struct ferry__quiet *current(void)
{
	/* Q1 pairs with the stores in ferry__quiet_set() and _end(). */
	const struct ferry__quiet *who =
		__atomic_load_n(&quiet, __ATOMIC_ACQUIRE);

	return who && owner == getpid() ? who : NULL;
}

const struct ferry__quiet *ferry__quiet_begin(void)
{
	const struct ferry__quiet *who = current();

	if (!who)
		return NULL;
	FERRY__PROBE0(quiet_begin);
	who->begin();
	return who;
}

int ferry__quiet_fork_begin(const struct ferry__quiet **ret_who)
{
	const struct ferry__quiet *who = current();
	int r = who ? who->fork_begin() : 0;

	if (r)
		return r;
	*ret_who = who;
	return 0;
}

void ferry__quiet_fork_end(const struct ferry__quiet *who)
{
	if (who)
		who->fork_end();
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

void ferry__quiet_leave(void)
{
	const struct ferry__quiet *who = current();

	if (who && gettid() == owner)
		who->leave();
}
