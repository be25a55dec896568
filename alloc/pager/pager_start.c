/* SPDX-License-Identifier: MIT */
/*
 * The threads. The home thread takes a descriptor table of its own, closes
 * all in it and opens the userfaultfd there (D1): the program neither sees
 * nor can close it. It starts the handler, which shares that table, and goes
 * on as the looking thread.
 *
 * S1: the state is stored (release) when what it announces is there, and
 * loaded (acquire) by whoever relies on it.
 */
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"
#include "uffd/handle.h"
#include "uffd/thread.h"

#ifdef FERRY_SANITIZE
#define STACK_SIZE ((size_t)2 << 20)
#else
#define STACK_SIZE ((size_t)256 << 10)
#endif

#define DISCARD_PAUSE_NS 10000u

static void set_state(struct ferry__pager *pager, enum ferry__pager_state state)
{
	__atomic_store_n(&pager->state, state, __ATOMIC_RELEASE); /* S1 */
	ferry__sys->futex_wake(&pager->state);
}

/*
 * On a stack of our own: a cached one of the C library brings tables along
 * that lie in the program's heap, where in a child of fork(2) nothing serves
 * yet.
 */
static int start_thread(struct ferry__pager_thread *t, void *(*fn)(void *),
			void *arg)
{
	pthread_attr_t attr;
	int r;

	if (!t->stack)
		t->stack = ferry__pager_map(STACK_SIZE);
	if (!t->stack)
		return -ENOMEM;
	/* Beyond the end of a stack is no memory of anybody's. */
	ferry__sys->mprotect(t->stack, ferry__page_size, PROT_NONE);
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, t->stack, STACK_SIZE);
	r = ferry__thread_start(&t->thread, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	return r;
}

static void free_stack(struct ferry__pager_thread *t)
{
	ferry__pager_unmap(t->stack, STACK_SIZE);
	t->stack = NULL;
}

void ferry__pager_free_stacks(struct ferry__pager *pager)
{
	free_stack(&pager->home);
	free_stack(&pager->handler);
	free_stack(&pager->reader);
}

/* --- descriptors --------------------------------------------------------- */

static int unshare_files(void *arg)
{
	*(int *)arg = ferry__sys->unshare(CLONE_FILES);
	return 0;
}

/* A filter may kill for it: then only the child that tries. */
static int may_unshare(void)
{
	int result = -EPERM, r;

	if (!ferry__filtered())
		return 0;
	r = ferry__sys->try_in_child(unshare_files, &result);
	return r ? r : result;
}

/* All is closed but @keep, if there is one. */
static int own_table(int keep)
{
	int r = may_unshare();

	if (!r)
		r = ferry__sys->unshare(CLONE_FILES);
	if (!r && keep > 0)
		r = ferry__sys->close_range(0, (unsigned int)keep - 1);
	if (!r)
		r = ferry__sys->close_range((unsigned int)keep + 1, UINT_MAX);
	return r;
}

/*
 * Moves that work, faults of system calls that are served, and the page
 * tables to read: without any of these nothing is ever taken.
 */
static int check_features(enum ferry__pager_service service,
			  enum ferry_reason *reason)
{
	struct ferry_features f = FERRY_INIT(struct ferry_features);
	int r = ferry_features_get(&f);

	if (r)
		return r;
	*reason = f.move_reason ? f.move_reason : FERRY_REASON_NOT_SUPPORTED;
	if (!(f.features & FERRY_FEATURE_MOVE_WORKS))
		return -EOPNOTSUPP;
	*reason = f.way[FERRY_UFFD_SYSCALL].reason;
	if (service == FERRY__PAGER_THREAD &&
	    !(f.features & FERRY_FEATURE_KERNEL_FAULTS))
		return -EPERM;
	*reason = FERRY_REASON_NOT_SUPPORTED;
	return f.features & FERRY_FEATURE_PROCESS_FILES ? 0 : -EOPNOTSUPP;
}

/* To be told of forks takes more rights than the rest. */
static int open_uffd(struct ferry__pager *pager, enum ferry_reason *reason)
{
	struct ferry_uffd_params params = FERRY_INIT(struct ferry_uffd_params);
	int r;

	params.flags = FERRY_UFFD_NONBLOCK;
	params.features = FERRY_FEATURE_THREAD_ID | FERRY_FEATURE_EVENT_FORK;
	r = ferry_uffd_open(&params, reason, &pager->uffd);
	pager->sees_forks = !r;
	params.features = FERRY_FEATURE_THREAD_ID;
	if (r)
		r = ferry_uffd_open(&params, reason, &pager->uffd);
	if (r || ferry_uffd_way(pager->uffd) != FERRY_UFFD_USER_MODE)
		return r;
	*reason = FERRY_REASON_NO_PERMISSION;
	ferry_uffd_close(pager->uffd);
	pager->uffd = NULL;
	return -EPERM;
}

