/* SPDX-License-Identifier: MIT */
/* From an address to its arena, while arenas come and go. */
#include "tests/harness.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/alloc-internal.h"

#define MIB  ((size_t)1 << 20)
#define GIB  ((size_t)1 << 30)
#define MANY 1000

static struct ferry_arena *make_with(size_t reserve, bool no_fork)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena = NULL;

	p.reserve = reserve;
	p.no_fork = no_fork;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	return arena;
}

static struct ferry_arena *make(size_t reserve)
{
	return make_with(reserve, false);
}

static char *base_of(struct ferry_arena *arena)
{
	return ferry_arena_base(arena);
}

START_TEST(every_byte_of_an_arena_leads_to_it)
{
	struct ferry_arena *a = make(6 * MIB);

	ck_assert_ptr_eq(ferry_lookup(base_of(a)), a);
	ck_assert_ptr_eq(ferry_lookup(base_of(a) + 3 * MIB + 17), a);
	ck_assert_ptr_eq(ferry_lookup(base_of(a) + 6 * MIB - 1), a);
	ck_assert_ptr_ne(ferry_lookup(base_of(a) - 1), a);
	ck_assert_ptr_ne(ferry_lookup(base_of(a) + 6 * MIB), a);
	ferry_arena_destroy(a);
	ck_assert_ptr_null(ferry_lookup(base_of(make(2 * MIB)) - MIB));
}
END_TEST

START_TEST(addresses_of_no_arena_lead_to_null)
{
	int on_stack;

	ck_assert_ptr_null(ferry_lookup(NULL));
	ck_assert_ptr_null(ferry_lookup(&on_stack));
	ck_assert_ptr_null(ferry_lookup((void *)(uintptr_t)-1));
	ck_assert_ptr_null(ferry_lookup((void *)((uintptr_t)1 << 48)));
	ck_assert_ptr_null(ferry_lookup((void *)((uintptr_t)1 << 47)));
	ck_assert_ptr_null(ferry_lookup((void *)(((uintptr_t)1 << 47) - 1)));
}
END_TEST

START_TEST(a_thousand_arenas_are_told_apart)
{
	static struct ferry_arena *arena[MANY];
	struct random rng = harness_random();
	size_t i, off;

	for (i = 0; i < MANY; i++)
		arena[i] = make((1 + random_below(&rng, 8)) * 2 * MIB);
	for (i = 0; i < MANY; i++) {
		off = random_below(&rng, ferry_arena_reserved(arena[i]));
		ck_assert_ptr_eq(ferry_lookup(base_of(arena[i]) + off),
				 arena[i]);
	}
	for (i = 0; i < MANY; i += 2)
		ferry_arena_destroy(arena[i]);
	for (i = 1; i < MANY; i += 2)
		ck_assert_ptr_eq(ferry_lookup(base_of(arena[i])), arena[i]);
	for (i = 1; i < MANY; i += 2)
		ferry_arena_destroy(arena[i]);
}
END_TEST

START_TEST(arena_over_whole_root_words_is_found_at_both_ends)
{
	struct ferry_arena *a = make(70 * GIB), *b;
	char *base = base_of(a), *end = base + 70 * GIB;
	size_t off;

	for (off = 0; off < 70 * GIB; off += GIB / 2)
		ck_assert_ptr_eq(ferry_lookup(base + off), a);
	ck_assert_ptr_eq(ferry_lookup(end - 1), a);
	ck_assert_ptr_null(ferry_lookup(end));
	ferry_arena_destroy(a);
	for (off = 0; off < 70 * GIB; off += GIB / 2)
		ck_assert_ptr_null(ferry_lookup(base + off));
	/* The same words serve small arenas and then a large one again. */
	b = make(2 * MIB);
	a = make(70 * GIB);
	ck_assert_ptr_eq(ferry_lookup(base_of(b)), b);
	ck_assert_ptr_eq(ferry_lookup(base_of(a) + 35 * GIB), a);
	ferry_arena_destroy(b);
	ferry_arena_destroy(a);
}
END_TEST

/* --- while others create and destroy -------------------------------------- */

static bool stop;
static char *latest; /* an arena of churn(), which may be gone */
static struct ferry_arena *fixed[16];

/* relaxed: a flag that says no more than "leave the loop" */
static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void *churn(void *unused)
{
	size_t *rounds = calloc(1, sizeof(*rounds));

	(void)unused;
	do { /* at least once, however late it starts */
		struct ferry_arena *a = make(2 * MIB), *b = make(4 * MIB);

		/* relaxed: where to look, not what is there */
		__atomic_store_n(&latest, base_of(b), __ATOMIC_RELAXED);
		ck_assert_ptr_eq(ferry_lookup(base_of(b) + 3 * MIB), b);
		ferry_arena_destroy(a);
		ck_assert_ptr_eq(ferry_lookup(base_of(b) + 3 * MIB), b);
		ferry_arena_destroy(b);
		++*rounds;
	} while (!stopped());
	return rounds;
}

