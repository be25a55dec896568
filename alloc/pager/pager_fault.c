/* SPDX-License-Identifier: MIT */
/*
 * The handler thread: reads faults from the descriptor and answers them.
 *
 * It never waits for another thread. A page that is owned by one is noted as
 * wanted there, and its waiters are woken a little later, so that they ask
 * again: no wake-up can be lost for good.
 * While no fault waits it reads ahead, see pager_ahead.c.
 */
#include <string.h>

#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"
#include "uffd/uapi.h"

#define BATCH 16
/* Pages whose waiters are to be woken; one more is woken at once. */
#define LATER	 64
#define LATER_NS 500000u
/* Before what the system was short of is asked for again. */
#define SHORT_NS 1000000u
/* Fresh pages that are made at once, and where faults come in sequence. */
#define FRESH	  4
#define FRESH_SEQ 32

struct handler {
	struct ferry__pager *pager;
	struct ferry__pager_hand *hand;
	uintptr_t later[LATER];
	size_t n_later;
	uint64_t later_at; /* when they are woken */
	/* What the last fault brought, for the probe. */
	enum ferry__back kind;
	size_t pages, tier;
};

static void wake_later(struct handler *h, uintptr_t addr)
{
	if (!h->n_later)
		h->later_at = ferry__sys->now_ns() + LATER_NS;
	if (h->n_later == LATER)
		ferry__pager_wake(h->pager, addr);
	else
		h->later[h->n_later++] = addr;
}

static void wake_those(struct handler *h)
{
	size_t i;

	for (i = 0; i < h->n_later; i++)
		ferry__pager_wake(h->pager, h->later[i]);
	h->n_later = 0;
}

/* --- zero pages ---------------------------------------------------------- */

/* Claims @page and those after it that are absent by right, or may be. */
static size_t claim_fresh(struct ferry__pager_region *region, size_t page,
			  size_t max, uint64_t *old)
{
	uint64_t *words = region->words + page, w;
	size_t n;

	for (n = 0; n < max; n++) {
		w = ferry__word_load(&words[n]);
		if (ferry__word_state(w) != FERRY__WORD_RESIDENT ||
		    !ferry__word_claim(&words[n], w, w | FERRY__WORD_INCOMING))
			break;
		old[n] = w;
	}
	return n;
}

/*
 * Zero pages from @addr on, over those that are there. Wakes nobody. A range
 * over several mappings is refused as a whole (in a child, what a region has
 * grown by stays a mapping of its own): then page by page.
 */
static int fill_zero(struct ferry__pager *pager, uintptr_t addr, size_t len)
{
	struct ferry__uffdio_zeropage zero;
	size_t done = 0, piece = len;
	int r;

	while (done < len) {
		if (piece > len - done)
			piece = len - done;
		zero = (struct ferry__uffdio_zeropage){
			.range = { addr + done, piece },
			.mode = FERRY__ZEROPAGE_DONTWAKE,
		};
		r = ferry__sys->ioctl(ferry_uffd_fd(pager->uffd),
				      FERRY__UFFDIO_ZEROPAGE, &zero);
		if (r >= 0)
			done += piece;
		else if (r == -EEXIST)
			done += ferry__page_size;
		else if (r == -EAGAIN && zero.zeropage > 0)
			done += (size_t)zero.zeropage;
		else if ((r == -ENOENT || r == -EINVAL) &&
			 piece > ferry__page_size)
			piece = ferry__page_size;
		else
			return r;
	}
	return 0;
}

static size_t fresh_window(struct handler *h,
			   const struct ferry__pager_region *region,
			   size_t page)
{
	uintptr_t addr = ferry__page_at(region, page);
	size_t n = addr == h->hand->fresh_next ? FRESH_SEQ : FRESH;
	size_t end = ferry__region_used(region) / ferry__page_size;
	size_t unit = FERRY__UNIT_SIZE / ferry__page_size;

	/* The next unit may not be registered. */
	if (n > unit - page % unit)
		n = unit - page % unit;
	if (page + n > end)
		n = end > page ? end - page : 1;
	return n;
}

/* The page is absent and nobody has it: it is zero (P4). */
static int on_fresh(struct handler *h, struct ferry__pager_region *region,
		    size_t page)
{
	uint64_t old[FRESH_SEQ];
	size_t n = fresh_window(h, region, page), i;
	uintptr_t addr = ferry__page_at(region, page);
	int r;

	n = claim_fresh(region, page, n, old);
	if (!n)
		return -EAGAIN;
	r = fill_zero(h->pager, addr, n * ferry__page_size);
	for (i = 0; i < n; i++)
		ferry__word_finish(&region->words[page + i], old[i]);
	ferry_uffd_wake(h->pager->uffd, (void *)addr, n * ferry__page_size);
	h->hand->fresh_next = addr + n * ferry__page_size;
	h->kind = FERRY__BACK_ZERO;
	h->pages = n;
	ferry__pager_count(h->pager, faults_empty, 1);
	return r;
}

