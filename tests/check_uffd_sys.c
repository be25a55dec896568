/* SPDX-License-Identifier: MIT */
/* The edge to the kernel: errno becomes a negative result, sizes are known. */
#include "uffd/sys.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"

START_TEST(errno_becomes_a_negative_result)
{
	ck_assert_int_eq(ferry__sys->close(-1), -EBADF);
	ck_assert_int_eq(ferry__sys->open("/nonexistent", 0), -ENOENT);
	ck_assert_int_eq(ferry__sys->ioctl(-1, 0, NULL), -EBADF);
}
END_TEST

START_TEST(page_size_is_the_systems)
{
	ck_assert_uint_eq(ferry__page_size, (size_t)sysconf(_SC_PAGESIZE));
}
END_TEST

START_TEST(clock_never_goes_back)
{
	uint64_t a = ferry__sys->now_ns();

	ferry__sys->sleep_ns(1000);
	ck_assert_uint_ge(ferry__sys->now_ns(), a);
}
END_TEST

struct params {
	size_t size;
	uint64_t a, b;
};

START_TEST(shorter_params_read_as_zero_beyond_their_size)
{
	struct params in = { .size = offsetof(struct params, b),
			     .a = 1,
			     .b = 2 };
	struct params out;

	ck_assert_int_eq(
		ferry__params_copy(&out, sizeof(out), &in, sizeof(size_t)), 0);
	ck_assert_uint_eq(out.a, 1);
	ck_assert_uint_eq(out.b, 0);
}
END_TEST

START_TEST(unknown_params_must_be_zero)
{
	struct params in = { .size = sizeof(in), .a = 1 };
	struct params out;
	size_t known = offsetof(struct params, b);

	ck_assert_int_eq(ferry__params_copy(&out, known, &in, sizeof(size_t)),
			 0);
	in.b = 1;
	ck_assert_int_eq(ferry__params_copy(&out, known, &in, sizeof(size_t)),
			 -E2BIG);
	in.size = 1;
	ck_assert_int_eq(ferry__params_copy(&out, known, &in, sizeof(size_t)),
			 -EINVAL);
}
END_TEST

static const struct test tests[] = {
	TEST(errno_becomes_a_negative_result, NULL),
	TEST(page_size_is_the_systems, NULL),
	TEST(clock_never_goes_back, NULL),
	TEST(shorter_params_read_as_zero_beyond_their_size, NULL),
	TEST(unknown_params_must_be_zero, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
