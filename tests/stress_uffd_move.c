/* SPDX-License-Identifier: MIT */
/*
 * ferry_move() beside everything that gets in its way: other movers, forks,
 * page-out to swap, memory compaction. A model says where each page must be;
 * at the end every byte is looked at.
 */
#include <ferry/move.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/system.h"
#include "uffd/uapi.h"

#define PAGES  ((size_t)2048)
#define MOVERS 2

static struct ferry_uffd *uffd;
static size_t page;

/* Absent pages raise SIGBUS: a lost page ends the test, not hangs it. */
static void setup(void)
{
	struct ferry_uffd_params params = FERRY_INIT(struct ferry_uffd_params);

	page = page_size();
	params.flags = FERRY_UFFD_SIGBUS;
	ck_assert_int_eq(ferry_uffd_open(&params, NULL, &uffd), 0);
}

static void teardown(void)
{
	ferry_uffd_close(uffd);
}

static void reg(char *addr, size_t len)
{
	ck_assert_int_eq(ferry_uffd_register(uffd, addr, len,
					     FERRY_REGISTER_MISSING, NULL),
			 0);
}

/* --- one destination, several movers ------------------------------------- */

struct rival {
	pthread_t thread;
	struct random rng;
	char *src, *dst;
	uint64_t first;	    /* number of its first page */
	bool won[PAGES];    /* pages it moved, says the result */
	unsigned int wrong; /* answers that must not be */
};

static void *rival_moves(void *arg)
{
	struct ferry_move_result res = FERRY_INIT(struct ferry_move_result);
	struct rival *rival = arg;
	size_t start = random_below(&rival->rng, PAGES), i, at;
	int r;

	for (i = 0; i < PAGES; i++) {
		at = (start + i) % PAGES;
		r = ferry_move(uffd, rival->dst + at * page,
			       rival->src + at * page, page, NULL, &res);
		rival->won[at] = !r;
		if (r && (r != -EEXIST || res.reason != FERRY_REASON_PRESENT))
			rival->wrong++;
	}
	return NULL;
}

static void start_rival(struct rival *rival, size_t i, char *dst)
{
	rival->rng = harness_random();
	rival->rng.s[0] += i;
	rival->dst = dst;
	rival->src = map_anon(PAGES * page);
	rival->first = (i + 1) * PAGES;
	fill_pages(rival->src, PAGES * page, rival->first);
	ck_assert_int_eq(
		pthread_create(&rival->thread, NULL, rival_moves, rival), 0);
}

static void judge(struct rival *rivals, size_t n, size_t at)
{
	size_t i, winners = 0;

	for (i = 0; i < n; i++) {
		winners += rivals[i].won[at];
		ck_assert_msg(page_holds((rivals[i].won[at] ? rivals[i].dst
							    : rivals[i].src) +
						 at * page,
					 rivals[i].first + at),
			      "page %zu of mover %zu", at, i);
	}
	ck_assert_uint_eq(winners, 1);
}

START_TEST(of_several_movers_to_one_page_exactly_one_wins)
{
	static struct rival rivals[3];
	size_t i, round;
	char *dst;

	for (round = 0; round < harness_scaled(8); round++) {
		dst = map_anon(PAGES * page);
		reg(dst, PAGES * page);
		for (i = 0; i < 3; i++)
			start_rival(&rivals[i], i, dst);
		for (i = 0; i < 3; i++)
			pthread_join(rivals[i].thread, NULL);
		for (i = 0; i < 3; i++)
			ck_assert_uint_eq(rivals[i].wrong, 0);
		for (i = 0; i < PAGES; i++)
			judge(rivals, 3, i);
		munmap(dst, PAGES * page);
		for (i = 0; i < 3; i++)
			munmap(rivals[i].src, PAGES * page);
	}
}
END_TEST

/* --- to and fro beside a disturbance ------------------------------------- */

static char *sides[2];
static bool stop;	    /* relaxed: a wish to stop carries no data */
static unsigned int rounds; /* of the disturbance; relaxed: a mere count */
static unsigned int rounds_wanted;

