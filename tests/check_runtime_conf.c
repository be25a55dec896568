/* SPDX-License-Identifier: MIT */
/* Options of a heap: struct, string, environment, defaults. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uffd/cgroup.h"
#include "runtime/policy.h"
#include "tests/files.h"
#include "tests/harness.h"
#include "uffd/sys.h"

static struct ferry_heap_params params;
static struct ferry__stress stress;

static void setup(void)
{
	unsetenv("FERRY_HEAP_CONF");
	params = (struct ferry_heap_params)FERRY_INIT(struct ferry_heap_params);
	memset(&stress, 0, sizeof(stress));
}

static int resolve(const char *options)
{
	params.options = options;
	return ferry__conf_resolve(&params, &stress);
}

START_TEST(zero_becomes_the_default)
{
	ck_assert_int_eq(resolve(NULL), 0);
	ck_assert_uint_eq(params.min_bytes, (size_t)8 << 20);
	ck_assert_uint_eq(params.max_bytes, ferry__memory_allowed() / 2);
	ck_assert_uint_eq(params.growth_percent, 200);
	ck_assert_int_eq(params.fault_mode, FERRY_FAULT_THREAD);
	ck_assert_uint_ge(params.threads, 1);
	ck_assert_int_eq(params.sizing, FERRY_SIZING_ADAPTIVE);
	ck_assert_int_eq(params.mode, FERRY_GC_AUTO);
}
END_TEST

START_TEST(every_option_reaches_its_field)
{
	ck_assert_int_eq(
		resolve("min:4M,max:2G,sizing:growable,growth:150,mode:stopped,"
			"stacks:ambiguous,fault-mode:sigbus,threads:3,pause-threads:5,minor:no,"
			"compact:off,pressure:false,pace:no,debug:yes,thp:never,"
			"collect-every:10,move-all:1,poison:on,verify:true,"
			"delay-seed:18446744073709551615"),
		0);
	ck_assert_uint_eq(params.min_bytes, (size_t)4 << 20);
	ck_assert_uint_eq(params.max_bytes, (size_t)2 << 30);
	ck_assert_int_eq(params.sizing, FERRY_SIZING_GROWABLE);
	ck_assert_uint_eq(params.growth_percent, 150);
	ck_assert_int_eq(params.mode, FERRY_GC_STOPPED);
	ck_assert_int_eq(params.stacks, FERRY_STACK_AMBIGUOUS);
	ck_assert_int_eq(params.fault_mode, FERRY_FAULT_SIGBUS);
	ck_assert_uint_eq(params.threads, 3);
	ck_assert_uint_eq(params.pause_threads, 5);
	ck_assert(params.no_minor && params.no_compact && params.no_pressure);
	ck_assert(params.no_pace);
	ck_assert(params.debug);
	ck_assert_int_eq(params.thp, FERRY_THP_NEVER);
	ck_assert_uint_eq(stress.collect_every, 10);
	ck_assert(stress.move_all && stress.poison && stress.verify);
	ck_assert_uint_eq(stress.delay_seed, UINT64_MAX);
}
END_TEST

START_TEST(words_name_the_values_of_their_enums)
{
	ck_assert_int_eq(resolve("mode:concurrent,sizing:fixed,thp:always,"
				 "fault-mode:thread,stacks:precise"),
			 0);
	ck_assert_int_eq(params.mode, FERRY_GC_CONCURRENT);
	ck_assert_int_eq(params.sizing, FERRY_SIZING_FIXED);
	ck_assert_int_eq(params.thp, FERRY_THP_ALWAYS);
	ck_assert_int_eq(params.fault_mode, FERRY_FAULT_THREAD);
	ck_assert_int_eq(params.stacks, FERRY_STACK_PRECISE);
}
END_TEST

START_TEST(suffixes_are_powers_of_1024)
{
	static const struct {
		const char *options;
		size_t bytes;
	} cases[] = {
		{ "max:2097152", 2097152 },
		{ "max:4096k", (size_t)4 << 20 },
		{ "max:4096K", (size_t)4 << 20 },
		{ "max:64m", (size_t)64 << 20 },
		{ "max:1g", (size_t)1 << 30 },
		{ "max:1T", (size_t)1 << 40 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		setup();
		ck_assert_int_eq(resolve(cases[i].options), 0);
		ck_assert_uint_eq(params.max_bytes, cases[i].bytes);
	}
}
END_TEST

START_TEST(later_ones_win)
{
	params.growth_percent = 300;
	setenv("FERRY_HEAP_CONF", "threads:4", 1);
	ck_assert_int_eq(resolve("growth:150,threads:2,growth:160"), 0);
	ck_assert_uint_eq(params.growth_percent, 160);
	ck_assert_uint_eq(params.threads, 4);
}
END_TEST

START_TEST(environment_can_be_refused)
{
	params.no_environment = true;
	setenv("FERRY_HEAP_CONF", "threads:4,nonsense", 1);
	ck_assert_int_eq(resolve("threads:2"), 0);
	ck_assert_uint_eq(params.threads, 2);
}
END_TEST

START_TEST(empty_string_is_no_option)
{
	setenv("FERRY_HEAP_CONF", "", 1);
	ck_assert_int_eq(resolve(""), 0);
}
END_TEST

START_TEST(mistakes_are_refused_and_nothing_is_applied)
{
	static const char *const wrong[] = {
		"nonsense:1",
		"max",
		"max:",
		"max:x",
		"max:-1",
		"max:1.5G",
		"max:1GB",
		"max:1 G",
		"max:18446744073709551616",
		"max:16777216T",
		"max:99999999999999999999999999",
		"max:1023K",
		"min:4G,max:2G",
		"growth:99",
		"growth:4294967496",
		"growth:1000000",
		"threads:4000000000",
		"mode:fast",
		"mode:Stopped",
		"sizing:adaptiv",
		"sizing:adaptive2",
		"minor:maybe",
		"verify:2",
		"delay-seed:18446744073709551616",
		",max:2G",
		"max:2G,",
		"max:2G,,min:8M",
		"max=2G",
		" max:2G",
		":2G",
		":",
		",",
	};
	struct ferry_heap_params before;
	struct ferry__stress calm = { 0 };
	char options[128];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		setup();
		/* What stands before the mistake is not applied either. */
		snprintf(options, sizeof(options), "debug:yes,poison:yes,%s",
			 wrong[i]);
		params.options = options;
		before = params;
		ck_assert_msg(ferry__conf_resolve(&params, &stress) == -EINVAL,
			      "accepted: %s", options);
		ck_assert_mem_eq(&params, &before, sizeof(params));
		ck_assert_mem_eq(&stress, &calm, sizeof(stress));
	}
}
END_TEST

