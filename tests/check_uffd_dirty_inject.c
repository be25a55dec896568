/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking when the kernel refuses, runs short or lacks something: an
 * error that says so or another way, no write missed, nothing leaked.
 */
#include <ferry/dirty.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "uffd/dirty.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define PAGE  ferry__page_size
#define PAGES 512

static char *map_pages(size_t pages)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_msg(p != MAP_FAILED, "mmap: %s", strerror(errno));
	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	return p;
}

static int open_kind(enum ferry_dirty_provider provider,
		     enum ferry_reason *ret_reason,
		     struct ferry_dirty **ret_dirty)
{
	struct ferry_dirty_params params =
		FERRY_INIT(struct ferry_dirty_params);

	params.provider = provider;
	return ferry_dirty_open(&params, ret_reason, ret_dirty);
}

/* A tracker of @provider with @pages written pages armed. */
static struct ferry_dirty *track(enum ferry_dirty_provider provider,
				 size_t pages, char **ret_mem)
{
	struct ferry_dirty *dirty;
	enum ferry_reason reason;

	*ret_mem = map_pages(pages);
	memset(*ret_mem, 1, pages * PAGE);
	ck_assert_int_eq(open_kind(provider, &reason, &dirty), 0);
	ck_assert_int_eq(ferry_dirty_arm(dirty, *ret_mem, pages * PAGE, NULL),
			 0);
	return dirty;
}

static int collect(struct ferry_dirty *dirty, char *mem, size_t pages,
		   struct ferry_range *runs, size_t max, size_t *ret_n)
{
	void *next;

	return ferry_dirty_collect(dirty, mem, pages * PAGE, runs, max, ret_n,
				   &next);
}

static void assert_one_run(struct ferry_dirty *dirty, char *mem, size_t pages,
			   size_t first, size_t n)
{
	struct ferry_range runs[4];
	size_t got;

	ck_assert_int_eq(collect(dirty, mem, pages, runs, 4, &got), 0);
	ck_assert_uint_eq(got, 1);
	ck_assert_ptr_eq(runs[0].addr, mem + first * PAGE);
	ck_assert_uint_eq(runs[0].len, n * PAGE);
}

static void assert_clean(struct ferry_dirty *dirty, char *mem, size_t pages)
{
	struct ferry_range run;
	size_t got;

	ck_assert_int_eq(collect(dirty, mem, pages, &run, 1, &got), 0);
	ck_assert_uint_eq(got, 0);
}

/* --- which provider is chosen --------------------------------------------- */

static enum ferry_dirty_provider chosen(void)
{
	struct ferry_dirty *dirty;
	enum ferry_dirty_provider provider;
	enum ferry_reason reason;

	ck_assert_int_eq(ferry_dirty_open(NULL, &reason, &dirty), 0);
	ck_assert_int_eq(reason, FERRY_REASON_NONE);
	provider = ferry_dirty_provider(dirty);
	ferry_dirty_close(dirty);
	return provider;
}

START_TEST(best_provider_is_chosen)
{
	ck_assert_int_eq(chosen(), FERRY_DIRTY_WP_ASYNC);
}
END_TEST

START_TEST(without_pagemap_scan_others_serve)
{
	struct inject_rule none = { .call = INJECT_IOCTL,
				    .request = FERRY__PAGEMAP_SCAN,
				    .count = INJECT_ALWAYS,
				    .error = ENOTTY };
	struct ferry_dirty *dirty;
	enum ferry_reason reason;

	inject_start();
	inject_add(&none);
	ck_assert_int_eq(open_kind(FERRY_DIRTY_WP_ASYNC, &reason, &dirty),
			 -EOPNOTSUPP);
	ck_assert_int_eq(reason, FERRY_REASON_NOT_SUPPORTED);
	ck_assert_int_gt(chosen(), FERRY_DIRTY_WP_ASYNC);
}
END_TEST

