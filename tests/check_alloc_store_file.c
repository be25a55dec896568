/* SPDX-License-Identifier: MIT */
/* The file store: on real files, and on files that fail. */
#include "tests/store_conform.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/store/file.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/store_file_bed.h"
#include "tests/stored.h"

#define PAGES 100

CONFORM_DEFINE(file_make)

/* --- where it is made ----------------------------------------------------- */

START_TEST(file_has_no_name)
{
	struct ferry__store *store = file_make();
	struct conform_page page;

	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	ck_assert_int_eq(rmdir(file_folder), 0);
	ck_assert_int_eq(conform_get(store, &page), 0);
	store->ops->destroy(store);
	ck_assert_int_eq(mkdir(file_folder, 0700), 0);
}
END_TEST

START_TEST(new_name_is_made_and_gone)
{
	struct ferry__store *store = NULL;
	struct conform_page page;

	ck_assert_int_eq(file_make_at(file_inside("cold"), &store), 0);
	ck_assert_int_eq(access(file_inside("cold"), F_OK), -1);
	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	ck_assert_int_eq(conform_get(store, &page), 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(relative_path_outlives_a_change_of_folder)
{
	struct ferry__store *store = NULL;
	struct conform_page page;
	int pid;

	ck_assert_int_eq(chdir(file_folder), 0);
	ck_assert_int_eq(file_make_at("cold", &store), 0);
	ck_assert_int_eq(chdir("/"), 0);
	pid = conform_fork(store, NULL);
	if (!pid)
		_exit(conform_put(store, 1, &page) != 0);
	conform_join(pid);
	store->ops->destroy(store);
}
END_TEST

START_TEST(what_cannot_be_made_is_named)
{
	struct ferry__store *store = NULL;
	int fd = open(file_inside("taken"), O_CREAT | O_WRONLY, 0600);

	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(file_make_at(file_inside("taken"), &store), -EEXIST);
	ck_assert_int_eq(file_make_at(file_inside("taken/cold"), &store),
			 -ENOTDIR);
	ck_assert_int_eq(file_make_at(file_inside("missing/cold"), &store),
			 -ENOENT);
	ck_assert_int_eq(file_make_at(file_inside("new/"), &store), -EISDIR);
	ck_assert_int_eq(file_make_at("", &store), -ENOENT);
	ck_assert_ptr_null(store);
	ck_assert_int_eq(unlink(file_inside("taken")), 0);
}
END_TEST

START_TEST(folder_that_knows_only_names_will_do)
{
	struct inject_rule no_tmpfile = { .call = INJECT_CREATE,
					  .request = O_TMPFILE,
					  .count = INJECT_ALWAYS,
					  .error = EOPNOTSUPP };
	struct ferry__store *store;
	struct conform_page page;

	inject_start();
	inject_add(&no_tmpfile);
	store = file_make();
	ck_assert_uint_eq(no_tmpfile.hits, 1);
	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	ck_assert_int_eq(conform_get(store, &page), 0);
	store->ops->destroy(store);
}
END_TEST

/* --- full ----------------------------------------------------------------- */

/* Puts until the store is full; that many pages were taken. */
static size_t fill(struct ferry__store *store, struct conform_page *pages,
		   size_t most)
{
	size_t n = 0;
	int r = 0;

	while (n < most && r == 0) {
		r = conform_put(store, n + 1, &pages[n]);
		n += r == 0;
	}
	ck_assert_int_eq(r, -ENOSPC);
	return n;
}

/* It says so, loses nothing, and takes one for each that goes. */
static void assert_full_but_well(struct ferry__store *store,
				 struct conform_page *pages, size_t n)
{
	struct conform_page more;

	ck_assert_uint_gt(conform_stats(store).refused, 0);
	ck_assert_uint_eq(conform_wrong(store, pages, n), 0);
	conform_drop(store, &pages[n / 2], 1);
	ck_assert_int_eq(conform_put(store, 999, &pages[n / 2]), 0);
	ck_assert_int_eq(conform_put(store, 1000, &more), -ENOSPC);
	store->ops->maintain(store);
	ck_assert_int_eq(conform_put(store, 1000, &more), -ENOSPC);
	ck_assert_uint_eq(conform_wrong(store, pages, n), 0);
	ck_assert_uint_eq(conform_stats(store).failed, 0);
}

START_TEST(limit_is_kept)
{
	struct ferry__store *store = file_make_limited(PAGES);
	struct conform_page pages[PAGES + 1];

	ck_assert_uint_eq(fill(store, pages, PAGES + 1), PAGES);
	ck_assert_uint_eq(conform_stats(store).elsewhere, PAGES * page_size());
	assert_full_but_well(store, pages, PAGES);
	store->ops->destroy(store);
}
END_TEST

START_TEST(limit_on_file_sizes_is_kept)
{
	struct rlimit limit = { PAGES * page_size() + 1, RLIM_INFINITY };
	struct ferry__store *store = file_make();
	struct conform_page pages[PAGES + 1];

	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_uint_eq(fill(store, pages, PAGES + 1), PAGES);
	assert_full_but_well(store, pages, PAGES);
	store->ops->destroy(store);
}
END_TEST

/* A file system of that many pages, seen by this process alone. */
static void mount_small(size_t pages)
{
	char size[64];

	snprintf(size, sizeof(size), "size=%zu", pages * page_size());
	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL),
			 0);
	ck_assert_int_eq(mount("ferry", file_folder, "tmpfs", 0, size), 0);
}

