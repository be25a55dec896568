/* SPDX-License-Identifier: MIT */
/* Every kind of memory is told apart, and odd texts of smaps do no harm. */
#include <ferry/eligible.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/inject.h"
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

static void *map_private(size_t len)
{
	return map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1);
}

/* The verdict on a range, which must say so in words. */
static enum ferry_reason verdict(const void *p, size_t len)
{
	struct ferry_mapping m;
	int r;

	memset(&m, 0x5a, sizeof(m));
	r = ferry_range_eligible(p, len, &m);
	if (!r)
		return FERRY_REASON_NONE;
	ck_assert_int_eq(r, -EINVAL);
	ck_assert_uint_gt(strlen(m.explanation), 20);
	ck_assert_uint_lt(strlen(m.explanation), sizeof(m.explanation) - 1);
	return m.reason;
}

START_TEST(anonymous_private_memory_is_eligible)
{
	char *p = map_private(4 * PAGE);
	void *heap = sbrk((intptr_t)(2 * PAGE));
	uintptr_t in_heap = ((uintptr_t)heap + PAGE - 1) & ~(PAGE - 1);

	ck_assert_int_eq(ferry_range_eligible(p, 4 * PAGE, NULL), 0);
	memset(p, 1, 4 * PAGE);
	ck_assert_int_eq(ferry_range_eligible(p, 4 * PAGE, NULL), 0);
	ck_assert_int_eq(verdict((void *)in_heap, PAGE), FERRY_REASON_NONE);
}
END_TEST

START_TEST(private_dev_zero_is_anonymous)
{
	int fd = open("/dev/zero", O_RDWR);
	char *p;

	if (fd < 0)
		SKIP("dev_zero", "open /dev/zero: %s", strerror(errno));
	p = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_NONE);
}
END_TEST

START_TEST(shared_memory_is_refused)
{
	char *p = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1);

	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_SHARED);
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

	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_FILE);
	*p = 1;
	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_FILE);
	p = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_SHARED);
}
END_TEST

START_TEST(program_file_is_refused)
{
	uintptr_t p = (uintptr_t)&ferry__smaps_next & ~(PAGE - 1);

	ck_assert_int_eq(verdict((void *)p, PAGE), FERRY_REASON_FILE);
}
END_TEST

START_TEST(memory_without_write_access_is_refused)
{
	char *p = map(2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_READ_ONLY);
	ck_assert_int_eq(mprotect(p, 2 * PAGE, PROT_NONE), 0);
	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_READ_ONLY);
}
END_TEST

START_TEST(locked_memory_is_refused)
{
	char *p = map_private(PAGE);

	/* By number: AddressSanitizer's mlock() locks nothing. */
	if (syscall(SYS_mlock, p, PAGE))
		SKIP("mlock", "mlock: %s", strerror(errno));
	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_LOCKED);
	syscall(SYS_munlock, p, PAGE);
	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_NONE);
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
		ck_assert_int_eq(verdict(p, huge), FERRY_REASON_HUGETLB);
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
	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_SECRET);
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
	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_DEVICE);
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
	ck_assert_int_eq(verdict(p, 3 * PAGE), FERRY_REASON_NONE);
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
	ck_assert_int_eq(verdict(p, 3 * PAGE), FERRY_REASON_NONE);
	ck_assert_int_eq(verdict(p + 4 * PAGE, 4 * PAGE), FERRY_REASON_NONE);
}
END_TEST

struct seen {
	struct ferry_mapping m[16];
	size_t n;
};

static int collect(void *arg, const struct ferry_mapping *m)
{
	struct seen *seen = arg;

	if (seen->n == ARRAY_SIZE(seen->m))
		return -ENOSPC;
	seen->m[seen->n++] = *m;
	return 0;
}

