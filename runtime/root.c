/* SPDX-License-Identifier: MIT */
/*
 * Roots: what a host registers, handles, frames of mutators; ambiguous words;
 * pins.
 *
 * All of it is read in pauses. Threads that are not mutators, or sit in a
 * blocking bracket, may add and remove roots meanwhile, hence the locks; who
 * holds one never waits for a safepoint, so a pause waits for it briefly.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * For functions that read stacks of other threads: redzones between locals
 * and words that a thread in a blocking call writes meanwhile are all read,
 * and taken for what they are, words that may be references or not (R3).
 */
#define READS_ANYTHING                                                         \
	__attribute__((no_sanitize("address"), no_sanitize("thread"), noinline))

enum root_kind {
	ROOT_CALLBACK,
	ROOT_RANGE,
	ROOT_AMBIGUOUS,
};

struct ferry_root {
	struct cds_list_head node;
	enum root_kind kind;
	ferry_root_fn fn; /* CALLBACK */
	void *arg;
	void *first; /* RANGE, AMBIGUOUS */
	size_t words;
};

/* --- what the host registers ---------------------------------------------- */

static int root_add(struct ferry_heap *heap, const struct ferry_root *like,
		    struct ferry_root **ret_root)
{
	struct ferry_root *root;

	if (!heap || !ret_root)
		return -EINVAL;
	root = malloc(sizeof(*root));
	if (!root)
		return -ENOMEM;
	*root = *like;
	pthread_mutex_lock(&heap->roots.lock);
	cds_list_add_tail(&root->node, &heap->roots.list);
	pthread_mutex_unlock(&heap->roots.lock);
	*ret_root = root;
	return 0;
}

int ferry_root_add_callback(struct ferry_heap *heap, ferry_root_fn fn,
			    void *arg, struct ferry_root **ret_root)
{
	struct ferry_root like = { .kind = ROOT_CALLBACK };

	if (!fn)
		return -EINVAL;
	like.fn = fn;
	like.arg = arg;
	return root_add(heap, &like, ret_root);
}

static bool aligned(const void *addr)
{
	return (uintptr_t)addr % sizeof(void *) == 0;
}

int ferry_root_add_range(struct ferry_heap *heap, void **slots, size_t n,
			 struct ferry_root **ret_root)
{
	struct ferry_root like = { .kind = ROOT_RANGE };

	if ((!slots && n) || !aligned(slots))
		return -EINVAL;
	like.first = slots;
	like.words = n;
	return root_add(heap, &like, ret_root);
}

int ferry_root_add_ambiguous(struct ferry_heap *heap, const void *addr,
			     size_t len, struct ferry_root **ret_root)
{
	struct ferry_root like = { .kind = ROOT_AMBIGUOUS };

	if ((!addr && len) || !aligned(addr))
		return -EINVAL;
	like.first = (void *)(uintptr_t)addr;
	like.words = len / sizeof(void *);
	return root_add(heap, &like, ret_root);
}

void ferry_root_remove(struct ferry_heap *heap, struct ferry_root *root)
{
	if (!root)
		return;
	pthread_mutex_lock(&heap->roots.lock);
	cds_list_del(&root->node);
	pthread_mutex_unlock(&heap->roots.lock);
	free(root);
}

/* --- handles -------------------------------------------------------------- */

/*
 * A page of slots. What is in a slot cannot tell whether it is free, since
 * the host's encoding may use every bit: a bit map does.
 */
#define HANDLE_PAGE  4096u
#define HANDLE_SLOTS ((HANDLE_PAGE - 88) / sizeof(void *))

struct handle_page {
	struct cds_list_head node; /* in room or full */
	size_t used;
	uint64_t map[8]; /* slots in use */
	void *slot[HANDLE_SLOTS];
};

_Static_assert(sizeof(struct handle_page) <= HANDLE_PAGE, "fits a page");
_Static_assert(HANDLE_SLOTS <= 8 * 64, "a bit for each slot");

static struct handle_page *handle_page_new(struct ferry__roots *roots)
{
	struct handle_page *page = aligned_alloc(HANDLE_PAGE, HANDLE_PAGE);

