/* SPDX-License-Identifier: MIT */
/*
 * The one edge between Ferry and the kernel: a table of system calls and the
 * clock.
 *
 * Every layer calls the kernel through ferry__sys, so that a test can put
 * another table in its place and inject any errno, short count, stale field
 * or delay without a kernel that would give it. Entries return a negative
 * errno on failure, so that nothing above this file reads errno.
 *
 * The table changes only in tests, before other threads run; the pointer is
 * therefore a plain one.
 */
#ifndef FERRY_UFFD_SYS_H
#define FERRY_UFFD_SYS_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct ferry__sys {
	/* Descriptors. */
	int (*open)(const char *path, int flags);
	int (*close)(int fd);
	ssize_t (*read)(int fd, void *buf, size_t len);
	ssize_t (*write)(int fd, const void *buf, size_t len);
	ssize_t (*pread)(int fd, void *buf, size_t len, off_t off);
	/* Makes the file, or one without a name (O_TMPFILE). */
	int (*create)(const char *path, int flags, mode_t mode);
	int (*unlink)(const char *path);
	int (*fcntl)(int fd, int cmd, long arg);
	ssize_t (*preadv)(int fd, const struct iovec *iov, int n, off_t off);
	ssize_t (*pwritev)(int fd, const struct iovec *iov, int n, off_t off);
	int (*fallocate)(int fd, int mode, off_t off, off_t len);
	int (*ftruncate)(int fd, off_t len);
	int (*fdatasync)(int fd);
	/* The next data or hole at or behind @off; -ENXIO: none. */
	off_t (*seek)(int fd, off_t off, int whence);
	int (*memfd_create)(const char *name, unsigned int flags);
	int (*getrlimit)(int resource, struct rlimit *ret);
	/* Bytes of where the link leads, without a NUL; cut to @size. */
	int (*readlink)(const char *path, char *buf, size_t size);
	/* STATX_ATTR_* of what @path leads to, and its inode's number. */
	int (*file_attributes)(const char *path, uint64_t *ret_attributes,
			       uint64_t *ret_inode);
	int (*fstat)(int fd, struct stat *ret);
	/* The magic number of the file system that @fd lies in. */
	int (*file_system)(int fd, uint64_t *ret_magic);
	/* The working folder; -ERANGE when @size is too small. */
	int (*getcwd)(char *buf, size_t size);
	/* Calls @fn with the name of each entry of @folder, dots left out. */
	int (*list)(const char *folder, void (*fn)(void *arg, const char *name),
		    void *arg);
	int (*poll)(struct pollfd *fds, nfds_t n, int timeout_ms);
	int (*eventfd)(unsigned int value, int flags);
	int (*signalfd)(const sigset_t *set);
	int (*fchmod)(int fd, mode_t mode);
	int (*mkdir)(const char *path, mode_t mode);
	/* Non-negative result on success: PAGEMAP_SCAN counts regions. */
	int (*ioctl)(int fd, unsigned long request, void *arg);
	int (*userfaultfd)(int flags);

	/* Sockets. Sending raises no SIGPIPE; neither call waits. */
	int (*socket)(int domain, int type, int protocol);
	int (*connect)(int fd, const struct sockaddr *addr, socklen_t len);
	int (*socket_error)(int fd); /* 0 or what became of connect() */
	int (*setsockopt)(int fd, int level, int name, int value);
	ssize_t (*send)(int fd, const void *buf, size_t len);
	ssize_t (*recv)(int fd, void *buf, size_t len);
	/* The same with descriptors; those received are close-on-exec. */
	ssize_t (*sendmsg)(int fd, const struct msghdr *msg);
	ssize_t (*recvmsg)(int fd, struct msghdr *msg);
	int (*getsockopt)(int fd, int level, int name, void *ret,
			  socklen_t *len);
	int (*bind)(int fd, const struct sockaddr *addr, socklen_t len);
	int (*listen)(int fd, int backlog);
	int (*accept)(int fd); /* the connection does not wait either */
	/* Who is at the other end of a Unix socket, as of its connection. */
	int (*peer)(int fd, struct ucred *ret_peer);
	ssize_t (*getrandom)(void *buf, size_t len);

	/* Memory. Addresses come back through ret_addr. */
	int (*mmap)(void *addr, size_t len, int prot, int flags, int fd,
		    off_t off, void **ret_addr);
	int (*munmap)(void *addr, size_t len);
	int (*mremap)(void *addr, size_t old_len, size_t new_len, int flags,
		      void *new_addr, void **ret_addr);
	int (*mprotect)(void *addr, size_t len, int prot);
	int (*madvise)(void *addr, size_t len, int advice);
	int (*pidfd_open)(int pid);
	/* A copy of descriptor @fd of the process behind @pidfd (5.6). */
	int (*pidfd_getfd)(int pidfd, int fd);
	/* The calling thread's descriptors: a table of its own; closing. */
	int (*unshare)(int flags);
	int (*close_range)(unsigned int first, unsigned int last);
	/* A copy of @fd, the lowest number free from @least on. */
	int (*dup_above)(int fd, int least);
	/* Any advice on many ranges of this process (6.13). */
	ssize_t (*process_madvise)(int pidfd, const struct iovec *iov, size_t n,
				   int advice);
	int (*mincore)(void *addr, size_t len, unsigned char *vec);
	int (*msync)(void *addr, size_t len, int flags);
	int (*membarrier)(int command, unsigned int flags);
	/*
	 * Sleeps while *@word is @value, at most @ns (may end early); wakes
	 * all who sleep on @word. Of this process only; signal-safe.
	 */
	int (*futex_wait)(uint32_t *word, uint32_t value, uint64_t ns);
	int (*futex_wake)(uint32_t *word);
	/* Bytes of address space that this process may have (RLIMIT_AS). */
	uint64_t (*address_limit)(void);
	/* Bytes of it that may be writable and private (RLIMIT_DATA). */
	uint64_t (*data_limit)(void);
	/* Names anonymous memory (5.17); @name NULL takes the name away. */
	int (*name_memory)(void *addr, size_t len, const char *name);
	/* Node that BIND and PREFERRED_MANY of a range begin with (5.17). */
	int (*set_home_node)(void *addr, size_t len, int node);
	/* Policy of a range; the mask @nodes has @bits bits. */
	int (*mbind)(void *addr, size_t len, int mode,
		     const unsigned long *nodes, unsigned long bits,
		     unsigned int flags);
	/*
	 * Migrates pages of process @pid (0: this one) to @nodes, or tells
	 * where they are when that is NULL: a node or a negative errno each.
	 * Returns 0, or how many stayed or were not come to: their entries
	 * of @ret_status, and some of others, are then not written.
	 */
	long (*move_pages)(int pid, size_t n, void **pages, const int *nodes,
			   int *ret_status, int flags);

	/* Threads and signals. */
	int (*sigaction)(int sig, const struct sigaction *act,
			 struct sigaction *old);
	/* Queues a signal to the calling thread, with any si_code. */
	int (*sigqueue_self)(int sig, siginfo_t *info);
	int (*sched_yield)(void);
	int (*gettid)(void);
	int (*getpid)(void);
	/*
	 * Calls @fn(@arg) in a child process that shares this memory, for a
	 * call that may be answered with death. The host does not notice: no
	 * SIGCHLD, no handlers, and no page is shared copy-on-write, which
	 * would make it immovable. Returns 0 when the child has ended in
	 * whatever way, or a negative errno.
	 */
	int (*try_in_child)(int (*fn)(void *), void *arg);
	/* The kernel's release, as uname -r prints it; cut to @size. */
	int (*release)(char *buf, size_t size);

	/* Clock: CLOCK_MONOTONIC in nanoseconds; sleeping may end early. */
	uint64_t (*now_ns)(void);
	/* Another clock, such as CLOCK_PROCESS_CPUTIME_ID; 0: no such clock. */
	uint64_t (*clock_ns)(int clock);
	void (*sleep_ns)(uint64_t ns);
};

