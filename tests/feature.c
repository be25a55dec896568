/* SPDX-License-Identifier: MIT */
/*
 * Which features of this kernel and machine a test can count on.
 *
 * Written against the kernel and not against the library, so that a library
 * which fails to see a feature fails its tests instead of skipping them.
 */
#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "uffd/uapi.h"

struct probe {
	const char *feature;
	/* 0 or a negative errno; @arg is that of the table. */
	int (*has)(uint64_t arg);
	uint64_t arg;
	const char *reason; /* what its lack means, or NULL for the errno */
};

static int negative(long r)
{
	return r < 0 ? -errno : (int)r;
}

/* Can this process open a userfaultfd with @flags? */
static int has_uffd(uint64_t flags)
{
	int fd = negative(syscall(SYS_userfaultfd, (int)flags | O_CLOEXEC));

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* Does userfaultfd offer the feature bits @bits? */
static int has_bits(uint64_t bits)
{
	struct ferry__uffdio_api api = { .api = FERRY__UFFD_API };
	int r, fd;

	fd = negative(syscall(SYS_userfaultfd,
			      FERRY__UFFD_USER_MODE_ONLY | O_CLOEXEC));
	if (fd < 0)
		return fd;
	r = negative(ioctl(fd, FERRY__UFFDIO_API, &api));
	close(fd);
	if (r < 0)
		return r;
	return (api.features & bits) == bits ? 0 : -EOPNOTSUPP;
}

/* A file that exists and can be opened as the flags say. */
static int has_file(const char *path, int flags)
{
	int fd = negative(open(path, flags | O_CLOEXEC));

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int read_file(const char *path, char *buf, size_t size)
{
	int fd = negative(open(path, O_RDONLY | O_CLOEXEC));
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	buf[n] = '\0';
	return 0;
}

static int has_device(uint64_t arg)
{
	(void)arg;
	return has_file("/dev/userfaultfd", O_RDWR);
}

static int has_root(uint64_t arg)
{
	(void)arg;
	return geteuid() ? -EPERM : 0;
}

static int has_thp(uint64_t arg)
{
	char mode[64];
	int r;

	(void)arg;
	r = read_file("/sys/kernel/mm/transparent_hugepage/enabled", mode,
		      sizeof(mode));
	if (r < 0)
		return r;
	return strstr(mode, "[never]") ? -EOPNOTSUPP : 0;
}

static int has_ksm(uint64_t arg)
{
	(void)arg;
	return has_file("/sys/kernel/mm/ksm/run", O_RDWR);
}

static int has_compact_memory(uint64_t arg)
{
	(void)arg;
	return has_file("/proc/sys/vm/compact_memory", O_WRONLY);
}

/* Swap space that is there, or that tests/system.h can make. */
static int has_swap(uint64_t arg)
{
	char swaps[4096];

	(void)arg;
	if (!read_file("/proc/swaps", swaps, sizeof(swaps)) &&
	    strchr(swaps, '/'))
		return 0;
	return has_file("/sys/block/zram0/disksize", O_RDWR);
}

/* On the pagemap of this process, over one page that is mapped. */
static int has_pagemap_scan(uint64_t arg)
{
	static char page[1];
	uintptr_t mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
	struct ferry__pm_scan_arg scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)page & ~mask,
		.end = ((uintptr_t)page & ~mask) + mask + 1,
	};
	int r, fd = negative(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));

	(void)arg;
	if (fd < 0)
		return fd;
	r = negative(ioctl(fd, FERRY__PAGEMAP_SCAN, &scan));
	close(fd);
	return r < 0 ? r : 0;
}

static int has_procmap_query(uint64_t arg)
{
	struct ferry__procmap_query query = {
		.size = sizeof(query),
		.query_addr = (uintptr_t)&query,
	};
	int r, fd = negative(open("/proc/self/maps", O_RDONLY | O_CLOEXEC));

	(void)arg;
	if (fd < 0)
		return fd;
	r = negative(ioctl(fd, FERRY__PROCMAP_QUERY, &query));
	close(fd);
	return r;
}

