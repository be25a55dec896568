/* SPDX-License-Identifier: MIT */
/*
 * The inside of the pager: page words, regions and their tables, and what the
 * threads share.
 *
 * A word per page says where the page is; DESIGN-malloc.md has the states and
 * the rules P1 to P10. Words change by compare-and-exchange alone:
 *
 *  W1. A claim (to OUTGOING, STORING or INCOMING) is an acquire: its owner
 *      sees all that the last owner did to the page.
 *  W2. A release by the owner (ferry__word_finish()) pairs with W1.
 *
 * Locks, in the order in which they are taken: start, work, serve, gate, cover.
 *  start	start(), stop() and requests; never taken around a fork
 *  work	held by the looking thread while it owns words or calls stores,
 *		never around the host's tick()
 *  serve	held by the handler for each fault
 *  gate	held by the handler while it reads and serves forks, by the
 *		looking thread while it brings pages back, and by the reading
 *		thread (which tries only) while it puts them in place
 *  cover	tables grow
 */
#ifndef FERRY_ALLOC_PAGER_INTERNAL_H
#define FERRY_ALLOC_PAGER_INTERNAL_H

#include <errno.h>
#include <pthread.h>

#include <ferry/fault.h>
#include <ferry/move.h>
#include <ferry/uffd.h>

#include "alloc/pager/pager.h"
#include "uffd/sys.h"

/* --- words --------------------------------------------------------------- */

enum ferry__word_state {
	FERRY__WORD_RESIDENT = 0, /* here, or absent and zero by right (P4) */
	FERRY__WORD_OUTGOING,	  /* owned: on its way to limbo */
	FERRY__WORD_LIMBO,	  /* at its shadow address */
	FERRY__WORD_STORING,	  /* owned: being put, still in limbo */
	FERRY__WORD_STORED,	  /* in a store */
	FERRY__WORD_INCOMING,	  /* owned: on its way back, or dying */
	/* Here, and a store keeps a copy that is to be dropped. */
	FERRY__WORD_SPENT,
};

#define FERRY__WORD_STATE  0x7ull
#define FERRY__WORD_WANTED 0x8ull  /* touched while it was owned */
#define FERRY__WORD_PIN	   0x10ull /* never taken */
#define FERRY__WORD_RAW	   0x20ull /* no store wanted it */
/* Of owned words: where the page is until the owner is done. */
#define FERRY__WORD_IN_LIMBO 0x40ull
#define FERRY__WORD_IN_STORE 0x80ull
/* What stays with a page wherever it is. */
#define FERRY__WORD_KEPT (FERRY__WORD_PIN)

#define FERRY__WORD_TIER_SHIFT	 8
#define FERRY__WORD_HANDLE_SHIFT 16
#define FERRY__WORD_PLACE                                                      \
	(~0ull << FERRY__WORD_TIER_SHIFT) /* tier and handle */
#define FERRY__MAX_TIERS 256		  /* that a word can name */

static inline enum ferry__word_state ferry__word_state(uint64_t word)
{
	return (enum ferry__word_state)(word & FERRY__WORD_STATE);
}

static inline size_t ferry__word_tier(uint64_t word)
{
	return (word >> FERRY__WORD_TIER_SHIFT) & (FERRY__MAX_TIERS - 1);
}

static inline ferry__store_handle ferry__word_handle(uint64_t word)
{
	return word >> FERRY__WORD_HANDLE_SHIFT;
}

static inline uint64_t ferry__word_place(size_t tier, ferry__store_handle h)
{
	return h << FERRY__WORD_HANDLE_SHIFT |
	       (uint64_t)tier << FERRY__WORD_TIER_SHIFT;
}

static inline uint64_t ferry__word_load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE); /* W1 */
}

/* From @old to @new; false: it is another by now. */
static inline bool ferry__word_claim(uint64_t *word, uint64_t old, uint64_t new)
{
	return __atomic_compare_exchange_n(word, &old, new, false,
					   __ATOMIC_ACQ_REL, /* W1 */
					   __ATOMIC_RELAXED);
}

/* The owner's last change. True: somebody wanted the page meanwhile. */
static inline bool ferry__word_finish(uint64_t *word, uint64_t new)
{
	return __atomic_exchange_n(word, new, __ATOMIC_ACQ_REL) & /* W2 */
	       FERRY__WORD_WANTED;
}

