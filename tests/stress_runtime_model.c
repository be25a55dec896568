/* SPDX-License-Identifier: MIT */
/*
 * Random programs on a heap against a shadow of its graph: several mutators
 * allocate, link, walk, drop, share, pin, attach and detach while collections
 * of all kinds run; every object that is touched is checked, and now and then
 * all threads come to rest and the whole graph is compared.
 */
#include "tests/harness.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ferry/event.h>
#include <ferry/weak.h>

#include "tests/model.h"

#define MIB	((size_t)1 << 20)
#define THREADS 3

/* Places of a thread that hold references, by the kind of root. */
enum {
	IN_FRAME = 0,	/* or, with ambiguous stacks, plain locals */
	IN_HANDLE = 16, /* handles */
	IN_CALLBACK = 24,
	IN_RANGE = 32,
	IN_WORDS = 40, /* an ambiguous root */
	PLACES = 48
};

#define PINS   4
#define WEAK   8
#define SHARED 16 /* places of all threads */

struct setup {
	enum ferry_gc_mode mode;
	enum ferry_fault_mode fault_mode;
	enum ferry_stack_scan stacks;
	enum model_slots slots;
	const char *options;
	size_t max_bytes;
	size_t steps;
};

struct shadow {
	struct model_node *node;
	uint32_t off;
};

struct program;

struct thread {
	struct program *program;
	pthread_t id;
	size_t number;
	struct random rng;
	struct ferry_mutator *m;
	struct ferry_frame frame;
	struct model_list list;
	struct shadow shadow[PLACES];
	/* What the places hold: locals lie on the thread's stack. */
	uintptr_t *local; /* [16] */
	void **handle[8];
	uintptr_t in_callback[8];
	uintptr_t in_range[8];
	uintptr_t in_words[8];
	struct ferry_root *range, *words;
	struct {
		struct model_node *node;
		void *addr;
	} pin[PINS];
	struct {
		struct ferry_weak *weak; /* NULL: none */
		struct model_node *node;
		bool cleared; /* so it must be dead */
	} weak[WEAK];
};

/* Threads meet here to have the whole compared. */
struct meeting {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t here, rounds;
	_Atomic bool called;
	_Atomic size_t done; /* threads that have no more steps to make */
};

struct program {
	struct setup setup;
	struct ferry_heap *heap;
	struct model model;
	struct thread thread[THREADS];
	struct meeting meeting;
	pthread_barrier_t end;
	/* What all threads share: frozen objects. The lock orders writes of
	 * places and of their shadows. */
	pthread_mutex_t lock;
	uintptr_t in_shared[SHARED];
	struct shadow shared[SHARED];
	struct ferry_root *shared_root;
	size_t full_ones; /* exact comparisons */
};

/* --- failing ---------------------------------------------------------------- */

#define NODE_FORMAT "%llx of shape %d, %zu bytes, %u slots, at %p"
#define NODE_ARGS(node)                                                        \
	(unsigned long long)(node)->id, (node)->shape, (node)->size,           \
		(node)->slots, (void *)(node)->addr

static void expect(const char *wrong, const struct model_node *node,
		   const struct model_node *from)
{
	if (wrong && node && from)
		ck_abort_msg("%s: object " NODE_FORMAT " from " NODE_FORMAT,
			     wrong, NODE_ARGS(node), NODE_ARGS(from));
	if (wrong && node)
		ck_abort_msg("%s: object " NODE_FORMAT, wrong, NODE_ARGS(node));
	if (wrong)
		ck_abort_msg("%s", wrong);
}

/* --- places ----------------------------------------------------------------- */

static bool is_ambiguous_stack(const struct program *p)
{
	return p->setup.stacks == FERRY_STACK_AMBIGUOUS;
}

static bool place_is_ambiguous(const struct thread *t, size_t place)
{
	if (place >= IN_WORDS)
		return true;
	return place < IN_HANDLE && is_ambiguous_stack(t->program);
}

