/* SPDX-License-Identifier: MIT */
/*
 * Checking a heap: everything that roots reach is traced again, with marks
 * and a stack of its own, and each object and reference is held against the
 * side table (V1 to V4 in DESIGN.md).
 *
 * Weak slots and ephemerons are followed as strong ones: what they refer to
 * was alive when the last collection ended, or has been made since, so it
 * must be whole until the next one ends, reachable or not.
 */
#include "runtime/verify.h"

#include "runtime/heap-internal.h"

#include <errno.h>
#include <string.h>

#define WRONG_SIZE "an object has not the size that it tells"

#define SLOTS	  128u
#define STACK_MIN ((size_t)1 << 16) /* objects */

/* A check under way. */
struct tracer {
	struct ferry_visitor visitor; /* first: see tracer_of() */
	struct ferry_heap *heap;
	uint64_t *seen[2]; /* bits: granules of a half, pages of a half */
	size_t seen_bytes[2];
	uintptr_t *stack;
	size_t n, max;
	uintptr_t object; /* being traced; 0: roots */
	int error;	  /* the first: -EILSEQ or -ENOMEM */
	struct ferry_heap_fault *fault;
	void *slots[SLOTS];
};

static struct tracer *tracer_of(struct ferry_visitor *v)
{
	return (struct tracer *)v;
}

/* --- what was found --------------------------------------------------------- */

int ferry__found(struct ferry_heap_fault *ret_fault, const char *what,
		 uintptr_t object, const void *slot, uintptr_t value)
{
	*ret_fault = (struct ferry_heap_fault){
		.size = sizeof(*ret_fault),
		.what = what,
		.object = (const void *)object,
		.slot = slot,
		.value = (const void *)value,
	};
	return -EILSEQ;
}

static void found(struct tracer *t, const char *what, const void *slot,
		  uintptr_t value)
{
	if (!t->error)
		t->error = ferry__found(t->fault, what, t->object, slot, value);
}

/* --- marks and stack --------------------------------------------------------- */

/* Was the object seen before? It is from now on. */
static bool see(struct tracer *t, uintptr_t addr)
{
	bool large = ferry__is_large(t->heap, addr);
	size_t offset = ferry__offset(t->heap, addr);
	size_t at = offset >> (large ? FERRY__LARGE_SHIFT : 4);
	uint64_t bit = 1ull << at % 64;
	uint64_t *word = &t->seen[large][at / 64];
	bool was = *word & bit;

	*word |= bit;
	return was;
}

static int stack_grow(struct tracer *t)
{
	size_t max = t->max ? 2 * t->max : STACK_MIN;
	void *mem;
	int r;

	r = ferry__meta_alloc(max * sizeof(*t->stack), &mem);
	if (r < 0)
		return r;
	if (t->n)
		memcpy(mem, t->stack, t->n * sizeof(*t->stack));
	ferry__meta_free(t->stack, t->max * sizeof(*t->stack));
	t->stack = mem;
	t->max = max;
	return 0;
}

static void push(struct tracer *t, uintptr_t addr)
{
	int r = t->n == t->max ? stack_grow(t) : 0;

	if (r == 0)
		t->stack[t->n++] = addr;
	else if (!t->error)
		t->error = r;
}

/* --- references -------------------------------------------------------------- */

/* V1: a reference hits the start of an object. */
static bool is_start(const struct ferry_heap *heap, uintptr_t addr)
{
	size_t unit = ferry__is_large(heap, addr) ? 1u << FERRY__LARGE_SHIFT
						  : FERRY_GRANULE;

	return addr % unit == 0 && ferry__object_find(heap, addr) == addr;
}

static void reach(struct tracer *t, uintptr_t addr, const void *slot)
{
	if (!is_start(t->heap, addr))
		found(t, "a reference does not hit an object", slot, addr);
	else if (!see(t, addr))
		push(t, addr);
}

/* An ambiguous word, or a pin. */
static void reach_word(void *arg, uintptr_t word)
{
	struct tracer *t = arg;
	uintptr_t addr = ferry__object_find(t->heap, word);

	if (addr && !see(t, addr))
		push(t, addr);
}

