/* SPDX-License-Identifier: MIT */
/*
 * The feature report: against what the tests themselves see, without /proc,
 * and under system-call filters that refuse or kill.
 */
#include <ferry/move.h>

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "uffd/handle.h"
#include "uffd/uapi.h"

static struct ferry_features features;

static void probe(void)
{
	features = (struct ferry_features)FERRY_INIT(struct ferry_features);
	ck_assert_int_eq(ferry_features_get(&features), 0);
}

START_TEST(each_feature_is_seen_as_the_tests_see_it)
{
	static const struct {
		const char *name;
		uint64_t feature;
	} pairs[] = {
		{ "move", FERRY_FEATURE_MOVE | FERRY_FEATURE_MOVE_WORKS },
		{ "wp", FERRY_FEATURE_WP },
		{ "wp_async", FERRY_FEATURE_WP_ASYNC },
		{ "poison", FERRY_FEATURE_POISON },
		{ "sigbus", FERRY_FEATURE_SIGBUS },
		{ "minor_shmem", FERRY_FEATURE_MINOR_SHMEM },
		{ "pagemap_scan", FERRY_FEATURE_PAGEMAP_SCAN },
		{ "procmap_query", FERRY_FEATURE_PROCMAP_QUERY },
		{ "soft_dirty", FERRY_FEATURE_SOFT_DIRTY },
		{ "guard", FERRY_FEATURE_GUARD },
		{ "thp", FERRY_FEATURE_THP },
	};
	const char *why;
	size_t i;

	probe();
	for (i = 0; i < ARRAY_SIZE(pairs); i++)
		ck_assert_msg(harness_feature(pairs[i].name, &why) ==
				      !(pairs[i].feature & ~features.features),
			      "%s", pairs[i].name);
}
END_TEST

START_TEST(each_way_is_reported_as_it_opens)
{
	struct ferry_uffd_params params = FERRY_INIT(struct ferry_uffd_params);
	enum ferry_reason reason;
	struct ferry_uffd *uffd;
	unsigned int way;
	int r;

	probe();
	for (way = 0; way < FERRY_UFFD_WAYS; way++) {
		params.way = (enum ferry_uffd_way)way;
		r = ferry_uffd_open(&params, &reason, &uffd);
		ck_assert_int_eq(r, features.way[way].error);
		ck_assert_int_eq(reason, features.way[way].reason);
		if (!r)
			ferry_uffd_close(uffd);
	}
}
END_TEST

START_TEST(the_settings_are_the_systems)
{
	struct utsname name;

	probe();
	uname(&name);
	ck_assert_str_eq(features.kernel, name.release);
	ck_assert_uint_eq(features.page_size, page_size());
	ck_assert_int_gt(features.max_map_count, 0);
	ck_assert_int_ge(features.nodes, 1);
	ck_assert(features.unprivileged_sysctl == 0 ||
		  features.unprivileged_sysctl == 1);
	if (features.features & FERRY_FEATURE_THP)
		ck_assert_uint_gt(features.huge_size, features.page_size);
}
END_TEST

START_TEST(probing_leaves_no_descriptor_and_no_memory_behind)
{
	int before = dup(0), after;

	close(before);
	probe();
	after = dup(0);
	ck_assert_int_eq(before, after);
}
END_TEST

START_TEST(names_are_there_for_features_and_nothing_else)
{
	unsigned int bit, n = 0;

	ck_assert_str_eq(ferry_feature_name(16), "move");
	ck_assert_str_eq(ferry_feature_name(43), "process-files");
	ck_assert_ptr_null(ferry_feature_name(64));
	for (bit = 0; bit < 64; bit++)
		if (ferry_feature_name(bit))
			n++;
	ck_assert_uint_eq(n, 25);
}
END_TEST

