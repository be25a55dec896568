/* SPDX-License-Identifier: MIT */
/*
 * The kernel behind the system-call table: errno turned into a negative
 * return value, once, here.
 */
#include "uffd/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "uffd/uapi.h"

size_t ferry__page_size;

static int edge(long r)
{
	return r < 0 ? -errno : (int)r;
}

static ssize_t edge_size(ssize_t r)
{
	return r < 0 ? -errno : r;
}

static int linux_open(const char *path, int flags)
{
	return edge(open(path, flags | O_CLOEXEC));
}

static int linux_close(int fd)
{
	return edge(close(fd));
}

static ssize_t linux_read(int fd, void *buf, size_t len)
{
	return edge_size(read(fd, buf, len));
}

static ssize_t linux_write(int fd, const void *buf, size_t len)
{
	return edge_size(write(fd, buf, len));
}

static ssize_t linux_pread(int fd, void *buf, size_t len, off_t off)
{
	return edge_size(pread(fd, buf, len, off));
}

static int linux_create(const char *path, int flags, mode_t mode)
{
	return edge(open(path, flags | O_CLOEXEC, mode));
}

static int linux_unlink(const char *path)
{
	return edge(unlink(path));
}

static int linux_fcntl(int fd, int cmd, long arg)
{
	return edge(fcntl(fd, cmd, arg));
}

static ssize_t linux_preadv(int fd, const struct iovec *iov, int n, off_t off)
{
	return edge_size(preadv(fd, iov, n, off));
}

static ssize_t linux_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	return edge_size(pwritev(fd, iov, n, off));
}

static int linux_fallocate(int fd, int mode, off_t off, off_t len)
{
	return edge(fallocate(fd, mode, off, len));
}

static int linux_ftruncate(int fd, off_t len)
{
	return edge(ftruncate(fd, len));
}

static int linux_fdatasync(int fd)
{
	return edge(fdatasync(fd));
}

static off_t linux_seek(int fd, off_t off, int whence)
{
	off_t r = lseek(fd, off, whence);

	return r < 0 ? -errno : r;
}

static int linux_memfd_create(const char *name, unsigned int flags)
{
	return edge(memfd_create(name, flags));
}

static int linux_getrlimit(int resource, struct rlimit *ret)
{
	return edge(getrlimit(resource, ret));
}

static int linux_readlink(const char *path, char *buf, size_t size)
{
	return edge(readlink(path, buf, size));
}

static int linux_file_attributes(const char *path, uint64_t *ret_attributes,
				 uint64_t *ret_inode)
{
	struct statx st;

	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
		  STATX_INO, &st))
		return -errno;
	*ret_attributes = st.stx_attributes;
	*ret_inode = st.stx_ino;
	return 0;
}

static int linux_fstat(int fd, struct stat *ret)
{
	return edge(fstat(fd, ret));
}

static int linux_file_system(int fd, uint64_t *ret_magic)
{
	struct statfs fs;
	int r = edge(fstatfs(fd, &fs));

	if (!r)
		*ret_magic = (uint64_t)fs.f_type;
	return r;
}

static int linux_getcwd(char *buf, size_t size)
{
	return getcwd(buf, size) ? 0 : -errno;
}

/* As getdents64(2) lays it out. */
struct entry {
	uint64_t ino;
	int64_t off;
	uint16_t size;
	uint8_t type;
	char name[];
};

static void list_some(const char *buf, long len,
		      void (*fn)(void *arg, const char *name), void *arg)
{
	const struct entry *entry;
	long at;

	for (at = 0; at < len; at += entry->size) {
		entry = (const struct entry *)(buf + at);
		if (strcmp(entry->name, ".") && strcmp(entry->name, ".."))
			fn(arg, entry->name);
	}
}

/* Without opendir(3), which allocates. */
static int linux_list(const char *folder,
		      void (*fn)(void *arg, const char *name), void *arg)
{
	_Alignas(uint64_t) char buf[2048];
	int fd = linux_open(folder, O_RDONLY | O_DIRECTORY);
	long r;

	if (fd < 0)
		return fd;
	while ((r = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		list_some(buf, r, fn, arg);
	r = edge(r);
	close(fd);
	return (int)r;
}

static int linux_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	return edge(poll(fds, n, timeout_ms));
}

static int linux_eventfd(unsigned int value, int flags)
{
	return edge(eventfd(value, flags));
}

/*
 * The one call whose cost shows (a move takes a microsecond): the kernel's own
 * convention is a negative errno already, and each return that is saved after
 * a system call is one that the processor cannot predict.
 */
#if defined(__x86_64__)
static int linux_ioctl(int fd, unsigned long request, void *arg)
{
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "0"((long)SYS_ioctl), "D"((long)fd), "S"(request),
			   "d"(arg)
			 : "rcx", "r11", "memory");
	return (int)r;
}
#else
static int linux_ioctl(int fd, unsigned long request, void *arg)
{
	return edge(ioctl(fd, request, arg));
}
#endif