START_TEST(walk_tells_gaps_and_cuts_to_the_range)
{
	char *p = map_private(7 * PAGE);
	struct seen seen = { .n = 0 };

	ck_assert_int_eq(munmap(p + 2 * PAGE, PAGE), 0);
	ck_assert_int_eq(mprotect(p + 4 * PAGE, PAGE, PROT_READ), 0);
	ck_assert_int_eq(
		ferry_mappings_walk(0, p + PAGE, 5 * PAGE, collect, &seen), 0);
	ck_assert_uint_eq(seen.n, 5);
	ck_assert_ptr_eq(seen.m[0].range.addr, p + PAGE);
	ck_assert_uint_eq(seen.m[0].range.len, PAGE);
	ck_assert_int_eq(seen.m[1].reason, FERRY_REASON_UNMAPPED);
	ck_assert_ptr_eq(seen.m[1].range.addr, p + 2 * PAGE);
	ck_assert_uint_eq(seen.m[1].range.len, PAGE);
	ck_assert_int_eq(seen.m[3].reason, FERRY_REASON_READ_ONLY);
	ck_assert_ptr_eq(seen.m[4].range.addr, p + 5 * PAGE);
	ck_assert_uint_eq(seen.m[4].range.len, PAGE);
}
END_TEST

START_TEST(unmapped_memory_is_one_gap)
{
	char *p = map_private(3 * PAGE);
	struct seen seen = { .n = 0 };
	struct ferry__mapping m;

	munmap(p, 3 * PAGE);
	ck_assert_int_eq(verdict(p, 2 * PAGE), FERRY_REASON_UNMAPPED);
	ck_assert_int_eq(ferry_mappings_walk(0, p, 2 * PAGE, collect, &seen),
			 0);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_ptr_eq(seen.m[0].range.addr, p);
	ck_assert_uint_eq(seen.m[0].range.len, 2 * PAGE);
	ck_assert_int_eq(ferry__mapping_query(p, 2 * PAGE, &m), -ENOENT);
}
END_TEST

static int stop(void *arg, const struct ferry_mapping *m)
{
	(void)m;
	++*(int *)arg;
	return 42;
}

START_TEST(walk_returns_what_the_callback_said)
{
	int calls = 0;

	ck_assert_int_eq(ferry_mappings_walk(0, NULL, 0, stop, &calls), 42);
	ck_assert_int_eq(calls, 1);
}
END_TEST

START_TEST(bad_requests_are_refused)
{
	char *p = map_private(PAGE);
	int calls = 0;

	ck_assert_int_eq(verdict(p + 1, PAGE), FERRY_REASON_UNALIGNED);
	ck_assert_int_eq(verdict(p, PAGE + 1), FERRY_REASON_UNALIGNED);
	ck_assert_int_eq(verdict(p, 0), FERRY_REASON_ZERO_LENGTH);
	ck_assert_int_eq(verdict(p, (size_t)0 - PAGE), FERRY_REASON_OVERFLOW);
	ck_assert_int_eq(ferry_range_eligible(p + 1, PAGE, NULL), -EINVAL);
	ck_assert_int_eq(ferry_mappings_walk(-1, NULL, 0, stop, &calls),
			 -EINVAL);
	ck_assert_int_eq(ferry_mappings_walk(0, p, PAGE + 1, stop, &calls),
			 -EINVAL);
	ck_assert_int_eq(ferry_mappings_walk(0, p, PAGE, NULL, NULL), -EINVAL);
	ck_assert_int_eq(calls, 0);
}
END_TEST

START_TEST(flags_of_a_mapping_are_told)
{
	char *p = map_private(PAGE);
	struct seen seen = { .n = 0 };

	ck_assert_int_eq(madvise(p, PAGE, MADV_DONTFORK), 0);
	madvise(p, PAGE, MADV_NOHUGEPAGE);
	ck_assert_int_eq(ferry_mappings_walk(0, p, PAGE, collect, &seen), 0);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert(seen.m[0].dont_fork);
	ck_assert(seen.m[0].readable && seen.m[0].writable);
	ck_assert(!seen.m[0].executable && !seen.m[0].shared);
	ck_assert(!seen.m[0].huge_advised);
	ck_assert_uint_eq(seen.m[0].page_size, PAGE);
}
END_TEST

