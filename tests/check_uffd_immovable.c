/* SPDX-License-Identifier: MIT */
/*
 * Memory that must stay where it is: whether it may be moved, migrated and
 * paged out is told apart, and the kernel is asked whether that is so. What
 * this machine cannot have is a text of smaps.
 */
#include <ferry/eligible.h>

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/files.h"
#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/nodes.h"
#include "tests/pin.h"
#include "tests/system.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define PAGE ferry__page_size
#define RW   (PROT_READ | PROT_WRITE)

struct verdicts {
	enum ferry_reason immovable, unmigratable, unpageable;
};

#define NONE FERRY_REASON_NONE
#define ALL(r)                                                                 \
	{                                                                      \
		FERRY_REASON_##r, FERRY_REASON_##r, FERRY_REASON_##r           \
	}
#define MOVE(r)                                                                \
	{                                                                      \
		FERRY_REASON_##r, NONE, NONE                                   \
	}

static void assert_verdicts(const struct ferry_mapping *m,
			    const struct verdicts *want, const char *what)
{
	ck_assert_msg(m->immovable == want->immovable, "%s: move: %s", what,
		      ferry_reason_string(m->immovable));
	ck_assert_msg(m->unmigratable == want->unmigratable, "%s: migrate: %s",
		      what, ferry_reason_string(m->unmigratable));
	ck_assert_msg(m->unpageable == want->unpageable, "%s: page out: %s",
		      what, ferry_reason_string(m->unpageable));
}

/* --- texts ---------------------------------------------------------------- */

static const struct sample {
	const char *header; /* behind the addresses */
	const char *flags;
	struct verdicts want;
	enum ferry_reason reason;
} samples[] = {
	{ "rw-p 0 00:00 0", "rd wr mr mw me ac", ALL(NONE), NONE },
	{ "rw-p 0 00:00 0 [heap]", "rd wr ac", ALL(NONE), NONE },
	{ "rw-p 0 00:00 0", "rd wr um", ALL(NONE), FERRY_REASON_OTHER_UFFD },
	{ "rw-p 0 00:00 0",
	  "rd wr lo",
	  { NONE, NONE, FERRY_REASON_LOCKED },
	  FERRY_REASON_LOCKED },
	{ "r--p 0 00:00 0", "rd", MOVE(READ_ONLY), FERRY_REASON_READ_ONLY },
	{ "rw-s 0 00:01 9 /dev/zero (deleted)", "rd wr sh", MOVE(SHARED),
	  FERRY_REASON_SHARED },
	{ "rw-s 0 00:01 9 /dev/zero (deleted)",
	  "rd wr sh lo",
	  { FERRY_REASON_SHARED, NONE, FERRY_REASON_LOCKED },
	  FERRY_REASON_SHARED },
	{ "rw-p 0 fe:00 5 /usr/bin/x", "rd wr", MOVE(FILE), FERRY_REASON_FILE },
	{ "rw-p 0 00:00 0 [stack]", "rd wr gd ac", MOVE(SPECIAL),
	  FERRY_REASON_SPECIAL },
	{ "rw-p 0 00:00 0", "rd wr ss", MOVE(SHADOW_STACK),
	  FERRY_REASON_SHADOW_STACK },
	/* arm64, which is not here. */
	{ "rw-p 0 00:00 0", "rd wr mt", MOVE(TAGGED), FERRY_REASON_TAGGED },
	{ "rw-p 0 00:0f 8 /anon_hugepage (deleted)",
	  "rd wr de ht",
	  { FERRY_REASON_HUGETLB, NONE, FERRY_REASON_HUGETLB },
	  FERRY_REASON_HUGETLB },
	{ "r-xp 0 00:00 0 [vdso]", "rd ex de", ALL(SPECIAL),
	  FERRY_REASON_SPECIAL },
	{ "r--p 0 00:00 0 [vvar]", "rd pf io de dd", ALL(SPECIAL),
	  FERRY_REASON_SPECIAL },
	{ "rw-s 0 00:0e 4 /secretmem (deleted)", "rd wr sh lo dd", ALL(SECRET),
	  FERRY_REASON_SECRET },
	{ "rw-s 0 00:06 1 /dev/mem", "rd wr sh pf io", ALL(DEVICE),
	  FERRY_REASON_DEVICE },
	{ "rw-s 0 00:06 1 /dev/x", "rd wr sh io", ALL(DEVICE),
	  FERRY_REASON_DEVICE },
	{ "rw-p 0 00:06 1 /dev/x", "rd wr pf", ALL(DEVICE),
	  FERRY_REASON_DEVICE },
	{ "rw-s 0 00:06 1 /dev/nvidia-uvm", "rd wr sh mm", ALL(DEVICE),
	  FERRY_REASON_DEVICE },
	{ "rw-s 0 00:06 1 /dev/dax0.0", "rd wr sh mm hg", ALL(DAX),
	  FERRY_REASON_DAX },
	{ "rw-s 0 103:00 7 /mnt/db", "rd wr sh mm hg", ALL(DAX),
	  FERRY_REASON_DAX },
	/* From 6.15 on the file alone tells, see fake_attributes(). */
	{ "rw-s 0 103:00 7 /mnt/dax/db", "rd wr sh", ALL(DAX),
	  FERRY_REASON_DAX },
	{ "rw-p 0 103:00 7 /mnt/dax/db", "rd wr", ALL(DAX), FERRY_REASON_DAX },
	{ "rw-p 0 103:00 8 /mnt/dax/db", "rd wr", MOVE(FILE),
	  FERRY_REASON_FILE },
};