START_TEST(a_found_arena_can_be_read_until_the_section_ends)
{
	struct random rng = harness_random();
	size_t i, found = 0, n = harness_scaled(400000);
	pthread_t thread[2];
	struct ferry_arena *a;
	void *rounds;
	char *near;

	for (i = 0; i < ARRAY_SIZE(fixed); i++)
		fixed[i] = make(2 * MIB);
	latest = base_of(fixed[0]);
	for (i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, churn, NULL);
	for (i = 0; i < n || !found; i++) {
		ferry_lookup_begin();
		a = ferry_lookup(base_of(fixed[i % 16]) + 5);
		ck_assert_ptr_eq(a, fixed[i % 16]);
		/* One of churn(), alive or being destroyed, or none. */
		near = __atomic_load_n(&latest, __ATOMIC_RELAXED);
		a = ferry_lookup(near + random_below(&rng, 8 * MIB));
		if (a) {
			found += ferry_arena_reserved(a) == 4 * MIB;
			ck_assert_int_eq(ferry_arena_page_state(a, 0),
					 FERRY_PAGE_ABSENT);
		}
		ferry_lookup_end();
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++) {
		pthread_join(thread[i], &rounds);
		ck_assert_uint_gt(*(size_t *)rounds, 0);
		free(rounds);
	}
	for (i = 0; i < ARRAY_SIZE(fixed); i++)
		ferry_arena_destroy(fixed[i]);
}
END_TEST

START_TEST(sections_nest)
{
	struct ferry_arena *a = make(2 * MIB);

	ferry_lookup_begin();
	ferry_lookup_begin();
	ck_assert_ptr_eq(ferry_lookup(base_of(a)), a);
	ferry_lookup_end();
	ck_assert_ptr_eq(ferry_lookup(base_of(a)), a);
	ferry_lookup_end();
	ferry_arena_destroy(a);
}
END_TEST

/* --- fork ----------------------------------------------------------------- */

static int exit_status(pid_t child)
{
	int status = 0;

	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* What a child finds; exits with the number of the first thing wrong. */
static void look_around(struct ferry_arena *kept, struct ferry_arena *gone)
{
	char *base = base_of(kept);
	int i;

	if (ferry_lookup(base) != kept || strcmp(base, "cargo"))
		_exit(1);
	if (ferry_lookup(base_of(gone)))
		_exit(2);
	if (ferry_arena_commit(gone, 0, 4096, false) != -ECHILD)
		_exit(3);
	if (ferry_arena_grow(gone, MIB) != -ECHILD)
		_exit(4);
	if (ferry_arena_commit(kept, MIB, MIB, true))
		_exit(5);
	/* Grace periods end though readers of the parent are not here. */
	for (i = 0; i < 100; i++)
		ferry_arena_destroy(make(2 * MIB));
	ferry_arena_destroy(gone);
	ferry_arena_destroy(kept);
	_exit(0);
}

START_TEST(child_keeps_arenas_but_those_of_no_fork)
{
	struct ferry_arena *kept = make(2 * MIB);
	struct ferry_arena *gone = make_with(2 * MIB, true);
	pid_t child;

	ck_assert_int_eq(ferry_arena_commit(kept, 0, MIB, false), 0);
	ck_assert_int_eq(ferry_arena_commit(gone, 0, MIB, true), 0);
	strcpy(base_of(kept), "cargo");
	child = fork();
	if (child == 0)
		look_around(kept, gone);
	ck_assert_int_eq(exit_status(child), 0);
	ck_assert_str_eq(base_of(kept), "cargo");
	ck_assert_ptr_eq(ferry_lookup(base_of(gone)), gone);
	ck_assert_int_eq(ferry_arena_commit(gone, 0, 2 * MIB, true), 0);
	ferry_arena_destroy(gone);
	ferry_arena_destroy(kept);
}
END_TEST

static void *busy(void *arg)
{
	struct ferry_arena *a = arg;

	while (!stopped()) {
		ferry_lookup_begin();
		ck_assert_ptr_eq(ferry_lookup(base_of(a)), a);
		ferry_lookup_end();
		ck_assert_int_eq(ferry_arena_commit(a, 0, MIB, true), 0);
		ck_assert_int_eq(ferry_arena_decommit(a, 0, MIB), 0);
	}
	return NULL;
}

/*
 * In a child, without Check: its lock may have been held by another thread
 * of the parent. A hang ends in SIGALRM, which Check's handler, inherited
 * here, would turn against the parent.
 */
static _Noreturn void use_arenas(struct ferry_arena *a)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *fresh;
	size_t off, len;

	signal(SIGALRM, SIG_DFL);
	alarm((unsigned int)harness_patience(100));
	if (ferry_arena_next_run(a, 0, FERRY_PAGE_TRANSIT, &off, &len))
		_exit(1);
	if (ferry_arena_commit(a, 0, 2 * MIB, false))
		_exit(2);
	p.reserve = 2 * MIB;
	if (ferry_arena_create(&p, &fresh))
		_exit(3);
	ferry_arena_destroy(fresh);
	_exit(0);
}

START_TEST(forks_while_others_work_leave_a_usable_child)
{
	struct ferry_arena *a = make(2 * MIB);
	size_t i, n = harness_scaled(40);
	pthread_t thread[2];
	void *rounds;
	pid_t child;

	pthread_create(&thread[0], NULL, busy, a);
	pthread_create(&thread[1], NULL, churn, NULL);
	for (i = 0; i < n; i++) {
		child = fork();
		if (child == 0)
			use_arenas(a);
		ck_assert_int_eq(exit_status(child), 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], &rounds);
	free(rounds);
	ferry_arena_destroy(a);
}
END_TEST

static const struct test tests[] = {
	TEST(every_byte_of_an_arena_leads_to_it, NULL),
	TEST(addresses_of_no_arena_lead_to_null, NULL),
	TEST(a_thousand_arenas_are_told_apart, NULL),
	TEST(arena_over_whole_root_words_is_found_at_both_ends, NULL),
	TEST(a_found_arena_can_be_read_until_the_section_ends, NULL),
	TEST(sections_nest, NULL),
	TEST(child_keeps_arenas_but_those_of_no_fork, NULL),
	TEST(forks_while_others_work_leave_a_usable_child, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