START_TEST(full_disk_loses_nothing)
{
	struct conform_page *pages = calloc(4000, sizeof(*pages));
	struct ferry__store *store;
	size_t n;

	mount_small(300);
	store = file_make();
	n = fill(store, pages, 4000);
	ck_assert_uint_ge(n, 250);
	assert_full_but_well(store, pages, n);
	store->ops->destroy(store);
	ck_assert_int_eq(umount(file_folder), 0);
	free(pages);
}
END_TEST

START_TEST(disk_with_room_again_is_used)
{
	struct inject_rule full = { .call = INJECT_FALLOCATE,
				    .count = INJECT_ALWAYS,
				    .error = ENOSPC };
	struct ferry__store *store = file_make();
	struct conform_page page;

	inject_start();
	inject_add(&full);
	ck_assert_int_eq(conform_put(store, 1, &page), -ENOSPC);
	full.error = 0;
	/* Not looked at again by every page that is refused. */
	ck_assert_int_eq(conform_put(store, 1, &page), -ENOSPC);
	store->ops->maintain(store);
	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(file_shrinks_when_its_end_is_free)
{
	static struct conform_page pages[3500];
	struct ferry__store *store = file_make();
	uint64_t before;

	conform_put_all(store, 1, pages, 3500);
	before = conform_stats(store).elsewhere;
	conform_drop(store, pages + 100, 3400);
	store->ops->maintain(store);
	ck_assert_uint_lt(conform_stats(store).elsewhere, before / 2);
	ck_assert_uint_eq(conform_wrong(store, pages, 100), 0);
	conform_put_all(store, 200, pages + 100, 3400);
	ck_assert_uint_eq(conform_wrong(store, pages, 3500), 0);
	store->ops->destroy(store);
}
END_TEST

/* --- transfers that fail -------------------------------------------------- */

/* Direct transfers would refuse parts of blocks. */
static struct ferry__store *make_cached(struct inject_rule *rule)
{
	*rule = (struct inject_rule){ .call = INJECT_FCNTL,
				      .request = F_SETFL,
				      .count = INJECT_ALWAYS,
				      .error = EINVAL };
	inject_start();
	inject_add(rule);
	return file_make();
}

static void write_that_fails_is_refused(int error)
{
	struct inject_rule full = { .call = INJECT_PWRITEV, .error = error };
	struct ferry__store *store = file_make();
	struct conform_page page;

	inject_start();
	inject_add(&full);
	ck_assert_int_eq(conform_put(store, 1, &page), -ENOSPC);
	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	ck_assert_int_eq(conform_get(store, &page), 0);
	ck_assert_uint_eq(conform_stats(store).failed, 0);
	store->ops->destroy(store);
}

START_TEST(write_without_room_is_refused)
{
	write_that_fails_is_refused(EDQUOT);
}
END_TEST

/* Which is when pages go out. */
START_TEST(write_without_memory_is_refused)
{
	write_that_fails_is_refused(ENOMEM);
}
END_TEST

START_TEST(write_error_ends_taking_but_not_giving)
{
	struct inject_rule bad = { .call = INJECT_PWRITEV, .error = EIO };
	struct ferry__store *store = file_make();
	struct conform_page pages[PAGES], more;

	conform_put_all(store, 1, pages, PAGES);
	inject_start();
	inject_add(&bad);
	ck_assert_int_eq(conform_put(store, 500, &more), -EIO);
	ck_assert_int_eq(conform_put(store, 500, &more), -EIO);
	ck_assert_uint_eq(bad.seen, 1);
	ck_assert_uint_eq(conform_wrong(store, pages, PAGES), 0);
	ck_assert_uint_eq(conform_stats(store).pages, PAGES);
	store->ops->destroy(store);
}
END_TEST

START_TEST(interrupted_and_short_transfers_go_on)
{
	struct inject_rule writes[] = {
		{ .call = INJECT_PWRITEV, .nth = 1, .done = 100 },
		{ .call = INJECT_PWRITEV, .nth = 2, .error = EINTR },
		{ .call = INJECT_PWRITEV, .nth = 3, .error = EAGAIN },
		{ .call = INJECT_PWRITEV, .nth = 4, .done = 3 * page_size() },
	};
	struct inject_rule reads[] = {
		{ .call = INJECT_PREADV, .nth = 1, .done = 100 },
		{ .call = INJECT_PREADV, .nth = 2, .error = EINTR },
		{ .call = INJECT_PREADV, .nth = 3, .error = EIO },
		{ .call = INJECT_PREADV, .nth = 4, .error = EAGAIN },
	};
	struct inject_rule rule;
	struct ferry__store *store = make_cached(&rule);
	unsigned char *out = map_private(8 * page_size());
	struct conform_page page;
	ferry__store_handle handles[8];
	const void *pages[8];
	uint64_t tags[8];
	int errors[8];
	size_t i;

	for (i = 0; i < 4; i++) {
		inject_add(&writes[i]);
		inject_add(&reads[i]);
		/* As if nothing were in front of it. */
		writes[i].nth = 1;
		reads[i].nth = 1;
	}
	for (i = 0; i < 8; i++) {
		pages[i] = out + i * page_size();
		tags[i] = stored_tag(i + 1);
		stored_fill(out + i * page_size(), i + 1);
	}
	store->ops->put_many(store, pages, tags, 8, handles, errors);
	for (i = 0; i < 4; i++)
		ck_assert_uint_eq(writes[i].hits, 1);
	for (i = 1; i <= 6; i++) {
		page.handle = handles[i - 1];
		page.number = i;
		ck_assert_int_eq(errors[i - 1], 0);
		ck_assert_int_eq(conform_get(store, &page), 0);
	}
	for (i = 0; i < 4; i++)
		ck_assert_uint_eq(reads[i].hits, 1);
	store->ops->destroy(store);
}
END_TEST

START_TEST(read_error_may_be_asked_again)
{
	struct inject_rule bad = { .call = INJECT_PREADV,
				   .count = INJECT_ALWAYS,
				   .error = EIO };
	struct ferry__store *store = file_make();
	struct conform_page page;

	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	inject_start();
	inject_add(&bad);
	ck_assert_int_eq(conform_get(store, &page), -EIO);
	ck_assert_uint_gt(bad.hits, 1);
	bad.error = 0;
	bad.done = INJECT_ALL;
	ck_assert_int_eq(conform_get(store, &page), 0);
	ck_assert_uint_eq(conform_stats(store).pages, 1);
	store->ops->destroy(store);
}
END_TEST

START_TEST(endless_interruptions_of_no_use_end)
{
	struct inject_rule stuck = { .call = INJECT_PREADV,
				     .count = INJECT_ALWAYS,
				     .done = 0 };
	struct ferry__store *store = file_make();
	struct conform_page page;

	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	inject_start();
	inject_add(&stuck);
	ck_assert_int_eq(conform_get(store, &page), -EIO);
	store->ops->destroy(store);
}
END_TEST

START_TEST(damaged_contents_are_noticed)
{
	struct ferry__store *store = file_make();
	struct ferry__file_store *file = (struct ferry__file_store *)store;
	struct conform_page page;
	unsigned char *other = map_private(page_size());

	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	stored_fill(other, 1);
	other[page_size() - 1] ^= 1;
	ck_assert_int_eq(pwrite(file->io.fd, other, page_size(),
				(off_t)(page.handle * page_size())),
			 page_size());
	ck_assert_int_eq(conform_get(store, &page), -EILSEQ);
	store->ops->destroy(store);
}
END_TEST

START_TEST(any_buffer_will_do)
{
	struct ferry__store *store = file_make();
	unsigned char *in = map_private(3 * page_size());
	unsigned char *out = map_private(3 * page_size());
	ferry__store_handle handle;

	stored_fill(in + 24, 1);
	ck_assert_int_eq(
		store->ops->put(store, in + 24, stored_tag(1), &handle), 0);
	ck_assert_int_eq(
		store->ops->get(store, handle, stored_tag(1), out + 100), 0);
	ck_assert(stored_holds(out + 100, 1));
	store->ops->destroy(store);
}
END_TEST

/* --- kernels and file systems with less ----------------------------------- */

START_TEST(without_direct_io_the_page_cache_is_used)
{
	struct inject_rule rule;
	struct ferry__store *store = make_cached(&rule);
	struct ferry__file_store *file = (struct ferry__file_store *)store;

	ck_assert_uint_gt(rule.hits, 0);
	ck_assert(!file->io.direct);
	ck_assert_str_eq(store->ops->name, "file, page cache");
	conform_many_at_once(store);
}
END_TEST

START_TEST(what_the_page_cache_has_no_room_for_is_refused)
{
	struct inject_rule rule;
	struct inject_rule full = { .call = INJECT_FDATASYNC, .error = ENOSPC };
	struct ferry__store *store = make_cached(&rule);
	struct conform_page page;

	inject_add(&full);
	ck_assert_int_eq(conform_put(store, 1, &page), -ENOSPC);
	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	ck_assert_int_eq(conform_get(store, &page), 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(what_the_page_cache_could_not_write_is_refused)
{
	struct inject_rule rule;
	struct inject_rule bad = { .call = INJECT_FDATASYNC, .error = EIO };
	struct ferry__store *store = make_cached(&rule);
	struct conform_page pages[PAGES], more;

	conform_put_all(store, 1, pages, PAGES);
	inject_add(&bad);
	ck_assert_int_eq(conform_put(store, 500, &more), -EIO);
	ck_assert_int_eq(conform_put(store, 500, &more), -EIO);
	ck_assert_uint_eq(conform_wrong(store, pages, PAGES), 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(direct_io_that_only_pretends_is_seen_through)
{
	struct inject_rule bad = { .call = INJECT_PWRITEV, .error = EINVAL };
	struct ferry__store *store = file_make();
	bool direct = ((struct ferry__file_store *)store)->io.direct;

	store->ops->destroy(store);
	if (!direct)
		SKIP("direct_io", "this file system has no O_DIRECT");
	inject_start();
	inject_add(&bad);
	store = file_make();
	ck_assert_uint_eq(bad.hits, 1);
	ck_assert_str_eq(store->ops->name, "file, page cache");
	conform_pages_come_back(store);
}
END_TEST

START_TEST(file_systems_that_set_no_space_aside_will_do)
{
	struct inject_rule none = { .call = INJECT_FALLOCATE,
				    .count = INJECT_ALWAYS,
				    .error = EOPNOTSUPP };
	inject_start();
	inject_add(&none);
	conform_pages_come_back(file_make());
	ck_assert_uint_gt(none.hits, 0);
}
END_TEST

static int no_ring(unsigned int entries, struct ferry__ring **ret_ring)
{
	(void)entries;
	(void)ret_ring;
	return -EPERM;
}

static struct ferry__ring_io rings;
static unsigned int ring_runs;

START_TEST(without_io_uring_system_calls_do)
{
	rings = ferry__ring_io_uring;
	rings.open = no_ring;
	ferry__ring_io = &rings;
	conform_many_at_once(file_make());
}
END_TEST

static int count_run(struct ferry__ring *ring, int fd, bool write,
		     struct ferry__ring_op *ops, unsigned int n)
{
	ring_runs++;
	return ferry__ring_io_uring.run(ring, fd, write, ops, n);
}

START_TEST(scattered_pages_go_in_one_call)
{
	rings = ferry__ring_io_uring;
	rings.run = count_run;
	ferry__ring_io = &rings;
	conform_many_at_once(file_make());
	ck_assert_uint_gt(ring_runs, 0);
}
END_TEST

/* Each third ends early or in an error that means nothing. */
static int poor_run(struct ferry__ring *ring, int fd, bool write,
		    struct ferry__ring_op *ops, unsigned int n)
{
	static const int64_t results[] = { -EINTR, -EAGAIN, 100, 0 };
	int r = count_run(ring, fd, write, ops, n);
	unsigned int i;

	for (i = 0; i < n; i += 3)
		ops[i].res = results[i / 3 % ARRAY_SIZE(results)];
	return r;
}

START_TEST(what_the_ring_leaves_undone_is_done)
{
	rings = ferry__ring_io_uring;
	rings.run = poor_run;
	ferry__ring_io = &rings;
	conform_many_at_once(file_make());
	ck_assert_uint_gt(ring_runs, 0);
}
END_TEST

static int broken_run(struct ferry__ring *ring, int fd, bool write,
		      struct ferry__ring_op *ops, unsigned int n)
{
	(void)ring;
	(void)fd;
	(void)write;
	(void)ops;
	(void)n;
	ring_runs++;
	return -EPERM;
}

START_TEST(ring_that_is_taken_away_is_not_missed)
{
	rings = ferry__ring_io_uring;
	rings.run = broken_run;
	ferry__ring_io = &rings;
	conform_many_at_once(file_make());
	/* Once for each way. */
	ck_assert_uint_eq(ring_runs, 2);
}
END_TEST

static const struct test tests[] = {
	FILE_TEST(pages_come_back),
	FILE_TEST(wrong_tag_is_noticed),
	FILE_TEST(many_at_once),
	FILE_TEST(room_is_used_again),
	FILE_TEST(threads_share_it),
	FILE_TEST(child_keeps_the_pages),
	FILE_TEST(parent_goes_on_after_a_fork),
	FILE_TEST(grandchild_keeps_the_pages),
	FILE_TEST(goes_on_in_another_table),
	FILE_TEST(file_has_no_name),
	FILE_TEST(new_name_is_made_and_gone),
	FILE_TEST(relative_path_outlives_a_change_of_folder),
	FILE_TEST(what_cannot_be_made_is_named),
	FILE_TEST(folder_that_knows_only_names_will_do),
	FILE_TEST(limit_is_kept),
	FILE_TEST(limit_on_file_sizes_is_kept),
	TEST_FIXTURE(full_disk_loses_nothing, "root", file_setup,
		     file_teardown),
	FILE_TEST(disk_with_room_again_is_used),
	FILE_TEST(file_shrinks_when_its_end_is_free),
	FILE_TEST(write_without_room_is_refused),
	FILE_TEST(write_without_memory_is_refused),
	FILE_TEST(write_error_ends_taking_but_not_giving),
	FILE_TEST(interrupted_and_short_transfers_go_on),
	FILE_TEST(read_error_may_be_asked_again),
	FILE_TEST(endless_interruptions_of_no_use_end),
	FILE_TEST(damaged_contents_are_noticed),
	FILE_TEST(any_buffer_will_do),
	FILE_TEST(without_direct_io_the_page_cache_is_used),
	FILE_TEST(what_the_page_cache_has_no_room_for_is_refused),
	FILE_TEST(what_the_page_cache_could_not_write_is_refused),
	FILE_TEST(direct_io_that_only_pretends_is_seen_through),
	FILE_TEST(file_systems_that_set_no_space_aside_will_do),
	FILE_TEST(without_io_uring_system_calls_do),
	TEST_FIXTURE(scattered_pages_go_in_one_call, "io_uring", file_setup,
		     file_teardown),
	TEST_FIXTURE(what_the_ring_leaves_undone_is_done, "io_uring",
		     file_setup, file_teardown),
	TEST_FIXTURE(ring_that_is_taken_away_is_not_missed, "io_uring",
		     file_setup, file_teardown),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