/* --- regions ------------------------------------------------------------- */

/* Pages that are looked at, taken and stored together. */
#define FERRY__BLOCK_PAGES 64
/* The smallest piece that is registered; of pages of 4 KiB. */
#define FERRY__UNIT_SIZE ((size_t)2 << 20)

/* Of the looking thread, unless said otherwise; times by the monotonic clock,
 * 0: not set. */
struct ferry__pager_block {
	uint64_t due;	       /* next look at what is resident */
	uint64_t limbo_at;     /* pages were taken then, and may be in limbo */
	uint64_t stored_at;    /* pages were stored then, first */
	uint64_t empty_due;    /* next look for empty pages */
	uint64_t raw_due;      /* next try of what no store wanted */
	uint64_t demote_after; /* the next tier was full: not before then */
	uint64_t slow_due;     /* what is on slower memory is tried then */
	uint64_t slow;	       /* bits of pages that were moved there, */
	uint64_t tried;	       /* and of those of them taken since */
	uint8_t backoff;       /* log2 of how often the age is waited for */
	uint8_t empty_backoff;
	uint8_t raw_backoff;
	uint8_t busy_backoff;
	uint8_t touched; /* in limbo; handlers set it, relaxed: a hint */
	uint8_t shared;	 /* busy pages were met: make them exclusive next */
	uint8_t probes;	 /* pages taken to see how hot the others are */
	uint8_t tier;	 /* to which its stored pages were moved on */
};

struct ferry__pager_region {
	uintptr_t addr;
	size_t len;
	uintptr_t shadow; /* where limbo begins */
	size_t used;	  /* R1: only grows; relaxed, it publishes nothing */
	/* R2: bytes for which tables and limbo are usable; release, acquire. */
	size_t covered;
	uint64_t *words;
	struct ferry__pager_block *blocks;
	/*
	 * By unit: registered, something may be out. R3: set before any word
	 * of it is claimed, read by discards after they gave memory back;
	 * both sequentially consistent.
	 */
	uint8_t *units;
	struct ferry__pager_region *next; /* R4: release, acquire */
};

/* R2 */
static inline size_t ferry__region_covered(const struct ferry__pager_region *r)
{
	return __atomic_load_n(&r->covered, __ATOMIC_ACQUIRE);
}

static inline size_t ferry__region_used(const struct ferry__pager_region *r)
{
	size_t used = __atomic_load_n(&r->used, __ATOMIC_RELAXED); /* R1 */
	size_t covered = ferry__region_covered(r);

	return used < covered ? used : covered;
}

static inline uintptr_t ferry__page_at(const struct ferry__pager_region *r,
				       size_t page)
{
	return r->addr + page * ferry__page_size;
}

static inline uintptr_t ferry__limbo_at(const struct ferry__pager_region *r,
					size_t page)
{
	return r->shadow + page * ferry__page_size;
}

/* @ns doubled @times times; never so much that a time plus it runs over. */
static inline uint64_t ferry__doubled(uint64_t ns, unsigned int times)
{
	const uint64_t most = UINT64_MAX / 4;

	return ns > most >> times ? most : ns << times;
}

/* The next run of @bits at or behind @at: its first page, and @at behind it. */
static inline bool ferry__next_run(uint64_t bits, size_t *at, size_t *ret_first)
{
	size_t i = *at;

	if (i >= FERRY__BLOCK_PAGES || !(bits >> i))
		return false;
	while (!(bits >> i & 1))
		i++;
	*ret_first = i;
	while (i < FERRY__BLOCK_PAGES && bits >> i & 1)
		i++;
	*at = i;
	return true;
}

/* --- the pager ----------------------------------------------------------- */

struct ferry__pager_tier_state {
	struct ferry__store *store;
	uint64_t after_ns;
	bool broken;	     /* takes no more; the looking thread's */
	uint64_t full_until; /* the same: not asked before */
	uint64_t full_wait;  /* how long that was */
	/* T1: since when those who wait for a page got none; 0: they do. */
	uint64_t failing_for;
	uint64_t asked_at; /* T1: by one of them, last */
};

