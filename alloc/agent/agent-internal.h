/* SPDX-License-Identifier: MIT */
/*
 * What the files of the policy agent share. alloc/DESIGN-agent.md tells how
 * they stand to each other.
 *
 * Locks: agent.c has one, rank 0, of those that start and stop the agent; the
 * thread itself takes none of the agent's.
 */
#ifndef FERRY_ALLOC_AGENT_INTERNAL_H
#define FERRY_ALLOC_AGENT_INTERNAL_H

#include <ferry/agent.h>

#include <sys/un.h>

/* --- memory --------------------------------------------------------------- */

/*
 * Zeroed pages of the agent's own: straight from the kernel, and not there in
 * a child of fork(2), which has no agent. Returns 0 or -ENOMEM.
 */
int ferry__agent_alloc(size_t bytes, void **ret_mem);
void ferry__agent_free(void *mem, size_t bytes);

/* A frame that grows as it is written. */
struct ferry__agent_buffer {
	char *mem;
	size_t len;
	size_t cap; /* bytes of the mapping */
	size_t max; /* of @len */
};

/* Room for @bytes more, zeroed, which count as written; NULL: -EMSGSIZE or
 * -ENOMEM, which is left to the caller to tell apart by .max. */
void *ferry__agent_extend(struct ferry__agent_buffer *b, size_t bytes);

/* --- a request, and what has been done of it (frame.c) --------------------- */

struct ferry__agent_job {
	struct ferry_agent_request req; /* as this library knows it */
	/* In the frame, which stays until the job is over. */
	const struct ferry_agent_range *ranges;
	const uint64_t *nodes;
	const char *text;
	bool root; /* who asks has user id 0 */

	/* For ferry__agent_host.step(): where it is. Zero at the start. */
	unsigned int phase;
	uint64_t next;	 /* range, or object */
	uint64_t offset; /* in it */
	uint64_t object; /* that .offset is in */
	void *own;	 /* of the host; freed with the job: own_bytes */
	size_t own_bytes;

	/* The reply: its fields but length, then items and text. */
	struct ferry_agent_reply reply;
	struct ferry__agent_buffer out;
};

/*
 * Reads the frame of @len bytes at @frame, 8-aligned, into @job; checks that
 * its parts add up and that nothing unknown is asked for. Returns 0 or what
 * the reply's error is to be: -EINVAL, -E2BIG, -EMSGSIZE, -EPROTONOSUPPORT.
 * .req has what could be read in any case.
 */
int ferry__agent_parse(const void *frame, size_t len, size_t ranges_max,
		       struct ferry__agent_job *job);

/* Makes the reply begin: at most @max bytes. Returns 0 or -ENOMEM. */
int ferry__agent_reply_begin(struct ferry__agent_job *job, size_t max);

/* Room for @n items of @size, zeroed; items of one job are of one size.
 * NULL: no room, see ferry__agent_extend(). */
void *ferry__agent_items(struct ferry__agent_job *job, size_t n, size_t size);

/* Text, after all items. False when there is no room for it. */
bool ferry__agent_print(struct ferry__agent_job *job, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Nothing was done: an error and nothing else. */
void ferry__agent_fail(struct ferry__agent_job *job, int error,
		       enum ferry_reason reason);

/* Completes the frame: .out.mem has .out.len bytes to be sent. */
void ferry__agent_reply_end(struct ferry__agent_job *job);

/* Frees the reply. */
void ferry__agent_reply_free(struct ferry__agent_job *job);

/* --- what the agent does: one per library ----------------------------------- */

/*
 * The server knows of connections and frames; what is asked for is done here,
 * in the agent's thread. Entries may be NULL but step().
 */
struct ferry__agent_host {
	const char *version;
	uint64_t ops; /* bit FERRY_AGENT_x: offered; HELLO always is */
	/* First thing in the thread. */
	void (*begin)(void);
	/*
	 * Some of the work of a job; true: there is more. A few milliseconds
	 * at a time, so that other connections have their turns. Never waits
	 * for the program.
	 */
	bool (*step)(struct ferry__agent_job *job);
	/* The last connection has gone: nobody asks just now. */
	void (*idle)(void);
	/* The thread ends. */
	void (*end)(void);
	/*
	 * Before the first start, once: registers fork handlers of what the
	 * work needs, which must come before the agent's. Returns 0 or -ENOMEM.
	 */
	int (*prepare)(void);
	/* Around fork(2); in the child the thread is not there. */
	void (*fork_prepare)(void);
	void (*fork_parent)(void);
	void (*fork_child)(void);
};

extern const struct ferry__agent_host ferry__agent_host;

/* --- the server (server.c) --------------------------------------------------- */

/* With all defaults in. */
struct ferry__agent_config {
	struct sockaddr_un name;
	uint64_t refuse;
	size_t request_max, reply_max, ranges_max;
	unsigned int connections_max;
	uint64_t patience_ns;
};

struct ferry__agent_server;

/*
 * Starts the thread, which listens when this returns.
 * Returns 0; -ENOMEM, -EAGAIN (no thread); errors of unshare(2),
 * ferry__listen_open(), signalfd(2).
 */
int ferry__agent_server_start(const struct ferry__agent_config *config,
			      struct ferry__agent_server **ret_server);

/* Ends the thread, when its step is over, and removes the socket. */
void ferry__agent_server_stop(struct ferry__agent_server *server);

/* --- start (agent.c) --------------------------------------------------------- */

/* Starts the agent where the environment asks for it; looks once. */
void ferry__agent_by_environment(void);

/* --- the folder (folder.c) ---------------------------------------------------- */

/*
 * The name at which this process listens. @dir as in ferry_agent_params.
 * Returns 0; -EACCES, -ENOENT, -ENOTDIR, -ENAMETOOLONG.
 */
int ferry__agent_name(const char *dir, struct sockaddr_un *ret_name);

#endif
