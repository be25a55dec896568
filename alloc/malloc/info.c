/* SPDX-License-Identifier: MIT */
/* The malloc's own accounts: mallinfo2(3) and its kin. */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include <ferry/base.h>

#include "alloc/malloc/engine.h"
#include "alloc/malloc/offload.h"
#include "alloc/malloc/stats.h"

/* Returns 1 where memory went back to the system, as the C library's does. */
FERRY_EXPORT int malloc_trim(size_t pad)
{
	struct ferry__stats before, after;

	(void)pad;
	ferry__stats_get(&before);
	ferry__je_mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
	ferry__offload_trim();
	ferry__stats_get(&after);
	return after.resident < before.resident;
}

/* No option of the C library's malloc means anything here: taken, unused. */
FERRY_EXPORT int mallopt(int param, int value)
{
	(void)param;
	(void)value;
	return 1;
}

FERRY_EXPORT struct mallinfo2 mallinfo2(void)
{
	struct ferry__stats stats;

	ferry__stats_get(&stats);
	return (struct mallinfo2){
		.arena = stats.mapped,
		.uordblks = stats.allocated,
		.fordblks = stats.mapped - stats.allocated,
		.keepcost = stats.dirty,
	};
}

/* Its fields are int: what does not fit is said to be as much as fits. */
static int clamp(size_t n)
{
	return n < INT_MAX ? (int)n : INT_MAX;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
FERRY_EXPORT struct mallinfo mallinfo(void)
{
	struct mallinfo2 info = mallinfo2();

	return (struct mallinfo){
		.arena = clamp(info.arena),
		.uordblks = clamp(info.uordblks),
		.fordblks = clamp(info.fordblks),
		.keepcost = clamp(info.keepcost),
	};
}
#pragma GCC diagnostic pop

FERRY_EXPORT void malloc_stats(void)
{
	char buf[FERRY__STATS_TEXT];
	size_t len = ferry__stats_text(buf, sizeof(buf));

	/* Nobody could be told that standard error is gone. */
	if (write(STDERR_FILENO, buf, len) < 0)
		return;
}

FERRY_EXPORT int malloc_info(int options, FILE *file)
{
	struct ferry__stats stats;

	if (options) {
		errno = EINVAL;
		return -1;
	}
	ferry__stats_get(&stats);
	fprintf(file,
		"<malloc version=\"ferry-1\">\n"
		"<total type=\"allocated\" size=\"%zu\"/>\n"
		"<total type=\"dirty\" size=\"%zu\"/>\n"
		"<system type=\"current\" size=\"%zu\"/>\n"
		"<system type=\"resident\" size=\"%zu\"/>\n"
		"<system type=\"metadata\" size=\"%zu\"/>\n"
		"</malloc>\n",
		stats.allocated, stats.dirty, stats.mapped, stats.resident,
		stats.metadata);
	return 0;
}