/* A child that sleeps until killed, with @p mapped as the parent has it. */
static pid_t sleeping_child(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid)
		for (;;)
			pause();
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(another_process_is_read_by_pid)
{
	char *p = map_private(2 * PAGE);
	struct seen seen = { .n = 0 };
	pid_t pid;

	ck_assert_int_eq(mprotect(p, PAGE, PROT_READ), 0);
	pid = sleeping_child();
	ck_assert_int_eq(mprotect(p, PAGE, PROT_READ | PROT_WRITE), 0);
	ck_assert_int_eq(ferry_mappings_walk(pid, p, PAGE, collect, &seen), 0);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_int_eq(seen.m[0].reason, FERRY_REASON_READ_ONLY);
	end_child(pid);
	ck_assert_int_eq(ferry_mappings_walk(pid, p, PAGE, collect, &seen),
			 -ESRCH);
}
END_TEST

static int kill_it(void *arg, const struct ferry_mapping *m)
{
	pid_t *pid = arg;

	(void)m;
	if (*pid) {
		end_child(*pid);
		*pid = 0;
	}
	return 0;
}

START_TEST(process_that_dies_while_read_ends_the_walk)
{
	pid_t child = sleeping_child();
	pid_t pid = child;
	int r = ferry_mappings_walk(pid, NULL, 0, kill_it, &child);

	ck_assert_msg(!r || r == -ESRCH, "walk said %d", r);
	ck_assert_int_eq(child, 0);
}
END_TEST

START_TEST(a_forbidden_process_is_refused)
{
	int calls = 0, status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid) {
		if (geteuid() == 0 && setresuid(65534, 65534, 65534))
			_exit(2);
		_exit(ferry_mappings_walk(1, NULL, 0, stop, &calls) != -EACCES);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(one_mapping_is_queried)
{
	char *p = map_private(4 * PAGE);
	struct ferry__mapping m;

	ck_assert_int_eq(mprotect(p + 2 * PAGE, PAGE, PROT_READ), 0);
	ck_assert_int_eq(ferry__mapping_query(p + 2 * PAGE, PAGE, &m), 0);
	ck_assert_uint_eq(m.start, (uintptr_t)p + 2 * PAGE);
	ck_assert_uint_eq(m.end, (uintptr_t)p + 3 * PAGE);
	ck_assert_int_eq(m.reason, FERRY_REASON_READ_ONLY);
	munmap(p, PAGE);
	ck_assert_int_eq(ferry__mapping_query(p, 2 * PAGE, &m), 0);
	ck_assert_uint_eq(m.start, (uintptr_t)p + PAGE);
}
END_TEST

/* --- injected faults ------------------------------------------------------ */

START_TEST(queries_work_without_procmap_query)
{
	struct inject_rule none = { .call = INJECT_IOCTL,
				    .request = FERRY__PROCMAP_QUERY,
				    .count = INJECT_ALWAYS,
				    .error = ENOTTY };
	char *p = map_private(3 * PAGE);
	struct ferry__mapping m;

	inject_start();
	inject_add(&none);
	ck_assert_int_eq(ferry__mapping_query(p, PAGE, &m), 0);
	ck_assert_int_eq(m.reason, FERRY_REASON_NONE);
	munmap(p + PAGE, PAGE);
	ck_assert_int_eq(ferry__mapping_query(p + PAGE, PAGE, &m), -ENOENT);
	ck_assert_int_eq(verdict(p + PAGE, PAGE), FERRY_REASON_UNMAPPED);
	ck_assert_uint_gt(inject_hits(&none), 0);
}
END_TEST

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
	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_NONE);
	ck_assert_int_eq(mprotect(p, PAGE, PROT_READ), 0);
	ck_assert_int_eq(verdict(p, PAGE), FERRY_REASON_READ_ONLY);
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

