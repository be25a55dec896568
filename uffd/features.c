/* SPDX-License-Identifier: MIT */
/*
 * What this kernel gives this process, found by trying.
 *
 * The one thing read from a release number is CVE-2026-31397 (a move of the
 * huge zero page corrupts memory): trying it would do the harm.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "uffd/cgroup.h"
#include "uffd/handle.h"
#include "uffd/uapi.h"

/* --- the move ------------------------------------------------------------ */

static int map_pages(size_t n, void **ret_addr)
{
	return ferry__sys->mmap(NULL, n * ferry__page_size,
				PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, ret_addr);
}

static int open_any(uint64_t *ret_offered)
{
	enum ferry_reason reason;
	enum ferry_uffd_way way;
	int fd = -ENOSYS, r;

	for (way = FERRY_UFFD_WAYS - 1; way > FERRY_UFFD_ANY; way--) {
		fd = ferry__uffd_descriptor(way, 0, &reason);
		if (fd >= 0)
			break;
	}
	if (fd < 0)
		return fd;
	r = ferry__uffd_negotiate(fd, 0, ret_offered);
	if (!r)
		return fd;
	ferry__sys->close(fd);
	return r;
}

/* One move, and what came of it. */
struct attempt {
	int fd;
	struct ferry__uffdio_move move;
	int result;
};

static int attempt_move(void *arg)
{
	struct attempt *attempt = arg;

	attempt->result = ferry__sys->ioctl(attempt->fd, FERRY__UFFDIO_MOVE,
					    &attempt->move);
	return 0;
}

/*
 * Moves the page at @page over the one after it. Where system calls are
 * filtered it is done in a child that may be killed for it, and only that:
 * the child shares our memory, so the move is the same.
 */
static int move_neighbour(int fd, char *page)
{
	struct ferry__uffdio_register reg = {
		.range = { (uintptr_t)page + ferry__page_size,
			   ferry__page_size },
		.mode = FERRY__REGISTER_MISSING,
	};
	struct attempt attempt = {
		.fd = fd,
		.move = { .dst = reg.range.start,
			  .src = (uintptr_t)page,
			  .len = ferry__page_size },
		.result = -EPERM, /* until the child has lived to say else */
	};
	int r;

	r = ferry__sys->ioctl(fd, FERRY__UFFDIO_REGISTER, &reg);
	if (r < 0)
		return r;
	if (ferry__filtered())
		r = ferry__sys->try_in_child(attempt_move, &attempt);
	else
		r = attempt_move(&attempt);
	if (r)
		return r;
	return attempt.result < 0 ? attempt.result : 0;
}

static int move_one_page(int fd)
{
	void *page;
	int r;

	r = map_pages(2, &page);
	if (r)
		return r;
	*(volatile char *)page = 1;
	r = move_neighbour(fd, page);
	ferry__sys->munmap(page, 2 * ferry__page_size);
	return r;
}

static int try_move(void)
{
	uint64_t offered;
	int fd, r;

	fd = open_any(&offered);
	if (fd < 0)
		return fd;
	r = offered & FERRY_FEATURE_MOVE ? move_one_page(fd) : -EOPNOTSUPP;
	ferry__sys->close(fd);
	return r;
}

bool ferry__filtered(void)
{
	char buf[4096], *line;
	ssize_t n;
	int fd;

	fd = ferry__sys->open("/proc/self/status", O_RDONLY);
	/* Not to be known: as if it were, which only costs a little time. */
	if (fd < 0)
		return true;
	n = ferry__sys->read(fd, buf, sizeof(buf) - 1);
	ferry__sys->close(fd);
	buf[n > 0 ? n : 0] = '\0';
	line = strstr(buf, "\nSeccomp:");
	return line && strtol(line + strlen("\nSeccomp:"), NULL, 10) != 0;
}