/* Counts for people; relaxed, nothing is decided by them. */
struct ferry__pager_counts {
	uint64_t faults_limbo, faults_stored, faults_empty, refaults;
	uint64_t pages_out, pages_back, pages_dropped;
	uint64_t busy, copied, stalled_ns, backed_off;
	uint64_t read_ahead, read_ahead_used;
	uint64_t demoted, promoted;
};

enum ferry__pager_state {
	FERRY__PAGER_OFF = 0, /* no threads */
	FERRY__PAGER_STARTING,
	FERRY__PAGER_ON,
	FERRY__PAGER_FAILED, /* and will */
};

/* What a program thread asks of the looking thread. */
enum ferry__pager_ask {
	FERRY__ASK_RUN,	    /* a look */
	FERRY__ASK_RUN_ALL, /* everything out that is not touched meanwhile */
	FERRY__ASK_OUT,	    /* a range out */
	FERRY__ASK_BACK,    /* everything back */
};

struct ferry__pager_request {
	enum ferry__pager_ask what;
	uintptr_t addr;
	size_t len;
	int result;
	uint32_t done; /* Q2: release, acquire; futex */
	struct ferry__pager_request *next;
};

/* Faults in sequence that one thread serves. */
#define FERRY__STREAMS 8

/* See pager_ahead.c. Addresses. */
struct ferry__pager_stream {
	uintptr_t from; /* the fault that put up what is read ahead now, */
	uintptr_t next; /* where the next one is expected, and */
	uintptr_t end;	/* after the last page; all one: nothing is */
	size_t window;	/* pages that were asked for then; 0: no stream */
};

/* What is to be read ahead. */
struct ferry__pager_ahead {
	uint64_t range;	  /* B1: page number: 48, pages: 16 */
	uintptr_t mark;	  /* not brought; relaxed, a hint */
	uint64_t brought; /* pages, since the mark; relaxed, for counts */
};

/* Buffers of a thread that brings pages back. */
struct ferry__pager_hand {
	unsigned char *staging; /* FERRY__BLOCK_PAGES pages */
	pthread_mutex_t *gate;	/* of the looking thread's: see above */
	/* Of the reading thread's: only while pages are put in place. */
	pthread_mutex_t *try_gate;
	uint64_t came, from_store; /* pages brought; of its own */
	struct ferry__pager_stream streams[FERRY__STREAMS];
	unsigned int turn;    /* which of them is replaced next */
	bool in_signal;	      /* a handler's: only stores that allow it */
	uintptr_t fresh_next; /* the same of fresh pages */
	uint32_t busy;	      /* V1: a thread's, in a signal handler */
};

struct ferry__pager_policy {
	uint64_t age_ns; /* what is cold now; relaxed, for statistics */
	bool idle;
	bool traced; /* by a debugger: nothing may be out */
	bool locked; /* mlockall(2): what it asked for is kept */
	uint64_t status_at;
	unsigned int slower; /* log2, by refaults (O3) */
	uint64_t cpu_ns;     /* of the process without us, at ... */
	uint64_t cpu_at;
	uint64_t refaults; /* count at ... */
	uint64_t refaults_at;
	uint64_t quiet_since;
	uint64_t tokens; /* bytes that the rate limit lets out */
	uint64_t tokens_at;
	unsigned int haste; /* log2: by pressure or the target (O4) */
	uint64_t pressed_at;
	uint64_t stall_us;	 /* PSI's total then, of the system */
	uint64_t group_stall_us; /* of our control group */
};

struct ferry__pager_thread {
	pthread_t thread;
	void *stack; /* with a guard page at its low end */
};

