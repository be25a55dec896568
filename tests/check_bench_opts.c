/* SPDX-License-Identifier: MIT */
/* Options of ferry-bench: what is understood, and what is refused how. */
#include <errno.h>
#include <string.h>

#include "bench/opts.h"
#include "tests/harness.h"

static const struct bench_option own[] = {
	{ "limit", BENCH_SIZE, "BYTES", "" },
	{ "report", BENCH_TEXT, "DIR", "" },
	{ "keep", BENCH_FLAG, NULL, "" },
	{ 0 },
};

static struct bench_options opt;
static char err[256];

/* Parse up to five words after the subcommand's name; NULL ends them. */
static int parse(bool operands, const char *const *words)
{
	static char copy[6][64];
	static char *argv[7];
	int argc = 1;

	argv[0] = strcpy(copy[0], "cmd");
	for (; words[argc - 1]; argc++)
		argv[argc] = strcpy(copy[argc], words[argc - 1]);
	argv[argc] = NULL;
	err[0] = '\0';
	return bench_options_parse(own, operands, argc, argv, &opt, err,
				   sizeof(err));
}

#define PARSE(operands, ...)                                                   \
	parse(operands, (const char *const[]){ __VA_ARGS__, NULL })

static void refused(int rc, const char *naming)
{
	ck_assert_int_eq(rc, -EINVAL);
	ck_assert_msg(strstr(err, naming), "'%s' does not name '%s'", err,
		      naming);
	bench_options_fini(&opt);
}

START_TEST(defaults_are_full_effort_and_seed_one)
{
	ck_assert_int_eq(PARSE(false, NULL), 0);
	ck_assert_int_eq(opt.effort, BENCH_FULL);
	ck_assert_uint_eq(opt.seed, 1);
	ck_assert_ptr_null(opt.json);
	ck_assert_ptr_null(opt.plot_dir);
	ck_assert_ptr_null(bench_option_text(&opt, "keep"));
	ck_assert_uint_eq(bench_option_size(&opt, "limit", 5), 5);
	bench_options_fini(&opt);
}
END_TEST

START_TEST(common_options_are_read)
{
	ck_assert_int_eq(PARSE(false, "--quick", "--json=x", "--plot", "d",
			       "--seed=0x10"),
			 0);
	ck_assert_int_eq(opt.effort, BENCH_QUICK);
	ck_assert_str_eq(opt.json, "x");
	ck_assert_str_eq(opt.plot_dir, "d");
	ck_assert_uint_eq(opt.seed, 16);
	bench_options_fini(&opt);
}
END_TEST

START_TEST(quick_twice_is_quicker)
{
	ck_assert_int_eq(PARSE(false, "--quick", "--quick"), 0);
	ck_assert_int_eq(opt.effort, BENCH_TINY);
	bench_options_fini(&opt);
}
END_TEST

START_TEST(own_options_and_operands_are_read)
{
	ck_assert_int_eq(PARSE(true, "a", "--limit=2M", "--keep", "b"), 0);
	ck_assert_uint_eq(bench_option_size(&opt, "limit", 0), 2 << 20);
	ck_assert_str_eq(bench_option_text(&opt, "keep"), "");
	ck_assert_ptr_null(bench_option_text(&opt, "report"));
	ck_assert_uint_eq(opt.noperands, 2);
	ck_assert_str_eq(opt.operands[0], "a");
	ck_assert_str_eq(opt.operands[1], "b");
	bench_options_fini(&opt);
}
END_TEST

START_TEST(unknown_option_is_named)
{
	refused(PARSE(true, "--quik=3x"), "--quik");
	refused(PARSE(true, "-z"), "-z");
	refused(PARSE(true, "--frobnicate"), "--frobnicate");
}
END_TEST

START_TEST(argument_where_none_belongs_is_refused)
{
	refused(PARSE(true, "--quick=3"), "takes no argument");
	refused(PARSE(true, "--json"), "--json wants an argument");
}
END_TEST

START_TEST(bad_number_is_named)
{
	refused(PARSE(true, "--seed=-1"), "--seed wants a number, not '-1'");
	refused(PARSE(true, "--seed=1K"), "'1K'");
	refused(PARSE(true, "--limit=12Q"), "--limit");
	refused(PARSE(true, "--limit="), "--limit");
}
END_TEST

START_TEST(operand_where_none_belongs_is_named)
{
	refused(PARSE(false, "file"), "'file'");
}
END_TEST

START_TEST(numbers_keep_their_range)
{
	uint64_t n;

	ck_assert_int_eq(bench_parse_number("18446744073709551615", false, &n),
			 0);
	ck_assert_uint_eq(n, UINT64_MAX);
	ck_assert_int_eq(bench_parse_number("18446744073709551616", false, &n),
			 -ERANGE);
	ck_assert_int_eq(bench_parse_number("17179869184G", true, &n), -ERANGE);
	ck_assert_int_eq(bench_parse_number("17179869183G", true, &n), 0);
	ck_assert_int_eq(bench_parse_number("1KB", true, &n), -EINVAL);
	ck_assert_int_eq(bench_parse_number(" 1", true, &n), -EINVAL);
	ck_assert_int_eq(bench_parse_number("", true, &n), -EINVAL);
}
END_TEST

static const struct test tests[] = {
	TEST(defaults_are_full_effort_and_seed_one, NULL),
	TEST(common_options_are_read, NULL),
	TEST(quick_twice_is_quicker, NULL),
	TEST(own_options_and_operands_are_read, NULL),
	TEST(unknown_option_is_named, NULL),
	TEST(argument_where_none_belongs_is_refused, NULL),
	TEST(bad_number_is_named, NULL),
	TEST(operand_where_none_belongs_is_named, NULL),
	TEST(numbers_keep_their_range, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