int ferry__probe_move(enum ferry_reason *ret_reason)
{
	int r = try_move();

	*ret_reason = FERRY_REASON_NONE;
	if (r == -ENOMEM)
		*ret_reason = FERRY_REASON_NO_MEMORY;
	else if (r == -EMFILE || r == -ENFILE)
		*ret_reason = FERRY_REASON_DESCRIPTOR_LIMIT;
	else if (r == -EOPNOTSUPP)
		*ret_reason = FERRY_REASON_NOT_SUPPORTED;
	/* Offered, and refused in a way that MOVE has no cause for. */
	else if (r == -EPERM || r == -ENOSYS || r == -EACCES)
		*ret_reason = FERRY_REASON_SECCOMP;
	else if (r)
		*ret_reason = ferry__filtered() ? FERRY_REASON_SECCOMP
						: FERRY_REASON_NOT_SUPPORTED;
	return r;
}

/* --- CVE-2026-31397 ------------------------------------------------------ */

bool ferry__huge_zero_unsafe(void)
{
	unsigned int major, minor, patch = 0;
	char release[64];

	if (ferry__sys->release(release, sizeof(release)) ||
	    sscanf(release, "%u.%u.%u", &major, &minor, &patch) < 2)
		return true;
	if (major != 6)
		return false;
	return minor == 16 || minor == 17 || (minor == 18 && patch < 20) ||
	       (minor == 19 && patch < 10);
}

/* --- ways and bits ------------------------------------------------------- */

static void probe_way(enum ferry_uffd_way way, struct ferry_features *f)
{
	uint64_t offered;
	int fd, r;

	fd = ferry__uffd_descriptor(way, 0, &f->way[way].reason);
	f->way[way].error = fd < 0 ? fd : 0;
	if (fd < 0)
		return;
	r = ferry__uffd_negotiate(fd, 0, &offered);
	if (!r)
		f->features |= offered;
	f->way[way].error = r;
	ferry__sys->close(fd);
}

static void probe_ways(struct ferry_features *f)
{
	enum ferry_uffd_way way;

	for (way = FERRY_UFFD_DEVICE; way < FERRY_UFFD_WAYS; way++)
		probe_way(way, f);
	if (!f->way[FERRY_UFFD_DEVICE].error ||
	    !f->way[FERRY_UFFD_SYSCALL].error)
		f->features |= FERRY_FEATURE_KERNEL_FAULTS;
	/* Any is as good as the best of them, and else fails like the last. */
	f->way[FERRY_UFFD_ANY] = f->way[FERRY_UFFD_USER_MODE];
	for (way = FERRY_UFFD_DEVICE; way < FERRY_UFFD_WAYS; way++)
		if (!f->way[way].error)
			f->way[FERRY_UFFD_ANY] = f->way[way];
}

static bool pagemap_scan_works(void)
{
	struct ferry__page_region region;
	struct ferry__pm_scan_arg arg = {
		.size = sizeof(arg),
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_anyof_mask = FERRY__PAGE_IS_PRESENT,
		.return_mask = FERRY__PAGE_IS_PRESENT,
	};
	uintptr_t here = (uintptr_t)&region & ~(ferry__page_size - 1);
	int fd, r;

	arg.start = here;
	arg.end = here + ferry__page_size;
	fd = ferry__sys->open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0)
		return false;
	r = ferry__sys->ioctl(fd, FERRY__PAGEMAP_SCAN, &arg);
	ferry__sys->close(fd);
	return r == 1;
}

/* A freshly written page carries the bit, where the kernel keeps it. */
static bool soft_dirty_works(void)
{
	uint64_t word = 0;
	void *page;
	int fd;

	fd = ferry__sys->open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0)
		return false;
	if (!map_pages(1, &page)) {
		*(volatile char *)page = 1;
		if (ferry__sys->pread(fd, &word, sizeof(word),
				      (off_t)((uintptr_t)page /
					      ferry__page_size * 8)) < 0)
			word = 0;
		ferry__sys->munmap(page, ferry__page_size);
	}
	ferry__sys->close(fd);
	return word & FERRY__PM_SOFT_DIRTY;
}