	if (!page)
		return NULL;
	memset(page, 0, HANDLE_PAGE);
	cds_list_add(&page->node, &roots->room);
	return page;
}

/* A page with a free slot, or NULL. Lock. */
static struct handle_page *handle_room(struct ferry__roots *roots)
{
	if (cds_list_empty(&roots->room))
		return handle_page_new(roots);
	return cds_list_first_entry(&roots->room, struct handle_page, node);
}

static size_t handle_free_slot(const struct handle_page *page)
{
	size_t word = 0;

	while (page->map[word] == UINT64_MAX)
		word++;
	return word * 64 + (size_t)__builtin_ctzll(~page->map[word]);
}

static void **handle_take(struct ferry__roots *roots, struct handle_page *page)
{
	size_t slot = handle_free_slot(page);

	page->map[slot / 64] |= 1ull << slot % 64;
	if (++page->used == HANDLE_SLOTS)
		cds_list_move(&page->node, &roots->full);
	return &page->slot[slot];
}

void **ferry_handle_new(struct ferry_mutator *m, void *object)
{
	struct ferry__roots *roots = &ferry__mutator(m)->heap->roots;
	struct handle_page *page;
	void **handle = NULL;

	pthread_mutex_lock(&roots->lock);
	page = handle_room(roots);
	if (page) {
		handle = handle_take(roots, page);
		*handle = object;
	}
	pthread_mutex_unlock(&roots->lock);
	return handle;
}

/* Is this the only page with room? One is kept, so that a handle made and
 * freed in turn does not make and free a page. Lock. */
static bool handle_last_room(const struct ferry__roots *roots)
{
	return roots->room.next->next == &roots->room;
}

static void handle_put(struct ferry__roots *roots, struct handle_page *page,
		       size_t slot)
{
	uint64_t bit = 1ull << slot % 64;

	if (!(page->map[slot / 64] & bit))
		return;
	page->map[slot / 64] &= ~bit;
	page->slot[slot] = NULL;
	if (page->used-- == HANDLE_SLOTS)
		cds_list_move(&page->node, &roots->room);
	if (page->used || handle_last_room(roots))
		return;
	cds_list_del(&page->node);
	free(page);
}

void ferry_handle_free(struct ferry_heap *heap, void **handle)
{
	struct handle_page *page;

	if (!handle)
		return;
	page = (void *)((uintptr_t)handle & ~(uintptr_t)(HANDLE_PAGE - 1));
	pthread_mutex_lock(&heap->roots.lock);
	handle_put(&heap->roots, page, (size_t)(handle - page->slot));
	pthread_mutex_unlock(&heap->roots.lock);
}

static void handle_page_visit(struct handle_page *page, struct ferry_visitor *v)
{
	void **first = page->slot;
	uint64_t bits;
	size_t i;

	for (i = 0; i < 8; i++, first += 64)
		for (bits = page->map[i]; bits; bits &= bits - 1)
			ferry_visit(v, first + __builtin_ctzll(bits));
}

static void handles_visit(struct ferry__roots *roots, struct ferry_visitor *v)
{
	struct handle_page *page;

	cds_list_for_each_entry (page, &roots->full, node)
		handle_page_visit(page, v);
	cds_list_for_each_entry (page, &roots->room, node)
		handle_page_visit(page, v);
}

static void handle_pages_free(struct cds_list_head *list)
{
	struct handle_page *page, *next;

	cds_list_for_each_entry_safe (page, next, list, node)
		free(page);
}

/* --- reporting ------------------------------------------------------------ */

static void root_visit(const struct ferry_root *root, struct ferry_visitor *v)
{
	if (root->kind == ROOT_CALLBACK)
		root->fn(root->arg, v);
	else if (root->kind == ROOT_RANGE)
		ferry_visit_range(v, root->first, root->words);
}

static void mutator_visit(struct ferry__mutator *m, struct ferry_visitor *v)
{
	struct ferry_frame *frame;

	for (frame = m->pub.frames; frame; frame = frame->prev)
		ferry_visit_range(v, frame->slots, frame->n);
	if (m->roots)
		m->roots(m->roots_arg, v);
}

