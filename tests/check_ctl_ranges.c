/* SPDX-License-Identifier: MIT */
/* Ranges as they are written: what is understood, and what is refused how. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tools/ferryctl/kernel.h"
#include "tools/ferryctl/ranges.h"

/* --- one range ------------------------------------------------------------ */

static struct ctl_range range;
static const char *why;

static void reads(const char *text, uint64_t start, uint64_t end)
{
	ck_assert_msg(ctl_range_parse(text, &range, &why) == 0, "'%s': %s",
		      text, why);
	ck_assert_msg(range.start == start && range.end == end,
		      "'%s' is %llx-%llx", text,
		      (unsigned long long)range.start,
		      (unsigned long long)range.end);
}

static void refuses(const char *text, const char *because)
{
	int r = ctl_range_parse(text, &range, &why);

	ck_assert_msg(r == -EINVAL, "'%s' gives %d", text, r);
	ck_assert_msg(strstr(why, because) != NULL, "'%s': %s", text, why);
}

START_TEST(start_and_end_are_hexadecimal)
{
	reads("10000-20000", 0x10000, 0x20000);
	reads("0x10000-0x20000", 0x10000, 0x20000);
	reads("0X10000-20000", 0x10000, 0x20000);
	reads("7fffABCD0000-7fffabcd1000", 0x7fffabcd0000, 0x7fffabcd1000);
	reads("ffffffffff600000-ffffffffff601000", 0xffffffffff600000,
	      0xffffffffff601000);
}
END_TEST

START_TEST(lengths_are_decimal_with_suffixes)
{
	reads("10000+4096", 0x10000, 0x11000);
	reads("10000+0x1000", 0x10000, 0x11000);
	reads("10000+4K", 0x10000, 0x11000);
	reads("10000+4k", 0x10000, 0x11000);
	reads("0+2M", 0, 0x200000);
	reads("0+1G", 0, 0x40000000);
	reads("0+1T", 0, 0x10000000000);
}
END_TEST

START_TEST(an_address_alone_is_its_page)
{
	uint64_t page = page_size();

	reads("12345678", 0x12345678 / page * page,
	      0x12345678 / page * page + page);
	reads("0", 0, page);
	refuses("ffffffffffffffff", "last page");
}
END_TEST

START_TEST(blanks_and_comments_are_passed_over)
{
	reads("  10000-20000\t ", 0x10000, 0x20000);
	reads("10000-20000 # hot", 0x10000, 0x20000);
	reads("10000-20000# hot", 0x10000, 0x20000);
	reads("10000+4K# hot", 0x10000, 0x11000);
	reads("10000-20000\r", 0x10000, 0x20000);
	ck_assert_int_eq(ctl_range_parse("", &range, &why), -ENODATA);
	ck_assert_int_eq(ctl_range_parse(" \t", &range, &why), -ENODATA);
	ck_assert_int_eq(ctl_range_parse("# 1-2", &range, &why), -ENODATA);
}
END_TEST

START_TEST(lines_of_proc_maps_are_ranges)
{
	reads("55d0c000-55d0d000 rw-p 00000000 fe:00 1095   /usr/bin/x y",
	      0x55d0c000, 0x55d0d000);
	reads("55d0c000-55d0d000 ---s 00000000 00:00 0", 0x55d0c000,
	      0x55d0d000);
	refuses("55d0c000-55d0d000 rw-q 0", "behind");
	refuses("55d0c000-55d0d000 rwxpp", "behind");
	refuses("55d0c000-55d0d000 hot", "behind");
	refuses("55d0c000-55d0d000 1000-2000", "behind");
}
END_TEST

START_TEST(what_is_no_range_is_refused_with_the_reason)
{
	refuses("x", "no hexadecimal address");
	refuses("-1000", "no hexadecimal address");
	refuses("0x", "no hexadecimal address");
	refuses("0x-0x1000", "no hexadecimal address");
	refuses("1000-", "no hexadecimal address");
	refuses("1000--2000", "no hexadecimal address");
	refuses("1000-0x", "no hexadecimal address");
	refuses("1000:2000", "behind");
	refuses("1000-2000-3000", "behind");
	refuses("1000-2000,3000", "behind");
	refuses("1000+", "no length");
	refuses("1000++1000", "no length");
	refuses("1000+-1", "no length");
	refuses("1000+4KB", "no length");
	refuses("1000+0x", "no length");
	refuses("1000+K", "no length");
	refuses("1000+99999999999999999999999999999999999999", "no length");
	refuses("10000000000000000-20000000000000000", "64 bits");
	refuses("1000+18446744073709551616", "64 bits");
	refuses("1000+99999999T", "64 bits");
	refuses("1000+16383P", "no length");
	refuses("fffffffffffff000+8192", "beyond");
	refuses("2000-1000", "below");
	refuses("1000-1000", "empty");
	refuses("1000+0", "empty");
	refuses("1001-2000", "whole pages");
	refuses("1000-2001", "whole pages");
	refuses("1000+1", "whole pages");
}
END_TEST

