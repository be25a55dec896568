/* SPDX-License-Identifier: MIT */
/*
 * Programs that may have little memory: the malloc works as far as it goes,
 * and says that there is none after that.
 */
#include "tests/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* This program, with this in its environment, is the one that has little. */
#define VICTIM "FERRY_TEST_VICTIM"

/* --- the program that has little ----------------------------------------------------- */

enum {
	REFUSED = 0,
	GIVEN_UP, /* by libnuma, when it is loaded */
	NEVER_REFUSED = 3,
	WRONG_CONTENTS,
	WRONG_ERRNO,
	NOTHING_AT_ALL,
	NOT_USED_AGAIN,
};

struct block {
	struct block *next;
	size_t size;
};

/* Not to be known to the compiler, which thinks that it leaves errno alone. */
static void *(*volatile allocate)(size_t size) = malloc;

static struct block *take(size_t size)
{
	struct block *b = allocate(size);

	if (b) {
		memset(b, (int)(size % 251), size);
		b->size = size;
	}
	return b;
}

static bool is_right(const struct block *b)
{
	const unsigned char *p = (const unsigned char *)b;
	size_t i;

	for (i = sizeof(*b); i < b->size; i++)
		if (p[i] != b->size % 251)
			return false;
	return true;
}

/* All that there is, in blocks of all sizes; more than the limit is not. */
static int fill(struct block **ret_all)
{
	size_t size = 16, sum = 0, refused = 0;
	struct block *b;

	while (sum < 128 * MIB && refused < 8) {
		errno = 0;
		b = take(size);
		if (!b && errno != ENOMEM)
			return WRONG_ERRNO;
		if (b) {
			b->next = *ret_all;
			*ret_all = b;
			sum += size;
		}
		refused += !b;
		size = b && size < 4 * MIB ? size * 5 / 2 : 16;
	}
	if (!*ret_all)
		return NOTHING_AT_ALL;
	return refused ? REFUSED : NEVER_REFUSED;
}

static int victim(void)
{
	struct block *all = NULL, *b;
	int r = fill(&all);

	while (all) {
		b = all;
		all = b->next;
		if (!is_right(b))
			return WRONG_CONTENTS;
		free(b);
	}
	if (r)
		return r;
	b = take(64 * KIB);
	if (!b || !is_right(b))
		return NOT_USED_AGAIN;
	free(b);
	return REFUSED;
}

/* --- who looks on ---------------------------------------------------------------------- */

/* Not even the loader had what it needs. */
#define NOT_LOADED 127

static int run(__rlimit_resource_t resource, size_t bytes)
{
	struct rlimit limit = { bytes, bytes }, none = { 0, 0 };
	char *argv[] = { (char *)"victim", NULL };
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid) {
		setenv(VICTIM, "1", 1);
		close(STDERR_FILENO);
		setrlimit(RLIMIT_CORE, &none);
		setrlimit(resource, &limit);
		execv("/proc/self/exe", argv);
		_exit(NOT_LOADED);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

/* What may be said of the smallest limits alone. */
static bool could_not_begin(int status)
{
	switch (WEXITSTATUS(status)) {
	case NOT_LOADED:
	case GIVEN_UP:
	case NOTHING_AT_ALL:
		return true;
	}
	return false;
}

/* The small ones all, where something may be missing at each turn. */
static size_t step_from(size_t bytes)
{
	size_t runs = harness_scaled(64);

	return bytes < 12 * MIB || runs > 64 ? MIB : 64 / runs * MIB;
}

/* Whatever the limit, from the first on with which there is memory at all. */
static void try_limits(__rlimit_resource_t resource)
{
	bool ran = false;
	size_t bytes;
	int status;

#ifdef FERRY_SANITIZE
	harness_skip("limits", "a sanitizer has mappings of its own");
#endif
	for (bytes = 3 * MIB; bytes <= 64 * MIB; bytes += step_from(bytes)) {
		status = run(resource, bytes);
		/* The kernel could not even begin with it. */
		if (!ran && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			continue;
		ck_assert_msg(WIFEXITED(status),
			      "a limit of %zu bytes: signal %d", bytes,
			      WTERMSIG(status));
		if (!ran && could_not_begin(status))
			continue;
		ck_assert_msg(!WEXITSTATUS(status),
			      "a limit of %zu bytes: exit status %d", bytes,
			      WEXITSTATUS(status));
		ran = true;
	}
	ck_assert(ran);
}

START_TEST(whatever_the_limit_on_addresses_no_program_crashes)
{
	try_limits(RLIMIT_AS);
}
END_TEST

START_TEST(whatever_the_limit_on_data_no_program_crashes)
{
	try_limits(RLIMIT_DATA);
}
END_TEST

static const struct test tests[] = {
	TEST(whatever_the_limit_on_addresses_no_program_crashes, "malloc"),
	TEST(whatever_the_limit_on_data_no_program_crashes, "malloc"),
};

int main(int argc, char **argv)
{
	if (getenv(VICTIM))
		return victim();
	return HARNESS_MAIN(argc, argv, tests);
}
