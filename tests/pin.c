/* SPDX-License-Identifier: MIT */
#include "tests/pin.h"

#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/harness.h"

int pin_pages(void *addr, size_t len)
{
	struct iovec buffer = { addr, len };
	struct io_uring_params params = { 0 };
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params);

	ck_assert_int_ge(ring, 0);
	ck_assert_int_eq(syscall(SYS_io_uring_register, ring,
				 IORING_REGISTER_BUFFERS, &buffer, 1),
			 0);
	return ring;
}

void unpin_pages(int ring)
{
	ck_assert_int_eq(syscall(SYS_io_uring_register, ring,
				 IORING_UNREGISTER_BUFFERS, NULL, 0),
			 0);
	close(ring);
}