/* R1: the list of mutators does not change while the world is stopped. */
void ferry__roots_visit(struct ferry_heap *heap, struct ferry_visitor *v)
{
	struct ferry_root *root;
	struct ferry__mutator *m;

	pthread_mutex_lock(&heap->roots.lock);
	cds_list_for_each_entry (root, &heap->roots.list, node)
		root_visit(root, v);
	handles_visit(&heap->roots, v);
	pthread_mutex_unlock(&heap->roots.lock);
	cds_list_for_each_entry (m, &heap->world.mutators, node)
		mutator_visit(m, v);
}

typedef void (*word_fn)(void *arg, uintptr_t word);

READS_ANYTHING
static void words_each(const void *first, const void *end, word_fn fn,
		       void *arg)
{
	const volatile uintptr_t *word;

	for (word = first; (const void *)(word + 1) <= end; word++)
		fn(arg, *word);
}

static void mutator_ambiguous(const struct ferry__mutator *m, word_fn fn,
			      void *arg)
{
	uintptr_t top = (uintptr_t)m->stack_top;

	top = (top + sizeof(top) - 1) & ~(sizeof(top) - 1);
	words_each(m->regs, m->regs + sizeof(m->regs) / sizeof(m->regs[0]), fn,
		   arg);
	if (m->stack_top)
		words_each((const void *)top, m->stack_base, fn, arg);
}

void ferry__roots_ambiguous(struct ferry_heap *heap, word_fn fn, void *arg)
{
	struct ferry_root *root;
	struct ferry__mutator *m;
	uintptr_t *first;

	pthread_mutex_lock(&heap->roots.lock);
	cds_list_for_each_entry (root, &heap->roots.list, node) {
		first = root->first;
		if (root->kind == ROOT_AMBIGUOUS)
			words_each(first, first + root->words, fn, arg);
	}
	pthread_mutex_unlock(&heap->roots.lock);
	if (heap->params.stacks != FERRY_STACK_AMBIGUOUS)
		return;
	cds_list_for_each_entry (m, &heap->world.mutators, node)
		mutator_ambiguous(m, fn, arg);
}

/* --- pins ----------------------------------------------------------------- */

/*
 * Linear probing in a table at most half full, and taking out by moving back
 * what follows, so that there are no tombstones and the table, which every
 * pause walks, shrinks with its contents.
 */
struct ferry__pin {
	uintptr_t addr; /* 0: none */
	size_t count;
};

#define PINS_MIN ((size_t)16)

static size_t pin_home(const struct ferry__roots *roots, uintptr_t addr)
{
	uint64_t hash = addr / FERRY_GRANULE * 0x9e3779b97f4a7c15ull;

	return (size_t)(hash >> 32) & (roots->pins_max - 1);
}

/* Where @addr stands, or would. */
static size_t pin_slot(const struct ferry__roots *roots, uintptr_t addr)
{
	size_t i = pin_home(roots, addr);

	while (roots->pins[i].addr && roots->pins[i].addr != addr)
		i = (i + 1) & (roots->pins_max - 1);
	return i;
}

static int pins_resize(struct ferry__roots *roots, size_t max)
{
	struct ferry__pin *old = roots->pins;
	size_t i, old_max = roots->pins_max;

	roots->pins = calloc(max, sizeof(*roots->pins));
	if (!roots->pins) {
		roots->pins = old;
		return -ENOMEM;
	}
	roots->pins_max = max;
	for (i = 0; i < old_max; i++)
		if (old[i].addr)
			roots->pins[pin_slot(roots, old[i].addr)] = old[i];
	free(old);
	return 0;
}

/* Room for one more. */
static int pins_reserve(struct ferry__roots *roots)
{
	if (!roots->pins_max)
		return pins_resize(roots, PINS_MIN);
	if (roots->pins_len + 1 > roots->pins_max / 2)
		return pins_resize(roots, roots->pins_max * 2);
	return 0;
}

static int pin_add(struct ferry__roots *roots, uintptr_t addr)
{
	struct ferry__pin *pin;
	int r = pins_reserve(roots);

	if (r < 0)
		return r;
	pin = &roots->pins[pin_slot(roots, addr)];
	if (!pin->addr)
		roots->pins_len++;
	pin->addr = addr;
	pin->count++;
	return 0;
}

