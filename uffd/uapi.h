/* SPDX-License-Identifier: MIT */
/*
 * The kernel's userfaultfd and pagemap interface, as far as Ferry uses it.
 *
 * Distribution headers lag years behind the kernels their users boot (Debian
 * 12 ships those of 6.1, without UFFDIO_MOVE and PAGEMAP_SCAN), so the
 * numbers and layouts of the ABI stand here, under our own names so that a
 * newer system header can be included beside this one. They are facts of the
 * ABI, from UFFDIO_MOVE(2const), UFFDIO_API(2const), PAGEMAP_SCAN(2const).
 */
#ifndef FERRY_UFFD_UAPI_H
#define FERRY_UFFD_UAPI_H

#include <linux/ioctl.h>
#include <stdint.h>

#define FERRY__UFFD_API 0xAAull

/* Bits of the feature word that UFFDIO_API negotiates. */
#define FERRY__UFFD_FEATURE_WP		  (1ull << 0)
#define FERRY__UFFD_FEATURE_EVENT_FORK	  (1ull << 1)
#define FERRY__UFFD_FEATURE_EVENT_REMAP	  (1ull << 2)
#define FERRY__UFFD_FEATURE_EVENT_REMOVE  (1ull << 3)
#define FERRY__UFFD_FEATURE_HUGETLBFS	  (1ull << 4)
#define FERRY__UFFD_FEATURE_SHMEM	  (1ull << 5)
#define FERRY__UFFD_FEATURE_EVENT_UNMAP	  (1ull << 6)
#define FERRY__UFFD_FEATURE_SIGBUS	  (1ull << 7)
#define FERRY__UFFD_FEATURE_THREAD_ID	  (1ull << 8)
#define FERRY__UFFD_FEATURE_MINOR_HUGETLB (1ull << 9)
#define FERRY__UFFD_FEATURE_MINOR_SHMEM	  (1ull << 10)
#define FERRY__UFFD_FEATURE_EXACT_ADDRESS (1ull << 11)
#define FERRY__UFFD_FEATURE_WP_SHMEM	  (1ull << 12)
#define FERRY__UFFD_FEATURE_WP_UNPOP	  (1ull << 13)
#define FERRY__UFFD_FEATURE_POISON	  (1ull << 14)
#define FERRY__UFFD_FEATURE_WP_ASYNC	  (1ull << 15)
#define FERRY__UFFD_FEATURE_MOVE	  (1ull << 16)

/* Flag of userfaultfd(2): user-mode faults only (5.11, always allowed). */
#define FERRY__UFFD_USER_MODE_ONLY 1

#define FERRY__UFFDIO_NR_REGISTER     0x00
#define FERRY__UFFDIO_NR_UNREGISTER   0x01
#define FERRY__UFFDIO_NR_WAKE	      0x02
#define FERRY__UFFDIO_NR_COPY	      0x03
#define FERRY__UFFDIO_NR_ZEROPAGE     0x04
#define FERRY__UFFDIO_NR_MOVE	      0x05
#define FERRY__UFFDIO_NR_WRITEPROTECT 0x06
#define FERRY__UFFDIO_NR_CONTINUE     0x07
#define FERRY__UFFDIO_NR_POISON	      0x08
#define FERRY__UFFDIO_NR_API	      0x3F

struct ferry__uffdio_api {
	uint64_t api;
	uint64_t features;
	uint64_t ioctls;
};

struct ferry__uffdio_range {
	uint64_t start;
	uint64_t len;
};

#define FERRY__REGISTER_MISSING (1ull << 0)
#define FERRY__REGISTER_WP	(1ull << 1)
#define FERRY__REGISTER_MINOR	(1ull << 2)

struct ferry__uffdio_register {
	struct ferry__uffdio_range range;
	uint64_t mode;
	uint64_t ioctls;
};

#define FERRY__COPY_DONTWAKE (1ull << 0)
#define FERRY__COPY_WP	     (1ull << 1)

struct ferry__uffdio_copy {
	uint64_t dst;
	uint64_t src;
	uint64_t len;
	uint64_t mode;
	int64_t copy;
};

#define FERRY__ZEROPAGE_DONTWAKE (1ull << 0)

