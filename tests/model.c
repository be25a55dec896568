/* SPDX-License-Identifier: MIT */
/* A shadow of a heap's graph: see model.h. */
#include "tests/model.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* --- layouts --------------------------------------------------------------- */

/*
 *	PAIR	 type id slot slot
 *	ARRAY	 type id n slot...
 *	RECORDS	 type id n {slot number}...
 *	WIDE	 type id {slot number}... , 100 words
 *	OBJECT	 header id slot... weak... {key value}... number...
 *	WORDS	 id slot... number...
 *	LEAF	 header id number...
 *	RAW	 id number...
 *
 * header: size, with the counts of slots above.
 */
#define WIDE_WORDS 100u
#define WIDE_SLOTS 49u

static const uint64_t wide_more[] = { 0x555555555ull };

static const struct ferry_type types[] = {
	[MODEL_PAIR] = { .size = 32, .refs = 0xc, .name = "pair" },
	[MODEL_ARRAY] = { .size = 24,
			  .element_size = 8,
			  .element_refs = 1,
			  .count_offset = 16,
			  .name = "array" },
	[MODEL_RECORDS] = { .size = 24,
			    .element_size = 16,
			    .element_refs = 1,
			    .count_offset = 16,
			    .name = "records" },
	[MODEL_WIDE] = { .size = WIDE_WORDS * 8,
			 .refs = 0x5555555555555554ull,
			 .more_refs = wide_more,
			 .name = "wide" },
};

#define HEADER_SIZE  0xffffffffull
#define HEADER_SLOTS 32 /* strong ones: 16 bits */
#define HEADER_WEAK  48 /* 8 bits */
#define HEADER_PAIRS 56 /* 8 bits */

static uint64_t header_of(const struct model_node *node)
{
	uint64_t strong = model_first_weak(node);

	return node->size | strong << HEADER_SLOTS |
	       (uint64_t)node->weak << HEADER_WEAK |
	       (uint64_t)node->pairs << HEADER_PAIRS;
}

size_t model_trace(void *object, struct ferry_visitor *v)
{
	uint64_t header = *(const uint64_t *)object;
	size_t strong = header >> HEADER_SLOTS & 0xffff;
	size_t weak = header >> HEADER_WEAK & 0xff;
	size_t pairs = header >> HEADER_PAIRS & 0xff;
	uintptr_t *slot = (uintptr_t *)object + 2;

	if (!v)
		return header & HEADER_SIZE;
	ferry_visit_range(v, slot, strong);
	for (slot += strong; weak; weak--)
		ferry_visit_weak(v, slot++);
	for (; pairs; pairs--, slot += 2)
		ferry_visit_ephemeron(v, slot, slot + 1);
	return header & HEADER_SIZE;
}

enum ferry_kind model_kind(const struct model_node *node)
{
	switch (node->shape) {
	case MODEL_OBJECT:
		return FERRY_KIND_TRACED;
	case MODEL_WORDS:
		return FERRY_KIND_AMBIGUOUS;
	case MODEL_LEAF:
		return FERRY_KIND_LEAF;
	case MODEL_RAW:
		return FERRY_KIND_RAW;
	default:
		return FERRY_KIND_TYPED;
	}
}

/* The word at which the first slot lies, and how far apart they are. */
static size_t slots_first(const struct model_node *node)
{
	switch (node->shape) {
	case MODEL_ARRAY:
	case MODEL_RECORDS:
		return 3;
	case MODEL_WORDS:
	case MODEL_RAW:
		return 1;
	default:
		return 2;
	}
}

static size_t slots_step(const struct model_node *node)
{
	return node->shape == MODEL_RECORDS || node->shape == MODEL_WIDE ? 2
									 : 1;
}

static bool is_number(const struct model_node *node, size_t word)
{
	size_t first = slots_first(node), step = slots_step(node);

	if (word < first)
		return false;
	if (word >= first + node->slots * step)
		return true;
	return (word - first) % step != 0;
}

/* The number that word @word of the object must be. */
static uint64_t number_of(const struct model_node *node, size_t word)
{
	return (node->id + word) * 0x9e3779b97f4a7c15ull;
}

static size_t id_word(const struct model_node *node)
{
	return slots_first(node) > 1 ? 1 : 0;
}

uintptr_t *model_slot_at(const struct model_node *node, void *object,
			 uint32_t i)
{
	return (uintptr_t *)object + slots_first(node) + i * slots_step(node);
}

uint32_t model_first_pair(const struct model_node *node)
{
	return node->slots - 2 * node->pairs;
}

uint32_t model_first_weak(const struct model_node *node)
{
	return model_first_pair(node) - node->weak;
}

bool model_slot_is_ambiguous(const struct model_node *node)
{
	return node->shape == MODEL_WORDS;
}

/* --- slots ----------------------------------------------------------------- */

