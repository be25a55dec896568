/* SPDX-License-Identifier: MIT */
/* A heap whose objects have every sort of slot. */
#include "tests/graph.h"

#include <stdlib.h>
#include <time.h>

#include "tests/harness.h"

const enum ferry_gc_mode graph_modes[2] = { FERRY_GC_AUTO, FERRY_GC_STOPPED };

static size_t trace(void *object, struct ferry_visitor *v)
{
	struct node *node = object;

	if (v) {
		ferry_visit(v, &node->left);
		ferry_visit(v, &node->right);
		ferry_visit_weak(v, &node->weak);
		ferry_visit_ephemeron(v, &node->key, &node->value);
	}
	return sizeof(*node);
}

struct graph *graph_make(enum ferry_gc_mode mode, size_t roots,
			 const char *options)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);
	struct graph *g = calloc(1, sizeof(*g));

	ck_assert_ptr_nonnull(g);
	p.trace = trace;
	p.mode = mode;
	p.options = options;
	p.no_environment = true;
	ck_assert_int_eq(ferry_heap_create(&p, NULL, &g->heap), 0);
	ck_assert_int_eq(ferry_mutator_attach(g->heap, NULL, &g->m), 0);
	g->roots = roots;
	g->root = calloc(roots, sizeof(struct node *));
	ck_assert_ptr_nonnull(g->root);
	ferry_frame_push(g->m, &g->frame, (void **)g->root, roots);
	return g;
}

void graph_destroy(struct graph *g)
{
	ferry_frame_pop(g->m, &g->frame);
	ferry_mutator_detach(g->m);
	ck_assert_int_eq(ferry_heap_destroy(g->heap), 0);
	free(g->root);
	free(g);
}

struct node *graph_node(struct ferry_mutator *m, uint64_t id)
{
	struct node *node = ferry_alloc(m, sizeof(*node), FERRY_KIND_TRACED);

	ck_assert_ptr_nonnull(node);
	node->id = id;
	return node;
}

void graph_collect(struct graph *g, enum ferry_collect what)
{
	ck_assert_int_eq(ferry_heap_collect(g->heap, g->m, what), 0);
}

void graph_rest(struct ferry_mutator *m)
{
	struct timespec some = { .tv_nsec = 200000 };

	ferry_blocking_enter(m);
	nanosleep(&some, NULL);
	ferry_blocking_leave(m);
}

void graph_turn(struct graph_crowd *crowd, struct ferry_mutator *m)
{
	atomic_fetch_add(&crowd->turns, 1);
	graph_rest(m);
}

bool graph_turn_wait(struct graph_crowd *crowd, struct ferry_mutator *m)
{
	size_t turns = atomic_load(&crowd->turns);

	while (atomic_load(&crowd->left)) {
		if (atomic_load(&crowd->turns) != turns)
			return true;
		graph_rest(m);
	}
	return false;
}