static uintptr_t *place_at(struct thread *t, size_t place)
{
	if (place >= IN_WORDS)
		return &t->in_words[place - IN_WORDS];
	if (place >= IN_RANGE)
		return &t->in_range[place - IN_RANGE];
	if (place >= IN_CALLBACK)
		return &t->in_callback[place - IN_CALLBACK];
	if (place >= IN_HANDLE)
		return (uintptr_t *)t->handle[place - IN_HANDLE];
	return &t->local[place];
}

static void *place_get(struct thread *t, size_t place)
{
	return model_decode(&t->program->model, place_is_ambiguous(t, place),
			    *place_at(t, place), t->shadow[place].off);
}

static void place_set(struct thread *t, size_t place, struct model_node *node,
		      void *object)
{
	struct model *model = &t->program->model;
	bool ambiguous = place_is_ambiguous(t, place);
	uint32_t off = node ? model_off(model, ambiguous, node, &t->rng) : 0;

	t->shadow[place] = (struct shadow){ node, off };
	*place_at(t, place) = model_encode(model, ambiguous, object, off);
}

static size_t any_place(struct thread *t)
{
	return random_below(&t->rng, PLACES);
}

/* A place with a reference, if one of some is found. */
static bool used_place(struct thread *t, size_t *ret_place)
{
	size_t tries, place;

	for (tries = 0; tries < 8; tries++) {
		place = any_place(t);
		if (t->shadow[place].node) {
			*ret_place = place;
			return true;
		}
	}
	return false;
}

static void callback(void *arg, struct ferry_visitor *v)
{
	struct thread *t = arg;

	ferry_visit_range(v, t->in_callback, 8);
}

/* --- what a program does ----------------------------------------------------- */

static void step_alloc(struct thread *t)
{
	struct program *p = t->program;
	struct model_node *node;
	size_t align = 0;
	void *object;

	node = model_node_new(&t->list, &t->rng, p->setup.max_bytes / 32);
	if (random_below(&t->rng, 16) == 0) {
		align = 16u << random_below(&t->rng, 9);
		object = ferry_alloc_aligned(t->m, node->size, align,
					     model_kind(node));
	} else {
		object = ferry_alloc(t->m, node->size, model_kind(node));
	}
	if (!object) {
		/* The limit: much of what there is goes. */
		size_t i;

		t->list.first = node->next;
		free(node);
		for (i = 0; i < PLACES; i += 2)
			place_set(t, i, NULL, NULL);
		return;
	}
	ck_assert_uint_eq((uintptr_t)object % (align ? align : 16), 0);
	model_write(&p->model, node, object);
	place_set(t, any_place(t), node, object);
}

static void slot_set(struct thread *t, struct model_node *holder, void *object,
		     uint32_t i, struct model_node *node, void *value)
{
	struct model *model = &t->program->model;
	bool ambiguous = model_slot_is_ambiguous(holder);
	struct model_slot *slot = &holder->slot[i];
	uintptr_t word;

	slot->node = node;
	slot->word = 0;
	if (node)
		slot->off = model_off(model, ambiguous, node, &t->rng);
	else if (i < model_first_weak(holder) && random_below(&t->rng, 2))
		slot->word = random_below(&t->rng, 4096);
	word = node ? model_encode(model, ambiguous, value, slot->off)
		    : slot->word;
	/* Relaxed: the collector reads it meanwhile. */
	__atomic_store_n(model_slot_at(holder, object, i), word,
			 __ATOMIC_RELAXED);
}

static void touch(struct thread *t, const struct model_node *node, void *object)
{
	expect(model_check(&t->program->model, node, object, false), node,
	       NULL);
}

/* A slot gets the reference of a place, or something else. */
static void slot_any(struct thread *t, struct model_node *holder, void *object,
		     uint32_t i)
{
	size_t place;

	if (used_place(t, &place) && random_below(&t->rng, 8))
		slot_set(t, holder, object, i, t->shadow[place].node,
			 place_get(t, place));
	else
		slot_set(t, holder, object, i, NULL, NULL);
}