/* /proc/PID/map_files is root's; names are not. Inode 7 is on DAX. */
static int fake_attributes(const char *path, uint64_t *ret, uint64_t *inode)
{
	if (strcmp(path, "/proc/self/root/mnt/dax/db"))
		return -EPERM;
	*ret = STATX_ATTR_DAX;
	*inode = 7;
	return 0;
}

static int fake_map_files(const char *path, uint64_t *ret, uint64_t *inode)
{
	*ret = STATX_ATTR_DAX | STATX_ATTR_IMMUTABLE;
	*inode = 99;
	return strcmp(path, "/proc/self/map_files/10000-20000") ? -ENOENT : 0;
}

/* A process whose only mapping is this one. */
static void made_up(const char *header, const char *flags)
{
	static struct ferry__sys table;
	char text[512];

	files_start();
	table = *ferry__sys;
	table.file_attributes = fake_attributes;
	ferry__sys = &table;
	snprintf(text, sizeof(text),
		 "00010000-00020000 %s\nKernelPageSize: %zu kB\n"
		 "VmFlags: %s \n",
		 header, PAGE / 1024, flags);
	files_add("/proc/self/smaps", text);
}

static int take_one(void *arg, const struct ferry_mapping *m)
{
	*(struct ferry_mapping *)arg = *m;
	return 1;
}

START_TEST(each_kind_of_memory_has_its_verdicts)
{
	struct ferry_mapping m;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(samples); i++) {
		made_up(samples[i].header, samples[i].flags);
		ck_assert_int_eq(ferry_mappings_walk(0, NULL, 0, take_one, &m),
				 1);
		ck_assert_int_eq(m.reason, samples[i].reason);
		assert_verdicts(&m, &samples[i].want, samples[i].header);
	}
}
END_TEST

START_TEST(the_mapping_itself_leads_to_its_file)
{
	static const struct verdicts dax = ALL(DAX);
	struct ferry_mapping m;
	struct ferry__sys table;

	made_up("rw-s 0 103:00 7 /mnt/a-name-that-leads-elsewhere", "rd wr sh");
	table = *ferry__sys;
	table.file_attributes = fake_map_files;
	ferry__sys = &table;
	ck_assert_int_eq(ferry_mappings_walk(0, NULL, 0, take_one, &m), 1);
	assert_verdicts(&m, &dax, "map_files");
	ferry__sys = &ferry__sys_linux;
}
END_TEST

