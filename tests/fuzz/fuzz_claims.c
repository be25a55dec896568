/* SPDX-License-Identifier: MIT */
/*
 * Sequences of what movers of pages do with arenas - claims, drops, moves
 * from arena to arena, compaction - among commits and pins, compared step by
 * step with a plain model: pages with a state, a count of pins and contents.
 * Every answer is compared, errno included, every run and every byte.
 *
 * An input is a string of operations, each of a few bytes; bytes beyond the
 * end read as zero, so that every input means something. What an operation
 * must answer follows from the model alone.
 */
#include <ferry/ferry.h>

#include <errno.h>
#include <stdint.h>

#include "alloc/alloc-internal.h"
#include "tests/fuzz/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- reading the input ---------------------------------------------------- */

struct input {
	const uint8_t *data;
	size_t left;
};

static unsigned int next(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->data++;
}

/* A run of pages near the start of an arena: short, seldom to its end. */
struct run {
	struct model *m;
	size_t first, n;
};

static struct run next_run(struct world *world, struct input *in)
{
	struct run run = { .m = &world->model[next(in) % world->len] };
	unsigned int len = next(in);

	run.first = next(in) % 128 * (run.m->pages / 512);
	run.n = len < 240 ? 1 + len % 24 : run.m->pages - run.first;
	return run;
}

static size_t bytes(size_t pages)
{
	return pages * ferry__page_size;
}

/* --- operations on one arena ---------------------------------------------- */

static void do_commit(struct run run, bool populate)
{
	expect(ferry_arena_commit(run.m->arena, bytes(run.first), bytes(run.n),
				  populate) ==
	       model_commit(run.m, run.first, run.n));
}

static void do_decommit(struct run run)
{
	expect(ferry_arena_decommit(run.m->arena, bytes(run.first),
				    bytes(run.n)) ==
	       model_decommit(run.m, run.first, run.n));
}

static void do_pin(struct run run)
{
	expect(ferry_arena_pin(run.m->arena, bytes(run.first), bytes(run.n)) ==
	       model_pin(run.m, run.first, run.n));
}

static void do_unpin(struct run run)
{
	expect(ferry_arena_unpin(run.m->arena, bytes(run.first),
				 bytes(run.n)) ==
	       model_unpin(run.m, run.first, run.n));
}

/* Claims LIVE pages; they stay claimed until some do_settle() finds them. */
static void do_claim(struct run run)
{
	expect(ferry__arena_claim(run.m->arena, bytes(run.first),
				  bytes(run.n)) ==
	       bytes(model_claim(run.m, run.first, run.n)));
}

static void do_claim_absent(struct run run)
{
	expect(ferry__arena_claim_absent(run.m->arena, bytes(run.first),
					 bytes(run.n)) ==
	       model_claim_absent(run.m, run.first, run.n));
}

/* Ends the claim of the pages in TRANSIT that the run begins with. */
static void do_settle(struct run run, unsigned int how)
{
	static const enum ferry_page_state to[] = {
		FERRY_PAGE_LIVE,
		FERRY_PAGE_ABSENT,
		FERRY_PAGE_OUT,
	};
	size_t n = model_prefix(run.m, run.first, run.n, FERRY_PAGE_TRANSIT);

	how %= 3;
	if (!n)
		return;
	if (to[how] == FERRY_PAGE_ABSENT)
		expect(ferry__arena_drop(run.m->arena, bytes(run.first),
					 bytes(n)) == 0);
	else
		ferry__arena_settle(run.m->arena, bytes(run.first), bytes(n),
				    to[how]);
	model_settle(run.m, run.first, n, to[how]);
}

static void do_grow(struct model *m)
{
	int r;

	if (m->pages >= 4 * MODEL_PAGES)
		return;
	r = ferry_arena_grow(m->arena, 1);
	expect(r == 0 || r == -ENOMEM);
	if (r == 0)
		model_grow(m, ferry_arena_reserved(m->arena));
}

static void do_thp(struct run run, unsigned int thp)
{
	int r;

	r = ferry_arena_set_thp(run.m->arena, bytes(run.first), bytes(run.n),
				thp % 3);
	expect(r == 0 || r == -ENOSPC || r == -EOPNOTSUPP);
}

static void do_nonsense(struct run run, unsigned int how)
{
	size_t offset = how & 1 ? 8 : bytes(run.m->pages);
	size_t len = how & 2 ? 0 : bytes(1);

	expect(ferry_arena_commit(run.m->arena, offset, len, true) == -EINVAL);
	expect(ferry_arena_decommit(run.m->arena, offset, len) == -EINVAL);
	expect(ferry_arena_pin(run.m->arena, offset, len) == -EINVAL);
	expect(ferry_arena_unpin(run.m->arena, offset, len) == -EINVAL);
	expect(ferry_arena_page_state(run.m->arena, bytes(run.m->pages)) ==
	       FERRY_PAGE_ABSENT);
}

/* --- pages from one arena to another -------------------------------------- */

/* Registered while it is moved only: later touches bring ordinary memory. */
static int move_pages(struct ferry_uffd *uffd, char *dst, char *src, size_t len)
{
	struct ferry_move_params p = FERRY_INIT(struct ferry_move_params);
	int r;

	p.flags = FERRY_MOVE_HOLES | FERRY_MOVE_SOLE;
	p.busy = FERRY_BUSY_COPY;
	r = ferry_uffd_register(uffd, dst, len, FERRY_REGISTER_MISSING, NULL);
	if (r < 0)
		return r;
	r = ferry_move(uffd, dst, src, len, &p, NULL);
	ferry_uffd_unregister(uffd, dst, len);
	return r;
}

