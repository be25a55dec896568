/* SPDX-License-Identifier: MIT */
/* Two processes and a socket, for tests of hand-over. */
#include "tests/handover_bed.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

void bed_sockets(int type, int ret[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ret), 0);
}

pid_t bed_peer(int sock[2], bed_fn fn, void *arg)
{
	int line;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid) {
		close(sock[1]);
		return pid;
	}
	close(sock[0]);
	line = fn(sock[1], arg);
	if (line)
		fprintf(stderr, "the peer was unhappy with line %d\n", line);
	_exit(line != 0);
}

static int wait_for(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

void bed_join(pid_t pid)
{
	int status = wait_for(pid);

	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status),
		      "the peer's status is %#x", (unsigned int)status);
}

bool bed_join_killed(pid_t pid)
{
	int status = wait_for(pid);

	if (WIFSIGNALED(status)) {
		ck_assert_int_eq(WTERMSIG(status), SIGKILL);
		return true;
	}
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status),
		      "the peer's status is %#x", (unsigned int)status);
	return false;
}

void *bed_shared(size_t len)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(mem, MAP_FAILED);
	return mem;
}

struct ferry_arena *bed_arena(enum ferry_backing backing, size_t len,
			      uint64_t number)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena = NULL;

	p.reserve = len;
	p.backing = backing;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, len, false), 0);
	fill_pages(ferry_arena_base(arena), len, number);
	return arena;
}

static bool all_in(struct ferry_arena *arena, size_t offset, size_t len,
		   enum ferry_page_state state)
{
	size_t at;

	for (at = offset; at < offset + len; at += page_size())
		if (ferry_arena_page_state(arena, at) != state)
			return false;
	return true;
}

bool bed_holds(struct ferry_arena *arena, size_t offset, size_t len,
	       uint64_t number)
{
	const char *base = (char *)ferry_arena_base(arena) + offset;
	size_t i;

	if (!all_in(arena, offset, len, FERRY_PAGE_LIVE))
		return false;
	for (i = 0; i < len / page_size(); i++)
		if (!page_holds(base + i * page_size(), number + i))
			return false;
	return true;
}

bool bed_absent(struct ferry_arena *arena, size_t offset, size_t len)
{
	return all_in(arena, offset, len, FERRY_PAGE_ABSENT);
}

static size_t segments(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	size_t n = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "/memfd:") != NULL;
	fclose(f);
	return n;
}

struct bed_state bed_state(void)
{
	return (struct bed_state){ harness_descriptors(), segments() };
}

void bed_assert_no_leak(struct bed_state before)
{
	struct bed_state now = bed_state();

	ck_assert_uint_eq(now.fds, before.fds);
	ck_assert_uint_eq(now.segments, before.segments);
}

/* Is there a page in the pool? Others may be using it, too. */
static bool pool_has_pages(void)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena = NULL;
	int r;

	p.reserve = 8 * HUGE_SIZE;
	p.backing = FERRY_BACKING_HUGETLB;
	r = ferry_arena_create(&p, &arena);
	if (r == 0)
		r = ferry_arena_commit(arena, 0, p.reserve, false);
	ferry_arena_destroy(arena);
	return r == 0;
}

bool bed_hold_pool(struct system_hold *hold)
{
	if (!system_hold_value(hold, "/proc/sys/vm/nr_hugepages", "16"))
		return false;
	if (pool_has_pages())
		return true;
	snprintf(hold->reason, sizeof(hold->reason),
		 "the kernel has no memory for a pool of huge pages");
	system_release(hold);
	return false;
}