struct ferry__uffdio_zeropage {
	struct ferry__uffdio_range range;
	uint64_t mode;
	int64_t zeropage;
};

#define FERRY__WP_WP	   (1ull << 0)
#define FERRY__WP_DONTWAKE (1ull << 1)

struct ferry__uffdio_writeprotect {
	struct ferry__uffdio_range range;
	uint64_t mode;
};

#define FERRY__CONTINUE_DONTWAKE (1ull << 0)
#define FERRY__CONTINUE_WP	 (1ull << 1)

struct ferry__uffdio_continue {
	struct ferry__uffdio_range range;
	uint64_t mode;
	int64_t mapped;
};

#define FERRY__POISON_DONTWAKE (1ull << 0)

struct ferry__uffdio_poison {
	struct ferry__uffdio_range range;
	uint64_t mode;
	int64_t updated;
};

#define FERRY__MOVE_DONTWAKE	    (1ull << 0)
#define FERRY__MOVE_ALLOW_SRC_HOLES (1ull << 1)

struct ferry__uffdio_move {
	uint64_t dst;
	uint64_t src;
	uint64_t len;
	uint64_t mode;
	int64_t move; /* bytes moved or -errno; not always written */
};

#define FERRY__UFFDIO_API                                                      \
	_IOWR(0xAA, FERRY__UFFDIO_NR_API, struct ferry__uffdio_api)
#define FERRY__UFFDIO_REGISTER                                                 \
	_IOWR(0xAA, FERRY__UFFDIO_NR_REGISTER, struct ferry__uffdio_register)
#define FERRY__UFFDIO_UNREGISTER                                               \
	_IOR(0xAA, FERRY__UFFDIO_NR_UNREGISTER, struct ferry__uffdio_range)
#define FERRY__UFFDIO_WAKE                                                     \
	_IOR(0xAA, FERRY__UFFDIO_NR_WAKE, struct ferry__uffdio_range)
#define FERRY__UFFDIO_COPY                                                     \
	_IOWR(0xAA, FERRY__UFFDIO_NR_COPY, struct ferry__uffdio_copy)
#define FERRY__UFFDIO_ZEROPAGE                                                 \
	_IOWR(0xAA, FERRY__UFFDIO_NR_ZEROPAGE, struct ferry__uffdio_zeropage)
#define FERRY__UFFDIO_MOVE                                                     \
	_IOWR(0xAA, FERRY__UFFDIO_NR_MOVE, struct ferry__uffdio_move)
#define FERRY__UFFDIO_WRITEPROTECT                                             \
	_IOWR(0xAA, FERRY__UFFDIO_NR_WRITEPROTECT,                             \
	      struct ferry__uffdio_writeprotect)
#define FERRY__UFFDIO_CONTINUE                                                 \
	_IOWR(0xAA, FERRY__UFFDIO_NR_CONTINUE, struct ferry__uffdio_continue)
#define FERRY__UFFDIO_POISON                                                   \
	_IOWR(0xAA, FERRY__UFFDIO_NR_POISON, struct ferry__uffdio_poison)

/* On /dev/userfaultfd (6.1): makes a new descriptor; the argument is flags. */
#define FERRY__USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)

#define FERRY__UFFD_EVENT_PAGEFAULT 0x12
#define FERRY__UFFD_EVENT_FORK	    0x13
#define FERRY__UFFD_EVENT_REMAP	    0x14
#define FERRY__UFFD_EVENT_REMOVE    0x15
#define FERRY__UFFD_EVENT_UNMAP	    0x16

#define FERRY__PAGEFAULT_WRITE (1ull << 0)
#define FERRY__PAGEFAULT_WP    (1ull << 1)
#define FERRY__PAGEFAULT_MINOR (1ull << 2)

struct ferry__uffd_msg {
	uint8_t event;
	uint8_t reserved1;
	uint16_t reserved2;
	uint32_t reserved3;
	union {
		struct {
			uint64_t flags;
			uint64_t address;
			uint32_t ptid;
		} pagefault;
		struct {
			uint32_t ufd;
		} fork;
		struct {
			uint64_t from;
			uint64_t to;
			uint64_t len;
		} remap;
		struct {
			uint64_t start;
			uint64_t end;
		} remove;
	} arg;
};