/* --- texts ---------------------------------------------------------------- */

/* A reader of @text, with a buffer of @size bytes. */
static struct ferry__smaps reader(const char *text, size_t len, char *buf,
				  size_t size)
{
	struct ferry__smaps smaps;
	int fd = memfd_create("text", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	ferry__smaps_init(&smaps, fd, true, buf, size);
	return smaps;
}

/* Reads all of @text; returns the number of mappings or the error. */
static int read_all(const char *text, size_t len, size_t size,
		    struct ferry__mapping *m, int max)
{
	char buf[4096];
	struct ferry__smaps smaps = reader(text, len, buf, size);
	uint64_t floor = 0;
	int n, r;

	for (n = 0;; n++) {
		struct ferry__mapping one;

		r = ferry__smaps_next(&smaps, &one);
		if (r <= 0)
			break;
		ck_assert_uint_lt(one.start, one.end);
		ck_assert_uint_ge(one.start, floor);
		floor = one.end;
		if (n < max)
			m[n] = one;
	}
	close(smaps.fd);
	return r < 0 ? r : n;
}

struct sample {
	const char *name; /* of the mapping */
	const char *perms;
	const char *inode; /* "dev inode" */
	const char *flags; /* VmFlags */
	enum ferry_reason reason;
};

/* As kernels print them that have what this machine may lack. */
static const struct sample samples[] = {
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac sd", FERRY_REASON_NONE },
	{ "[heap]", "rw-p", "00:00 0", "rd wr mr mw me ac", FERRY_REASON_NONE },
	{ "[anon:dalvik-main space]", "rw-p", "00:00 0", "rd wr ac",
	  FERRY_REASON_NONE },
	{ "[anon_shmem:buf]", "rw-s", "00:01 1024", "rd wr sh ms",
	  FERRY_REASON_SHARED },
	{ "/dev/zero", "rw-p", "00:06 4", "rd wr mr mw me ac",
	  FERRY_REASON_NONE },
	{ "/dev/zero (deleted)", "rw-s", "00:01 4", "rd wr sh ms",
	  FERRY_REASON_SHARED },
	{ "/SYSV00000000 (deleted)", "rw-s", "00:01 4", "rd wr sh ms",
	  FERRY_REASON_SHARED },
	{ "/memfd:vm (deleted)", "rw-p", "00:01 9", "rd wr ac",
	  FERRY_REASON_FILE },
	{ "/dev/mem", "r--s", "00:06 1", "rd mr me ms pf io de dd",
	  FERRY_REASON_DEVICE },
	{ "/dev/nvidia-uvm", "rw-s", "00:06 1", "rd wr sh ms mm",
	  FERRY_REASON_DEVICE },
	{ "/dev/dri/card0", "rw-s", "00:06 1", "rd wr sh ms pf io dd",
	  FERRY_REASON_DEVICE },
	{ "anon_inode:[perf_event]", "rw-s", "00:0e 1", "rd wr sh mm dd",
	  FERRY_REASON_DEVICE },
	{ "/mnt/pmem/db", "rw-s", "103:00 77", "rd wr sh ms mm hg",
	  FERRY_REASON_DAX },
	{ "/mnt/pmem/db", "rw-s", "103:00 77", "rd wr sh ms sf",
	  FERRY_REASON_DAX },
	{ "/dev/dax0.0", "rw-s", "fc:00 8", "rd wr sh ms mm hg",
	  FERRY_REASON_DAX },
	{ "/secretmem (deleted)", "rw-s", "00:0e 41", "rd wr sh ms lo dd",
	  FERRY_REASON_SECRET },
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac mt", FERRY_REASON_TAGGED },
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac ss",
	  FERRY_REASON_SHADOW_STACK },
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac lo", FERRY_REASON_LOCKED },
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac um",
	  FERRY_REASON_OTHER_UFFD },
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac uw",
	  FERRY_REASON_OTHER_UFFD },
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac ui",
	  FERRY_REASON_OTHER_UFFD },
	{ "/anon_hugepage (deleted)", "rw-p", "00:0f 8", "rd wr de ht",
	  FERRY_REASON_HUGETLB },
	{ "", "---p", "00:00 0", "mr mw me", FERRY_REASON_READ_ONLY },
	{ "[stack]", "rw-p", "00:00 0", "rd wr mr mw me gd ac",
	  FERRY_REASON_SPECIAL },
	{ "[uprobes]", "--xp", "00:00 0", "ex mr mw me de io",
	  FERRY_REASON_SPECIAL },
	{ "[sigpage]", "r-xp", "00:00 0", "rd ex de", FERRY_REASON_SPECIAL },
	{ "[vvar_vclock]", "r--p", "00:00 0", "rd mr pf io de dd",
	  FERRY_REASON_SPECIAL },
	/* A name cannot pass for a record or for flags. */
	{ "/tmp/VmFlags: rd wr", "rw-p", "fe:00 5", "rd wr",
	  FERRY_REASON_FILE },
	{ "/tmp/a\\0127f00-7f01 rw-p", "rw-p", "fe:00 5", "rd wr",
	  FERRY_REASON_FILE },
	{ "/tmp/\x1b[31mred", "rw-p", "fe:00 5", "rd wr", FERRY_REASON_FILE },
	/* Flags to come are passed over. */
	{ "", "rw-p", "00:00 0", "rd wr ?? zz loo l", FERRY_REASON_NONE },
};