static int linux_socket(int domain, int type, int protocol)
{
	return edge(socket(domain, type | SOCK_CLOEXEC, protocol));
}

static int linux_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	return edge(connect(fd, addr, len));
}

static int linux_socket_error(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);
	int r = edge(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));

	return r < 0 ? r : -error;
}

static int linux_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	return edge(bind(fd, addr, len));
}

static int linux_listen(int fd, int backlog)
{
	return edge(listen(fd, backlog));
}

static int linux_accept(int fd)
{
	return edge(accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

static int linux_peer(int fd, struct ucred *ret_peer)
{
	socklen_t len = sizeof(*ret_peer);

	return edge(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &len));
}

static int linux_signalfd(const sigset_t *set)
{
	return edge(signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK));
}

static int linux_fchmod(int fd, mode_t mode)
{
	return edge(fchmod(fd, mode));
}

static int linux_mkdir(const char *path, mode_t mode)
{
	return edge(mkdir(path, mode));
}

static int linux_setsockopt(int fd, int level, int name, int value)
{
	return edge(setsockopt(fd, level, name, &value, sizeof(value)));
}

static ssize_t linux_send(int fd, const void *buf, size_t len)
{
	return edge_size(send(fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT));
}

static ssize_t linux_recv(int fd, void *buf, size_t len)
{
	return edge_size(recv(fd, buf, len, MSG_DONTWAIT));
}

static ssize_t linux_sendmsg(int fd, const struct msghdr *msg)
{
	return edge_size(sendmsg(fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT));
}

static ssize_t linux_recvmsg(int fd, struct msghdr *msg)
{
	return edge_size(recvmsg(fd, msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
}

static int linux_getsockopt(int fd, int level, int name, void *ret,
			    socklen_t *len)
{
	return edge(getsockopt(fd, level, name, ret, len));
}

static ssize_t linux_getrandom(void *buf, size_t len)
{
	return edge_size(getrandom(buf, len, 0));
}

static int linux_userfaultfd(int flags)
{
	return edge(syscall(SYS_userfaultfd, flags));
}

static int edge_addr(void *r, void **ret_addr)
{
	if (r == MAP_FAILED)
		return -errno;
	*ret_addr = r;
	return 0;
}

static int linux_mmap(void *addr, size_t len, int prot, int flags, int fd,
		      off_t off, void **ret_addr)
{
	return edge_addr(mmap(addr, len, prot, flags, fd, off), ret_addr);
}

static int linux_munmap(void *addr, size_t len)
{
	return edge(munmap(addr, len));
}

static int linux_mremap(void *addr, size_t old_len, size_t new_len, int flags,
			void *new_addr, void **ret_addr)
{
	return edge_addr(mremap(addr, old_len, new_len, flags, new_addr),
			 ret_addr);
}

static int linux_mprotect(void *addr, size_t len, int prot)
{
	return edge(mprotect(addr, len, prot));
}

/* Not the C library's function: the malloc has one of that name. */
static int linux_madvise(void *addr, size_t len, int advice)
{
	return edge(syscall(SYS_madvise, addr, len, advice));
}

static int linux_pidfd_open(int pid)
{
	return edge(syscall(SYS_pidfd_open, pid, 0));
}

static int linux_pidfd_getfd(int pidfd, int fd)
{
	return edge(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

static int linux_unshare(int flags)
{
	return edge(unshare(flags));
}

static int linux_close_range(unsigned int first, unsigned int last)
{
	return edge(syscall(SYS_close_range, first, last, 0));
}

static int linux_dup_above(int fd, int least)
{
	return edge(fcntl(fd, F_DUPFD_CLOEXEC, least));
}

static ssize_t linux_process_madvise(int pidfd, const struct iovec *iov,
				     size_t n, int advice)
{
	return edge_size(
		syscall(SYS_process_madvise, pidfd, iov, n, advice, 0));
}

static int linux_mincore(void *addr, size_t len, unsigned char *vec)
{
	return edge(mincore(addr, len, vec));
}

static int linux_msync(void *addr, size_t len, int flags)
{
	return edge(msync(addr, len, flags));
}

static int linux_futex_wait(uint32_t *word, uint32_t value, uint64_t ns)
{
	struct timespec timeout = {
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u),
	};

	return edge(syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value,
			    &timeout, NULL, 0));
}

static int linux_futex_wake(uint32_t *word)
{
	return edge(syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL,
			    NULL, 0));
}

static int linux_membarrier(int command, unsigned int flags)
{
	return edge(syscall(SYS_membarrier, command, flags, 0));
}

static uint64_t limit_of(__rlimit_resource_t resource)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur;
}

