/* SPDX-License-Identifier: MIT */
/* Finds out what lies at an address, and whether it is fit to be managed. */
#include "uffd/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "uffd/sys.h"
#include "uffd/uapi.h"

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

/*
 * Mappings the kernel made for itself are named in brackets: [vdso], [vvar],
 * [vvar_vclock], [vsyscall], [uprobes], [sigpage] and what will come. The
 * exceptions are memory of the program.
 */
static bool is_special(const struct ferry__mapping *m)
{
	if (m->flags & FERRY__VM_GROWSDOWN)
		return true;
	return !m->inode && m->name[0] == '[' && strcmp(m->name, "[heap]") &&
	       !starts(m->name, "[anon:") && !starts(m->name, "[anon_shmem:");
}

/*
 * File systems on persistent memory map it with VM_MIXEDMAP (before 6.15) or
 * MAP_SYNC; the character device gives itself away by its name. What none of
 * these marks is still refused, as a file.
 */
static bool is_dax(const struct ferry__mapping *m)
{
	if (m->flags & FERRY__VM_SYNC || starts(m->name, "/dev/dax"))
		return true;
	return m->flags & FERRY__VM_MIXEDMAP && m->inode && m->name[0] == '/' &&
	       !starts(m->name, "/dev/");
}

/* A private mapping of /dev/zero is anonymous memory to the kernel. */
static bool is_file(const struct ferry__mapping *m)
{
	return m->inode && strcmp(m->name, "/dev/zero");
}

enum ferry_reason ferry__mapping_classify(const struct ferry__mapping *m)
{
	const uint32_t device = FERRY__VM_IO | FERRY__VM_PFNMAP |
				FERRY__VM_MIXEDMAP;

	/* What tells a person most comes first. */
	if (is_special(m))
		return FERRY_REASON_SPECIAL;
	if (starts(m->name, "/secretmem"))
		return FERRY_REASON_SECRET;
	if (is_dax(m))
		return FERRY_REASON_DAX;
	if (m->flags & device)
		return FERRY_REASON_DEVICE;
	if (m->flags & FERRY__VM_HUGETLB || m->page_size > ferry__page_size)
		return FERRY_REASON_HUGETLB;
	if (m->flags & FERRY__VM_SHADOW)
		return FERRY_REASON_SHADOW_STACK;
	if (m->flags & FERRY__VM_TAGGED)
		return FERRY_REASON_TAGGED;
	if (m->flags & FERRY__VM_SHARED)
		return FERRY_REASON_SHARED;
	if (is_file(m))
		return FERRY_REASON_FILE;
	if (!(m->flags & FERRY__VM_WRITE))
		return FERRY_REASON_READ_ONLY;
	if (m->flags & FERRY__VM_UFFD)
		return FERRY_REASON_OTHER_UFFD;
	if (m->flags & FERRY__VM_LOCKED)
		return FERRY_REASON_LOCKED;
	return FERRY_REASON_NONE;
}

enum ferry_reason ferry__mapping_immovable(const struct ferry__mapping *m)
{
	if (m->reason == FERRY_REASON_OTHER_UFFD ||
	    m->reason == FERRY_REASON_LOCKED)
		return FERRY_REASON_NONE;
	return m->reason;
}

enum ferry_reason ferry__mapping_unmigratable(const struct ferry__mapping *m)
{
	switch (m->reason) {
	case FERRY_REASON_SPECIAL:
		/* A stack is plain memory to all but those who move it. */
		return m->flags & FERRY__VM_GROWSDOWN ? FERRY_REASON_NONE
						      : FERRY_REASON_SPECIAL;
	case FERRY_REASON_UNMAPPED:
	case FERRY_REASON_SECRET:
	case FERRY_REASON_DAX:
	case FERRY_REASON_DEVICE:
		return m->reason;
	default:
		return FERRY_REASON_NONE;
	}
}

enum ferry_reason ferry__mapping_unpageable(const struct ferry__mapping *m)
{
	enum ferry_reason reason = ferry__mapping_unmigratable(m);

	if (reason)
		return reason;
	if (m->reason == FERRY_REASON_HUGETLB)
		return FERRY_REASON_HUGETLB;
	return m->flags & FERRY__VM_LOCKED ? FERRY_REASON_LOCKED
					   : FERRY_REASON_NONE;
}

void ferry__proc_path(pid_t pid, const char *file, char *path, size_t size)
{
	if (pid)
		snprintf(path, size, "/proc/%ld/%s", (long)pid, file);
	else
		snprintf(path, size, "/proc/self/%s", file);
}

