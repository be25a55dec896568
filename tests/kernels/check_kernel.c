/* SPDX-License-Identifier: MIT */
/* Is a guest of the kernel matrix the machine that its boot asked for? */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/nodes.h"
#include "uffd/uapi.h"

/* CPUs of each node, joined by "+"; boot.sh sets it, see the file matrix. */
#define NODES_VARIABLE "FERRY_NODES"

/* The nodes that the boot asked for; NULL, and the test skipped, elsewhere. */
static const char *asked_nodes(void)
{
	const char *text = getenv(NODES_VARIABLE);

	if (!text)
		harness_skip("kernel-matrix", "no guest of the matrix (no %s)",
			     NODES_VARIABLE);
	return text;
}

START_TEST(nodes_have_the_cpus_that_the_boot_asked_for)
{
	const char *text = asked_nodes();
	const char *c;
	char *end;
	int node = 0;

	if (!text)
		return;
	ck_assert_int_ge(numa_available(), 0);
	for (c = text; *c; c = *end ? end + 1 : end, node++)
		ck_assert_uint_eq(node_cpus(node), strtoul(c, &end, 10));
	ck_assert_int_eq(numa_num_configured_nodes(), node);
}
END_TEST

START_TEST(every_node_has_memory_of_its_own)
{
	const char *text = asked_nodes();
	int node, count;

	if (!text)
		return;
	count = numa_num_configured_nodes();
	ck_assert_int_ge(count, 2);
	for (node = 0; node < count; node++)
		ck_assert_msg(numa_node_size64(node, NULL) > 0,
			      "node %d of %s has no memory", node, text);
}
END_TEST

START_TEST(bound_page_lies_on_its_node)
{
	size_t len = page_size();
	const char *text = asked_nodes();
	int node, count;
	char *p;

	if (!text)
		return;
	count = numa_num_configured_nodes();
	for (node = 0; node < count; node++) {
		p = map_anon(len);
		numa_tonode_memory(p, len, node);
		memset(p, 1, len);
		ck_assert_uint_eq(pages_on(p, len, node), 1);
	}
}
END_TEST

/* A userfaultfd with @ret_features what the kernel offers. */
static int open_uffd(uint64_t *ret_features)
{
	struct ferry__uffdio_api api = { .api = FERRY__UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd,
			      FERRY__UFFD_USER_MODE_ONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ioctl(fd, FERRY__UFFDIO_API, &api), 0);
	*ret_features = api.features;
	return fd;
}

static void *map_registered(int fd, size_t len)
{
	void *p = map_anon(len);
	struct ferry__uffdio_register reg = {
		.range = { .start = (uintptr_t)p, .len = len },
		.mode = FERRY__REGISTER_MISSING,
	};

	ck_assert_int_eq(ioctl(fd, FERRY__UFFDIO_REGISTER, &reg), 0);
	return p;
}

START_TEST(move_does_what_its_feature_bit_says)
{
	size_t len = page_size();
	struct ferry__uffdio_move move = { .len = len };
	uint64_t features;
	int fd = open_uffd(&features);
	char *src = map_anon(len);
	char *dst = map_registered(fd, len);

	memset(src, 0x5a, len);
	move.src = (uintptr_t)src;
	move.dst = (uintptr_t)dst;
	errno = 0;
	if (features & FERRY__UFFD_FEATURE_MOVE) {
		ck_assert_int_eq(ioctl(fd, FERRY__UFFDIO_MOVE, &move), 0);
		ck_assert_int_eq(move.move, (int64_t)len);
		ck_assert_int_eq(dst[len - 1], 0x5a);
		ck_assert_int_eq(src[len - 1], 0);
	} else {
		ck_assert_int_eq(ioctl(fd, FERRY__UFFDIO_MOVE, &move), -1);
		ck_assert_int_eq(errno, EINVAL);
		ck_assert_int_eq(src[len - 1], 0x5a);
	}
	close(fd);
}
END_TEST

START_TEST(move_works_where_it_is_required)
{
	uint64_t features;

	close(open_uffd(&features));
	ck_assert_uint_ne(features & FERRY__UFFD_FEATURE_MOVE, 0);
}
END_TEST

static const struct test tests[] = {
	TEST(nodes_have_the_cpus_that_the_boot_asked_for, NULL),
	TEST(every_node_has_memory_of_its_own, NULL),
	TEST(bound_page_lies_on_its_node, NULL),
	TEST(move_does_what_its_feature_bit_says, "userfaultfd"),
	TEST(move_works_where_it_is_required, "move"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
