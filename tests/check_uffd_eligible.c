/* SPDX-License-Identifier: MIT */
/* Every kind of memory is told apart. */
#include <ferry/eligible.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/system.h"
#include "uffd/mapping.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define PAGE ferry__page_size

static void *map(size_t len, int prot, int flags, int fd)
{
	void *p = mmap(NULL, len, prot, flags, fd, 0);

	ck_assert_msg(p != MAP_FAILED, "mmap: %s", strerror(errno));
	return p;
}

START_TEST(anonymous_private_memory_is_eligible)
{
	char *p = map_private(4 * PAGE);
	void *heap = sbrk((intptr_t)(2 * PAGE));
	uintptr_t in_heap = ((uintptr_t)heap + PAGE - 1) & ~(PAGE - 1);

	ck_assert_int_eq(ferry_range_eligible(p, 4 * PAGE, NULL), 0);
	memset(p, 1, 4 * PAGE);
	ck_assert_int_eq(ferry_range_eligible(p, 4 * PAGE, NULL), 0);
	ck_assert_int_eq(range_verdict((void *)in_heap, PAGE),
			 FERRY_REASON_NONE);
}
END_TEST

START_TEST(private_dev_zero_is_anonymous)
{
	int fd = open("/dev/zero", O_RDWR);
	char *p;

	if (fd < 0)
		SKIP("dev_zero", "open /dev/zero: %s", strerror(errno));
	p = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_NONE);
}
END_TEST

START_TEST(shared_memory_is_refused)
{
	char *p = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1);

	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_SHARED);
}
END_TEST

static int memfd(const char *name, size_t len)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)len), 0);
	return fd;
}

START_TEST(private_memfd_is_refused_also_when_copied)
{
	int fd = memfd("x", PAGE);
	char *p = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);

	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_FILE);
	*p = 1;
	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_FILE);
	p = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_SHARED);
}
END_TEST

START_TEST(program_file_is_refused)
{
	uintptr_t p = (uintptr_t)&ferry__smaps_next & ~(PAGE - 1);

	ck_assert_int_eq(range_verdict((void *)p, PAGE), FERRY_REASON_FILE);
}
END_TEST

START_TEST(memory_without_write_access_is_refused)
{
	char *p = map(2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_READ_ONLY);
	ck_assert_int_eq(mprotect(p, 2 * PAGE, PROT_NONE), 0);
	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_READ_ONLY);
}
END_TEST

START_TEST(locked_memory_is_refused)
{
	char *p = map_private(PAGE);

	/* By number: AddressSanitizer's mlock() locks nothing. */
	if (syscall(SYS_mlock, p, PAGE))
		SKIP("mlock", "mlock: %s", strerror(errno));
	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_LOCKED);
	syscall(SYS_munlock, p, PAGE);
	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_NONE);
}
END_TEST

START_TEST(hugetlb_memory_is_refused)
{
	struct system_hold hold;
	struct ferry__mapping m;
	size_t huge = 2 << 20;
	char *p;

	if (!system_hold_value(&hold, "/proc/sys/vm/nr_hugepages", "2"))
		SKIP("hugetlb", "%s", hold.reason);
	p = mmap(NULL, huge, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (p != MAP_FAILED) {
		ck_assert_int_eq(range_verdict(p, huge), FERRY_REASON_HUGETLB);
		ck_assert_int_eq(ferry__mapping_query(p, PAGE, &m), 0);
		ck_assert_uint_gt(m.page_size, PAGE);
		munmap(p, huge);
	}
	system_release(&hold);
	if (p == MAP_FAILED)
		SKIP("hugetlb", "mmap of a reserved huge page failed");
}
END_TEST

START_TEST(secret_memory_is_refused)
{
	int fd = (int)syscall(447 /* memfd_secret */, 0);
	char *p;

	if (fd < 0)
		SKIP("memfd_secret", "memfd_secret: %s", strerror(errno));
	ck_assert_int_eq(ftruncate(fd, (off_t)PAGE), 0);
	p = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_SECRET);
}
END_TEST

