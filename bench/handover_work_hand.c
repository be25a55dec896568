/* SPDX-License-Identifier: MIT */
/*
 * handover_work_hand.c: sharing a file in the fewest steps: its descriptor is
 * sent, both sides drop what they need no more. Nobody checks what came, and
 * who owns it is a matter of trust.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hand.h"
#include "handover_work.h"
#include "uffd/uapi.h"

static int map(struct handover_work *w)
{
	w->addr = bench_reserve(w->size, w->huge);
	if (mmap(w->addr, w->size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, w->file, 0) == MAP_FAILED)
		return -errno;
	return 0;
}

static int make(struct handover_work *w)
{
	int rc;

	w->file = memfd_create("ferry-bench", MFD_CLOEXEC);
	if (w->file < 0)
		return -errno;
	if (ftruncate(w->file, (off_t)w->size) < 0)
		return -errno;
	rc = map(w);
	if (rc < 0 || !w->huge)
		return rc;
	bench_populate(w->addr, w->size);
	if (madvise(w->addr, w->size, FERRY__MADV_COLLAPSE) < 0)
		handover_because(w, 0, "no huge pages of a file: %s",
				 strerror(errno));
	return 0;
}

/* Room for one descriptor, aligned as the kernel wants it. */
union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

static int send_file(int sock, int file)
{
	union control control = { 0 };
	char data = 0;
	struct iovec byte = { &data, 1 };
	struct msghdr msg = {
		.msg_iov = &byte,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.room),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(file));
	memcpy(CMSG_DATA(c), &file, sizeof(file));
	return sendmsg(sock, &msg, 0) < 0 ? -errno : 0;
}

static int receive_file(int sock)
{
	union control control;
	char data;
	struct iovec byte = { &data, 1 };
	struct msghdr msg = {
		.msg_iov = &byte,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.room),
	};
	struct cmsghdr *c;
	int file;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(&file, CMSG_DATA(c), sizeof(file));
	return file;
}

static int give(struct handover_work *w)
{
	int rc = send_file(w->sock, w->file);

	bench_unmap(w->addr, w->size);
	close(w->file);
	return rc;
}

static int take_map(struct handover_work *w)
{
	int rc;

	w->file = receive_file(w->sock);
	if (w->file < 0)
		return w->file;
	rc = map(w);
	close(w->file);
	return rc;
}

static int take_loop(struct handover_work *w)
{
	struct hand_params p = {
		.thread = true,
		.mapped = true,
		.window = (size_t)sysconf(_SC_PAGESIZE),
		.len = w->size,
	};
	enum ferry_reason reason;
	int rc = take_map(w);

	if (rc < 0)
		return rc;
	p.dst = w->addr;
	rc = hand_start(&p, &reason);
	if (rc < 0) {
		w->addr = NULL;
		return handover_because(w, rc, "userfaultfd: %s",
					ferry_reason_string(reason));
	}
	return 0;
}

static int stop_loop(struct handover_work *w)
{
	return w->addr ? hand_stop() : 0;
}

const struct handover_way handover_way_map = {
	.make = make,
	.give = give,
	.take = take_map,
};

const struct handover_way handover_way_loop = {
	.make = make,
	.give = give,
	.take = take_loop,
	.done = stop_loop,
};
