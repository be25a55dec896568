/* SPDX-License-Identifier: MIT */
/*
 * The policy agent: a thread of this process that does, for who is allowed to
 * ask, what a process can only do for itself: place the pages of its arenas and
 * heaps on NUMA nodes, range by range, give memory back, collect, report.
 *
 * It is off unless the environment has FERRY_AGENT=1 (or "fork": in children,
 * too) when the first arena is made, or the program calls ferry_agent_start().
 * doc/agent-protocol.md explains the protocol whose structs are below;
 * alloc/DESIGN-agent.md why it is as it is.
 */
#ifndef FERRY_AGENT_H
#define FERRY_AGENT_H

#include <ferry/arena.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- the protocol --------------------------------------------------------- */

/*
 * A stream socket (AF_UNIX) carries requests one way and their replies, in the
 * same order, the other way. Numbers have the byte order of the machine.
 *
 *	request:  struct ferry_agent_request	.size bytes
 *		  struct ferry_agent_range	.ranges_len times
 *		  node mask, uint64_t words	(.nodes_len + 63) / 64 of them
 *		  text				.text_len bytes, no NUL
 *	reply:	  struct ferry_agent_reply	.size bytes
 *		  items by operation		.items_len times .item_size
 *		  text				.text_len bytes, no NUL
 *
 * Both begin with the size of their struct, then version, operation, and the
 * length of the frame. A struct grows at its end only: who gets a longer one
 * than it knows reads what it knows. The agent refuses a request with a tail
 * that is not zero (-E2BIG), and takes a shorter one, down to
 * FERRY_AGENT_REQUEST_MIN, as ending in zeros.
 */
#define FERRY_AGENT_VERSION	1
#define FERRY_AGENT_REQUEST_MIN 24 /* bytes: up to .id, inclusive */

enum ferry_agent_op {
	FERRY_AGENT_HELLO = 1,	  /* item: struct ferry_agent_limits */
	FERRY_AGENT_LIST,	  /* items: struct ferry_agent_object */
	FERRY_AGENT_STATS,	  /* text: JSON */
	FERRY_AGENT_MAP,	  /* items: struct ferry_agent_run */
	FERRY_AGENT_RESIDENCY,	  /* items: struct ferry_agent_resident */
	FERRY_AGENT_SET_POLICY,	  /* items: struct ferry_agent_status, */
	FERRY_AGENT_MIGRATE,	  /* here and in the next */
	FERRY_AGENT_MIGRATE_PHYS, /* ranges are physical addresses */
	FERRY_AGENT_RECLAIM,	  /* .value: bytes */
	FERRY_AGENT_COMPACT,
	FERRY_AGENT_PIN,
	FERRY_AGENT_UNPIN,
	FERRY_AGENT_HINT,      /* .value: enum ferry_agent_hint */
	FERRY_AGENT_COLLECT,   /* .value: enum ferry_collect; no items */
	FERRY_AGENT_CONFIGURE, /* text: "key:value,key:value"; no items */
	FERRY_AGENT_OPS
};

enum ferry_agent_hint {
	FERRY_AGENT_COLD = 1, /* not needed for a while */
	FERRY_AGENT_HOT,      /* needed soon: read back where it is swapped */
};

/* Of a request. Any other bit is refused with -EINVAL. */
#define FERRY_AGENT_MOVE   (1u << 0) /* migrate pages that are there already */
#define FERRY_AGENT_STRICT (1u << 1) /* fail where a page cannot be placed */

/* Of a reply. */
#define FERRY_AGENT_MORE (1u << 0) /* cut short: go on from .value */

struct ferry_agent_range {
	uint64_t addr;
	uint64_t len;
};

struct ferry_agent_request {
	uint32_t size; /* of this struct */
	uint16_t version;
	uint16_t op;	 /* enum ferry_agent_op */
	uint64_t length; /* bytes of the frame, this struct included */
	uint64_t id;	 /* any; the reply has the same */
	uint32_t flags;
	uint32_t mode;	    /* SET_POLICY: enum ferry_node_mode */
	uint64_t object;    /* .id of an arena or a heap; 0: all of them */
	uint64_t value;	    /* by operation */
	int32_t node;	    /* MIGRATE, MIGRATE_PHYS: where to */
	uint32_t home_node; /* SET_POLICY: the node plus one; 0: none */
	uint32_t ranges_len;
	uint32_t nodes_len; /* bits in the node mask */
	uint32_t text_len;
	uint32_t reserved; /* 0 */
};

struct ferry_agent_reply {
	uint32_t size; /* of this struct */
	uint16_t version;
	uint16_t op;	 /* of the request */
	uint64_t length; /* bytes of the frame, this struct included */
	uint64_t id;	 /* of the request */
	int32_t error;	 /* 0, or a negative errno: nothing was done */
	uint32_t reason; /* enum ferry_reason */
	uint32_t flags;
	uint32_t item_size; /* bytes of each item; 0: none */
	uint64_t items_len;
	uint64_t text_len;
	uint64_t value;	     /* bytes done in all; MORE: where to go on */
	uint64_t failed;     /* items with an error */
	uint64_t generation; /* MIGRATE_PHYS: of the page map that was used */
};

/* What became of one range; in the order of the request. */
struct ferry_agent_status {
	uint64_t done;	 /* bytes placed, moved, given back ... */
	uint64_t left;	 /* bytes that should have been and were not */
	int32_t error;	 /* 0 or a negative errno */
	uint32_t reason; /* enum ferry_reason */
};

