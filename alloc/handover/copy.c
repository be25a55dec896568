/* SPDX-License-Identifier: MIT */
/*
 * Pages that cannot change hands as they are: one copy, made by the sender.
 *
 *	sender			receiver
 *	OFFER --------------->	makes an empty private arena, registers it
 *	   <------------ READY	(with its userfaultfd)
 *	copies through it into
 *	the receiver's memory
 *	FILLED -------------->	unregisters, takes
 *
 * A userfaultfd acts on the address space of the process that made it, from
 * whichever process the call comes; the source of a copy is the caller's. Who
 * holds one can do more than copy: it is sent only to peers that might trace
 * this process anyway (its own user's, and root). Without one the sender
 * copies into a segment and sends that.
 */
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/handover/handover-internal.h"
#include "uffd/handle.h"

/* --- the sender ----------------------------------------------------------- */

static int copy_into(int fd, const char *from, size_t len, off_t at)
{
	size_t done = 0, n;
	ssize_t r = 0;
	struct iovec iov;

	while (done < len) {
		n = len - done;
		if (n > (size_t)1 << 30)
			n = (size_t)1 << 30;
		iov = (struct iovec){ (void *)(from + done), n };
		r = ferry__sys->pwritev(fd, &iov, 1, at + (off_t)done);
		if (r == -EINTR)
			continue;
		if (r <= 0)
			break;
		done += (size_t)r;
	}
	if (done == len)
		return 0;
	return r < 0 && r != -ENOSPC ? (int)r : -ENOMEM;
}

