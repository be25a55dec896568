/* SPDX-License-Identifier: MIT */
/*
 * hand.c: a fault service in the fewest steps: from the address to the window
 * around it, one system call, back. It knows one range, no other SIGBUS, no
 * race and no tear-down under load; that is what it is faster by.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hand.h"
#include "raw.h"
#include "uffd/uapi.h"

static struct {
	struct hand_params p;
	struct ferry_uffd *uffd;
	int fd;
	/* By the handler, read after the last fault; plain: same thread, or
	 * ordered by the join of the handler thread. */
	volatile int error;
	struct sigaction old;
	pthread_t thread;
	char *last; /* a page whose fault ends the handler thread */
	size_t page;
} hand;

/* Returns 0, or more when waiters were forgotten, or a negative errno. */
static int bring(char *dst, char *src)
{
	int rc;

	if (hand.p.mapped)
		return bench_raw_continue(hand.fd, dst, hand.p.window);
	if (!hand.p.copy) {
		rc = bench_raw_move(hand.fd, dst, src, hand.p.window, false);
		if (rc >= 0)
			return rc;
		hand.error = rc; /* and let the program go on */
	}
	return bench_raw_copy(hand.fd, dst, src, hand.p.window);
}

/*
 * What the kernel moved but answered EEXIST for (raw.h) has to be woken:
 * whoever leaves that out hangs one day.
 */
static void serve(uintptr_t addr)
{
	size_t at = (addr - (uintptr_t)hand.p.dst) & ~(hand.p.window - 1);
	char *dst = hand.p.dst + at;
	char *src = hand.p.mapped ? NULL : hand.p.src + (hand.p.make ? 0 : at);
	int rc;

	if (hand.p.make)
		hand.p.make(hand.p.arg, at, src);
	rc = bring(dst, src);

	if (rc == 0)
		return;
	if (rc < 0)
		hand.error = rc;
	if (hand.p.thread)
		ferry_uffd_wake(hand.uffd, dst, hand.p.window);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)sig;
	(void)context;
	serve((uintptr_t)info->si_addr);
	errno = saved;
}

static void *thread_main(void *arg)
{
	struct ferry__uffd_msg msg;

	(void)arg;
	while (read(hand.fd, &msg, sizeof(msg)) == sizeof(msg)) {
		uintptr_t addr = (uintptr_t)msg.arg.pagefault.address;

		if (addr == (uintptr_t)hand.last)
			break;
		serve(addr);
	}
	/* Wakes hand_stop(), which waits for this page. */
	ferry_uffd_zero(hand.uffd, hand.last, hand.page, 0, NULL);
	return NULL;
}

static int start_thread(void)
{
	int rc;

	hand.page = (size_t)sysconf(_SC_PAGESIZE);
	hand.last = mmap(NULL, hand.page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (hand.last == MAP_FAILED)
		return -errno;
	rc = ferry_uffd_register(hand.uffd, hand.last, hand.page,
				 FERRY_REGISTER_MISSING, NULL);
	if (rc == 0)
		rc = -pthread_create(&hand.thread, NULL, thread_main, NULL);
	if (rc < 0)
		munmap(hand.last, hand.page);
	return rc;
}

static void stop_thread(void)
{
	(void)*(volatile char *)hand.last;
	pthread_join(hand.thread, NULL);
	munmap(hand.last, hand.page);
}

static int start_serving(void)
{
	struct sigaction act = { .sa_sigaction = on_sigbus,
				 .sa_flags = SA_SIGINFO };

	if (hand.p.thread)
		return start_thread();
	return sigaction(SIGBUS, &act, &hand.old) < 0 ? -errno : 0;
}

int hand_start(const struct hand_params *p, enum ferry_reason *ret_reason)
{
	struct ferry_uffd_params up = FERRY_INIT(struct ferry_uffd_params);
	int rc;

	hand.p = *p;
	hand.error = 0;
	if (!p->thread)
		up.flags = FERRY_UFFD_SIGBUS;
	rc = ferry_uffd_open(&up, ret_reason, &hand.uffd);
	if (rc < 0)
		return rc;
	hand.fd = ferry_uffd_fd(hand.uffd);
	rc = ferry_uffd_register(hand.uffd, p->dst, p->len,
				 p->mapped ? FERRY_REGISTER_MINOR
					   : FERRY_REGISTER_MISSING,
				 ret_reason);
	if (rc < 0)
		goto err_close;
	rc = start_serving();
	if (rc < 0)
		goto err_close;
	return 0;

err_close:
	ferry_uffd_close(hand.uffd);
	return rc;
}

int hand_stop(void)
{
	if (hand.p.thread)
		stop_thread();
	else
		sigaction(SIGBUS, &hand.old, NULL);
	ferry_uffd_close(hand.uffd);
	return hand.error;
}
