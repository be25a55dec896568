/* SPDX-License-Identifier: MIT */
/*
 * A process_vm_readv() that changes one byte of what it read, to be preloaded:
 * a benchmark that verifies has to notice.
 */
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#pragma GCC visibility push(default)

ssize_t process_vm_readv(pid_t pid, const struct iovec *local,
			 unsigned long nlocal, const struct iovec *remote,
			 unsigned long nremote, unsigned long flags)
{
	ssize_t n = syscall(SYS_process_vm_readv, pid, local, nlocal, remote,
			    nremote, flags);

	if (n > 0)
		((char *)local[0].iov_base)[n / 2 + 5] ^= 1;
	return n;
}