struct ferry__pager {
	struct ferry__pager_params params;
	struct ferry__pager_tier_state *tiers; /* room: params.n_tiers */
	/*
	 * T2: 0 until the home thread has made them, under work; released,
	 * and acquired by who does not come after the start.
	 */
	size_t n_tiers;
	bool has_tiers; /* they were made; of the home thread */
	/* NULL: all memory is alike. Set before the state is ON (S1). */
	const struct ferry_topology *topology;
	int slow_error;		  /* relaxed: nobody can move pages */
	uint64_t slow_full_until; /* of the looking thread */
	struct ferry__pager_region *regions; /* R4 */
	struct ferry__pager_region **last;   /* under cover */
	pthread_mutex_t start, work, serve, gate, cover;
	uint32_t state; /* S1: enum ferry__pager_state; futex */
	int error;	/* of a start that failed */
	enum ferry_reason reason;
	struct ferry__pager_thread home, handler, reader;
	int pid, home_tid;
	bool sees_forks; /* that run no handlers */
	bool known;	 /* that the kernel has what it takes */
	/* Of the home thread's descriptor table, like all that follows. */
	struct ferry_uffd *uffd;
	struct ferry_fault_service *service; /* of SIGBUS mode */
	int pagemap;
	int stop_handler; /* eventfd */
	bool stop;	  /* the looking thread is to end */
	uint32_t poke;	  /* Q3: it sleeps on this */
	struct ferry__pager_request *requests; /* Q1: a stack of them */
	unsigned int held; /* H1: nothing is taken; B2: nor read ahead */
	struct ferry__pager_hand look, serving, reading;
	unsigned char *copies; /* the looking thread's: pager_put.c */
	struct ferry__pager_policy policy;
	/* Pages now in limbo and in stores; relaxed, exact when at rest. */
	uint64_t limbo, stored;
	struct ferry__pager_counts counts;
	/* Around a fork, see pager_fork.c. */
	int fork_tid;	  /* serve: only faults of this thread */
	uint32_t forking; /* K1 */
	/* K3: odd while a fork is on its way; sequentially consistent. */
	uint64_t windows;
	/* Around a child's first steps, see pager_event.c. */
	struct ferry__pager_bell *bell;	     /* registered, never here */
	struct ferry__pager_child *children; /* gate: that may ring it */
	uint64_t rung;	   /* gate: the window whose child has rung */
	uint32_t pending;  /* K4: how many children; futex */
	uint32_t hurry;	   /* K4: they are to get all, now */
	uint32_t discards; /* K1: under way */
	/* SIGBUS mode, see pager_sigbus.c. */
	struct ferry__pager_hand *hands; /* of signal handlers */
	uint32_t visits;		 /* K2: handlers at work */
	bool lost;	  /* the program's descriptor; relaxed, a hint */
	uint32_t cry;	  /* V2: the helper sleeps on this */
	bool stop_helper; /* V2 */
	struct ferry__pager_request *faults; /* V2: a stack of them */
	bool spent; /* some words say so; relaxed, a hint */
	/* Reading ahead, see pager_ahead.c. */
	struct ferry__pager_ahead ahead[FERRY__STREAMS];
	bool has_ahead;	    /* there is a thread for it; relaxed */
	bool hasty;	    /* memory is short; relaxed, a hint */
	bool stop_ahead;    /* release, acquire */
	uint32_t ahead_cry; /* B1: the reading thread sleeps on this */
	uint32_t aheads;    /* B2: how many bring */
};

static inline void ferry__pager_add(uint64_t *count, uint64_t n)
{
	__atomic_fetch_add(count, n, __ATOMIC_RELAXED);
}

static inline uint64_t ferry__pager_read(const uint64_t *count)
{
	return __atomic_load_n(count, __ATOMIC_RELAXED);
}

#define ferry__pager_count(pager, what, n)                                     \
	ferry__pager_add(&(pager)->counts.what, (n))

static inline uint32_t ferry__pager_state(const struct ferry__pager *pager)
{
	return __atomic_load_n(&pager->state, __ATOMIC_ACQUIRE); /* S1 */
}

void ferry__pager_init_locks(struct ferry__pager *pager);

/* Only where there are none yet. */
void ferry__pager_set_tiers(struct ferry__pager *pager,
			    const struct ferry__pager_tier *tiers, size_t n);

/*
 * The calling thread's table ends, or is not to have the stores' descriptors:
 * they close them.
 */
void ferry__pager_leave_tiers(struct ferry__pager *pager);

/* Memory of our own: zeroed, mapped. NULL: there is none. */
void *ferry__pager_map(size_t size);
void ferry__pager_unmap(void *p, size_t size);

/* --- pager_region.c ------------------------------------------------------ */

struct ferry__pager_region *ferry__region_first(struct ferry__pager *pager);
struct ferry__pager_region *ferry__region_next(struct ferry__pager_region *r);
struct ferry__pager_region *ferry__region_find(struct ferry__pager *pager,
					       uintptr_t addr);
/* Makes tables and limbo usable up to @used bytes. 0 or -ENOMEM. */
int ferry__region_cover(struct ferry__pager *pager,
			struct ferry__pager_region *region, size_t used);
