/* SPDX-License-Identifier: MIT */
/*
 * Hand-over: pages of an arena become another process's.
 *
 * The two processes share a connected Unix socket (SOCK_STREAM or
 * SOCK_SEQPACKET), which stays theirs and which hand-overs of either direction
 * may use one after another; one thread a side at a time. The sender offers,
 * the receiver takes or refuses:
 *
 *	sender					receiver
 *	ferry_handover_send(sock, arena ...)
 *	     pages LIVE -> TRANSIT
 *	     offer + descriptors  ---------->	ferry_handover_accept(sock ...)
 *						looks at it, maps it, and
 *	     <--------------------------------	takes it (atomically)
 *	     pages TRANSIT -> ABSENT		pages LIVE
 *
 * Ownership passes at one atomic step on a word that both processes have
 * mapped, not by a message: the receiver changes it from OFFERED to TAKEN, or
 * the sender from OFFERED to WITHDRAWN, and only one of them succeeds. So
 * either side may be killed anywhere, and messages may be lost, and still
 * there is one owner: before that step the sender, after it the receiver. An
 * owner that dies takes its memory with it, as ever. What was passed lives by
 * descriptors and mappings only: with the processes all of it goes.
 *
 * Ways, chosen by the library and told in the result:
 *  SHARED  the arena has a backing but PRIVATE, the range holds all its
 *	    committed pages, and the peer is this user's or root's: its segment
 *	    changes hands, no byte is copied.
 *  COPY    any other range: one copy, which the sender makes through the
 *	    receiver's userfaultfd into a private arena; or, where the receiver
 *	    has none, or does not trust the peer with it (another user's,
 *	    @any_peer), into a segment, which the receiver gets.
 *
 * A peer sees what it is offered, also if it never takes it, and either side
 * can keep a segment mapped and write into it: a sender what it gave away, or
 * sent a COPY in, and a receiver that refused, or was too late, all that a
 * SHARED arena holds until it is destroyed or handed over. So only processes
 * that could trace each other share (one user's, or root's); to others, where
 * @any_peer lets them in, everything is copied. What came from another user
 * (result.peer_uid) in a segment (result.backing) is to be copied once more
 * before it is believed.
 *
 * Nothing that a sender does makes the receiver's access to a segment fail (it
 * cannot shrink). Filling the page tables takes no more memory than the sender
 * had brought for it; the states of pages take half a byte each, also of holes,
 * which @len_max bounds. Offers in 2 MiB pages of the pool are taken only where
 * asked for (@hugetlb), as their sender can take pages back, which ends in
 * SIGBUS.
 *
 * Sources: memfd_create(2), fcntl(2) on seals, unix(7), cmsg(3); for receiving
 * lazily Hines, Deshpande, Gopalan, Post-Copy Live Migration of Virtual
 * Machines, ACM SIGOPS OSR 43(3), 2009. alloc/handover/DESIGN.md has the
 * protocol step by step.
 */
#ifndef FERRY_HANDOVER_H
#define FERRY_HANDOVER_H

#include <ferry/arena.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the pages came across. */
enum ferry_handover_way {
	FERRY_HANDOVER_NONE = 0, /* they did not */
	FERRY_HANDOVER_SHARED,	 /* the same pages, no byte copied */
	FERRY_HANDOVER_COPY,	 /* one copy */
	FERRY_HANDOVER_WAYS
};

/* "none", "shared", "copy"; "unknown" for what is no way. Signal-safe. */
FERRY_EXPORT const char *ferry_handover_way_name(enum ferry_handover_way way);

