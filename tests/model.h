/* SPDX-License-Identifier: MIT */
/*
 * A shadow of a heap's graph, kept with malloc(): every object that a test
 * makes has a node here that says what it must hold. The heap may move and
 * free objects as it likes; what is reachable must be as the shadow says.
 *
 * One thread writes a node at a time; model_compare() and model_prune() need
 * all others at rest.
 */
#ifndef FERRY_TESTS_MODEL_H
#define FERRY_TESTS_MODEL_H

#include <ferry/heap.h>
#include <ferry/mutator.h>
#include <ferry/root.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/random.h"

/* How slots hold references. */
enum model_slots {
	MODEL_PLAIN,
	MODEL_TAGGED,	/* four low bits are the host's */
	MODEL_INTERIOR, /* anywhere into the object */
};

enum model_shape {
	MODEL_PAIR,    /* TYPED: two slots */
	MODEL_ARRAY,   /* TYPED: slots, counted */
	MODEL_RECORDS, /* TYPED: slots and numbers in turn, counted */
	MODEL_WIDE,    /* TYPED: more than 64 words */
	MODEL_OBJECT,  /* TRACED: slots, weak slots, ephemerons, numbers */
	MODEL_WORDS,   /* AMBIGUOUS */
	MODEL_LEAF,
	MODEL_RAW,
	MODEL_SHAPES
};

struct model_node;

struct model_slot {
	struct model_node *node; /* NULL: @word is no reference */
	uintptr_t word;
	uint32_t off; /* tag, or how far into the object */
};

struct model_node {
	struct model_node *next; /* in its owner's list */
	uint64_t id;
	enum model_shape shape;
	size_t size;
	uint32_t slots; /* all, in the order of their words */
	uint32_t weak;	/* OBJECT: of these, single weak ones, and */
	uint32_t pairs; /* ephemerons, two each, at the end */
	bool frozen;	/* shared: written no more */
	/* Was asked for its hash; relaxed: it matters after a flip only. */
	_Atomic bool hashed;
	uint64_t hash;
	/* Of the last comparison: */
	uint64_t seen;	/* its number */
	uintptr_t addr; /* in the heap, if it was seen */
	struct model_slot slot[];
};

/* What is made, and where: one for each thread, so that none waits. */
struct model_list {
	struct model_node *first;
	uint64_t next_id;
};

struct model {
	struct ferry_heap *heap;
	enum model_slots slots;
	uint64_t number; /* of comparisons */
	/* Found by the last comparison: */
	size_t objects, bytes;
	const struct model_node *at, *from; /* NULL: a root */
};

/* For ferry_heap_params. */
size_t model_trace(void *object, struct ferry_visitor *v);
void *model_load(const void *slot);
void model_store(void *slot, void *object);

/* A node for a new object, of a random shape and size. */
struct model_node *model_node_new(struct model_list *list, struct random *rng,
				  size_t max_size);
enum ferry_kind model_kind(const struct model_node *node);

/* Writes header, numbers and empty slots of @node into the zeros at @object.*/
void model_write(const struct model *model, struct model_node *node,
		 void *object);

/* The @i'th slot of the object at @object. */
uintptr_t *model_slot_at(const struct model_node *node, void *object,
			 uint32_t i);

/* Of the slots: the first that is weak, and the first of an ephemeron's. */
uint32_t model_first_weak(const struct model_node *node);
uint32_t model_first_pair(const struct model_node *node);

/* Is the slot a plain word that may point anywhere into an object? */
bool model_slot_is_ambiguous(const struct model_node *node);

/* The word for a reference; the reference in a word, NULL if there is none. */
uintptr_t model_encode(const struct model *model, bool ambiguous, void *object,
		       uint32_t off);
void *model_decode(const struct model *model, bool ambiguous, uintptr_t word,
		   uint32_t off);

/* A tag or an offset that fits the encoding, for a reference to @node. */
uint32_t model_off(const struct model *model, bool ambiguous,
		   const struct model_node *node, struct random *rng);

/*
 * Is the object at @object what @node says, but for its slots? @all: every
 * number in it, otherwise some. NULL, or what is wrong.
 */
const char *model_check(const struct model *model,
			const struct model_node *node, void *object, bool all);

/*
 * Compares all that can be reached. Begin; then each root, with what it holds
 * in the heap; then the rest. @exact: a full collection found precisely what
 * is dead, so weak slots to it must be empty; otherwise they may be.
 * model_compare_end() leaves the shadow without what was cleared.
 * NULL, or what is wrong: model.at is the object, model.from what led to it.
 */
void model_compare_begin(struct model *model);
const char *model_compare_root(struct model *model, struct model_node *node,
			       void *object);
const char *model_compare_end(struct model *model, bool exact);

/* After a comparison, a reference from elsewhere that does not keep its
 * object: is @object, or NULL, what it may be? */
const char *model_compare_weak(struct model *model, struct model_node *node,
			       void *object, bool exact);

/* After a comparison: was the node reached? */
bool model_reached(const struct model *model, const struct model_node *node);

/* Frees nodes that nothing of the shadow reaches, weakly or strongly. The
 * roots are marked by model_keep() between begin and end. */
void model_keep_begin(struct model *model);
void model_keep(struct model *model, struct model_node *node);
void model_prune(struct model *model, struct model_list *list);

/* Marks what is reachable from @node as shared. */
void model_freeze(struct model *model, struct model_node *node);

void model_free(struct model_list *list);

#endif
