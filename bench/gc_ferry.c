/* SPDX-License-Identifier: MIT */
/*
 * gc_ferry.c: Ferry's heap: as it comes (ferry), and with everything inside
 * pauses (ferry-stw).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <ferry/ferry.h>

#include "gc_mem.h"

const struct ferry_type gc_ferry_node = {
	.size = sizeof(struct gc_node),
	.refs = 0x6, /* left and right */
	.name = "node",
};

const struct ferry_type gc_ferry_array = {
	.size = sizeof(struct gc_array),
	.count_offset = offsetof(struct gc_array, n),
	.element_size = sizeof(void *),
	.element_refs = 1,
	.name = "array",
};

/* Never looked at by the heap: such objects are raw. */
const struct ferry_type gc_ferry_bytes = {
	.size = sizeof(struct gc_bytes),
	.count_offset = offsetof(struct gc_bytes, n),
	.element_size = 1,
	.name = "bytes",
};

/* Only ephemerons are traced by a callback. */
static size_t trace(void *object, struct ferry_visitor *v)
{
	struct gc_ephemeron *e = object;

	if (v)
		ferry_visit_ephemeron(v, &e->key, &e->value);
	return sizeof(*e);
}

/* The heap, and what its events tell. */
struct state {
	struct ferry_heap *heap;
	struct ferry_listener *listener;
	uint64_t pause_begin; /* ns; pauses come one at a time */
	enum ferry_pause pause;
	uint64_t longest[FERRY_PAUSES]; /* ns, while measuring */
};

static struct state *state_of(struct gc_run *run)
{
	return run->heap;
}

static void note_pause(struct gc_run *run, struct state *s, uint64_t ns)
{
	if (gc_pause_note(run, ns) && ns > s->longest[s->pause])
		s->longest[s->pause] = ns;
}

static void on_event(void *arg, const struct ferry_event *event)
{
	struct gc_run *run = arg;
	struct state *s = state_of(run);

	if (event->kind == FERRY_EVENT_PAUSE_BEGIN) {
		s->pause_begin = event->time_ns;
		s->pause = (enum ferry_pause)event->value;
	} else if (event->kind == FERRY_EVENT_PAUSE_END) {
		note_pause(run, s, event->time_ns - s->pause_begin);
	}
}

static enum ferry_gc_mode mode_of(const struct gc_spec *spec)
{
	return spec->collector == GC_FERRY_STW ? FERRY_GC_STOPPED
					       : FERRY_GC_AUTO;
}

static void note_mode(struct gc_run *run, enum ferry_reason why)
{
	bool concurrent = run->spec.collector == GC_FERRY && !why;

	gc_note(run, "%s%s%s",
		concurrent ? "concurrent" : "the world is stopped",
		why ? ", as concurrent collection is not to be had: " : "",
		why ? ferry_reason_string(why) : "");
}

static int create(struct gc_run *run, size_t limit, char *why, size_t size)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);
	struct state *s = bench_alloc(sizeof(*s));
	enum ferry_reason reason;
	int rc;

	p.trace = trace;
	p.sizing = FERRY_SIZING_FIXED;
	p.max_bytes = limit;
	p.mode = mode_of(&run->spec);
	p.stacks = run->spec.ambiguous ? FERRY_STACK_AMBIGUOUS
				       : FERRY_STACK_PRECISE;
	p.name = "bench";
	run->heap = s;
	rc = ferry_heap_create(&p, &reason, &s->heap);
	if (rc == 0)
		rc = ferry_listener_add(s->heap, on_event, run, &s->listener);
	if (rc < 0)
		snprintf(why, size, "no heap: %s (%s)", strerror(-rc),
			 ferry_reason_string(reason));
	else
		note_mode(run, reason);
	return rc;
}

static void note_longest(struct gc_run *run, const struct state *s)
{
	const char *before = "; longest pauses in ms: ";

	for (int i = 1; i < FERRY_PAUSES; i++) {
		if (!s->longest[i])
			continue;
		gc_note(run, "%s%s %.3g", before,
			ferry_pause_name((enum ferry_pause)i),
			(double)s->longest[i] * 1e-6);
		before = ", ";
	}
}

static void destroy(struct gc_run *run)
{
	struct state *s = state_of(run);

	ferry_listener_remove(s->heap, s->listener);
	note_longest(run, s);
	ferry_heap_destroy(s->heap);
	free(s);
}

static void visit_roots(void *arg, struct ferry_visitor *v)
{
	struct gc_thread *t = arg;

	ferry_visit_range(v, t->root, GC_ROOTS);
}

static int attach(struct gc_thread *t)
{
	struct ferry_mutator_params p = FERRY_INIT(struct ferry_mutator_params);

	p.roots = visit_roots;
	p.roots_arg = t;
	return ferry_mutator_attach(state_of(t->run)->heap, &p, &t->ferry);
}

static void detach(struct gc_thread *t)
{
	ferry_mutator_detach(t->ferry);
}

static void wait_begin(struct gc_thread *t)
{
	ferry_blocking_enter(t->ferry);
}

static void wait_end(struct gc_thread *t)
{
	ferry_blocking_leave(t->ferry);
}

static void collect_or_fail(struct gc_run *run, struct ferry_mutator *m,
			    enum ferry_collect what)
{
	int rc = ferry_heap_collect(state_of(run)->heap, m, what);

	if (rc < 0)
		gc_fail(run, -EPROTO, "a collection failed: %s", strerror(-rc));
}

static void collect(struct gc_thread *t)
{
	collect_or_fail(t->run, t->ferry, FERRY_COLLECT_FULL);
}

static void compact(struct gc_run *run)
{
	collect_or_fail(run, NULL, FERRY_COLLECT_COMPACT);
}

static int verify(struct gc_run *run, char *why, size_t size)
{
	struct ferry_heap_fault fault = FERRY_INIT(struct ferry_heap_fault);
	int rc = ferry_heap_verify(state_of(run)->heap, NULL, &fault);

	if (rc < 0)
		snprintf(why, size, "its heap is not sound: %s",
			 rc == -EILSEQ ? fault.what : strerror(-rc));
	return rc;
}

static void counters(struct gc_run *run, struct gc_counters *ret)
{
	struct ferry_heap_stats st = FERRY_INIT(struct ferry_heap_stats);

	*ret = (struct gc_counters){ 0 };
	if (ferry_heap_stats(state_of(run)->heap, &st) < 0)
		return;
	ret->collections = st.minors + st.fulls + st.compactions;
	ret->bytes_copied = st.copied;
	ret->bytes_moved = st.moved;
	ret->demand_faults = st.faults;
	ret->stalls = st.stalls;
}

const struct gc_collector gc_collector_ferry = {
	.create = create,
	.destroy = destroy,
	.attach = attach,
	.detach = detach,
	.wait_begin = wait_begin,
	.wait_end = wait_end,
	.collect = collect,
	.compact = compact,
	.counters = counters,
	.verify = verify,
};