START_TEST(a_shorter_report_is_filled_as_far_as_it_goes)
{
	struct ferry_features f;

	memset(&f, 0xa5, sizeof(f));
	f.size = offsetof(struct ferry_features, move_error);
	memset(f.way, 0, sizeof(f.way));
	ck_assert_int_eq(ferry_features_get(&f), 0);
	ck_assert_uint_eq(f.size, offsetof(struct ferry_features, move_error));
	ck_assert_uint_eq((unsigned char)f.kernel[5], 0xa5);
	f.size = 3;
	ck_assert_int_eq(ferry_features_get(&f), -EINVAL);
}
END_TEST

START_TEST(without_proc_and_sys_what_can_be_tried_is_still_seen)
{
	struct inject_rule rule = {
		.call = INJECT_OPEN,
		.error = ENOENT,
		.count = INJECT_ALWAYS,
	};

	inject_start();
	inject_add(&rule);
	probe();
	ck_assert(!(features.features & FERRY_FEATURE_PROCESS_FILES));
	ck_assert(!(features.features & FERRY_FEATURE_PAGEMAP_SCAN));
	ck_assert_int_eq(features.max_map_count, -1);
	ck_assert_int_eq(features.unprivileged_sysctl, -1);
	ck_assert_str_eq(features.thp, "");
	ck_assert_int_eq(features.way[FERRY_UFFD_USER_MODE].error, 0);
	ck_assert_int_eq(features.move_error, 0);
}
END_TEST

/* --- releases ------------------------------------------------------------ */

static const char *fake_release;

static int release(char *buf, size_t size)
{
	if (!fake_release)
		return -EPERM;
	ck_assert_uint_gt(size, strlen(fake_release));
	strcpy(buf, fake_release);
	return 0;
}

START_TEST(releases_that_a_huge_zero_page_harms)
{
	static const struct {
		const char *release;
		bool unsafe;
	} releases[] = {
		{ "6.8.0-31-generic", false },
		{ "6.12.57+deb13-amd64", false },
		{ "6.15.11", false },
		{ "6.16.0", true },
		{ "6.17.13", true },
		{ "6.18.0-rc3", true },
		{ "6.18.19", true },
		{ "6.18.20", false },
		{ "6.18.44-fc-v669", false },
		{ "6.19.9", true },
		{ "6.19.10", false },
		{ "7.0.0", false },
		{ "5.10.200", false },
		{ "unknown", true },
		{ NULL, true },
	};
	static struct ferry__sys table;
	size_t i;

	table = *ferry__sys;
	table.release = release;
	ferry__sys = &table;
	for (i = 0; i < ARRAY_SIZE(releases); i++) {
		fake_release = releases[i].release;
		ck_assert_msg(ferry__huge_zero_unsafe() == releases[i].unsafe,
			      "%s", releases[i].release);
	}
}
END_TEST

/* --- filters ------------------------------------------------------------- */

/* From here on the ioctl UFFDIO_MOVE meets @action. */
static void filter_move(uint32_t action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
			 (uint32_t)FERRY__UFFDIO_MOVE, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}

/* Moves by whatever way is left. */
static void assert_moves(struct ferry_uffd *uffd)
{
	struct ferry_move_result res = FERRY_INIT(struct ferry_move_result);
	char *src = map_anon(page_size()), *dst = map_anon(page_size());

	fill_pages(src, page_size(), 1);
	ck_assert_int_eq(ferry_uffd_register(uffd, dst, page_size(),
					     FERRY_REGISTER_MISSING, NULL),
			 0);
	ck_assert_int_eq(ferry_move(uffd, dst, src, page_size(), NULL, &res),
			 0);
	ck_assert_int_ne(res.method, FERRY_METHOD_MOVE);
	assert_pages(dst, page_size(), 1);
}

static void assert_seen_as_filter(void)
{
	struct ferry_uffd *uffd;

	probe();
	ck_assert_int_ne(features.move_error, 0);
	ck_assert_int_eq(features.move_reason, FERRY_REASON_SECCOMP);
	ck_assert(features.features & FERRY_FEATURE_MOVE);
	ck_assert(!(features.features & FERRY_FEATURE_MOVE_WORKS));
	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &uffd), 0);
	ck_assert(!(ferry_uffd_features(uffd) & FERRY_FEATURE_MOVE));
	assert_moves(uffd);
	/* The probe's child is nobody else's business. */
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}