START_TEST(nothing_can_be_done_where_nothing_is_mapped)
{
	static const struct verdicts unmapped = ALL(UNMAPPED);
	static const struct verdicts bad = ALL(UNALIGNED);
	char *p = map_private(PAGE);
	struct ferry_mapping m;

	munmap(p, PAGE);
	ck_assert_int_eq(ferry_range_eligible(p, PAGE, &m), -EINVAL);
	assert_verdicts(&m, &unmapped, "gap");
	ck_assert_int_eq(ferry_range_eligible(p + 1, PAGE, &m), -EINVAL);
	assert_verdicts(&m, &bad, "bad request");
}
END_TEST

/* --- what the kernel says ------------------------------------------------- */

static void assert_memory(const void *p, size_t len,
			  const struct verdicts *want)
{
	struct ferry_mapping m = { .reason = FERRY_REASON_MAX };

	ck_assert_int_eq(ferry_mappings_walk(0, p, len, take_one, &m), 1);
	assert_verdicts(&m, want, m.name);
	ck_assert_int_eq(ferry_range_eligible(p, len, &m), -EINVAL);
	ck_assert_int_eq(m.reason, want->immovable);
}

static bool on_node(void *p, int node)
{
	int status = -1;

	ck_assert_int_eq(move_pages(0, 1, &p, NULL, &status, 0), 0);
	return status == node;
}

/*
 * Wants it on one node, then on the other: was it ever moved? Of memory that
 * has no place (a device's) this is false, too.
 */
static bool kernel_migrates(void *p)
{
	int node, status, seen = 0;

	FOR_EACH_NODE (node) {
		status = -1;
		move_pages(0, 1, &p, &node, &status, MPOL_MF_MOVE);
		seen += on_node(p, node);
	}
	return seen > 1;
}

static bool has_two_nodes(void)
{
	return numa_available() >= 0 && second_node() >= 0;
}

/* It may say yes and leave the page where it is, as 6.12 does of secrets. */
static bool kernel_pages_out(void *p)
{
	return !madvise(p, PAGE, FERRY__MADV_PAGEOUT) &&
	       !(pagemap_word(p) & FERRY__PM_PRESENT);
}

START_TEST(plain_memory_can_be_migrated)
{
	char *p = map_private(PAGE);

	*p = 1;
	AWAIT(kernel_migrates(p));
}
END_TEST

START_TEST(secret_memory_stays)
{
	static const struct verdicts secret = ALL(SECRET);
	int fd = (int)syscall(447 /* memfd_secret */, 0);
	char *p;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)PAGE), 0);
	p = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	*p = 1;
	assert_memory(p, PAGE, &secret);
	ck_assert(!kernel_pages_out(p));
	if (has_two_nodes())
		ck_assert(!kernel_migrates(p));
}
END_TEST

START_TEST(hugetlb_memory_is_not_paged_out)
{
	static const struct verdicts huge = { FERRY_REASON_HUGETLB, NONE,
					      FERRY_REASON_HUGETLB };
	size_t len = 2 << 20;
	struct system_hold hold;
	char *p;

	if (!system_hold_value(&hold, "/proc/sys/vm/nr_hugepages", "4"))
		SKIP("hugetlb", "%s", hold.reason);
	p = mmap(NULL, len, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1,
		 0);
	if (p != MAP_FAILED) {
		*p = 1;
		assert_memory(p, len, &huge);
		ck_assert(!kernel_pages_out(p));
		munmap(p, len);
	}
	system_release(&hold);
	if (p == MAP_FAILED)
		SKIP("hugetlb", "mmap of a reserved huge page failed");
}
END_TEST