START_TEST(without_userfaultfd_mprotect_serves)
{
	struct inject_rule call = { .call = INJECT_USERFAULTFD,
				    .count = INJECT_ALWAYS,
				    .error = EPERM };
	struct inject_rule device = { .call = INJECT_OPEN,
				      .path = "/dev/userfaultfd",
				      .count = INJECT_ALWAYS,
				      .error = ENOENT };
	struct ferry_dirty *dirty;
	enum ferry_reason reason;

	inject_start();
	inject_add(&call);
	inject_add(&device);
	ck_assert_int_eq(open_kind(FERRY_DIRTY_WP_SYNC, &reason, &dirty),
			 -EOPNOTSUPP);
	ck_assert_int_ne(reason, FERRY_REASON_NONE);
	ck_assert_int_eq(chosen(), FERRY_DIRTY_MPROTECT);
}
END_TEST

START_TEST(without_pagemap_mprotect_serves)
{
	struct inject_rule none = { .call = INJECT_OPEN,
				    .path = "/proc/self/pagemap",
				    .count = INJECT_ALWAYS,
				    .error = EACCES };
	struct ferry_dirty *dirty;
	enum ferry_reason reason;

	inject_start();
	inject_add(&none);
	ck_assert_int_eq(open_kind(FERRY_DIRTY_WP_ASYNC, &reason, &dirty),
			 -EOPNOTSUPP);
	ck_assert_int_eq(reason, FERRY_REASON_NO_PERMISSION);
	ck_assert_int_eq(chosen(), FERRY_DIRTY_MPROTECT);
}
END_TEST

START_TEST(a_refused_handler_is_said)
{
	struct inject_rule none = { .call = INJECT_SIGACTION,
				    .count = INJECT_ALWAYS,
				    .error = EINVAL };
	struct ferry_dirty *dirty;
	enum ferry_reason reason;

	inject_start();
	inject_add(&none);
	ck_assert_int_eq(open_kind(FERRY_DIRTY_MPROTECT, &reason, &dirty),
			 -EOPNOTSUPP);
	ck_assert_int_eq(reason, FERRY_REASON_NOT_SUPPORTED);
}
END_TEST

START_TEST(bad_params_are_refused)
{
	struct {
		struct ferry_dirty_params params;
		uint64_t unknown;
	} later = { { .size = sizeof(later) }, 1 };
	struct ferry_dirty_params params = { .size = 1 };
	struct ferry_dirty *dirty;
	enum ferry_reason reason;

	ck_assert_int_eq(ferry_dirty_open(&params, &reason, &dirty), -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_BAD_FLAGS);
	ck_assert_int_eq(ferry_dirty_open(&later.params, NULL, &dirty), -E2BIG);
	ck_assert_int_eq(open_kind(FERRY_DIRTY_PROVIDERS, NULL, &dirty),
			 -EINVAL);
	ferry_dirty_close(NULL);
}
END_TEST

/* --- every step fails once ------------------------------------------------ */

static size_t open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Opens, arms, writes, collects, disarms; stops at the first failure. */
static int live(enum ferry_dirty_provider provider, char *mem)
{
	struct ferry_range runs[PAGES];
	struct ferry_dirty *dirty;
	size_t n;
	int r;

	r = open_kind(provider, NULL, &dirty);
	if (r)
		return r;
	r = ferry_dirty_arm(dirty, mem, 8 * PAGE, NULL);
	if (r)
		goto out;
	mem[3 * PAGE] = 1;
	r = collect(dirty, mem, 8, runs, PAGES, &n);
	if (!r)
		ck_assert_msg(n, "a write was missed");
	mem[4 * PAGE] = 2;
	if (!r)
		r = ferry_dirty_disarm(dirty, mem, 8 * PAGE);
out:
	ferry_dirty_close(dirty);
	return r;
}

static void fail_once(enum ferry_dirty_provider provider, enum inject_call call,
		      int error)
{
	char *mem = map_pages(8);
	size_t files = open_files();
	struct inject_rule rule;
	uint64_t nth;
	int r;

	for (nth = 1;; nth++) {
		rule = (struct inject_rule){ .call = call,
					     .nth = nth,
					     .error = error };
		inject_start();
		inject_add(&rule);
		r = live(provider, mem);
		inject_stop();
		ck_assert_msg(r <= 0, "call %d, %lu: %d", call, nth, r);
		ck_assert_uint_eq(open_files(), files);
		/* Whatever failed, the memory is the host's again. */
		memset(mem, (int)nth, 8 * PAGE);
		if (!rule.hits)
			break;
	}
	ck_assert_int_eq(r, 0);
	munmap(mem, 8 * PAGE);
}