/* Registers the units around [@offset, @offset + @len); home table only. */
int ferry__region_register(struct ferry__pager *pager,
			   struct ferry__pager_region *region, size_t offset,
			   size_t len);
/*
 * Registers addresses for absent pages. 0 or a negative errno: -EBUSY where
 * another descriptor has them. Home table only.
 */
int ferry__pager_register(struct ferry__pager *pager, uintptr_t addr,
			  size_t len);
/* Registers anew what was registered with another descriptor. */
int ferry__region_reregister(struct ferry__pager *pager,
			     struct ferry__pager_region *region);
/* None is registered any more, and nothing is out. */
void ferry__region_forget(struct ferry__pager_region *region);
/* Gives back what was populated in limbo while nothing is in it. */
void ferry__region_clear_limbo(struct ferry__pager_region *region);
/* May something be out in the unit of @page? */
bool ferry__region_out(const struct ferry__pager_region *region, size_t page);

void ferry__region_free_all(struct ferry__pager *pager);

/* --- pager_scan.c -------------------------------------------------------- */

/*
 * Bits of the pages in [@addr, @addr + @n pages) that are in memory and are
 * not the shared zero page; @n up to 64. @swapped: swapped-out ones, too.
 * Home table only.
 */
int ferry__pager_present(struct ferry__pager *pager, uintptr_t addr, size_t n,
			 bool swapped, uint64_t *ret_bits);

/* --- pager_back.c -------------------------------------------------------- */

/*
 * Brings back what of @n pages from @page on is in limbo or stored, and passes
 * over all else; unless @all, only if the first of them comes. Returns how
 * many came, or the error of the first that was to come: -EILSEQ lost, -EIO, -ETIMEDOUT,
 * -EAGAIN, -ENOMEM. Home table only.
 */
int ferry__pager_bring(struct ferry__pager *pager,
		       struct ferry__pager_region *region, size_t page,
		       size_t n, bool all, struct ferry__pager_hand *hand);
/* Wakes who waits for a page. */
void ferry__pager_wake(struct ferry__pager *pager, uintptr_t addr);
/* The store's copy goes; in a fork's window the word keeps it. */
void ferry__pager_drop_stored(struct ferry__pager *pager, uint64_t word);
/*
 * One page from its store to @to. As the get() of the store, with the time
 * for which it fails noted.
 */
int ferry__pager_get(struct ferry__pager *pager, uint64_t word, uintptr_t addr,
		     void *to);
/* The message of a lost page, and the end. */
_Noreturn void ferry__pager_lost(struct ferry__pager *pager, uint64_t word,
				 uintptr_t addr, int error);
/*
 * One page from its store to @to, however often the store has to be asked; one
 * that cannot be had is lost.
 */
void ferry__pager_get_surely(struct ferry__pager *pager, uint64_t word,
			     uintptr_t addr, void *to);
/*
 * Asked by who waits for a page when its store could not give it: has that
 * been so for so long that waiting is over? Failures that nobody waited for
 * do not count.
 */
bool ferry__pager_given_up(struct ferry__pager *pager, uint64_t word);

/* --- pager_fault.c ------------------------------------------------------- */

void *ferry__pager_handle(void *pager);

/* --- pager_ahead.c ------------------------------------------------------- */

/*
 * How many pages the fault on @page, which is out, is to bring; what comes
 * behind them is put up to be read ahead. Signal-safe.
 */
size_t ferry__ahead_window(struct ferry__pager *pager,
			   struct ferry__pager_hand *hand,
			   struct ferry__pager_region *region, size_t page);
/* Brings a few pages of what is put up. False: nothing was. Signal-safe. */
bool ferry__ahead_step(struct ferry__pager *pager,
		       struct ferry__pager_hand *hand);
/* Until nobody reads ahead; by who has seen to it that nobody begins. */
void ferry__ahead_wait(struct ferry__pager *pager);
/* Locks @gate. False: it is taken for longer. */
bool ferry__ahead_gate(pthread_mutex_t *gate);
/* The thread that does nothing else, and its end. */
void *ferry__ahead_run(void *pager);
void ferry__ahead_stop(struct ferry__pager *pager);

/* --- pager_event.c ------------------------------------------------------- */

