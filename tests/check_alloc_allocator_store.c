/* SPDX-License-Identifier: MIT */
/*
 * Allocator instances whose cold pages go to files, servers and nodes: those
 * have descriptors, which are in no table of the program's.
 */
#include "tests/harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ferry/alloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/server.h"

#define MIB	((size_t)1 << 20)
#define EAGER	"min_heap:0,rate:0,refault_limit:0,cold_after:1h,idle_after:1h"
#define OFFLOAD "malloc,move,kernel_faults"

#define BLOCKS 500
#define LEN    8000

static struct ferry_allocator *a;
static unsigned char *block[BLOCKS];

static int try(const char *store, struct ferry_allocator **ret)
{
	struct ferry_allocator_params p =
		FERRY_INIT(struct ferry_allocator_params);
	char conf[256];

	snprintf(conf, sizeof(conf), EAGER ",store:%s", store);
	p.conf = conf;
	return ferry_allocator_create(&p, ret);
}

static struct ferry_allocator_stats stats(void)
{
	struct ferry_allocator_stats s =
		FERRY_INIT(struct ferry_allocator_stats);

	ck_assert_int_eq(ferry_allocator_stats(a, &s), 0);
	return s;
}

static unsigned char byte_of(size_t i, size_t k)
{
	return (unsigned char)(i * 31 + k * k / 5);
}

static void fill(void)
{
	size_t i, k;

	for (i = 0; i < BLOCKS; i++) {
		block[i] = ferry_allocator_malloc(a, LEN);
		ck_assert_ptr_nonnull(block[i]);
		for (k = 0; k < LEN; k++)
			block[i][k] = byte_of(i, k);
	}
}

static size_t wrong(void)
{
	size_t i, k, n = 0;

	for (i = 0; i < BLOCKS; i++)
		for (k = 0; k < LEN; k++)
			n += block[i][k] != byte_of(i, k);
	return n;
}

/* Until most of it is out. */
static void make_cold(void)
{
	while (stats().stored < BLOCKS * LEN / 2)
		ck_assert_int_eq(ferry_allocator_trim(a), 0);
}

static size_t blocks_of(const char *folder)
{
	struct stat st;

	ck_assert_int_eq(stat(folder, &st), 0);
	return (size_t)st.st_nlink;
}