static uint64_t linux_address_limit(void)
{
	return limit_of(RLIMIT_AS);
}

static uint64_t linux_data_limit(void)
{
	return limit_of(RLIMIT_DATA);
}

static int linux_name_memory(void *addr, size_t len, const char *name)
{
	return edge(prctl(FERRY__PR_SET_VMA, FERRY__PR_SET_VMA_ANON_NAME, addr,
			  len, name));
}

static int linux_set_home_node(void *addr, size_t len, int node)
{
	return edge(syscall(FERRY__SYS_SET_HOME_NODE, addr, len, node, 0));
}

static int linux_mbind(void *addr, size_t len, int mode,
		       const unsigned long *nodes, unsigned long bits,
		       unsigned int flags)
{
	/* The kernel takes one off what it calls maxnode. */
	return edge(
		syscall(SYS_mbind, addr, len, mode, nodes, bits + 1, flags));
}

static long linux_move_pages(int pid, size_t n, void **pages, const int *nodes,
			     int *ret_status, int flags)
{
	return edge_size(syscall(SYS_move_pages, pid, n, pages, nodes,
				 ret_status, flags));
}

static int linux_sigaction(int sig, const struct sigaction *act,
			   struct sigaction *old)
{
	return edge(sigaction(sig, act, old));
}

static int linux_sigqueue_self(int sig, siginfo_t *info)
{
	return edge(syscall(SYS_rt_tgsigqueueinfo, getpid(),
			    syscall(SYS_gettid), sig, info));
}

static int linux_sched_yield(void)
{
	return edge(sched_yield());
}

static int linux_gettid(void)
{
	return (int)syscall(SYS_gettid);
}

static int linux_getpid(void)
{
	return (int)getpid();
}

#define CHILD_STACK ((size_t)64 << 10)

/* Waits for a child without exit signal, hence __WALL. */
static int wait_for_child(pid_t pid)
{
	int r;

	do
		r = edge(waitpid(pid, NULL, __WALL));
	while (r == -EINTR);
	return r < 0 ? r : 0;
}

/*
 * As vfork(2), on a stack of its own. All signals are blocked, so that no
 * handler of the host's runs in the child; one that the kernel forces on it
 * (SIGSYS) kills it then.
 */
static int linux_try_in_child(int (*fn)(void *), void *arg)
{
	sigset_t all, old;
	void *stack = NULL;
	int r;

	r = linux_mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &stack);
	if (r)
		return r;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = edge(clone(fn, (char *)stack + CHILD_STACK, CLONE_VM | CLONE_VFORK,
		       arg));
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r > 0)
		r = wait_for_child(r);
	munmap(stack, CHILD_STACK);
	return r;
}

static int linux_release(char *buf, size_t size)
{
	struct utsname name;
	int r = edge(uname(&name));

	if (!r)
		snprintf(buf, size, "%s", name.release);
	return r;
}

static uint64_t linux_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t linux_clock_ns(int clock)
{
	struct timespec ts = { 0 };

	if (clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void linux_sleep_ns(uint64_t ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u),
	};

	nanosleep(&ts, NULL);
}

