/* SPDX-License-Identifier: MIT */
/*
 * USDT probes: the events again, for tracers that attach to a running
 * program (bpftrace, perf, systemtap). A probe is one no-op instruction
 * until somebody listens. Built without sys/sdt.h there are none.
 */
#ifndef FERRY_RUNTIME_PROBE_H
#define FERRY_RUNTIME_PROBE_H

#include <ferry/event.h>

#ifdef FERRY_PROBES
#include <sys/sdt.h>

#define FERRY__PROBE(kind, name)                                               \
	case kind:                                                             \
		DTRACE_PROBE3(ferry, name, heap, value, cycle);                \
		break

static inline void ferry__probe(const struct ferry_heap *heap,
				enum ferry_event_kind event, uint64_t value,
				uint64_t cycle)
{
	switch (event) {
		FERRY__PROBE(FERRY_EVENT_CYCLE_BEGIN, cycle_begin);
		FERRY__PROBE(FERRY_EVENT_CYCLE_END, cycle_end);
		FERRY__PROBE(FERRY_EVENT_PAUSE_BEGIN, pause_begin);
		FERRY__PROBE(FERRY_EVENT_PAUSE_STOPPED, pause_stopped);
		FERRY__PROBE(FERRY_EVENT_PAUSE_END, pause_end);
		FERRY__PROBE(FERRY_EVENT_MARK_ROUND, mark_round);
		FERRY__PROBE(FERRY_EVENT_SWEPT, swept);
		FERRY__PROBE(FERRY_EVENT_COMPACT_PLAN, compact_plan);
		FERRY__PROBE(FERRY_EVENT_COMPACT_END, compact_end);
		FERRY__PROBE(FERRY_EVENT_RESIZE, resize);
		FERRY__PROBE(FERRY_EVENT_RELEASED, released);
		FERRY__PROBE(FERRY_EVENT_STALL, stall);
		FERRY__PROBE(FERRY_EVENT_PRESSURE, pressure);
		FERRY__PROBE(FERRY_EVENT_FALLBACK, fallback);
	case FERRY_EVENTS:
		break;
	}
}

#else

static inline void ferry__probe(const struct ferry_heap *heap,
				enum ferry_event_kind event, uint64_t value,
				uint64_t cycle)
{
	(void)heap;
	(void)event;
	(void)value;
	(void)cycle;
}

#endif

#endif