enum ferry_agent_kind {
	FERRY_AGENT_ARENA = 1,
	FERRY_AGENT_HEAP,
	FERRY_AGENT_MALLOC, /* all memory of a malloc; libferry has none */
};

struct ferry_agent_object {
	uint64_t id; /* never 0; not given out again in this process */
	uint32_t kind;
	uint32_t flags; /* 0 so far */
	uint64_t addr;	/* the reservation */
	uint64_t len;
	/* Bytes. */
	uint64_t used;	   /* committed; heap: in blocks and large objects */
	uint64_t resident; /* in memory */
	uint64_t huge;	   /* of these in huge pages */
	uint64_t swapped;
	uint64_t pinned;
	uint64_t out;	/* contents kept elsewhere: in a store */
	uint64_t live;	/* heap: found by the last collection */
	uint64_t limit; /* heap: max_bytes; 0: none */
	char name[64];	/* with a NUL */
};

/* A run of equal pages, for a picture of an object. */
struct ferry_agent_run {
	uint64_t addr;
	uint64_t len;
	int32_t node;	/* -1: none, or not known */
	uint32_t flags; /* FERRY_AGENT_RUN_* */
};

#define FERRY_AGENT_RUN_COMMITTED (1u << 0)
#define FERRY_AGENT_RUN_PRESENT	  (1u << 1)
#define FERRY_AGENT_RUN_HUGE	  (1u << 2)
#define FERRY_AGENT_RUN_SWAPPED	  (1u << 3)
#define FERRY_AGENT_RUN_PINNED	  (1u << 4)
#define FERRY_AGENT_RUN_TRANSIT	  (1u << 5) /* being moved */
#define FERRY_AGENT_RUN_OUT	  (1u << 6) /* in a store */
#define FERRY_AGENT_RUN_ZERO	  (1u << 7) /* the shared zero page */

/* Bytes of one range on one node in pages of one size; none that are 0. */
struct ferry_agent_resident {
	uint32_t range; /* which of the request; 0 where it had none */
	int32_t node;	/* -1: swapped out */
	uint64_t page_size;
	uint64_t bytes;
};

/* What this agent takes. */
struct ferry_agent_limits {
	uint64_t ops;	      /* bit FERRY_AGENT_x: it is offered */
	uint64_t request_max; /* bytes of a frame */
	uint64_t reply_max;
	uint64_t ranges_max; /* in one request */
	uint64_t page_size;
	uint64_t huge_size; /* 0: none */
	uint32_t connections_max;
	int32_t pid;
	char version[32]; /* ferry_version() */
};

/* --- in the process ------------------------------------------------------- */

struct ferry_agent_params {
	size_t size;
	/*
	 * The folder of the socket; NULL: what FERRY_AGENT_DIR says, else
	 * XDG_RUNTIME_DIR, else /run/ferry where this user may write, else
	 * /tmp/ferry-UID, which is made. Copied.
	 */
	const char *dir;
	uint64_t refuse; /* bit FERRY_AGENT_x: answered -EPERM */
	/* Limits; 0: 1 MiB + 16 bytes for each range, 65536 ranges, 16. */
	size_t request_max;
	size_t ranges_max;
	unsigned int connections_max;
	/* How long a peer may take over a request or a reply; 0: 5 s. */
	uint64_t patience_ns;
	bool follow_fork; /* children of fork(2) have an agent of their own */
};

/*
 * Starts the agent of this process: one thread, all signals blocked, with a
 * table of descriptors of its own, so that the program sees no descriptor and
 * children inherit none. @params may be NULL: all defaults.
 *
 * The socket is DIR/ferry-agent.PID, mode 0600; a name left by a process that
 * is gone is replaced. Who connects must have this process's user id, or be
 * root. Operations on physical addresses want root.
 *
 * Returns 0 or
 *  -EALREADY	it runs
 *  -EINVAL, -E2BIG	see base.h
 *  -EACCES	the folder belongs to somebody else, or others may write in it
 *  -EADDRINUSE	a living process listens there
 *  -ENAMETOOLONG, -ENOENT, -ENOTDIR	the folder
 *  -ENOMEM, -EAGAIN (no thread), -EMFILE; errors of bind(2), unshare(2)
 * Any thread; not signal-safe. Registers fork handlers once.
 */
FERRY_EXPORT int ferry_agent_start(const struct ferry_agent_params *params);

/*
 * Ends it, when it is through with what it is doing just now, and removes the
 * socket. Nothing happens where there is none. Any thread; not signal-safe.
 */
FERRY_EXPORT void ferry_agent_stop(void);

/* --- for who asks --------------------------------------------------------- */

/*
 * Where the agent of process @pid listens (0: of this one), as far as its user
 * id and the environment of the caller tell: the first of the folders above
 * that has it. At most @size bytes, with a NUL.
 * Returns 0; -ENOENT none found; -ESRCH; -ENAMETOOLONG; -EINVAL. Any thread;
 * not signal-safe.
 */
FERRY_EXPORT int ferry_agent_path(pid_t pid, char *buf, size_t size);

/*
 * Connects to the agent of @pid, and makes sure that it is that process which
 * listens. Returns a descriptor (CLOEXEC, blocking); errors of
 * ferry_agent_path() and connect(2); -EPERM another process listens there.
 * Any thread; not signal-safe.
 */
FERRY_EXPORT int ferry_agent_connect(pid_t pid);

#ifdef __cplusplus
}
#endif

#endif