/* Opens /proc/PID/@file. The caller's own needs no formatting in a handler. */
static int open_proc(pid_t pid, const char *own, const char *file)
{
	char path[FERRY__PROC_PATH];

	if (!pid)
		return ferry__sys->open(own, O_RDONLY);
	ferry__proc_path(pid, file, path, sizeof(path));
	return ferry__sys->open(path, O_RDONLY);
}

int ferry__mappings_open(pid_t pid, bool *ret_has_flags)
{
	bool has_flags = true;
	int fd;

	fd = open_proc(pid, "/proc/self/smaps", "smaps");
	if (fd == -ENOENT) {
		has_flags = false;
		fd = open_proc(pid, "/proc/self/maps", "maps");
	}
	if (fd >= 0) {
		*ret_has_flags = has_flags;
		return fd;
	}
	if (fd == -ENOENT)
		return pid ? -ESRCH : -EIO;
	return fd == -EPERM ? -EACCES : fd;
}

static void from_procmap(const struct ferry__procmap_query *q,
			 struct ferry__mapping *m)
{
	m->start = q->vma_start;
	m->end = q->vma_end;
	m->page_size = q->vma_page_size;
	m->inode = q->inode;
	m->flags = 0;
	if (q->vma_flags & FERRY__PROCMAP_READABLE)
		m->flags |= FERRY__VM_READ;
	if (q->vma_flags & FERRY__PROCMAP_WRITABLE)
		m->flags |= FERRY__VM_WRITE;
	if (q->vma_flags & FERRY__PROCMAP_EXECUTABLE)
		m->flags |= FERRY__VM_EXEC;
	if (q->vma_flags & FERRY__PROCMAP_SHARED)
		m->flags |= FERRY__VM_SHARED;
	m->name[0] = '\0';
	m->reason = ferry__mapping_classify(m);
}

int ferry__procmap_next(pid_t pid, uint64_t addr,
			struct ferry__mapping *ret_mapping)
{
	struct ferry__procmap_query q = {
		.size = sizeof(q),
		.query_flags = FERRY__PROCMAP_COVER_OR_NEXT,
		.query_addr = addr,
	};
	int fd, r;

	fd = open_proc(pid, "/proc/self/maps", "maps");
	if (fd < 0)
		/* Not "nothing mapped", which is -ENOENT of the call itself. */
		return fd == -ENOENT ? -EIO : fd;
	r = ferry__sys->ioctl(fd, FERRY__PROCMAP_QUERY, &q);
	ferry__sys->close(fd);
	if (r < 0)
		return r;
	from_procmap(&q, ret_mapping);
	return 0;
}

/* The first record that ends above @addr: 1, 0 or an error. */
static int find_record(struct ferry__smaps *smaps, uint64_t addr,
		       struct ferry__mapping *m)
{
	int r;

	while ((r = ferry__smaps_next(smaps, m)) > 0)
		if (m->end > addr)
			return 1;
	return r;
}

/* Does [@m->start, @m->end), which ends above @start, begin beyond the range? */
static bool beyond(const struct ferry__mapping *m, uint64_t start, size_t len)
{
	return m->start > start && m->start - start >= len;
}

/* The first record that ends above @start: 1, 0 when there is none. */
static int read_record(uint64_t start, struct ferry__mapping *ret)
{
	struct ferry__smaps smaps;
	bool has_flags;
	char buf[1024];
	int fd, r;

	fd = ferry__mappings_open(0, &has_flags);
	if (fd < 0)
		return fd;
	ferry__smaps_init(&smaps, fd, has_flags, buf, sizeof(buf));
	r = find_record(&smaps, start, ret);
	ferry__sys->close(fd);
	return r;
}

int ferry__mapping_query(const void *addr, size_t len,
			 struct ferry__mapping *ret_mapping)
{
	uint64_t start = (uintptr_t)addr;
	struct ferry__mapping m;
	int r;

	r = ferry__procmap_next(0, start, &m);
	if (r == -ENOENT || (!r && beyond(&m, start, len)))
		return -ENOENT;
	r = read_record(start, &m);
	if (r < 0)
		return r;
	if (!r || beyond(&m, start, len))
		return -ENOENT;
	*ret_mapping = m;
	return 0;
}

bool ferry__guard_find(pid_t pid, uint64_t start, uint64_t end,
		       uint64_t *ret_addr)
{
	struct ferry__page_region region = { 0 };
	struct ferry__pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.max_pages = 1,
		.category_mask = FERRY__PAGE_IS_GUARD,
		.return_mask = FERRY__PAGE_IS_GUARD,
	};
	int fd, r;

	fd = open_proc(pid, "/proc/self/pagemap", "pagemap");
	if (fd < 0)
		return false;
	r = ferry__sys->ioctl(fd, FERRY__PAGEMAP_SCAN, &arg);
	ferry__sys->close(fd);
	if (r != 1)
		return false;
	*ret_addr = region.start;
	return true;
}
