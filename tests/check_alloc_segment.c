/* SPDX-License-Identifier: MIT */
/* Arenas on a memfd: like other arenas, but for what a file cannot do. */
#include <errno.h>
#include <ferry/compact.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/alloc-internal.h"
#include "tests/handover_bed.h"
#include "uffd/uapi.h"

#define LEN (4 * MIB)

static struct ferry_arena_params params_of(enum ferry_backing backing)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);

	p.reserve = LEN;
	p.backing = backing;
	return p;
}

/* Bytes of memory that the segment holds. */
static size_t held(const struct ferry_arena *arena)
{
	struct stat st;

	ck_assert_int_eq(fstat(arena->segment, &st), 0);
	return (size_t)st.st_blocks * 512;
}

START_TEST(decommitted_pages_leave_memory_and_come_back_zeroed)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, 1);
	char *base = ferry_arena_base(arena);
	size_t page = page_size();

	ck_assert_uint_eq(held(arena), LEN);
	ck_assert_int_eq(ferry_arena_decommit(arena, page, LEN - 2 * page), 0);
	ck_assert_uint_eq(held(arena), 2 * page);
	ck_assert_int_eq(ferry_arena_commit(arena, page, LEN - 2 * page, true),
			 0);
	ck_assert_uint_eq(held(arena), LEN);
	ck_assert(page_holds(base, 1));
	ck_assert_int_eq(base[page], 0);
	ck_assert_int_eq(base[LEN - page - 1], 0);
	ck_assert(page_holds(base + LEN - page, LEN / page));
	ferry__arena_check(arena);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(an_arena_takes_one_descriptor_and_gives_it_back)
{
	struct bed_state before = bed_state();
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, 1);

	ck_assert_uint_eq(bed_state().fds, before.fds + 1);
	ck_assert_uint_eq(bed_state().segments, before.segments + 1);
	ferry_arena_destroy(arena);
	bed_assert_no_leak(before);
}
END_TEST

START_TEST(it_grows_where_there_is_room)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, 1);
	int r = ferry_arena_grow(arena, LEN);

	/* The kernel decides what lies behind it. */
	ck_assert(r == 0 || r == -ENOMEM);
	if (r == 0) {
		ck_assert_int_eq(ferry_arena_commit(arena, LEN, LEN, true), 0);
		fill_pages((char *)ferry_arena_base(arena) + LEN, LEN,
			   1 + LEN / page_size());
		ck_assert(bed_holds(arena, 0, 2 * LEN, 1));
	}
	ck_assert(bed_holds(arena, 0, LEN, 1));
	ferry__arena_check(arena);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(it_grows_after_it_could_not)
{
	struct ferry_arena_params p = params_of(FERRY_BACKING_SHARED);
	struct ferry_arena *arena = NULL;
	char *room = map_anon(LEN);
	int r;

	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	/* Most kernels put one below the other. */
	munmap(room, LEN);
	/* As a growth leaves it that failed at its last step. */
	ck_assert_int_eq(ftruncate(arena->segment, 4 * LEN), 0);
	r = ferry_arena_grow(arena, LEN / 2);
	ck_assert(r == 0 || r == -ENOMEM);
	ferry__arena_check(arena);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(unknown_backings_are_refused)
{
	struct ferry_arena_params p = params_of(FERRY_BACKING_HUGETLB + 1);
	struct ferry_arena *arena = NULL;

	ck_assert_int_eq(ferry_arena_create(&p, &arena), -EINVAL);
	p = params_of(FERRY_BACKING_HUGETLB);
	p.thp = FERRY_THP_ALWAYS;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), -EINVAL);
	ck_assert_ptr_null(arena);
}
END_TEST

static void never(void *arg, const struct ferry_fault *fault,
		  struct ferry_supply *supply)
{
	(void)arg;
	(void)fault;
	supply->kind = FERRY_SUPPLY_NONE;
}

START_TEST(a_service_wants_private_memory)
{
	struct ferry_arena_params p = params_of(FERRY_BACKING_SHARED);
	struct ferry_fault_params f = FERRY_INIT(struct ferry_fault_params);
	struct ferry_arena *arena = NULL;

	f.mode = FERRY_FAULT_SIGBUS;
	ck_assert_int_eq(ferry_fault_service_create(&f, NULL, &p.service), 0);
	p.supply = never;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), -EOPNOTSUPP);
	ferry_fault_service_destroy(p.service);
}
END_TEST

START_TEST(compaction_wants_private_memory)
{
	struct ferry_compact_params p = FERRY_INIT(struct ferry_compact_params);
	struct ferry_arena *shared = bed_arena(FERRY_BACKING_SHARED, LEN, 1);
	struct ferry_arena *private = bed_arena(FERRY_BACKING_PRIVATE, LEN, 1);
	struct ferry_compact *compact = NULL;

	p.sources = &shared;
	p.sources_len = 1;
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &compact), -EOPNOTSUPP);
	ck_assert(bed_holds(shared, 0, LEN, 1));
	p.sources = &private;
	p.destination = shared;
	ck_assert_int_eq(ferry_arena_decommit(shared, 0, LEN), 0);
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &compact), -EOPNOTSUPP);
	ck_assert(bed_holds(private, 0, LEN, 1));
	ferry_arena_destroy(shared);
	ferry_arena_destroy(private);
}
END_TEST