static void fail_each_step(enum ferry_dirty_provider provider)
{
	fail_once(provider, INJECT_MMAP, ENOMEM);
	fail_once(provider, INJECT_OPEN, EMFILE);
	fail_once(provider, INJECT_OPEN, ENOENT);
	fail_once(provider, INJECT_IOCTL, ENOMEM);
	fail_once(provider, INJECT_IOCTL, EINTR);
	fail_once(provider, INJECT_EVENTFD, EMFILE);
	fail_once(provider, INJECT_PREAD, EIO);
	fail_once(provider, INJECT_PREAD, EINTR);
	fail_once(provider, INJECT_READ, EINTR);
	fail_once(provider, INJECT_POLL, EINTR);
	fail_once(provider, INJECT_MADVISE, ENOMEM);
}

START_TEST(wp_async_survives_the_failure_of_each_step)
{
	fail_each_step(FERRY_DIRTY_WP_ASYNC);
}
END_TEST

START_TEST(wp_sync_survives_the_failure_of_each_step)
{
	fail_each_step(FERRY_DIRTY_WP_SYNC);
}
END_TEST

START_TEST(soft_survives_the_failure_of_each_step)
{
	fail_each_step(FERRY_DIRTY_SOFT);
	fail_once(FERRY_DIRTY_SOFT, INJECT_WRITE, EIO);
	fail_once(FERRY_DIRTY_SOFT, INJECT_WRITE, EINTR);
}
END_TEST

START_TEST(mprotect_survives_the_failure_of_each_step)
{
	fail_each_step(FERRY_DIRTY_MPROTECT);
	fail_once(FERRY_DIRTY_MPROTECT, INJECT_MPROTECT, ENOMEM);
}
END_TEST

/* --- WP_ASYNC ------------------------------------------------------------- */

START_TEST(a_lost_scan_is_said)
{
	struct inject_rule lost = { .call = INJECT_IOCTL,
				    .request = FERRY__PAGEMAP_SCAN,
				    .error = EPERM };
	struct ferry_range run = { .len = 7 };
	struct ferry_dirty *dirty;
	size_t n = 77;
	char *mem;

	dirty = track(FERRY_DIRTY_WP_ASYNC, 8, &mem);
	mem[0] = 2;
	inject_start();
	inject_add(&lost);
	ck_assert_int_eq(collect(dirty, mem, 8, &run, 1, &n), -EIO);
	ck_assert_uint_eq(n, 77);
	assert_one_run(dirty, mem, 8, 0, 1);
	inject_stop();
	ferry_dirty_close(dirty);
}
END_TEST

/* --- WP_SYNC -------------------------------------------------------------- */

static const struct ferry__sys *real;
static struct ferry__sys table;

/* One word or two, and half of one that must not be taken for whole. */
static ssize_t short_pread(int fd, void *buf, size_t len, off_t off)
{
	static unsigned int n;
	size_t most = n++ % 2 ? 24 : 16;
	ssize_t r = real->pread(fd, buf, len < most ? len : most, off);

	return r > 8 ? r - 4 : r;
}

static void use_table(void)
{
	real = ferry__sys;
	table = *real;
	ferry__sys = &table;
}

START_TEST(short_reads_of_the_pagemap_lose_nothing)
{
	struct random random = harness_random();
	struct ferry_range runs[64];
	struct ferry_dirty *dirty;
	size_t i, k, n, page, round;
	bool want[64];
	char *mem;

	use_table();
	dirty = track(FERRY_DIRTY_WP_SYNC, 64, &mem);
	table.pread = short_pread;
	for (round = 0; round < 20; round++) {
		memset(want, 0, sizeof(want));
		for (i = 0; i < 20; i++) {
			page = random_below(&random, 64);
			mem[page * PAGE]++;
			want[page] = true;
		}
		ck_assert_int_eq(collect(dirty, mem, 64, runs, 64, &n), 0);
		for (i = 0; i < n; i++)
			for (k = 0; k < runs[i].len / PAGE; k++) {
				page = (size_t)((char *)runs[i].addr - mem) /
					       PAGE +
				       k;
				ck_assert(want[page]);
				want[page] = false;
			}
		for (i = 0; i < 64; i++)
			ck_assert_msg(!want[i], "page %zu was missed", i);
	}
	ferry_dirty_close(dirty);
}
END_TEST

