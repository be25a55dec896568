/* SPDX-License-Identifier: MIT */
/*
 * Thread mode: handler threads read the faults from the descriptor and serve
 * them; whoever touched the page sleeps in the kernel until it is woken.
 *
 * What this file takes for granted of the kernel:
 *  - installing a page wakes those who wait for it, unless asked not to; one
 *    that was there already wakes nobody;
 *  - a thread that is woken while its page is still absent queues a new
 *    fault: so a wake-up is never wrong, and nothing has to be remembered
 *    here about a fault that cannot be served yet;
 *  - poll(2) may report input that another thread reads first.
 *
 * Invariant F6: each message read is followed by a wake-up of its page, by
 * the operation that installs it or by itself.
 */
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "uffd/fault.h"
#include "uffd/thread.h"
#include "uffd/uapi.h"

/* Sanitizers keep a good deal on the stack. */
#ifdef FERRY_SANITIZE
#define STACK_SIZE ((size_t)2 << 20)
#else
#define STACK_SIZE ((size_t)256 << 10)
#endif

/* Messages read at once by a lone handler; several share them. */
#define BATCH 16

/* Batches read before the order to stop is looked for. */
#define ROUNDS 64

struct ferry__fault_worker {
	pthread_t thread;
	struct ferry_fault_service *service;
	void *stack; /* with a guard page at its low end */
};

/* --- refusing a page ----------------------------------------------------- */

/*
 * The page is not to be had, and its waiters cannot be told so: what they
 * touch next has to raise the signal. A poisoned page raises SIGBUS; where
 * the kernel cannot poison, a page without access raises SIGSEGV. A page
 * that exists but could not be unprotected loses its access as well.
 */
static void refuse(const struct ferry__fault_case *c)
{
	void *page = (void *)(c->range->addr + c->page);

	if (c->protect)
		ferry__sys->mprotect(page, ferry__page_size, PROT_NONE);
	else
		ferry__fault_poison(c->range->service, page);
}

void ferry__fault_poison(struct ferry_fault_service *service, void *page)
{
	/* F6: serve() wakes, when the supplier is done. */
	int r = ferry_uffd_poison(service->uffd, page, ferry__page_size,
				  FERRY_OP_NO_WAKE, NULL);

	/*
	 * Not for what passes, nor for memory that is not registered any more,
	 * which may be the host's for something else: it is touched again.
	 */
	if (r == -EOPNOTSUPP || r == -EINVAL)
		ferry__sys->mprotect(page, ferry__page_size, PROT_NONE);
}

/* Where the kernel cannot poison, rights were taken: registered memory is the
 * host's to read and write. */
void ferry__fault_cure(struct ferry_fault_service *service, void *addr,
		       size_t len)
{
	ferry__sys->madvise(addr, len, MADV_DONTNEED);
	if (!(ferry_uffd_features(service->uffd) & FERRY_FEATURE_POISON))
		ferry__sys->mprotect(addr, len, PROT_READ | PROT_WRITE);
}

/* --- one message --------------------------------------------------------- */

static void wake(const struct ferry_fault_service *service, uintptr_t page)
{
	ferry_uffd_wake(service->uffd, (void *)page, ferry__page_size);
}

/* Serves a fault in a range that was entered. False: not yet. */
static bool serve(const struct ferry__fault_visit *visit, uintptr_t page,
		  uint64_t flags)
{
	struct ferry__fault_case c = {
		.range = visit->range,
		.page = page - visit->range->addr,
		.write = flags & FERRY__PAGEFAULT_WRITE,
		.protect = flags & FERRY__PAGEFAULT_WP,
	};
	int r = ferry__fault_serve(&c);

	if (r == -ESTALE)
		ferry__fault_add(&ferry__fault_stale, 1);
	if (r && r != -EAGAIN && r != -ESTALE && !c.refused)
		refuse(&c);
	if (!c.woken && r != -EAGAIN)
		wake(c.range->service, page);
	return r != -EAGAIN;
}

/* False: the page is to be woken later, when a pause was made. */
static bool on_page(uintptr_t page, uint64_t flags)
{
	struct ferry__fault_visit visit;
	bool answered;

	/*
	 * Of no range, or of one that comes or goes: touching again will tell.
	 * The pause is for memory that the host has registered with our handle
	 * and does not attach: it comes again until somebody fills it.
	 */
	if (ferry__fault_enter(page, &visit) != FERRY__PLACE_LIVE) {
		ferry__fault_add(&ferry__fault_stale, 1);
		return false;
	}
	answered = serve(&visit, page, flags);
	ferry__fault_leave(&visit);
	return answered;
}

static uintptr_t page_of(const struct ferry__uffd_msg *msg)
{
	return (uintptr_t)msg->arg.pagefault.address & ~(ferry__page_size - 1);
}

/*
 * Serves @n messages. Those that must wait are woken after a pause, all at
 * once, so that one page which is not to be had yet delays no other.
 */
static void on_messages(const struct ferry_fault_service *service,
			const struct ferry__uffd_msg *msgs, size_t n)
{
	bool later[BATCH] = { false };
	uintptr_t page = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		if (msgs[i].event != FERRY__UFFD_EVENT_PAGEFAULT)
			continue;
		later[i] = !on_page(page_of(&msgs[i]),
				    msgs[i].arg.pagefault.flags);
		if (later[i])
			page = page_of(&msgs[i]);
	}
	if (page)
		ferry__fault_pace(page);
	for (i = 0; i < n; i++)
		if (later[i])
			wake(service, page_of(&msgs[i]));
}

