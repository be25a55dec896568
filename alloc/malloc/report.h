/* SPDX-License-Identifier: MIT */
/* Statistics that are written without the program asking. */
#ifndef FERRY_ALLOC_MALLOC_REPORT_H
#define FERRY_ALLOC_MALLOC_REPORT_H

#include "alloc/malloc/conf.h"
#include "alloc/malloc/engine.h"

/* Once, at the start of the library. @conf stays. */
FERRY__HIDDEN void ferry__report_init(const struct ferry__conf *conf);

/* In the pager's thread, now and then: writes what is due. */
FERRY__HIDDEN void ferry__report_tick(uint64_t now_ns);

/* At an event of the engine: writes what a signal has asked for. */
FERRY__HIDDEN void ferry__report_work(void);

/* Nothing is written any more: system calls are filtered from now on. */
FERRY__HIDDEN void ferry__report_stop(void);

#endif
