/* SPDX-License-Identifier: MIT */
/* What tests of ferry_move() share. */
#include "tests/moving.h"

#include <sys/wait.h>
#include <unistd.h>

struct moving moving;

void moving_register(void *addr, size_t len)
{
	ck_assert_int_eq(ferry_uffd_register(moving.uffd, addr, len,
					     FERRY_REGISTER_MISSING, NULL),
			 0);
}

void moving_setup_with(uint32_t flags)
{
	enum ferry_reason reason;
	int r;

	moving = (struct moving){ .page = page_size() };
	moving.len = MOVING_PAGES * moving.page;
	moving.params.size = sizeof(moving.params);
	moving.flags = flags;
	r = ferry_uffd_open(NULL, &reason, &moving.uffd);
	ck_assert_msg(!r, "open: %s", ferry_reason_string(reason));
	moving.src = map_anon(moving.len);
	moving.dst = map_anon(moving.len);
	fill_pages(moving.src, moving.len, 1);
	moving_register(moving.dst, moving.len);
}

void moving_teardown(void)
{
	ferry_uffd_close(moving.uffd);
}

static void assert_accounts(int r, size_t len)
{
	const struct ferry_move_result *res = &moving.res;

	ck_assert_uint_eq(res->done, res->moved + res->copied + res->holes +
					     res->present + res->skipped);
	if (r) {
		ck_assert_int_ne(res->reason, FERRY_REASON_NONE);
		return;
	}
	ck_assert_int_eq(res->reason, FERRY_REASON_NONE);
	ck_assert_uint_eq(res->done, len);
}

int moving_move(void *dst, void *src, size_t len)
{
	struct ferry_move_params params = moving.params;
	int r;

	params.flags |= moving.flags;
	moving.res.size = sizeof(moving.res);
	r = ferry_move(moving.uffd, dst, src, len, &params, &moving.res);
	assert_accounts(r, len);
	return r;
}

int moving_move_all(void)
{
	return moving_move(moving.dst, moving.src, moving.len);
}

void moving_assert_refused(void *dst, void *src, size_t len, int error,
			   enum ferry_reason reason)
{
	ck_assert_int_eq(moving_move(dst, src, len), error);
	ck_assert_msg(moving.res.reason == reason, "reason is: %s; not: %s",
		      ferry_reason_string(moving.res.reason),
		      ferry_reason_string(reason));
	ck_assert_uint_eq(moving.res.done, 0);
	assert_pages(moving.src, moving.len, 1);
}

void moving_fork(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
