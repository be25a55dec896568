/* SPDX-License-Identifier: MIT */
/* Gates. */
#include "alloc/store/gate.h"

#include "uffd/sys.h"

#define CLOSED 0x80000000u
/* However a wake-up gets lost, no longer than that. */
#define LONGEST_NS 10000000u

void ferry__gate_enter(struct ferry__gate *gate)
{
	uint32_t seen = __atomic_load_n(&gate->word, __ATOMIC_RELAXED);

	for (;;) {
		if (seen & CLOSED) {
			ferry__sys->futex_wait(&gate->word, seen, LONGEST_NS);
			seen = __atomic_load_n(&gate->word, __ATOMIC_RELAXED);
			continue;
		}
		/* GA1 */
		if (__atomic_compare_exchange_n(&gate->word, &seen, seen + 1,
						true, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return;
	}
}

void ferry__gate_leave(struct ferry__gate *gate)
{
	/* GA1 */
	if (__atomic_sub_fetch(&gate->word, 1, __ATOMIC_RELEASE) == CLOSED)
		ferry__sys->futex_wake(&gate->word);
}

void ferry__gate_close(struct ferry__gate *gate)
{
	/* GA1 */
	uint32_t seen =
		__atomic_or_fetch(&gate->word, CLOSED, __ATOMIC_ACQUIRE);

	while (seen != CLOSED) {
		ferry__sys->futex_wait(&gate->word, seen, LONGEST_NS);
		seen = __atomic_load_n(&gate->word, __ATOMIC_ACQUIRE);
	}
}

void ferry__gate_open(struct ferry__gate *gate)
{
	/* GA1 */
	__atomic_fetch_and(&gate->word, ~CLOSED, __ATOMIC_RELEASE);
	ferry__sys->futex_wake(&gate->word);
}

void ferry__gate_fork_child(struct ferry__gate *gate)
{
	/* GA1: nobody else is there yet. */
	__atomic_store_n(&gate->word, 0, __ATOMIC_RELAXED);
}