#define TAG ((uintptr_t)15)

void *model_load(const void *slot)
{
	uintptr_t word =
		__atomic_load_n((const uintptr_t *)slot, __ATOMIC_RELAXED);

	return (void *)(word & ~TAG);
}

void model_store(void *slot, void *object)
{
	uintptr_t word = *(uintptr_t *)slot & TAG;

	__atomic_store_n((uintptr_t *)slot, (uintptr_t)object | word,
			 __ATOMIC_RELAXED);
}

static bool is_tagged(const struct model *model, bool ambiguous)
{
	return !ambiguous && model->slots == MODEL_TAGGED;
}

uintptr_t model_encode(const struct model *model, bool ambiguous, void *object,
		       uint32_t off)
{
	if (!object && !is_tagged(model, ambiguous))
		return 0;
	return (uintptr_t)object + off;
}

void *model_decode(const struct model *model, bool ambiguous, uintptr_t word,
		   uint32_t off)
{
	if (is_tagged(model, ambiguous))
		return (void *)(word & ~TAG);
	return (void *)(word ? word - off : 0);
}

uint32_t model_off(const struct model *model, bool ambiguous,
		   const struct model_node *node, struct random *rng)
{
	if (is_tagged(model, ambiguous))
		return (uint32_t)random_below(rng, TAG + 1);
	if (!ambiguous && model->slots == MODEL_PLAIN)
		return 0;
	if (random_below(rng, 4))
		return 0;
	return (uint32_t)random_below(rng, node->size);
}

/* --- nodes ----------------------------------------------------------------- */

/* Most objects are small, some medium, few large. */
static size_t random_size(struct random *rng, size_t max)
{
	size_t size;

	switch (random_below(rng, 64)) {
	case 0:
		size = 16 + random_below(rng, max);
		break;
	case 1:
	case 2:
	case 3:
		size = 16 + random_below(rng, 40000);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
	case 8:
		size = 16 + random_below(rng, 4000);
		break;
	default:
		size = 16 + random_below(rng, 200);
		break;
	}
	return size < max ? size : max;
}

static uint32_t min_u32(size_t a, size_t b)
{
	return (uint32_t)(a < b ? a : b);
}

struct counts {
	size_t size;
	uint32_t slots, weak, pairs;
};

static void object_counts(struct counts *c, struct random *rng)
{
	size_t room = (c->size - 16) / 8;

	c->slots = min_u32(room, random_below(rng, 3000));
	if (random_below(rng, 2))
		return;
	c->weak = min_u32(c->slots, random_below(rng, 5));
	c->pairs = min_u32((c->slots - c->weak) / 2, random_below(rng, 5));
}

static struct counts random_counts(enum model_shape shape, struct random *rng,
				   size_t max)
{
	struct counts c = { .size = random_size(rng, max) };

	switch (shape) {
	case MODEL_PAIR:
		c.size = 32;
		c.slots = 2;
		break;
	case MODEL_ARRAY:
		c.slots = min_u32((c.size + 7) / 8, 5000);
		c.size = 24 + (size_t)c.slots * 8;
		break;
	case MODEL_RECORDS:
		c.slots = min_u32((c.size + 15) / 16, 5000);
		c.size = 24 + (size_t)c.slots * 16;
		break;
	case MODEL_WIDE:
		c.size = WIDE_WORDS * 8;
		c.slots = WIDE_SLOTS;
		break;
	case MODEL_OBJECT:
		object_counts(&c, rng);
		break;
	case MODEL_WORDS:
		c.slots = min_u32((c.size - 8) / 8, random_below(rng, 50));
		break;
	default:
		break;
	}
	return c;
}

struct model_node *model_node_new(struct model_list *list, struct random *rng,
				  size_t max_size)
{
	enum model_shape shape = random_below(rng, MODEL_SHAPES);
	struct counts c = random_counts(shape, rng, max_size);
	struct model_node *node;

	node = calloc(1, sizeof(*node) + c.slots * sizeof(node->slot[0]));
	ck_assert_ptr_nonnull(node);
	node->id = list->next_id++;
	node->shape = shape;
	node->size = c.size;
	node->slots = c.slots;
	node->weak = c.weak;
	node->pairs = c.pairs;
	node->next = list->first;
	list->first = node;
	return node;
}

void model_free(struct model_list *list)
{
	struct model_node *node;

	while ((node = list->first)) {
		list->first = node->next;
		free(node);
	}
}

/* --- writing and checking an object ----------------------------------------- */

/* The words before the first slot. */
static uint64_t head_word(const struct model_node *node, size_t word)
{
	if (word == id_word(node))
		return node->id;
	if (word == 2)
		return node->slots;
	if (node->shape == MODEL_OBJECT || node->shape == MODEL_LEAF)
		return header_of(node);
	return (uintptr_t)&types[node->shape];
}

