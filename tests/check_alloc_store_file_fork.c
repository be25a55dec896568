/* SPDX-License-Identifier: MIT */
/* The file store and fork(2): what children read, and what is held for them. */
#include "tests/store_conform.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/store/file.h"
#include "tests/inject.h"
#include "tests/store_file_bed.h"

#define PAGES 100

/* A child that waits until the parent closes its end; then all must be right. */
static int waiting_child(struct ferry__store *store, struct conform_page *pages,
			 size_t n, int *ret_end)
{
	int fd, pid, ends[2];
	char c;

	ck_assert_int_eq(pipe(ends), 0);
	pid = conform_fork(store, pages);
	if (!pid) {
		/* Other children wait for the end of pipes that are here, too. */
		for (fd = 3; fd < 100; fd++)
			if (fd != ends[0])
				close(fd);
		while (read(ends[0], &c, 1) < 0)
			;
		_exit(conform_wrong(store, pages, n) != 0);
	}
	close(ends[0]);
	*ret_end = ends[1];
	return pid;
}

/* The lowest slot of @pages. */
static uint64_t lowest(const struct conform_page *pages, size_t n)
{
	uint64_t low = UINT64_MAX;
	size_t i;

	for (i = 0; i < n; i++)
		low = pages[i].handle < low ? pages[i].handle : low;
	return low;
}

START_TEST(slots_are_held_while_a_child_lives)
{
	struct ferry__store *store = file_make();
	struct conform_page pages[PAGES], more[PAGES];
	int pid, end;

	conform_put_all(store, 1, pages, PAGES);
	pid = waiting_child(store, pages, PAGES, &end);
	conform_drop(store, pages, PAGES);
	store->ops->maintain(store);
	conform_put_all(store, 200, more, PAGES);
	ck_assert_uint_ge(lowest(more, PAGES), PAGES);
	close(end);
	conform_join(pid);
	conform_drop(store, more, PAGES);
	store->ops->maintain(store);
	conform_put_all(store, 300, more, PAGES);
	ck_assert_uint_lt(lowest(more, PAGES), PAGES);
	store->ops->destroy(store);
}
END_TEST

/* What was put after a fork is nobody else's, however long the child lives. */
START_TEST(later_slots_are_not_held)
{
	struct ferry__store *store = file_make();
	struct conform_page pages[PAGES], more[PAGES];
	uint64_t held;
	int pid, end, round;

	conform_put_all(store, 1, pages, PAGES);
	pid = waiting_child(store, pages, PAGES, &end);
	store->ops->maintain(store);
	conform_put_all(store, 200, more, PAGES);
	held = conform_stats(store).elsewhere;
	for (round = 0; round < 50; round++) {
		conform_drop(store, more, PAGES);
		conform_put_all(store, 200, more, PAGES);
	}
	ck_assert_uint_eq(conform_stats(store).elsewhere, held);
	close(end);
	conform_join(pid);
	store->ops->destroy(store);
}
END_TEST