/* Does the entry at @i belong at or before the gap, seen from its home? */
static bool pin_may_move(const struct ferry__roots *roots, size_t gap, size_t i)
{
	size_t mask = roots->pins_max - 1;
	size_t home = pin_home(roots, roots->pins[i].addr);

	return ((i - home) & mask) >= ((i - gap) & mask);
}

static void pin_take_out(struct ferry__roots *roots, size_t gap)
{
	size_t i, mask = roots->pins_max - 1;

	for (i = (gap + 1) & mask; roots->pins[i].addr; i = (i + 1) & mask) {
		if (!pin_may_move(roots, gap, i))
			continue;
		roots->pins[gap] = roots->pins[i];
		gap = i;
	}
	roots->pins[gap] = (struct ferry__pin){ 0 };
	roots->pins_len--;
	/* Without memory for a smaller one the big one does as well. */
	if (roots->pins_max > PINS_MIN && roots->pins_len < roots->pins_max / 8)
		pins_resize(roots, roots->pins_max / 4);
}

static int pin_remove(struct ferry__roots *roots, uintptr_t addr)
{
	size_t i;

	if (!roots->pins_max)
		return -ENOENT;
	i = pin_slot(roots, addr);
	if (!roots->pins[i].addr)
		return -ENOENT;
	if (--roots->pins[i].count == 0)
		pin_take_out(roots, i);
	return 0;
}

int ferry_pin(struct ferry_mutator *m, void *object)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	uintptr_t addr = (uintptr_t)object;
	int r;

	ferry__reloc_bring(heap, addr);
	if (!addr || ferry__object_find(heap, addr) != addr)
		return -EINVAL;
	pthread_mutex_lock(&heap->roots.pins_lock);
	r = pin_add(&heap->roots, addr);
	pthread_mutex_unlock(&heap->roots.pins_lock);
	return r;
}

int ferry_unpin(struct ferry_mutator *m, void *object)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	int r;

	pthread_mutex_lock(&heap->roots.pins_lock);
	r = pin_remove(&heap->roots, (uintptr_t)object);
	pthread_mutex_unlock(&heap->roots.pins_lock);
	return r;
}

void ferry__pins_each(struct ferry_heap *heap,
		      void (*fn)(void *arg, uintptr_t addr), void *arg)
{
	struct ferry__roots *roots = &heap->roots;
	size_t i;

	pthread_mutex_lock(&roots->pins_lock);
	for (i = 0; i < roots->pins_max; i++)
		if (roots->pins[i].addr)
			fn(arg, roots->pins[i].addr);
	pthread_mutex_unlock(&roots->pins_lock);
}

int ferry_heap_prefault(struct ferry_mutator *m, const void *addr, size_t len)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	uintptr_t first = (uintptr_t)addr;

	if (!len)
		return ferry__in_heap(heap, first) ? 0 : -EINVAL;
	if (len - 1 > UINTPTR_MAX - first || !ferry__in_heap(heap, first) ||
	    !ferry__in_heap(heap, first + len - 1))
		return -EINVAL;
	ferry__compact_prefault(heap, first, len);
	return 0;
}

/* --- life ----------------------------------------------------------------- */

int ferry__roots_init(struct ferry_heap *heap)
{
	struct ferry__roots *roots = &heap->roots;

	pthread_mutex_init(&roots->lock, NULL);
	pthread_mutex_init(&roots->pins_lock, NULL);
	CDS_INIT_LIST_HEAD(&roots->list);
	CDS_INIT_LIST_HEAD(&roots->room);
	CDS_INIT_LIST_HEAD(&roots->full);
	return 0;
}

void ferry__roots_fini(struct ferry_heap *heap)
{
	struct ferry__roots *roots = &heap->roots;
	struct ferry_root *root, *next;

	cds_list_for_each_entry_safe (root, next, &roots->list, node)
		free(root);
	handle_pages_free(&roots->room);
	handle_pages_free(&roots->full);
	free(roots->pins);
	pthread_mutex_destroy(&roots->pins_lock);
	pthread_mutex_destroy(&roots->lock);
}