static int open_rest(struct ferry__pager *pager, enum ferry_reason *reason)
{
	int r;

	*reason = FERRY_REASON_NOT_SUPPORTED;
	pager->pagemap = ferry__sys->open("/proc/self/pagemap", 0);
	if (pager->pagemap < 0)
		return pager->pagemap;
	pager->stop_handler = ferry__sys->eventfd(0, 0);
	if (pager->stop_handler >= 0)
		return 0;
	r = pager->stop_handler;
	ferry__sys->close(pager->pagemap);
	return r;
}

/* --- stores -------------------------------------------------------------- */

/* Under work, which a thread holds that forks: it finds all of them or none. */
static void open_tiers(struct ferry__pager *pager)
{
	struct ferry__pager_tier tiers[FERRY__MAX_TIERS];
	size_t n;

	if (!pager->params.open_tiers || pager->has_tiers)
		return;
	n = pager->params.open_tiers(pager->params.arg, tiers);
	pthread_mutex_lock(&pager->work);
	ferry__pager_set_tiers(pager, tiers, n);
	pager->has_tiers = true;
	pthread_mutex_unlock(&pager->work);
}

/* Of one class there is nothing to move: then nothing below asks again. */
static void open_topology(struct ferry__pager *pager)
{
	const struct ferry_topology *topology = NULL;

	if (pager->topology || !pager->params.topology)
		return;
	topology = pager->params.topology(pager->params.arg);
	if (topology && ferry_topology_tiers(topology) > 1)
		pager->topology = topology;
}

void ferry__pager_leave_tiers(struct ferry__pager *pager)
{
	struct ferry__store *store;
	size_t i;

	for (i = 0; i < pager->n_tiers; i++) {
		store = pager->tiers[i].store;
		if (store->ops->leave)
			store->ops->leave(store);
	}
}

/* All is back; what is in stores yet is what a fork's window left there. */
static void end_tiers(struct ferry__pager *pager)
{
	ferry__pager_begin_work(pager);
	ferry__pager_sweep_spent(pager);
	ferry__pager_end_work(pager);
	/*
	 * K1: those that began before all was back may have pages in stores;
	 * later ones have none. Acquires what they did there.
	 */
	while (__atomic_load_n(&pager->discards, __ATOMIC_SEQ_CST))
		ferry__sys->sleep_ns(DISCARD_PAUSE_NS);
	ferry__pager_leave_tiers(pager);
}

/* --- descriptors that go ------------------------------------------------- */

static void close_service(struct ferry__pager *pager)
{
	if (pager->service)
		ferry_fault_service_destroy(pager->service);
	else
		ferry_uffd_close(pager->uffd);
	pager->service = NULL;
	pager->uffd = NULL;
}

static void close_uffd(struct ferry__pager *pager)
{
	ferry__sys->close(pager->stop_handler);
	ferry__sys->close(pager->pagemap);
	close_service(pager);
}

/* --- the home thread ----------------------------------------------------- */

static int reregister(struct ferry__pager *pager)
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	int e = 0;

	for (; !e && r; r = ferry__region_next(r))
		e = ferry__region_reregister(pager, r);
	return e;
}

/* SIGBUS mode has its descriptor from the program's table. */
static int open_all(struct ferry__pager *pager)
{
	int r = own_table(pager->service ? ferry_uffd_fd(pager->uffd) : -1);

	pager->reason = r ? FERRY_REASON_SECCOMP : FERRY_REASON_NONE;
	/* What the parent of a fork had needs no new look. */
	if (!r && !pager->known)
		r = check_features(pager->params.service, &pager->reason);
	if (!r && !pager->service)
		r = open_uffd(pager, &pager->reason);
	if (!r)
		r = open_rest(pager, &pager->reason);
	return r;
}

/*
 * Before the state says that all is there: a thread that forks holds the locks
 * of the host's allocator until the handler has read of it, and no thread can
 * be started meanwhile.
 */
static int start_handler(struct ferry__pager *pager)
{
	return start_thread(&pager->handler,
			    pager->service ? ferry__sigbus_help
					   : ferry__pager_handle,
			    pager);
}

/* Without this one, what is read ahead is waited for. */
static void start_reader(struct ferry__pager *pager)
{
	bool has;

	pager->stop_ahead = false;
	has = pager->params.around > 1 &&
	      !start_thread(&pager->reader, ferry__ahead_run, pager);
	/* Relaxed: where there is none, nobody takes what is put up. */
	__atomic_store_n(&pager->has_ahead, has, __ATOMIC_RELAXED);
}

static void stop_reader(struct ferry__pager *pager)
{
	if (!pager->has_ahead)
		return;
	__atomic_store_n(&pager->has_ahead, false, __ATOMIC_RELAXED);
	ferry__ahead_stop(pager);
	ferry__thread_join(pager->reader.thread);
}

static int begin(struct ferry__pager *pager)
{
	int r = open_all(pager);

	if (r) {
		close_service(pager);
		return r;
	}
	pager->known = true;
	pager->home_tid = ferry__sys->gettid();
	open_tiers(pager);
	open_topology(pager);
	r = pager->sees_forks ? ferry__pager_hang_bell(pager) : 0;
	if (!r)
		r = reregister(pager);
	if (!r)
		r = start_handler(pager);
	if (r) {
		close_uffd(pager);
		ferry__pager_leave_tiers(pager);
		return r;
	}
	start_reader(pager);
	return 0;
}