START_TEST(each_generation_holds_its_own)
{
	struct ferry__store *store = file_make();
	struct conform_page a[PAGES], b[PAGES], more[3 * PAGES];
	int first, first_end, second, second_end;

	conform_put_all(store, 1, a, PAGES);
	first = waiting_child(store, a, PAGES, &first_end);
	store->ops->maintain(store);
	conform_drop(store, a, PAGES);
	conform_put_all(store, 200, b, PAGES);
	second = waiting_child(store, b, PAGES, &second_end);
	store->ops->maintain(store);
	conform_drop(store, b, PAGES);
	close(first_end);
	conform_join(first);
	/* The second never knew the first's pages. */
	store->ops->maintain(store);
	conform_put_all(store, 300, more, PAGES);
	ck_assert_uint_eq(lowest(more, PAGES), 0);
	conform_put_all(store, 400, more + PAGES, 2 * PAGES);
	close(second_end);
	conform_join(second);
	ck_assert_uint_eq(conform_wrong(store, more, 3 * PAGES), 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(child_that_dropped_all_lets_go)
{
	struct ferry__store *store = file_make();
	struct conform_page pages[PAGES], more[PAGES];
	int pid, down[2], up[2];
	char c = 0;

	ck_assert_int_eq(pipe(down), 0);
	ck_assert_int_eq(pipe(up), 0);
	conform_put_all(store, 1, pages, PAGES);
	pid = conform_fork(store, pages);
	if (!pid) {
		close(down[1]);
		conform_drop(store, pages, PAGES);
		if (write(up[1], &c, 1) != 1)
			_exit(1);
		_exit(read(down[0], &c, 1) != 0);
	}
	ck_assert_int_eq(read(up[0], &c, 1), 1);
	conform_drop(store, pages, PAGES);
	store->ops->maintain(store);
	conform_put_all(store, 200, more, PAGES);
	ck_assert_uint_eq(lowest(more, PAGES), 0);
	close(down[1]);
	conform_join(pid);
	store->ops->destroy(store);
}
END_TEST

START_TEST(without_memfd_slots_are_held_for_good)
{
	struct inject_rule none = { .call = INJECT_MEMFD_CREATE,
				    .count = INJECT_ALWAYS,
				    .error = ENOSYS };
	struct ferry__store *store;
	struct conform_page pages[PAGES], more[PAGES];
	int pid, end;

	inject_start();
	inject_add(&none);
	store = file_make();
	conform_put_all(store, 1, pages, PAGES);
	pid = waiting_child(store, pages, PAGES, &end);
	store->ops->maintain(store);
	conform_drop(store, pages, PAGES);
	conform_put_all(store, 200, more, PAGES);
	ck_assert_uint_ge(lowest(more, PAGES), PAGES);
	close(end);
	conform_join(pid);
	store->ops->destroy(store);
}
END_TEST

/* Where one cannot be had now, the children share the last one's. */
START_TEST(without_more_descriptors_slots_are_held_no_longer)
{
	struct inject_rule none = { .call = INJECT_MEMFD_CREATE,
				    .count = 2,
				    .error = EMFILE };
	struct conform_page pages[PAGES], more[PAGES];
	struct ferry__store *store;
	int first, first_end, second, second_end;

	inject_start();
	store = file_make();
	inject_add(&none);
	conform_put_all(store, 1, pages, PAGES);
	first = waiting_child(store, pages, PAGES, &first_end);
	store->ops->maintain(store);
	second = waiting_child(store, pages, PAGES, &second_end);
	store->ops->maintain(store);
	ck_assert_uint_eq(inject_hits(&none), 2);
	conform_drop(store, pages, PAGES);
	close(first_end);
	conform_join(first);
	close(second_end);
	conform_join(second);
	store->ops->maintain(store);
	conform_put_all(store, 200, more, PAGES);
	ck_assert_uint_lt(lowest(more, PAGES), PAGES);
	store->ops->destroy(store);
}
END_TEST

START_TEST(child_outlives_its_parent_s_store)
{
	struct ferry__store *store = file_make();
	struct conform_page pages[PAGES];
	int pid, end;

	conform_put_all(store, 1, pages, PAGES);
	pid = waiting_child(store, pages, PAGES, &end);
	store->ops->destroy(store);
	close(end);
	conform_join(pid);
}
END_TEST

static size_t put_refused(struct ferry__store *store,
			  struct conform_page *pages)
{
	struct conform_page more;
	size_t wrong = conform_wrong(store, pages, PAGES);

	wrong += conform_put(store, 500, &more) != -EIO;
	store->ops->maintain(store);
	wrong += conform_wrong(store, pages, PAGES);
	conform_drop(store, pages, PAGES);
	store->ops->destroy(store);
	return wrong;
}

START_TEST(child_without_a_file_of_its_own_still_reads)
{
	struct ferry__store *store = NULL;
	struct conform_page pages[PAGES];
	int pid;

	ck_assert_int_eq(file_make_at(file_inside("cold"), &store), 0);
	conform_put_all(store, 1, pages, PAGES);
	ck_assert_int_eq(rmdir(file_folder), 0);
	pid = conform_fork(store, pages);
	if (!pid)
		_exit(put_refused(store, pages) != 0);
	conform_join(pid);
	store->ops->destroy(store);
	ck_assert_int_eq(mkdir(file_folder, 0700), 0);
}
END_TEST

/* The store as the pager has it: in a descriptor table of some threads. */
struct home {
	struct ferry__store *store;
	struct conform_page pages[PAGES];
	size_t wrong;
	pthread_barrier_t turn;
};

static void *home_main(void *arg)
{
	struct home *home = arg;

	if (unshare(CLONE_FILES) < 0)
		abort();
	home->store = file_make();
	conform_put_all(home->store, 1, home->pages, PAGES);
	pthread_barrier_wait(&home->turn);
	/* The other thread forks a child that closes all descriptors. */
	pthread_barrier_wait(&home->turn);
	home->wrong = conform_wrong(home->store, home->pages, PAGES);
	home->store->ops->destroy(home->store);
	return NULL;
}

START_TEST(descriptors_are_not_the_host_s)
{
	static struct home home;
	pthread_t thread;
	int pid, fd;

	pthread_barrier_init(&home.turn, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, home_main, &home), 0);
	pthread_barrier_wait(&home.turn);
	pid = conform_fork(home.store, NULL);
	if (!pid) {
		for (fd = 0; fd < 100; fd++)
			close(fd);
		_exit(conform_wrong(home.store, home.pages, PAGES) != 0);
	}
	conform_join(pid);
	pthread_barrier_wait(&home.turn);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(home.wrong, 0);
}
END_TEST

static const struct test tests[] = {
	FILE_TEST(slots_are_held_while_a_child_lives),
	FILE_TEST(later_slots_are_not_held),
	FILE_TEST(each_generation_holds_its_own),
	FILE_TEST(child_that_dropped_all_lets_go),
	FILE_TEST(without_memfd_slots_are_held_for_good),
	FILE_TEST(without_more_descriptors_slots_are_held_no_longer),
	FILE_TEST(child_outlives_its_parent_s_store),
	FILE_TEST(child_without_a_file_of_its_own_still_reads),
	FILE_TEST(descriptors_are_not_the_host_s),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
