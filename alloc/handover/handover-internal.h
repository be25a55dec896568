/* SPDX-License-Identifier: MIT */
/*
 * What the files of alloc/handover/ share: the messages, the word that
 * decides who owns, and waiting for a peer that may be slow, hostile or dead.
 *
 * No lock of their own: a hand-over belongs to the thread that makes the call.
 */
#ifndef FERRY_HANDOVER_INTERNAL_H
#define FERRY_HANDOVER_INTERNAL_H

#include <ferry/handover.h>

#include "alloc/alloc-internal.h"

/* --- messages (wire.c) ---------------------------------------------------- */

#define FERRY__WIRE_MAGIC   0x59525246u
#define FERRY__WIRE_VERSION 1

enum ferry__wire_kind {
	/* Sender: with the control page and, if SHARED, the segment. */
	FERRY__WIRE_OFFER = 1,
	/* Receiver: look at the word. */
	FERRY__WIRE_ANSWER,
	/* Receiver, to an offer of a COPY: .address, and the userfaultfd to
	 * copy through; without one it would like a segment. */
	FERRY__WIRE_READY,
	/* Sender: the copy is there, or in the segment that comes with this,
	 * or (the word says so) the offer is void. */
	FERRY__WIRE_FILLED,
};

/* Descriptors by their place in an offer; READY and FILLED have one. */
enum ferry__wire_fd {
	FERRY__WIRE_CONTROL,
	FERRY__WIRE_SEGMENT,
	FERRY__WIRE_FDS
};

/* Every message is one of these, in the byte order of the machine that both
 * processes run on. */
struct ferry__wire {
	uint32_t magic;
	uint16_t version;
	uint16_t kind;
	uint64_t id;	  /* of the offer */
	uint64_t segment; /* bytes of the segment */
	uint64_t offset;  /* of the pages in it */
	uint64_t len;
	uint64_t address; /* of the segment's first byte at the sender */
	uint64_t tag;
	uint32_t page_size;
	uint16_t backing;
	uint16_t way;
};

_Static_assert(sizeof(struct ferry__wire) == 64, "layout of the protocol");

/* When a call has to end; UINT64_MAX: never. */
uint64_t ferry__wire_deadline(uint64_t timeout_ns);

/*
 * Sends @wire with @n descriptors; fills in what is the same in every message.
 * Returns 0; -EPIPE; -ETIMEDOUT; errors of sendmsg(2).
 */
int ferry__wire_send(int sock, struct ferry__wire *wire, const int *fds,
		     size_t n, uint64_t deadline);

/* A message and its descriptors: the receiver's to close, -1 for none. */
struct ferry__mail {
	struct ferry__wire wire;
	int fd[FERRY__WIRE_FDS];
};

/*
 * Receives the next message of kind @want, and of the offer @id unless that is
 * 0, passing over what is left from offers that came to an end. Where an ANSWER
 * came instead, or anything instead of an ANSWER, the word is to be looked at:
 * that returns 0, too, and @ret_mail tells which.
 * Returns 0; -EPIPE; -ETIMEDOUT; -EPROTO: cut short, of another version or
 * kind, with other descriptors than it should have. None is kept then.
 */
int ferry__wire_recv(int sock, enum ferry__wire_kind want, uint64_t id,
		     struct ferry__mail *ret_mail, uint64_t deadline);

/* Closes its descriptors. */
void ferry__mail_close(struct ferry__mail *mail);

/* --- the word that decides (control.c) ------------------------------------ */

enum ferry__handover_state {
	FERRY__OFFERED = 1, /* the sender owns */
	FERRY__TAKEN,	    /* the receiver owns */
	FERRY__WITHDRAWN,   /* the sender owns; the offer is void */
	FERRY__REFUSED,	    /* the same */
};

/* Begins a page that both processes map. The peer may write anything there
 * at any time: every word is read once. */
struct ferry__control {
	uint64_t magic;
	uint64_t id;
	uint32_t state; /* W1 */
	int32_t error;	/* of a refusal; written before it */
};

/* A page with @id, OFFERED; the descriptor for the peer in @ret_fd. */
int ferry__control_make(uint64_t id, struct ferry__control **ret_control,
			int *ret_fd);

/* Maps the peer's. -EPROTO when it is not what @id says. */
int ferry__control_open(int fd, uint64_t id,
			struct ferry__control **ret_control);
void ferry__control_close(struct ferry__control *control);

/* OFFERED becomes @state; false: somebody was quicker. */
bool ferry__control_decide(struct ferry__control *control,
			   enum ferry__handover_state state);

/* What is no state counts as TAKEN. */
enum ferry__handover_state
ferry__control_state(const struct ferry__control *control);

/*
 * Is @fd a memfd of at least @len bytes that cannot shrink and can be written
 * to, and of what kind? Returns 0; -EPROTO.
 */
int ferry__control_verify(int fd, uint64_t len,
			  enum ferry_backing *ret_backing);

/* --- the peer (peer.c) ---------------------------------------------------- */

/*
 * Is @sock fit, and the process behind it to be dealt with? Fills in the
 * peer. Returns 0; -ENOTSOCK; -EPROTOTYPE; -EPERM; -EBADF.
 */
int ferry__peer_check(int sock, bool any, struct ferry_handover_result *ret);

/*
 * May the peer trace this process? Only then it gets a userfaultfd of this
 * process, or descriptors of memory that it might refuse and yet keep.
 */
bool ferry__peer_is_trusted(const struct ferry_handover_result *peer);

/* --- results (result.c) --------------------------------------------------- */

/* Copies @from to a caller's @ret, which may be NULL: only what that knows. */
void ferry__result_write(struct ferry_handover_result *ret,
			 const struct ferry_handover_result *from);

/* 0; -EINVAL, -E2BIG: @ret, which may be NULL, is not one. */
int ferry__result_check(const struct ferry_handover_result *ret);

/* --- one copy (copy.c) ---------------------------------------------------- */

/*
 * Sender, after @offer: copies from @from when the receiver is ready, unless
 * that has decided already, and says how in @result. Returns 0; -EPIPE;
 * -ETIMEDOUT; -EPROTO; -ENOMEM; -EFAULT @from cannot be read; -EMFILE, -ENFILE.
 */
int ferry__copy_send(int sock, const struct ferry__wire *offer,
		     const struct ferry__control *control, const char *from,
		     uint64_t timeout_ns, struct ferry_handover_result *result);

/* Tells a receiver that waits for the copy that there will be none. */
void ferry__copy_void(int sock, uint64_t id);

/*
 * Receiver: an arena as @adoption says with the copy in it; .backing and .fd
 * are filled in. Returns 0; errors of ferry__arena_adopt() and of messages.
 */
int ferry__copy_receive(int sock, const struct ferry__wire *offer,
			struct ferry__adoption *adoption,
			const struct ferry_handover_result *peer,
			uint64_t deadline, struct ferry_arena **ret_arena);

/* --- page tables (install.c) ---------------------------------------------- */

/* Brings all of [@offset, @offset + @len) into the page tables, as far as
 * memory for them goes; returns the bytes. */
size_t ferry__install(struct ferry_arena *arena, size_t offset, size_t len);

/* Leaves it to ferry_handover_step(). */
void ferry__install_later(struct ferry_arena *arena, size_t offset, size_t len);

#endif
