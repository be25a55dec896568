/* SPDX-License-Identifier: MIT */
/* When the pager takes pages, and when it lets them be. */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "alloc/pager/pager-internal.h"
#include "tests/files.h"
#include "tests/inject.h"
#include "tests/pager_bed.h"
#include "tests/served.h"

#define PAGES  640
#define SECOND 1000000000ull

static struct bed bed;

static char *at(size_t page)
{
	return bed.addr + page * bed.page;
}

/* A policy by itself, at times that the test names: no thread runs. */
static struct ferry__pager *still_pager(void)
{
	struct ferry__pager *pager;
	char *addr = map_anon(HUGE_SIZE);

	bed.params.n_tiers = 0;
	ck_assert_int_eq(ferry__pager_create(&bed.params, &pager), 0);
	ck_assert_int_eq(ferry__pager_add_region(pager, addr, HUGE_SIZE), 0);
	ferry__pager_grow(pager, addr, HUGE_SIZE);
	pager->handler.thread = pthread_self();
	return pager;
}

START_TEST(refaults_beyond_the_limit_double_the_age)
{
	struct ferry__pager *pager;
	uint64_t now = SECOND, age, i;

	bed_params(&bed);
	bed.params.cold_after_ns = bed.params.idle_after_ns = SECOND;
	bed.params.refault_limit = 2;
	pager = still_pager();
	ferry__policy_update(pager, now);
	age = pager->policy.slower;
	ck_assert_uint_eq(age, 0);
	for (i = 1; i <= 3; i++) {
		pager->counts.refaults += 1000;
		ferry__policy_update(pager, now += 11 * SECOND);
		ck_assert_uint_eq(pager->policy.slower, i);
	}
	ck_assert_uint_eq(pager->counts.backed_off, 3);
	/* A quiet minute halves it again. */
	for (i = 0; i < 6; i++)
		ferry__policy_update(pager, now += 11 * SECOND);
	ck_assert_uint_eq(pager->policy.slower, 2);
	ferry__pager_destroy(pager);
}
END_TEST

START_TEST(no_limit_of_refaults_never_backs_off)
{
	struct ferry__pager *pager;
	uint64_t now = SECOND;

	bed_params(&bed);
	bed.params.refault_limit = 0;
	pager = still_pager();
	ferry__policy_update(pager, now);
	pager->counts.refaults += 1000000;
	ferry__policy_update(pager, now += 11 * SECOND);
	ck_assert_uint_eq(pager->policy.slower, 0);
	ferry__pager_destroy(pager);
}
END_TEST

/* What the parent of a fork did is not held against its child. */
START_TEST(refaults_of_before_are_not_counted)
{
	struct ferry__pager *pager;
	uint64_t now = SECOND;

	bed_params(&bed);
	bed.params.refault_limit = 2;
	pager = still_pager();
	pager->counts.refaults = 1000000;
	ferry__policy_update(pager, now);
	ferry__policy_update(pager, now += 11 * SECOND);
	ck_assert_uint_eq(pager->policy.slower, 0);
	ferry__pager_destroy(pager);
}
END_TEST

/* Long ages are not to begin anew at zero. */
START_TEST(however_often_an_age_doubles_it_grows)
{
	const uint64_t ages[] = { 10 * SECOND, 60 * SECOND, 3600 * SECOND,
				  36500 * (86400 * SECOND) };
	struct ferry__pager *pager;
	uint64_t now = SECOND, last;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ages); i++) {
		bed_params(&bed);
		bed.params.cold_after_ns = bed.params.idle_after_ns = ages[i];
		bed.params.refault_limit = 2;
		pager = still_pager();
		for (last = 0; last < 12; last++) {
			pager->counts.refaults += 10000000;
			ferry__policy_update(pager, now += 11 * SECOND);
			ck_assert_uint_ge(pager->policy.age_ns, ages[i]);
		}
		ferry__pager_destroy(pager);
	}
}
END_TEST

START_TEST(what_is_busy_for_ever_is_not_asked_about_all_the_time)
{
	struct ferry__pager_place p = { .n = FERRY__BLOCK_PAGES,
					.now = SECOND };
	struct ferry__pager_block block = { .backoff = 10, .busy_backoff = 10 };

	bed_params(&bed);
	p.pager = still_pager();
	p.region = ferry__region_first(p.pager);
	p.block = &block;
	/* 17 s, and ten times doubled by refaults. */
	p.pager->policy.age_ns = 1ull << 44;
	block.due = block.empty_due = UINT64_MAX;
	ck_assert_uint_gt(ferry__block_look(&p), p.now + (1ull << 44));
	ferry__pager_destroy(p.pager);
}
END_TEST

