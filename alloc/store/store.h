/* SPDX-License-Identifier: MIT */
/*
 * Page stores: where the contents of a page are while it has no memory of
 * its own.
 *
 * A store keeps pages under handles. It never takes a page that it cannot
 * give back: what fails or fills refuses new pages and goes on serving those
 * that it has. Every page is kept with a checksum of its contents and with
 * the tag (the address) it was stored under, and both are looked at before it
 * is given back.
 *
 * Memory. Whatever a store touches in get() lies in mappings of its own, is
 * in memory already, and is never in ranges that are served: get() runs in
 * fault handlers. A store allocates with mmap(2) alone, never with malloc(3).
 *
 * Descriptors. A store that has some is made, in every sense of the word, in
 * one descriptor table: create, put, get, maintain and destroy are called by
 * threads that share it, which need not be the host's. drop, stats and the
 * calls around a fork use none and may come from any thread; the child of a
 * fork(2) calls from threads of a table of its own. After leave()
 * the next call may come from another table, too.
 */
#ifndef FERRY_ALLOC_STORE_H
#define FERRY_ALLOC_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Names a page within its store; below 2^FERRY__STORE_HANDLE_BITS. */
typedef uint64_t ferry__store_handle;
#define FERRY__STORE_HANDLE_BITS 44

struct ferry__store;

struct ferry__store_stats {
	uint64_t pages;	       /* kept now */
	uint64_t memory;       /* bytes of memory held for them, all included */
	uint64_t payload;      /* bytes of that which are compressed contents */
	uint64_t elsewhere;    /* bytes held outside memory (file, server) */
	uint64_t dictionaries; /* that contents are packed by */
	uint64_t dictionary_memory; /* bytes of .memory for them */
	uint64_t same;	     /* of the pages, those of one repeated word */
	uint64_t puts, gets; /* pages, since the store was made */
	uint64_t refused;    /* puts: full or not compressible */
	uint64_t failed;     /* puts and gets that failed otherwise */
};

struct ferry__store_ops {
	const char *name; /* "memory", "file", "node", "redis" */
	/*
	 * get() may be called from signal handlers and blocks for
	 * microseconds only.
	 */
	bool signal_safe;

	/*
	 * Keeps a copy of the page at @page, which nobody writes meanwhile,
	 * under @tag. Returns 0 or
	 *  -E2BIG   not worth keeping here (does not compress)
	 *  -ENOSPC  full, or no memory: may take pages again later
	 *  -EIO     broken: takes no more pages; those kept are served as
	 *           long as they can be
	 * Several threads at once.
	 */
	int (*put)(struct ferry__store *store, const void *page, uint64_t tag,
		   ferry__store_handle *ret_handle);
	/*
	 * As put() for @n pages, for stores whose cost is per call. Written
	 * for each page: its handle and its error (0 or as above). NULL: the
	 * caller puts one by one.
	 */
	void (*put_many)(struct ferry__store *store, const void *const *pages,
			 const uint64_t *tags, size_t n,
			 ferry__store_handle *ret_handles, int *ret_errors);
	/*
	 * Writes the page to @page (any memory that is present). It stays
	 * kept until drop(). Returns 0 or
	 *  -EILSEQ  checksum or tag are wrong: the contents are lost
	 *  -ETIMEDOUT, -EIO  cannot be had now; may be asked for again
	 * Several threads at once, beside put() and drop() of others.
	 */
	int (*get)(struct ferry__store *store, ferry__store_handle handle,
		   uint64_t tag, void *page);
	/* As get() for @n pages; NULL: the caller gets one by one. */
	void (*get_many)(struct ferry__store *store,
			 const ferry__store_handle *handles,
			 const uint64_t *tags, size_t n, void *const *pages,
			 int *ret_errors);
	/* Forgets the page. Signal-safe where get() is; cannot fail. */
	void (*drop)(struct ferry__store *store, ferry__store_handle handle);
	/*
	 * Housekeeping by the caller's thread, now and then: compaction,
	 * giving memory back, reconnecting. NULL: none.
	 */
	void (*maintain)(struct ferry__store *store);
	/*
	 * Around fork(2): from prepare until parent or child, put() and
	 * maintain() wait; so does drop() of a store that is not signal-safe.
	 * get() goes on, be it for the thread that forks; of a store that is
	 * not signal-safe nobody may be in one at the moment of the fork
	 * itself. Calls of others that other threads were in count in the
	 * child as made or as not made. In the child the store is a copy
	 * that keeps the same pages under the same handles; a store that
	 * cannot be (a connection) reopens, and until then its get() fails
	 * with -EIO. NULL: nothing to do.
	 */
	void (*fork_prepare)(struct ferry__store *store);
	void (*fork_parent)(struct ferry__store *store);
	void (*fork_child)(struct ferry__store *store);
	void (*stats)(struct ferry__store *store,
		      struct ferry__store_stats *ret);
	/*
	 * Closes what descriptors it has, in the table that they are in: the
	 * threads of that table end. No page of its own is kept by then; those
	 * of a parent stay. What needs descriptors afterwards opens them anew,
	 * in the table of who calls. NULL: it has none.
	 */
	void (*leave)(struct ferry__store *store);
	/* Frees the store and all it keeps. */
	void (*destroy)(struct ferry__store *store);
};