/* --- the thread ---------------------------------------------------------- */

/* Reads and serves one batch; false when there was nothing to read. */
static bool read_batch(const struct ferry_fault_service *service, int fd)
{
	size_t batch = service->threads < BATCH ? BATCH / service->threads : 1;
	struct ferry__uffd_msg msgs[BATCH];
	ssize_t n;

	n = ferry__sys->read(fd, msgs, batch * sizeof(msgs[0]));
	if (n <= 0)
		return false;
	on_messages(service, msgs, (size_t)n / sizeof(msgs[0]));
	return true;
}

/*
 * Until nothing is left, so that a thread which faults again at once finds
 * this one awake; but not for ever, as there may be an order to stop.
 */
static void read_messages(const struct ferry_fault_service *service, int fd)
{
	unsigned int i;

	for (i = 0; i < ROUNDS; i++)
		if (!read_batch(service, fd))
			return;
}

static void *run(void *arg)
{
	const struct ferry__fault_worker *worker = arg;
	const struct ferry_fault_service *service = worker->service;
	struct pollfd fds[2] = {
		{ .fd = ferry_uffd_fd(service->uffd), .events = POLLIN },
		{ .fd = service->stop, .events = POLLIN },
	};

	pthread_setname_np(pthread_self(), "ferry-fault");
	ferry__fault_self.poisons = true;
	while (!(fds[1].revents & POLLIN)) {
		ferry__sys->poll(fds, 2, -1);
		read_messages(service, fds[0].fd);
	}
	return NULL;
}

static int map_stack(struct ferry__fault_worker *worker)
{
	int r;

	/* Populated: a handler must not wait for memory to fault in. */
	r = ferry__sys->mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK |
				     MAP_POPULATE,
			     -1, 0, &worker->stack);
	if (r)
		return r;
	r = ferry__sys->mprotect(worker->stack, ferry__page_size, PROT_NONE);
	if (r)
		ferry__sys->munmap(worker->stack, STACK_SIZE);
	return r;
}

static int create_thread(struct ferry__fault_worker *worker)
{
	pthread_attr_t attr;
	int r;

	r = pthread_attr_init(&attr);
	if (r)
		return -r;
	pthread_attr_setstack(&attr, (char *)worker->stack + ferry__page_size,
			      STACK_SIZE - ferry__page_size);
	r = ferry__thread_start(&worker->thread, &attr, run, worker);
	pthread_attr_destroy(&attr);
	return r;
}

static int start_worker(struct ferry__fault_worker *worker,
			struct ferry_fault_service *service)
{
	int r;

	worker->service = service;
	r = map_stack(worker);
	if (r)
		return r;
	r = create_thread(worker);
	if (r)
		ferry__sys->munmap(worker->stack, STACK_SIZE);
	return r;
}

static void join_workers(struct ferry_fault_service *service, unsigned int n)
{
	const uint64_t one = 1;
	unsigned int i;

	/* Never read: it stays readable, and every thread sees it. */
	ferry__sys->write(service->stop, &one, sizeof(one));
	for (i = 0; i < n; i++) {
		pthread_join(service->workers[i].thread, NULL);
		ferry__sys->munmap(service->workers[i].stack, STACK_SIZE);
	}
}

static size_t workers_size(const struct ferry_fault_service *service)
{
	return service->threads * sizeof(struct ferry__fault_worker);
}

static void free_workers(struct ferry_fault_service *service)
{
	ferry__sys->close(service->stop);
	ferry__fault_free(service->workers, workers_size(service));
}

static int start_workers(struct ferry_fault_service *service)
{
	unsigned int i;
	int r;

	for (i = 0; i < service->threads; i++) {
		r = start_worker(&service->workers[i], service);
		if (r) {
			join_workers(service, i);
			return r;
		}
	}
	return 0;
}

int ferry__fault_threads_start(struct ferry_fault_service *service)
{
	int r;

	service->workers = ferry__fault_alloc(workers_size(service));
	if (!service->workers)
		return -ENOMEM;
	service->stop = ferry__sys->eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = service->stop < 0 ? service->stop : 0;
	if (r)
		goto err_free;
	r = start_workers(service);
	if (r)
		goto err_close;
	return 0;

err_close:
	ferry__sys->close(service->stop);
err_free:
	ferry__fault_free(service->workers, workers_size(service));
	return r;
}

void ferry__fault_threads_stop(struct ferry_fault_service *service)
{
	join_workers(service, service->threads);
	free_workers(service);
}

/*
 * In a child of fork(2) the threads are not there. But the caller may stand on
 * the stack of one, if a supplier forked: that one is left.
 */
void ferry__fault_threads_forget(struct ferry_fault_service *service)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	unsigned int i;

	for (i = 0; i < service->threads; i++)
		if (here - (uintptr_t)service->workers[i].stack >= STACK_SIZE)
			ferry__sys->munmap(service->workers[i].stack,
					   STACK_SIZE);
	free_workers(service);
}
