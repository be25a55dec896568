/* SPDX-License-Identifier: MIT */
/*
 * What the files of demand ranges share: units and their states, staging
 * memory, and the demand itself. The state machine, the invariants (N1 ...)
 * and the argument for each ordering label (D1 ...) are in DESIGN.md, "Demand
 * ranges".
 */
#ifndef FERRY_ALLOC_DEMAND_INTERNAL_H
#define FERRY_ALLOC_DEMAND_INTERNAL_H

#include <ferry/demand.h>

#include <errno.h>
#include <signal.h>

#include "alloc/alloc-internal.h"
#include "uffd/fault.h"

/* --- runs of pages, kept without locks (demand_runs.c) ------------------- */

/*
 * A bag of page runs. A slot holds one run: its address, and its pages in the
 * bits below. A bit of .full or of .vacant is set for each slot that is
 * neither in the hands of a thread; who clears it owns the slot.
 */
struct ferry__runs {
	uint64_t *full;	  /* D6 */
	uint64_t *vacant; /* D7 */
	uintptr_t *slot;  /* whose bit is in neither belongs to a thread */
	size_t words;	  /* of each bit set */
	size_t mem_bytes; /* of the allocation they are in */
	size_t last;	  /* slot that was put into last; relaxed */
	size_t pages;	  /* in all; relaxed: bounds what is kept */
};

/* Most pages of one run: what fits below the address of a page. */
#define FERRY__RUN_PAGES 4095u

/* Pages that belong to a thread. */
struct ferry__run {
	uintptr_t addr;
	size_t pages;
};

int ferry__runs_init(struct ferry__runs *runs, size_t slots);
void ferry__runs_fini(struct ferry__runs *runs);

/* Lock-free; false when there is no vacant slot. At most FERRY__RUN_PAGES. */
bool ferry__runs_put(struct ferry__runs *runs, struct ferry__run run);

/*
 * Takes a run of at least @min and at most @max pages, cutting a longer one.
 * Lock-free; false when there is none.
 */
bool ferry__runs_take(struct ferry__runs *runs, size_t min, size_t max,
		      struct ferry__run *ret);

/*
 * Takes every run for which @unwanted says so; nobody else may be at work.
 * Then false: no such run is left.
 */
bool ferry__runs_sift(struct ferry__runs *runs,
		      bool (*unwanted)(void *arg, struct ferry__run run),
		      void *arg, struct ferry__run *ret);

static inline size_t ferry__runs_pages(const struct ferry__runs *runs)
{
	/* Relaxed: a bound, not a claim. */
	return __atomic_load_n(&runs->pages, __ATOMIC_RELAXED);
}

/* --- ranges and units ---------------------------------------------------- */

/* A unit's word: state, answer, and the source of a READY one. */
#define FERRY__UNIT_STATE(word)	 ((unsigned int)((word)&7))
#define FERRY__UNIT_ANSWER(word) ((unsigned int)((word) >> 3 & 7))
#define FERRY__UNIT_SRC(word)	 ((uintptr_t)((word) & ~(uint64_t)0xfff))
#define FERRY__UNIT(state, answer, src)                                        \
	((uint64_t)(src) | (uint64_t)(answer) << 3 | (uint64_t)(state))

/*
 * An IDLE unit whose pages were recycled: they are staging memory, or have
 * gone to another place, so that it can be nothing else before the end (N13).
 */
#define FERRY__UNIT_GIVEN_UP FERRY__UNIT(FERRY_DEMAND_IDLE, 7, 0)

/*
 * In the word of an IDLE unit: a page of it was refused by poison, which is to
 * be taken off before the unit is anything else, and at the end.
 */
#define FERRY__UNIT_POISONED ((uint64_t)1 << 12)

/* Units for which one bit tells whether any was ever more than IDLE. */
#define FERRY__UNITS_GROUP 512u

struct ferry__demand_range {
	struct ferry_demand *demand;
	uintptr_t addr;
	size_t len;
	size_t index; /* in the host's vector */
	size_t first; /* number of its first unit among all */
	size_t units;
	unsigned int shift; /* log2 of the bytes of a unit */
	uint64_t *words;    /* one per unit; D1, D2 */
	uint64_t *used;	    /* a bit per group; set by D8, never cleared */
	size_t mem_bytes;   /* of the allocation both are in */
};

/* One unit. */
struct ferry__place {
	struct ferry__demand_range *range;
	size_t unit;
};

