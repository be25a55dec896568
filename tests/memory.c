/* SPDX-License-Identifier: MIT */
/* Memory for tests of moves. */
#include "tests/memory.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ferry/eligible.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "uffd/uapi.h"

size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

void *map_private(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_msg(p != MAP_FAILED, "mmap: %s", strerror(errno));
	return p;
}

enum ferry_reason range_verdict(const void *p, size_t len)
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

static char *map_aligned(size_t len, int advice)
{
	char *p, *aligned;
	size_t slack;

	p = mmap(NULL, len + HUGE_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	aligned = (char *)(((uintptr_t)p + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	slack = (size_t)(aligned - p);
	/* What surrounds it is not mapped: mappings do not merge. */
	if (slack)
		munmap(p, slack);
	munmap(aligned + len, HUGE_SIZE - slack);
	/* Kernels without huge pages refuse the advice: just as well. */
	madvise(aligned, len, advice);
	return aligned;
}

char *map_anon(size_t len)
{
	return map_aligned(len, MADV_NOHUGEPAGE);
}

char *map_huge(size_t len)
{
	return map_aligned(len, MADV_HUGEPAGE);
}

uint64_t page_word(uint64_t number, size_t k)
{
	return number * 0x9e3779b97f4a7c15u + k;
}

void fill_pages(char *addr, size_t len, uint64_t first)
{
	size_t size = page_size(), i, k;
	uint64_t *word;

	for (i = 0; i < len; i += size) {
		word = (uint64_t *)(addr + i);
		for (k = 0; k < size / sizeof(*word); k++)
			word[k] = page_word(first + i / size, k);
	}
}

bool page_holds(const char *addr, uint64_t number)
{
	const uint64_t *word = (const uint64_t *)addr;
	size_t k;

	for (k = 0; k < page_size() / sizeof(*word); k++)
		if (word[k] != page_word(number, k))
			return false;
	return true;
}

void assert_pages(const char *addr, size_t len, uint64_t first)
{
	size_t size = page_size(), i;

	for (i = 0; i < len; i += size)
		ck_assert_msg(page_holds(addr + i, first + i / size),
			      "page %zu does not hold what page %llu held",
			      i / size, (unsigned long long)(first + i / size));
}

uint64_t pagemap_word(const char *addr)
{
	uint64_t word = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &word, sizeof(word),
			       (off_t)((uintptr_t)addr / page_size() * 8)),
			 sizeof(word));
	close(fd);
	return word;
}

bool page_there(const char *addr)
{
	return pagemap_word(addr) & (FERRY__PM_PRESENT | FERRY__PM_SWAP);
}

/* What PAGEMAP_SCAN says of the range; false where the kernel has none. */
static bool scan_huge(const char *addr, size_t len, size_t *ret_bytes)
{
	struct ferry__page_region vec[64];
	struct ferry__pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)addr,
		.end = (uintptr_t)addr + len,
		.vec = (uintptr_t)vec,
		.vec_len = 64,
		.category_mask = FERRY__PAGE_IS_HUGE,
		.return_mask = FERRY__PAGE_IS_HUGE,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), i, n;

	ck_assert_int_ge(fd, 0);
	n = ioctl(fd, FERRY__PAGEMAP_SCAN, &arg);
	close(fd);
	*ret_bytes = 0;
	for (i = 0; i < n; i++)
		*ret_bytes += vec[i].end - vec[i].start;
	return n >= 0;
}

static size_t overlap(uintptr_t a, uintptr_t a_end, uintptr_t b,
		      uintptr_t b_end)
{
	uintptr_t from = a > b ? a : b, to = a_end < b_end ? a_end : b_end;

	return from < to ? to - from : 0;
}

/* What smaps says of the mappings in the range, which it takes as wholes. */
static size_t smaps_huge(const char *addr, size_t len)
{
	uintptr_t start, end, base = (uintptr_t)addr;
	size_t kib, inside = 0, bytes = 0;
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) ==
		    2)
			inside = overlap(start, end, base, base + len);
		else if (sscanf(line, "AnonHugePages: %zu", &kib) == 1 ||
			 sscanf(line, "ShmemPmdMapped: %zu", &kib) == 1)
			bytes += kib << 10 < inside ? kib << 10 : inside;
	}
	fclose(f);
	return bytes;
}

size_t huge_bytes(const char *addr, size_t len)
{
	size_t bytes;

	return scan_huge(addr, len, &bytes) ? bytes : smaps_huge(addr, len);
}
