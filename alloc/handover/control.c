/* SPDX-License-Identifier: MIT */
/*
 * The word that decides who owns.
 *
 *	          receiver takes
 *	OFFERED -----------------> TAKEN
 *	   |  \
 *	   |   '-- receiver refuses --> REFUSED
 *	   '------ sender withdraws --> WITHDRAWN
 *
 * One compare-and-swap leaves OFFERED, whichever side makes it; nothing
 * leaves the other three. It lies in a memfd of its own, mapped by both and
 * shrink-sealed, so that neither side can make the other's access fail, and
 * it stays readable when the peer is dead.
 *
 *  W1	the CAS is acquire and release and pairs with itself and the acquire
 *	load in ferry__control_state(): who takes sees the pages as the sender
 *	left them, who finds TAKEN does not touch them any more.
 *  W2	the error of a refusal is written before the CAS of W1 and read after
 *	its load: relaxed suffices.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>

#include "alloc/handover/handover-internal.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* 5.1 */
#endif

#define CONTROL_MAGIC 0x4c4f52544e4f4346ull

static int map_control(int fd, struct ferry__control **ret_control)
{
	void *mem = NULL;
	int r;

	r = ferry__sys->mmap(NULL, ferry__page_size, PROT_READ | PROT_WRITE,
			     MAP_SHARED, fd, 0, &mem);
	if (r < 0)
		return r;
	/* A child of fork(2) has no part in it. */
	r = ferry__sys->madvise(mem, ferry__page_size, MADV_DONTFORK);
	if (r < 0) {
		ferry__sys->munmap(mem, ferry__page_size);
		return r;
	}
	*ret_control = mem;
	return 0;
}

int ferry__control_make(uint64_t id, struct ferry__control **ret_control,
			int *ret_fd)
{
	struct ferry__control *control;
	int r, fd;

	r = ferry__segment_make(FERRY_BACKING_SHARED, ferry__page_size,
				"ferry-handover", &fd);
	if (r < 0)
		return r;
	r = map_control(fd, &control);
	if (r < 0) {
		ferry__sys->close(fd);
		return r;
	}
	*control = (struct ferry__control){
		.magic = CONTROL_MAGIC,
		.id = id,
		.state = FERRY__OFFERED,
	};
	*ret_control = control;
	*ret_fd = fd;
	return 0;
}

int ferry__control_verify(int fd, uint64_t len, enum ferry_backing *ret_backing)
{
	uint64_t magic;
	struct stat st;
	int seals;

	/* Only a memfd has seals. */
	seals = ferry__sys->fcntl(fd, F_GET_SEALS, 0);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || !(seals & F_SEAL_SEAL) ||
	    seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPROTO;
	if (ferry__sys->fstat(fd, &st) < 0 || st.st_size < 0 ||
	    (uint64_t)st.st_size < len)
		return -EPROTO;
	if (ferry__sys->file_system(fd, &magic) < 0)
		return -EPROTO;
	*ret_backing = magic == HUGETLBFS_MAGIC ? FERRY_BACKING_HUGETLB
						: FERRY_BACKING_SHARED;
	return 0;
}

int ferry__control_open(int fd, uint64_t id,
			struct ferry__control **ret_control)
{
	struct ferry__control *control;
	enum ferry_backing backing;
	int r;

	r = ferry__control_verify(fd, ferry__page_size, &backing);
	if (r < 0)
		return r;
	/* A page of a pool can be missing. */
	if (backing != FERRY_BACKING_SHARED)
		return -EPROTO;
	r = map_control(fd, &control);
	if (r < 0)
		return r;
	if (__atomic_load_n(&control->magic, __ATOMIC_RELAXED) !=
		    CONTROL_MAGIC ||
	    __atomic_load_n(&control->id, __ATOMIC_RELAXED) != id) {
		ferry__control_close(control);
		return -EPROTO;
	}
	*ret_control = control;
	return 0;
}

void ferry__control_close(struct ferry__control *control)
{
	if (control)
		ferry__sys->munmap(control, ferry__page_size);
}

bool ferry__control_decide(struct ferry__control *control,
			   enum ferry__handover_state state)
{
	uint32_t word = FERRY__OFFERED;

	return __atomic_compare_exchange_n(&control->state, &word, state, false,
					   __ATOMIC_ACQ_REL, /* W1 */
					   __ATOMIC_ACQUIRE);
}

enum ferry__handover_state
ferry__control_state(const struct ferry__control *control)
{
	uint32_t word = __atomic_load_n(&control->state, __ATOMIC_ACQUIRE);

	switch (word) { /* W1 */
	case FERRY__OFFERED:
	case FERRY__WITHDRAWN:
	case FERRY__REFUSED:
		return (enum ferry__handover_state)word;
	default:
		return FERRY__TAKEN;
	}
}