struct mover {
	pthread_t thread;
	struct random rng;
	size_t first, n;      /* pages it owns, on both sides */
	unsigned char *where; /* side of each of them */
	size_t moves;
	enum ferry_busy busy;
	struct ferry_move_result total; /* sums */
	char failure[128];
};

/* Pages from @at on that are on the same side, at most @max. */
static size_t run_length(const struct mover *m, size_t at, size_t max)
{
	size_t n = 1;

	while (n < max && at + n < m->n && m->where[at + n] == m->where[at])
		n++;
	return n;
}

static void add(struct ferry_move_result *total,
		const struct ferry_move_result *res)
{
	total->moved += res->moved;
	total->copied += res->copied;
	total->false_exist += res->false_exist;
	total->busy_retries += res->busy_retries;
	total->short_moves += res->short_moves;
	total->idle_retries += res->idle_retries;
}

static bool move_run(struct mover *m, size_t at, size_t n)
{
	struct ferry_move_params params = FERRY_INIT(struct ferry_move_params);
	struct ferry_move_result res = FERRY_INIT(struct ferry_move_result);
	unsigned char from = m->where[at];
	size_t off = (m->first + at) * page;
	int r;

	params.flags = FERRY_MOVE_SOLE;
	params.busy = m->busy;
	params.deadline_ns = 30000000000u;
	r = ferry_move(uffd, sides[!from] + off, sides[from] + off, n * page,
		       &params, &res);
	add(&m->total, &res);
	if (r || res.done != n * page) {
		snprintf(m->failure, sizeof(m->failure),
			 "move of %zu pages: %d (%s), %zu done", n, r,
			 ferry_reason_string(res.reason), res.done / page);
		return false;
	}
	memset(m->where + at, !from, n);
	return true;
}

static bool disturbed_enough(void)
{
	return __atomic_load_n(&rounds, __ATOMIC_RELAXED) >= rounds_wanted;
}

static void *mover_runs(void *arg)
{
	struct mover *m = arg;
	size_t i, at, n;
	char *there;

	for (i = 0; i < m->moves || !disturbed_enough(); i++) {
		at = random_below(&m->rng, m->n);
		n = run_length(m, at, 1 + random_below(&m->rng, 64));
		if (!move_run(m, at, n))
			break;
		at += random_below(&m->rng, n);
		there = sides[m->where[at]] + (m->first + at) * page;
		if (page_holds(there, m->first + at))
			continue;
		snprintf(m->failure, sizeof(m->failure), "page %zu is wrong",
			 m->first + at);
		break;
	}
	return NULL;
}

static void start_mover(struct mover *m, size_t i, size_t moves,
			enum ferry_busy busy)
{
	static unsigned char where[MOVERS][PAGES];

	*m = (struct mover){
		.rng = harness_random(),
		.first = i * PAGES / MOVERS,
		.n = PAGES / MOVERS,
		.where = where[i],
		.moves = moves,
		.busy = busy,
	};
	m->rng.s[0] += i;
	memset(m->where, 0, m->n);
	ck_assert_int_eq(pthread_create(&m->thread, NULL, mover_runs, m), 0);
}

static void finish_mover(struct mover *m)
{
	size_t i;

	pthread_join(m->thread, NULL);
	ck_assert_msg(!m->failure[0], "%s", m->failure);
	for (i = 0; i < m->n; i++) {
		ck_assert(page_holds(sides[m->where[i]] + (m->first + i) * page,
				     m->first + i));
		ck_assert(!page_there(sides[!m->where[i]] +
				      (m->first + i) * page));
	}
	printf("# %zu moved, %zu copied, %llu false EEXIST, %llu busy, "
	       "%llu short, %llu idle\n",
	       m->total.moved / page, m->total.copied / page,
	       (unsigned long long)m->total.false_exist,
	       (unsigned long long)m->total.busy_retries,
	       (unsigned long long)m->total.short_moves,
	       (unsigned long long)m->total.idle_retries);
}

/*
 * Moves pages to and fro, @moves times and until @disturb, which runs in a
 * thread of its own, has done its work @at_least so many times.
 */