void model_write(const struct model *model, struct model_node *node,
		 void *object)
{
	uint64_t *p = object;
	size_t i, first = slots_first(node);

	for (i = 0; i < node->size / 8; i++) {
		if (i < first)
			p[i] = head_word(node, i);
		else if (is_number(node, i))
			p[i] = number_of(node, i);
	}
	for (i = 0; i < node->slots; i++)
		node->slot[i] = (struct model_slot){ NULL, 0, 0 };
	(void)model;
}

/* Numbers are looked at one by one in small objects, here and there in
 * others. */
static bool numbers_hold(const struct model_node *node, const uint64_t *p,
			 bool all)
{
	size_t words = node->size / 8, i, step = 1;

	if (words > 1024)
		step = all ? 97 : words / 16;
	for (i = slots_first(node); i < words; i += step)
		if (is_number(node, i) && p[i] != number_of(node, i))
			return false;
	return !is_number(node, words - 1) ||
	       p[words - 1] == number_of(node, words - 1);
}

static bool size_holds(const struct model *model, const struct model_node *node,
		       void *object)
{
	size_t is = ferry_object_size(model->heap, object);
	size_t unit = node->size > FERRY_SMALL_MAX ? 4096 : FERRY_GRANULE;
	size_t want = (node->size + unit - 1) / unit * unit;

	if (atomic_load_explicit(&node->hashed, memory_order_relaxed) &&
	    unit == FERRY_GRANULE && is == want + FERRY_GRANULE)
		return true;
	return is == want;
}

const char *model_check(const struct model *model,
			const struct model_node *node, void *object, bool all)
{
	const uint64_t *p = object;
	size_t i;

	if (!ferry_heap_contains(model->heap, object))
		return "not in the heap";
	if (ferry_object_kind(model->heap, object) != model_kind(node))
		return "an object of another kind, or none";
	if (!size_holds(model, node, object))
		return "an object of another size";
	for (i = 0; i < slots_first(node); i++)
		if (p[i] != head_word(node, i))
			return "another object";
	if (!numbers_hold(node, p, all))
		return "a changed number";
	return NULL;
}

/* --- comparing -------------------------------------------------------------- */

static struct {
	struct model_node **v;
	size_t n, max;
} stack, weak_holders;

static void put(struct model_node ***v, size_t *n, size_t *max,
		struct model_node *node)
{
	if (*n == *max) {
		*max = *max ? 2 * *max : 1024;
		*v = realloc(*v, *max * sizeof(**v));
		ck_assert_ptr_nonnull(*v);
	}
	(*v)[(*n)++] = node;
}

static void push(struct model_node *node)
{
	put(&stack.v, &stack.n, &stack.max, node);
}

void model_compare_begin(struct model *model)
{
	model->number++;
	model->objects = 0;
	model->bytes = 0;
	model->from = NULL;
	stack.n = 0;
	weak_holders.n = 0;
}

bool model_reached(const struct model *model, const struct model_node *node)
{
	return node->seen == model->number;
}

/* Met once, an object is where it is; met again, it is still there. */
const char *model_compare_root(struct model *model, struct model_node *node,
			       void *object)
{
	const char *wrong;

	model->at = node;
	if (!node)
		return object ? "a reference where there is none" : NULL;
	if (!object)
		return "a reference was lost";
	if (model_reached(model, node))
		return node->addr == (uintptr_t)object ? NULL
						       : "one object twice";
	wrong = model_check(model, node, object, true);
	if (wrong)
		return wrong;
	node->seen = model->number;
	node->addr = (uintptr_t)object;
	model->objects++;
	model->bytes += ferry_object_size(model->heap, object);
	push(node);
	return NULL;
}

static void *slot_object(const struct model *model,
			 const struct model_node *node, uint32_t i)
{
	return model_decode(model, model_slot_is_ambiguous(node),
			    *model_slot_at(node, (void *)node->addr, i),
			    node->slot[i].off);
}

static const char *compare_slot(struct model *model, struct model_node *node,
				uint32_t i)
{
	const struct model_slot *slot = &node->slot[i];

	if (!slot->node &&
	    *model_slot_at(node, (void *)node->addr, i) == slot->word)
		return NULL;
	return model_compare_root(model, slot->node,
				  slot_object(model, node, i));
}

static const char *compare_rest(struct model *model)
{
	const char *wrong = NULL;
	struct model_node *node;
	uint32_t i;

	while (!wrong && stack.n) {
		node = stack.v[--stack.n];
		model->from = node;
		if (node->weak || node->pairs)
			put(&weak_holders.v, &weak_holders.n, &weak_holders.max,
			    node);
		for (i = 0; !wrong && i < model_first_weak(node); i++)
			wrong = compare_slot(model, node, i);
	}
	return wrong;
}