/* Clocks that are read one after the other: a little more, a little less. */
static uint64_t process_cpu;

static uint64_t cpu_clock(int clock)
{
	return clock == CLOCK_PROCESS_CPUTIME_ID ? process_cpu : 1000;
}

START_TEST(a_process_that_does_nothing_is_idle)
{
	static struct ferry__sys table;
	struct ferry__pager *pager;
	uint64_t now = SECOND, i;

	bed_params(&bed);
	pager = still_pager();
	table = *ferry__sys;
	table.clock_ns = cpu_clock;
	ferry__sys = &table;
	process_cpu = 5 * SECOND;
	ferry__policy_update(pager, now);
	for (i = 0; i < 10; i++) {
		process_cpu += i % 2 ? 400 : -400;
		ferry__policy_update(pager, now += SECOND);
		ck_assert(pager->policy.idle);
	}
	process_cpu += SECOND / 50;
	ferry__policy_update(pager, now += SECOND);
	ck_assert(!pager->policy.idle);
	ferry__pager_destroy(pager);
}
END_TEST

START_TEST(a_rate_lets_out_so_much_a_second)
{
	struct ferry__pager *pager;
	uint64_t sum = 0, i;

	inject_start();
	inject_clock(100 * SECOND);
	bed_params(&bed);
	bed.params.rate = 1 << 20;
	pager = still_pager();
	for (i = 0; i < 10000; i++) {
		if (ferry__policy_allows(pager, 65536))
			sum += 65536;
		inject_clock_advance(SECOND / 1000);
	}
	/* Ten seconds, and what the first one may begin with. */
	ck_assert_uint_ge(sum, 9u << 20);
	ck_assert_uint_le(sum, 12u << 20);
	inject_stop();
	ferry__pager_destroy(pager);
}
END_TEST

/* However often it is asked, and however little it is. */
START_TEST(a_low_rate_lets_out_so_much_a_minute)
{
	struct ferry__pager *pager;
	uint64_t sum = 0, i;

	inject_start();
	inject_clock(100 * SECOND);
	bed_params(&bed);
	bed.params.rate = 900;
	pager = still_pager();
	for (i = 0; i < 600000; i++) {
		if (ferry__policy_allows(pager, 4096))
			sum += 4096;
		inject_clock_advance(SECOND / 10000);
	}
	/* A minute's worth, by pages. */
	ck_assert_uint_ge(sum, 12 * 4096);
	ck_assert_uint_le(sum, 16 * 4096);
	inject_stop();
	ferry__pager_destroy(pager);
}
END_TEST

START_TEST(above_the_target_pages_grow_old_sooner)
{
	struct ferry__pager *pager;
	uint64_t now = SECOND, i;

	bed_params(&bed);
	bed.params.rss_target = 4096;
	pager = still_pager();
	memset((void *)pager->regions->addr, 1, HUGE_SIZE);
	for (i = 0; i < 10; i++)
		ferry__policy_update(pager, now += 2 * SECOND);
	ck_assert_uint_gt(pager->policy.haste, 1);
	madvise((void *)pager->regions->addr, HUGE_SIZE, MADV_DONTNEED);
	for (i = 0; i < 10; i++)
		ferry__policy_update(pager, now += 2 * SECOND);
	ck_assert_uint_eq(pager->policy.haste, 0);
	ferry__pager_destroy(pager);
}
END_TEST

/* --- pressure ------------------------------------------------------------ */

/* What @path counts stalled for @us microseconds since it was started. */
static void stalled_in(const char *path, uint64_t us)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "some avg10=0.00 avg60=0.00 avg300=0.00 total=%llu\n"
		 "full avg10=0.00 avg60=0.00 avg300=0.00 total=%llu\n",
		 (unsigned long long)us, (unsigned long long)us / 2);
	files_add(path, text);
}

static void stalled(uint64_t us)
{
	stalled_in("/proc/pressure/memory", us);
}

static struct ferry__pager *pager_of(bool pressure)
{
	files_start();
	bed_params(&bed);
	bed.params.cold_after_ns = bed.params.idle_after_ns = 64 * SECOND;
	bed.params.pressure = pressure;
	return still_pager();
}

/* @us more in each of so many looks, which are two seconds apart. */
static void look_on(struct ferry__pager *pager, unsigned int looks, uint64_t us)
{
	static uint64_t now = SECOND, sum = 123456;

	for (; looks; looks--) {
		stalled(sum += us);
		ferry__policy_update(pager, now += 2 * SECOND);
	}
}