/* --- pages that are out -------------------------------------------------- */

static void count_back(struct handler *h, struct ferry__pager_region *region,
		       size_t page, uint64_t word, size_t n)
{
	struct ferry__pager_block *block =
		&region->blocks[page / FERRY__BLOCK_PAGES];

	h->pages = n;
	h->tier = ferry__word_tier(word);
	if (ferry__word_state(word) == FERRY__WORD_LIMBO) {
		h->kind = FERRY__BACK_LIMBO;
		__atomic_store_n(&block->touched, 1, __ATOMIC_RELAXED);
		ferry__pager_count(h->pager, faults_limbo, 1);
	} else {
		h->kind = FERRY__BACK_STORE;
		ferry__pager_count(h->pager, faults_stored, 1);
		ferry__pager_count(h->pager, refaults, n);
		FERRY__PROBE3(refault, ferry__page_at(region, page), n,
			      h->tier);
	}
}

/*
 * A failure that passes is asked about again; one that lasts, or is final,
 * ends the process: what the program would read otherwise are zeroes.
 */
static int on_failure(struct handler *h, uint64_t word, uintptr_t addr, int r)
{
	if (r == -EAGAIN || r == -ENOMEM || r == -ESRCH || r == -EINTR)
		return -EAGAIN;
	/* The program has closed the copy in its table, see pager_sigbus.c. */
	if (h->pager->service && (r == -EBADF || r == -ENOTTY))
		return r;
	if ((r == -EIO || r == -ETIMEDOUT) &&
	    !ferry__pager_given_up(h->pager, word))
		return -EAGAIN;
	ferry__pager_lost(h->pager, word, addr, r);
}

static int on_out(struct handler *h, struct ferry__pager_region *region,
		  size_t page, uint64_t word)
{
	size_t n = ferry__ahead_window(h->pager, h->hand, region, page);
	int r = ferry__pager_bring(h->pager, region, page, n, false, h->hand);

	if (r < 0)
		return on_failure(h, word, ferry__page_at(region, page), r);
	if (!r)
		return -EAGAIN;
	count_back(h, region, page, word, (size_t)r);
	return 0;
}

/* Owned by another thread: it shall know. */
static int on_owned(struct ferry__pager_region *region, size_t page,
		    uint64_t word)
{
	ferry__word_claim(&region->words[page], word,
			  word | FERRY__WORD_WANTED);
	return -EAGAIN;
}

/* 0: the page is there, or its waiters were woken; -EAGAIN: not yet. */
static int on_page(struct handler *h, struct ferry__pager_region *region,
		   size_t page)
{
	uint64_t word = ferry__word_load(&region->words[page]);

	switch (ferry__word_state(word)) {
	case FERRY__WORD_RESIDENT:
		return on_fresh(h, region, page);
	case FERRY__WORD_LIMBO:
	case FERRY__WORD_STORED:
		return on_out(h, region, page, word);
	case FERRY__WORD_SPENT:
		ferry__pager_wake(h->pager, ferry__page_at(region, page));
		return 0;
	default:
		return on_owned(region, page, word);
	}
}

static int serve(struct handler *h, struct ferry__pager_region *region,
		 size_t page)
{
	uint64_t ns = ferry__sys->now_ns();
	int r;

	h->pages = h->tier = 0;
	r = on_page(h, region, page);
	ns = ferry__sys->now_ns() - ns;
	ferry__pager_count(h->pager, stalled_ns, ns);
	if (h->pages)
		FERRY__PROBE5(page_back, ferry__page_at(region, page), h->pages,
			      h->kind, h->tier, ns);
	return r;
}

int ferry__pager_serve(struct ferry__pager *pager,
		       struct ferry__pager_hand *hand,
		       struct ferry__pager_region *region, size_t page)
{
	struct handler h;

	h.pager = pager;
	h.hand = hand;
	return serve(&h, region, page);
}

/* --- messages ------------------------------------------------------------ */

/*
 * Nobody of ours touches limbo where nothing is; mlockall(2) does, for the
 * program, and waits. The looking thread gives it back, see pager_look.c.
 */
