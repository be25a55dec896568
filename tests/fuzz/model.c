/* SPDX-License-Identifier: MIT */
/* The plain model of arenas: arrays and loops, nothing clever. */
#include "tests/fuzz/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/alloc-internal.h"

_Noreturn void model_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
	abort();
}

/* --- one arena ------------------------------------------------------------ */

char *model_page(const struct model *m, size_t page)
{
	return m->base + page * ferry__page_size;
}

size_t model_prefix(const struct model *m, size_t first, size_t n,
		    enum ferry_page_state state)
{
	size_t i = 0;

	while (i < n && m->page[first + i].state == state)
		i++;
	return i;
}

size_t model_count(const struct model *m, enum ferry_page_state state)
{
	size_t i, n = 0;

	for (i = 0; i < m->pages; i++)
		n += m->page[i].state == state;
	return n;
}

static bool any(const struct model *m, size_t first, size_t n,
		enum ferry_page_state state)
{
	while (n--)
		if (m->page[first + n].state == state)
			return true;
	return false;
}

static void set(struct model *m, size_t page, enum ferry_page_state state)
{
	m->page[page].state = state;
	if (state == FERRY_PAGE_ABSENT)
		m->page[page].number = 0;
}

int model_commit(struct model *m, size_t first, size_t n)
{
	size_t i;

	if (any(m, first, n, FERRY_PAGE_TRANSIT) ||
	    any(m, first, n, FERRY_PAGE_OUT))
		return -EBUSY;
	for (i = first; i < first + n; i++)
		if (m->page[i].state == FERRY_PAGE_ABSENT)
			set(m, i, FERRY_PAGE_LIVE);
	return 0;
}

int model_decommit(struct model *m, size_t first, size_t n)
{
	size_t i;

	if (any(m, first, n, FERRY_PAGE_PINNED) ||
	    any(m, first, n, FERRY_PAGE_TRANSIT) ||
	    any(m, first, n, FERRY_PAGE_OUT))
		return -EBUSY;
	for (i = first; i < first + n; i++)
		set(m, i, FERRY_PAGE_ABSENT);
	return 0;
}

int model_pin(struct model *m, size_t first, size_t n)
{
	size_t i;

	for (i = first; i < first + n; i++) {
		if (m->page[i].state == FERRY_PAGE_ABSENT)
			return -ENOENT;
		if (m->page[i].state == FERRY_PAGE_TRANSIT ||
		    m->page[i].state == FERRY_PAGE_OUT)
			return -EBUSY;
	}
	for (i = first; i < first + n; i++) {
		m->page[i].state = FERRY_PAGE_PINNED;
		m->page[i].pins++;
	}
	return 0;
}

int model_unpin(struct model *m, size_t first, size_t n)
{
	size_t i;

	if (model_prefix(m, first, n, FERRY_PAGE_PINNED) < n)
		return -ENOENT;
	for (i = first; i < first + n; i++)
		if (!--m->page[i].pins)
			m->page[i].state = FERRY_PAGE_LIVE;
	return 0;
}

size_t model_claim(struct model *m, size_t first, size_t n)
{
	size_t i, got = model_prefix(m, first, n, FERRY_PAGE_LIVE);

	for (i = first; i < first + got; i++)
		set(m, i, FERRY_PAGE_TRANSIT);
	return got;
}

int model_claim_absent(struct model *m, size_t first, size_t n)
{
	size_t i;

	if (model_prefix(m, first, n, FERRY_PAGE_ABSENT) < n)
		return -EBUSY;
	for (i = first; i < first + n; i++)
		set(m, i, FERRY_PAGE_TRANSIT);
	return 0;
}

void model_settle(struct model *m, size_t first, size_t n,
		  enum ferry_page_state to)
{
	size_t i;

	for (i = first; i < first + n; i++)
		set(m, i, to);
}

void model_move(struct model *from, size_t first, struct model *to,
		size_t to_first, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		expect(to->page[to_first + i].state == FERRY_PAGE_ABSENT);
		to->page[to_first + i].state = FERRY_PAGE_LIVE;
		to->page[to_first + i].number = from->page[first + i].number;
		set(from, first + i, FERRY_PAGE_ABSENT);
	}
}

