/* SPDX-License-Identifier: MIT */
/* The harness: seeds repeat, system state comes back, features are known. */
#include "tests/harness.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/system.h"

START_TEST(one_seed_gives_one_sequence)
{
	struct random a = random_seeded(1), b = random_seeded(1);
	struct random c = random_seeded(2);

	ck_assert_uint_eq(random_next(&a), random_next(&b));
	ck_assert_uint_ne(random_next(&a), random_next(&c));
}
END_TEST

START_TEST(numbers_below_a_bound_reach_all_of_it)
{
	struct random r = harness_random();
	unsigned int seen[5] = { 0 };
	int i;

	for (i = 0; i < 1000; i++)
		seen[random_below(&r, 5)]++;
	for (i = 0; i < 5; i++)
		ck_assert_uint_gt(seen[i], 0);
	ck_assert_uint_eq(random_below(&r, 0), 0);
	ck_assert_uint_eq(random_below(&r, 1), 0);
}
END_TEST

START_TEST(unknown_feature_is_missing_with_a_reason)
{
	const char *reason = NULL;

	ck_assert(!harness_feature("no such feature", &reason));
	ck_assert_ptr_nonnull(reason);
}
END_TEST

static const char sysctl[] = "/proc/sys/vm/compaction_proactiveness";

static void read_sysctl(char *buf, size_t size)
{
	FILE *f = fopen(sysctl, "re");

	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(buf, (int)size, f));
	buf[strcspn(buf, "\n")] = '\0';
	fclose(f);
}

static const char *another_value(const char *value)
{
	return strcmp(value, "21") ? "21" : "22";
}

START_TEST(held_value_comes_back)
{
	struct system_hold hold;
	char before[32], now[32];

	if (access(sysctl, W_OK))
		SKIP("sysctl", "%s cannot be written", sysctl);
	ck_assert(system_hold_lock(&hold));
	read_sysctl(before, sizeof(before));
	system_release(&hold);
	if (!system_hold_value(&hold, sysctl, another_value(before)))
		SKIP("sysctl", "%s", hold.reason);
	read_sysctl(now, sizeof(now));
	ck_assert_str_eq(now, another_value(before));
	system_release(&hold);
	read_sysctl(now, sizeof(now));
	ck_assert_str_eq(now, before);
}
END_TEST

static _Noreturn void hold_and_crash(const char *value)
{
	struct system_hold hold;

	if (!system_hold_value(&hold, sysctl, value))
		_exit(1);
	raise(SIGKILL);
	_exit(1);
}

START_TEST(held_value_comes_back_after_a_crash)
{
	struct system_hold hold;
	char before[32], now[32];
	int status;
	pid_t pid;

	if (access(sysctl, W_OK))
		SKIP("sysctl", "%s cannot be written", sysctl);
	read_sysctl(before, sizeof(before));
	pid = fork();
	if (!pid)
		hold_and_crash(another_value(before));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	/* The lock is free once the dead process's keeper has finished. */
	ck_assert(system_hold_lock(&hold));
	read_sysctl(now, sizeof(now));
	system_release(&hold);
	ck_assert_str_eq(now, before);
}
END_TEST

START_TEST(swap_is_there_while_held)
{
	struct system_hold hold, inner;
	char line[256] = "";
	FILE *f;

	if (!system_hold_swap(&hold))
		SKIP("swap", "%s", hold.reason);
	ck_assert(system_hold_swap(&inner));
	f = fopen("/proc/swaps", "re");
	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
	fclose(f);
	system_release(&inner);
	system_release(&hold);
}
END_TEST

static const struct test tests[] = {
	TEST(one_seed_gives_one_sequence, NULL),
	TEST(numbers_below_a_bound_reach_all_of_it, NULL),
	TEST(unknown_feature_is_missing_with_a_reason, NULL),
	TEST(held_value_comes_back, NULL),
	TEST(held_value_comes_back_after_a_crash, NULL),
	TEST(swap_is_there_while_held, "swap"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
