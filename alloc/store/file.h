/* SPDX-License-Identifier: MIT */
/*
 * The file store, within: file.c is the store, file_io.c the file, and
 * file_fork.c what children of a fork(2) share with their parent.
 *
 * The file is a row of pages, one for each slot, as large as the largest slot
 * number asked for so far; free slots are used again, low ones first, so that
 * the file's end becomes free and can be cut off. Contents are not
 * compressed: O_DIRECT writes whole blocks, so that a page cannot take less
 * than a page, and the pages that are worth compressing went to the memory
 * store before.
 *
 * Handles are slot numbers. A child's file begins where its parent's ends:
 *
 *	slots  0 ........ first of the child ........... n
 *	       inherited: parent's file      own file
 *
 * FF1. A process writes and frees in its own file alone. What it inherited it
 *      reads through a mapping of the parent's file, which fork(2) copies; a
 *      descriptor would not do, as the table that the parent has it in is one
 *      of its threads' own.
 * FF2. The parent uses no slot again that a child may read: see generations.h.
 *
 * Locks, in the order in which they are taken:
 *	calls	shared: put, drop and maintain; alone: around a fork. Reading
 *		takes it not: it goes on in the parent until the very fork, at
 *		which the caller has nobody reading.
 *	grow	the file's length, generations
 *	ring	of each kind of transfer
 */
#ifndef FERRY_ALLOC_STORE_FILE_H
#define FERRY_ALLOC_STORE_FILE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "alloc/store/parts.h"
#include "alloc/store/ring.h"
#include "alloc/store/gate.h"
#include "alloc/store/slots.h"
#include "alloc/store/store.h"

/* Pages of one submission: of one put_many() or get_many() more than one. */
#define FERRY__FILE_BATCH 64

/* What became of the pages of a batch, and where they are. */
struct ferry__file_transfer {
	struct iovec iov[FERRY__FILE_BATCH];
	uint64_t slot[FERRY__FILE_BATCH]; /* of the file, from 0 */
	int error[FERRY__FILE_BATCH];
	size_t n;
};

/* A ring with its lock, or none: then the system calls one by one. */
struct ferry__file_channel {
	pthread_mutex_t lock;
	struct ferry__ring *ring; /* under the lock */
};

struct ferry__file_io {
	const char *path; /* absolute; the store's */
	int fd;		  /* -1: not made yet */
	bool direct;	  /* transfers bypass the page cache */
	struct ferry__file_channel write, read;
	uint64_t len; /* bytes of file; under file_store.grow */
	/* The file for children to inherit; under .grow, too. */
	void *map;
	size_t map_len;
};

/* Makes the file at @path: -EISDIR and the like as the system names them. */
int ferry__file_open(struct ferry__file_io *io);

/* In a thread that shares the descriptor table. */
void ferry__file_close(struct ferry__file_io *io);

/* In the child of a fork: an object without a file, with the same path. */
void ferry__file_forget(struct ferry__file_io *io);

/*
 * Makes the file @len bytes long, with its space set aside where the file
 * system can do that, and maps all of it. Returns 0; -ENOSPC when there is
 * less (a limit on files' size counts as that); -EIO and others.
 */
int ferry__file_extend(struct ferry__file_io *io, uint64_t len);
void ferry__file_truncate(struct ferry__file_io *io, uint64_t len);

/* Writes or reads the pages of @t, each with its .error. */
void ferry__file_transfer(struct ferry__file_io *io, bool write,
			  struct ferry__file_transfer *t);

/* --- forks ---------------------------------------------------------------- */

/* Pages in the file of a process that this one descends from. */
struct ferry__file_inherited {
	struct ferry__part part;
	const char *map; /* the file */
	size_t map_len;
};

struct ferry__file_store {
	struct ferry__store base;
	size_t bytes; /* of this object */
	struct ferry__slots slots;
	uint64_t limit; /* bytes of file */
	struct ferry__gate calls;
	pthread_mutex_t grow;
	struct ferry__file_io io;
	bool full;   /* FS1: relaxed: no growth before the next maintain() */
	bool broken; /* FS2: relaxed: takes no more */
	struct ferry__parts parts; /* generations checked under .grow */
	uint64_t live;		   /* pages in the own file; relaxed */
	/* Statistics, relaxed: nothing hangs on them. */
	uint64_t puts, gets, refused, failed;
	char path[];
};

void ferry__file_locks_init(struct ferry__file_store *store);

/* What forks need, beside a new file. Returns 0 or -ENOMEM. */
int ferry__file_fork_init(struct ferry__file_store *store);
/* In a thread that shares the descriptor table. */
void ferry__file_fork_fini(struct ferry__file_store *store);
/* The same, and what children have of the file is theirs from here on. */
void ferry__file_fork_leave(struct ferry__file_store *store);

/* Reads the inherited page in the slot @i. Returns 0 or -EIO. */
int ferry__file_inherited_get(struct ferry__file_store *store, uint64_t i,
			      void *page);
void ferry__file_inherited_drop(struct ferry__file_store *store, uint64_t i);
void ferry__file_inherited_free(struct ferry__file_store *store);

void ferry__file_fork_prepare(struct ferry__store *store);
void ferry__file_fork_parent(struct ferry__store *store);
void ferry__file_fork_child(struct ferry__store *store);

#endif