/* A slot of one object changes; an ephemeron's changes as a whole. */
static void step_link(struct thread *t)
{
	struct model_node *holder;
	uint32_t i, first;
	size_t place, n;

	if (!used_place(t, &place))
		return;
	holder = t->shadow[place].node;
	touch(t, holder, place_get(t, place));
	if (holder->frozen || !holder->slots)
		return;
	first = model_first_pair(holder);
	for (n = 1 + random_below(&t->rng, 4); n; n--) {
		/* Half of the time what is rare: the last ones. */
		i = (uint32_t)random_below(&t->rng, holder->slots);
		if (random_below(&t->rng, 2))
			i = holder->slots - 1 - i / 8;
		if (i >= first)
			i -= (i - first) % 2;
		slot_any(t, holder, place_get(t, place), i);
		if (i < first)
			continue;
		if (holder->slot[i].node)
			slot_any(t, holder, place_get(t, place), i + 1);
		else
			slot_set(t, holder, place_get(t, place), i + 1, NULL,
				 NULL);
	}
}

/* From object to object, each checked; what is found last goes to a place. */
static void step_walk(struct thread *t)
{
	struct model *model = &t->program->model;
	struct model_node *node;
	size_t place, steps;
	void *object;

	if (!used_place(t, &place))
		return;
	node = t->shadow[place].node;
	object = place_get(t, place);
	for (steps = random_below(&t->rng, 20); steps; steps--) {
		struct model_slot *slot;
		void *next;
		uint32_t i;

		touch(t, node, object);
		if (!node->slots)
			break;
		i = (uint32_t)random_below(&t->rng, node->slots);
		slot = &node->slot[i];
		if (!slot->node)
			continue;
		next = model_decode(model, model_slot_is_ambiguous(node),
				    *model_slot_at(node, object, i), slot->off);
		if (!next && i >= model_first_weak(node))
			continue; /* cleared, which the shadow learns later */
		object = next;
		node = slot->node;
	}
	touch(t, node, object);
	place_set(t, any_place(t), node, object);
}

static void step_drop(struct thread *t)
{
	place_set(t, any_place(t), NULL, NULL);
}

/* Everything reachable from one place is shared, and not written any more. */
static void step_share(struct thread *t)
{
	struct program *p = t->program;
	size_t place, to = random_below(&t->rng, SHARED);
	struct model_node *node;

	if (!used_place(t, &place))
		return;
	node = t->shadow[place].node;
	pthread_mutex_lock(&p->lock);
	model_freeze(&p->model, node);
	p->shared[to].node = node;
	p->shared[to].off = model_off(&p->model, false, node, &t->rng);
	__atomic_store_n(&p->in_shared[to],
			 model_encode(&p->model, false, place_get(t, place),
				      p->shared[to].off),
			 __ATOMIC_RELAXED);
	pthread_mutex_unlock(&p->lock);
}

static void step_take(struct thread *t)
{
	struct program *p = t->program;
	size_t from = random_below(&t->rng, SHARED);
	struct model_node *node;

	pthread_mutex_lock(&p->lock);
	node = p->shared[from].node;
	if (node)
		place_set(t, any_place(t), node,
			  model_decode(&p->model, false, p->in_shared[from],
				       p->shared[from].off));
	pthread_mutex_unlock(&p->lock);
}

static void step_pin(struct thread *t)
{
	size_t i = random_below(&t->rng, PINS), place;

	if (t->pin[i].node) {
		touch(t, t->pin[i].node, t->pin[i].addr);
		ck_assert_int_eq(ferry_unpin(t->m, t->pin[i].addr), 0);
		t->pin[i].node = NULL;
		return;
	}
	if (!used_place(t, &place))
		return;
	t->pin[i].node = t->shadow[place].node;
	t->pin[i].addr = place_get(t, place);
	ck_assert_int_eq(ferry_pin(t->m, t->pin[i].addr), 0);
	if (random_below(&t->rng, 2))
		ck_assert_int_eq(ferry_heap_prefault(t->m, t->pin[i].addr,
						     t->pin[i].node->size),
				 0);
}