/* One pass over ephemerons: values of keys that were reached. */
static const char *compare_pairs(struct model *model, bool *ret_more)
{
	const char *wrong = NULL;
	struct model_node *node;
	uint32_t i, first;
	size_t at;

	for (at = 0; !wrong && at < weak_holders.n; at++) {
		node = weak_holders.v[at];
		first = model_first_pair(node);
		for (i = first; !wrong && i < node->slots; i += 2) {
			struct model_node *key = node->slot[i].node;
			struct model_node *value = node->slot[i + 1].node;

			if (!key || !model_reached(model, key) || !value ||
			    model_reached(model, value))
				continue;
			model->from = node;
			wrong = compare_slot(model, node, i + 1);
			*ret_more = true;
		}
	}
	return wrong;
}

const char *model_compare_weak(struct model *model, struct model_node *node,
			       void *object, bool exact)
{
	bool alive = model_reached(model, node);

	model->at = node;
	if (!object)
		return alive ? "a weak reference to a live object was cleared"
			     : NULL;
	if (!alive && exact)
		return "a weak reference to a dead object was not cleared";
	if (alive && node->addr != (uintptr_t)object)
		return "a weak reference leads elsewhere";
	return model_check(model, node, object, false);
}

/*
 * A slot that may have been cleared: it was, or holds what it should.
 * @alive: it must not have been. @exact: else it must.
 */
static const char *compare_weak(struct model *model, struct model_node *node,
				uint32_t i, bool alive, bool exact)
{
	struct model_slot *slot = &node->slot[i];
	void *object;

	if (!slot->node)
		return compare_slot(model, node, i);
	model->at = slot->node;
	model->from = node;
	object = slot_object(model, node, i);
	if (!object && alive)
		return "a weak slot of a live object was cleared";
	if (!object) {
		slot->node = NULL;
		slot->word = *model_slot_at(node, (void *)node->addr, i);
		return NULL;
	}
	if (!alive && exact)
		return "a weak slot of a dead object was not cleared";
	if (model_reached(model, slot->node))
		return slot->node->addr == (uintptr_t)object
			       ? NULL
			       : "a weak slot leads elsewhere";
	return model_check(model, slot->node, object, false);
}

static const char *compare_holder(struct model *model, struct model_node *node,
				  bool exact)
{
	uint32_t i = model_first_weak(node), pairs = model_first_pair(node);
	const char *wrong = NULL;
	struct model_node *key;
	bool alive;

	for (; !wrong && i < pairs; i++) {
		key = node->slot[i].node;
		alive = key && model_reached(model, key);
		wrong = compare_weak(model, node, i, alive, exact);
	}
	for (; !wrong && i < node->slots; i += 2) {
		key = node->slot[i].node;
		if (!key)
			continue; /* its value may be anything */
		alive = model_reached(model, key);
		wrong = compare_weak(model, node, i, alive, exact);
		if (!wrong)
			/* Both are cleared, or none. */
			wrong = compare_weak(model, node, i + 1, alive,
					     !node->slot[i].node);
	}
	return wrong;
}

const char *model_compare_end(struct model *model, bool exact)
{
	const char *wrong = compare_rest(model);
	bool more = true;
	size_t at;

	while (!wrong && more) {
		more = false;
		wrong = compare_pairs(model, &more);
		if (!wrong)
			wrong = compare_rest(model);
	}
	for (at = 0; !wrong && at < weak_holders.n; at++)
		wrong = compare_holder(model, weak_holders.v[at], exact);
	return wrong;
}

/* --- what the shadow still needs --------------------------------------------- */

void model_keep_begin(struct model *model)
{
	model->number++;
	stack.n = 0;
}

void model_keep(struct model *model, struct model_node *node)
{
	uint32_t i;

	if (!node || model_reached(model, node))
		return;
	node->seen = model->number;
	push(node);
	while (stack.n) {
		node = stack.v[--stack.n];
		for (i = 0; i < node->slots; i++) {
			struct model_node *to = node->slot[i].node;

			if (!to || model_reached(model, to))
				continue;
			to->seen = model->number;
			push(to);
		}
	}
}

void model_prune(struct model *model, struct model_list *list)
{
	struct model_node **at = &list->first, *node;

	while ((node = *at)) {
		if (model_reached(model, node)) {
			at = &node->next;
			continue;
		}
		*at = node->next;
		free(node);
	}
}

static void freeze_push(struct model_node *node)
{
	if (!node || node->frozen)
		return;
	node->frozen = true;
	push(node);
}

void model_freeze(struct model *model, struct model_node *node)
{
	uint32_t i;

	(void)model;
	freeze_push(node);
	while (stack.n) {
		node = stack.v[--stack.n];
		for (i = 0; i < node->slots; i++)
			freeze_push(node->slot[i].node);
	}
}
