/* SPDX-License-Identifier: MIT */
/*
 * mlockall(2) and mlock(2) with a heap that is cold: what is locked is in
 * memory, and stays.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/programs/heap.h"

int main(void)
{
	struct heap *heap = heap_make(4 << 20, 12), *later;
	uint8_t *block;
	size_t len;

	if (getuid() != 0)
		skip("root", "only root can lock all memory");
	heap_rest(heap);
	block = heap_block(heap, 77, &len);
	check(mlock(block, len) == 0, "mlock");
	heap_report(heap, "one block locked");
	check(munlock(block, len) == 0, "munlock");
	heap_rest(heap);
	check(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall");
	heap_report(heap, "locked");
	heap_churn(heap);
	later = heap_make(4 << 20, 13);
	sleep_ms(300);
	heap_report(heap, "locked for a while");
	heap_report(later, "made locked");
	check(munlockall() == 0, "munlockall");
	heap_rest(heap);
	heap_rest(later);
	heap_report(heap, "unlocked");
	heap_report(later, "unlocked");
	heap_free(heap);
	heap_free(later);
	return 0;
}
