/* SPDX-License-Identifier: MIT */
/* Memory that is pinned is found where the kernel tells of it. */
#include <ferry/eligible.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/files.h"
#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/pin.h"
#include "uffd/sys.h"

#define PAGE ferry__page_size

/* What a walk told. */
struct pins {
	size_t n, stop_after; /* 0: at the end */
	struct ferry_pin first, last;
};

static int take(void *arg, const struct ferry_pin *pin)
{
	struct pins *pins = arg;

	ck_assert_uint_eq(pin->size, sizeof(*pin));
	if (!pins->n++)
		pins->first = *pin;
	pins->last = *pin;
	return pins->n == pins->stop_after ? 77 : 0;
}

/* --- real ones ------------------------------------------------------------ */

START_TEST(nothing_is_pinned_in_a_fresh_process)
{
	struct pins pins = { 0 };
	size_t bytes = 77;

	ck_assert_int_eq(ferry_pins_walk(0, take, &pins, &bytes), 0);
	ck_assert_uint_eq(pins.n, 0);
	ck_assert_uint_eq(bytes, 0);
	ck_assert_int_eq(ferry_pins_walk(0, NULL, NULL, NULL), 0);
}
END_TEST

START_TEST(fixed_buffers_are_reported)
{
	char *p = map_private(8 * PAGE);
	struct pins pins = { 0 };
	size_t bytes = 0;
	int ring = pin_pages(p + 100, 2 * PAGE);

	ck_assert_int_eq(ferry_pins_walk(0, take, &pins, &bytes), 0);
	ck_assert_uint_eq(pins.n, 1);
	ck_assert_ptr_eq(pins.first.range.addr, p + 100);
	ck_assert_uint_eq(pins.first.range.len, 2 * PAGE);
	ck_assert_int_eq(pins.first.fd, ring);
	ck_assert_uint_eq(bytes, 3 * PAGE);
	unpin_pages(ring);
	do {
		ck_assert_int_eq(ferry_pins_walk(0, NULL, NULL, &bytes), 0);
	} while (bytes);
}
END_TEST

START_TEST(each_ring_is_asked_and_the_walk_can_stop)
{
	char *p = map_private(8 * PAGE);
	struct pins pins = { 0 };

	pin_pages(p, PAGE);
	pin_pages(p + 4 * PAGE, PAGE);
	ck_assert_int_eq(ferry_pins_walk(0, take, &pins, NULL), 0);
	ck_assert_uint_eq(pins.n, 2);
	ck_assert_ptr_ne(pins.first.range.addr, pins.last.range.addr);
	pins = (struct pins){ .stop_after = 1 };
	ck_assert_int_eq(ferry_pins_walk(0, take, &pins, NULL), 77);
	ck_assert_uint_eq(pins.n, 1);
}
END_TEST

START_TEST(pinned_pages_are_not_eligible)
{
	char *p = map_private(8 * PAGE);
	struct ferry_mapping m;
	int ring = pin_pages(p + 2 * PAGE + 100, PAGE);

	ck_assert_int_eq(ferry_range_eligible(p, 8 * PAGE, &m), -EINVAL);
	ck_assert_int_eq(m.reason, FERRY_REASON_PINNED);
	ck_assert_int_eq(m.immovable, FERRY_REASON_PINNED);
	ck_assert_int_eq(m.unmigratable, FERRY_REASON_PINNED);
	ck_assert_int_eq(m.unpageable, FERRY_REASON_PINNED);
	ck_assert_ptr_eq(m.range.addr, p + 2 * PAGE);
	ck_assert_uint_eq(m.range.len, 2 * PAGE);
	ck_assert_ptr_nonnull(strstr(m.explanation, "io_uring"));
	ck_assert(m.writable);
	ck_assert_int_eq(ferry_range_eligible(p, 3 * PAGE, &m), -EINVAL);
	ck_assert_uint_eq(m.range.len, PAGE);
	ck_assert_int_eq(ferry_range_eligible(p, 8 * PAGE, NULL), -EINVAL);
	ck_assert_int_eq(range_verdict(p, 2 * PAGE), FERRY_REASON_NONE);
	ck_assert_int_eq(range_verdict(p + 4 * PAGE, 4 * PAGE),
			 FERRY_REASON_NONE);
	unpin_pages(ring);
	AWAIT(range_verdict(p, 8 * PAGE) == FERRY_REASON_NONE);
}
END_TEST