/* Moves the LIVE pages that @from begins with, where they find room. */
static void do_move(struct world *world, struct run from, struct run to)
{
	size_t n = model_prefix(from.m, from.first, from.n, FERRY_PAGE_LIVE);
	size_t room = model_prefix(to.m, to.first, to.m->pages - to.first,
				   FERRY_PAGE_ABSENT);
	char *src = model_page(from.m, from.first);
	char *dst = model_page(to.m, to.first);

	if (!n || room < n)
		return;
	expect(ferry__arena_claim(from.m->arena, bytes(from.first), bytes(n)) ==
	       bytes(n));
	expect(ferry__arena_claim_absent(to.m->arena, bytes(to.first),
					 bytes(n)) == 0);
	expect(move_pages(world->uffd, dst, src, bytes(n)) == 0);
	expect(ferry__arena_drop(from.m->arena, bytes(from.first), bytes(n)) ==
	       0);
	ferry__arena_settle(to.m->arena, bytes(to.first), bytes(n),
			    FERRY_PAGE_LIVE);
	model_move(from.m, from.first, to.m, to.first, n);
}

/* Pages of the old address space that moved, into the model of the new. */
static void follow(struct world *world, const struct ferry_compact *compact,
		   struct model *to)
{
	char *old, *new;
	size_t i, k;

	for (k = 0; k < world->len; k++) {
		struct model *m = &world->model[k];

		for (i = 0; m != to && i < m->pages; i++) {
			old = model_page(m, i);
			new = ferry_compact_map(compact, old);
			if (!new)
				continue;
			expect(m->page[i].state == FERRY_PAGE_LIVE);
			expect(new >= to->base &&new <
			       to->base + bytes(to->pages));
			model_move(m, i, to,
				   (size_t)(new - to->base) / bytes(1), 1);
		}
	}
}

/* Looks at some pages at their new address while they are in transit. */
static void peek(struct world *world, const struct ferry_compact *compact,
		 struct input *in)
{
	int looks = next(in) % 4;

	while (looks--) {
		struct run run = next_run(world, in);
		char *new = ferry_compact_map(compact,
					      model_page(run.m, run.first));

		if (new)
			expect(contents_are(new,
					    run.m->page[run.first].number));
	}
}

/* Drives a plan to its end, or drops it; returns what is then left. */
static int drive(struct world *world, struct ferry_compact *compact,
		 struct input *in)
{
	size_t left = 0;

	expect(ferry_compact_start(compact) == 0);
	expect(ferry_compact_start(compact) == -EALREADY);
	peek(world, compact, in);
	expect(ferry_compact_step(compact, bytes(next(in)), NULL, &left) == 0);
	peek(world, compact, in);
	return ferry_compact_finish(compact, NULL);
}

static void do_compact(struct world *world, struct input *in)
{
	struct ferry_compact_params p = FERRY_INIT(struct ferry_compact_params);
	struct ferry_arena *source[WORLD_ARENAS];
	unsigned int which = next(in), how = next(in);
	struct ferry_compact *compact = NULL;
	struct ferry_arena *dst;
	size_t i, live = 0;
	int r;

	if (world->len == WORLD_ARENAS)
		return;
	for (i = 0; i < world->len; i++) {
		if (!(which >> i & 1))
			continue;
		source[p.sources_len++] = world->model[i].arena;
		live += model_count(&world->model[i], FERRY_PAGE_LIVE);
	}
	p.sources = source;
	p.mode = how & 1 ? FERRY_FAULT_THREAD : FERRY_FAULT_SIGBUS;
	p.around = 1 + (how >> 4);
	p.thp = how & 4 ? FERRY_THP_ALWAYS : FERRY_THP_NEVER;
	r = ferry_compact_plan(&p, NULL, &compact);
	if (!live) {
		if (r == 0)
			ferry_compact_destroy(compact);
		return;
	}
	expect(r == 0);
	if (how & 2) { /* a plan that is dropped changes nothing */
		ferry_compact_destroy(compact);
		return;
	}
	r = drive(world, compact, in);
	expect(r == 0 || r == -EUCLEAN);
	dst = ferry_compact_destination(compact);
	expect(dst != NULL);
	follow(world, compact, world_adopt(world, dst));
	ferry_compact_destroy(compact);
}

/* --- the loop ------------------------------------------------------------- */

static void step(struct world *world, struct input *in)
{
	unsigned int op = next(in);
	struct run run = next_run(world, in);

	switch (op % 16) {
	case 0:
	case 1:
		do_commit(run, op & 16);
		break;
	case 2:
		do_decommit(run);
		break;
	case 3:
		do_pin(run);
		break;
	case 4:
		do_unpin(run);
		break;
	case 5:
	case 6:
		model_write(run.m, run.first, run.n);
		break;
	case 7:
		do_claim(run);
		break;
	case 8:
		do_claim_absent(run);
		break;
	case 9:
	case 10:
		do_settle(run, op >> 4);
		break;
	case 11:
		do_move(world, run, next_run(world, in));
		break;
	case 12:
		do_compact(world, in);
		break;
	case 13:
		do_grow(run.m);
		break;
	case 14:
		if (op & 16)
			world_replace(run.m);
		else
			do_nonsense(run, op >> 5);
		break;
	default:
		do_thp(run, op >> 4);
		break;
	}
	model_check_states(run.m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .data = data, .left = size };
	struct world world;

	world_init(&world);
	while (in.left)
		step(&world, &in);
	world_check(&world);
	world_fini(&world);
	return 0;
}