START_TEST(a_filter_that_says_eperm)
{
	filter_move(SECCOMP_RET_ERRNO | EPERM);
	assert_seen_as_filter();
}
END_TEST

START_TEST(a_filter_that_says_enosys)
{
	filter_move(SECCOMP_RET_ERRNO | ENOSYS);
	assert_seen_as_filter();
}
END_TEST

/* As some runtimes' handlers of SIGSYS do: not to be told from the kernel's
 * own answer but by trying a move that cannot be wrong. */
START_TEST(a_filter_that_says_einval)
{
	filter_move(SECCOMP_RET_ERRNO | EINVAL);
	assert_seen_as_filter();
}
END_TEST

START_TEST(a_filter_that_sends_sigsys)
{
	filter_move(SECCOMP_RET_TRAP);
	assert_seen_as_filter();
}
END_TEST

START_TEST(a_filter_that_kills)
{
	filter_move(SECCOMP_RET_KILL_PROCESS);
	assert_seen_as_filter();
}
END_TEST

START_TEST(a_filter_that_lets_moves_through)
{
	filter_move(SECCOMP_RET_ALLOW);
	probe();
	ck_assert_int_eq(features.move_error, 0);
	ck_assert(features.features & FERRY_FEATURE_MOVE_WORKS);
}
END_TEST

/* The probe must not be a fork: that would make every page immovable. */
START_TEST(probing_under_a_filter_leaves_pages_movable)
{
	struct ferry_move_result res = FERRY_INIT(struct ferry_move_result);
	char *src = map_anon(page_size()), *dst = map_anon(page_size());
	struct ferry_uffd *uffd;

	fill_pages(src, page_size(), 1);
	filter_move(SECCOMP_RET_ALLOW);
	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &uffd), 0);
	ck_assert_int_eq(ferry_uffd_register(uffd, dst, page_size(),
					     FERRY_REGISTER_MISSING, NULL),
			 0);
	ck_assert_int_eq(ferry_move(uffd, dst, src, page_size(), NULL, &res),
			 0);
	ck_assert_int_eq(res.method, FERRY_METHOD_MOVE);
	assert_pages(dst, page_size(), 1);
}
END_TEST

/* Only after the handle was opened: the first move finds out. */
START_TEST(a_filter_installed_later)
{
	struct ferry_uffd *uffd;

	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &uffd), 0);
	filter_move(SECCOMP_RET_ERRNO | EPERM);
	assert_moves(uffd);
}
END_TEST

static const struct test tests[] = {
	TEST(each_feature_is_seen_as_the_tests_see_it, NULL),
	TEST(each_way_is_reported_as_it_opens, NULL),
	TEST(the_settings_are_the_systems, NULL),
	TEST(probing_leaves_no_descriptor_and_no_memory_behind, NULL),
	TEST(names_are_there_for_features_and_nothing_else, NULL),
	TEST(a_shorter_report_is_filled_as_far_as_it_goes, NULL),
	TEST(without_proc_and_sys_what_can_be_tried_is_still_seen, "move"),
	TEST(releases_that_a_huge_zero_page_harms, NULL),
	TEST(a_filter_that_says_eperm, "move,seccomp"),
	TEST(a_filter_that_says_enosys, "move,seccomp"),
	TEST(a_filter_that_says_einval, "move,seccomp"),
	TEST(a_filter_that_sends_sigsys, "move,seccomp"),
	TEST(a_filter_that_kills, "move,seccomp"),
	TEST(a_filter_that_lets_moves_through, "move,seccomp"),
	TEST(probing_under_a_filter_leaves_pages_movable, "move,seccomp"),
	TEST(a_filter_installed_later, "move,seccomp"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
