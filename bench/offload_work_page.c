/* SPDX-License-Identifier: MIT */
/*
 * offload_work_page.c: pages that have become cold: how long it takes to read
 * them all, to touch one, and to fork.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hist.h"
#include "offload_work.h"

#define PAGE 4096

/* Some pages stay for good reasons: of the last slab, of what is written. */
#define MAY_STAY  0.05
#define POLL_NS	  20000000
#define SETTLE_NS 450000000 /* longer than a page is on its way */

/* --- which pages, and where they are -------------------------------------- */

static int by_address(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return (*x > *y) - (*x < *y);
}

static void drop_doubles(struct offload_pages *p)
{
	size_t n = 0;

	qsort(p->v, p->n, sizeof(*p->v), by_address);
	for (size_t i = 0; i < p->n; i++)
		if (n == 0 || p->v[i] != p->v[n - 1])
			p->v[n++] = p->v[i];
	p->n = n;
}

void offload_pages_of(const struct offload_table *t, size_t from, size_t to,
		      struct offload_pages *ret)
{
	ret->v = bench_alloc((to - from) * sizeof(*ret->v));
	ret->n = 0;
	for (size_t i = from; i < to; i++)
		ret->v[ret->n++] =
			(char *)((uintptr_t)t->v[i] & ~(uintptr_t)(PAGE - 1));
	drop_doubles(ret);
}

void offload_pages_in(char *addr, size_t len, struct offload_pages *ret)
{
	ret->n = len / PAGE;
	ret->v = bench_alloc(ret->n * sizeof(*ret->v));
	for (size_t i = 0; i < ret->n; i++)
		ret->v[i] = addr + i * PAGE;
}

void offload_pages_free(struct offload_pages *p)
{
	free(p->v);
}

bool offload_present(const char *page)
{
	unsigned char present = 1;

	mincore((void *)page, PAGE, &present);
	return present & 1;
}

static size_t count_present(const struct offload_pages *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += offload_present(p->v[i]);
	return n;
}

static size_t resident(void)
{
	unsigned long pages = 0;
	char text[128];
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return sscanf(text, "%*u %lu", &pages) == 1 ? pages : 0;
}

/* What is absent may still be on its way to a store: until no more memory is
 * given back. */
static void wait_stored(uint64_t end)
{
	static const struct timespec period = { 0, SETTLE_NS };
	size_t before, now = resident();

	do {
		before = now;
		nanosleep(&period, NULL);
		now = resident();
	} while (now + before / 200 < before && bench_now() < end);
}

bool offload_wait_cold(const struct offload_pages *p, uint64_t ms)
{
	static const struct timespec period = { 0, POLL_NS };
	uint64_t end = bench_now() + ms * 1000000;
	double share;

	do {
		nanosleep(&period, NULL);
		share = (double)count_present(p) / (double)p->n;
	} while (share > MAY_STAY && bench_now() < end);
	if (share <= MAY_STAY) {
		wait_stored(end);
		return true;
	}
	offload_absent("%.0f %% of the pages stayed in memory", share * 100);
	return false;
}

/* A page may begin between two blocks, which a sanitizer minds. */
__attribute__((noinline, no_sanitize_address)) static void
touch(const char *page)
{
	(void)*(const volatile char *)page;
}

/* --- reading everything --------------------------------------------------- */

int offload_work_scan(struct offload_work *w)
{
	struct offload_table t;
	struct offload_pages p;
	uint64_t then;
	int rc = offload_table_make(w->bytes, &t);

	if (rc < 0)
		return rc;
	offload_pages_of(&t, 0, t.n, &p);
	offload_phase(OFFLOAD_FILLED);
	if (offload_wait_cold(&p, w->ms)) {
		offload_phase(OFFLOAD_RESTED);
		then = bench_now();
		for (size_t i = 0; i < p.n; i++)
			touch(p.v[i]);
		offload_metric(OFFLOAD_PAGE_NS,
			       (double)(bench_now() - then) / (double)p.n);
	}
	offload_wrong(offload_table_wrong(&t));
	offload_phase(OFFLOAD_CHECKED);
	offload_pages_free(&p);
	offload_table_free(&t);
	return 0;
}

/* --- touching one --------------------------------------------------------- */

#define FAULTS_MOST 4000

/*
 * All threads of the process on one processor. Where the kernel puts a handler
 * that it wakes makes a factor of five on a machine at rest (a halted
 * processor is woken, or none), and says nothing of the handler.
 */
static void stay_together(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	cpu_set_t set;
	int cpu = sched_getcpu();

	CPU_ZERO(&set);
	if (cpu >= 0)
		CPU_SET((unsigned int)cpu, &set);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			sched_setaffinity(atoi(entry->d_name), sizeof(set),
					  &set);
	if (dir)
		closedir(dir);
}

