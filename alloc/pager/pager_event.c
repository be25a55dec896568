/* SPDX-License-Identifier: MIT */
/*
 * Forks that run no handlers (raw clone, _Fork): the kernel tells of each
 * with a descriptor for the child's memory, where the same is registered
 * (F4). All that is out is copied into the child, which waits where it
 * touches a page before it came; then the descriptor is closed, and what the
 * child has is ordinary memory.
 *
 * From the fork until this thread has read of it, the kernel installs no page
 * in the parent. Afterwards the gate keeps the looking thread from bringing
 * any back until the child has it: what is out now was out then, or is
 * present in the child, which is no harm.
 *
 * A fork whose handlers have run serves its child by itself, once the
 * descriptor is closed. Which fork an event is of is not told: one that
 * comes while another thread is between its handlers is taken for its.
 */
#include "alloc/pager/pager-internal.h"
#include "uffd/uapi.h"

/* Tries of a page before it is waited for. */
#define TRIES	 100
#define PAUSE_NS 20000u

struct child {
	struct ferry__pager *pager;
	int fd;
	unsigned char *staging; /* one page */
	bool gone;
};

static void copy_all(struct ferry__pager *pager, int fd);

/* The child may have forked in its turn. */
static void read_events(struct child *c)
{
	struct ferry__uffd_msg msg;

	while (ferry__sys->read(c->fd, &msg, sizeof(msg)) == sizeof(msg))
		if (msg.event == FERRY__UFFD_EVENT_FORK)
			copy_all(c->pager, (int)msg.arg.fork.ufd);
}

/* False: not now, as the child's mappings change. */
static bool install(struct child *c, uintptr_t addr, const void *src)
{
	struct ferry__uffdio_copy copy = {
		.dst = addr,
		.src = (uintptr_t)src,
		.len = ferry__page_size,
	};
	int r = ferry__sys->ioctl(c->fd, FERRY__UFFDIO_COPY, &copy);

	if (r == -EAGAIN || r == -ENOMEM)
		return false;
	/* EEXIST: it has the page. Else it has ended, or runs another program. */
	c->gone = r < 0 && r != -EEXIST;
	return true;
}

/* A claimed page; what cannot be had is lost to the child. */
static bool give(struct child *c, struct ferry__pager_region *region,
		 size_t page, uint64_t word)
{
	uintptr_t addr = ferry__page_at(region, page);
	int r;

	if (ferry__word_state(word) == FERRY__WORD_LIMBO)
		return install(c, addr, (void *)ferry__limbo_at(region, page));
	do
		r = ferry__pager_get(c->pager, word, addr, c->staging);
	while ((r == -EIO || r == -ETIMEDOUT) &&
	       !ferry__pager_given_up(c->pager, word));
	if (r)
		ferry__pager_lost(c->pager, word, addr, r);
	return install(c, addr, c->staging);
}

/* True: the page need not be thought of any more. */
static bool try_page(struct child *c, struct ferry__pager_region *region,
		     size_t page)
{
	uint64_t *word = &region->words[page], w = ferry__word_load(word);
	bool given;

	if (ferry__word_state(w) == FERRY__WORD_RESIDENT ||
	    ferry__word_state(w) == FERRY__WORD_SPENT)
		return true;
	if ((ferry__word_state(w) != FERRY__WORD_LIMBO &&
	     ferry__word_state(w) != FERRY__WORD_STORED) ||
	    !ferry__word_claim(
		    word, w, (w & ~FERRY__WORD_STATE) | FERRY__WORD_INCOMING)) {
		/* Owners need nothing of this thread. */
		ferry__sys->sched_yield();
		return false;
	}
	given = give(c, region, page, w);
	ferry__word_finish(word, w);
	return given;
}

/* Between tries no word is owned, so that the child's children get theirs. */
static void give_page(struct child *c, struct ferry__pager_region *region,
		      size_t page)
{
	unsigned int tries;

	for (tries = 0; !try_page(c, region, page); tries++) {
		read_events(c);
		if (tries > TRIES)
			ferry__sys->sleep_ns(PAUSE_NS);
	}
}

static void copy_all(struct ferry__pager *pager, int fd)
{
	struct child c = { pager, fd, ferry__pager_map(ferry__page_size),
			   false };
	struct ferry__pager_region *r = ferry__region_first(pager);
	size_t page, end;

	for (; c.staging && !c.gone && r; r = ferry__region_next(r)) {
		end = ferry__region_used(r) / ferry__page_size;
		for (page = 0; page < end && !c.gone; page++)
			if (ferry__region_out(r, page))
				give_page(&c, r, page);
	}
	read_events(&c);
	ferry__pager_unmap(c.staging, ferry__page_size);
	ferry__sys->close(fd);
}

uint64_t ferry__pager_windows(struct ferry__pager *pager)
{
	return __atomic_load_n(&pager->windows, __ATOMIC_SEQ_CST); /* K3 */
}

/*
 * Reading of a fork lets who forked go on, to the end of its window: what
 * counts is whether there was one at any time since before the read.
 */
void ferry__pager_on_fork(struct ferry__pager *pager, int fd, uint64_t windows)
{
	if (windows & 1 || ferry__pager_windows(pager) != windows)
		ferry__sys->close(fd);
	else
		copy_all(pager, fd);
}
