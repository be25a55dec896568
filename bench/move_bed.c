/* SPDX-License-Identifier: MIT */
/*
 * move_bed.c: six ways to bring pages from one address to another.
 *
 * Moves (ferry, raw, mremap) play ping-pong between two ranges and are timed
 * in both directions. Copies go one way; their destination is put back into
 * its state off the clock, and so is what they leave undone: after a copy the
 * source still has its pages, after a move it has given them away.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "move_bed.h"
#include "raw.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define WINDOW_PAGES 2048

const char *const move_method_names[MOVE_METHODS] = {
	[MOVE_FERRY] = "ferry",
	[MOVE_RAW] = "raw",
	[MOVE_UFFD_COPY] = "uffd_copy",
	[MOVE_MEMCPY_WARM] = "memcpy_warm",
	[MOVE_MEMCPY_COLD] = "memcpy_cold",
	[MOVE_MREMAP] = "mremap",
};

static void choose_holes(struct move_bed *bed)
{
	size_t n = bed->span / bed->page;
	struct bench_rng rng = { bed->seed };

	bed->live = bench_alloc(n * sizeof(*bed->live));
	for (size_t i = 0; i < n; i++) {
		bed->live[i] = bench_rng_below(&rng, 100) >= bed->holes;
		bed->nlive += bed->live[i];
	}
}

static void punch_holes(struct move_bed *bed, char *base)
{
	if (!bed->holes)
		return;
	for (size_t i = 0; i < bed->span / bed->page; i++)
		if (!bed->live[i])
			madvise(base + i * bed->page, bed->page, MADV_DONTNEED);
}

static void get_ranges(struct move_bed *bed)
{
	bool huge = bed->huge;
	size_t span = bed->span;

	bench_warm_memory(5 * span);
	bed->src = bench_pool_get(span, huge);
	bed->dst = bench_reserve(span, huge);
	bed->copy_dst = huge ? bench_reserve(span, huge) : bed->dst;
	bed->warm = bench_pool_get(span, huge);
	bed->cold = bench_reserve(span, huge);
	bed->map_src = bench_pool_get(span, huge);
	bed->map_dst = bench_reserve(span, huge);
	bench_fill(bed->src, span, bed->seed);
	punch_holes(bed, bed->src);
	punch_holes(bed, bed->map_src);
}

static int register_ranges(struct move_bed *bed)
{
	char *const range[] = { bed->src, bed->dst, bed->copy_dst };
	size_t n = bed->copy_dst == bed->dst ? 2 : 3;
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++)
		rc = ferry_uffd_register(bed->uffd, range[i], bed->span,
					 FERRY_REGISTER_MISSING, &bed->refused);
	return rc;
}

void move_bed_init(struct move_bed *bed, size_t span, bool huge,
		   unsigned int holes, uint64_t seed)
{
	*bed = (struct move_bed){ .huge = huge,
				  .holes = holes,
				  .page = (size_t)sysconf(_SC_PAGESIZE),
				  .span = span,
				  .seed = seed,
				  .emulated = !bench_machine_moves(),
				  .fd = -1 };
	choose_holes(bed);
	get_ranges(bed);
	if (ferry_uffd_open(NULL, &bed->refused, &bed->uffd) < 0)
		return;
	if (register_ranges(bed) < 0) {
		ferry_uffd_close(bed->uffd);
		bed->uffd = NULL;
		return;
	}
	bed->fd = ferry_uffd_fd(bed->uffd);
}

void move_bed_fini(struct move_bed *bed)
{
	/* Ends the registrations, so that holes can be filled again. */
	ferry_uffd_close(bed->uffd);
	bench_pool_put(bed->src, bed->span, bed->huge);
	bench_pool_put(bed->warm, bed->span, bed->huge);
	bench_pool_put(bed->map_src, bed->span, bed->huge);
	if (bed->copy_dst != bed->dst)
		bench_unmap(bed->copy_dst, bed->span);
	bench_unmap(bed->dst, bed->span);
	bench_unmap(bed->cold, bed->span);
	bench_unmap(bed->map_dst, bed->span);
	free(bed->live);
}

