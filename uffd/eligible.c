/* SPDX-License-Identifier: MIT */
/* Eligibility of memory that Ferry did not allocate: the public side. */
#include <ferry/eligible.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "uffd/mapping.h"
#include "uffd/sys.h"

/* One walk: what was asked for, and how far it came. */
struct walk {
	pid_t pid;
	uint64_t start, end; /* the range */
	bool gaps;	     /* a range was given: tell its gaps too */
	uint64_t pos;	     /* everything below was reported */
	ferry_mapping_fn fn;
	void *arg;
};

static const char *why_file(const struct ferry__mapping *m)
{
	return m->name[0] == '/' && !strncmp(m->name, "/memfd:", 7)
		       ? "backed by a memfd; pages already copied on write "
			 "stay part of the file mapping"
		       : "backed by a file; pages already copied on write "
			 "stay part of the file mapping";
}

static const char *why_special(const struct ferry__mapping *m)
{
	if (m->flags & FERRY__VM_GROWSDOWN)
		return "a stack that the kernel lets grow by faults";
	return "made by the kernel for its own use";
}

static const char *why_read_only(const struct ferry__mapping *m)
{
	if (!(m->flags & (FERRY__VM_READ | FERRY__VM_EXEC)))
		return "no access at all (PROT_NONE)";
	return "it may not be written";
}

/* What is particular about this mapping; the rest is the general sentence. */
static const char *why(const struct ferry__mapping *m)
{
	switch (m->reason) {
	case FERRY_REASON_FILE:
		return why_file(m);
	case FERRY_REASON_SPECIAL:
		return why_special(m);
	case FERRY_REASON_READ_ONLY:
		return why_read_only(m);
	case FERRY_REASON_OTHER_UFFD:
		return "registered with a userfaultfd already";
	default:
		return ferry_reason_string(m->reason);
	}
}

static void explain(const struct ferry__mapping *m, struct ferry_mapping *to)
{
	const char *verdict = m->reason ? "cannot be managed"
					: "can be managed";

	snprintf(to->explanation, sizeof(to->explanation), "%s: %s", verdict,
		 why(m));
}

static void describe(const struct ferry__mapping *m, struct ferry_mapping *to)
{
	*to = (struct ferry_mapping){
		.range.addr = (void *)(uintptr_t)m->start,
		.range.len = (size_t)(m->end - m->start),
		.reason = m->reason,
		.readable = m->flags & FERRY__VM_READ,
		.writable = m->flags & FERRY__VM_WRITE,
		.executable = m->flags & FERRY__VM_EXEC,
		.shared = m->flags & FERRY__VM_SHARED,
		.locked = m->flags & FERRY__VM_LOCKED,
		.userfault = m->flags & FERRY__VM_UFFD,
		.huge_advised = m->flags & FERRY__VM_HUGE,
		.no_huge = m->flags & FERRY__VM_NOHUGE,
		.dont_fork = m->flags & FERRY__VM_DONTFORK,
		.page_size = m->page_size,
		.immovable = ferry__mapping_immovable(m),
		.unmigratable = ferry__mapping_unmigratable(m),
		.unpageable = ferry__mapping_unpageable(m),
	};
	memcpy(to->name, m->name, sizeof(to->name));
	explain(m, to);
}

_Static_assert(sizeof(((struct ferry_mapping *)0)->name) ==
		       sizeof(((struct ferry__mapping *)0)->name),
	       "names are copied whole");

static int report(const struct walk *walk, const struct ferry__mapping *m)
{
	struct ferry_mapping mapping;

	describe(m, &mapping);
	return walk->fn(walk->arg, &mapping);
}

/* Guard regions are no mappings of their own: the page table holds them. */
static int report_guarded(const struct walk *walk, struct ferry__mapping *m)
{
	struct ferry_mapping mapping;
	uint64_t guard;

	if (m->reason ||
	    !ferry__guard_find(walk->pid, m->start, m->end, &guard))
		return report(walk, m);
	m->reason = FERRY_REASON_GUARD;
	describe(m, &mapping);
	snprintf(mapping.explanation, sizeof(mapping.explanation),
		 "cannot be managed: a guard region lies at %#llx",
		 (unsigned long long)guard);
	return walk->fn(walk->arg, &mapping);
}