const struct ferry__sys ferry__sys_linux = {
	.open = linux_open,
	.close = linux_close,
	.read = linux_read,
	.write = linux_write,
	.pread = linux_pread,
	.create = linux_create,
	.unlink = linux_unlink,
	.fcntl = linux_fcntl,
	.preadv = linux_preadv,
	.pwritev = linux_pwritev,
	.fallocate = linux_fallocate,
	.ftruncate = linux_ftruncate,
	.fdatasync = linux_fdatasync,
	.seek = linux_seek,
	.memfd_create = linux_memfd_create,
	.getrlimit = linux_getrlimit,
	.readlink = linux_readlink,
	.file_attributes = linux_file_attributes,
	.fstat = linux_fstat,
	.file_system = linux_file_system,
	.getcwd = linux_getcwd,
	.list = linux_list,
	.poll = linux_poll,
	.eventfd = linux_eventfd,
	.signalfd = linux_signalfd,
	.fchmod = linux_fchmod,
	.mkdir = linux_mkdir,
	.ioctl = linux_ioctl,
	.userfaultfd = linux_userfaultfd,
	.socket = linux_socket,
	.connect = linux_connect,
	.socket_error = linux_socket_error,
	.setsockopt = linux_setsockopt,
	.bind = linux_bind,
	.listen = linux_listen,
	.accept = linux_accept,
	.peer = linux_peer,
	.send = linux_send,
	.recv = linux_recv,
	.sendmsg = linux_sendmsg,
	.recvmsg = linux_recvmsg,
	.getsockopt = linux_getsockopt,
	.getrandom = linux_getrandom,
	.mmap = linux_mmap,
	.munmap = linux_munmap,
	.mremap = linux_mremap,
	.mprotect = linux_mprotect,
	.madvise = linux_madvise,
	.pidfd_open = linux_pidfd_open,
	.pidfd_getfd = linux_pidfd_getfd,
	.unshare = linux_unshare,
	.close_range = linux_close_range,
	.dup_above = linux_dup_above,
	.process_madvise = linux_process_madvise,
	.mincore = linux_mincore,
	.msync = linux_msync,
	.membarrier = linux_membarrier,
	.futex_wait = linux_futex_wait,
	.futex_wake = linux_futex_wake,
	.address_limit = linux_address_limit,
	.data_limit = linux_data_limit,
	.name_memory = linux_name_memory,
	.set_home_node = linux_set_home_node,
	.mbind = linux_mbind,
	.move_pages = linux_move_pages,
	.sigaction = linux_sigaction,
	.sigqueue_self = linux_sigqueue_self,
	.sched_yield = linux_sched_yield,
	.gettid = linux_gettid,
	.getpid = linux_getpid,
	.try_in_child = linux_try_in_child,
	.release = linux_release,
	.now_ns = linux_now_ns,
	.clock_ns = linux_clock_ns,
	.sleep_ns = linux_sleep_ns,
};

const struct ferry__sys *ferry__sys = &ferry__sys_linux;

/* Before main, so that handlers and inline paths read a plain variable. */
__attribute__((constructor)) static void read_page_size(void)
{
	ferry__page_size = (size_t)sysconf(_SC_PAGESIZE);
}

static size_t read_huge_size(void)
{
	char buf[32];
	ssize_t n;
	int fd;

	fd = ferry__sys->open(
		"/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", O_RDONLY);
	if (fd < 0)
		return 0;
	n = ferry__sys->read(fd, buf, sizeof(buf) - 1);
	ferry__sys->close(fd);
	if (n <= 0)
		return 0;
	buf[n] = '\0';
	return strtoull(buf, NULL, 10);
}

size_t ferry__huge_size(void)
{
	/*
	 * S1: relaxed suffices: every racing reader computes the same value,
	 * and the word carries no other data. SIZE_MAX stands for "not read".
	 */
	static size_t cached = SIZE_MAX;
	size_t size = __atomic_load_n(&cached, __ATOMIC_RELAXED);

	if (size != SIZE_MAX)
		return size;
	size = read_huge_size();
	__atomic_store_n(&cached, size, __ATOMIC_RELAXED);
	return size;
}

_Noreturn void ferry__die(const char *file, int line, const char *what)
{
	char buf[256];
	int n;

	n = snprintf(buf, sizeof(buf), "ferry: %s:%d: invariant broken: %s\n",
		     file, line, what);
	if (n > 0 && write(STDERR_FILENO, buf, (size_t)n) < 0)
		abort();
	abort();
}

int ferry__params_copy(void *dst, size_t known, const void *src, size_t min)
{
	const unsigned char *tail;
	size_t size, i;

	memcpy(&size, src, sizeof(size));
	if (size < min)
		return -EINVAL;
	tail = (const unsigned char *)src;
	for (i = known; i < size; i++)
		if (tail[i])
			return -E2BIG;
	memset(dst, 0, known);
	memcpy(dst, src, size < known ? size : known);
	return 0;
}