/* Mapped, and not touched: who knows what a read of a register does. */
static void assert_device(void *p)
{
	static const struct verdicts device = ALL(DEVICE);

	ck_assert_ptr_ne(p, MAP_FAILED);
	assert_memory(p, PAGE, &device);
	ck_assert(!kernel_pages_out(p));
	if (has_two_nodes())
		ck_assert(!kernel_migrates(p));
}

/* The firmware of a PC, which STRICT_DEVMEM leaves open. */
#define FIRMWARE 0xf0000

START_TEST(physical_memory_stays)
{
	int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);
	void *p;

	if (fd < 0)
		SKIP("dev_mem", "/dev/mem: %s", strerror(errno));
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, FIRMWARE);
	if (p == MAP_FAILED)
		SKIP("dev_mem", "mmap of /dev/mem: %s", strerror(errno));
	assert_device(p);
}
END_TEST

/* The first memory of a PCI device that can be mapped, or MAP_FAILED. */
static void *map_pci(void)
{
	void *p = MAP_FAILED;
	glob_t files;
	size_t i;
	int fd;

	if (glob("/sys/bus/pci/devices/*/resource[0-5]", 0, NULL, &files))
		return p;
	for (i = 0; i < files.gl_pathc && p == MAP_FAILED; i++) {
		fd = open(files.gl_pathv[i], O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	globfree(&files);
	return p;
}

START_TEST(registers_of_a_device_stay)
{
	void *p = map_pci();

	if (p == MAP_FAILED)
		SKIP("pci_memory", "no PCI device has memory to map");
	assert_device(p);
}
END_TEST

/*
 * A file on persistent memory. The device is one that this test may format:
 * only a guest of the kernel matrix names it.
 */
START_TEST(persistent_memory_stays)
{
	static const struct verdicts dax = ALL(DAX);
	const char *device = getenv("FERRY_TEST_PMEM");
	char command[256];
	char *p;
	int fd;

	if (!device)
		SKIP("dax", "FERRY_TEST_PMEM names no device to format");
	snprintf(command, sizeof(command),
		 "mke2fs -q -F -t ext4 -b %zu %s >/dev/null 2>&1", PAGE,
		 device);
	AWAIT(!access(device, F_OK)); /* found by the kernel in its own time */
	ck_assert_int_eq(system(command), 0);
	mkdir("/tmp/dax", 0700);
	ck_assert_msg(!mount(device, "/tmp/dax", "ext4", 0, "dax"), "mount: %s",
		      strerror(errno));
	fd = open("/tmp/dax/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)PAGE), 0);
	p = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	*p = 1;
	assert_memory(p, PAGE, &dax);
	if (has_two_nodes())
		ck_assert(!kernel_migrates(p));
	munmap(p, PAGE);
	p = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	assert_memory(p, PAGE, &dax);
	munmap(p, PAGE);
	close(fd);
	ck_assert_int_eq(umount("/tmp/dax"), 0);
}
END_TEST

START_TEST(pinned_pages_are_not_migrated)
{
	char *p = map_private(PAGE);
	int ring;

	*p = 1;
	ring = pin_pages(p, PAGE);
	ck_assert(!kernel_migrates(p));
	ck_assert_int_eq(range_verdict(p, PAGE), FERRY_REASON_PINNED);
	unpin_pages(ring);
	AWAIT(kernel_migrates(p));
}
END_TEST

static const struct test tests[] = {
	TEST(each_kind_of_memory_has_its_verdicts, NULL),
	TEST(the_mapping_itself_leads_to_its_file, NULL),
	TEST(nothing_can_be_done_where_nothing_is_mapped, NULL),
	TEST(plain_memory_can_be_migrated, "numa"),
	TEST(secret_memory_stays, "memfd_secret"),
	TEST(hugetlb_memory_is_not_paged_out, "hugetlb"),
	TEST(physical_memory_stays, NULL),
	TEST(registers_of_a_device_stay, NULL),
	TEST(persistent_memory_stays, NULL),
	TEST(pinned_pages_are_not_migrated, "numa,io_uring"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