static int report_gap(const struct walk *walk, uint64_t end)
{
	struct ferry__mapping gap = {
		.start = walk->pos,
		.end = end,
		.reason = FERRY_REASON_UNMAPPED,
		.page_size = ferry__page_size,
	};

	return walk->gaps && end > walk->pos ? report(walk, &gap) : 0;
}

/* The file behind @m: false when it cannot be asked. */
static bool file_attributes(const struct walk *walk,
			    const struct ferry__mapping *m, uint64_t *ret)
{
	char file[80], path[FERRY__PROC_PATH + sizeof(m->name)];
	uint64_t inode;

	snprintf(file, sizeof(file), "map_files/%llx-%llx",
		 (unsigned long long)m->start, (unsigned long long)m->end);
	ferry__proc_path(walk->pid, file, path, sizeof(path));
	if (!ferry__sys->file_attributes(path, ret, &inode))
		return true;
	/* By its name without privilege, if that still leads to it. */
	snprintf(file, sizeof(file), "root%s", m->name);
	ferry__proc_path(walk->pid, file, path, sizeof(path));
	return !ferry__sys->file_attributes(path, ret, &inode) &&
	       inode == m->inode;
}

/* DAX where the mapping itself does not tell: the file does (5.8). */
static void look_for_dax(const struct walk *walk, struct ferry__mapping *m)
{
	uint64_t attributes;

	if ((m->reason == FERRY_REASON_FILE ||
	     m->reason == FERRY_REASON_SHARED) &&
	    m->name[0] == '/' && file_attributes(walk, m, &attributes) &&
	    attributes & STATX_ATTR_DAX)
		m->reason = FERRY_REASON_DAX;
}

/* Reports what of @m lies in the range, and the gap before it. */
static int visit(struct walk *walk, struct ferry__mapping *m)
{
	int r;

	look_for_dax(walk, m);
	if (m->start < walk->start)
		m->start = walk->start;
	if (m->end > walk->end)
		m->end = walk->end;
	r = report_gap(walk, m->start);
	if (r)
		return r;
	walk->pos = m->end;
	return report_guarded(walk, m);
}

static int walk_text(struct walk *walk, struct ferry__smaps *smaps)
{
	struct ferry__mapping m;
	int r;

	while ((r = ferry__smaps_next(smaps, &m)) > 0) {
		if (m.end <= walk->start)
			continue;
		if (m.start >= walk->end)
			break;
		r = visit(walk, &m);
		if (r)
			return r;
	}
	return r < 0 ? r : report_gap(walk, walk->end);
}

/* Is it known, without the cost of reading smaps, that nothing is there? */
static bool is_empty(const struct walk *walk)
{
	struct ferry__mapping m;
	int r;

	if (!walk->gaps)
		return false;
	r = ferry__procmap_next(walk->pid, walk->start, &m);
	return r == -ENOENT || (!r && m.start >= walk->end);
}

static int run(struct walk *walk)
{
	struct ferry__smaps smaps;
	char buf[4096];
	bool has_flags;
	int fd, r;

	fd = ferry__mappings_open(walk->pid, &has_flags);
	if (fd < 0)
		return fd;
	if (is_empty(walk)) {
		r = report_gap(walk, walk->end);
	} else {
		ferry__smaps_init(&smaps, fd, has_flags, buf, sizeof(buf));
		r = walk_text(walk, &smaps);
	}
	ferry__sys->close(fd);
	return r;
}

static enum ferry_reason check_range(uint64_t addr, uint64_t len)
{
	if ((addr | len) % ferry__page_size)
		return FERRY_REASON_UNALIGNED;
	if (addr > UINTPTR_MAX - len)
		return FERRY_REASON_OVERFLOW;
	return FERRY_REASON_NONE;
}

int ferry_mappings_walk(pid_t pid, const void *addr, size_t len,
			ferry_mapping_fn fn, void *arg)
{
	uint64_t start = len ? (uintptr_t)addr : 0;
	struct walk walk = {
		.pid = pid,
		.start = start,
		.end = len ? start + len : UINT64_MAX,
		.gaps = len > 0,
		.pos = start,
		.fn = fn,
		.arg = arg,
	};

	if (pid < 0 || !fn || check_range(start, len))
		return -EINVAL;
	return run(&walk);
}

