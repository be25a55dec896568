/* SPDX-License-Identifier: MIT */
/* The kernel behind ferryctl's table: errno made negative, once, here. */
#include "tools/ferryctl/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <ferry/agent.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static long edge(long r)
{
	return r < 0 ? -errno : r;
}

static int linux_pidfd_open(pid_t pid)
{
	return (int)edge(syscall(SYS_pidfd_open, pid, 0));
}

/* A pidfd is readable once the process has ended (pidfd_open(2)). */
static int linux_alive(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int r;

	do
		r = (int)edge(poll(&p, 1, 0));
	while (r == -EINTR);
	return r < 0 ? r : r == 0;
}

static int linux_open(int folder, const char *name, int flags)
{
	return (int)edge(openat(folder, name, flags | O_RDONLY | O_CLOEXEC));
}

static void linux_close(int fd)
{
	close(fd);
}

static ssize_t linux_read(int fd, void *buf, size_t len)
{
	ssize_t r;

	do
		r = edge(read(fd, buf, len));
	while (r == -EINTR);
	return r;
}

static ssize_t linux_pread(int fd, void *buf, size_t len, off_t off)
{
	return edge(pread(fd, buf, len, off));
}

static int linux_scan(int pagemap, struct ferry__pm_scan_arg *arg)
{
	return (int)edge(ioctl(pagemap, FERRY__PAGEMAP_SCAN, arg));
}

static long linux_move_pages(pid_t pid, size_t n, void **pages,
			     const int *nodes, int *ret_status, int flags)
{
	return edge(syscall(SYS_move_pages, pid, n, pages, nodes, ret_status,
			    flags));
}

static long linux_migrate_pages(pid_t pid, unsigned long bits,
				const unsigned long *from,
				const unsigned long *to)
{
	/* The kernel takes one off what it calls maxnode. */
	return edge(syscall(SYS_migrate_pages, pid, bits + 1, from, to));
}

static ssize_t linux_process_madvise(int pidfd, const struct iovec *iov,
				     size_t n, int advice)
{
	return edge(syscall(SYS_process_madvise, pidfd, iov, n, advice, 0));
}

static bool linux_agent_is_there(pid_t pid)
{
	char path[256];

	return ferry_agent_path(pid, path, sizeof(path)) == 0;
}

const struct ctl_kernel ctl_kernel_linux = {
	.pidfd_open = linux_pidfd_open,
	.alive = linux_alive,
	.open = linux_open,
	.close = linux_close,
	.read = linux_read,
	.pread = linux_pread,
	.scan = linux_scan,
	.move_pages = linux_move_pages,
	.migrate_pages = linux_migrate_pages,
	.process_madvise = linux_process_madvise,
	.agent_connect = ferry_agent_connect,
	.agent_is_there = linux_agent_is_there,
};

const struct ctl_kernel *ctl_kernel = &ctl_kernel_linux;