/* A page just written is soft-dirty where the kernel counts that at all. */
static int has_soft_dirty(uint64_t arg)
{
	volatile char here = 1;
	uint64_t word = 0;
	off_t off = (off_t)((uintptr_t)&here /
			    (uintptr_t)sysconf(_SC_PAGESIZE) * sizeof(word));
	int fd = negative(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	ssize_t n;

	(void)arg;
	if (fd < 0)
		return fd;
	n = pread(fd, &word, sizeof(word), off);
	close(fd);
	if (n != sizeof(word))
		return -EIO;
	return word & FERRY__PM_SOFT_DIRTY ? 0 : -EOPNOTSUPP;
}

/* The mapping only: touching it needs pages that were set aside. */
static int has_hugetlb(uint64_t arg)
{
	size_t len = 2 << 20;
	void *p =
		mmap(NULL, len, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE,
		     -1, 0);

	(void)arg;
	if (p == MAP_FAILED)
		return -errno;
	munmap(p, len);
	return 0;
}

/* Does one page take the advice @advice? */
static int has_advice(uint64_t advice)
{
	size_t len = (size_t)sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (p == MAP_FAILED)
		return -errno;
	r = negative(madvise(p, len, (int)advice));
	munmap(p, len);
	return r;
}

static int has_io_uring(uint64_t arg)
{
	char params[120] = { 0 }; /* struct io_uring_params */
	int fd = negative(syscall(SYS_io_uring_setup, 1, params));

	(void)arg;
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int has_memfd_secret(uint64_t arg)
{
#ifdef SYS_memfd_secret
	int fd = negative(syscall(SYS_memfd_secret, 0));

	(void)arg;
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
#else
	(void)arg;
	return -ENOSYS;
#endif
}

static int has_seccomp(uint64_t arg)
{
	(void)arg;
	return negative(prctl(PR_GET_SECCOMP));
}

static int has_numa_calls(uint64_t arg)
{
	(void)arg;
	return negative(syscall(SYS_get_mempolicy, NULL, NULL, 0, NULL, 0));
}

/* Two or more nodes with memory: the list then has a comma or a dash. */
static int has_numa(uint64_t arg)
{
	char nodes[4096];
	int r = read_file("/sys/devices/system/node/has_memory", nodes,
			  sizeof(nodes));

	(void)arg;
	if (r < 0)
		return r;
	return strpbrk(nodes, ",-") ? 0 : -EOPNOTSUPP;
}

/* A node that has memory and no processor. */
static int has_slow_node(uint64_t arg)
{
	char memory[4096], cpu[4096];
	int r;

	r = has_numa(arg);
	if (!r)
		r = read_file("/sys/devices/system/node/has_memory", memory,
			      sizeof(memory));
	if (!r)
		r = read_file("/sys/devices/system/node/has_cpu", cpu,
			      sizeof(cpu));
	if (r < 0)
		return r;
	return strcmp(memory, cpu) ? 0 : -EOPNOTSUPP;
}

/* Of this build, not of the machine: set by configure. */
static int has_malloc(uint64_t arg)
{
	(void)arg;
	return *FERRY_NO_MALLOC ? -EOPNOTSUPP : 0;
}

/* As execvp(3) would find it. */
static bool has_program(const char *name)
{
	const char *folders = getenv("PATH");
	char path[4096];
	int n;

	while (folders && *folders) {
		n = (int)strcspn(folders, ":");
		snprintf(path, sizeof(path), "%.*s/%s", n, folders, name);
		if (!access(path, X_OK))
			return true;
		folders += n;
		folders += *folders == ':';
	}
	return false;
}

/* Is there a server to start, and the store to use it? */
static int has_redis_server(uint64_t arg)
{
#ifdef HAVE_HIREDIS
	bool has_store = true;
#else
	bool has_store = false;
#endif

	(void)arg;
	return has_store && has_program("redis-server") ? 0 : -ENOENT;
}

static const struct probe probes[] = {
	{ "userfaultfd", has_uffd, FERRY__UFFD_USER_MODE_ONLY, NULL },
	{ "kernel_faults", has_uffd, 0, NULL },
	{ "dev_userfaultfd", has_device, 0, NULL },
	{ "move", has_bits, FERRY__UFFD_FEATURE_MOVE,
	  "this kernel has no UFFDIO_MOVE" },
	{ "wp", has_bits, FERRY__UFFD_FEATURE_WP,
	  "this kernel cannot write-protect through userfaultfd" },
	{ "wp_async", has_bits, FERRY__UFFD_FEATURE_WP_ASYNC,
	  "this kernel has no asynchronous write-protection" },
	{ "poison", has_bits, FERRY__UFFD_FEATURE_POISON,
	  "this kernel has no UFFDIO_POISON" },
	{ "sigbus", has_bits, FERRY__UFFD_FEATURE_SIGBUS,
	  "this kernel's userfaultfd cannot raise SIGBUS" },
	{ "minor_shmem", has_bits, FERRY__UFFD_FEATURE_MINOR_SHMEM,
	  "this kernel has no minor faults on shared memory" },
	{ "pagemap_scan", has_pagemap_scan, 0,
	  "this kernel has no PAGEMAP_SCAN" },
	{ "procmap_query", has_procmap_query, 0,
	  "this kernel has no PROCMAP_QUERY" },
	{ "soft_dirty", has_soft_dirty, 0,
	  "this kernel keeps no soft-dirty bits" },
	{ "thp", has_thp, 0, "transparent huge pages are off" },
	{ "guard", has_advice, FERRY__MADV_GUARD_INSTALL,
	  "this kernel has no guard markers" },
	{ "pageout", has_advice, FERRY__MADV_PAGEOUT, NULL },
	{ "swap", has_swap, 0, "no swap space, and no zram device to make it" },
	{ "ksm", has_ksm, 0, "KSM cannot be controlled" },
	{ "compact_memory", has_compact_memory, 0,
	  "memory compaction cannot be started" },
	{ "hugetlb", has_hugetlb, 0, NULL },
	{ "io_uring", has_io_uring, 0, NULL },
	{ "memfd_secret", has_memfd_secret, 0, NULL },
	{ "seccomp", has_seccomp, 0, NULL },
	{ "root", has_root, 0, "this process is not root" },
	{ "redis_server", has_redis_server, 0,
	  "no redis-server, or Ferry was built without hiredis" },
	{ "numa_calls", has_numa_calls, 0,
	  "this kernel was built without NUMA" },
	{ "numa", has_numa, 0, "one node has all the memory" },
	{ "malloc", has_malloc, 0,
	  "libferry-malloc.so is not built: " FERRY_NO_MALLOC },
	{ "slow_node", has_slow_node, 0,
	  "no node has memory without processors" },
};

bool harness_feature(const char *feature, const char **ret_reason)
{
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (strcmp(probes[i].feature, feature))
			continue;
		r = probes[i].has(probes[i].arg);
		if (r < 0 && ret_reason)
			*ret_reason = probes[i].reason ? probes[i].reason
						       : strerror(-r);
		return r >= 0;
	}
	if (ret_reason)
		*ret_reason = "no probe of this name in tests/feature.c";
	return false;
}