START_TEST(a_refused_range_leaves_the_result_alone)
{
	range = (struct ctl_range){ .start = 1, .end = 2, .line = 3 };
	refuses("2000-1000", "below");
	ck_assert_uint_eq(range.start, 1);
	ck_assert_uint_eq(range.end, 2);
}
END_TEST

/* --- many ----------------------------------------------------------------- */

/* A file that hands out @step bytes at a time. */
static struct {
	const char *text;
	size_t len, pos, step;
	int error; /* at its end */
} text;

static int open_text(int folder, const char *name, int flags)
{
	(void)folder;
	(void)flags;
	return strcmp(name, "ranges") ? -ENOENT : 1000;
}

static ssize_t read_text(int fd, void *buf, size_t len)
{
	size_t n = text.len - text.pos;

	ck_assert_int_eq(fd, 1000);
	ck_assert_uint_gt(len, 0);
	if (!n)
		return text.error;
	n = n < text.step ? n : text.step;
	n = n < len ? n : len;
	memcpy(buf, text.text + text.pos, n);
	text.pos += n;
	return (ssize_t)n;
}

static void close_text(int fd)
{
	ck_assert_int_eq(fd, 1000);
}

static struct ctl_ranges in;

static void open_ranges(const char *s, size_t len, size_t step)
{
	static struct ctl_kernel table;

	table = ctl_kernel_linux;
	table.open = open_text;
	table.read = read_text;
	table.close = close_text;
	ctl_kernel = &table;
	text.text = s;
	text.len = len;
	text.pos = 0;
	text.step = step;
	text.error = 0;
	ck_assert_int_eq(ctl_ranges_open(&in, NULL, 0, "ranges"), 0);
}

static void next_is(uint64_t start, uint64_t line)
{
	ck_assert_int_eq(ctl_ranges_next(&in, &range), 1);
	ck_assert_uint_eq(range.start, start);
	ck_assert_uint_eq(range.line, line);
}

static void next_is_wrong(uint64_t line, const char *because)
{
	ck_assert_int_eq(ctl_ranges_next(&in, &range), -EINVAL);
	ck_assert_uint_eq(range.line, line);
	ck_assert_msg(strstr(in.why, because) != NULL, "%s", in.why);
}

static void is_at_its_end(void)
{
	ck_assert_int_eq(ctl_ranges_next(&in, &range), 0);
	ck_assert_int_eq(ctl_ranges_next(&in, &range), 0);
	ctl_ranges_close(&in);
}

START_TEST(lines_are_numbered_however_they_are_read)
{
	const char s[] = "1000-2000\n\n# comment\n3000+4K\nwrong\n5000-6000";
	size_t step;

	for (step = 1; step <= sizeof(s); step++) {
		open_ranges(s, sizeof(s) - 1, step);
		next_is(0x1000, 1);
		next_is(0x3000, 4);
		next_is_wrong(5, "no hexadecimal");
		ck_assert_str_eq(in.text, "wrong");
		next_is(0x5000, 6);
		is_at_its_end();
	}
}
END_TEST

START_TEST(an_empty_file_has_no_ranges)
{
	open_ranges("", 0, 1);
	is_at_its_end();
	open_ranges("\n\n", 2, 1);
	is_at_its_end();
}
END_TEST

START_TEST(a_byte_of_zero_is_refused)
{
	open_ranges("1000-\0002000\n3000-4000\n", 21, 7);
	next_is_wrong(1, "byte 0");
	next_is(0x3000, 2);
	is_at_its_end();
}
END_TEST

/* 1000-2000, then a line of @len characters, then 3000-4000. */
static char *with_long_line(size_t len, bool last, size_t *ret_len)
{
	char *s = malloc(len + 32);
	size_t n;

	ck_assert_ptr_nonnull(s);
	strcpy(s, "1000-2000\n");
	n = strlen(s);
	memset(s + n, 'x', len);
	n += len;
	strcpy(s + n, last ? "" : "\n3000-4000\n");
	*ret_len = n + strlen(s + n);
	return s;
}