START_TEST(mistake_in_the_environment_is_refused)
{
	setenv("FERRY_HEAP_CONF", "treads:4", 1);
	ck_assert_int_eq(resolve("threads:2"), -EINVAL);
	ck_assert_uint_eq(params.threads, 0);
}
END_TEST

static size_t trace(void *object, struct ferry_visitor *v)
{
	(void)object;
	(void)v;
	return 16;
}

static void *load(const void *slot)
{
	return *(void *const *)slot;
}

START_TEST(fields_out_of_range_are_refused)
{
	params.trace = trace;
	params.load = load; /* without store */
	ck_assert_int_eq(resolve(NULL), -EINVAL);
	setup();
	params.mode = 3;
	ck_assert_int_eq(resolve(NULL), -EINVAL);
	setup();
	params.sizing = -1;
	ck_assert_int_eq(resolve(NULL), -EINVAL);
	setup();
	params.stacks = 2;
	ck_assert_int_eq(resolve(NULL), -EINVAL);
	setup();
	params.fault_mode = 3;
	ck_assert_int_eq(resolve(NULL), -EINVAL);
	setup();
	params.thp = 3;
	ck_assert_int_eq(resolve(NULL), -EINVAL);
}
END_TEST

START_TEST(small_limit_lowers_the_default_minimum)
{
	ck_assert_int_eq(resolve("max:2M"), 0);
	ck_assert_uint_eq(params.min_bytes, (size_t)2 << 20);
}
END_TEST