/* A kernel before 6.4: the feature is not there, and holes take no marker. */
static int old_ioctl(int fd, unsigned long request, void *arg)
{
	struct ferry__uffdio_api *api = arg;
	int r;

	if (request != FERRY__UFFDIO_API)
		return real->ioctl(fd, request, arg);
	if (api->features & FERRY__UFFD_FEATURE_WP_UNPOP)
		return -EINVAL;
	r = real->ioctl(fd, request, arg);
	api->features &= ~FERRY__UFFD_FEATURE_WP_UNPOP;
	return r;
}

START_TEST(absent_pages_are_tracked_without_markers)
{
	struct ferry_dirty *dirty;
	char *mem = map_pages(16);

	use_table();
	table.ioctl = old_ioctl;
	ck_assert_int_eq(open_kind(FERRY_DIRTY_WP_SYNC, NULL, &dirty), 0);
	ck_assert(dirty->populate);
	ck_assert_int_eq(ferry_dirty_arm(dirty, mem, 16 * PAGE, NULL), 0);
	assert_clean(dirty, mem, 16);
	ck_assert_int_eq(mem[5 * PAGE], 0);
	assert_clean(dirty, mem, 16);
	mem[6 * PAGE] = 1;
	assert_one_run(dirty, mem, 16, 6, 1);
	assert_clean(dirty, mem, 16);
	madvise(mem + 9 * PAGE, 2 * PAGE, MADV_DONTNEED);
	assert_one_run(dirty, mem, 16, 9, 2);
	mem[10 * PAGE] = 1;
	assert_one_run(dirty, mem, 16, 10, 1);
	ferry_dirty_close(dirty);
}
END_TEST

/* Rules stand before the handler thread starts: 1 is the trial, 2 arming. */
START_TEST(a_writer_is_let_go_though_unprotecting_failed)
{
	struct inject_rule fail = { .call = INJECT_IOCTL,
				    .request = FERRY__UFFDIO_WRITEPROTECT,
				    .nth = 3,
				    .count = 3,
				    .error = ENOMEM };
	struct ferry_dirty *dirty;
	char *mem;

	inject_start();
	inject_add(&fail);
	dirty = track(FERRY_DIRTY_WP_SYNC, 8, &mem);
	mem[2 * PAGE] = 2;
	ck_assert_uint_eq(inject_hits(&fail), 3);
	assert_one_run(dirty, mem, 8, 2, 1);
	ferry_dirty_close(dirty);
	inject_stop();
}
END_TEST

/* 3 lets the writer go, 4 is the collection's. */
START_TEST(pages_that_stay_unprotected_are_reported_again)
{
	struct inject_rule fail = { .call = INJECT_IOCTL,
				    .request = FERRY__UFFDIO_WRITEPROTECT,
				    .nth = 4,
				    .error = ENOMEM };
	struct ferry_dirty *dirty;
	char *mem;

	inject_start();
	inject_add(&fail);
	dirty = track(FERRY_DIRTY_WP_SYNC, 8, &mem);
	mem[2 * PAGE] = 2;
	assert_one_run(dirty, mem, 8, 2, 1);
	ck_assert_uint_eq(inject_hits(&fail), 1);
	mem[2 * PAGE] = 3;
	assert_one_run(dirty, mem, 8, 2, 1);
	assert_clean(dirty, mem, 8);
	ferry_dirty_close(dirty);
	inject_stop();
}
END_TEST

/* --- MPROTECT ------------------------------------------------------------- */

