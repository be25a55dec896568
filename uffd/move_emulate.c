/* SPDX-License-Identifier: MIT */
/*
 * A move without UFFDIO_MOVE: the bytes are copied by UFFDIO_COPY, which
 * installs a page atomically, and the source is dropped.
 */
#include <sys/mman.h>

#include "uffd/mover.h"
#include "uffd/pagemap.h"
#include "uffd/uapi.h"

/* Pages copied by one call, so that a stop is noticed soon. */
#define COPY_PIECE ((size_t)512 * ferry__page_size)

static int drop(uintptr_t addr, size_t len)
{
	int r = ferry__sys->madvise((void *)addr, len, MADV_DONTNEED);

	/* A locked mapping, where both sides are locked alike. */
	if (r == -EINVAL)
		r = ferry__sys->madvise((void *)addr, len,
					FERRY__MADV_DONTNEED_LOCKED);
	return r;
}

static int issue_copy(struct ferry__mover *m, size_t len, size_t *ret_copied)
{
	struct ferry__uffdio_copy arg = {
		.dst = m->dst + m->pos,
		.src = m->src + m->pos,
		.len = len,
		.mode = ferry__mover_wants(m, FERRY_MOVE_NO_WAKE)
				? FERRY__COPY_DONTWAKE
				: 0,
	};
	int r = ferry__sys->ioctl(m->uffd->fd, FERRY__UFFDIO_COPY, &arg);

	*ret_copied = 0;
	if (r >= 0)
		*ret_copied = len;
	else if (r == -EAGAIN && arg.copy > 0 && (uint64_t)arg.copy < len)
		*ret_copied = (size_t)arg.copy;
	return r < 0 ? r : 0;
}

static int at_copy_obstacle(struct ferry__mover *m, int error)
{
	/* COPY says ENOENT where MOVE says EINVAL: not registered here. */
	if (error == -ENOENT)
		return ferry__mover_stop(m, -EINVAL,
					 FERRY_REASON_NOT_REGISTERED);
	return ferry__mover_obstacle(m, error);
}

int ferry__mover_copy(struct ferry__mover *m, size_t len)
{
	uintptr_t src = m->src + m->pos;
	size_t copied;
	int r;

	r = issue_copy(m, len, &copied);
	if (!copied)
		return at_copy_obstacle(m, r);
	r = drop(src, copied);
	if (m->result->method == FERRY_METHOD_NONE)
		m->result->method = FERRY_METHOD_COPY;
	ferry__mover_book(m, &m->result->copied, copied);
	return r ? ferry__mover_stop(m, r, FERRY_REASON_NOT_SUPPORTED) : 0;
}

/* The run of pages at the position that are all there, or all not. */
static int source_run(const struct ferry__mover *m, bool *ret_there,
		      size_t *ret_len)
{
	uint64_t words[FERRY__WORDS];
	int i, n;

	n = ferry__pagemap_read(m->uffd->pagemap, m->src + m->pos,
				ferry__mover_left(m) / ferry__page_size, words);
	if (n < 0)
		return n;
	*ret_there = ferry__pagemap_occupied(words[0]);
	for (i = 1; i < n; i++)
		if (ferry__pagemap_occupied(words[i]) != *ret_there)
			break;
	*ret_len = (size_t)i * ferry__page_size;
	return 0;
}

int ferry__mover_emulate(struct ferry__mover *m)
{
	bool there = true;
	size_t len = ferry__mover_left(m);

	if (len > COPY_PIECE)
		len = COPY_PIECE;
	source_run(m, &there, &len);
	if (there)
		return ferry__mover_copy(m, len);
	if (!ferry__mover_wants(m, FERRY_MOVE_HOLES))
		return ferry__mover_stop(m, -ENOENT,
					 ferry__mover_explain(m, -ENOENT));
	ferry__mover_book(m, &m->result->holes, len);
	return 0;
}