/* Relaxed sums, striped by thread. */
struct ferry__demand_counts {
	_Alignas(64) uint64_t faults;
	uint64_t by_faults;
	uint64_t by_background;
	uint64_t answers[FERRY_DEMAND_SKIP + 1];
	uint64_t batches;
	uint64_t batched;
	uint64_t helped;
	uint64_t provided;
	uint64_t pages_moved;
	uint64_t pages_copied;
	uint64_t pages_zeroed;
	uint64_t recycled;
	uint64_t dropped;
	uint64_t fresh;
	uint64_t refused;
	uint64_t retries;
	uint64_t waits;
};

/* Memory of ours for staging. */
struct ferry__chunk {
	struct ferry__chunk *next;
	char *addr;
	size_t len;
};

enum ferry__demand_phase {
	FERRY__DEMAND_EMPTY = 0, /* no ranges */
	FERRY__DEMAND_PREPARED,
	FERRY__DEMAND_RUNNING,
	FERRY__DEMAND_ENDING, /* nothing remains; calls are waited for */
};

struct ferry_demand {
	struct ferry_demand_params params;
	enum ferry_demand_mode mode;
	struct ferry_fault_service *service; /* NULL: STOPPED */
	bool service_ours;
	struct ferry_uffd *uffd; /* of the service */
	int pid;		 /* of the process that made it */
	int phase;		 /* enum ferry__demand_phase; D5 */
	bool copying;		 /* MOVE was refused; relaxed: a hint */
	bool recycling; /* pages were recycled since begin; relaxed: a hint */
	bool poisoned;	/* some unit was, since begin; relaxed, read after T1 */

	ferry_demand_produce_fn produce;
	void *arg;
	struct ferry__demand_range *ranges; /* ascending by address */
	size_t ranges_len;
	size_t ranges_bytes; /* of the allocation */
	size_t units;	     /* of all ranges */
	/* Those of the cycle before, for their memory. */
	struct ferry__demand_range *spare;
	size_t spare_len, spare_bytes;

	struct ferry__runs stock; /* staging memory: present, writable */
	struct ferry__runs blank; /* addresses of chunks that hold no pages */
	struct ferry__chunk *chunks; /* D9 */
	bool blank_lost;	     /* some of those are in no bag; relaxed */
	size_t keep;		     /* pages */

	_Alignas(
		64) size_t remaining; /* units that are not IDLE nor DONE; D3 */
	_Alignas(64) size_t cursor;   /* where to look for work; relaxed */
	_Alignas(64) uint32_t news;   /* futex: goes up with each change; D4 */
	uint32_t waiters;	      /* threads that wait for news; D4 */

	uint64_t wait_max_ns; /* relaxed */
	int method;	      /* of the last unit installed; relaxed */
	int error, reason;    /* of the first that failed, by CAS; relaxed */
	struct ferry__stripe stripes[FERRY__STRIPES]; /* calls; D5 */
	struct ferry__demand_counts counts[FERRY__STRIPES];
};

#define ferry__demand_count(d, what, n)                                        \
	ferry__fault_add(&(d)->counts[ferry__thread_stripe()].what, (n))

static inline size_t ferry__unit_bytes(const struct ferry__demand_range *range)
{
	return (size_t)1 << range->shift;
}

static inline size_t ferry__unit_pages(const struct ferry__demand_range *range)
{
	return ferry__unit_bytes(range) / ferry__page_size;
}

static inline uintptr_t ferry__unit_addr(const struct ferry__place *at)
{
	return at->range->addr + (at->unit << at->range->shift);
}

static inline uint64_t ferry__unit_load(const struct ferry__place *at)
{
	/* D2: pairs with ferry__unit_store(). */
	return __atomic_load_n(&at->range->words[at->unit], __ATOMIC_ACQUIRE);
}