/*
 * What a child finds when it rings: the page is installed by its parent, and
 * reads as zero where that had gone.
 */
struct ferry__pager_bell {
	uint64_t served; /* 1: whatever the child has touched was served */
	uint64_t n;	 /* pages that it was given */
	uint64_t given[];
};

/* So many are named; more are to be looked for. */
static inline size_t ferry__bell_room(void)
{
	return (ferry__page_size - sizeof(struct ferry__pager_bell)) /
	       sizeof(uint64_t);
}

/*
 * Registers the bell; in a child it waits until its parent has closed the
 * descriptor for this memory. 0 or a negative errno. Home table.
 */
int ferry__pager_hang_bell(struct ferry__pager *pager);
/*
 * In the child. True: the parent has served what was touched until now, and
 * has ended that. Blocks until it has.
 */
bool ferry__pager_ring(struct ferry__pager *pager);
/* A process was forked, and @fd is for its memory. Under gate. */
void ferry__pager_on_fork(struct ferry__pager *pager, int fd);
/* Serves children that have not rung yet. The handler's. */
void ferry__pager_attend(struct ferry__pager *pager);
/* What to poll for them; -1: there is none. And for how long at most, ms. */
int ferry__pager_child_fd(const struct ferry__pager *pager);
int ferry__pager_attention(const struct ferry__pager *pager);
/* Before a page comes back here: children get it as it was. The handler's. */
void ferry__pager_give_first(struct ferry__pager *pager,
			     struct ferry__pager_region *region, size_t page);
/* Until no child is served any more. By who forked, within its window. */
void ferry__pager_await_children(struct ferry__pager *pager);

/*
 * Serves a fault. 0: the page is there; -EAGAIN: not yet; -EBADF, -ENOTTY: in
 * SIGBUS mode, the descriptor is not.
 */
int ferry__pager_serve(struct ferry__pager *pager,
		       struct ferry__pager_hand *hand,
		       struct ferry__pager_region *region, size_t page);

/* --- pager_sigbus.c ------------------------------------------------------ */

/* In the program's thread that starts the pager. */
int ferry__sigbus_open(struct ferry__pager *pager, enum ferry_reason *reason);
/* In that which stops it: closes the program's descriptor. */
void ferry__sigbus_close(int fd);
/* Frees the buffers. */
void ferry__sigbus_free(struct ferry__pager *pager);
int ferry__sigbus_attach(struct ferry__pager *pager, uintptr_t addr,
			 size_t len);
/* The thread that serves what signal handlers cannot. */
void *ferry__sigbus_help(void *pager);
/* Ends the service, and tells the helper to end when nobody needs it. */
void ferry__sigbus_stop(struct ferry__pager *pager);
/* In a child of fork(2). */
void ferry__sigbus_reset(struct ferry__pager *pager);

/* --- pager_take.c -------------------------------------------------------- */

/*
 * Takes pages of [@page, @page + @n) within a block to limbo that are
 * resident, and among @only. Under work. Returns bits of those in limbo.
 */
uint64_t ferry__pager_take(struct ferry__pager *pager,
			   struct ferry__pager_region *region, size_t page,
			   size_t n, uint64_t only);

/* --- pager_put.c --------------------------------------------------------- */

/*
 * Puts what is in limbo among @only of a block into stores; @age: how long it
 * lay there. Under work. True: some had to stay in limbo.
 */
bool ferry__pager_put(struct ferry__pager *pager,
		      struct ferry__pager_region *region, size_t page, size_t n,
		      uint64_t only, uint64_t age);
/*
 * Moves what is stored to the tier for its age. False: that is full for now,
 * and some stayed where it was.
 */
bool ferry__pager_demote(struct ferry__pager *pager,
			 struct ferry__pager_region *region, size_t page,
			 size_t n, uint64_t age);
/* Drops copies that a fork left. */
void ferry__pager_sweep_spent(struct ferry__pager *pager);
/* Gives limbo's memory of @bits back. */
void ferry__pager_free_limbo(struct ferry__pager_region *region, size_t page,
			     uint64_t bits);

struct ferry__pager_place;

/* --- pager_slow.c -------------------------------------------------------- */

/*
 * What is in limbo and can go to slower memory does, and comes back to its
 * place; the rest stays in limbo.
 */