bool move_bed_intact(const struct move_bed *bed)
{
	size_t n = bed->span / bed->page;

	for (size_t i = 0; i < n; i++)
		if (bed->live[i] &&
		    !bench_page_filled(bed->src, i * bed->page, bed->seed))
			return false;
	return true;
}

static void add_piece(struct move_work *w, size_t at, size_t len)
{
	if (!w->pieces) /* a piece is a page at least */
		w->pieces = bench_alloc(w->window / w->bed->page *
					sizeof(*w->pieces));
	w->pieces[w->npieces++] = (struct move_run){ at, len };
}

/* Add the live runs of one batch. Returns their pages. */
static size_t cut_batch(struct move_work *w, size_t at, size_t end)
{
	const struct move_bed *bed = w->bed;
	size_t begin, live = 0;

	while (at < end) {
		while (at < end && !bed->live[at / bed->page])
			at += bed->page;
		begin = at;
		while (at < end && bed->live[at / bed->page])
			at += bed->page;
		if (at > begin)
			add_piece(w, begin, at - begin);
		live += (at - begin) / bed->page;
	}
	return live;
}

static bool is_copy(enum move_method method)
{
	return method == MOVE_UFFD_COPY || method == MOVE_MEMCPY_WARM ||
	       method == MOVE_MEMCPY_COLD;
}

/*
 * Turn to the next window. Returns its live pages. A quarter of it does for
 * moves in small batches: they are slow, and do not touch what lies in caches.
 */
static size_t next_window(struct move_work *w)
{
	size_t n = w->len / w->window;
	size_t pages = 0;
	size_t len = w->window;

	if (!is_copy(w->method) && w->batch * 64 <= len)
		len /= 4;
	if (w->method == MOVE_FERRY && w->bed->emulated)
		len = w->batch > len / 16 ? w->batch : len / 16;
	w->lo = w->at + w->runs++ % n * w->window;
	w->hi = w->lo + len;
	w->npieces = 0;
	for (size_t i = w->lo; i < w->hi; i += w->batch)
		pages += cut_batch(w, i, i + w->batch);
	return pages;
}

void move_work_init(struct move_work *w, struct move_bed *bed,
		    enum move_method method, size_t batch, size_t at,
		    size_t len)
{
	size_t window = WINDOW_PAGES * bed->page;

	*w = (struct move_work){ .bed = bed,
				 .method = method,
				 .batch = batch,
				 .at = at,
				 .len = len,
				 .window = batch > window ? batch : window };
}

void move_work_fini(struct move_work *w)
{
	bench_samples_fini(&w->passages);
	free(w->pieces);
}

void move_counts_add(struct move_counts *sum, const struct move_counts *c)
{
	sum->calls += c->calls;
	sum->short_moves += c->short_moves;
	sum->idle_retries += c->idle_retries;
	sum->busy_retries += c->busy_retries;
	sum->false_exist += c->false_exist;
	sum->made_exclusive += c->made_exclusive;
	sum->copied += c->copied;
}

static void count(struct move_work *w, const struct ferry_move_result *r)
{
	w->counts.calls += r->calls;
	w->counts.short_moves += r->short_moves;
	w->counts.idle_retries += r->idle_retries;
	w->counts.busy_retries += r->busy_retries;
	w->counts.false_exist += r->false_exist;
	w->counts.made_exclusive += r->made_exclusive;
	w->counts.copied += r->copied / w->bed->page;
	w->how = r->method;
}

static int pass_ferry(struct move_work *w, char *dst, char *src)
{
	struct ferry_move_params params = FERRY_INIT(struct ferry_move_params);
	struct ferry_move_result result = FERRY_INIT(struct ferry_move_result);
	int rc = 0;

	params.flags = FERRY_MOVE_SOLE;
	if (w->bed->holes)
		params.flags |= FERRY_MOVE_HOLES;
	for (size_t i = w->lo; i < w->hi && rc == 0; i += w->batch) {
		rc = ferry_move(w->bed->uffd, dst + i, src + i, w->batch,
				&params, &result);
		count(w, &result);
	}
	return rc;
}