/* Makes a weak reference, or sees what has become of one. */
static void step_weak(struct thread *t)
{
	size_t i = random_below(&t->rng, WEAK), place;
	void *object;

	if (!t->weak[i].weak) {
		if (!used_place(t, &place))
			return;
		t->weak[i].node = t->shadow[place].node;
		t->weak[i].weak = ferry_weak_new(t->m, place_get(t, place));
		t->weak[i].cleared = false;
		ck_assert_ptr_nonnull(t->weak[i].weak);
		return;
	}
	object = ferry_weak_get(t->m, t->weak[i].weak);
	if (!object) {
		t->weak[i].cleared = true;
		return;
	}
	ck_assert(!t->weak[i].cleared);
	touch(t, t->weak[i].node, object);
	if (random_below(&t->rng, 2))
		place_set(t, any_place(t), t->weak[i].node, object);
}

static void step_hash(struct thread *t)
{
	struct model_node *node;
	uint64_t hash;
	size_t place;

	if (!used_place(t, &place))
		return;
	node = t->shadow[place].node;
	pthread_mutex_lock(&t->program->lock);
	hash = ferry_identity_hash(t->m, place_get(t, place));
	if (node->hashed)
		ck_assert_uint_eq(node->hash, hash);
	node->hash = hash;
	node->hashed = true;
	pthread_mutex_unlock(&t->program->lock);
}

static enum ferry_collect any_kind(struct thread *t)
{
	return FERRY_COLLECT_MINOR + (int)random_below(&t->rng, 3);
}

static void verify(struct thread *t)
{
	struct ferry_heap_fault fault = FERRY_INIT(struct ferry_heap_fault);

	if (ferry_heap_verify(t->program->heap, t->m, &fault) != 0)
		ck_abort_msg("%s: object %p, slot %p, value %p", fault.what,
			     fault.object, fault.slot, fault.value);
}

static void step_collect(struct thread *t)
{
	if (random_below(&t->rng, 4) == 0)
		ck_assert_int_eq(
			ferry_heap_collect(t->program->heap, t->m, any_kind(t)),
			0);
	else
		ck_assert_int_eq(
			ferry_heap_request(t->program->heap, any_kind(t)), 0);
}

static void step_block(struct thread *t)
{
	ferry_blocking_enter(t->m);
	usleep((useconds_t)random_below(&t->rng, 300));
	ferry_blocking_leave(t->m);
}

/* --- attaching -------------------------------------------------------------- */

static void attach(struct thread *t)
{
	struct ferry_mutator_params params =
		FERRY_INIT(struct ferry_mutator_params);

	params.roots = callback;
	params.roots_arg = t;
	ck_assert_int_eq(ferry_mutator_attach(t->program->heap, &params, &t->m),
			 0);
	if (!is_ambiguous_stack(t->program))
		ferry_frame_push(t->m, &t->frame, (void **)t->local, 16);
}

static void detach(struct thread *t)
{
	if (!is_ambiguous_stack(t->program))
		ferry_frame_pop(t->m, &t->frame);
	ferry_mutator_detach(t->m);
}

/* What detaching takes from the roots is put elsewhere first. */
static void step_reattach(struct thread *t)
{
	size_t i;

	for (i = 0; i < 16; i++) {
		size_t to = i < 8 ? IN_RANGE + i : IN_HANDLE + i - 8;

		place_set(t, to, t->shadow[i].node, place_get(t, i));
		place_set(t, i, NULL, NULL);
	}
	for (i = IN_CALLBACK; i < IN_RANGE; i++)
		place_set(t, i, NULL, NULL);
	for (i = 0; i < PINS; i++)
		if (t->pin[i].node)
			ck_assert_int_eq(ferry_unpin(t->m, t->pin[i].addr), 0);
	for (i = 0; i < PINS; i++)
		t->pin[i].node = NULL;
	detach(t);
	sched_yield();
	attach(t);
}

