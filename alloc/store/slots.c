/* SPDX-License-Identifier: MIT */
/* Slots of a page each. */
#include "alloc/store/slots.h"

#include "uffd/sys.h"

#define BITS 64u

static uint64_t *word_at(const struct ferry__slots *slots, uint64_t w)
{
	return ferry__table_at(&slots->word, w);
}

static uint64_t words(uint64_t n)
{
	return (n + BITS - 1) / BITS;
}

/* Bits [from, to) of a word; to may be 64. */
static uint64_t mask(unsigned int from, unsigned int to)
{
	uint64_t below = to < BITS ? ((uint64_t)1 << to) - 1 : ~(uint64_t)0;

	return below & ~(((uint64_t)1 << from) - 1);
}

void ferry__slots_init(struct ferry__slots *slots)
{
	unsigned int page_shift =
		(unsigned int)__builtin_ctzll(ferry__page_size);

	*slots = (struct ferry__slots){ 0 };
	ferry__table_init(&slots->slot, sizeof(struct ferry__slot), page_shift);
	ferry__table_init(&slots->word, sizeof(uint64_t), page_shift - 3);
}

void ferry__slots_fini(struct ferry__slots *slots)
{
	ferry__table_fini(&slots->slot);
	ferry__table_fini(&slots->word);
}

/* Makes free what of the word @w lies in [@old, @n). */
static void open_word(struct ferry__slots *slots, uint64_t w, uint64_t old,
		      uint64_t n)
{
	uint64_t low = w * BITS;
	unsigned int from = old > low ? (unsigned int)(old - low) : 0;
	unsigned int to = n - low < BITS ? (unsigned int)(n - low) : BITS;

	/* SL3: nobody looks at a new word before SL1 in ferry__slots_grow(). */
	if (!from)
		__atomic_store_n(word_at(slots, w), ~mask(0, to),
				 __ATOMIC_RELAXED);
	else
		/* SL4: free for the first time: nothing to come after. */
		__atomic_fetch_and(word_at(slots, w), ~mask(from, to),
				   __ATOMIC_RELAXED);
}

int ferry__slots_grow(struct ferry__slots *slots, uint64_t n)
{
	uint64_t w, old = slots->n;
	int r;

	if (n <= old)
		return 0;
	r = ferry__table_grow(&slots->slot, n - 1);
	if (r == 0)
		r = ferry__table_grow(&slots->word, words(n) - 1);
	if (r < 0)
		return r;
	for (w = old / BITS; w < words(n); w++)
		open_word(slots, w, old, n);
	/* SL1 */
	__atomic_store_n(&slots->n, n, __ATOMIC_RELEASE);
	return 0;
}