START_TEST(under_pressure_pages_grow_old_sooner)
{
	struct ferry__pager *pager = pager_of(true);

	look_on(pager, 1, 0);
	ck_assert_uint_eq(pager->policy.age_ns, 64 * SECOND);
	look_on(pager, 1, 100000);
	ck_assert_uint_eq(pager->policy.age_ns, 32 * SECOND);
	/* And no sooner than that, however long it lasts. */
	look_on(pager, 20, 2000000);
	ck_assert_uint_eq(pager->policy.age_ns, 4 * SECOND);
	look_on(pager, 1, 0);
	ck_assert_uint_eq(pager->policy.age_ns, 8 * SECOND);
	look_on(pager, 20, 0);
	ck_assert_uint_eq(pager->policy.age_ns, 64 * SECOND);
	ferry__pager_destroy(pager);
}
END_TEST

/* In a system where that is lost among many processors. */
START_TEST(stalls_of_the_own_group_are_pressure_too)
{
	struct ferry__pager *pager = pager_of(true);
	uint64_t now = SECOND, sum = 1;

	files_add("/proc/self/cgroup", "0::/box/inner\n");
	stalled(1000);
	for (; pager->policy.haste < 2; now += 2 * SECOND) {
		ck_assert_uint_lt(sum, SECOND);
		stalled_in("/sys/fs/cgroup/box/memory.pressure", sum += 100000);
		ferry__policy_update(pager, now);
	}
	/* Another group, whose clock is behind: nothing is known yet. */
	stalled_in("/sys/fs/cgroup/box/memory.pressure", 5);
	ferry__policy_update(pager, now);
	ck_assert_uint_eq(pager->policy.haste, 1);
	ferry__pager_destroy(pager);
}
END_TEST

START_TEST(a_hundredth_of_the_time_stalled_is_no_pressure)
{
	struct ferry__pager *pager = pager_of(true);

	look_on(pager, 20, 20000);
	ck_assert_uint_eq(pager->policy.age_ns, 64 * SECOND);
	ferry__pager_destroy(pager);
}
END_TEST

START_TEST(pressure_is_not_asked_for_where_it_is_off)
{
	struct ferry__pager *pager = pager_of(false);

	look_on(pager, 20, 2000000);
	ck_assert_uint_eq(pager->policy.age_ns, 64 * SECOND);
	ferry__pager_destroy(pager);
}
END_TEST

START_TEST(without_stall_times_a_twentieth_of_the_memory_is_short)
{
	struct ferry__pager *pager = pager_of(true);

	files_add("/proc/meminfo",
		  "MemTotal: 1000 kB\nMemFree: 9 kB\nMemAvailable: 50 kB\n");
	ferry__policy_update(pager, 9 * SECOND);
	ck_assert_uint_eq(pager->policy.haste, 0);
	files_add("/proc/meminfo",
		  "MemTotal: 1000 kB\nMemFree: 9 kB\nMemAvailable: 49 kB\n");
	ferry__policy_update(pager, 11 * SECOND);
	ck_assert_uint_eq(pager->policy.haste, 1);
	ferry__pager_destroy(pager);
}
END_TEST

/* --- with threads -------------------------------------------------------- */

/* Away by now? Then it is touched, and the handler has counted that. */
static size_t come_back(size_t page, size_t before)
{
	struct ferry__pager_stats s;

	if (page_there(at(page)))
		return before;
	touch(at(page));
	do {
		harness_pause();
		s = bed_stats(&bed);
	} while (s.faults_limbo + s.faults_stored == before);
	return before + 1;
}

/*
 * A page that is touched again and again is left alone more and more. Time
 * passes where the test says so, a tenth of the age at a step.
 */
START_TEST(hot_pages_are_asked_about_less_and_less)
{
	const size_t steps = 100;
	size_t i, early = 0, all = 0;

	inject_start();
	inject_clock(SECOND);
	bed_params(&bed);
	bed.params.cold_after_ns = bed.params.idle_after_ns = 10 * SECOND;
	bed_start(&bed, PAGES);
	for (i = 0; i < steps * 5; i++) {
		inject_clock_advance(SECOND);
		ck_assert_int_eq(ferry__pager_run(bed.pager, false), 0);
		all = come_back(5, all);
		if (i < steps)
			early = all;
	}
	/* Without it, in each four times as often as in the first. */
	ck_assert_uint_ge(early, 2);
	ck_assert_uint_le(all - early, early + 1);
	ck_assert(page_holds(at(5), 6));
	bed_end(&bed);
}
END_TEST

