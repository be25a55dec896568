/* SPDX-License-Identifier: MIT */
/*
 * A library that starts something now and then, at some request for memory,
 * may meet any: one within dlopen(3), which holds locks of the loader, or one
 * for a thread that is being made in a child of fork(2). So the requests are
 * shifted, in steps smaller than what is asked for there.
 */
#include <dlfcn.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUND ((size_t)64 << 10) /* most bytes from one start to the next */
#define STEP  ((size_t)256)

extern char **environ;

static void end_of(pid_t pid, const char *what, size_t shift)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
		printf("%s, shifted by %zu: failed\n", what, shift);
		exit(1);
	}
}

/* In small pieces, since sizes are rounded up. */
static void shift_by(size_t n)
{
	volatile char *p;

	for (; n; n -= STEP) {
		p = malloc(STEP);
		if (p)
			*p = 1;
	}
}

/* A child that has not started anything yet has a child. */
static void fork_shifted(size_t shift)
{
	pid_t pid = fork();

	if (pid == 0) {
		shift_by(shift);
		pid = fork();
		if (pid == 0)
			_exit(0);
		end_of(pid, "grandchild", shift);
		_exit(0);
	}
	end_of(pid, "child", shift);
}

static void open_libraries(void)
{
	static const char *const names[] = { "libm.so.6", "libresolv.so.2",
					     "libgcc_s.so.1", "libnsl.so.1" };
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		dlopen(names[i], RTLD_NOW);
}

static void run_shifted(char *self, size_t shift)
{
	char number[32], *argv[] = { self, number, NULL };
	pid_t pid = -1;

	snprintf(number, sizeof(number), "%zu", shift);
	if (posix_spawn(&pid, self, NULL, NULL, argv, environ))
		pid = -1;
	end_of(pid, "program", shift);
}

int main(int argc, char **argv)
{
	size_t shift;

	if (argc > 1) {
		shift_by(strtoul(argv[1], NULL, 10));
		open_libraries();
		return 0;
	}
	/* So much that a library which starts threads has started them. */
	shift_by(2 * ROUND);
	for (shift = 0; shift < ROUND; shift += STEP)
		fork_shifted(shift);
	puts("children have ended");
	fflush(stdout);
	for (shift = 0; shift < ROUND; shift += 2 * STEP)
		run_shifted(argv[0], shift);
	puts("programs have ended");
	return 0;
}
