/* SPDX-License-Identifier: MIT */
/* What can be done to the memory of a process that does not help. */
#include "tools/ferryctl/outside.h"

#include <errno.h>
#include <numaif.h>

#include "tools/ferryctl/kernel.h"

#define BATCH 512

/* At most this at once: the kernel cuts a vector at 2 GiB less a page. */
#define PIECE ((uint64_t)1 << 30)

uint64_t ctl_done_left(const struct ctl_done *done)
{
	return done->busy + done->shared + done->full + done->failed;
}

void ctl_done_add(struct ctl_done *sum, const struct ctl_done *part)
{
	sum->done += part->done;
	sum->busy += part->busy;
	sum->shared += part->shared;
	sum->full += part->full;
	sum->failed += part->failed;
	sum->absent += part->absent;
}

/* --- placing pages -------------------------------------------------------- */

/* Pages of one range, collected until there are enough for a call. */
struct placer {
	const struct ctl_placing *placing;
	struct ctl_done *done;
	size_t n;
	void *addr[BATCH];
	int node[BATCH];
	int status[BATCH];
	uint64_t bytes[BATCH]; /* that the page stands for */
};

static unsigned int nth_node(const struct bitmask *nodes, uint64_t n)
{
	unsigned int i;

	for (i = 0; i < nodes->size; i++)
		if (numa_bitmask_isbitset(nodes, i) && n-- == 0)
			break;
	return i;
}

static int place_for(const struct ctl_placing *placing, uint64_t addr,
		     uint64_t unit)
{
	uint64_t n = numa_bitmask_weight(placing->to);

	return (int)nth_node(placing->to, addr / unit % n);
}

static uint64_t *where_counted(struct ctl_done *done, int status, int node)
{
	if (status == node)
		return &done->done;
	switch (status) {
	case -ENOENT:
	case -EFAULT: /* the zero page, or unmapped meanwhile */
		return &done->absent;
	case -EBUSY:
		return &done->busy;
	case -EACCES:
		return &done->shared;
	case -ENOMEM:
		return &done->full;
	}
	/* It is on another node: it was not taken along, and may be later. */
	return status >= 0 ? &done->busy : &done->failed;
}

static long ask_kernel(struct placer *p)
{
	const struct ctl_placing *placing = p->placing;
	size_t i;
	long r;

	for (i = 0; i < p->n; i++)
		p->status[i] = -EBUSY;
	r = ctl_kernel->move_pages(
		placing->pages->process->pid, p->n, p->addr, p->node, p->status,
		placing->shared ? MPOL_MF_MOVE_ALL : MPOL_MF_MOVE);
	if (r != -ENOENT)
		return r;
	/* Older kernels say so when not one page is there any more. */
	for (i = 0; i < p->n; i++)
		p->status[i] = -ENOENT;
	return 0;
}

static void count_settled(struct placer *p)
{
	size_t i, n = 0;

	for (i = 0; i < p->n; i++) {
		if (p->status[i] != -EBUSY) {
			*where_counted(p->done, p->status[i], p->node[i]) +=
				p->bytes[i];
			continue;
		}
		p->addr[n] = p->addr[i];
		p->node[n] = p->node[i];
		p->bytes[n++] = p->bytes[i];
	}
	p->n = n;
}

/*
 * A large folio goes as a whole with the first of its pages, the others of
 * the same call then being answered -EBUSY although they went along: what is
 * busy is asked for once more.
 */
static int flush(struct placer *p)
{
	int tries;
	long r;

	for (tries = 0; p->n && tries < 2; tries++) {
		r = ask_kernel(p);
		if (r < 0)
			return (int)r;
		count_settled(p);
	}
	while (p->n)
		p->done->busy += p->bytes[--p->n];
	return ctl_process_check(p->placing->pages->process);
}

static int add(struct placer *p, uint64_t addr, uint64_t bytes, uint64_t unit)
{
	p->addr[p->n] = (void *)(uintptr_t)addr;
	p->node[p->n] = place_for(p->placing, addr, unit);
	p->bytes[p->n] = bytes;
	p->n++;
	return p->n == BATCH ? flush(p) : 0;
}

static bool leaves(const struct ctl_placing *placing, const struct ctl_run *run)
{
	return !placing->from ||
	       (run->node >= 0 &&
		numa_bitmask_isbitset(placing->from, (unsigned int)run->node));
}

static int place_run(void *arg, const struct ctl_run *run)
{
	struct placer *p = arg;
	const struct ctl_pages *pages = p->placing->pages;
	uint64_t addr, step;
	bool huge;
	int r;

	if (!run->present) {
		p->done->absent += run->end - run->start;
		return 0;
	}
	if (!leaves(p->placing, run))
		return 0;
	for (addr = run->start; addr < run->end; addr += step) {
		huge = run->huge && addr % pages->huge == 0 &&
		       run->end - addr >= pages->huge;
		step = huge ? pages->huge : pages->page;
		/* The small pages of a huge one go to one node. */
		r = add(p, addr, step, run->huge ? pages->huge : pages->page);
		if (r)
			return r;
	}
	return 0;
}

int ctl_place(const struct ctl_placing *placing, uint64_t start, uint64_t end,
	      struct ctl_done *ret_done)
{
	struct placer p = { .placing = placing, .done = ret_done };
	int r;

	*ret_done = (struct ctl_done){ 0 };
	r = ctl_pages_walk(placing->pages, start, end, placing->from != NULL,
			   place_run, &p);
	return r ? r : flush(&p);
}

int ctl_place_all(const struct ctl_process *process, const struct bitmask *from,
		  const struct bitmask *to, uint64_t *ret_left)
{
	long r = ctl_kernel->migrate_pages(process->pid, from->size,
					   from->maskp, to->maskp);
	int check = ctl_process_check(process);

	if (r < 0)
		return check ? check : (int)r;
	*ret_left = (uint64_t)r;
	return check;
}

/* --- advice --------------------------------------------------------------- */

int ctl_advise(const struct ctl_process *process, uint64_t start, uint64_t end,
	       int advice, uint64_t *ret_done)
{
	struct iovec piece;
	ssize_t r;

	*ret_done = 0;
	while (start < end) {
		piece.iov_base = (void *)(uintptr_t)start;
		piece.iov_len = end - start < PIECE ? end - start : PIECE;
		r = ctl_kernel->process_madvise(process->pidfd, &piece, 1,
						advice);
		if (r < 0)
			return (int)r;
		if (r == 0)
			return -EAGAIN;
		*ret_done += (uint64_t)r;
		start += (uint64_t)r;
	}
	return 0;
}