static void reach_pin(void *arg, uintptr_t addr)
{
	reach(arg, addr, NULL);
}

static void look_at(struct tracer *t, void *slot)
{
	uintptr_t addr = ferry__slot_load(t->heap, slot), inner = addr;

	if (!addr)
		return;
	if (t->heap->params.interior_slots) {
		addr = ferry__object_find(t->heap, inner);
		if (!addr)
			addr = inner; /* which is then found to be wrong */
	}
	reach(t, addr, slot);
}

static void flush(struct ferry_visitor *v)
{
	struct tracer *t = tracer_of(v);
	uint32_t i;

	for (i = 0; i < v->n; i++)
		look_at(t, v->slots[i]);
	v->n = 0;
}

static void visit_weak(struct ferry_visitor *v, void *slot)
{
	look_at(tracer_of(v), slot);
}

/* Without a key the value is kept by nobody, and may be anything. */
static void visit_ephemeron(struct ferry_visitor *v, void *key, void *value)
{
	struct tracer *t = tracer_of(v);

	if (!ferry__slot_load(t->heap, key))
		return;
	look_at(t, key);
	look_at(t, value);
}

/* --- objects ----------------------------------------------------------------- */

static bool is_zeros(uintptr_t addr)
{
	const uint64_t *word = (const uint64_t *)addr;

	return !word[0] && !word[1];
}

/* What the host says of the size; @bytes when it is not asked. */
static size_t told_size(const struct ferry_heap *heap, uintptr_t addr,
			enum ferry_kind kind, size_t bytes)
{
	const struct ferry_type *type;

	if (kind == FERRY_KIND_TYPED) {
		type = *(const struct ferry_type *const *)addr;
		return type ? ferry_type_size(type, (void *)addr) : 0;
	}
	if ((kind == FERRY_KIND_TRACED || kind == FERRY_KIND_LEAF) &&
	    heap->params.trace)
		return heap->params.trace((void *)addr, NULL);
	return ferry__hash_carried(heap, addr) ? bytes - FERRY_GRANULE : bytes;
}

/* V2: in whole granules (large objects: pages) it is that of the side table,
 * but for a hash that the host does not know of. */
static bool size_holds(const struct ferry_heap *heap, uintptr_t addr)
{
	uint8_t byte = ferry__meta_load(ferry__meta(heap, addr));
	size_t bytes = ferry__object_bytes(heap, addr);
	size_t unit = ferry__is_large(heap, addr) ? ferry__page_size
						  : FERRY_GRANULE;
	size_t size = told_size(heap, addr, byte & FERRY_META_KIND, bytes);

	if (ferry__hash_carried(heap, addr))
		bytes -= FERRY_GRANULE;
	if (size <= bytes && (size + unit - 1) / unit * unit == bytes)
		return true;
	/* Its thread has not come to write a header yet. */
	return is_zeros(addr);
}

static void trace_words(struct tracer *t, uintptr_t addr)
{
	size_t n = ferry__object_bytes(t->heap, addr) / sizeof(uintptr_t);
	const uintptr_t *word = (const uintptr_t *)addr;

	for (; n; n--)
		reach_word(t, *word++);
}

static void trace(struct tracer *t, uintptr_t addr)
{
	uint8_t byte = ferry__meta_load(ferry__meta(t->heap, addr));
	enum ferry_kind kind = byte & FERRY_META_KIND;

	t->object = addr;
	/* V3: the colour of the marked, or of what came since that began. */
	if (!ferry__is_kept(t->heap, byte))
		found(t, "a reachable object was not marked", NULL, byte);
	else if (!size_holds(t->heap, addr))
		found(t, WRONG_SIZE, NULL, ferry__object_bytes(t->heap, addr));
	else if (kind == FERRY_KIND_AMBIGUOUS)
		trace_words(t, addr);
	else if (kind < FERRY_KIND_LEAF && !is_zeros(addr))
		ferry__trace(t->heap, &t->visitor, (void *)addr, kind);
	flush(&t->visitor);
}