/* Ticks of the pager's thread: when, and whether the process was idle. */
#define TICKS 64
static struct {
	uint64_t at;
	bool idle;
} ticks[TICKS];
static size_t n_ticks; /* the pager's thread's, and who waits for tocks */
static sem_t tocks;

static void tick(void *arg, uint64_t now_ns, bool idle)
{
	(void)arg;
	if (n_ticks == TICKS)
		return;
	ticks[n_ticks].at = now_ns;
	ticks[n_ticks++].idle = idle;
	sem_post(&tocks);
}

/*
 * This thread sleeps all the time: a test that looks now and then is not
 * idle. A machine may wake the pager too late, but never too early.
 */
START_TEST(an_idle_process_with_nothing_cold_is_woken_less_and_less)
{
	size_t i, idle = 0;

	ck_assert_int_eq(sem_init(&tocks, 0, 0), 0);
	bed_params(&bed);
	bed.params.tick = tick;
	bed_start(&bed, PAGES);
	for (i = 0; i < TICKS && idle < 3; i++) {
		while (sem_wait(&tocks))
			;
		if (idle)
			ck_assert_uint_ge(ticks[i].at - ticks[i - 1].at,
					  SECOND << idle);
		idle = ticks[i].idle ? idle + 1 : 0;
	}
	ck_assert_uint_eq(idle, 3);
	bed_end(&bed);
}
END_TEST

/* --- probes -------------------------------------------------------------- */

#define BLOCK FERRY__BLOCK_PAGES

/* What was in limbo of a block after each look at it, in the pager's thread. */
static struct {
	bool hot; /* all pages are touched after the first pages were taken */
	bool wanted;
	size_t first, then, soon, again;
	uint64_t backoff;
	sem_t done;
} probed;

static size_t look(struct ferry__pager_place *p, uint64_t now)
{
	p->now = now;
	p->pager->policy.age_ns = 8 * SECOND;
	p->pager->policy.idle = false;
	ferry__block_look(p);
	return ferry__block_in_limbo(p);
}

static void touch_first(size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		*(volatile char *)at(i) = *(volatile char *)at(i);
}

/* Times are named, so that nothing hangs on how quick this is. */
static void tick_probe(void *arg, uint64_t now_ns, bool idle)
{
	struct ferry__pager_region *r = ferry__region_first(bed.pager);
	struct ferry__pager_place p = { bed.pager, r, r->blocks, 0, BLOCK, 0 };
	uint64_t begin = now_ns + 3600 * SECOND;

	(void)arg, (void)idle;
	/* Acquires what probe() has released. */
	if (!__atomic_exchange_n(&probed.wanted, false, __ATOMIC_ACQ_REL))
		return;
	ferry__region_cover(bed.pager, r, bed.len);
	*p.block = (struct ferry__pager_block){ 0 };
	look(&p, begin);
	probed.first = look(&p, begin + 2 * SECOND);
	if (probed.hot)
		touch_first(BLOCK);
	probed.then = look(&p, begin + 3 * SECOND);
	probed.backoff = p.block->backoff;
	/* A quarter of twice the age, since it was found to be hot. */
	probed.soon = look(&p, begin + 7 * SECOND - 1);
	probed.again = look(&p, begin + 7 * SECOND);
	sem_post(&probed.done);
}

static void probe(bool hot)
{
	memset(&probed, 0, sizeof(probed));
	probed.hot = hot;
	ck_assert_int_eq(sem_init(&probed.done, 0, 0), 0);
	bed_params(&bed);
	bed.params.tick = tick_probe;
	bed_start(&bed, PAGES);
	__atomic_store_n(&probed.wanted, true, __ATOMIC_RELEASE);
	ck_assert_int_eq(ferry__pager_run(bed.pager, false), 0);
	while (sem_wait(&probed.done))
		;
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}

START_TEST(of_a_hot_block_a_few_pages_are_taken)
{
	probe(true);
	ck_assert_uint_ge(probed.first, 1);
	ck_assert_uint_le(probed.first, 5);
	ck_assert_uint_eq(probed.then, 0);
	ck_assert_uint_eq(probed.backoff, 1);
	ck_assert_uint_eq(probed.soon, 0);
	ck_assert_uint_ge(probed.again, 1);
	ck_assert_uint_le(probed.again, 5);
}
END_TEST

START_TEST(of_a_cold_block_the_others_follow)
{
	probe(false);
	ck_assert_uint_ge(probed.first, 1);
	ck_assert_uint_le(probed.first, 5);
	ck_assert_uint_gt(probed.then, BLOCK / 2);
	ck_assert_uint_eq(probed.backoff, 0);
	ck_assert_uint_ge(probed.again, probed.then);
}
END_TEST