/* The rings of io_uring are mapped by the driver: VM_PFNMAP or VM_MIXEDMAP. */
START_TEST(memory_of_a_driver_is_refused)
{
	struct io_uring_params params = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &params);
	char *p;

	if (fd < 0)
		SKIP("io_uring", "io_uring_setup: %s", strerror(errno));
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		 (off_t)IORING_OFF_SQ_RING);
	ck_assert_ptr_ne(p, MAP_FAILED);
	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_DEVICE);
}
END_TEST

struct named {
	const char *name;
	struct ferry_mapping found;
	bool seen;
};

static int find_name(void *arg, const struct ferry_mapping *m)
{
	struct named *named = arg;

	if (strcmp(m->name, named->name))
		return 0;
	named->found = *m;
	named->seen = true;
	return 1;
}

static bool find_named(struct named *named)
{
	int r = ferry_mappings_walk(0, NULL, 0, find_name, named);

	ck_assert_int_ge(r, 0);
	ck_assert_int_eq(r, named->seen);
	return named->seen;
}

START_TEST(mappings_of_the_kernel_are_special)
{
	struct named vdso = { .name = "[vdso]" };
	struct named vvar = { .name = "[vvar]" };
	struct named heap = { .name = "[heap]" };

	if (!find_named(&vdso) || !find_named(&vvar))
		SKIP("vdso", "this kernel maps no vdso");
	ck_assert_int_eq(vdso.found.reason, FERRY_REASON_SPECIAL);
	ck_assert_int_eq(vvar.found.reason, FERRY_REASON_SPECIAL);
	if (find_named(&heap))
		ck_assert_int_eq(heap.found.reason, FERRY_REASON_NONE);
}
END_TEST

START_TEST(a_stack_that_grows_is_special)
{
	struct named stack = { .name = "[stack]" };

	if (!find_named(&stack))
		SKIP("stack", "the main stack is not named");
	ck_assert_int_eq(stack.found.reason, FERRY_REASON_SPECIAL);
	ck_assert_ptr_nonnull(strstr(stack.found.explanation, "grow"));
}
END_TEST

/* A descriptor that the library knows nothing of. */
static int foreign_uffd(void)
{
	struct ferry__uffdio_api api = { .api = FERRY__UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd,
			      FERRY__UFFD_USER_MODE_ONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ioctl(fd, FERRY__UFFDIO_API, &api), 0);
	return fd;
}

START_TEST(memory_of_another_userfaultfd_is_refused)
{
	char *p = map_private(3 * PAGE);
	struct ferry__uffdio_register reg = {
		.range = { (uintptr_t)p + PAGE, PAGE },
		.mode = FERRY__REGISTER_MISSING,
	};
	struct ferry_mapping m;
	int fd = foreign_uffd();

	ck_assert_int_eq(ioctl(fd, FERRY__UFFDIO_REGISTER, &reg), 0);
	ck_assert_int_eq(ferry_range_eligible(p, 3 * PAGE, &m), -EINVAL);
	ck_assert_int_eq(m.reason, FERRY_REASON_OTHER_UFFD);
	ck_assert_ptr_eq(m.range.addr, p + PAGE);
	ck_assert_uint_eq(m.range.len, PAGE);
	ck_assert(m.userfault);
	close(fd);
	ck_assert_int_eq(range_verdict(p, 3 * PAGE), FERRY_REASON_NONE);
}
END_TEST

START_TEST(guard_regions_are_found)
{
	char *p = map_private(8 * PAGE);
	struct ferry_mapping m;

	ck_assert_int_eq(madvise(p + 3 * PAGE, PAGE, FERRY__MADV_GUARD_INSTALL),
			 0);
	if (!ferry_range_eligible(p, 8 * PAGE, &m))
		SKIP("guard_scan", "PAGEMAP_SCAN does not tell guard regions");
	ck_assert_int_eq(m.reason, FERRY_REASON_GUARD);
	ck_assert_int_eq(range_verdict(p, 3 * PAGE), FERRY_REASON_NONE);
	ck_assert_int_eq(range_verdict(p + 4 * PAGE, 4 * PAGE),
			 FERRY_REASON_NONE);
}
END_TEST

/* --- injected faults ------------------------------------------------------ */