uint64_t ferry__slots_shrink(struct ferry__slots *slots, uint64_t at_least)
{
	uint64_t empty, w, n = slots->n;

	while (n > at_least && n > slots->first) {
		w = words(n) - 1;
		if (w * BITS < at_least || w * BITS < slots->first)
			break;
		empty = n % BITS ? mask(n % BITS, BITS) : 0;
		/* SL6: relaxed: who took and freed here is not asked what. */
		if (!__atomic_compare_exchange_n(
			    word_at(slots, w), &empty, ~(uint64_t)0, false,
			    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			break;
		n = w * BITS;
	}
	/* SL1 */
	__atomic_store_n(&slots->n, n, __ATOMIC_RELEASE);
	return n;
}

bool ferry__slots_claim(struct ferry__slots *slots, uint64_t first, uint64_t n)
{
	uint64_t empty, w;

	for (w = first / BITS; w < (first + n) / BITS; w++) {
		empty = 0;
		/* SL5: what is done with them comes after all that was. */
		if (__atomic_compare_exchange_n(
			    word_at(slots, w), &empty, ~(uint64_t)0, false,
			    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			continue;
		ferry__slots_unclaim(slots, first, w * BITS - first);
		return false;
	}
	return true;
}

void ferry__slots_unclaim(struct ferry__slots *slots, uint64_t first,
			  uint64_t n)
{
	uint64_t w;

	for (w = first / BITS; w < (first + n) / BITS; w++)
		/* SL5 pairs with SL5 in take_in(): what the slots stand for. */
		__atomic_store_n(word_at(slots, w), 0, __ATOMIC_RELEASE);
}

uint64_t ferry__slots_close(struct ferry__slots *slots)
{
	slots->n = words(slots->n) * BITS;
	slots->first = slots->n;
	slots->hint = slots->n / BITS;
	return slots->n;
}

/* The first row of free bits of @bits: up to @want of them. */
static unsigned int first_row(uint64_t bits, size_t want,
			      unsigned int *ret_from)
{
	unsigned int from = (unsigned int)__builtin_ctzll(~bits);
	uint64_t rest = bits >> from;
	unsigned int len = rest ? (unsigned int)__builtin_ctzll(rest)
				: BITS - from;

	*ret_from = from;
	return len < want ? len : (unsigned int)want;
}

static unsigned int take_in(uint64_t *word, size_t want, unsigned int *ret_from)
{
	uint64_t bits = __atomic_load_n(word, __ATOMIC_RELAXED);
	unsigned int len;

	while (~bits) {
		len = first_row(bits, want, ret_from);
		/* SL5 pairs with SL5 in ferry__slots_free(). */
		if (__atomic_compare_exchange_n(
			    word, &bits,
			    bits | mask(*ret_from, *ret_from + len), true,
			    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return len;
	}
	return 0;
}

size_t ferry__slots_take(struct ferry__slots *slots, size_t want,
			 uint64_t *ret_first)
{
	/* SL1 */
	uint64_t end = words(__atomic_load_n(&slots->n, __ATOMIC_ACQUIRE));
	uint64_t low = slots->first / BITS, i, w;
	/* SL2 */
	uint64_t hint = __atomic_load_n(&slots->hint, __ATOMIC_RELAXED);
	unsigned int len, from;

	if (hint < low || hint >= end)
		hint = low;
	for (i = 0; i < end - low; i++) {
		w = hint + i < end ? hint + i : hint + i - end + low;
		len = take_in(word_at(slots, w), want, &from);
		if (!len)
			continue;
		/* SL2 */
		__atomic_store_n(&slots->hint, w, __ATOMIC_RELAXED);
		*ret_first = w * BITS + from;
		return len;
	}
	return 0;
}

void ferry__slots_free(struct ferry__slots *slots, uint64_t i)
{
	uint64_t w = i / BITS, bit = (uint64_t)1 << i % BITS, old;

	/* SL5: who takes the slot next comes after all that was done to it. */
	old = __atomic_fetch_and(word_at(slots, w), ~bit, __ATOMIC_RELEASE);
	ferry__check(old & bit);
	/* SL2: relaxed, as said there. */
	if (w < __atomic_load_n(&slots->hint, __ATOMIC_RELAXED))
		__atomic_store_n(&slots->hint, w, __ATOMIC_RELAXED);
}

void ferry__slots_push(const struct ferry__slots *slots, uint64_t *stack,
		       uint64_t i)
{
	struct ferry__slot *slot = ferry__slots_at(slots, i);
	uint64_t top = __atomic_load_n(stack, __ATOMIC_RELAXED);

	/* SL7: release pairs with the acquire in ferry__slots_take_stack(). */
	do
		slot->next = (uint32_t)top;
	while (!__atomic_compare_exchange_n(
		stack, &top, i + 1, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

uint64_t ferry__slots_take_stack(uint64_t *stack)
{
	/* SL7 */
	return __atomic_exchange_n(stack, 0, __ATOMIC_ACQUIRE);
}

uint64_t ferry__slots_word(const struct ferry__slots *slots, uint64_t w)
{
	return __atomic_load_n(word_at(slots, w), __ATOMIC_RELAXED);
}

uint64_t ferry__slots_bytes(const struct ferry__slots *slots)
{
	uint64_t n = ferry__slots_count(slots);

	return n * sizeof(struct ferry__slot) + words(n) * sizeof(uint64_t);
}
