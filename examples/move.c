/* SPDX-License-Identifier: MIT */
/*
 * Moves a buffer to another address without copying it, and shows what
 * became of it.
 */
#include <ferry/ferry.h>

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define LEN ((size_t)4 << 20)

/* Private anonymous memory: the only kind that moves. */
static char *map(void)
{
	void *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int move(struct ferry_uffd *uffd, char *dst, char *src)
{
	struct ferry_move_result result = FERRY_INIT(struct ferry_move_result);
	int r;

	/* The destination is registered; the source need not be. */
	r = ferry_uffd_register(uffd, dst, LEN, FERRY_REGISTER_MISSING, NULL);
	if (r < 0)
		return r;
	r = ferry_move(uffd, dst, src, LEN, NULL, &result);
	printf("%zu bytes moved, %zu copied, in %llu calls to the kernel\n",
	       result.moved, result.copied, (unsigned long long)result.calls);
	if (r < 0)
		printf("stopped after %zu bytes: %s\n", result.done,
		       ferry_reason_string(result.reason));
	return r;
}

int main(void)
{
	enum ferry_reason reason;
	struct ferry_uffd *uffd;
	char *src, *dst;
	int r;

	r = ferry_uffd_open(NULL, &reason, &uffd);
	if (r < 0) {
		printf("SKIP move: no userfaultfd: %s\n",
		       ferry_reason_string(reason));
		return 77;
	}
	src = map();
	dst = map();
	if (!src || !dst)
		return 1;
	memset(src, 'f', LEN);
	r = move(uffd, dst, src);
	if (!r)
		printf("the first byte is now %c at the new address\n", *dst);
	ferry_uffd_close(uffd);
	return r || *dst != 'f';
}