/* The kernel itself. */
extern const struct ferry__sys ferry__sys_linux;

/* The table in force; starts as &ferry__sys_linux. */
extern const struct ferry__sys *ferry__sys;

/* Size of a base page in bytes, read once when the library is loaded. */
extern size_t ferry__page_size;

/* Size of a PMD-mapped huge page in bytes; 0 where there are none. */
size_t ferry__huge_size(void);

/*
 * Aborts with file and line: for a corrupted invariant of Ferry's own, never
 * for a mistake of the host. Signal-safe.
 */
_Noreturn void ferry__die(const char *file, int line, const char *what);

#define ferry__check(cond)                                                     \
	do {                                                                   \
		if (__builtin_expect(!(cond), 0))                              \
			ferry__die(__FILE__, __LINE__, #cond);                 \
	} while (0)

/* A check that is too dear for a release build (--enable-debug). */
#ifdef FERRY_DEBUG
#define ferry__debug_check(cond) ferry__check(cond)
#else
#define ferry__debug_check(cond)                                               \
	do {                                                                   \
		(void)sizeof(cond);                                            \
	} while (0)
#endif

/*
 * Checks an extensible parameter struct: @size is what the caller compiled
 * with, @known what this library knows. Bytes beyond @known must be zero.
 * Copies into @dst (of @known bytes, zero-filled first).
 * Returns 0, -EINVAL (@size smaller than @min), -E2BIG (unknown fields set).
 */
int ferry__params_copy(void *dst, size_t known, const void *src, size_t min);

#endif