static bool procmap_query_works(void)
{
	struct ferry__procmap_query query = {
		.size = sizeof(query),
		.query_addr = (uintptr_t)&query,
	};
	int fd, r;

	fd = ferry__sys->open("/proc/self/maps", O_RDONLY);
	if (fd < 0)
		return false;
	r = ferry__sys->ioctl(fd, FERRY__PROCMAP_QUERY, &query);
	ferry__sys->close(fd);
	return r >= 0;
}

static bool advice_works(int advice)
{
	void *page;
	int r;

	if (map_pages(1, &page))
		return false;
	r = ferry__sys->madvise(page, ferry__page_size, advice);
	ferry__sys->munmap(page, ferry__page_size);
	return !r;
}

static bool populate_works(void)
{
	return advice_works(FERRY__MADV_POPULATE_WRITE);
}

static bool guard_works(void)
{
	return advice_works(FERRY__MADV_GUARD_INSTALL);
}

/*
 * The first page of a huge one is nothing to collapse, and a success. But
 * the kernel asks first whether the mapping has room for a huge page and was
 * ever touched, and takes a start inside of a huge page for a failure.
 */
static bool collapse_works(void)
{
	size_t huge = ferry__huge_size(), room = 2 * huge;
	void *mem, *start;
	int r;

	if (!huge || map_pages(room / ferry__page_size, &mem))
		return false;
	start = (void *)(((uintptr_t)mem + huge - 1) & ~(huge - 1));
	*(volatile char *)start = 1;
	r = ferry__sys->madvise(start, ferry__page_size, FERRY__MADV_COLLAPSE);
	ferry__sys->munmap(mem, room);
	return !r;
}

static bool dontunmap_works(void)
{
	size_t size = ferry__page_size;
	void *from, *to;
	int r;

	if (map_pages(1, &from))
		return false;
	r = ferry__sys->mremap(from, size, size,
			       MREMAP_MAYMOVE | FERRY__MREMAP_DONTUNMAP, NULL,
			       &to);
	if (!r)
		ferry__sys->munmap(to, size);
	ferry__sys->munmap(from, size);
	return !r;
}

static bool vector_advice_works(void)
{
	struct iovec iov = { .iov_len = ferry__page_size };
	ssize_t n = -1;
	int fd;

	if (map_pages(1, &iov.iov_base))
		return false;
	fd = ferry__sys->pidfd_open(ferry__sys->getpid());
	if (fd >= 0) {
		n = ferry__sys->process_madvise(fd, &iov, 1, MADV_DONTNEED);
		ferry__sys->close(fd);
	}
	ferry__sys->munmap(iov.iov_base, iov.iov_len);
	return n == (ssize_t)iov.iov_len;
}

static bool process_files_work(void)
{
	int fd = ferry__sys->open("/proc/self/maps", O_RDONLY);

	if (fd >= 0)
		ferry__sys->close(fd);
	return fd >= 0;
}