static int print_sample(char *text, size_t size, const struct sample *s)
{
	return snprintf(text, size,
			"7f0000000000-7f0000400000 %s 00000000 %s   %s\n"
			"Size:               4096 kB\n"
			"KernelPageSize:        4 kB\n"
			"THPeligible:           1\n"
			"ProtectionKey:         0\n"
			"VmFlags: %s \n",
			s->perms, s->inode, s->name, s->flags);
}

START_TEST(saved_records_are_classified)
{
	struct ferry__mapping m;
	char text[1024], *c;
	size_t i;
	int len;

	for (i = 0; i < ARRAY_SIZE(samples); i++) {
		len = print_sample(text, sizeof(text), &samples[i]);
		ck_assert_int_eq(read_all(text, (size_t)len, 4096, &m, 1), 1);
		ck_assert_msg(m.reason == samples[i].reason,
			      "'%s' %s: got '%s'", samples[i].name,
			      samples[i].flags, ferry_reason_string(m.reason));
		for (c = m.name; *c; c++)
			ck_assert_int_ge(*c, ' ');
	}
}
END_TEST

START_TEST(any_read_size_gives_the_same)
{
	struct ferry__mapping whole[3], cut[3];
	struct random random = harness_random();
	char text[4096];
	size_t i, len = 0;

	for (i = 0; i < 3; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"7f000000%zu000-7f000000%zu000 rw-p "
					"00000000 00:00 0 \n"
					"KernelPageSize:        4 kB\n"
					"VmFlags: rd wr lo \n",
					i, i + 1);
	ck_assert_int_eq(read_all(text, len, 4096, whole, 3), 3);
	for (i = 1; i < 200; i++) {
		memset(cut, 0, sizeof(cut));
		ck_assert_int_eq(read_all(text, len,
					  1 + random_below(&random, i), cut, 3),
				 3);
		ck_assert_int_eq(memcmp(whole, cut, sizeof(cut)), 0);
	}
}
END_TEST

START_TEST(a_text_cut_anywhere_never_passes_for_whole)
{
	struct ferry__mapping m;
	char text[1024];
	size_t whole, len;
	int r;

	whole = (size_t)print_sample(text, sizeof(text), &samples[0]);
	ck_assert_int_eq(read_all(text, 0, 4096, &m, 1), 0);
	for (len = 1; len < whole; len++) {
		r = read_all(text, len, 4096, &m, 1);
		ck_assert_msg(r == -EIO, "%zu of %zu bytes gave %d", len, whole,
			      r);
	}
}
END_TEST