/* The addresses are the same, the pages that are pinned are the parent's. */
START_TEST(a_child_has_not_pinned_what_its_parent_has)
{
	char *p = map_private(PAGE);
	int status;
	pid_t child;

	pin_pages(p, PAGE);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child)
		_exit(ferry_range_eligible(p, PAGE, NULL) ? 1 : 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(another_process_is_looked_into)
{
	char *p = map_private(PAGE);
	struct pins pins = { 0 };
	int up[2], down[2];
	size_t bytes;
	pid_t child;
	char c = 0;

	ck_assert(!pipe(up) && !pipe(down));
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		close(down[1]);
		pin_pages(p, PAGE);
		(void)!write(up[1], &c, 1);
		(void)!read(down[0], &c, 1);
		_exit(0);
	}
	close(up[1]);
	ck_assert_int_eq(read(up[0], &c, 1), 1);
	ck_assert_int_eq(ferry_pins_walk(child, take, &pins, &bytes), 0);
	ck_assert_uint_eq(pins.n, 1);
	ck_assert_ptr_eq(pins.first.range.addr, p);
	ck_assert_uint_eq(bytes, PAGE);
	ck_assert_int_eq(ferry_pins_walk(0, NULL, NULL, &bytes), 0);
	ck_assert_uint_eq(bytes, 0);
	close(down[1]);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert_int_eq(ferry_pins_walk(child, take, &pins, NULL), -ESRCH);
}
END_TEST

/* A page in a pipe is referred to, not pinned: it may be moved. */
START_TEST(pages_in_a_pipe_are_not_pinned)
{
	char *p = map_private(PAGE);
	struct iovec part = { p, PAGE };
	size_t bytes = 77;
	int fd[2];

	memset(p, 1, PAGE);
	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_eq(vmsplice(fd[1], &part, 1, 0), (ssize_t)PAGE);
	ck_assert_int_eq(ferry_pins_walk(0, NULL, NULL, &bytes), 0);
	ck_assert_uint_eq(bytes, 0);
	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_NONE);
}
END_TEST

START_TEST(bad_requests_are_refused)
{
	size_t bytes = 77;

	ck_assert_int_eq(ferry_pins_walk(-1, take, NULL, &bytes), -EINVAL);
	/* A number that no process can have. */
	ck_assert_int_eq(ferry_pins_walk(0x7fffffff, take, NULL, &bytes),
			 -ESRCH);
	ck_assert_uint_eq(bytes, 77);
}
END_TEST

/* --- texts made up here --------------------------------------------------- */

static struct ferry__sys table;
static int list_error;
static unsigned int naps;
static const char *told_later; /* what a ring says after some naps */

static int fake_list(const char *folder, void (*fn)(void *, const char *),
		     void *arg)
{
	ck_assert_str_eq(folder, "/proc/self/fd");
	fn(arg, "3");
	fn(arg, "7");
	return list_error;
}

static int fake_readlink(const char *path, char *buf, size_t size)
{
	const char *to = strcmp(path, "/proc/self/fd/7")
				 ? "socket:[4711]"
				 : "anon_inode:[io_uring]";

	ck_assert_uint_gt(size, strlen(to));
	memcpy(buf, to, strlen(to));
	return (int)strlen(to);
}

static void fake_sleep_ns(uint64_t ns)
{
	(void)ns;
	if (++naps == 3 && told_later)
		files_add("/proc/self/fdinfo/7", told_later);
}

/* A process of which one descriptor is a ring that says @text. */
static void made_up(const char *status, const char *text)
{
	files_start();
	table = *ferry__sys;
	table.list = fake_list;
	table.readlink = fake_readlink;
	table.sleep_ns = fake_sleep_ns;
	ferry__sys = &table;
	list_error = 0;
	naps = 0;
	told_later = NULL;
	files_add("/proc/self/status", status);
	if (text)
		files_add("/proc/self/fdinfo/7", text);
}

#define STATUS                                                                 \
	"Name:\tx\nVmLck:\t       0 kB\nVmPin:\t      8 kB\nVmHWM:\t1 kB\n"

static int walk_text(const char *text, struct pins *pins)
{
	int r;

	*pins = (struct pins){ 0 };
	made_up(STATUS, text);
	r = ferry_pins_walk(0, take, pins, NULL);
	ck_assert_uint_eq(files_open(), 0);
	return r;
}

