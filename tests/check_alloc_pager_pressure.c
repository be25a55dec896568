/* SPDX-License-Identifier: MIT */
/*
 * The pager in a control group that is above its memory.high: the kernel
 * makes whoever wants more wait, which is what its stall times count.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc/pager/pager-internal.h"
#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/system.h"

#define MIB	((size_t)1 << 20)
#define SECOND	1000000000ull
#define SIZE	(32 * MIB)
#define EXCESS	(2 * MIB) /* by a twentieth: each wait is below a second */
#define AGE	(16 * SECOND)
#define HASTENS (AGE >> 4) /* what pressure can make of it */

static struct system_hold hold;
static char group[SYSTEM_GROUP];

/* --- the group ----------------------------------------------------------- */

static int put(const char *folder, const char *file, const char *text)
{
	char path[SYSTEM_GROUP + 64];
	int fd, r;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static size_t in_group(void)
{
	char path[SYSTEM_GROUP + 64], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/memory.current", group);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	return strtoull(text, NULL, 10);
}

/* This process enters a group of its own; false: the test is skipped. */
static bool enter(void)
{
	if (!system_hold_group(&hold, group)) {
		harness_skip("memory_cgroup", "%s", hold.reason);
		return false;
	}
	/* Where there is swap, and it is counted: as if there were none. */
	put(group, "memory.swap.max", "0");
	ck_assert_int_eq(put(group, "cgroup.procs", "0"), 0);
	return true;
}

static void leave(void)
{
	ck_assert_int_eq(put("/sys/fs/cgroup", "cgroup.procs", "0"), 0);
	system_release(&hold);
}

/* Less than the group has. Returns the limit. */
static size_t squeeze(void)
{
	size_t high = in_group() - EXCESS;
	char text[32];

	snprintf(text, sizeof(text), "%zu", high);
	ck_assert_int_eq(put(group, "memory.high", text), 0);
	return high;
}

static void relax(void)
{
	ck_assert_int_eq(put(group, "memory.high", "max"), 0);
}

/* Who wants memory above the limit waits for it. */
static void want_memory(void)
{
	size_t len = MIB / 4;
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	memset(p, 1, len);
	munmap(p, len);
}

/* --- the pager ----------------------------------------------------------- */

/* Each page is another, and all are small in a store. */
static void fill(char *addr)
{
	size_t i;

	for (i = 0; i < SIZE; i += page_size()) {
		memset(addr + i, (int)(i / page_size() % 251), page_size());
		memcpy(addr + i, &i, sizeof(i));
	}
}

static size_t wrong(const char *addr)
{
	size_t i, n = 0;

	for (i = 0; i < SIZE; i += page_size())
		n += memcmp(addr + i, &i, sizeof(i)) ||
		     (unsigned char)addr[i + page_size() - 1] !=
			     i / page_size() % 251;
	return n;
}

static struct ferry__pager *pager_over(char *addr, struct ferry__store *store)
{
	struct ferry__pager_tier tier = { .store = store };
	struct ferry__pager_params params = {
		.service = FERRY__PAGER_THREAD,
		.cold_after_ns = AGE,
		.idle_after_ns = AGE,
		.around = 16,
		.pressure = true,
		.tiers = &tier,
		.n_tiers = store ? 1 : 0,
	};
	struct ferry__pager *pager;

	ck_assert_int_eq(ferry__pager_create(&params, &pager), 0);
	ck_assert_int_eq(ferry__pager_add_region(pager, addr, SIZE), 0);
	ferry__pager_grow(pager, addr, SIZE);
	return pager;
}

/* The policy by itself: no thread runs, the kernel's times are real. */
START_TEST(stalls_of_the_group_make_pages_old_sooner_and_calm_does_not)
{
	char *addr = map_anon(SIZE);
	struct ferry__pager *pager;

	if (!enter())
		return;
	fill(addr);
	pager = pager_over(addr, NULL);
	pager->handler.thread = pthread_self();
	squeeze();
	while (pager->policy.age_ns != HASTENS) {
		want_memory();
		ferry__policy_update(pager, ferry__sys->now_ns());
	}
	relax();
	while (pager->policy.age_ns != AGE) {
		want_memory();
		harness_pause();
		ferry__policy_update(pager, ferry__sys->now_ns());
	}
	ferry__pager_destroy(pager);
	munmap(addr, SIZE);
	leave();
}
END_TEST

static bool enough;

static void *want_on(void *arg)
{
	/* Relaxed: it shall end some time. */
	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED))
		want_memory();
	return arg;
}

static uint64_t age(struct ferry__pager *pager)
{
	struct ferry__pager_stats stats;

	ferry__pager_stats(pager, &stats);
	return stats.age_ns;
}

START_TEST(pages_go_out_until_the_group_is_below_its_limit)
{
	char *addr = map_anon(SIZE);
	struct ferry__store *store;
	struct ferry__pager *pager;
	pthread_t thread;
	size_t high;

	if (!enter())
		return;
	fill(addr);
	ck_assert_int_eq(
		ferry__store_memory_create(FERRY__CODEC_LZ4, 0, &store), 0);
	pager = pager_over(addr, store);
	ck_assert_int_eq(ferry__pager_start(pager, NULL), 0);
	AWAIT(age(pager) == AGE);
	high = squeeze();
	ck_assert_int_eq(pthread_create(&thread, NULL, want_on, NULL), 0);
	AWAIT(age(pager) == HASTENS);
	AWAIT(in_group() + EXCESS < high);
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	relax();
	ck_assert_uint_eq(wrong(addr), 0);
	ferry__pager_destroy(pager);
	store->ops->destroy(store);
	munmap(addr, SIZE);
	leave();
}
END_TEST

static const struct test tests[] = {
	TEST(stalls_of_the_group_make_pages_old_sooner_and_calm_does_not,
	     "root"),
	TEST(pages_go_out_until_the_group_is_below_its_limit,
	     "root,move,kernel_faults"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