static void move_beside(void *(*disturb)(void *), enum ferry_busy busy,
			char *(*map)(size_t), size_t moves, size_t at_least)
{
	struct mover movers[MOVERS];
	pthread_t thread;
	size_t i;

	for (i = 0; i < 2; i++) {
		sides[i] = map(PAGES * page);
		if (!i)
			fill_pages(sides[i], PAGES * page, 0);
		reg(sides[i], PAGES * page);
	}
	rounds_wanted = at_least ? (unsigned int)harness_scaled(at_least) : 0;
	ck_assert_int_eq(pthread_create(&thread, NULL, disturb, NULL), 0);
	for (i = 0; i < MOVERS; i++)
		start_mover(&movers[i], i, harness_scaled(moves), busy);
	for (i = 0; i < MOVERS; i++)
		finish_mover(&movers[i]);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void disturbed(void)
{
	__atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
}

static void *nothing(void *arg)
{
	return arg;
}

static void *fork_storm(void *arg)
{
	pid_t pid;

	while (!stopped()) {
		pid = fork();
		if (!pid)
			_exit(0);
		if (pid > 0)
			waitpid(pid, NULL, 0);
		disturbed();
	}
	return arg;
}

static void *page_out(void *arg)
{
	while (!stopped()) {
		madvise(sides[0], PAGES * page, FERRY__MADV_PAGEOUT);
		madvise(sides[1], PAGES * page, FERRY__MADV_PAGEOUT);
		disturbed();
	}
	return arg;
}

static void *compact_memory(void *arg)
{
	int fd = open("/proc/sys/vm/compact_memory", O_WRONLY);

	while (!stopped()) {
		if (write(fd, "1", 1) != 1)
			usleep(1000);
		disturbed();
	}
	close(fd);
	return arg;
}

START_TEST(movers_of_disjoint_pages_do_not_disturb_each_other)
{
	move_beside(nothing, FERRY_BUSY_REPORT, map_anon, 8000, 0);
}
END_TEST

START_TEST(moves_beside_forks_made_exclusive)
{
	move_beside(fork_storm, FERRY_BUSY_EXCLUSIVE, map_anon, 500, 60);
}
END_TEST

START_TEST(moves_beside_forks_copied)
{
	move_beside(fork_storm, FERRY_BUSY_COPY, map_anon, 500, 60);
}
END_TEST

/*
 * Not FERRY_BUSY_RETRY: a page that is read back while it is being written to
 * swap on a device that needs stable writes (zram) is mapped shared, and stays
 * busy until somebody writes to it.
 */
START_TEST(moves_beside_page_out)
{
	struct system_hold hold;

	if (!system_hold_swap(&hold))
		SKIP("swap", "%s", hold.reason);
	move_beside(page_out, FERRY_BUSY_EXCLUSIVE, map_anon, 1000, 30);
	system_release(&hold);
}
END_TEST

START_TEST(moves_of_huge_pages_beside_page_out)
{
	struct system_hold hold;

	if (!system_hold_swap(&hold))
		SKIP("swap", "%s", hold.reason);
	move_beside(page_out, FERRY_BUSY_EXCLUSIVE, map_huge, 1000, 16);
	system_release(&hold);
}
END_TEST

START_TEST(moves_beside_memory_compaction)
{
	struct system_hold hold;

	if (!system_hold_lock(&hold))
		SKIP("compact_memory", "%s", hold.reason);
	move_beside(compact_memory, FERRY_BUSY_RETRY, map_anon, 8000, 16);
	system_release(&hold);
}
END_TEST

#define STRESS(name, ...)                                                      \
	{                                                                      \
		.fn = &name, .needs = "userfaultfd,move,sigbus" __VA_ARGS__,   \
		.setup = setup, .teardown = teardown, .seconds = 300           \
	}

static const struct test tests[] = {
	STRESS(of_several_movers_to_one_page_exactly_one_wins),
	STRESS(movers_of_disjoint_pages_do_not_disturb_each_other),
	STRESS(moves_beside_forks_made_exclusive),
	STRESS(moves_beside_forks_copied),
	STRESS(moves_beside_page_out, ",swap,pageout"),
	STRESS(moves_of_huge_pages_beside_page_out, ",swap,pageout,thp"),
	STRESS(moves_beside_memory_compaction, ",compact_memory"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