struct obstacle {
	bool found;
	struct ferry_mapping mapping;
};

static int stop_at_obstacle(void *arg, const struct ferry_mapping *mapping)
{
	struct obstacle *obstacle = arg;

	if (!mapping->reason)
		return 0;
	obstacle->found = true;
	obstacle->mapping = *mapping;
	return 1;
}

static void bad_request(const void *addr, size_t len, enum ferry_reason reason,
			struct ferry_mapping *to)
{
	*to = (struct ferry_mapping){
		.range.addr = (void *)(uintptr_t)addr,
		.range.len = len,
		.reason = reason,
		.page_size = ferry__page_size,
		.immovable = reason,
		.unmigratable = reason,
		.unpageable = reason,
	};
	snprintf(to->explanation, sizeof(to->explanation), "bad request: %s",
		 ferry_reason_string(reason));
}

/* --- pins ----------------------------------------------------------------- */

struct overlap {
	uintptr_t start, end; /* what is asked about */
	bool found;
	struct ferry_range pages;
	int fd;
};

static int stop_at_overlap(void *arg, const struct ferry_pin *pin)
{
	struct overlap *overlap = arg;
	uintptr_t mask = ferry__page_size - 1;
	uintptr_t start = (uintptr_t)pin->range.addr & ~mask;
	uintptr_t last = (uintptr_t)pin->range.addr + pin->range.len - 1;

	if (start >= overlap->end || last < overlap->start)
		return 0;
	if (start < overlap->start)
		start = overlap->start;
	if (last >= overlap->end)
		last = overlap->end - 1;
	overlap->found = true;
	overlap->pages.addr = (void *)start;
	overlap->pages.len = (last | mask) + 1 - start;
	overlap->fd = pin->fd;
	return 1;
}

static int take_first(void *arg, const struct ferry_mapping *mapping)
{
	struct ferry_mapping *to = arg;

	*to = *mapping;
	return 1;
}

static void describe_pin(const struct overlap *overlap,
			 struct ferry_mapping *to)
{
	ferry_mappings_walk(0, overlap->pages.addr, overlap->pages.len,
			    take_first, to);
	to->range = overlap->pages;
	to->reason = FERRY_REASON_PINNED;
	to->immovable = FERRY_REASON_PINNED;
	to->unmigratable = FERRY_REASON_PINNED;
	to->unpageable = FERRY_REASON_PINNED;
	snprintf(to->explanation, sizeof(to->explanation),
		 "cannot be managed: pinned as a fixed buffer of io_uring "
		 "(descriptor %d)",
		 overlap->fd);
}

/* Is none of the range known to be pinned? */
static int range_unpinned(const void *addr, size_t len,
			  struct ferry_mapping *ret_obstacle)
{
	struct overlap overlap = { .start = (uintptr_t)addr,
				   .end = (uintptr_t)addr + len };
	int r = ferry_pins_walk(0, stop_at_overlap, &overlap, NULL);

	if (!overlap.found)
		return r;
	if (ret_obstacle) {
		memset(ret_obstacle, 0, sizeof(*ret_obstacle));
		describe_pin(&overlap, ret_obstacle);
	}
	return -EINVAL;
}

int ferry_range_eligible(const void *addr, size_t len,
			 struct ferry_mapping *ret_obstacle)
{
	struct obstacle obstacle = { .found = false };
	enum ferry_reason reason;
	int r;

	reason = len ? check_range((uintptr_t)addr, len)
		     : FERRY_REASON_ZERO_LENGTH;
	if (reason) {
		if (ret_obstacle)
			bad_request(addr, len, reason, ret_obstacle);
		return -EINVAL;
	}
	r = ferry_mappings_walk(0, addr, len, stop_at_obstacle, &obstacle);
	if (!r && !obstacle.found)
		return range_unpinned(addr, len, ret_obstacle);
	if (!obstacle.found)
		return r;
	if (ret_obstacle)
		*ret_obstacle = obstacle.mapping;
	return -EINVAL;
}