static int pass_raw(struct move_work *w, char *dst, char *src)
{
	bool holes = w->bed->holes != 0;
	int rc = 0;

	for (size_t i = w->lo; i < w->hi && rc >= 0; i += w->batch)
		rc = bench_raw_move(w->bed->fd, dst + i, src + i, w->batch,
				    holes);
	return rc < 0 ? rc : 0;
}

static int pass_mremap(struct move_work *w, char *dst, char *src)
{
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;

	for (size_t i = w->lo; i < w->hi; i += w->batch)
		if (mremap(src + i, w->batch, w->batch, flags, dst + i) ==
		    MAP_FAILED)
			return -errno;
	return 0;
}

static int pass_uffd_copy(struct move_work *w, char *dst, char *src)
{
	int rc = 0;

	for (size_t i = 0; i < w->npieces && rc == 0; i++) {
		const struct move_run *p = &w->pieces[i];

		rc = bench_raw_copy(w->bed->fd, dst + p->at, src + p->at,
				    p->len);
	}
	return rc;
}

static int pass_memcpy(struct move_work *w, char *dst, char *src)
{
	for (size_t i = 0; i < w->npieces; i++) {
		const struct move_run *p = &w->pieces[i];

		memcpy(dst + p->at, src + p->at, p->len);
		bench_use(dst + p->at);
	}
	return 0;
}

typedef int (*pass_fn)(struct move_work *w, char *dst, char *src);

/* Passages that make a sample of about a millisecond. */
static unsigned int repeats(double ns)
{
	double n = 1e6 / (ns + 1);

	return n < 1 ? 1 : n > 64 ? 64 : (unsigned int)n;
}

static int ping_pong(struct move_work *w, pass_fn pass, char *a, char *b,
		     double *ret_ns)
{
	unsigned int n = w->repeat ? w->repeat : 1;
	int rc = 0;

	bench_samples_clear(&w->passages);
	for (unsigned int i = 0; i < n && rc == 0; i++) {
		uint64_t begin = bench_now();

		rc = pass(w, b, a);
		if (rc == 0)
			rc = pass(w, a, b);
		bench_samples_add(&w->passages,
				  (double)(bench_now() - begin) / 2);
	}
	*ret_ns = bench_samples_quantile(&w->passages, 0.5);
	if (!w->repeat)
		w->repeat = repeats(*ret_ns * 2);
	return rc;
}

static int one_way(struct move_work *w, pass_fn pass, char *dst, bool fresh,
		   double *ret_ns)
{
	uint64_t begin = bench_now();
	int rc = pass(w, dst, w->bed->src);

	*ret_ns = (double)(bench_now() - begin);
	if (fresh)
		madvise(dst + w->lo, w->hi - w->lo, MADV_DONTNEED);
	return rc;
}

int move_work_run(struct move_work *w, double *ret_ns, size_t *ret_pages)
{
	struct move_bed *bed = w->bed;

	*ret_pages = next_window(w);

	switch (w->method) {
	case MOVE_FERRY:
		return ping_pong(w, pass_ferry, bed->src, bed->dst, ret_ns);
	case MOVE_RAW:
		return ping_pong(w, pass_raw, bed->src, bed->dst, ret_ns);
	case MOVE_MREMAP:
		return ping_pong(w, pass_mremap, bed->map_src, bed->map_dst,
				 ret_ns);
	case MOVE_UFFD_COPY:
		return one_way(w, pass_uffd_copy, bed->copy_dst, true, ret_ns);
	case MOVE_MEMCPY_WARM:
		return one_way(w, pass_memcpy, bed->warm, false, ret_ns);
	case MOVE_MEMCPY_COLD:
		return one_way(w, pass_memcpy, bed->cold, true, ret_ns);
	case MOVE_METHODS:
		break;
	}
	return -EINVAL;
}
