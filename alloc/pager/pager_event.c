/* SPDX-License-Identifier: MIT */
/*
 * The parent's side of a fork, where the kernel tells of it (EVENT_FORK) with
 * a descriptor for the child's memory, in which the same is registered (F4,
 * F7). All of it is the handler's.
 *
 * From the fork until this thread has read of it, the kernel installs no page
 * in the parent, and who forked waits in clone(2). Afterwards nothing that is
 * out may change before the child has it:
 *
 * Within a window (pager_fork.c) nothing does but for the thread that forks,
 * and children get a page before it comes back for that one. They are served
 * as they touch pages, until they ring: the child of an ordinary fork reads a
 * page that nobody has, the bell, when the library's handler runs in it. It is
 * given what the bell shows, its descriptor is closed, which lets it go on, and
 * it serves itself. The window stays open until then. A bell that nobody
 * answers reads as zero: then the parent was gone, and the child must mend
 * what it touched.
 *
 * A fork that runs no handlers (raw clone, _Fork) is not told from the other
 * until that has rung; then, and outside of windows at once, it is given all
 * that is out. The gate keeps the looking thread from bringing any back
 * meanwhile: what is out now was out then, or is present in the child, which is
 * no harm.
 *
 * K4. pending and hurry: release, acquire, between handler and who forked.
 */
#include <string.h>
#include <sys/mman.h>

#include "alloc/pager/pager-internal.h"
#include "uffd/uapi.h"

/* Tries of a page before it is waited for. */
#define TRIES	 100
#define PAUSE_NS 20000u
/* How often children are asked whether they live. */
#define ASK_MS 10
/* A child that is stopped before it rings does not hold its parent longer. */
#define PATIENCE_NS 1000000000u

struct ferry__pager_child {
	struct ferry__pager_child *next;
	struct ferry__pager *pager;
	int fd;
	bool frozen; /* within a window: words change by this thread alone */
	bool gone;   /* it has ended, or runs another program */
	size_t room; /* of given */
	size_t n;    /* pages given to it */
	uint64_t given[];
};

static void copy_all(struct ferry__pager *pager, int fd);

/* The child may have forked in its turn. Returns the address of a fault. */
static bool read_fault(struct ferry__pager_child *c, uintptr_t *ret_addr)
{
	struct ferry__uffd_msg msg;

	while (ferry__sys->read(c->fd, &msg, sizeof(msg)) == sizeof(msg)) {
		if (msg.event == FERRY__UFFD_EVENT_FORK) {
			copy_all(c->pager, (int)msg.arg.fork.ufd);
		} else if (msg.event == FERRY__UFFD_EVENT_PAGEFAULT) {
			*ret_addr = (uintptr_t)msg.arg.pagefault.address &
				    ~(uintptr_t)(ferry__page_size - 1);
			return true;
		}
	}
	return false;
}

/* Who is given all has its faults answered by that. */
static void read_events(struct ferry__pager_child *c)
{
	uintptr_t addr;

	while (read_fault(c, &addr))
		;
}

/* --- giving -------------------------------------------------------------- */

/* Pages are got into the handler's buffer, which is not in use now. */
static unsigned char *staging(const struct ferry__pager_child *c)
{
	return c->pager->serving.staging;
}

/* False: not now, as the child's mappings change. @ret_there may be NULL. */
static bool install(struct ferry__pager_child *c, uintptr_t addr,
		    const void *src, uint64_t mode, bool *ret_there)
{
	struct ferry__uffdio_copy copy = {
		.dst = addr,
		.src = (uintptr_t)src,
		.len = ferry__page_size,
		.mode = mode,
	};
	int r = ferry__sys->ioctl(c->fd, FERRY__UFFDIO_COPY, &copy);

	if (r == -EAGAIN || r == -ENOMEM)
		return false;
	/* Else it has unmapped it, or there was nothing registered: none. */
	if (r == -ESRCH)
		c->gone = true;
	if (ret_there)
		*ret_there = r >= 0 || r == -EEXIST;
	return true;
}

static bool install_page(struct ferry__pager_child *c, uintptr_t addr,
			 const void *src)
{
	bool there = false;

	if (!install(c, addr, src, 0, &there))
		return false;
	if (there && c->n++ < c->room)
		c->given[c->n - 1] = addr;
	return true;
}

/* Nobody else changes it; what cannot be had is lost to the child. */
static bool give(struct ferry__pager_child *c,
		 struct ferry__pager_region *region, size_t page, uint64_t word)
{
	uintptr_t addr = ferry__page_at(region, page);

	if (ferry__word_state(word) == FERRY__WORD_LIMBO)
		return install_page(c, addr,
				    (void *)ferry__limbo_at(region, page));
	ferry__pager_get_surely(c->pager, word, addr, staging(c));
	return install_page(c, addr, staging(c));
}