_Static_assert(sizeof(struct ferry__uffd_msg) == 32, "struct uffd_msg");
_Static_assert(sizeof(struct ferry__uffdio_move) == 40, "struct uffdio_move");

/* PAGEMAP_SCAN (6.7), on /proc/PID/pagemap. */
#define FERRY__PAGE_IS_WPALLOWED  (1ull << 0)
#define FERRY__PAGE_IS_WRITTEN	  (1ull << 1)
#define FERRY__PAGE_IS_FILE	  (1ull << 2)
#define FERRY__PAGE_IS_PRESENT	  (1ull << 3)
#define FERRY__PAGE_IS_SWAPPED	  (1ull << 4)
#define FERRY__PAGE_IS_PFNZERO	  (1ull << 5)
#define FERRY__PAGE_IS_HUGE	  (1ull << 6)
#define FERRY__PAGE_IS_SOFT_DIRTY (1ull << 7)
#define FERRY__PAGE_IS_GUARD	  (1ull << 8)

#define FERRY__PM_SCAN_WP_MATCHING   (1ull << 0)
#define FERRY__PM_SCAN_CHECK_WPASYNC (1ull << 1)

struct ferry__page_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};

struct ferry__pm_scan_arg {
	uint64_t size;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end;
	uint64_t vec;
	uint64_t vec_len;
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};

#define FERRY__PAGEMAP_SCAN _IOWR('f', 16, struct ferry__pm_scan_arg)

/* Bits of a /proc/PID/pagemap word. */
#define FERRY__PM_SOFT_DIRTY (1ull << 55)
#define FERRY__PM_EXCLUSIVE  (1ull << 56)
#define FERRY__PM_UFFD_WP    (1ull << 57)
#define FERRY__PM_FILE	     (1ull << 61)
#define FERRY__PM_SWAP	     (1ull << 62)
#define FERRY__PM_PRESENT    (1ull << 63)

/* PROCMAP_QUERY (6.11), on /proc/PID/maps. */
#define FERRY__PROCMAP_READABLE	     0x01
#define FERRY__PROCMAP_WRITABLE	     0x02
#define FERRY__PROCMAP_EXECUTABLE    0x04
#define FERRY__PROCMAP_SHARED	     0x08
#define FERRY__PROCMAP_COVER_OR_NEXT 0x10
#define FERRY__PROCMAP_FILE_BACKED   0x20

struct ferry__procmap_query {
	uint64_t size;
	uint64_t query_flags;
	uint64_t query_addr;
	uint64_t vma_start;
	uint64_t vma_end;
	uint64_t vma_flags;
	uint64_t vma_page_size;
	uint64_t vma_offset;
	uint64_t inode;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t vma_name_size;
	uint32_t build_id_size;
	uint64_t vma_name_addr;
	uint64_t build_id_addr;
};

#define FERRY__PROCMAP_QUERY _IOWR('f', 17, struct ferry__procmap_query)

/* Advice that Debian 12's headers may lack. */
#define FERRY__MADV_COLD	   20
#define FERRY__MADV_PAGEOUT	   21
#define FERRY__MADV_POPULATE_READ  22
#define FERRY__MADV_POPULATE_WRITE 23
#define FERRY__MADV_COLLAPSE	   25
#define FERRY__MADV_GUARD_INSTALL  102
#define FERRY__MADV_GUARD_REMOVE   103
/* Drops pages of locked mappings, too (5.18). */
#define FERRY__MADV_DONTNEED_LOCKED 24

/* Flag of mremap(2): the old mapping stays, empty (5.7). */
#define FERRY__MREMAP_DONTUNMAP 4

/* Newer than Debian 12's headers: 4.17, 5.17, 5.17. */
#define FERRY__MAP_FIXED_NOREPLACE  0x100000
#define FERRY__PR_SET_VMA	    0x53564d41
#define FERRY__PR_SET_VMA_ANON_NAME 0
#define FERRY__SYS_SET_HOME_NODE    450 /* but on Alpha */
#define FERRY__MPOL_MF_MOVE	    (1 << 1)

#endif