/* What became of a hand-over; on the receiver's side also what is offered. */
struct ferry_handover_result {
	size_t size;
	enum ferry_handover_way way;
	enum ferry_backing backing; /* of the arena that the receiver gets; not
				       known while it judges a COPY */
	uint64_t id;		    /* of this offer, at random */
	uint64_t tag;		    /* the sender's, see the parameters */
	size_t offset;		    /* of the pages in the receiver's arena */
	size_t len;		    /* bytes handed over */
	void *address;		    /* where they lay at the sender */
	size_t copied;		    /* bytes copied by this side */
	size_t installed; /* bytes in the receiver's page tables by now */
	int error;	  /* sender: why the receiver refused, or 0 */
	/*
	 * Sender, of a COPY through a userfaultfd: what a real move of a page
	 * into the other address space answered, 0 or a negative errno. No
	 * mainline kernel allows it so far (-EINVAL). -EOPNOTSUPP: not tried.
	 */
	int move_error;
	/* The peer when the socket was connected (SO_PEERCRED). */
	pid_t peer_pid;
	uid_t peer_uid;
	gid_t peer_gid;
};

/* --- the sender ----------------------------------------------------------- */

struct ferry_handover_params {
	size_t size;
	uint64_t tag;	     /* told to the receiver */
	uint64_t timeout_ns; /* of each wait for the peer; 0: 30 s; UINT64_MAX:
				no limit */
	/*
	 * Hand over to anyone. Else only to processes of this one's effective
	 * user, and root's.
	 */
	bool any_peer;
};

/* An offer under way, on the sender's side. */
struct ferry_handover;

/*
 * Offers [@offset, @offset + @len) of @arena, LIVE throughout, to the process
 * at the other end of @sock, and does not wait for its answer: several offers
 * may be under way, which the receiver takes in turn. Only a COPY is made
 * before the call returns, when the receiver has come to it (who holds both
 * ends would wait in vain). Each offer must be ended by ferry_handover_await()
 * or ferry_handover_withdraw(), before the arena is destroyed.
 *
 * Until then the pages are in TRANSIT and must not be written to by anyone:
 * the receiver can own them at any moment. When the arena's segment is
 * offered nothing more can be committed in it meanwhile (-EBUSY).
 *
 * @params: NULL for the defaults.
 * Returns 0 or, with nothing changed,
 *  -EINVAL	beyond the arena, not whole pages (HUGETLB: whole 2 MiB)
 *  -E2BIG	see base.h
 *  -ENOENT	a page of the range is ABSENT
 *  -EBUSY	a page is PINNED, in TRANSIT or OUT
 *  -ECHILD	the arena of a parent process
 *  -ENOTSOCK, -EPROTOTYPE	not a connected Unix socket of these types
 *  -EPERM	the peer is another user's
 *  -EPIPE	the peer has hung up
 *  -ETIMEDOUT	it does not read
 *  -EPROTO	it sent what is no answer
 *  errors of ferry_fault_resolve() for pages that a service has to bring;
 *  -EFAULT	one of them went meanwhile
 *  -ENOMEM, -EMFILE, -ENFILE, -EBADF; errors of sendmsg(2)
 * A stream that was timed out on in the middle of a message is of no more use.
 * Any thread, one at a time on a socket; not signal-safe. Signals do not end
 * the wait.
 */
FERRY_EXPORT int
ferry_handover_offer(int sock, struct ferry_arena *arena, size_t offset,
		     size_t len, const struct ferry_handover_params *params,
		     struct ferry_handover **ret_handover);

/*
 * Waits for the answer and ends @handover, whatever is returned. @ret_result
 * may be NULL; set .size first; written always.
 *
 * Returns 0: the pages are the receiver's and here ABSENT; the arena can be
 * used on, without the policies that ranges of a segment had. Or, and then
 * they are LIVE here as before:
 *  -ECONNREFUSED	the receiver refused; result.error says why
 *  -EPIPE	it hung up or died without taking them
 *  -ETIMEDOUT	no answer: withdrawn; the receiver will find it void
 *  -EPROTO	it sent what is no answer: withdrawn
 *  -EINVAL, -E2BIG	of @ret_result; withdrawn
 *  -ECHILD	an offer of a parent process: nothing is known of it here
 * A receiver that is hostile can tell that it has taken the pages and that it
 * has not: then they are given up here (0).
 */
FERRY_EXPORT int ferry_handover_await(struct ferry_handover *handover,
				      struct ferry_handover_result *ret_result);