/* --- comparing -------------------------------------------------------------- */

static void compare_place(struct program *p, struct model_node *node,
			  void *object)
{
	if (node)
		expect(model_compare_root(&p->model, node, object), node, NULL);
}

static void compare_thread(struct program *p, struct thread *t)
{
	size_t i;

	for (i = 0; i < PLACES; i++)
		compare_place(p, t->shadow[i].node, place_get(t, i));
	for (i = 0; i < PINS; i++)
		compare_place(p, t->pin[i].node, t->pin[i].addr);
}

/* One that was found cleared is to a dead object, and is made anew. */
static void compare_weak(struct program *p, struct thread *t, size_t i,
			 struct ferry_mutator *m, bool exact)
{
	struct model_node *node = t->weak[i].node;
	void *object;

	if (!t->weak[i].weak)
		return;
	object = ferry_weak_get(m, t->weak[i].weak);
	ck_assert(!object || !t->weak[i].cleared);
	expect(model_compare_weak(&p->model, node, object, exact), node, NULL);
	if (object)
		return;
	ferry_weak_free(p->heap, t->weak[i].weak);
	t->weak[i].weak = NULL;
	t->weak[i].node = NULL;
}

static void compare(struct program *p, struct ferry_mutator *m, bool exact)
{
	struct model *model = &p->model;
	const char *wrong;
	size_t i;

	model_compare_begin(model);
	for (i = 0; i < THREADS; i++)
		compare_thread(p, &p->thread[i]);
	for (i = 0; i < SHARED; i++)
		compare_place(p, p->shared[i].node,
			      model_decode(model, false, p->in_shared[i],
					   p->shared[i].off));
	wrong = model_compare_end(model, exact);
	expect(wrong, model->at, model->from);
	for (i = 0; i < THREADS * WEAK; i++)
		compare_weak(p, &p->thread[i / WEAK], i % WEAK, m, exact);
}

/* The collector kept what is reachable and nothing else. */
static void compare_live(struct program *p)
{
	struct ferry_heap_stats s = FERRY_INIT(struct ferry_heap_stats);

	ck_assert_int_eq(ferry_heap_stats(p->heap, &s), 0);
	if (s.live != p->model.bytes)
		ck_abort_msg(
			"live: %zu bytes, the model has %zu in %zu objects",
			s.live, p->model.bytes, p->model.objects);
	p->full_ones++;
}

static void prune(struct program *p)
{
	size_t i, j;

	model_keep_begin(&p->model);
	for (i = 0; i < THREADS; i++) {
		struct thread *t = &p->thread[i];

		for (j = 0; j < PLACES; j++)
			model_keep(&p->model, t->shadow[j].node);
		for (j = 0; j < PINS; j++)
			model_keep(&p->model, t->pin[j].node);
		for (j = 0; j < WEAK; j++)
			model_keep(&p->model, t->weak[j].node);
	}
	for (i = 0; i < SHARED; i++)
		model_keep(&p->model, p->shared[i].node);
	for (i = 0; i < THREADS; i++)
		model_prune(&p->model, &p->thread[i].list);
}

/* Too much is alive: all places let go, but not the pins. */
static void thin_out(struct program *p)
{
	size_t i;

	if (p->model.bytes < p->setup.max_bytes / 4)
		return;
	for (i = 0; i < THREADS * PLACES; i++)
		place_set(&p->thread[i / PLACES], i % PLACES, NULL, NULL);
	for (i = 0; i < SHARED; i++) {
		p->shared[i].node = NULL;
		p->in_shared[i] = 0;
	}
}