void offload_measure_faults(const struct offload_pages *p,
			    struct bench_rng *rng)
{
	static struct bench_hist ns;
	uint32_t *order = bench_alloc(p->n * sizeof(*order));

	for (size_t i = 0; i < p->n; i++)
		order[i] = (uint32_t)i;
	bench_rng_shuffle(rng, order, p->n);
	stay_together();
	for (size_t i = 0; i < p->n && ns.n < FAULTS_MOST; i++) {
		const char *page = p->v[order[i]];
		uint64_t then;

		if (offload_present(page))
			continue;
		then = bench_now();
		touch(page);
		bench_hist_add(&ns, bench_now() - then);
	}
	free(order);
	offload_metric(OFFLOAD_FAULT_P50, bench_hist_quantile(&ns, 0.5) / 1e3);
	offload_metric(OFFLOAD_FAULT_P99, bench_hist_quantile(&ns, 0.99) / 1e3);
}

int offload_work_fault(struct offload_work *w)
{
	struct offload_table t;
	struct offload_pages p;
	int rc = offload_table_make(w->bytes, &t);

	if (rc < 0)
		return rc;
	offload_pages_of(&t, 0, t.n, &p);
	offload_phase(OFFLOAD_FILLED);
	if (offload_wait_cold(&p, w->ms)) {
		offload_phase(OFFLOAD_RESTED);
		offload_measure_faults(&p, &w->rng);
	}
	offload_wrong(offload_table_wrong(&t));
	offload_phase(OFFLOAD_CHECKED);
	offload_pages_free(&p);
	offload_table_free(&t);
	return 0;
}

/* --- fork ----------------------------------------------------------------- */

#define FORKS 12

static int fork_once(double *ret_us)
{
	uint64_t then = bench_now();
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(0);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	*ret_us = (double)(bench_now() - then) * 1e-3;
	return status == 0 ? 0 : -ECHILD;
}

static void touch_all(const struct offload_pages *p)
{
	for (size_t i = 0; i < p->n; i++)
		touch(p->v[i]);
}

/* What is used stays so: @warm is read between forks. */
static int measure_forks(const struct offload_pages *warm)
{
	struct bench_samples us = { 0 };
	int rc = 0;

	for (size_t i = 0; i < FORKS && rc == 0; i++) {
		double v = 0;

		touch_all(warm);
		rc = fork_once(&v);
		if (rc == 0)
			bench_samples_add(&us, v);
	}
	if (rc == 0)
		offload_metric(OFFLOAD_FORK_US, bench_samples_stat(&us).value);
	bench_samples_fini(&us);
	return rc;
}

/* Until what was taken away has reached a store. */
static void keep_warm(const struct offload_pages *warm, uint64_t end)
{
	static const struct timespec period = { 0, POLL_NS / 4 };

	while (bench_now() < end) {
		touch_all(warm);
		nanosleep(&period, NULL);
	}
}

/* @cold is left alone while @warm is read again and again. */
static bool cool(const struct offload_pages *cold,
		 const struct offload_pages *warm, uint64_t ms)
{
	static const struct timespec period = { 0, POLL_NS / 4 };
	uint64_t end = bench_now() + ms * 1000000;
	double share;

	do {
		touch_all(warm);
		nanosleep(&period, NULL);
		share = (double)count_present(cold) / (double)cold->n;
	} while (share > MAY_STAY && bench_now() < end);
	if (share > MAY_STAY)
		offload_absent("%.0f %% of the cold half stayed in memory",
			       share * 100);
	else
		keep_warm(warm, bench_now() + 2 * SETTLE_NS);
	return share <= MAY_STAY;
}

static int run_fork(struct offload_work *w, bool half_cold)
{
	struct offload_pages cold, warm;
	struct offload_table t;
	int rc = offload_table_make(w->bytes, &t);

	if (rc < 0)
		return rc;
	offload_pages_of(&t, 0, t.n / 2, &cold);
	offload_pages_of(&t, t.n / 2, t.n, &warm);
	offload_phase(OFFLOAD_FILLED);
	if (!half_cold || cool(&cold, &warm, w->ms)) {
		offload_phase(OFFLOAD_RESTED);
		rc = measure_forks(&warm);
	}
	offload_wrong(offload_table_wrong(&t));
	offload_phase(OFFLOAD_CHECKED);
	offload_pages_free(&cold);
	offload_pages_free(&warm);
	offload_table_free(&t);
	return rc;
}

int offload_work_fork(struct offload_work *w)
{
	return run_fork(w, true);
}

int offload_work_fork_warm(struct offload_work *w)
{
	return run_fork(w, false);
}