static void stop_handler(struct ferry__pager *pager)
{
	const uint64_t one = 1;

	if (pager->service)
		ferry__sigbus_stop(pager);
	else
		ferry__sys->write(pager->stop_handler, &one, sizeof(one));
	ferry__thread_join(pager->handler.thread);
}

static void *home_main(void *arg)
{
	struct ferry__pager *pager = arg;
	int r;

	pthread_setname_np(pthread_self(), "ferry-look");
	r = begin(pager);
	pager->error = r;
	if (r && !pager->reason)
		pager->reason = r == -ENOMEM ? FERRY_REASON_NO_MEMORY
					     : FERRY_REASON_NOT_SUPPORTED;
	if (!r)
		pager->reason = FERRY_REASON_NONE;
	set_state(pager, r ? FERRY__PAGER_FAILED : FERRY__PAGER_ON);
	FERRY__PROBE1(started, r);
	if (r)
		return NULL;
	ferry__pager_look(pager);
	stop_reader(pager);
	stop_handler(pager);
	close_uffd(pager);
	end_tiers(pager);
	return NULL;
}

/* --- start and stop ------------------------------------------------------ */

static int get_ready(struct ferry__pager *pager)
{
	const size_t size = FERRY__BLOCK_PAGES * ferry__page_size;

	if (!pager->look.staging)
		pager->look.staging = ferry__pager_map(size);
	if (!pager->serving.staging)
		pager->serving.staging = ferry__pager_map(size);
	if (!pager->reading.staging)
		pager->reading.staging = ferry__pager_map(size);
	if (!pager->copies)
		pager->copies = ferry__pager_map(size);
	if (!pager->bell)
		pager->bell = ferry__pager_map(ferry__page_size);
	return pager->look.staging && pager->serving.staging &&
			       pager->reading.staging && pager->copies &&
			       pager->bell
		       ? 0
		       : -ENOMEM;
}

static int wait_for_home(struct ferry__pager *pager)
{
	while (ferry__pager_state(pager) == FERRY__PAGER_STARTING)
		ferry__sys->futex_wait(&pager->state, FERRY__PAGER_STARTING,
				       1000000000u);
	if (ferry__pager_state(pager) == FERRY__PAGER_ON)
		return 0;
	ferry__thread_join(pager->home.thread);
	return pager->error;
}

static int fail(struct ferry__pager *pager, int error)
{
	pager->error = error;
	set_state(pager, FERRY__PAGER_FAILED);
	return error;
}

static int start_home(struct ferry__pager *pager)
{
	int r = get_ready(pager), fd;

	if (r)
		return r;
	if (pager->params.service == FERRY__PAGER_SIGBUS) {
		r = ferry__sigbus_open(pager, &pager->reason);
		if (r)
			return fail(pager, r);
	}
	fd = pager->service ? ferry_uffd_fd(pager->uffd) : -1;
	pager->stop = false;
	pager->pid = ferry__sys->getpid();
	pager->state = FERRY__PAGER_STARTING;
	r = start_thread(&pager->home, home_main, pager);
	if (r)
		set_state(pager, FERRY__PAGER_OFF);
	else
		r = wait_for_home(pager);
	if (r && fd >= 0)
		ferry__sigbus_close(fd);
	return r;
}

int ferry__pager_restart(struct ferry__pager *pager)
{
	return start_home(pager);
}

int ferry__pager_start(struct ferry__pager *pager,
		       enum ferry_reason *ret_reason)
{
	int r = 0;

	pthread_mutex_lock(&pager->start);
	if (ferry__pager_state(pager) == FERRY__PAGER_OFF)
		r = start_home(pager);
	else if (ferry__pager_state(pager) == FERRY__PAGER_FAILED)
		r = pager->error;
	if (ret_reason)
		*ret_reason = r ? pager->reason : FERRY_REASON_NONE;
	pthread_mutex_unlock(&pager->start);
	return r;
}

static void end_threads(struct ferry__pager *pager)
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	int fd = pager->service ? ferry_uffd_fd(pager->uffd) : -1;

	__atomic_store_n(&pager->stop, true, __ATOMIC_RELEASE);
	ferry__pager_poke(pager);
	ferry__thread_join(pager->home.thread);
	if (fd >= 0)
		ferry__sigbus_close(fd);
	ferry__pager_free_stacks(pager);
	/* Nothing is registered any more. */
	for (; r; r = ferry__region_next(r))
		ferry__region_forget(r);
	set_state(pager, FERRY__PAGER_OFF);
}

int ferry__pager_stop(struct ferry__pager *pager)
{
	int r;

	ferry__pager_settle_guest(pager);
	r = ferry__pager_restore_all(pager);
	pthread_mutex_lock(&pager->start);
	if (!r && ferry__pager_state(pager) == FERRY__PAGER_ON)
		end_threads(pager);
	pthread_mutex_unlock(&pager->start);
	ferry__pager_resume(pager);
	return r;
}
