/* SPDX-License-Identifier: MIT */
/*
 * Start of the engine, and arenas for threads.
 *
 *   state:  ASLEEP --constructor or event (CAS)--> STARTING --> READY
 *                                                         \---> PLAIN
 *
 * PLAIN: there is no room for a region, all comes from arena 0. A thread that finds
 * STARTING allocates from arena 0 for now and asks again at its next request.
 */
#include "alloc/malloc/engine.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc/malloc/hooks.h"
#include "alloc/malloc/library.h"
#include "alloc/malloc/space.h"
#include "uffd/sys.h"

enum state { ASLEEP = 0, STARTING, READY, PLAIN };

static int state; /* enum state; atomic */

/* The manual arenas: by place, the number that jemalloc gave, plus MADE. */
enum { NOT_MADE = 0, BEING_MADE = 1, MADE = 2 };

static struct {
	unsigned int *numbers; /* each is atomic */
	unsigned int n;	       /* written before READY */
	unsigned int turn;     /* of threads; atomic */
} arenas;

static int current_state(void)
{
	/* S1 pairs with S2 in ferry__engine_start(): regions and arenas are there to see. */
	return __atomic_load_n(&state, __ATOMIC_ACQUIRE);
}

bool ferry__engine_is_ready(void)
{
	return current_state() == READY;
}

bool ferry__engine_is_plain(void)
{
	return current_state() == PLAIN;
}

/* --- arenas ------------------------------------------------------------------------- */

/* Makes the arena at @place unless somebody else does. */
static void make(unsigned int place)
{
	unsigned int expected = NOT_MADE, number;
	int r;

	/* Relaxed: the word itself is all that is passed on. */
	if (!__atomic_compare_exchange_n(&arenas.numbers[place], &expected,
					 BEING_MADE, false, __ATOMIC_RELAXED,
					 __ATOMIC_RELAXED))
		return;
	r = ferry__arena_create(&ferry__hooks, &number);
	__atomic_store_n(&arenas.numbers[place], r ? NOT_MADE : number + MADE,
			 __ATOMIC_RELAXED);
}

unsigned int ferry__engine_arenas(void)
{
	return ferry__engine_is_ready() ? arenas.n : 0;
}

int ferry__engine_arena(unsigned int i, unsigned int *ret_number)
{
	/* Relaxed: jemalloc orders what belongs to the number. */
	unsigned int n = __atomic_load_n(&arenas.numbers[i], __ATOMIC_RELAXED);

	if (n < MADE)
		return -ENOENT;
	*ret_number = n - MADE;
	return 0;
}

/* The first arena is there before any thread is told of arenas. */
static unsigned int choose(void)
{
	/* Relaxed: any spread will do. */
	unsigned int place =
		__atomic_fetch_add(&arenas.turn, 1, __ATOMIC_RELAXED) %
		arenas.n;
	unsigned int number;

	make(place);
	if (ferry__engine_arena(place, &number) &&
	    ferry__engine_arena(0, &number))
		return 0;
	return number;
}

/* --- threads ------------------------------------------------------------------------ */

/* Of each thread. */
static _Thread_local struct {
	bool attached; /* has an arena of the heap */
	bool busy;     /* is in here: what it calls may allocate */
	bool own;      /* is to have none */
} self __attribute__((tls_model("initial-exec")));

_Thread_local unsigned int ferry__engine_own;

static void set_arena(unsigned int number)
{
	ferry__je_mallctl("thread.arena", NULL, NULL, &number, sizeof(number));
}

static void set_cache(bool on)
{
	ferry__je_mallctl("thread.tcache.enabled", NULL, NULL, &on, sizeof(on));
}

/* What its cache has from arena 0 is not for the heap. */
static void attach(void)
{
	set_arena(choose());
	ferry__je_mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
	self.attached = true;
}

/* Arena 0 is what a thread has that was given none. */
void ferry__engine_be_own(void)
{
	self.own = true;
}

static bool work_is_wanted;

void ferry__engine_want_work(void)
{
	/* Relaxed: a wish; what it is about is ordered by its own. */
	__atomic_store_n(&work_is_wanted, true, __ATOMIC_RELAXED);
}

static void do_work(void)
{
	/* Relaxed: as above. One thread gets it. */
	if (__atomic_load_n(&work_is_wanted, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(&work_is_wanted, false, __ATOMIC_RELAXED))
		ferry__library_work();
}

/*
 * Keeps errno: free(3) comes this way too. Not while the thread starts one of
 * ours or forks: what allocates then may hold the locks that work would take,
 * and in a child, or in a program with a malloc of its own, those of others.
 */
static void settle(void)
{
	int saved = errno;

	if (self.busy || self.own || ferry__engine_own)
		return;
	self.busy = true;
	if (!self.attached && ferry__engine_is_ready())
		attach();
	do_work();
	self.busy = false;
	errno = saved;
}

extern FERRY__HIDDEN void je_tcache_gc_event_handler(void *tsd,
						     uint64_t elapsed);
FERRY__HIDDEN bool ferry__je_thread_begin(void *tsd);
FERRY__HIDDEN void ferry__je_thread_event(void *tsd, uint64_t elapsed);

/* jemalloc has made the thread's data; locks are not held. */
bool ferry__je_thread_begin(void *tsd)
{
	bool r = ferry__engine_thread_data(tsd);

	if (self.own)
		set_cache(false);
	else if (ferry__engine_is_ready())
		settle();
	return r;
}

void ferry__je_thread_event(void *tsd, uint64_t elapsed)
{
	je_tcache_gc_event_handler(tsd, elapsed);
	ferry__engine_start();
	settle();
}

/* --- start -------------------------------------------------------------------------- */

static unsigned int processors(void)
{
	cpu_set_t set;
	long n;

	if (!sched_getaffinity(0, sizeof(set), &set))
		return (unsigned int)CPU_COUNT(&set);
	/* More than the set has room for. */
	n = sysconf(_SC_NPROCESSORS_ONLN);
	return n > 0 ? (unsigned int)n : 1;
}

static int make_arenas(void)
{
	unsigned int n = processors();
	void *table;
	int r;

	r = ferry__sys->mmap(NULL, n * sizeof(*arenas.numbers),
			     PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &table);
	if (r)
		return r;
	arenas.numbers = table;
	arenas.n = n;
	make(0);
	return ferry__engine_arena(0, &n);
}

/*
 * A heap of its own costs two regions and an arena for each processor, some
 * MiB each; where no more than this is allowed there is no room for that.
 */
#define LEAST_LIMIT ((uint64_t)256 << 20)

static bool is_tight(void)
{
	return ferry__sys->address_limit() < LEAST_LIMIT ||
	       ferry__sys->data_limit() < LEAST_LIMIT;
}

static enum state start(void)
{
	if (is_tight() || ferry__space_init(FERRY__SPACE_HEAP) || make_arenas())
		return PLAIN;
	return READY;
}

void ferry__engine_start(void)
{
	int expected = ASLEEP, saved = errno;

	/* Relaxed: nothing is read that another thread wrote. */
	if (__builtin_expect(current_state() != ASLEEP, 1) ||
	    !__atomic_compare_exchange_n(&state, &expected, STARTING, false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	expected = start();
	/* S2 pairs with S1 in current_state(). */
	__atomic_store_n(&state, expected, __ATOMIC_RELEASE);
	ferry__library_start();
	settle();
	errno = saved;
}