/*
 * Takes an offer back and ends @handover. Returns 0: the pages are LIVE here
 * again; -EALREADY: the receiver was quicker, they are ABSENT here; -ECHILD.
 * NULL is allowed.
 */
FERRY_EXPORT int ferry_handover_withdraw(struct ferry_handover *handover);

/* Offers and awaits. Errors of both; on any of them the pages are LIVE. */
FERRY_EXPORT int ferry_handover_send(int sock, struct ferry_arena *arena,
				     size_t offset, size_t len,
				     const struct ferry_handover_params *params,
				     struct ferry_handover_result *ret_result);

/* --- the receiver --------------------------------------------------------- */

/*
 * Looks at an offer before it is taken. Returns 0 to take it or a negative
 * errno to refuse it, which the sender is told.
 */
typedef int (*ferry_handover_judge_fn)(
	void *arg, const struct ferry_handover_result *offer);

struct ferry_handover_accept_params {
	size_t size;
	uint64_t timeout_ns; /* for an offer to come, and again for its COPY to
				be made: long ones need more; as above */
	bool any_peer;	     /* as above */
	bool hugetlb;	     /* take offers in pages of hugetlbfs */
	/*
	 * Put the pages where they lay at the sender, so that pointers into
	 * them stay true.
	 */
	bool keep_address;
	/*
	 * Return at once: pages come into the page tables when touched, or by
	 * ferry_handover_step(). A COPY into a private arena comes whole.
	 */
	bool lazy;
	size_t len_max;	  /* refuse longer offers (-EMSGSIZE); 0: no limit */
	const char *name; /* of the new arena; as in arena.h */
	ferry_handover_judge_fn judge; /* or NULL: take whatever fits */
	void *judge_arg;
};

/*
 * Waits for an offer on @sock and takes it: @ret_arena is a new arena whose
 * pages in [result.offset, result.offset + result.len) are LIVE, the rest
 * ABSENT. @params may be NULL; so may @ret_result (set .size first; written
 * also when an offer was refused, with way NONE).
 *
 * Returns 0 or, without an arena,
 *  -EINVAL, -E2BIG	see base.h
 *  -ENOTSOCK, -EPROTOTYPE, -EPERM	as for the sender
 *  -EPIPE	the peer has hung up
 *  -ETIMEDOUT	no whole offer came; half of one: the socket is of no more use;
 *		or a COPY was not made in time: the sender keeps the pages
 *  -EPROTO	what came is no offer, or its descriptors are not what it says
 *		(cut short, another version, not a memfd, too small, able to
 *		shrink): the socket is of no more use
 *  -ECANCELED	the sender withdrew the offer
 * or refused, and the sender, told so, keeps the pages:
 *  -EMSGSIZE	longer than len_max
 *  -EADDRINUSE	keep_address, and something lies there
 *  -EOPNOTSUPP	pages of hugetlbfs and not @hugetlb; another page size
 *  -ENOMEM, -EMFILE; what @judge returned
 * Any thread, one at a time on a socket; not signal-safe.
 */
FERRY_EXPORT int
ferry_handover_accept(int sock,
		      const struct ferry_handover_accept_params *params,
		      struct ferry_handover_result *ret_result,
		      struct ferry_arena **ret_arena);

/*
 * Brings the next @bytes (whole pages) of a lazily accepted arena into the
 * page tables, in rising order; for any number of threads beside the
 * program. @ret_left: bytes still to come; may be NULL; written always.
 * Pages that were decommitted are passed over; none may be at the same time.
 * Returns 0, also when nothing is left; -EINVAL; -ECHILD; -ENOMEM.
 */
FERRY_EXPORT int ferry_handover_step(struct ferry_arena *arena, size_t bytes,
				     size_t *ret_left);

/* Steps until nothing is left. Errors as above. */
FERRY_EXPORT int ferry_handover_finish(struct ferry_arena *arena);

#ifdef __cplusplus
}
#endif

#endif