START_TEST(texts_of_several_kernels_are_understood)
{
	struct pins pins;

	/* 6.1: an empty slot is an address at the very top. */
	ck_assert_int_eq(walk_text("SqMask:\t0x0\nUserFiles:\t0\n"
				   "UserBufs:\t3\n"
				   "    0: 0xffffffffffffffff/1\n"
				   "    1: 0x7f0000001000/4096\n"
				   "    2: 0x0/0\n"
				   "PollList:\n",
				   &pins),
			 0);
	ck_assert_uint_eq(pins.n, 1);
	ck_assert_ptr_eq(pins.first.range.addr, (void *)0x7f0000001000);
	/* 6.13 and later. */
	ck_assert_int_eq(walk_text("UserBufs:\t2\n    0: <none>\n"
				   "    1: 0x7f0000001010/17\nPollList:\n",
				   &pins),
			 0);
	ck_assert_uint_eq(pins.n, 1);
	ck_assert_uint_eq(pins.first.range.len, 17);
	ck_assert_int_eq(pins.first.fd, 7);
	ck_assert_int_eq(walk_text("UserBufs:\t0\nPollList:\n", &pins), 0);
	ck_assert_uint_eq(pins.n, 0);
	/* Files of the ring look like buffers. */
	ck_assert_int_eq(walk_text("UserFiles:\t1\n    0: 0x7000/4096\n"
				   "UserBufs:\t0\n",
				   &pins),
			 0);
	ck_assert_uint_eq(pins.n, 0);
}
END_TEST

START_TEST(a_ring_in_use_is_asked_again)
{
	static const char *const silent[] = {
		"pos:\t0\nflags:\t02\n",
		"UserBufs:\t1\nPollList:\n",
		"UserBufs:\t1\n",
	};
	struct pins pins;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(silent); i++) {
		ck_assert_int_eq(walk_text(silent[i], &pins), -EAGAIN);
		ck_assert_uint_gt(naps, 3);
		made_up(STATUS, silent[i]);
		told_later = "UserBufs:\t1\n    0: 0x7000/4096\n";
		ck_assert_int_eq(ferry_pins_walk(0, take, &pins, NULL), 0);
		ck_assert_uint_eq(pins.n, 1);
		ck_assert_uint_eq(naps, 3);
	}
}
END_TEST

START_TEST(a_ring_that_was_closed_meanwhile_is_passed_over)
{
	struct pins pins;

	ck_assert_int_eq(walk_text(NULL, &pins), 0);
	ck_assert_uint_eq(pins.n, 0);
}
END_TEST

START_TEST(rings_are_not_asked_where_nothing_is_pinned)
{
	struct pins pins = { 0 };

	made_up("Name:\tx\nVmPin:\t       0 kB\n", "UserBufs:\t1\n");
	ck_assert_int_eq(ferry_pins_walk(0, take, &pins, NULL), 0);
	/* Nor in a thread of the kernel, which has no memory. */
	made_up("Name:\tkswapd0\n", "UserBufs:\t1\n");
	ck_assert_int_eq(ferry_pins_walk(0, take, &pins, NULL), 0);
}
END_TEST

START_TEST(a_closed_proc_is_an_error)
{
	struct pins pins = { 0 };

	files_start();
	ck_assert_int_eq(ferry_pins_walk(0, take, &pins, NULL), -EIO);
	made_up(STATUS, "UserBufs:\t0\n");
	list_error = -EPERM;
	ck_assert_int_eq(ferry_pins_walk(0, take, &pins, NULL), -EACCES);
	list_error = -EMFILE;
	ck_assert_int_eq(ferry_pins_walk(0, take, &pins, NULL), -EMFILE);
	made_up("Name:\tx\nVmPi", "UserBufs:\t0\n");
	ck_assert_int_eq(ferry_pins_walk(0, take, &pins, NULL), -EIO);
}
END_TEST

static const struct test tests[] = {
	TEST(nothing_is_pinned_in_a_fresh_process, NULL),
	TEST(fixed_buffers_are_reported, "io_uring"),
	TEST(each_ring_is_asked_and_the_walk_can_stop, "io_uring"),
	TEST(pinned_pages_are_not_eligible, "io_uring"),
	TEST(a_child_has_not_pinned_what_its_parent_has, "io_uring"),
	TEST(another_process_is_looked_into, "io_uring"),
	TEST(pages_in_a_pipe_are_not_pinned, NULL),
	TEST(bad_requests_are_refused, NULL),
	TEST(texts_of_several_kernels_are_understood, NULL),
	TEST(a_ring_in_use_is_asked_again, NULL),
	TEST(a_ring_that_was_closed_meanwhile_is_passed_over, NULL),
	TEST(rings_are_not_asked_where_nothing_is_pinned, NULL),
	TEST(a_closed_proc_is_an_error, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