static bool in_some_limbo(struct ferry__pager *pager, uintptr_t addr)
{
	struct ferry__pager_region *r = ferry__region_first(pager);

	while (r && addr - r->shadow >= r->len)
		r = ferry__region_next(r);
	return r;
}

static int fill_limbo(struct ferry__pager *pager, uintptr_t addr)
{
	int r = fill_zero(pager, addr, ferry__page_size);

	ferry__pager_wake(pager, addr);
	return r;
}

/*
 * In a fork's window only who forks is served: see pager_fork.c. It may be
 * waiting for the looking thread yet, which faults where it makes pages
 * exclusive that are discarded meanwhile.
 */
static bool is_served(const struct ferry__pager *pager, int tid)
{
	return !pager->fork_tid || pager->fork_tid == tid ||
	       pager->home_tid == tid;
}

static void on_address(struct handler *h, uintptr_t addr, int tid)
{
	struct ferry__pager *pager = h->pager;
	struct ferry__pager_region *region = ferry__region_find(pager, addr);
	size_t page;
	int r = -EAGAIN;

	pthread_mutex_lock(&pager->serve);
	if (region && is_served(pager, tid)) {
		page = (addr - region->addr) / ferry__page_size;
		ferry__pager_give_first(pager, region, page);
		r = serve(h, region, page);
	}
	pthread_mutex_unlock(&pager->serve);
	if (!region && in_some_limbo(pager, addr))
		r = fill_limbo(pager, addr);
	if (r)
		wake_later(h, addr);
}

static void on_message(struct handler *h, const struct ferry__uffd_msg *msg)
{
	uintptr_t mask = ferry__page_size - 1;

	if (msg->event == FERRY__UFFD_EVENT_PAGEFAULT)
		on_address(h, (uintptr_t)msg->arg.pagefault.address & ~mask,
			   (int)msg->arg.pagefault.ptid);
}

/*
 * Forks come first: what is out then must not change before the child has it.
 * Hence the gate, see pager_event.c.
 */
static ssize_t read_messages(struct handler *h, struct ferry__uffd_msg *msgs)
{
	ssize_t n, i;

	pthread_mutex_lock(&h->pager->gate);
	n = ferry__sys->read(ferry_uffd_fd(h->pager->uffd), msgs,
			     BATCH * sizeof(*msgs));
	for (i = 0; i < n / (ssize_t)sizeof(*msgs); i++)
		if (msgs[i].event == FERRY__UFFD_EVENT_FORK)
			ferry__pager_on_fork(h->pager,
					     (int)msgs[i].arg.fork.ufd);
	pthread_mutex_unlock(&h->pager->gate);
	return n;
}

/* The system has no descriptor for news of a fork, which the kernel keeps. */
static bool is_short(ssize_t error)
{
	return error == -ENOMEM || error == -ENFILE;
}

/* False: there was nothing to read. */
static bool read_batch(struct handler *h)
{
	struct ferry__uffd_msg msgs[BATCH];
	ssize_t n, i;

	n = read_messages(h, msgs);
	if (n == -EAGAIN || n == -EINTR || n == 0 || is_short(n)) {
		if (is_short(n))
			ferry__sys->sleep_ns(SHORT_NS);
		return false;
	}
	/* The descriptor is gone: all that is out would read as zeroes. */
	if (n < 0)
		ferry__pager_lost(h->pager, 0, 0, (int)n);
	for (i = 0; i < n / (ssize_t)sizeof(msgs[0]); i++)
		on_message(h, &msgs[i]);
	return true;
}

static int patience(const struct handler *h, bool reading)
{
	if (reading)
		return 0;
	return h->n_later ? 1 : ferry__pager_attention(h->pager);
}

void *ferry__pager_handle(void *arg)
{
	struct handler h = { .pager = arg };
	bool reading = false;
	struct pollfd fds[3] = {
		{ .fd = ferry_uffd_fd(h.pager->uffd), .events = POLLIN },
		{ .fd = h.pager->stop_handler, .events = POLLIN },
		{ .events = POLLIN },
	};

	h.hand = &h.pager->serving;
	pthread_setname_np(pthread_self(), "ferry-page");
	while (!(fds[1].revents & POLLIN)) {
		fds[0].revents = fds[1].revents = 0;
		fds[2].fd = ferry__pager_child_fd(h.pager);
		ferry__sys->poll(fds, 3, patience(&h, reading));
		while (read_batch(&h) && !h.n_later)
			;
		if (h.pager->children)
			ferry__pager_attend(h.pager);
		if (h.n_later && ferry__sys->now_ns() >= h.later_at)
			wake_those(&h);
		reading = ferry__ahead_step(h.pager, h.hand);
	}
	return NULL;
}