START_TEST(a_fault_at_the_limit_of_mappings_opens_more)
{
	struct inject_rule limit = { .call = INJECT_MPROTECT,
				     .count = 2,
				     .error = ENOMEM };
	struct ferry_dirty *dirty;
	char *mem;

	dirty = track(FERRY_DIRTY_MPROTECT, PAGES, &mem);
	inject_start();
	inject_add(&limit);
	mem[5 * PAGE] = 2;
	inject_stop();
	ck_assert_uint_eq(limit.hits, 2);
	/* One page and sixteen were refused. */
	assert_one_run(dirty, mem, PAGES, 0, 256);
	assert_clean(dirty, mem, PAGES);
	mem[5 * PAGE] = 3;
	assert_one_run(dirty, mem, PAGES, 5, 1);
	ferry_dirty_close(dirty);
}
END_TEST

START_TEST(pages_that_stay_open_are_reported_again)
{
	struct inject_rule limit = { .call = INJECT_MPROTECT, .error = ENOMEM };
	struct ferry_dirty *dirty;
	char *mem;

	dirty = track(FERRY_DIRTY_MPROTECT, 8, &mem);
	mem[2 * PAGE] = 2;
	inject_start();
	inject_add(&limit);
	assert_one_run(dirty, mem, 8, 2, 1);
	ck_assert_uint_eq(limit.hits, 1);
	mem[2 * PAGE] = 3;
	assert_one_run(dirty, mem, 8, 2, 1);
	assert_clean(dirty, mem, 8);
	inject_stop();
	ferry_dirty_close(dirty);
}
END_TEST

START_TEST(islands_make_windows_grow)
{
	const size_t pages = 1 << 15;
	struct ferry_range *runs;
	struct ferry_dirty *dirty;
	size_t i, n, reported = 0;
	char *mem;

	dirty = track(FERRY_DIRTY_MPROTECT, pages, &mem);
	for (i = 0; i < pages; i += 2)
		mem[i * PAGE] = 2;
	runs = calloc(pages, sizeof(*runs));
	ck_assert_int_eq(collect(dirty, mem, pages, runs, pages, &n), 0);
	/* An island a page would be 16384 mappings. */
	ck_assert_uint_lt(n, pages / 4);
	for (i = 0; i < n; i++)
		reported += runs[i].len / PAGE;
	ck_assert_uint_gt(reported, pages / 2);
	/* When the islands are gone, windows are one page again. */
	mem[7 * PAGE] = 3;
	assert_one_run(dirty, mem, pages, 7, 1);
	free(runs);
	ferry_dirty_close(dirty);
}
END_TEST

START_TEST(memory_without_write_access_stays_so)
{
	struct ferry_dirty *dirty;
	enum ferry_reason reason;
	char *mem = map_pages(4);

	ck_assert_int_eq(open_kind(FERRY_DIRTY_MPROTECT, NULL, &dirty), 0);
	ck_assert_int_eq(mprotect(mem + PAGE, PAGE, PROT_READ), 0);
	ck_assert_int_eq(ferry_dirty_arm(dirty, mem, 4 * PAGE, &reason),
			 -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_READ_ONLY);
	ck_assert_int_eq(
		mprotect(mem + PAGE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC),
		0);
	ck_assert_int_eq(ferry_dirty_arm(dirty, mem, 4 * PAGE, &reason),
			 -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_SPLIT);
	ferry_dirty_close(dirty);
}
END_TEST

START_TEST(two_trackers_do_not_share_a_range)
{
	struct ferry_dirty *first, *second;
	char *mem;

	first = track(FERRY_DIRTY_MPROTECT, 8, &mem);
	ck_assert_int_eq(open_kind(FERRY_DIRTY_MPROTECT, NULL, &second), 0);
	ck_assert_int_lt(ferry_dirty_arm(second, mem, 8 * PAGE, NULL), 0);
	mem[0] = 2;
	assert_one_run(first, mem, 8, 0, 1);
	ferry_dirty_close(second);
	ferry_dirty_close(first);
}
END_TEST

static volatile sig_atomic_t host_faults;
static char *host_page;

static void host_handler(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	host_faults += info->si_addr == host_page;
	mprotect(host_page, PAGE, PROT_READ | PROT_WRITE);
}