static void trace_all(struct tracer *t)
{
	struct ferry_heap *heap = t->heap;

	ferry__roots_visit(heap, &t->visitor);
	ferry__weak_roots(heap, &t->visitor);
	flush(&t->visitor);
	ferry__pins_each(heap, reach_pin, t);
	ferry__roots_ambiguous(heap, reach_word, t);
	while (t->n && !t->error)
		trace(t, t->stack[--t->n]);
}

/* --- a check ------------------------------------------------------------------ */

static void tracer_fini(struct tracer *t)
{
	ferry__meta_free(t->seen[0], t->seen_bytes[0]);
	ferry__meta_free(t->seen[1], t->seen_bytes[1]);
	ferry__meta_free(t->stack, t->max * sizeof(*t->stack));
}

static int tracer_init(struct tracer *t, struct ferry_heap *heap,
		       struct ferry_heap_fault *fault)
{
	void *mem;
	size_t i;
	int r;

	memset(t, 0, sizeof(*t));
	t->heap = heap;
	t->fault = fault;
	t->visitor = (struct ferry_visitor){
		.slots = t->slots,
		.max = SLOTS,
		.flush = flush,
		.weak = visit_weak,
		.ephemeron = visit_ephemeron,
		.arg = heap->params.arg,
	};
	t->seen_bytes[0] = heap->half / FERRY_GRANULE / 8;
	t->seen_bytes[1] = (heap->half >> FERRY__LARGE_SHIFT) / 8;
	for (i = 0; i < 2; i++) {
		r = ferry__meta_alloc(t->seen_bytes[i], &mem);
		if (r < 0) {
			tracer_fini(t);
			return r;
		}
		t->seen[i] = mem;
	}
	return 0;
}

static int trace_again(struct ferry_heap *heap,
		       struct ferry_heap_fault *ret_fault)
{
	struct tracer t;
	int r;

	r = tracer_init(&t, heap, ret_fault);
	if (r < 0)
		return r;
	trace_all(&t);
	tracer_fini(&t);
	return t.error;
}

int ferry__verify(struct ferry_heap *heap, struct ferry_heap_fault *ret_fault)
{
	int r;

	/* The side table first: tracing relies on it. */
	r = ferry__space_check(heap, ret_fault);
	if (r == 0)
		r = ferry__large_check(heap, ret_fault);
	if (r == 0)
		r = trace_again(heap, ret_fault);
	return r;
}

static int verify_stopped(struct ferry_heap *heap,
			  struct ferry_heap_fault *ret_fault)
{
	int r;

	ferry__world_stop(heap, FERRY_PAUSE_OTHER);
	r = ferry__verify(heap, ret_fault);
	ferry__world_resume(heap, FERRY_PAUSE_OTHER);
	return r;
}

void ferry__verify_after(struct ferry_heap *heap)
{
	struct ferry_heap_fault fault;

	if (heap->stress.verify && verify_stopped(heap, &fault) == -EILSEQ)
		ferry__fault_note(heap, &fault);
}

void ferry__verify_traced(struct ferry_heap *heap, uintptr_t addr)
{
	uint8_t byte = ferry__meta_load(ferry__meta(heap, addr));
	struct ferry_heap_fault fault;

	/* What has no references may be written for the first time now. */
	if ((byte & FERRY_META_KIND) >= FERRY_KIND_LEAF ||
	    size_holds(heap, addr))
		return;
	ferry__found(&fault, WRONG_SIZE, addr, NULL,
		     ferry__object_bytes(heap, addr));
	ferry__fault_note(heap, &fault);
}

int ferry_heap_verify(struct ferry_heap *heap, struct ferry_mutator *mutator,
		      struct ferry_heap_fault *ret_fault)
{
	struct ferry_heap_fault fault;
	int r;

	if (heap->pid != ferry__sys->getpid())
		return -ECHILD;
	ferry__cycle_exclude(heap, mutator);
	r = ferry__fault_take(heap, &fault);
	if (r == 0)
		r = verify_stopped(heap, &fault);
	ferry__cycle_admit(heap, mutator);
	if (r == -EILSEQ && ret_fault)
		*ret_fault = fault;
	return r;
}