static void join(pid_t pid)
{
	int status;

	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

/* A child reads what is out, keeps it, and takes its own out. */
static void check_child(void)
{
	size_t bad;
	pid_t pid = fork();

	if (!pid) {
		bad = wrong();
		make_cold();
		bad += wrong();
		ferry_allocator_destroy(a);
		_exit(bad != 0);
	}
	join(pid);
}

/* Out and back, beside a program that closes all its descriptors. */
static void check_store(const char *store)
{
	size_t before = harness_descriptors();
	int round;

	ck_assert_int_eq(try(store, &a), 0);
	fill();
	for (round = 0; round < 2; round++) {
		make_cold();
		ck_assert_uint_eq(harness_descriptors(), before);
		ck_assert_uint_eq(wrong(), 0);
		make_cold();
		check_child();
		ck_assert_uint_eq(wrong(), 0);
	}
	ck_assert_int_eq(stats().store_error, 0);
	make_cold();
	ferry_allocator_destroy(a);
	ck_assert_uint_eq(harness_descriptors(), before);
}

static void setup(void)
{
	server_folder();
}

static void setup_server(void)
{
	server_folder();
	server_start((const char *const[]){ NULL });
}

START_TEST(cold_blocks_are_in_a_file)
{
	char store[128];

	snprintf(store, sizeof(store), "file=%s", server_dir);
	check_store(store);
	ck_assert_uint_eq(blocks_of(server_dir), 2);
}
END_TEST

START_TEST(a_file_takes_no_memory)
{
	char store[128];

	snprintf(store, sizeof(store), "file=%s/name", server_dir);
	ck_assert_int_eq(try(store, &a), 0);
	fill();
	make_cold();
	ck_assert_uint_ge(stats().store_elsewhere, stats().stored);
	ck_assert_uint_lt(stats().store_memory, stats().stored / 8);
	ck_assert_int_eq(ferry_allocator_restore(a), 0);
	ck_assert_uint_eq(stats().stored, 0);
	ferry_allocator_resume(a);
	make_cold();
	ck_assert_uint_eq(wrong(), 0);
	ferry_allocator_destroy(a);
}
END_TEST

START_TEST(cold_blocks_are_in_a_server)
{
	char store[128];

	snprintf(store, sizeof(store), "redis=%s", server_path);
	check_store(store);
}
END_TEST

START_TEST(cold_blocks_are_in_a_node)
{
	check_store("node=0");
}
END_TEST

START_TEST(what_the_first_refuses_is_in_the_next)
{
	char store[128];

	snprintf(store, sizeof(store), "lz4,store:file=%s,store_limit:64k",
		 server_dir);
	ck_assert_int_eq(try(store, &a), 0);
	fill();
	while (stats().store_elsewhere < 64 << 10)
		ck_assert_int_eq(ferry_allocator_trim(a), 0);
	ck_assert_uint_eq(wrong(), 0);
	ferry_allocator_destroy(a);
}
END_TEST

START_TEST(a_store_that_cannot_be_is_told_by_name)
{
	struct ferry_allocator *none = NULL;
	char store[128];
	int fd;

	snprintf(store, sizeof(store), "file=%s/taken", server_dir);
	fd = open(store + 5, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(try(store, &none), -EEXIST);
	ck_assert_int_eq(unlink(store + 5), 0);
	ck_assert_int_eq(try("file=/nowhere/at/all", &none), -ENOENT);
	ck_assert_int_eq(try("file=/dev/null", &none), -EEXIST);
	ck_assert_int_eq(try("file=here", &none), -EINVAL);
	ck_assert_int_eq(try("node=1000", &none), -EINVAL);
	ck_assert_ptr_null(none);
	/* Where nothing is taken out no store is asked for. */
	ck_assert_int_eq(try("file=/nowhere/at/all,offload:off", &none), 0);
	ferry_allocator_destroy(none);
}
END_TEST

START_TEST(a_dead_server_is_told_by_name)
{
	struct ferry_allocator *none = NULL;
	char store[128];

	snprintf(store, sizeof(store), "redis=%s", server_path);
	ck_assert_int_eq(try(store, &none), -ENOENT);
	server_start((const char *const[]){ "--maxmemory", "100mb",
					    "--maxmemory-policy", "allkeys-lru",
					    NULL });
	ck_assert_int_eq(try(store, &none), -EPERM);
	server_kill();
	ck_assert_int_eq(try(store, &none), -ECONNREFUSED);
	ck_assert_ptr_null(none);
}
END_TEST

/* It was there at the creation, and is not when the threads start. */
START_TEST(a_store_that_went_is_told_by_the_statistics)
{
	char store[160];

	snprintf(store, sizeof(store), "redis=%s,min_heap:1g", server_path);
	ck_assert_int_eq(try(store, &a), 0);
	server_kill();
	fill();
	ck_assert_int_eq(stats().store_error, 0);
	make_cold();
	ck_assert_int_eq(stats().store_error, -ECONNREFUSED);
	ck_assert_uint_eq(wrong(), 0);
	ferry_allocator_destroy(a);
}
END_TEST

static const struct test tests[] = {
	TEST_FIXTURE(cold_blocks_are_in_a_file, OFFLOAD, setup, server_end),
	TEST_FIXTURE(a_file_takes_no_memory, OFFLOAD, setup, server_end),
	TEST_FIXTURE(cold_blocks_are_in_a_server, OFFLOAD ",redis_server",
		     setup_server, server_end),
	TEST(cold_blocks_are_in_a_node, OFFLOAD),
	TEST_FIXTURE(what_the_first_refuses_is_in_the_next, OFFLOAD, setup,
		     server_end),
	TEST_FIXTURE(a_store_that_cannot_be_is_told_by_name, "malloc", setup,
		     server_end),
	TEST_FIXTURE(a_dead_server_is_told_by_name, "malloc,redis_server",
		     setup, server_end),
	TEST_FIXTURE(a_store_that_went_is_told_by_the_statistics,
		     OFFLOAD ",redis_server", setup_server, server_end),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
