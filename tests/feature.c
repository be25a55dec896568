/* SPDX-License-Identifier: MIT */
/*
 * Which features of this kernel and machine a test can count on.
 *
 * Written against the kernel and not against the library, so that a library
 * which fails to see a feature fails its tests instead of skipping them.
 */
#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "uffd/uapi.h"

struct probe {
	const char *feature;
	/* 0 or a negative errno; @arg is that of the table. */
	int (*has)(uint64_t arg);
	uint64_t arg;
	const char *reason; /* what its lack means, or NULL for the errno */
};

static int negative(long r)
{
	return r < 0 ? -errno : (int)r;
}

/* Can this process open a userfaultfd with @flags? */
static int has_uffd(uint64_t flags)
{
	int fd = negative(syscall(SYS_userfaultfd, (int)flags | O_CLOEXEC));

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* Does userfaultfd offer the feature bits @bits? */
static int has_bits(uint64_t bits)
{
	struct ferry__uffdio_api api = { .api = FERRY__UFFD_API };
	int r, fd;

	fd = negative(syscall(SYS_userfaultfd,
			      FERRY__UFFD_USER_MODE_ONLY | O_CLOEXEC));
	if (fd < 0)
		return fd;
	r = negative(ioctl(fd, FERRY__UFFDIO_API, &api));
	close(fd);
	if (r < 0)
		return r;
	return (api.features & bits) == bits ? 0 : -EOPNOTSUPP;
}

static const struct probe probes[] = {
	{ "userfaultfd", has_uffd, FERRY__UFFD_USER_MODE_ONLY, NULL },
	{ "kernel_faults", has_uffd, 0, NULL },
	{ "move", has_bits, FERRY__UFFD_FEATURE_MOVE,
	  "this kernel has no UFFDIO_MOVE" },
	{ "wp", has_bits, FERRY__UFFD_FEATURE_WP,
	  "this kernel cannot write-protect through userfaultfd" },
	{ "wp_async", has_bits, FERRY__UFFD_FEATURE_WP_ASYNC,
	  "this kernel has no asynchronous write-protection" },
	{ "poison", has_bits, FERRY__UFFD_FEATURE_POISON,
	  "this kernel has no UFFDIO_POISON" },
	{ "sigbus", has_bits, FERRY__UFFD_FEATURE_SIGBUS,
	  "this kernel's userfaultfd cannot raise SIGBUS" },
	{ "minor_shmem", has_bits, FERRY__UFFD_FEATURE_MINOR_SHMEM,
	  "this kernel has no minor faults on shared memory" },
};

bool harness_feature(const char *feature, const char **ret_reason)
{
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (strcmp(probes[i].feature, feature))
			continue;
		r = probes[i].has(probes[i].arg);
		if (r < 0)
			*ret_reason = probes[i].reason ? probes[i].reason
						       : strerror(-r);
		return r >= 0;
	}
	*ret_reason = "no probe of this name in tests/feature.c";
	return false;
}