static inline bool ferry__unit_swap(const struct ferry__place *at,
				    uint64_t word, uint64_t to)
{
	/* D1: acquire, pairs with ferry__unit_store(). */
	return __atomic_compare_exchange_n(&at->range->words[at->unit], &word,
					   to, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

/* Takes a unit from @word to @state; its answer and source stay. */
static inline bool ferry__unit_take(const struct ferry__place *at,
				    uint64_t word, unsigned int state)
{
	return ferry__unit_swap(at, word,
				FERRY__UNIT(state, FERRY__UNIT_ANSWER(word),
					    FERRY__UNIT_SRC(word)));
}

/* Neither anything else nor given up. */
static inline bool ferry__unit_is_idle(uint64_t word)
{
	return (word & ~FERRY__UNIT_POISONED) ==
	       FERRY__UNIT(FERRY_DEMAND_IDLE, 0, 0);
}

/* Claims a unit that is IDLE; no page of it is poisoned any more. False: it is
 * something else. */
bool ferry__demand_claim_idle(struct ferry_demand *demand,
			      const struct ferry__place *at);

/* Takes the poison off all pages that were refused; detached. */
void ferry__demand_cure(struct ferry_demand *demand);

/* Ends a claim: tells the new state, and who waits for it. */
void ferry__unit_store(const struct ferry__place *at, uint64_t word);

/* @n units are dealt with for good. */
void ferry__demand_settle(struct ferry_demand *demand, size_t n);

static inline size_t ferry__demand_remaining(const struct ferry_demand *d)
{
	/* D3: pairs with ferry__demand_settle(). */
	return __atomic_load_n(&d->remaining, __ATOMIC_ACQUIRE);
}

static inline bool ferry__demand_ours(const struct ferry_demand *demand)
{
	return demand->pid == ferry__sys->getpid();
}

static inline void ferry__demand_leave(struct ferry__stripe *stripe)
{
	/* D5: release; what the call did is over before ranges are freed. */
	__atomic_fetch_sub(&stripe->in_flight, 1, __ATOMIC_RELEASE);
}

/*
 * Begins a call, during which the ranges stay. Returns 0 and the stripe to
 * leave by; -ECHILD; -ENOTCONN unless in phase @least or RUNNING; -EBUSY at
 * the end, when the ranges are served still and no longer to be changed.
 */
static inline int ferry__demand_try_enter(struct ferry_demand *demand,
					  int least,
					  struct ferry__stripe **ret_stripe)
{
	struct ferry__stripe *stripe = &demand->stripes[ferry__thread_stripe()];
	int phase;

	if (!ferry__demand_ours(demand))
		return -ECHILD;
	/* D5: announce, then look; pairs with wait_for_calls(). */
	__atomic_fetch_add(&stripe->in_flight, 1, __ATOMIC_SEQ_CST);
	phase = __atomic_load_n(&demand->phase, __ATOMIC_SEQ_CST);
	if (phase >= least && phase <= FERRY__DEMAND_RUNNING) {
		*ret_stripe = stripe;
		return 0;
	}
	ferry__demand_leave(stripe);
	return phase == FERRY__DEMAND_ENDING ? -EBUSY : -ENOTCONN;
}

/*
 * The same, but waits out the end: who is told -ENOTCONN finds ordinary
 * memory. Not in the callback, for which the end waits.
 */
int ferry__demand_enter(struct ferry_demand *demand, int least,
			struct ferry__stripe **ret_stripe);

/* Takes the ranges away, which become spare ones, and frees those; nobody
 * else may be at work. */
void ferry__demand_ranges_free(struct ferry_demand *demand);
void ferry__demand_spare_free(struct ferry_demand *demand);

/* Notes that units are, or soon will be, more than IDLE. */
void ferry__demand_mark_used(const struct ferry__place *at, size_t n);

/* Was that ever noted of the unit's group? */
static inline bool ferry__demand_is_used(const struct ferry__place *at)
{
	size_t group = at->unit / FERRY__UNITS_GROUP;

	/* D8: acquire, pairs with ferry__demand_mark_used(). */
	return __atomic_load_n(&at->range->used[group / 64],
			       __ATOMIC_ACQUIRE) >>
		       group % 64 &
	       1;
}

/*
 * Drops what pages the units that are to be produced have, where that is
 * needed. The ranges are registered, and nobody touches them yet. Returns 0 or
 * a negative errno.
 */
int ferry__demand_clear(struct ferry_demand *demand);

/* The same of @n units that are the caller's (N2). */
int ferry__demand_clear_units(const struct ferry__place *at, size_t n);

/* The range that holds @addr, or NULL. */
struct ferry__demand_range *
ferry__demand_find(const struct ferry_demand *demand, uintptr_t addr);

/* The first unit of [@addr, @addr + @len), which must be whole units of one
 * range: else -EINVAL. */
int ferry__demand_units(const struct ferry_demand *demand, const void *addr,
			size_t len, struct ferry__place *ret, size_t *ret_n);

/* The unit with number @number among all units. */
struct ferry__place ferry__demand_place(const struct ferry_demand *demand,
					size_t number);

/*
 * Ranges that the kernel had no memory to unregister at an end are tried
 * again. Until then they behave as ordinary memory, but take faults. Any
 * thread, not in handlers.
 */
void ferry__demand_tidy(struct ferry_demand *demand);

void ferry__demand_note(struct ferry_demand *demand, int error,
			enum ferry_reason reason);

/*
 * The IDLE units that [@addr, @end) touches are to be nothing else before the
 * end. False: one is more than IDLE; those before it are given up.
 */
bool ferry__demand_give_up(struct ferry_demand *demand, uintptr_t addr,
			   uintptr_t end);

/* Dies when an invariant is broken; no call may be under way. */
void ferry__demand_check(const struct ferry_demand *demand);

#ifdef FERRY_DEBUG
#define ferry__demand_debug_check(demand) ferry__demand_check(demand)
#else
#define ferry__demand_debug_check(demand) ((void)(demand))
#endif

/* --- staging (demand_staging.c) ------------------------------------------ */

int ferry__staging_init(struct ferry_demand *demand);
void ferry__staging_fini(struct ferry_demand *demand);

/*
 * Makes @pen hold at least @min pages, if it can up to @max: recycled ones, at
 * last fresh ones. Returns 0 or -ENOMEM. Signal-safe.
 */
int ferry__staging_take(struct ferry_demand *demand, size_t min, size_t max,
			struct ferry__run *pen);

/* Gives pages back that are still there. */
void ferry__staging_return(struct ferry_demand *demand, struct ferry__run run);

/* The pages of a run were moved away: only its addresses are left. */
void ferry__staging_spent(struct ferry_demand *demand, struct ferry__run run);

/* Takes pages over that the host has no use for. */
void ferry__staging_recycle(struct ferry_demand *demand, uintptr_t addr,
			    size_t pages);

/* Drops what is beyond the bound. */
void ferry__staging_trim(struct ferry_demand *demand);

/* Drops what is the host's, and ours beyond the reserve. Nobody else may be
 * at work. */
void ferry__staging_settle(struct ferry_demand *demand);

/* --- producing and installing (demand_unit.c, demand_install.c) ---------- */

/* A thread at work. */
struct ferry__producer {
	struct ferry_demand *demand;
	struct ferry__run pen; /* staging memory laid by */
	size_t ahead;	       /* units for which some is laid by at a time */
	bool fault;
};

void ferry__producer_init(struct ferry__producer *p,
			  struct ferry_demand *demand, bool fault);
void ferry__producer_fini(struct ferry__producer *p);

/*
 * Memory to write a unit to: staging memory, or, in STOPPED mode, the unit
 * itself. It is the producer's still until it is said to be used. Returns 0
 * or -ENOMEM.
 */
int ferry__producer_staging(struct ferry__producer *p,
			    const struct ferry__place *at, void **ret_addr);
void ferry__producer_use(struct ferry__producer *p, size_t pages);

/*
 * Produces a unit that this thread has CLAIMED; the unit's word is not
 * changed. @ret_word: what it is to be: READY, DONE or IDLE.
 * Returns 0; -ENOMEM no staging memory: the callback was not called.
 */
int ferry__demand_produce(struct ferry__producer *p,
			  const struct ferry__place *at, uint64_t *ret_word);

/* Ends the claim of a unit as @word says. */
void ferry__demand_publish(struct ferry_demand *demand,
			   const struct ferry__place *at, uint64_t word);

/*
 * Installs the run of READY units around or from @at on that lie as their
 * sources do. @word: as it was loaded. Returns 0 (or somebody else was
 * quicker); -EAGAIN, -ENOMEM: they are READY still; -ENODATA: refused.
 */
int ferry__demand_map(struct ferry_demand *demand,
		      const struct ferry__place *at, uint64_t word,
		      bool around);

/* Installs one unit that this thread holds; as above. */
int ferry__demand_map_one(struct ferry_demand *demand,
			  const struct ferry__place *at, uint64_t word);

/*
 * Puts @n units from @at on to their place. Returns 0; -EAGAIN, -ENOMEM to be
 * tried again, which does no harm to what is there already; or another error:
 * they cannot be installed so.
 */
int ferry__demand_install(struct ferry_demand *demand,
			  const struct ferry__place *at, size_t n,
			  uint64_t word);

/* --- faults (demand_fault.c) --------------------------------------------- */

void ferry__demand_supply(void *arg, const struct ferry_fault *fault,
			  struct ferry_supply *supply);

/*
 * Brings a unit: returns 0 when it is DONE; -ENODATA it is not to be had;
 * -EAGAIN another thread was waited for in vain, or mappings kept changing;
 * -ENOMEM. Signal-safe.
 */
int ferry__demand_bring(struct ferry_demand *demand,
			const struct ferry__place *at);

/* Waits for news of a unit whose word was @word, at most @ns. */
void ferry__demand_wait(struct ferry_demand *demand,
			const struct ferry__place *at, uint64_t word,
			uint64_t ns);

/* --- background (demand_step.c) ------------------------------------------ */

/* Runs to the end; no errno of the moment but after a second. */
int ferry__demand_complete(struct ferry_demand *demand,
			   const volatile bool *cancel, bool paced);

/*
 * A producer must not run a signal handler of the host: one that touched a
 * unit which this very thread has claimed would wait for itself. The same
 * goes for being cancelled half-way.
 */
struct ferry__guard {
	sigset_t mask;
	int cancel;
};

void ferry__guard_enter(struct ferry__guard *guard);
void ferry__guard_leave(const struct ferry__guard *guard);

#endif