/* As when the parameters of one heap are taken for the next. */
START_TEST(resolving_again_changes_nothing)
{
	static const char *const options[] = {
		"max:1G,minor:no",	     "threads:1",
		"pause-threads:0",	     "threads:0",
		"threads:5,pause-threads:1", "min:0,max:64M",
	};
	struct ferry_heap_params once;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(options); i++) {
		setup();
		ck_assert_int_eq(resolve(options[i]), 0);
		once = params;
		ck_assert_int_eq(resolve(options[i]), 0);
		ck_assert_mem_eq(&params, &once, sizeof(params));
	}
}
END_TEST

/* --- control groups ------------------------------------------------------------------ */

static size_t physical(void)
{
	return (size_t)sysconf(_SC_PHYS_PAGES) * ferry__page_size;
}

#define V2 "/sys/fs/cgroup"
#define V1 "/sys/fs/cgroup/memory"

START_TEST(limit_of_version_2_is_respected)
{
	files_start();
	files_add("/proc/self/cgroup", "0::/user/app\n");
	files_add(V2 "/user/app/memory.max", "67108864\n");
	ck_assert_uint_eq(ferry__memory_allowed(), 67108864);
	ck_assert_int_eq(resolve(NULL), 0);
	ck_assert_uint_eq(params.max_bytes, 67108864 / 2);
}
END_TEST

START_TEST(tighter_limit_above_is_found)
{
	files_start();
	files_add("/proc/self/cgroup", "0::/user/app\n");
	files_add(V2 "/user/app/memory.max", "max\n");
	files_add(V2 "/user/app/memory.high", "50331648\n");
	files_add(V2 "/user/memory.max", "33554432\n");
	ck_assert_uint_eq(ferry__memory_allowed(), 33554432);
}
END_TEST

START_TEST(limit_of_version_1_is_respected_beside_version_2)
{
	files_start();
	files_add("/proc/self/cgroup",
		  "5:devices:/x\n4:memory:/box\n0::/elsewhere\n");
	files_add(V1 "/box/memory.limit_in_bytes", "100663296\n");
	files_add(V1 "/memory.limit_in_bytes", "9223372036854771712\n");
	ck_assert_uint_eq(ferry__memory_allowed(), 100663296);
}
END_TEST

START_TEST(container_that_hides_its_path_is_asked_at_its_root)
{
	files_start();
	files_add("/proc/self/cgroup", "0::/docker/0123456789abcdef\n");
	files_add(V2 "/memory.max", "134217728\n");
	ck_assert_uint_eq(ferry__memory_allowed(), 134217728);
}
END_TEST

START_TEST(without_groups_it_is_physical_memory)
{
	files_start();
	ck_assert_uint_eq(ferry__memory_allowed(), physical());
	files_add("/proc/self/cgroup", "0::/\n");
	files_add(V2 "/memory.max", "max\n");
	ck_assert_uint_eq(ferry__memory_allowed(), physical());
	files_add(V2 "/memory.max", "");
	ck_assert_uint_eq(ferry__memory_allowed(), physical());
	files_add("/proc/self/cgroup", "garbage");
	ck_assert_uint_eq(ferry__memory_allowed(), physical());
}
END_TEST

START_TEST(tiny_memory_still_makes_a_heap)
{
	files_start();
	files_add("/proc/self/cgroup", "0::/\n");
	files_add(V2 "/memory.max", "4096\n");
	ck_assert_int_eq(resolve(NULL), 0);
	ck_assert_uint_eq(params.max_bytes, (size_t)1 << 20);
}
END_TEST

#define T(name) TEST_FIXTURE(name, NULL, setup, NULL)

static const struct test tests[] = {
	T(zero_becomes_the_default),
	T(every_option_reaches_its_field),
	T(words_name_the_values_of_their_enums),
	T(suffixes_are_powers_of_1024),
	T(later_ones_win),
	T(environment_can_be_refused),
	T(empty_string_is_no_option),
	T(mistakes_are_refused_and_nothing_is_applied),
	T(mistake_in_the_environment_is_refused),
	T(fields_out_of_range_are_refused),
	T(small_limit_lowers_the_default_minimum),
	T(resolving_again_changes_nothing),
	T(limit_of_version_2_is_respected),
	T(tighter_limit_above_is_found),
	T(limit_of_version_1_is_respected_beside_version_2),
	T(container_that_hides_its_path_is_asked_at_its_root),
	T(without_groups_it_is_physical_memory),
	T(tiny_memory_still_makes_a_heap),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