/* True: the page need not be thought of any more. */
static bool try_page(struct ferry__pager_child *c,
		     struct ferry__pager_region *region, size_t page)
{
	uint64_t *word = &region->words[page], w = ferry__word_load(word);
	bool given;

	if (ferry__word_state(w) == FERRY__WORD_RESIDENT ||
	    ferry__word_state(w) == FERRY__WORD_SPENT)
		return true;
	/* The process may be copied now, and no word may be owned then. */
	if (c->frozen)
		return give(c, region, page, w);
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
static void give_page(struct ferry__pager_child *c,
		      struct ferry__pager_region *region, size_t page)
{
	unsigned int tries;

	for (tries = 0; !c->gone && !try_page(c, region, page); tries++) {
		read_events(c);
		if (tries > TRIES)
			ferry__sys->sleep_ns(PAUSE_NS);
	}
}

static void give_all(struct ferry__pager_child *c)
{
	struct ferry__pager_region *r = ferry__region_first(c->pager);
	size_t page, end;

	for (; !c->gone && r; r = ferry__region_next(r)) {
		end = ferry__region_used(r) / ferry__page_size;
		for (page = 0; page < end && !c->gone; page++)
			if (ferry__region_out(r, page))
				give_page(c, r, page);
	}
	read_events(c);
}

/* --- the bell ------------------------------------------------------------ */

/*
 * The parent's descriptor for this memory goes as a whole: when the bell can
 * be registered, all can be.
 */
static int register_bell(struct ferry__pager *pager)
{
	int r;

	for (;;) {
		r = ferry__pager_register(pager, (uintptr_t)pager->bell,
					  ferry__page_size);
		if (r != -EBUSY)
			return r;
		ferry__sys->sleep_ns(PAUSE_NS);
	}
}

int ferry__pager_hang_bell(struct ferry__pager *pager)
{
	int r;

	/* mlockall(2) touches all that can be touched, and this must not be. */
	r = ferry__sys->mprotect(pager->bell, ferry__page_size, PROT_NONE);
	if (!r)
		r = register_bell(pager);
	/* Whatever came there with a huge page of its neighbours. */
	if (!r)
		r = ferry__sys->madvise(pager->bell, ferry__page_size,
					MADV_DONTNEED);
	return r;
}

bool ferry__pager_ring(struct ferry__pager *pager)
{
	if (ferry__sys->mprotect(pager->bell, ferry__page_size, PROT_READ))
		return false;
	return __atomic_load_n(&pager->bell->served, __ATOMIC_ACQUIRE);
}

/*
 * The child finds its bell answered and its memory in nobody's hands: who
 * waits is woken by the end of the registration.
 */
static void let_go(struct ferry__pager_child *c)
{
	struct ferry__pager_bell *bell = (void *)staging(c);
	unsigned int tries;

	memset(bell, 0, ferry__page_size);
	bell->served = 1;
	bell->n = c->n <= c->room ? c->n : UINT64_MAX;
	if (c->n <= c->room)
		memcpy(bell->given, c->given, c->n * sizeof(c->given[0]));
	for (tries = 0; !c->gone && !install(c, (uintptr_t)c->pager->bell, bell,
					     FERRY__COPY_DONTWAKE, NULL);
	     tries++) {
		read_events(c);
		if (tries > TRIES)
			ferry__sys->sleep_ns(PAUSE_NS);
	}
	ferry__sys->close(c->fd);
}

static uint64_t window(const struct ferry__pager *pager)
{
	uint64_t windows =
		__atomic_load_n(&pager->windows, __ATOMIC_SEQ_CST); /* K3 */

	return windows & 1 ? windows : 0;
}

/*
 * Needs no memory. Pages are given and not named: the child looks for them. A
 * window that is opened meanwhile waits for it, see stop_changes().
 */
static void copy_all(struct ferry__pager *pager, int fd)
{
	struct ferry__pager_child c = {
		.pager = pager,
		.fd = fd,
		.frozen = window(pager),
	};

	give_all(&c);
	let_go(&c);
}

/* --- children that have not rung ----------------------------------------- */

static void adopt(struct ferry__pager *pager, struct ferry__pager_child *c,
		  int fd)
{
	c->pager = pager;
	c->fd = fd;
	c->frozen = true;
	c->room = (ferry__page_size - sizeof(*c)) / sizeof(c->given[0]);
	if (c->room > ferry__bell_room())
		c->room = ferry__bell_room();
	c->next = pager->children;
	pager->children = c;
	__atomic_fetch_add(&pager->pending, 1, __ATOMIC_RELEASE); /* K4 */
}

static void dismiss(struct ferry__pager_child *c)
{
	struct ferry__pager *pager = c->pager;
	struct ferry__pager_child **link = &pager->children;

	let_go(c);
	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	ferry__pager_unmap(c, ferry__page_size);
	__atomic_fetch_sub(&pager->pending, 1, __ATOMIC_RELEASE); /* K4 */
	ferry__sys->futex_wake(&pager->pending);
}

/*
 * An ordinary fork finds its window open: that is closed under the gate, which
 * this thread has had since before it read of the fork.
 */
void ferry__pager_on_fork(struct ferry__pager *pager, int fd)
{
	uint64_t now = window(pager);
	struct ferry__pager_child *c;

	if (now && now != pager->rung && !ferry__pager_read(&pager->limbo) &&
	    !ferry__pager_read(&pager->stored)) {
		ferry__sys->close(fd);
		return;
	}
	c = now && now != pager->rung ? ferry__pager_map(ferry__page_size)
				      : NULL;
	if (c)
		adopt(pager, c, fd);
	else
		copy_all(pager, fd);
}

/* Absent by right is zero; all else has been given. */
static void fill(struct ferry__pager_child *c, uintptr_t addr)
{
	struct ferry__uffdio_zeropage zero;
	int r;

	do {
		zero = (struct ferry__uffdio_zeropage){
			.range = { addr, ferry__page_size },
		};
		r = ferry__sys->ioctl(c->fd, FERRY__UFFDIO_ZEROPAGE, &zero);
		if (r == -EAGAIN || r == -ENOMEM) {
			read_events(c);
			ferry__sys->sched_yield();
		}
	} while (r == -EAGAIN || r == -ENOMEM);
	if (r == -EEXIST)
		ferry__sys->ioctl(c->fd, FERRY__UFFDIO_WAKE, &zero.range);
}

static void serve(struct ferry__pager_child *c, uintptr_t addr)
{
	struct ferry__pager_region *r = ferry__region_find(c->pager, addr);

	if (r)
		give_page(c, r, (addr - r->addr) / ferry__page_size);
	fill(c, addr);
}

/* Reads nothing and changes nothing: where nothing is registered. */
static bool is_gone(struct ferry__pager_child *c)
{
	install(c, (uintptr_t)c, staging(c), FERRY__COPY_DONTWAKE, NULL);
	return c->gone;
}

/* True: it is no concern of ours any more. */
static bool attend_one(struct ferry__pager_child *c)
{
	struct ferry__pager *pager = c->pager;
	bool hurry = __atomic_load_n(&pager->hurry, __ATOMIC_ACQUIRE); /* K4 */
	bool heard = false;
	uintptr_t addr;

	if (hurry || pager->rung == window(pager)) {
		give_all(c);
		return true;
	}
	while (!c->gone && read_fault(c, &addr)) {
		heard = true;
		if (addr == (uintptr_t)pager->bell) {
			pager->rung = window(pager);
			return true;
		}
		serve(c, addr);
	}
	return !heard && is_gone(c);
}

void ferry__pager_attend(struct ferry__pager *pager)
{
	struct ferry__pager_child *c, *next;

	pthread_mutex_lock(&pager->gate);
	for (c = pager->children; c; c = next) {
		next = c->next;
		if (attend_one(c))
			dismiss(c);
	}
	pthread_mutex_unlock(&pager->gate);
}

/* One is polled; more come from raw forks beside an ordinary one. */
int ferry__pager_attention(const struct ferry__pager *pager)
{
	if (!pager->children)
		return -1;
	return pager->children->next ? 1 : ASK_MS;
}

int ferry__pager_child_fd(const struct ferry__pager *pager)
{
	return pager->children ? pager->children->fd : -1;
}

void ferry__pager_give_first(struct ferry__pager *pager,
			     struct ferry__pager_region *region, size_t page)
{
	struct ferry__pager_child *c;

	for (c = pager->children; c; c = c->next)
		give_page(c, region, page);
}

void ferry__pager_await_children(struct ferry__pager *pager)
{
	uint64_t begin = ferry__sys->now_ns();
	uint32_t n;

	/* The handler has done with what it read. */
	pthread_mutex_lock(&pager->gate);
	pthread_mutex_unlock(&pager->gate);
	while ((n = __atomic_load_n(&pager->pending, __ATOMIC_ACQUIRE))) {
		if (ferry__sys->now_ns() - begin > PATIENCE_NS)
			__atomic_store_n(&pager->hurry, 1,
					 __ATOMIC_RELEASE); /* K4 */
		ferry__sys->futex_wait(&pager->pending, n,
				       (uint64_t)ASK_MS * 1000000u);
	}
	__atomic_store_n(&pager->hurry, 0, __ATOMIC_RELEASE); /* K4 */
}