START_TEST(text_that_is_not_smaps_is_refused)
{
	static const char *const texts[] = {
		"\n",
		"hello\n",
		"VmFlags: rd\n",
		"Size: 4 kB\n",
		"7f00-7f00 rw-p 0 0:0 0\nVmFlags: rd\n",
		"7f01-7f00 rw-p 0 0:0 0\nVmFlags: rd\n",
		"7f00-7f01 rwxp\nVmFlags: rd\n",
		"7f00-7f01 qw-p 0 0:0 0\nVmFlags: rd\n",
		"7f00 7f01 rw-p 0 0:0 0\nVmFlags: rd\n",
		"7f00-7f01 rw-p 0 0:0 0x\nVmFlags: rd\n",
		"7f00-10000000000000000 rw-p 0 0:0 0\nVmFlags: rd\n",
		"7f00-7f01 rw-p 0 0:0 99999999999999999999\nVmFlags: rd\n",
		"7f00-7f01 rw-p 0 0:0 0\nKernelPageSize: 0 kB\nVmFlags: rd\n",
		"7f00-7f01 rw-p 0 0:0 0\nKernelPageSize: x kB\nVmFlags: rd\n",
		"7f00-7f01 rw-p 0 0:0 0\nnonsense\nVmFlags: rd\n",
	};
	struct ferry__mapping m;
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(texts); i++) {
		r = read_all(texts[i], strlen(texts[i]), 4096, &m, 1);
		ck_assert_msg(r == -EIO, "text %zu gave %d", i, r);
	}
}
END_TEST

START_TEST(mappings_that_merge_while_read_are_cut)
{
	static const char text[] = "1000-2000 rw-p 0 0:0 0 \nVmFlags: rd wr \n"
				   "1000-4000 rw-p 0 0:0 0 \nVmFlags: rd wr \n"
				   "2000-3000 rw-p 0 0:0 0 \nVmFlags: rd wr \n"
				   "3000-5000 rw-p 0 0:0 0 \nVmFlags: rd wr \n";
	struct ferry__mapping m[4];

	ck_assert_int_eq(read_all(text, sizeof(text) - 1, 4096, m, 4), 3);
	ck_assert_uint_eq(m[1].start, 0x2000);
	ck_assert_uint_eq(m[1].end, 0x4000);
	ck_assert_uint_eq(m[2].start, 0x4000);
	ck_assert_uint_eq(m[2].end, 0x5000);
}
END_TEST

START_TEST(huge_names_and_texts_are_read)
{
	const size_t records = 5000;
	char name[4097], *text = malloc(records * 256 + sizeof(name) + 256);
	struct ferry__mapping m;
	size_t i, len;

	ck_assert_ptr_nonnull(text);
	memset(name, 'n', sizeof(name) - 1);
	name[0] = '/';
	name[sizeof(name) - 1] = '\0';
	len = (size_t)sprintf(text,
			      "1000-2000 rw-p 0 fe:0 7 %s\n"
			      "VmFlags: rd wr \n",
			      name);
	for (i = 1; i < records; i++)
		len += (size_t)sprintf(text + len,
				       "%zx000-%zx000 rw-p 0 0:0 0 \n"
				       "VmFlags: rd wr \n",
				       i + 1, i + 2);
	ck_assert_int_eq(read_all(text, len, 4096, &m, 1), (int)records);
	ck_assert_uint_eq(strlen(m.name), sizeof(m.name) - 1);
	free(text);
}
END_TEST