/* A host that protects its own memory and handles its own faults. */
START_TEST(faults_of_the_host_reach_the_host)
{
	struct sigaction act = { .sa_sigaction = host_handler,
				 .sa_flags = SA_SIGINFO };
	struct ferry_dirty *dirty;
	char *mem;
	int i;

	ck_assert_int_eq(sigaction(SIGSEGV, &act, NULL), 0);
	host_page = map_pages(1);
	dirty = track(FERRY_DIRTY_MPROTECT, 8, &mem);
	for (i = 0; i < 3; i++) {
		ck_assert_int_eq(mprotect(host_page, PAGE, PROT_READ), 0);
		*(volatile char *)host_page = 1;
		ck_assert_int_eq(host_faults, i + 1);
		mem[i * PAGE] = 2;
		if (i == 1)
			ck_assert_int_eq(
				ferry_dirty_disarm(dirty, mem, 8 * PAGE), 0);
	}
	ferry_dirty_close(dirty);
}
END_TEST

START_TEST(mprotect_tracks_without_proc)
{
	struct inject_rule none = { .call = INJECT_OPEN,
				    .count = INJECT_ALWAYS,
				    .error = ENOENT };
	struct ferry_dirty *dirty;
	char *mem;

	inject_start();
	inject_add(&none);
	dirty = track(FERRY_DIRTY_MPROTECT, 8, &mem);
	mem[PAGE] = 2;
	assert_one_run(dirty, mem, 8, 1, 1);
	assert_clean(dirty, mem, 8);
	ferry_dirty_close(dirty);
	inject_stop();
}
END_TEST

/* --- interleavings, step by step ------------------------------------------ */

/* Threads take turns: each waits for its number. Sequentially consistent. */
static int turn;

static void next_turn(int n)
{
	__atomic_store_n(&turn, n, __ATOMIC_SEQ_CST);
}

static void await_turn(int n)
{
	while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) < n)
		ferry__sys_linux.sched_yield();
}

struct late_write {
	pthread_t thread;
	char *page;
	int turn;
};

static void *write_in_turn(void *arg)
{
	const struct late_write *w = arg;

	await_turn(w->turn);
	*(volatile char *)w->page += 1;
	return NULL;
}

static void start_writer(struct late_write *w, char *page)
{
	*w = (struct late_write){ .page = page, .turn = 1 };
	ck_assert_int_eq(pthread_create(&w->thread, NULL, write_in_turn, w), 0);
}

static void collector_closes(void *arg)
{
	(void)arg;
	next_turn(1);
	await_turn(2);
}

static void writer_opens(void *arg)
{
	(void)arg;
	next_turn(2);
	await_turn(3);
}

/*
 * A fault begins while a collection is under way, and opens its page after
 * that has passed it.
 */
START_TEST(a_page_opened_behind_a_collection_is_in_the_next)
{
	struct inject_rule closing = { .call = INJECT_MPROTECT,
				       .hook = collector_closes };
	struct inject_rule opening = { .call = INJECT_MPROTECT,
				       .hook = writer_opens };
	struct ferry_dirty *dirty;
	struct late_write w;
	char *mem;

	dirty = track(FERRY_DIRTY_MPROTECT, 16, &mem);
	mem[0] = 2;
	closing.at = (uintptr_t)mem;
	opening.at = (uintptr_t)mem + 10 * PAGE;
	inject_start();
	inject_add(&closing);
	inject_add(&opening);
	start_writer(&w, mem + 10 * PAGE);
	assert_one_run(dirty, mem, 16, 0, 1);
	next_turn(3);
	pthread_join(w.thread, NULL);
	assert_one_run(dirty, mem, 16, 10, 1);
	assert_clean(dirty, mem, 16);
	inject_stop();
	ferry_dirty_close(dirty);
}
END_TEST

/* Opens, and then is slow to come back. */
static int slow_mprotect(void *addr, size_t len, int prot)
{
	int r = real->mprotect(addr, len, prot);

	if (prot & PROT_WRITE) {
		next_turn(2);
		real->sleep_ns(200000000);
	}
	return r;
}