static int look_in_child(int sock, void *arg)
{
	struct ferry_arena *arena = arg;

	(void)sock;
	EXPECT(ferry_arena_commit(arena, 0, LEN, false) == -ECHILD);
	EXPECT(!ferry_lookup(arena->base));
	EXPECT(bed_state().segments == 0);
	/* The descriptor would keep the memory of another process. */
	EXPECT(arena->segment == -1);
	ferry_arena_destroy(arena);
	return 0;
}

START_TEST(a_child_inherits_neither_memory_nor_descriptor)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, 1);
	int sock[2];

	bed_sockets(SOCK_STREAM, sock);
	bed_join(bed_peer(sock, look_in_child, arena));
	ck_assert(bed_holds(arena, 0, LEN, 1));
	ferry_arena_destroy(arena);
}
END_TEST

/* The kernel may have no huge page to give at the moment. */
static bool populated_huge(struct ferry_arena *arena)
{
	ck_assert_int_eq(ferry_arena_commit(arena, 0, LEN, true), 0);
	if (huge_bytes(arena->base, LEN) == LEN)
		return true;
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, LEN), 0);
	return false;
}

START_TEST(populated_ranges_get_huge_pages_where_wanted)
{
	struct ferry_arena_params p = params_of(FERRY_BACKING_SHARED);
	struct ferry_arena *arena = NULL;

	p.thp = FERRY_THP_ALWAYS;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	*arena->base = 1;
	if (madvise(arena->base, HUGE_SIZE, FERRY__MADV_COLLAPSE))
		SKIP("collapse", "MADV_COLLAPSE of shared memory: %s",
		     strerror(errno));
	if (!huge_bytes(arena->base, HUGE_SIZE))
		SKIP("collapse", "a page that was made huge is not mapped so");
	AWAIT(populated_huge(arena));
	fill_pages(arena->base, LEN, 1);
	ck_assert(bed_holds(arena, 0, LEN, 1));
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(pages_of_the_pool_go_in_wholes)
{
	struct ferry_arena_params p = params_of(FERRY_BACKING_HUGETLB);
	struct ferry_arena *arena = NULL;
	struct system_hold hold;

	if (!bed_hold_pool(&hold))
		SKIP("hugetlb", "%s", hold.reason);
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, page_size(), false),
			 -EINVAL);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, HUGE_SIZE, false), 0);
	ck_assert_uint_eq(held(arena), HUGE_SIZE);
	ck_assert_int_eq(ferry_arena_decommit(arena, page_size(),
					      HUGE_SIZE - page_size()),
			 -EINVAL);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, HUGE_SIZE), 0);
	ck_assert_uint_eq(held(arena), 0);
	ferry_arena_destroy(arena);
	system_release(&hold);
}
END_TEST

START_TEST(an_empty_pool_is_an_error_and_no_signal)
{
	struct ferry_arena_params p = params_of(FERRY_BACKING_HUGETLB);
	struct ferry_arena *arena = NULL;
	struct system_hold hold;
	bool alone;
	int r;

	/* More than any pool has. */
	p.reserve = (size_t)64 << 30;
	r = ferry_arena_create(&p, &arena);
	if (r == -EOPNOTSUPP)
		SKIP("hugetlb", "no hugetlbfs in this kernel");
	ck_assert_int_eq(r, 0);
	/* For a moment it takes all pages of a pool: not of another test's. */
	alone = system_hold_lock(&hold);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, p.reserve, false),
			 -ENOMEM);
	if (alone)
		system_release(&hold);
	ck_assert_int_eq(ferry_arena_page_state(arena, 0), FERRY_PAGE_ABSENT);
	ck_assert_uint_eq(held(arena), 0);
	ferry_arena_destroy(arena);
}
END_TEST

static const struct test tests[] = {
	TEST(decommitted_pages_leave_memory_and_come_back_zeroed, NULL),
	TEST(an_arena_takes_one_descriptor_and_gives_it_back, NULL),
	TEST(it_grows_where_there_is_room, NULL),
	TEST(it_grows_after_it_could_not, NULL),
	TEST(unknown_backings_are_refused, NULL),
	TEST(a_service_wants_private_memory, "sigbus"),
	TEST(compaction_wants_private_memory, NULL),
	TEST(a_child_inherits_neither_memory_nor_descriptor, NULL),
	TEST(populated_ranges_get_huge_pages_where_wanted, "thp"),
	TEST(pages_of_the_pool_go_in_wholes, NULL),
	TEST(an_empty_pool_is_an_error_and_no_signal, NULL, .seconds = 300),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