START_TEST(maps_serves_where_smaps_is_missing)
{
	struct inject_rule none = { .call = INJECT_OPEN,
				    .path = "/proc/self/smaps",
				    .count = INJECT_ALWAYS,
				    .error = ENOENT };
	char *p = map_private(2 * PAGE);
	struct ferry__mapping m;

	inject_start();
	inject_add(&none);
	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_NONE);
	ck_assert_int_eq(mprotect(p, PAGE, PROT_READ), 0);
	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_READ_ONLY);
	ck_assert_int_eq(ferry__mapping_query(p, PAGE, &m), 0);
	ck_assert(!(m.flags & FERRY__VM_FLAGS_READ));
	ck_assert_uint_gt(inject_hits(&none), 0);
}
END_TEST

static int eligible_with_open_failing(int error)
{
	struct inject_rule fail = { .call = INJECT_OPEN,
				    .count = INJECT_ALWAYS,
				    .error = error };
	struct ferry_mapping m = { .reason = FERRY_REASON_MAX };
	void *p = map_private(PAGE);
	int r;

	inject_start();
	inject_add(&fail);
	r = ferry_range_eligible(p, PAGE, &m);
	inject_stop();
	ck_assert_int_eq(m.reason, FERRY_REASON_MAX);
	return r;
}

START_TEST(a_closed_proc_is_an_error_not_a_verdict)
{
	ck_assert_int_eq(eligible_with_open_failing(ENOENT), -EIO);
	ck_assert_int_eq(eligible_with_open_failing(EACCES), -EACCES);
	ck_assert_int_eq(eligible_with_open_failing(EPERM), -EACCES);
	ck_assert_int_eq(eligible_with_open_failing(EMFILE), -EMFILE);
}
END_TEST

START_TEST(a_failing_read_is_an_error_not_a_verdict)
{
	struct inject_rule fail = { .call = INJECT_READ,
				    .error = ENOMEM,
				    .nth = 2 };
	struct inject_rule again = { .call = INJECT_READ, .error = EINTR };
	void *p = map_private(PAGE);

	inject_start();
	inject_add(&fail);
	ck_assert_int_eq(ferry_range_eligible(p, PAGE, NULL), -ENOMEM);
	inject_stop();
	inject_start();
	inject_add(&again);
	ck_assert_int_eq(ferry_range_eligible(p, PAGE, NULL), 0);
	ck_assert_uint_eq(inject_hits(&again), 1);
}
END_TEST

START_TEST(every_reason_has_a_sentence)
{
	int i, k;

	for (i = 0; i < FERRY_REASON_MAX; i++) {
		ck_assert_str_ne(ferry_reason_string(i), "unknown reason");
		for (k = 0; k < i; k++)
			ck_assert_str_ne(ferry_reason_string(i),
					 ferry_reason_string(k));
	}
	ck_assert_str_eq(ferry_reason_string(FERRY_REASON_MAX),
			 "unknown reason");
	ck_assert_str_eq(ferry_reason_string((enum ferry_reason) - 1),
			 "unknown reason");
}
END_TEST

static const struct test tests[] = {
	TEST(anonymous_private_memory_is_eligible, NULL),
	TEST(private_dev_zero_is_anonymous, NULL),
	TEST(shared_memory_is_refused, NULL),
	TEST(private_memfd_is_refused_also_when_copied, NULL),
	TEST(program_file_is_refused, NULL),
	TEST(memory_without_write_access_is_refused, NULL),
	TEST(locked_memory_is_refused, NULL),
	TEST(hugetlb_memory_is_refused, NULL),
	TEST(secret_memory_is_refused, NULL),
	TEST(memory_of_a_driver_is_refused, "io_uring"),
	TEST(mappings_of_the_kernel_are_special, NULL),
	TEST(a_stack_that_grows_is_special, NULL),
	TEST(memory_of_another_userfaultfd_is_refused, "userfaultfd"),
	TEST(guard_regions_are_found, "guard"),
	TEST(maps_serves_where_smaps_is_missing, NULL),
	TEST(a_closed_proc_is_an_error_not_a_verdict, NULL),
	TEST(a_failing_read_is_an_error_not_a_verdict, NULL),
	TEST(every_reason_has_a_sentence, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
