/* SPDX-License-Identifier: MIT */
/*
 * USDT probes of the pager and of those that stand on it: provider "ferry",
 * described in ferry-probes(7). Each is one no-op instruction and a note of
 * where its arguments are, until somebody listens: what is passed must be
 * there anyway. Built without sys/sdt.h there are none.
 */
#ifndef FERRY_ALLOC_PAGER_PROBE_H
#define FERRY_ALLOC_PAGER_PROBE_H

/* Where a page came back from; the third argument of page_back. */
enum ferry__back {
	FERRY__BACK_LIMBO = 0,
	FERRY__BACK_STORE,
	FERRY__BACK_ZERO,   /* zero by right */
	FERRY__BACK_MENDED, /* in a child that had touched it unserved */
};

#ifdef FERRY_PROBES
#include <sys/sdt.h>

#define FERRY__PROBE0(name)	     DTRACE_PROBE(ferry, name)
#define FERRY__PROBE1(name, a)	     DTRACE_PROBE1(ferry, name, a)
#define FERRY__PROBE2(name, a, b)    DTRACE_PROBE2(ferry, name, a, b)
#define FERRY__PROBE3(name, a, b, c) DTRACE_PROBE3(ferry, name, a, b, c)
#define FERRY__PROBE5(name, a, b, c, d, e)                                     \
	DTRACE_PROBE5(ferry, name, a, b, c, d, e)

#else

#define FERRY__PROBE0(name)	     ((void)0)
#define FERRY__PROBE1(name, a)	     ((void)(a))
#define FERRY__PROBE2(name, a, b)    ((void)(a), (void)(b))
#define FERRY__PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#define FERRY__PROBE5(name, a, b, c, d, e)                                     \
	((void)(a), (void)(b), (void)(c), (void)(d), (void)(e))

#endif

#endif