/* --- a debugger ---------------------------------------------------------- */

/* A child that traces its parent without stopping it, until it is told. */
static pid_t start_tracer(int *ret_end)
{
	pid_t parent = getpid(), pid;
	int ends[2], ready[2];
	char c = 'x';

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(pipe(ready), 0);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	pid = fork();
	if (!pid) {
		close(ends[1]);
		if (ptrace(PTRACE_SEIZE, parent, NULL, NULL))
			_exit(77);
		(void)!write(ready[1], &c, 1);
		(void)!read(ends[0], &c, 1);
		_exit(0);
	}
	close(ends[0]);
	close(ready[1]);
	*ret_end = ends[1];
	if (read(ready[0], &c, 1) == 1)
		return pid;
	waitpid(pid, NULL, 0);
	return 0;
}

START_TEST(what_is_traced_has_all_in_memory)
{
	pid_t tracer;
	int end;

	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	tracer = start_tracer(&end);
	if (!tracer)
		SKIP("ptrace", "a child may not trace its parent here");
	AWAIT(!bed_stats(&bed).stored && !bed_stats(&bed).limbo);
	bed_run(&bed);
	ck_assert_uint_eq(bed_here(&bed), PAGES);
	close(end);
	ck_assert_int_eq(waitpid(tracer, NULL, 0), tracer);
	bed_all_out(&bed);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

/* As debuggers read: a page that is out cannot be had like that. */
START_TEST(cold_memory_cannot_be_read_as_a_file)
{
	int fd = open("/proc/self/mem", O_RDONLY);
	uint64_t word = 0;

	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(
		pread(fd, &word, sizeof(word), (off_t)(uintptr_t)at(9)), -1);
	ck_assert_int_eq(errno, EIO);
	ck_assert(page_holds(at(9), 10));
	ck_assert_int_eq(
		pread(fd, &word, sizeof(word), (off_t)(uintptr_t)at(9)),
		sizeof(word));
	ck_assert_uint_eq(word, page_word(10, 0));
	close(fd);
	bed_end(&bed);
}
END_TEST

START_TEST(threads_can_be_stopped_and_started_again)
{
	unsigned int i;

	bed_begin(&bed, PAGES);
	for (i = 0; i < 5; i++) {
		bed_all_out(&bed);
		ck_assert_int_eq(ferry__pager_stop(bed.pager), 0);
		ck_assert(!bed_stats(&bed).running);
		ck_assert_uint_eq(bed_here(&bed), PAGES);
		assert_pages(bed.addr, PAGES * bed.page, 1);
		ck_assert_int_eq(ferry__pager_start(bed.pager, NULL), 0);
	}
	bed_end(&bed);
}
END_TEST

static const struct test tests[] = {
	TEST(refaults_beyond_the_limit_double_the_age, NULL),
	TEST(no_limit_of_refaults_never_backs_off, NULL),
	TEST(refaults_of_before_are_not_counted, NULL),
	TEST(however_often_an_age_doubles_it_grows, NULL),
	TEST(what_is_busy_for_ever_is_not_asked_about_all_the_time, NULL),
	TEST(a_process_that_does_nothing_is_idle, NULL),
	TEST(a_rate_lets_out_so_much_a_second, NULL),
	TEST(a_low_rate_lets_out_so_much_a_minute, NULL),
	TEST(above_the_target_pages_grow_old_sooner, NULL),
	TEST(under_pressure_pages_grow_old_sooner, NULL),
	TEST(stalls_of_the_own_group_are_pressure_too, NULL),
	TEST(a_hundredth_of_the_time_stalled_is_no_pressure, NULL),
	TEST(pressure_is_not_asked_for_where_it_is_off, NULL),
	TEST(without_stall_times_a_twentieth_of_the_memory_is_short, NULL),
	TEST(hot_pages_are_asked_about_less_and_less, PAGER_NEEDS),
	TEST(an_idle_process_with_nothing_cold_is_woken_less_and_less,
	     PAGER_NEEDS),
	TEST(of_a_hot_block_a_few_pages_are_taken, PAGER_NEEDS),
	TEST(of_a_cold_block_the_others_follow, PAGER_NEEDS),
	TEST(what_is_traced_has_all_in_memory, PAGER_NEEDS),
	TEST(cold_memory_cannot_be_read_as_a_file, PAGER_NEEDS),
	TEST(threads_can_be_stopped_and_started_again, PAGER_NEEDS),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