/* A segment with the copy in it. */
static int stage(const struct ferry__wire *offer, const char *from, int *ret_fd)
{
	int r, fd;

	r = ferry__segment_make(FERRY_BACKING_SHARED, offer->segment, "ferry",
				&fd);
	if (r < 0)
		return r;
	r = copy_into(fd, from, offer->len, (off_t)offer->offset);
	if (r < 0) {
		ferry__sys->close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/*
 * Can a page move from here to there? Only trying tells, with a copy of the
 * first page: if it can, that one has arrived. The pages themselves are not
 * moved, as they would be gone while the receiver has not taken them.
 */
static int try_move(int fd, uintptr_t dst, const char *from)
{
	void *page = NULL;
	int r;

	r = ferry__sys->mmap(NULL, ferry__page_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0,
			     &page);
	if (r < 0)
		return r;
	memcpy(page, from, ferry__page_size);
	r = ferry__uffd_move_to(fd, dst, page);
	ferry__sys->munmap(page, ferry__page_size);
	return r;
}

/* All of it, through the receiver's userfaultfd; *@ret_move_error: 0 to try a
 * move. */
static int copy_through(int fd, uintptr_t dst, const char *from, size_t len,
			int *ret_move_error)
{
	size_t done = 0, first = 0;

	if (*ret_move_error == 0)
		*ret_move_error = try_move(fd, dst, from);
	if (*ret_move_error == 0)
		first = ferry__page_size;
	if (first == len)
		return 0;
	return ferry__uffd_copy_to(fd, dst + first, from + first, len - first,
				   &done);
}

/*
 * A call on a file of a user's file system would sleep for as long as that
 * likes; a userfaultfd lies in none.
 */
static bool is_userfaultfd(int fd)
{
	uint64_t magic;

	return fd >= 0 && ferry__sys->file_system(fd, &magic) == 0 &&
	       magic == ANON_INODE_FS_MAGIC;
}

/* Copies through what the receiver gave, or into a segment (*@ret_fd). */
static int fill(const struct ferry__mail *ready,
		const struct ferry__wire *offer, const char *from,
		struct ferry_handover_result *result, int *ret_fd)
{
	int r = -ENOTTY;

	*ret_fd = -1;
	if (ferry__peer_is_trusted(result) && is_userfaultfd(ready->fd[0]))
		r = copy_through(ready->fd[0],
				 ready->wire.address + offer->offset, from,
				 offer->len, &result->move_error);
	if (r == -ESRCH)
		return -EPIPE;
	return r < 0 ? stage(offer, from, ret_fd) : 0;
}

static int send_filled(int sock, uint64_t id, int fd, uint64_t deadline)
{
	struct ferry__wire wire = { .kind = FERRY__WIRE_FILLED, .id = id };

	return ferry__wire_send(sock, &wire, &fd, fd >= 0, deadline);
}

void ferry__copy_void(int sock, uint64_t id)
{
	send_filled(sock, id, -1, 0);
}

/* Until the receiver is ready, or has decided already. */
static int wait_for_ready(int sock, const struct ferry__wire *offer,
			  const struct ferry__control *control,
			  struct ferry__mail *ret_ready, uint64_t deadline)
{
	int r;

	do
		r = ferry__wire_recv(sock, FERRY__WIRE_READY, offer->id,
				     ret_ready, deadline);
	while (r == 0 && ret_ready->wire.kind == FERRY__WIRE_ANSWER &&
	       ferry__control_state(control) == FERRY__OFFERED);
	return r;
}

int ferry__copy_send(int sock, const struct ferry__wire *offer,
		     const struct ferry__control *control, const char *from,
		     uint64_t timeout_ns, struct ferry_handover_result *result)
{
	struct ferry__mail ready;
	int r, fd;

	r = wait_for_ready(sock, offer, control, &ready,
			   ferry__wire_deadline(timeout_ns));
	if (r < 0)
		return r;
	if (ready.wire.kind != FERRY__WIRE_READY)
		return 0;
	r = fill(&ready, offer, from, result, &fd);
	ferry__mail_close(&ready);
	if (r < 0)
		return r;
	result->copied = offer->len;
	result->backing = fd < 0 ? FERRY_BACKING_PRIVATE : FERRY_BACKING_SHARED;
	r = send_filled(sock, offer->id, fd, ferry__wire_deadline(timeout_ns));
	if (fd >= 0)
		ferry__sys->close(fd);
	return r;
}

/* --- the receiver --------------------------------------------------------- */

/* A userfaultfd for the empty pages of @arena, or NULL. */
static struct ferry_uffd *open_for(struct ferry_arena *arena,
				   const struct ferry_handover_result *peer)
{
	struct ferry_uffd *uffd;

	if (!ferry__peer_is_trusted(peer) ||
	    ferry_uffd_open(NULL, NULL, &uffd) < 0)
		return NULL;
	if (ferry_uffd_register(uffd, arena->base, arena->reserved,
				FERRY_REGISTER_MISSING, NULL) == 0)
		return uffd;
	ferry_uffd_close(uffd);
	return NULL;
}

static int send_ready(int sock, const struct ferry__wire *offer,
		      struct ferry_arena *arena, struct ferry_uffd *uffd,
		      uint64_t deadline)
{
	struct ferry__wire wire = {
		.kind = FERRY__WIRE_READY,
		.id = offer->id,
		.address = (uintptr_t)arena->base,
	};
	int fd = uffd ? ferry_uffd_fd(uffd) : -1;

	return ferry__wire_send(sock, &wire, &fd, fd >= 0, deadline);
}

/* Tells the sender where to, and waits until it has copied. */
static int exchange(int sock, const struct ferry__wire *offer,
		    struct ferry_arena *arena, struct ferry_uffd *uffd,
		    struct ferry__mail *ret_filled, uint64_t deadline)
{
	int r;

	r = send_ready(sock, offer, arena, uffd, deadline);
	while (r == 0) {
		r = ferry__wire_recv(sock, FERRY__WIRE_FILLED, offer->id,
				     ret_filled, deadline);
		if (r == 0 && ret_filled->wire.kind == FERRY__WIRE_FILLED)
			break;
	}
	return r;
}

/* The arena that the sender filled, or one around the segment it sent. */
static int adopt_filled(struct ferry__adoption *adoption,
			struct ferry__mail *filled, struct ferry_arena **arena)
{
	enum ferry_backing backing;
	int r;

	if (filled->fd[0] < 0)
		return 0;
	r = ferry__control_verify(filled->fd[0], adoption->size, &backing);
	if (r == 0 && backing != FERRY_BACKING_SHARED)
		r = -EPROTO;
	if (r < 0)
		return r;
	ferry_arena_destroy(*arena);
	*arena = NULL;
	adoption->backing = FERRY_BACKING_SHARED;
	adoption->fd = filled->fd[0];
	r = ferry__arena_adopt(adoption, arena);
	if (r == 0)
		filled->fd[0] = -1;
	return r;
}

int ferry__copy_receive(int sock, const struct ferry__wire *offer,
			struct ferry__adoption *adoption,
			const struct ferry_handover_result *peer,
			uint64_t deadline, struct ferry_arena **ret_arena)
{
	struct ferry__mail filled = { .fd = { -1, -1 } };
	struct ferry_arena *arena;
	struct ferry_uffd *uffd;
	int r;

	adoption->backing = FERRY_BACKING_PRIVATE;
	adoption->fd = -1;
	r = ferry__arena_adopt(adoption, &arena);
	if (r < 0)
		return r;
	uffd = open_for(arena, peer);
	r = exchange(sock, offer, arena, uffd, &filled, deadline);
	if (uffd)
		ferry_uffd_unregister(uffd, arena->base, arena->reserved);
	ferry_uffd_close(uffd);
	if (r == 0)
		r = adopt_filled(adoption, &filled, &arena);
	ferry__mail_close(&filled);
	if (r < 0) {
		ferry_arena_destroy(arena);
		return r;
	}
	*ret_arena = arena;
	return 0;
}