/* The page is open and not marked yet when another thread writes to it. */
START_TEST(a_collection_waits_for_handlers_under_way)
{
	struct ferry_dirty *dirty;
	struct late_write w;
	char *mem;

	use_table();
	dirty = track(FERRY_DIRTY_MPROTECT, 16, &mem);
	table.mprotect = slow_mprotect;
	start_writer(&w, mem + 5 * PAGE);
	next_turn(1);
	await_turn(2);
	mem[5 * PAGE + 1] = 9;
	assert_one_run(dirty, mem, 16, 5, 1);
	pthread_join(w.thread, NULL);
	table.mprotect = real->mprotect;
	ferry_dirty_close(dirty);
}
END_TEST

/* A writer has its chance after the bits were read, before they go. */
static ssize_t slow_clear(int fd, const void *buf, size_t len)
{
	next_turn(1);
	real->sleep_ns(200000000);
	return real->write(fd, buf, len);
}

START_TEST(a_write_amid_a_harvest_is_in_the_next)
{
	struct ferry_dirty *dirty;
	struct late_write w;
	char *mem;

	use_table();
	dirty = track(FERRY_DIRTY_SOFT, 16, &mem);
	start_writer(&w, mem + 5 * PAGE);
	table.write = slow_clear;
	assert_clean(dirty, mem, 16);
	table.write = real->write;
	pthread_join(w.thread, NULL);
	assert_one_run(dirty, mem, 16, 5, 1);
	ferry_dirty_close(dirty);
}
END_TEST

START_TEST(only_one_soft_tracker_is_open)
{
	struct ferry_dirty *first, *second;
	enum ferry_reason reason;

	ck_assert_int_eq(open_kind(FERRY_DIRTY_SOFT, NULL, &first), 0);
	ck_assert_int_eq(open_kind(FERRY_DIRTY_SOFT, &reason, &second), -EBUSY);
	ck_assert_int_eq(reason, FERRY_REASON_IN_USE);
	ferry_dirty_close(first);
	ck_assert_int_eq(open_kind(FERRY_DIRTY_SOFT, NULL, &second), 0);
	ferry_dirty_close(second);
}
END_TEST

#define ASYNC_NEEDS "wp_async,pagemap_scan"

static const struct test tests[] = {
	TEST(best_provider_is_chosen, ASYNC_NEEDS),
	TEST(without_pagemap_scan_others_serve, ASYNC_NEEDS),
	TEST(without_userfaultfd_mprotect_serves, NULL),
	TEST(without_pagemap_mprotect_serves, ASYNC_NEEDS),
	TEST(a_refused_handler_is_said, NULL),
	TEST(bad_params_are_refused, NULL),
	TEST(wp_async_survives_the_failure_of_each_step, ASYNC_NEEDS),
	TEST(wp_sync_survives_the_failure_of_each_step, "wp"),
	TEST(soft_survives_the_failure_of_each_step, "soft_dirty,wp"),
	TEST(mprotect_survives_the_failure_of_each_step, NULL),
	TEST(a_lost_scan_is_said, ASYNC_NEEDS),
	TEST(short_reads_of_the_pagemap_lose_nothing, "wp"),
	TEST(absent_pages_are_tracked_without_markers, "wp"),
	TEST(a_writer_is_let_go_though_unprotecting_failed, "wp"),
	TEST(pages_that_stay_unprotected_are_reported_again, "wp"),
	TEST(a_fault_at_the_limit_of_mappings_opens_more, NULL),
	TEST(pages_that_stay_open_are_reported_again, NULL),
	TEST(islands_make_windows_grow, NULL),
	TEST(memory_without_write_access_stays_so, NULL),
	TEST(two_trackers_do_not_share_a_range, NULL),
	TEST(faults_of_the_host_reach_the_host, NULL),
	TEST(mprotect_tracks_without_proc, NULL),
	TEST(a_page_opened_behind_a_collection_is_in_the_next, NULL),
	TEST(a_collection_waits_for_handlers_under_way, NULL),
	TEST(a_write_amid_a_harvest_is_in_the_next, "soft_dirty,wp"),
	TEST(only_one_soft_tracker_is_open, "soft_dirty,wp"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