/* All others are at rest: what one of them does for all. */
static void inspect(struct thread *t)
{
	struct program *p = t->program;
	enum ferry_collect kind = any_kind(t);
	bool collected = random_below(&t->rng, 4) != 0;
	bool exact = kind != FERRY_COLLECT_MINOR && collected &&
		     !is_ambiguous_stack(p);

	if (collected)
		ck_assert_int_eq(ferry_heap_collect(p->heap, t->m, kind), 0);
	verify(t);
	compare(p, t->m, exact);
	if (exact)
		compare_live(p);
	prune(p);
	thin_out(p);
}

/* Comes to a meeting if one was called. The last to come inspects. */
static void meet(struct thread *t)
{
	struct meeting *meeting = &t->program->meeting;
	size_t round;

	ferry_blocking_enter(t->m);
	pthread_mutex_lock(&meeting->lock);
	round = meeting->rounds;
	if (++meeting->here == THREADS) {
		/* The others wait in their brackets; only this one runs. */
		pthread_mutex_unlock(&meeting->lock);
		ferry_blocking_leave(t->m);
		inspect(t);
		ferry_blocking_enter(t->m);
		pthread_mutex_lock(&meeting->lock);
		meeting->here = 0;
		meeting->rounds++;
		atomic_store(&meeting->called, false);
		pthread_cond_broadcast(&meeting->changed);
	}
	while (round == meeting->rounds)
		pthread_cond_wait(&meeting->changed, &meeting->lock);
	pthread_mutex_unlock(&meeting->lock);
	ferry_blocking_leave(t->m);
}

/* --- a thread --------------------------------------------------------------- */

static void step(struct thread *t)
{
	uint64_t what = random_below(&t->rng, 4000);

	if (what < 1300)
		step_alloc(t);
	else if (what < 2600)
		step_link(t);
	else if (what < 3500)
		step_walk(t);
	else if (what < 3700)
		step_drop(t);
	else if (what < 3780)
		step_share(t);
	else if (what < 3860)
		step_take(t);
	else if (what < 3880)
		step_pin(t);
	else if (what < 3920)
		step_weak(t);
	else if (what < 3940)
		step_hash(t);
	else if (what < 3960)
		step_block(t);
	else if (what < 3964)
		step_collect(t);
	else if (what < 3968)
		step_reattach(t);
	else if (what < 3970)
		atomic_store(&t->program->meeting.called, true);
	else
		ferry_safepoint(t->m);
}

/* All at rest once more, for the last comparison. */
static void finish(struct thread *t)
{
	ferry_blocking_enter(t->m);
	if (pthread_barrier_wait(&t->program->end) ==
	    PTHREAD_BARRIER_SERIAL_THREAD) {
		ferry_blocking_leave(t->m);
		inspect(t);
		ferry_blocking_enter(t->m);
	}
	pthread_barrier_wait(&t->program->end);
	ferry_blocking_leave(t->m);
}

static void thread_run(struct thread *t)
{
	struct meeting *meeting = &t->program->meeting;
	size_t steps = t->program->setup.steps;

	for (; steps; steps--) {
		step(t);
		if (atomic_load(&meeting->called))
			meet(t);
	}
	/* Who is done comes to the meetings of the others. */
	atomic_fetch_add(&meeting->done, 1);
	while (atomic_load(&meeting->done) < THREADS) {
		step_block(t);
		if (atomic_load(&meeting->called))
			meet(t);
	}
	finish(t);
}

static void thread_roots(struct thread *t)
{
	struct ferry_heap *heap = t->program->heap;
	size_t i;

	for (i = 0; i < 8; i++) {
		t->handle[i] = ferry_handle_new(t->m, NULL);
		ck_assert_ptr_nonnull(t->handle[i]);
	}
	ck_assert_int_eq(
		ferry_root_add_range(heap, (void **)t->in_range, 8, &t->range),
		0);
	ck_assert_int_eq(ferry_root_add_ambiguous(heap, t->in_words,
						  sizeof(t->in_words),
						  &t->words),
			 0);
}