void ferry__slow_sink(struct ferry__pager_place *p);
/* Up comes what was touched since it was taken; or all that is slow. */
void ferry__slow_raise_touched(struct ferry__pager_place *p);
void ferry__slow_raise_all(struct ferry__pager_place *p);
/* Bits of pages that go to limbo now; some were stored. */
void ferry__slow_note_taken(struct ferry__pager_place *p, uint64_t taken);
void ferry__slow_note_stored(struct ferry__pager_place *p);
/* Pages of a range that are here come up, now. Any thread. */
void ferry__slow_promote(struct ferry__pager *pager,
			 struct ferry__pager_region *region, size_t page,
			 size_t end);

/* --- pager_empty.c ------------------------------------------------------- */

/* Drops empty pages of a block; how many. Under work. */
size_t ferry__pager_drop_empty(struct ferry__pager *pager,
			       struct ferry__pager_region *region, size_t page,
			       size_t n);

/* --- pager_block.c ------------------------------------------------------- */

/* A block and the time at which it is looked at; of the looking thread. */
struct ferry__pager_place {
	struct ferry__pager *pager;
	struct ferry__pager_region *region;
	struct ferry__pager_block *block;
	size_t page, n;
	uint64_t now;
};

/* Around what owns words or calls stores; waits while a thread forks. */
void ferry__pager_begin_work(struct ferry__pager *pager);
void ferry__pager_end_work(struct ferry__pager *pager);
bool ferry__pager_may_take(const struct ferry__pager *pager);
/* Calls @fn for each block in use; the least of its answers. */
uint64_t ferry__pager_each_block(struct ferry__pager *pager,
				 uint64_t (*fn)(struct ferry__pager_place *));
/* Does what is due; returns when something is due next. */
uint64_t ferry__block_look(struct ferry__pager_place *p);
/* Under work: to limbo whatever is resident; how much is there; what the
 * stores took or refused is noted. */
void ferry__block_take(struct ferry__pager_place *p);
size_t ferry__block_in_limbo(const struct ferry__pager_place *p);
void ferry__block_note_stored(struct ferry__pager_place *p);
void ferry__block_note_raw(struct ferry__pager_place *p);

/* --- pager_ask.c --------------------------------------------------------- */

/* Answers all that was asked until now. */
void ferry__pager_answer_all(struct ferry__pager *pager);

/* --- pager_look.c -------------------------------------------------------- */

/* The looking thread's work until it is told to stop. */
void ferry__pager_look(struct ferry__pager *pager);
/* Hands @what to the looking thread and waits for its answer. */
int ferry__pager_ask(struct ferry__pager *pager, enum ferry__pager_ask what,
		     uintptr_t addr, size_t len);
void ferry__pager_poke(struct ferry__pager *pager);
/* Everything back; 0 or the first error. Under work. */
int ferry__pager_bring_all(struct ferry__pager *pager);

/* --- pager_policy.c ------------------------------------------------------ */

void ferry__policy_update(struct ferry__pager *pager, uint64_t now);
/* May @bytes go out by the rate limit? Takes them. */
bool ferry__policy_allows(struct ferry__pager *pager, uint64_t bytes);

/* --- pager_mend.c -------------------------------------------------------- */

/*
 * In a child, before anything is registered. Settles pages that its parent
 * gave it, as the bell says.
 */
void ferry__pager_settle_given(struct ferry__pager *pager);
/* What it touched while nobody served: see there. */
void ferry__pager_mend(struct ferry__pager *pager);
/* All that is out is written where it belongs, and nothing is registered. */
void ferry__pager_write_pages(struct ferry__pager *pager);

/* --- pager_fork.c -------------------------------------------------------- */

/*
 * In the child of a fork that ran no handlers, where all is present: the pager
 * is one without threads, with nothing out. Elsewhere it does nothing.
 */
void ferry__pager_settle_guest(struct ferry__pager *pager);
/* Waits while another thread forks; before anything is changed. */
void ferry__pager_wait_fork(struct ferry__pager *pager);

/* --- pager_start.c ------------------------------------------------------- */

/* In a child: as ferry__pager_start(), with all registered anew. */
int ferry__pager_restart(struct ferry__pager *pager);
/* In a child: the threads that had them are not there. */
void ferry__pager_free_stacks(struct ferry__pager *pager);

#endif