/* Begins each kind's own struct. */
struct ferry__store {
	const struct ferry__store_ops *ops;
};

/* --- the kinds ----------------------------------------------------------- */

enum ferry__codec {
	FERRY__CODEC_LZ4 = 0, /* quick both ways */
	FERRY__CODEC_ZSTD,    /* smaller; for what has been cold for long */
};

/*
 * Compressed memory. @limit: most bytes of memory it may hold, 0 for no
 * limit. Signal-safe; get() and drop() take no lock. Returns 0, -EINVAL (no
 * such codec) or -ENOMEM.
 */
int ferry__store_memory_create(enum ferry__codec codec, uint64_t limit,
			       struct ferry__store **ret_store);

/*
 * A file without a name (its space goes back when the process ends), in the
 * folder @path, or made anew at @path and unlinked at once. Past the page
 * cache (O_DIRECT), and many pages in one call (io_uring), where these are to
 * be had; else the name is "file, page cache", and pages are on the device
 * before put() returns. @limit: most bytes of file, 0: what the file system
 * gives.
 *
 * A child of a fork(2) reads its parent's pages where they are, and writes to
 * a file of its own that it makes with its first put().
 *
 * Returns 0, -EEXIST if there is a file of that name, other errors of open(2).
 */
int ferry__store_file_create(const char *path, uint64_t limit,
			     struct ferry__store **ret_store);

/*
 * Uncompressed pages in memory of NUMA node @node. Full when the node is,
 * whatever other nodes have. Signal-safe. Returns 0, -EINVAL for a node without memory,
 * -EOPNOTSUPP where the kernel knows none.
 */
int ferry__store_node_create(int node, uint64_t limit,
			     struct ferry__store **ret_store);

/*
 * A Redis server (4.0 or later) at @address: "host", "host:port",
 * "[v6-address]:port", the path of a socket,
 * "redis://[[user]:password@]host[:port][/db]" or
 * "unix://[[user]:password@]/path[?db=N]". A host is resolved once.
 * @timeout_ms bounds each request; 0: one second. @limit: most bytes of
 * values on the server (pages as they are sent, compressed mostly; names and
 * what the server adds are not counted), 0 for no limit. Pages that were
 * dropped count until the server has said that they are gone.
 *
 * Keys begin with a random prefix of this store. destroy deletes them; what a
 * process leaves behind that ends without it goes after a day, and a process
 * that is stopped for longer than that has lost its pages. maintain() keeps
 * them alive, and connects again, where the server was out of reach: until
 * then puts are refused (-ENOSPC), and get() says -ETIMEDOUT when the server
 * did not come back in time. A page that the server no longer has is -EILSEQ.
 *
 * Returns 0; -EINVAL, -ENAMETOOLONG, -EPROTONOSUPPORT (TLS), -EHOSTUNREACH for
 * the address; errors of connect(2); -ETIMEDOUT; -EACCES not let in; -EPERM the
 * server may evict keys (maxmemory is set, and maxmemory-policy is not
 * noeviction), which is looked at now and then later, too: then it takes no
 * more; -EROFS, -ENOSPC, -EAGAIN (it loads, its disk is full, its replicas are
 * out of reach), -EPROTO a trial failed; -EOPNOTSUPP not built. Of these, what
 * may pass is -ENOSPC of put() once the store is made, and get() asks again
 * until its time is over.
 */
int ferry__store_redis_create(const char *address, unsigned int timeout_ms,
			      uint64_t limit, struct ferry__store **ret_store);

#endif