void model_grow(struct model *m, size_t reserved)
{
	size_t pages = reserved / ferry__page_size;

	m->page = realloc(m->page, pages * sizeof(m->page[0]));
	expect(m->page != NULL);
	memset(&m->page[m->pages], 0, (pages - m->pages) * sizeof(m->page[0]));
	m->pages = pages;
}

/* --- contents ------------------------------------------------------------- */

static uint64_t word_of(uint64_t number, size_t i)
{
	return number ? number * 0x9e3779b97f4a7c15u + i : 0;
}

bool contents_are(const char *page, uint64_t number)
{
	const uint64_t *word = (const uint64_t *)page;
	size_t i;

	for (i = 0; i < ferry__page_size / sizeof(word[0]); i++)
		if (word[i] != word_of(number, i))
			return false;
	return true;
}

static void write_page(struct model *m, size_t page, uint64_t number)
{
	uint64_t *word = (uint64_t *)model_page(m, page);
	size_t i;

	for (i = 0; i < ferry__page_size / sizeof(word[0]); i++)
		word[i] = word_of(number, i);
	m->page[page].number = number;
}

static bool committed(const struct model *m, size_t page)
{
	return m->page[page].state == FERRY_PAGE_LIVE ||
	       m->page[page].state == FERRY_PAGE_PINNED;
}

void model_write(struct model *m, size_t first, size_t n)
{
	static uint64_t number;
	size_t i;

	for (i = first; i < first + n; i++)
		if (committed(m, i))
			write_page(m, i, ++number);
}

/* --- comparing ------------------------------------------------------------ */

static void check_state(const struct model *m, enum ferry_page_state state)
{
	size_t i = 0, n, offset, len;

	while (i < m->pages) {
		if (m->page[i].state != state) {
			i++;
			continue;
		}
		n = model_prefix(m, i, m->pages - i, state);
		expect(ferry_arena_next_run(m->arena, i * ferry__page_size,
					    state, &offset, &len));
		expect(offset == i * ferry__page_size);
		expect(len == n * ferry__page_size);
		expect(ferry_arena_page_state(m->arena, offset) == state);
		i += n;
	}
}

/* Each page has one state, so that equal runs of all states are all. */
void model_check_states(const struct model *m)
{
	int state;

	for (state = 0; state < FERRY_PAGE_STATES; state++)
		check_state(m, state);
}

static void check_contents(const struct model *m)
{
	size_t i;

	for (i = 0; i < m->pages; i++)
		if (committed(m, i))
			expect(contents_are(model_page(m, i),
					    m->page[i].number));
}

/* --- all arenas ----------------------------------------------------------- */

static void model_init(struct model *m, struct ferry_arena *arena)
{
	m->arena = arena;
	m->base = ferry_arena_base(arena);
	m->page = NULL;
	m->pages = 0;
	model_grow(m, ferry_arena_reserved(arena));
}

static struct ferry_arena *make(void)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena = NULL;

	p.reserve = MODEL_PAGES * ferry__page_size;
	p.pieces_max = 5;
	expect(ferry_arena_create(&p, &arena) == 0);
	return arena;
}

void world_init(struct world *world)
{
	world->len = 0;
	expect(ferry_uffd_open(NULL, NULL, &world->uffd) == 0);
	world_adopt(world, make());
	world_adopt(world, make());
}

struct model *world_adopt(struct world *world, struct ferry_arena *arena)
{
	struct model *m = &world->model[world->len++];

	model_init(m, arena);
	return m;
}

void world_replace(struct model *m)
{
	char *base = m->base;

	ferry_arena_destroy(m->arena);
	expect(ferry_lookup(base) == NULL);
	free(m->page);
	model_init(m, make());
}

void world_check(struct world *world)
{
	size_t i;

	for (i = 0; i < world->len; i++) {
		struct model *m = &world->model[i];

		ferry__arena_check(m->arena);
		model_check_states(m);
		check_contents(m);
		expect(ferry_lookup(m->base) == m->arena);
		expect(ferry_lookup(model_page(m, m->pages) - 1) == m->arena);
	}
}

void world_fini(struct world *world)
{
	while (world->len) {
		struct model *m = &world->model[--world->len];

		ferry_arena_destroy(m->arena);
		free(m->page);
	}
	ferry_uffd_close(world->uffd);
}
