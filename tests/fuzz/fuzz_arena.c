/* SPDX-License-Identifier: MIT */
/*
 * Sequences of arena operations, drawn by libFuzzer, beside a model that says
 * for each page which state it has and what it holds. After each operation
 * the states are compared, at the end of a sequence the contents too.
 *
 * Input: one byte chooses an operation, the next ones its operands; what is
 * missing reads as 0. Every sequence is valid, as refusals are modelled.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ferry/ferry.h>

#define PAGE   ((size_t)4096)
#define PAGES  64u /* of an arena that are played with */
#define ARENAS 4u
#define SPAN   (PAGES * PAGE)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the model knows of a page. */
struct page {
	enum ferry_page_state state;
	unsigned int pins;
	uint64_t value; /* each word of it */
};

struct model {
	struct ferry_arena *arena; /* NULL: there is none */
	struct page page[PAGES];
};

struct world {
	struct model model[ARENAS];
	const uint8_t *data;
	size_t len;
	uint64_t values; /* handed out */
};

static _Noreturn void broken(const char *what, size_t a, size_t page)
{
	fprintf(stderr, "arena %zu, page %zu: %s\n", a, page, what);
	abort();
}

#define expect(cond, a, page)                                                  \
	do {                                                                   \
		if (!(cond))                                                   \
			broken(#cond, (a), (page));                            \
	} while (0)

static unsigned int next(struct world *w)
{
	if (!w->len)
		return 0;
	w->len--;
	return *w->data++;
}

/* A range of pages, at least one long. */
struct range {
	size_t first, n;
};

static struct range next_range(struct world *w)
{
	struct range r = { .first = next(w) % PAGES };

	r.n = 1 + next(w) % (PAGES - r.first);
	return r;
}

static bool any(const struct model *m, struct range r,
		enum ferry_page_state state)
{
	for (size_t i = r.first; i < r.first + r.n; i++)
		if (m->page[i].state == state)
			return true;
	return false;
}

/* --- operations ----------------------------------------------------------- */

static void create(struct model *m, enum ferry_thp thp)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);

	if (m->arena)
		return;
	p.reserve = SPAN;
	p.thp = thp;
	memset(m, 0, sizeof(*m));
	expect(!ferry_arena_create(&p, &m->arena), 0, 0);
}

static void destroy(struct model *m)
{
	ferry_arena_destroy(m->arena);
	m->arena = NULL;
}

static void commit(struct model *m, struct range r, bool populate)
{
	int rc = ferry_arena_commit(m->arena, r.first * PAGE, r.n * PAGE,
				    populate);

	expect(!rc, 0, r.first);
	for (size_t i = r.first; i < r.first + r.n; i++)
		if (m->page[i].state == FERRY_PAGE_ABSENT)
			m->page[i] = (struct page){ .state = FERRY_PAGE_LIVE };
}

static void decommit(struct model *m, struct range r)
{
	int rc = ferry_arena_decommit(m->arena, r.first * PAGE, r.n * PAGE);

	if (any(m, r, FERRY_PAGE_PINNED)) {
		expect(rc == -EBUSY, 0, r.first);
		return;
	}
	expect(!rc, 0, r.first);
	for (size_t i = r.first; i < r.first + r.n; i++)
		m->page[i] = (struct page){ .state = FERRY_PAGE_ABSENT };
}

static void pin(struct model *m, struct range r)
{
	int rc = ferry_arena_pin(m->arena, r.first * PAGE, r.n * PAGE);

	if (any(m, r, FERRY_PAGE_ABSENT)) {
		expect(rc < 0, 0, r.first);
		return;
	}
	expect(!rc, 0, r.first);
	for (size_t i = r.first; i < r.first + r.n; i++) {
		m->page[i].state = FERRY_PAGE_PINNED;
		m->page[i].pins++;
	}
}

static void unpin(struct model *m, struct range r)
{
	int rc = ferry_arena_unpin(m->arena, r.first * PAGE, r.n * PAGE);

	if (any(m, r, FERRY_PAGE_ABSENT) || any(m, r, FERRY_PAGE_LIVE)) {
		expect(rc < 0, 0, r.first);
		return;
	}
	expect(!rc, 0, r.first);
	for (size_t i = r.first; i < r.first + r.n; i++)
		if (!--m->page[i].pins)
			m->page[i].state = FERRY_PAGE_LIVE;
}