START_TEST(a_line_that_is_too_long_is_told_once_and_passed_over)
{
	const size_t lens[] = { CTL_LINE_MAX, CTL_LINE_MAX + 1,
				2 * CTL_LINE_MAX, 5 * CTL_LINE_MAX + 3 };
	size_t i, len;
	char *s;

	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		s = with_long_line(lens[i], false, &len);
		open_ranges(s, len, 1000);
		next_is(0x1000, 1);
		next_is_wrong(2, "too long");
		next_is(0x3000, 3);
		is_at_its_end();
		free(s);
		s = with_long_line(lens[i], true, &len);
		open_ranges(s, len, SIZE_MAX);
		next_is(0x1000, 1);
		next_is_wrong(2, "too long");
		is_at_its_end();
		free(s);
	}
}
END_TEST

START_TEST(the_longest_line_is_read)
{
	size_t len;
	char *s = with_long_line(CTL_LINE_MAX - 1, false, &len);

	memcpy(s + 10, "5000-6000 #", 11);
	open_ranges(s, len, SIZE_MAX);
	next_is(0x1000, 1);
	next_is(0x5000, 2);
	next_is(0x3000, 3);
	is_at_its_end();
	free(s);
}
END_TEST

START_TEST(an_error_of_reading_is_handed_on)
{
	open_ranges("1000-2000\n3000-40", 17, SIZE_MAX);
	text.error = -EIO;
	next_is(0x1000, 1);
	ck_assert_int_eq(ctl_ranges_next(&in, &range), -EIO);
	ctl_ranges_close(&in);
}
END_TEST

START_TEST(the_command_line_comes_before_the_file)
{
	static char first[] = "1000-2000", second[] = "2000-3000";
	char *operands[] = { first, second };

	open_ranges("5000-6000\n", 10, SIZE_MAX);
	ctl_ranges_close(&in);
	ck_assert_int_eq(ctl_ranges_open(&in, operands, 2, "ranges"), 0);
	ck_assert(!ctl_ranges_would_wait(&in));
	next_is(0x1000, 0);
	next_is(0x2000, 0);
	next_is(0x5000, 1);
	is_at_its_end();
}
END_TEST

START_TEST(only_one_file_is_taken)
{
	static char dash[] = "-";
	char *operands[] = { dash, dash };

	ck_assert_int_eq(ctl_ranges_open(&in, operands, 2, NULL), -EINVAL);
	ck_assert_ptr_nonnull(in.why);
	ck_assert_int_eq(ctl_ranges_open(&in, operands, 1, "-"), -EINVAL);
	ck_assert_int_eq(ctl_ranges_open(&in, operands, 0, "/no/such"),
			 -ENOENT);
	ck_assert_str_eq(in.name, "/no/such");
}
END_TEST

START_TEST(who_writes_slowly_is_noticed)
{
	static char dash[] = "-";
	char *operands[] = { dash };
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_ge(dup2(fds[0], STDIN_FILENO), 0);
	ck_assert_int_eq(ctl_ranges_open(&in, operands, 1, NULL), 0);
	ck_assert(!ctl_ranges_would_wait(&in)); /* the operand comes first */
	ck_assert_int_eq(write(fds[1], "1000-2000\n2000-3000\n3", 21), 21);
	next_is(0x1000, 1);
	ck_assert(!ctl_ranges_would_wait(&in));
	next_is(0x2000, 2);
	ck_assert(ctl_ranges_would_wait(&in));
	ck_assert_int_eq(write(fds[1], "000-4000", 8), 8);
	ck_assert(!ctl_ranges_would_wait(&in));
	close(fds[1]);
	next_is(0x3000, 3);
	is_at_its_end();
}
END_TEST

static const struct test tests[] = {
	TEST(start_and_end_are_hexadecimal, NULL),
	TEST(lengths_are_decimal_with_suffixes, NULL),
	TEST(an_address_alone_is_its_page, NULL),
	TEST(blanks_and_comments_are_passed_over, NULL),
	TEST(lines_of_proc_maps_are_ranges, NULL),
	TEST(what_is_no_range_is_refused_with_the_reason, NULL),
	TEST(a_refused_range_leaves_the_result_alone, NULL),
	TEST(lines_are_numbered_however_they_are_read, NULL),
	TEST(an_empty_file_has_no_ranges, NULL),
	TEST(a_byte_of_zero_is_refused, NULL),
	TEST(a_line_that_is_too_long_is_told_once_and_passed_over, NULL),
	TEST(the_longest_line_is_read, NULL),
	TEST(an_error_of_reading_is_handed_on, NULL),
	TEST(the_command_line_comes_before_the_file, NULL),
	TEST(only_one_file_is_taken, NULL),
	TEST(who_writes_slowly_is_noticed, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
