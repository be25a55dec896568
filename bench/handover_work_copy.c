/* SPDX-License-Identifier: MIT */
/*
 * handover_work_copy.c: what programs do today: a pipe, and reading another
 * process's memory. The memory stays the sender's; giving it back is not on
 * the clock.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>

#include "handover_work.h"

static int make(struct handover_work *w)
{
	w->addr = bench_reserve(w->size, w->huge);
	return 0;
}

/* What a receiver has that uses one buffer over and over. */
static int ready_warm(struct handover_work *w)
{
	make(w);
	bench_populate(w->addr, w->size);
	return 0;
}

/* --- pipe ----------------------------------------------------------------- */

/* Of 1 MiB: the most that anyone may ask for as the system comes. */
static int ready_pipe(struct handover_work *w)
{
	if (fcntl(w->pipe[0], F_SETPIPE_SZ, 1 << 20) < 0)
		handover_because(w, 0, "the pipe could not be made larger: %s",
				 strerror(errno));
	return ready_warm(w);
}

static int give_pipe(struct handover_work *w)
{
	return handover_write(w->pipe[1], w->addr, w->size);
}

static int take_pipe(struct handover_work *w)
{
	return handover_read(w->pipe[0], w->addr, w->size);
}

/* --- process_vm_readv ----------------------------------------------------- */

static int give_vm(struct handover_work *w)
{
	char done;
	int rc = handover_write(w->sock, &w->addr, sizeof(w->addr));

	return rc < 0 ? rc : handover_read(w->sock, &done, 1);
}

static int read_vm(struct handover_work *w, char *from)
{
	size_t done = 0;

	while (done < w->size) {
		size_t len = w->size - done;
		struct iovec local = { w->addr + done, len };
		struct iovec remote = { from + done, len };
		ssize_t n =
			process_vm_readv(w->sender, &local, 1, &remote, 1, 0);

		if (n < 0)
			return handover_because(w, -errno,
						"process_vm_readv: %s",
						strerror(errno));
		done += (size_t)n;
	}
	return 0;
}

static int take_vm(struct handover_work *w)
{
	char *from;
	int rc = handover_read(w->sock, &from, sizeof(from));

	if (rc == 0)
		rc = read_vm(w, from);
	return rc < 0 ? rc : handover_write(w->sock, "", 1);
}

const struct handover_way handover_way_pipe = {
	.ready = ready_pipe,
	.make = make,
	.give = give_pipe,
	.take = take_pipe,
};

const struct handover_way handover_way_vm_warm = {
	.ready = ready_warm,
	.make = make,
	.give = give_vm,
	.take = take_vm,
};

const struct handover_way handover_way_vm_new = {
	.ready = make,
	.make = make,
	.give = give_vm,
	.take = take_vm,
};