static void fill(uint64_t *words, uint64_t value)
{
	for (size_t i = 0; i < PAGE / sizeof(*words); i++)
		words[i] = value;
}

static uint64_t *page_at(const struct model *m, size_t page)
{
	return (uint64_t *)((char *)ferry_arena_base(m->arena) + page * PAGE);
}

static void write_pages(struct world *w, struct model *m, struct range r)
{
	for (size_t i = r.first; i < r.first + r.n; i++) {
		if (m->page[i].state == FERRY_PAGE_ABSENT)
			continue;
		m->page[i].value = ++w->values;
		fill(page_at(m, i), m->page[i].value);
	}
}

static void grow(struct model *m)
{
	size_t before = ferry_arena_reserved(m->arena);
	int rc = ferry_arena_grow(m->arena, PAGE);

	/* What lies behind may be taken. */
	expect(!rc || rc == -ENOMEM, 0, 0);
	expect((ferry_arena_reserved(m->arena) > before) == !rc, 0, 0);
}

static void set_thp(struct model *m, struct range r, enum ferry_thp thp)
{
	ferry_arena_set_thp(m->arena, r.first * PAGE, r.n * PAGE, thp);
}

/* --- compaction ----------------------------------------------------------- */

/* What the map must say: live pages in order, arena by arena as they lie. */
struct moving {
	struct model *source[ARENAS];
	struct ferry_arena *arena[ARENAS];
	size_t n;
	struct model result;
	struct ferry_compact *compact;
};

static bool compact_plan(struct moving *mv, struct model *to, unsigned int how)
{
	struct ferry_compact_params p = FERRY_INIT(struct ferry_compact_params);
	int rc;

	p.sources = mv->arena;
	p.sources_len = mv->n;
	p.mode = how & 1 ? FERRY_FAULT_THREAD : FERRY_FAULT_SIGBUS;
	p.around = 1 + how / 2 % 16;
	p.flags = how & 64 ? FERRY_COMPACT_COLLAPSE : 0;
	p.destination = to->arena;
	rc = ferry_compact_plan(&p, NULL, &mv->compact);
	/* A destination of one arena does not hold the pages of three. */
	expect(!rc || (to->arena && (rc == -ENOSPC || rc == -EBUSY)), 0, 0);
	return !rc;
}

/* Takes each live page of the model to where the map says. */
static void model_follow(struct moving *mv, size_t a)
{
	struct model *m = mv->source[a];
	char *to = ferry_arena_base(mv->result.arena), *now;
	size_t i, at;

	for (i = 0; i < PAGES; i++) {
		now = ferry_compact_map(mv->compact, page_at(m, i));
		expect(!!now == (m->page[i].state == FERRY_PAGE_LIVE), a, i);
		if (!now)
			continue;
		at = (size_t)(now - to) / PAGE;
		expect((size_t)(now - to) <
			       ferry_arena_reserved(mv->result.arena),
		       a, i);
		expect(*(volatile uint64_t *)now == m->page[i].value, a, i);
		/* A model has room for one arena's pages; more are checked
		 * here and dropped with their arena. */
		if (at < PAGES)
			mv->result.page[at] = m->page[i];
		m->page[i] = (struct page){ .state = FERRY_PAGE_ABSENT };
	}
}

static void compact_run(struct world *w, struct moving *mv)
{
	unsigned int how = next(w);
	size_t left = 1;

	expect(!ferry_compact_start(mv->compact), 0, 0);
	if (how & 1)
		expect(!ferry_compact_step(mv->compact,
					   (1 + how / 4 % 32) * PAGE, NULL,
					   &left),
		       0, 0);
	mv->result.arena = ferry_compact_destination(mv->compact);
	if (how & 2)
		expect(!ferry_compact_step(mv->compact, 0, NULL, &left), 0, 0);
	for (size_t a = 0; a < mv->n; a++)
		model_follow(mv, a);
	expect(!ferry_compact_finish(mv->compact, NULL), 0, 0);
}

