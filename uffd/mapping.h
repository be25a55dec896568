/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says about the mappings of a process: a reader of
 * /proc/PID/smaps that keeps nothing on the heap, and the reason why a mapping
 * does or does not suit Ferry.
 *
 * Kernel facts this stands on (proc(5), PROCMAP_QUERY in linux/fs.h):
 *  - One record of smaps is printed under the mapping's lock, so it is whole;
 *    between two records the mappings may change. The kernel resumes at the
 *    address where it stopped, so a mapping that grew or merged meanwhile is
 *    printed from its start again: what lies behind is cut off here.
 *  - Newlines in names are printed as \012, so a name never starts a line.
 *  - VmFlags is the only place that tells locked, VM_IO, VM_PFNMAP and
 *    VM_MIXEDMAP memory, tagging and foreign userfaultfds from plain memory.
 *    PROCMAP_QUERY does not carry it, but answers "nothing is mapped there"
 *    without walking the page tables of all mappings below, as smaps must.
 *  - A kernel without CONFIG_PROC_PAGE_MONITOR has maps but no smaps.
 */
#ifndef FERRY_UFFD_MAPPING_H
#define FERRY_UFFD_MAPPING_H

#include <ferry/base.h>

#include "uffd/lines.h"

/* What is known of a mapping; the letters are those of VmFlags. */
#define FERRY__VM_READ	       (1u << 0)
#define FERRY__VM_WRITE	       (1u << 1)
#define FERRY__VM_EXEC	       (1u << 2)
#define FERRY__VM_SHARED       (1u << 3)
#define FERRY__VM_LOCKED       (1u << 4)  /* lo */
#define FERRY__VM_IO	       (1u << 5)  /* io */
#define FERRY__VM_PFNMAP       (1u << 6)  /* pf */
#define FERRY__VM_MIXEDMAP     (1u << 7)  /* mm */
#define FERRY__VM_HUGETLB      (1u << 8)  /* ht */
#define FERRY__VM_TAGGED       (1u << 9)  /* mt */
#define FERRY__VM_SHADOW       (1u << 10) /* ss */
#define FERRY__VM_UFFD_MISSING (1u << 11) /* um */
#define FERRY__VM_SYNC	       (1u << 12) /* sf: MAP_SYNC, only for DAX */
#define FERRY__VM_GROWSDOWN    (1u << 13) /* gd */
#define FERRY__VM_DONTFORK     (1u << 14) /* dc */
#define FERRY__VM_HUGE	       (1u << 15) /* hg */
#define FERRY__VM_NOHUGE       (1u << 16) /* nh */
#define FERRY__VM_UFFD_WP      (1u << 17) /* uw */
#define FERRY__VM_UFFD_MINOR   (1u << 18) /* ui */
/* Registered with some userfaultfd: one of the three. */
#define FERRY__VM_UFFD                                                         \
	(FERRY__VM_UFFD_MISSING | FERRY__VM_UFFD_WP | FERRY__VM_UFFD_MINOR)
#define FERRY__VM_FLAGS_READ (1u << 31) /* a VmFlags line was there */

struct ferry__mapping {
	uint64_t start, end;
	uint32_t flags; /* FERRY__VM_* */
	enum ferry_reason reason;
	size_t page_size;
	uint64_t inode; /* 0: no file */
	char name[64];	/* cut; control characters read '?' */
};

/*
 * Reads mappings one by one from the text of smaps or maps.
 * Users set it up with ferry__smaps_init(); the rest is private.
 */
struct ferry__smaps {
	struct ferry__lines lines;
	bool flags_needed; /* a record without VmFlags is a truncated one */
	bool pending;	   /* @next holds a record not yet returned */
	uint64_t floor;	   /* end of what was returned */
	struct ferry__mapping next;
};

/*
 * @fd: open on smaps (@flags_needed) or maps. @buf: any size above zero;
 * one page is best, as the kernel returns no more at once.
 */
void ferry__smaps_init(struct ferry__smaps *smaps, int fd, bool flags_needed,
		       char *buf, size_t size);

/*
 * The next mapping, classified; ascending and free of overlaps.
 * Returns 1, 0 at the end, -EIO for text that is not smaps or was cut off,
 * or the error of read(2). Signal-safe.
 */
int ferry__smaps_next(struct ferry__smaps *smaps,
		      struct ferry__mapping *ret_mapping);

/* Why the mapping does not suit, from its flags and name. Signal-safe. */
enum ferry_reason ferry__mapping_classify(const struct ferry__mapping *m);

/*
 * Why memory of this kind is not moved, migrated, paged out; NONE: it may be.
 * What stands behind them is in ferry/eligible.h. Signal-safe.
 */
enum ferry_reason ferry__mapping_immovable(const struct ferry__mapping *m);
enum ferry_reason ferry__mapping_unmigratable(const struct ferry__mapping *m);
enum ferry_reason ferry__mapping_unpageable(const struct ferry__mapping *m);

/*
 * The first mapping of this process that touches [@addr, @addr + @len). It
 * may begin above @addr (a gap) or end within the range (split).
 *
 * @ret_mapping->reason tells whether memory of that kind may be *adopted*:
 * a caller that asks why the kernel refused its own range passes over
 * OTHER_UFFD and LOCKED, and compares flags of both sides instead.
 *
 * Returns 0; -ENOENT nothing mapped there; -EIO, -EACCES /proc not readable.
 * Signal-safe, any thread; about 3 KiB of stack; milliseconds where much
 * memory is mapped below @addr.
 */
int ferry__mapping_query(const void *addr, size_t len,
			 struct ferry__mapping *ret_mapping);

/* Room for any path below that names no file of the user's. */
#define FERRY__PROC_PATH 96

/* The path of @file in /proc/PID (0: the caller's), cut to @size. */
void ferry__proc_path(pid_t pid, const char *file, char *path, size_t size);

/*
 * Opens the text of a process's mappings: smaps, else maps. @pid 0: the caller.
 * Returns a descriptor, -ESRCH, -EACCES or -EIO (no /proc).
 */
int ferry__mappings_open(pid_t pid, bool *ret_has_flags);

/*
 * Asks PROCMAP_QUERY for the first mapping that ends above @addr.
 * Returns 0 (without VmFlags); -ENOENT none; anything else: no such call.
 */
int ferry__procmap_next(pid_t pid, uint64_t addr,
			struct ferry__mapping *ret_mapping);

/*
 * The first guard region (MADV_GUARD_INSTALL) of @pid in the range, where
 * PAGEMAP_SCAN can tell (6.15). Returns whether there is one.
 */
bool ferry__guard_find(pid_t pid, uint64_t start, uint64_t end,
		       uint64_t *ret_addr);

#endif
