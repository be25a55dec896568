/* SPDX-License-Identifier: MIT */
/* io_uring through liburing. */
#include "alloc/store/ring.h"

#include <errno.h>
#include <liburing.h>

#include "alloc/store/map.h"
#include "uffd/sys.h"

struct ferry__ring {
	struct io_uring ring;
};

static int uring_open(unsigned int entries, struct ferry__ring **ret_ring)
{
	struct ferry__ring *ring;
	void *mem;
	int r;

	r = ferry__store_map(sizeof(*ring), &mem);
	if (r < 0)
		return r;
	ring = mem;
	r = io_uring_queue_init(entries, &ring->ring, 0);
	if (r < 0)
		goto err_unmap;
	/* A child that used it would take the parent's completions away. */
	r = io_uring_ring_dontfork(&ring->ring);
	if (r < 0)
		goto err_exit;
	*ret_ring = ring;
	return 0;
err_exit:
	io_uring_queue_exit(&ring->ring);
err_unmap:
	ferry__store_unmap(mem, sizeof(*ring));
	return r;
}

static void prepare(struct ferry__ring *ring, int fd, bool write,
		    struct ferry__ring_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->ring);

	ferry__check(sqe);
	if (write)
		io_uring_prep_writev(sqe, fd, op->iov, op->n, op->off);
	else
		io_uring_prep_readv(sqe, fd, op->iov, op->n, op->off);
	io_uring_sqe_set_data(sqe, op);
	op->res = -ECANCELED;
}

#define TRIES 1000

/* Worth asking again: interrupted, or out of memory for the moment. */
static bool transient(int r)
{
	return r == -EINTR || r == -EAGAIN || r == -EBUSY;
}

/*
 * Hands in @n that are prepared. Returns how many the kernel has taken; where
 * that is less, @error says why.
 */
static unsigned int submit(struct io_uring *ring, unsigned int n, int *error)
{
	unsigned int done = 0, tries = 0;
	int r;

	while (done < n) {
		r = io_uring_submit_and_wait(ring, n - done);
		if (r > 0) {
			done += (unsigned int)r;
			continue;
		}
		if (!transient(r) || ++tries == TRIES) {
			*error = r ? r : -EIO;
			break;
		}
		ferry__sys->sched_yield();
	}
	return done;
}

/*
 * The kernel writes to the caller's pages until the last has ended: there is
 * no way out of here before that. Where waiting is refused (a filter that
 * came later), looking will do.
 */
static void reap(struct io_uring *ring, unsigned int n)
{
	struct ferry__ring_op *op;
	struct io_uring_cqe *cqe;
	int r;

	while (n) {
		r = io_uring_wait_cqe(ring, &cqe);
		if (r < 0)
			r = io_uring_peek_cqe(ring, &cqe);
		if (r < 0) {
			ferry__sys->sched_yield();
			continue;
		}
		op = io_uring_cqe_get_data(cqe);
		op->res = cqe->res;
		io_uring_cqe_seen(ring, cqe);
		n--;
	}
}

static int uring_run(struct ferry__ring *ring, int fd, bool write,
		     struct ferry__ring_op *ops, unsigned int n)
{
	unsigned int i;
	int error = 0;

	for (i = 0; i < n; i++)
		prepare(ring, fd, write, &ops[i]);
	reap(&ring->ring, submit(&ring->ring, n, &error));
	return error;
}

static void uring_close(struct ferry__ring *ring)
{
	if (!ring)
		return;
	io_uring_queue_exit(&ring->ring);
	ferry__store_unmap(ring, sizeof(*ring));
}

static void uring_forget(struct ferry__ring *ring)
{
	ferry__store_unmap(ring, sizeof(*ring));
}

const struct ferry__ring_io ferry__ring_io_uring = {
	.open = uring_open,
	.run = uring_run,
	.close = uring_close,
	.forget = uring_forget,
};

const struct ferry__ring_io *ferry__ring_io = &ferry__ring_io_uring;