static void *thread_main(void *arg)
{
	uintptr_t local[16] = { 0 };
	struct thread *t = arg;

	t->local = local;
	attach(t);
	thread_roots(t);
	thread_run(t);
	detach(t);
	return NULL;
}

/* --- a program -------------------------------------------------------------- */

static int heap_open(struct program *p)
{
	struct ferry_heap_params params = FERRY_INIT(struct ferry_heap_params);

	params.trace = model_trace;
	if (p->setup.slots == MODEL_TAGGED) {
		params.load = model_load;
		params.store = model_store;
	}
	params.interior_slots = p->setup.slots == MODEL_INTERIOR;
	params.mode = p->setup.mode;
	params.fault_mode = p->setup.fault_mode;
	params.stacks = p->setup.stacks;
	params.min_bytes = 2 * MIB;
	params.max_bytes = p->setup.max_bytes;
	params.threads = 2;
	params.options = p->setup.options;
	return ferry_heap_create(&params, NULL, &p->heap);
}

static void program_start(struct program *p)
{
	struct random rng = harness_random();
	size_t i;

	p->model.heap = p->heap;
	p->model.slots = p->setup.slots;
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->meeting.lock, NULL);
	pthread_cond_init(&p->meeting.changed, NULL);
	pthread_barrier_init(&p->end, NULL, THREADS);
	ck_assert_int_eq(ferry_root_add_range(p->heap, (void **)p->in_shared,
					      SHARED, &p->shared_root),
			 0);
	for (i = 0; i < THREADS; i++) {
		p->thread[i].program = p;
		p->thread[i].number = i;
		p->thread[i].rng = random_seeded(random_next(&rng));
		p->thread[i].list.next_id = (uint64_t)(i + 1) << 56;
	}
	for (i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&p->thread[i].id, NULL,
						thread_main, &p->thread[i]),
				 0);
}

static void program_end(struct program *p)
{
	size_t i, j;

	for (i = 0; i < THREADS; i++)
		pthread_join(p->thread[i].id, NULL);
	for (i = 0; i < THREADS; i++) {
		for (j = 0; j < 8; j++)
			ferry_handle_free(p->heap, p->thread[i].handle[j]);
		ferry_root_remove(p->heap, p->thread[i].range);
		ferry_root_remove(p->heap, p->thread[i].words);
		for (j = 0; j < WEAK; j++)
			ferry_weak_free(p->heap, p->thread[i].weak[j].weak);
		model_free(&p->thread[i].list);
	}
	ferry_root_remove(p->heap, p->shared_root);
	ck_assert_int_eq(ferry_heap_destroy(p->heap), 0);
}

/* Runs a program with @setup; returns an errno if there is no such heap. */
static int run(struct setup setup)
{
	struct program p = { .setup = setup };
	int r;

	p.setup.max_bytes = setup.max_bytes ? setup.max_bytes : 64 * MIB;
	p.setup.steps = harness_scaled(setup.steps ? setup.steps : 60000);
	r = heap_open(&p);
	if (r < 0)
		return r;
	program_start(&p);
	program_end(&p);
	return 0;
}

#define MODEL(name, ...)                                                       \
	START_TEST(name)                                                       \
	{                                                                      \
		struct setup setup = { __VA_ARGS__ };                          \
                                                                               \
		ck_assert_int_eq(run(setup), 0);                               \
	}                                                                      \
	END_TEST

/* The modes. */
MODEL(stopped_heap_is_as_the_model, .mode = FERRY_GC_STOPPED)
MODEL(concurrent_heap_is_as_the_model, .mode = FERRY_GC_CONCURRENT,
      .fault_mode = FERRY_FAULT_THREAD)
MODEL(heap_with_signals_is_as_the_model, .mode = FERRY_GC_CONCURRENT,
      .fault_mode = FERRY_FAULT_SIGBUS)

/* Stacks and slots. */
MODEL(ambiguous_stacks_keep_what_they_hit, .mode = FERRY_GC_CONCURRENT,
      .fault_mode = FERRY_FAULT_THREAD, .stacks = FERRY_STACK_AMBIGUOUS)