static void probe_the_rest(struct ferry_features *f)
{
	static const struct {
		uint64_t feature;
		bool (*works)(void);
	} probes[] = {
		{ FERRY_FEATURE_PAGEMAP_SCAN, pagemap_scan_works },
		{ FERRY_FEATURE_SOFT_DIRTY, soft_dirty_works },
		{ FERRY_FEATURE_PROCMAP_QUERY, procmap_query_works },
		{ FERRY_FEATURE_POPULATE, populate_works },
		{ FERRY_FEATURE_COLLAPSE, collapse_works },
		{ FERRY_FEATURE_DONTUNMAP, dontunmap_works },
		{ FERRY_FEATURE_GUARD, guard_works },
		{ FERRY_FEATURE_VECTOR_ADVICE, vector_advice_works },
		{ FERRY_FEATURE_PROCESS_FILES, process_files_work },
	};
	size_t i;

	for (i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
		if (probes[i].works())
			f->features |= probes[i].feature;
}

/* --- the system's settings ----------------------------------------------- */

/* A small text file, cut to @size, without its last newline. */
static bool read_text(const char *path, char *buf, size_t size)
{
	buf[0] = '\0';
	if (!ferry__file_read(path, buf, size))
		return false;
	buf[strcspn(buf, "\n")] = '\0';
	return true;
}

static long read_number(const char *path)
{
	char buf[32], *end;
	long n;

	if (!read_text(path, buf, sizeof(buf)))
		return -1;
	n = strtol(buf, &end, 10);
	return end == buf ? -1 : n;
}

/* The word in brackets: "always [madvise] never". */
static void read_thp(struct ferry_features *f)
{
	char buf[64], *start, *end;

	read_text("/sys/kernel/mm/transparent_hugepage/enabled", buf,
		  sizeof(buf));
	start = strchr(buf, '[');
	end = start ? strchr(start, ']') : NULL;
	if (!end)
		return;
	*end = '\0';
	snprintf(f->thp, sizeof(f->thp), "%.15s", start + 1);
}

/* Counts a list of numbers such as "0-2,4". */
static int count_list(const char *list)
{
	char *end;
	long first, last;
	int n = 0;

	while (*list) {
		first = last = strtol(list, &end, 10);
		if (end == list)
			return n;
		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		n += (int)(last - first + 1);
		list = *end == ',' ? end + 1 : end;
	}
	return n;
}

static void read_settings(struct ferry_features *f)
{
	char nodes[256];

	f->page_size = ferry__page_size;
	f->huge_size = ferry__huge_size();
	f->unprivileged_sysctl =
		(int)read_number("/proc/sys/vm/unprivileged_userfaultfd");
	f->max_map_count = read_number("/proc/sys/vm/max_map_count");
	if (read_text("/sys/devices/system/node/has_memory", nodes,
		      sizeof(nodes)))
		f->nodes = count_list(nodes);
	if (ferry__sys->release(f->kernel, sizeof(f->kernel)))
		f->kernel[0] = '\0';
	read_thp(f);
	if (f->huge_size && f->thp[0] && strcmp(f->thp, "never"))
		f->features |= FERRY_FEATURE_THP;
	f->huge_zero_page_unsafe = ferry__huge_zero_unsafe();
}

int ferry_features_get(struct ferry_features *ret)
{
	struct ferry_features f;
	size_t size;
	int r;

	r = ferry__params_copy(&f, sizeof(f), ret, sizeof(f.size));
	if (r)
		return r;
	size = f.size;
	memset(&f, 0, sizeof(f));
	f.size = size;
	read_settings(&f);
	probe_ways(&f);
	probe_the_rest(&f);
	f.move_error = ferry__probe_move(&f.move_reason);
	if (!f.move_error)
		f.features |= FERRY_FEATURE_MOVE_WORKS;
	memcpy(ret, &f, size < sizeof(f) ? size : sizeof(f));
	return f.move_error == -ENOMEM ? -ENOMEM : 0;
}

const char *ferry_feature_name(unsigned int bit)
{
	static const char *const names[64] = {
		[0] = "wp",
		[1] = "event-fork",
		[2] = "event-remap",
		[3] = "event-remove",
		[6] = "event-unmap",
		[7] = "sigbus",
		[8] = "thread-id",
		[10] = "minor-shmem",
		[11] = "exact-address",
		[13] = "wp-unpopulated",
		[14] = "poison",
		[15] = "wp-async",
		[16] = "move",
		[32] = "move-works",
		[33] = "pagemap-scan",
		[34] = "soft-dirty",
		[35] = "procmap-query",
		[36] = "kernel-faults",
		[37] = "thp",
		[38] = "populate",
		[39] = "collapse",
		[40] = "dontunmap",
		[41] = "guard",
		[42] = "vector-advice",
		[43] = "process-files",
	};

	return bit < 64 ? names[bit] : NULL;
}
