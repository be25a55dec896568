/* SPDX-License-Identifier: MIT */
/*
 * The heap's pager where the process forks, with handlers and without, and
 * where a system call is to find it without threads of ours.
 */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>

#include "alloc/malloc/leave.h"
#include "alloc/malloc/library.h"
#include "alloc/malloc/offload-internal.h"
#include "alloc/malloc/quiet.h"
#include "alloc/malloc/report.h"
#include "alloc/malloc/socket.h"
#include "alloc/malloc/starter.h"
#include "uffd/sys.h"

/* --- without threads of ours -------------------------------------------------------- */

/*
 * For calls that want a process without threads of ours, or after which there
 * may be none (quiet.h).
 */
static void quiet_begin(void)
{
	struct ferry__pager *pager;

	ferry__socket_pause();
	ferry__starter_hold();
	pager = ferry__offload_pager();
	if (pager)
		ferry__pager_stop(pager);
}

/* Neither threads nor files: the filter may kill for a call that opens one. */
static void quiet_for_ever(void)
{
	/* Relaxed: nobody else starts anything. */
	__atomic_store_n(&ferry__offload.stopped, false, __ATOMIC_RELAXED);
	ferry__offload_tried("a filter of system calls was installed");
	ferry__socket_give_up();
	ferry__report_stop();
}

/* Of two who are quiet at the same time the last has it started again. */
static void start_again(void)
{
	if (!ferry__starter_release())
		return;
	if (ferry__offload_pager() && ferry__starter_do(ferry__offload_again))
		/* Relaxed: as in ferry__offload_work(). */
		__atomic_store_n(&ferry__offload.stopped, true,
				 __ATOMIC_RELAXED);
	ferry__engine_want_work();
}

static void quiet_end(bool for_ever)
{
	if (for_ever) {
		quiet_for_ever();
		return;
	}
	start_again();
	ferry__socket_resume();
}

/* Without an end, so that nothing starts again. */
static void leave(void)
{
	quiet_begin();
	/* Relaxed: nobody can start anything. */
	__atomic_store_n(&ferry__offload.stopped, false, __ATOMIC_RELAXED);
	if (!ferry__offload_reason())
		ferry__offload_tried("the first thread has ended");
}

/* --- forks without handlers --------------------------------------------------------- */

/* In both processes. */
static void raw_fork_end(void)
{
	if (ferry__offload.restored)
		ferry__offload_resume();
	ferry__fork_release();
}

/*
 * A fork whose child finds nothing that is out and has nobody who serves it:
 * all comes back, unless the kernel tells of such forks (DESIGN F10). Held, so
 * that a pager that starts meanwhile takes nothing either.
 */
static int raw_fork_begin(void)
{
	struct ferry__pager *pager;
	int r = ferry__fork_begin_raw();

	if (r)
		return r;
	pager = ferry__offload_pager();
	ferry__offload.restored = !pager || !ferry__pager_sees_forks(pager);
	if (!ferry__offload.restored || !ferry__offload_restore())
		return 0;
	raw_fork_end();
	return -EAGAIN;
}

const struct ferry__quiet ferry__offload_quiet = {
	.begin = quiet_begin,
	.end = quiet_end,
	.fork_begin = raw_fork_begin,
	.fork_end = raw_fork_end,
	.leave = leave,
};

/* --- fork ----------------------------------------------------------------------------- */

/* More than any category has; what is beyond is asked for in vain. */
#define LOCALE_ITEMS 160

/*
 * A thread begins with a look at the locale, which is on the heap; the child's
 * first one is that which would bring it back. So it is in memory when the
 * process is copied: nothing is taken out from prepare on.
 */
static void touch_locale(void)
{
	int category, i;

	for (category = 0; category <= LC_IDENTIFICATION; category++)
		for (i = 0; i < LOCALE_ITEMS; i++)
			nl_langinfo(_NL_ITEM(category, i));
}

void ferry__offload_fork_prepare(void)
{
	struct ferry__pager *pager = ferry__offload_pager();

	if (!pager)
		return;
	ferry__pager_fork_prepare(pager);
	touch_locale();
}

void ferry__offload_fork_parent(void)
{
	struct ferry__pager *pager = ferry__offload_pager();

	if (!pager)
		return;
	ferry__pager_fork_parent(pager);
	ferry__offload.forks++;
}

/* So many children of a process are taken for daemons in the making. */
#define FEW_FORKS 2

/*
 * The pager of a child runs already if much was out. Else most children are
 * not worth two threads: they end soon, or become another program. But one
 * that goes to sleep without another allocation should not be left as it is:
 * who forks seldom is believed to mean it.
 */
static void start_in_child(struct ferry__pager *pager)
{
	struct ferry__pager_stats stats;

	if (ferry__offload_reason())
		return;
	ferry__pager_stats(pager, &stats);
	ferry__offload.stopped = !stats.running;
	if (ferry__offload.stopped && ferry__offload.forks < FEW_FORKS)
		ferry__offload_again();
	else if (ferry__offload.stopped)
		ferry__engine_want_work();
	ferry__offload.forks = 0;
}

/*
 * Purges and a start that other threads were at are not going on here: what
 * they would have done is not done, and the start may be tried again.
 */
void ferry__offload_fork_child(void)
{
	struct ferry__pager *pager = ferry__offload_pager();

	ferry__offload.plain = 0;
	ferry__offload.pid = ferry__sys->getpid();
	if (ferry__offload.state == FERRY__OFFLOAD_STARTING)
		ferry__offload.state = pager ? FERRY__OFFLOAD_TRIED
					     : FERRY__OFFLOAD_WAITING;
	ferry__starter_fork_child();
	ferry__quiet_fork_child();
	ferry__leave_watch();
	ferry__socket_fork_child();
	if (!pager)
		return;
	ferry__engine_own_begin();
	ferry__pager_fork_child(pager);
	ferry__engine_own_end();
	start_in_child(pager);
}