/* Compacts the arenas of a mask into a new one, or into one that is there. */
static void compact(struct world *w, unsigned int mask, unsigned int how)
{
	struct model *to = &w->model[how / 8 % ARENAS];
	struct moving mv = { 0 };
	bool given = to->arena;

	for (size_t a = 0; a < ARENAS; a++) {
		if (!(mask >> a & 1) || !w->model[a].arena ||
		    &w->model[a] == to)
			continue;
		mv.source[mv.n] = &w->model[a];
		mv.arena[mv.n++] = w->model[a].arena;
	}
	if (!mv.n || !compact_plan(&mv, to, how))
		return;
	if (how & 128) {
		expect(!ferry_compact_finish(mv.compact, NULL), 0, 0);
	} else {
		compact_run(w, &mv);
		for (size_t i = 0; given && i < PAGES; i++)
			if (mv.result.page[i].state == FERRY_PAGE_ABSENT)
				mv.result.page[i] = to->page[i];
		*to = mv.result;
		/* Beyond what a model holds. */
		if (ferry_arena_reserved(to->arena) > SPAN)
			ferry_arena_decommit(to->arena, SPAN,
					     ferry_arena_reserved(to->arena) -
						     SPAN);
	}
	ferry_compact_destroy(mv.compact);
}

/* --- comparing ------------------------------------------------------------ */

static void compare_states(const struct world *w)
{
	const struct model *m;

	for (size_t a = 0; a < ARENAS; a++) {
		m = &w->model[a];
		for (size_t i = 0; m->arena && i < PAGES; i++)
			expect(ferry_arena_page_state(m->arena, i * PAGE) ==
				       m->page[i].state,
			       a, i);
	}
}

static void compare_contents(const struct world *w)
{
	const struct model *m;
	const uint64_t *words;

	for (size_t a = 0; a < ARENAS; a++) {
		m = &w->model[a];
		for (size_t i = 0; m->arena && i < PAGES; i++) {
			if (m->page[i].state == FERRY_PAGE_ABSENT)
				continue;
			words = page_at(m, i);
			expect(words[0] == m->page[i].value, a, i);
			expect(words[PAGE / 8 - 1] == m->page[i].value, a, i);
			expect(words[PAGE / 16] == m->page[i].value, a, i);
		}
	}
}

static void compare_lookup(const struct world *w)
{
	ferry_lookup_begin();
	for (size_t a = 0; a < ARENAS; a++)
		if (w->model[a].arena)
			expect(ferry_lookup(page_at(&w->model[a], 7)) ==
				       w->model[a].arena,
			       a, 7);
	ferry_lookup_end();
}

/* --- one sequence --------------------------------------------------------- */

static void operate(struct world *w)
{
	unsigned int what = next(w), which = next(w);
	struct model *m = &w->model[which % ARENAS];
	struct range r;

	if (what % 16 < 2 || !m->arena) {
		create(m, (enum ferry_thp)(what / 16 % 3));
		return;
	}
	if (what % 16 == 2) {
		destroy(m);
		return;
	}
	if (what % 16 < 5) {
		compact(w, which / ARENAS, next(w));
		return;
	}
	r = next_range(w);
	switch (what % 16) {
	case 5:
	case 6:
	case 7:
		commit(m, r, what & 16);
		break;
	case 8:
	case 9:
		decommit(m, r);
		break;
	case 10:
		pin(m, r);
		break;
	case 11:
		unpin(m, r);
		break;
	case 12:
		grow(m);
		break;
	case 13:
		set_thp(m, r, what & 16 ? FERRY_THP_ALWAYS : FERRY_THP_NEVER);
		break;
	default:
		write_pages(w, m, r);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = { .data = data, .len = size };

	while (w.len) {
		operate(&w);
		compare_states(&w);
	}
	compare_contents(&w);
	compare_lookup(&w);
	for (size_t a = 0; a < ARENAS; a++)
		destroy(&w.model[a]);
	return 0;
}