MODEL(ambiguous_stacks_of_a_stopped_heap, .mode = FERRY_GC_STOPPED,
      .stacks = FERRY_STACK_AMBIGUOUS)
MODEL(tagged_slots_keep_their_tags, .mode = FERRY_GC_CONCURRENT,
      .fault_mode = FERRY_FAULT_THREAD, .slots = MODEL_TAGGED)
MODEL(tagged_slots_of_a_stopped_heap, .mode = FERRY_GC_STOPPED,
      .slots = MODEL_TAGGED)
MODEL(inner_addresses_keep_their_offset, .mode = FERRY_GC_CONCURRENT,
      .fault_mode = FERRY_FAULT_SIGBUS, .slots = MODEL_INTERIOR)
MODEL(inner_addresses_of_a_stopped_heap, .mode = FERRY_GC_STOPPED,
      .slots = MODEL_INTERIOR)

/* Stress. */
MODEL(everything_moves_stopped, .mode = FERRY_GC_STOPPED,
      .options = "move-all:yes,poison:yes")
MODEL(everything_moves_with_threads, .mode = FERRY_GC_CONCURRENT,
      .fault_mode = FERRY_FAULT_THREAD,
      .options = "move-all:yes,poison:yes,delay-seed:7")
MODEL(everything_moves_with_signals, .mode = FERRY_GC_CONCURRENT,
      .fault_mode = FERRY_FAULT_SIGBUS,
      .options = "move-all:yes,poison:yes,delay-seed:8")
MODEL(collections_at_every_turn_stopped, .mode = FERRY_GC_STOPPED,
      .options = "collect-every:50,poison:yes", .max_bytes = 16 * MIB,
      .steps = 20000)
MODEL(collections_at_every_turn, .mode = FERRY_GC_CONCURRENT,
      .fault_mode = FERRY_FAULT_THREAD,
      .options = "collect-every:50,poison:yes,delay-seed:9",
      .max_bytes = 16 * MIB, .steps = 20000)
MODEL(collections_are_verified, .mode = FERRY_GC_CONCURRENT,
      .fault_mode = FERRY_FAULT_SIGBUS,
      .options = "verify:yes,debug:yes,move-all:yes", .steps = 20000)
MODEL(collections_are_verified_stopped, .mode = FERRY_GC_STOPPED,
      .options = "verify:yes,debug:yes", .steps = 20000)
MODEL(little_room_is_enough, .mode = FERRY_GC_CONCURRENT,
      .fault_mode = FERRY_FAULT_THREAD, .max_bytes = 8 * MIB)
MODEL(little_room_is_enough_stopped, .mode = FERRY_GC_STOPPED,
      .max_bytes = 8 * MIB)

static const struct test tests[] = {
	TEST(stopped_heap_is_as_the_model, NULL),
	TEST(concurrent_heap_is_as_the_model, "move"),
	TEST(heap_with_signals_is_as_the_model, "move"),
	TEST(ambiguous_stacks_keep_what_they_hit, "move"),
	TEST(ambiguous_stacks_of_a_stopped_heap, NULL),
	TEST(tagged_slots_keep_their_tags, "move"),
	TEST(tagged_slots_of_a_stopped_heap, NULL),
	TEST(inner_addresses_keep_their_offset, "move"),
	TEST(inner_addresses_of_a_stopped_heap, NULL),
	TEST(everything_moves_stopped, NULL),
	TEST(everything_moves_with_threads, "move"),
	TEST(everything_moves_with_signals, "move"),
	TEST(collections_at_every_turn_stopped, NULL),
	TEST(collections_at_every_turn, "move"),
	TEST(collections_are_verified, "move"),
	TEST(collections_are_verified_stopped, NULL),
	TEST(little_room_is_enough, "move"),
	TEST(little_room_is_enough_stopped, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