START_TEST(random_bytes_do_no_harm)
{
	struct random random = harness_random();
	size_t i, k, n, rounds = harness_scaled(20000);
	char text[1024];
	struct ferry__mapping m;

	for (i = 0; i < rounds; i++) {
		n = (size_t)print_sample(
			text, sizeof(text),
			&samples[random_below(&random, ARRAY_SIZE(samples))]);
		for (k = random_below(&random, 8); k; k--)
			text[random_below(&random, n)] =
				(char)random_next(&random);
		read_all(text, n, 1 + random_below(&random, 4096), &m, 1);
	}
}
END_TEST

/* --- mappings that change while they are read ----------------------------- */

static void *remap_until_told(void *arg)
{
	const bool *end = arg;
	char *p;

	/* A2: relaxed suffices: only the loop's end hangs on the word. */
	while (!__atomic_load_n(end, __ATOMIC_RELAXED)) {
		p = map_private(64 * PAGE);
		mprotect(p + 8 * PAGE, PAGE, PROT_READ);
		munmap(p + 16 * PAGE, PAGE);
		mprotect(p + 8 * PAGE, PAGE, PROT_READ | PROT_WRITE);
		munmap(p, 64 * PAGE);
	}
	return NULL;
}

struct ascending {
	uintptr_t floor;
	const char *want;
	bool found;
};

static int check_ascending(void *arg, const struct ferry_mapping *m)
{
	struct ascending *a = arg;
	uintptr_t start = (uintptr_t)m->range.addr;

	ck_assert_uint_ge(start, a->floor);
	a->floor = start + m->range.len;
	if (m->range.addr == a->want)
		a->found = true;
	return 0;
}

START_TEST(a_walk_through_changing_mappings_finds_what_stays)
{
	size_t i, rounds = harness_scaled(300);
	/* Between its neighbours, so that it merges with nothing. */
	char *p = map_private(3 * PAGE);
	bool end = false;
	pthread_t thread;

	mprotect(p, PAGE, PROT_NONE);
	mprotect(p + 2 * PAGE, PAGE, PROT_NONE);
	ck_assert_int_eq(pthread_create(&thread, NULL, remap_until_told, &end),
			 0);
	for (i = 0; i < rounds; i++) {
		struct ascending a = { .want = p + PAGE };

		ck_assert_int_eq(
			ferry_mappings_walk(0, NULL, 0, check_ascending, &a),
			0);
		ck_assert_msg(a.found, "round %zu lost a mapping", i);
		ck_assert_int_eq(verdict(p + PAGE, PAGE), FERRY_REASON_NONE);
	}
	/* Pairs with nothing: see A2. */
	__atomic_store_n(&end, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
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
	TEST(walk_tells_gaps_and_cuts_to_the_range, NULL),
	TEST(unmapped_memory_is_one_gap, NULL),
	TEST(walk_returns_what_the_callback_said, NULL),
	TEST(bad_requests_are_refused, NULL),
	TEST(flags_of_a_mapping_are_told, NULL),
	TEST(another_process_is_read_by_pid, NULL),
	TEST(process_that_dies_while_read_ends_the_walk, NULL),
	TEST(a_forbidden_process_is_refused, "root"),
	TEST(one_mapping_is_queried, NULL),
	TEST(queries_work_without_procmap_query, NULL),
	TEST(maps_serves_where_smaps_is_missing, NULL),
	TEST(a_closed_proc_is_an_error_not_a_verdict, NULL),
	TEST(a_failing_read_is_an_error_not_a_verdict, NULL),
	TEST(saved_records_are_classified, NULL),
	TEST(any_read_size_gives_the_same, NULL),
	TEST(a_text_cut_anywhere_never_passes_for_whole, NULL),
	TEST(text_that_is_not_smaps_is_refused, NULL),
	TEST(mappings_that_merge_while_read_are_cut, NULL),
	TEST(huge_names_and_texts_are_read, NULL),
	TEST(random_bytes_do_no_harm, NULL),
	TEST(a_walk_through_changing_mappings_finds_what_stays, NULL),
	TEST(every_reason_has_a_sentence, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
