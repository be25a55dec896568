/* SPDX-License-Identifier: MIT */
/* Tables that grow without moving. */
#include "alloc/store/table.h"

#include "alloc/store/map.h"
#include "uffd/sys.h"

static size_t segment_size(const struct ferry__table *table, unsigned int k)
{
	return table->element << (table->shift + k);
}

void ferry__table_init(struct ferry__table *table, size_t element,
		       unsigned int shift)
{
	*table = (struct ferry__table){ .element = element, .shift = shift };
	ferry__check(segment_size(table, 0) % ferry__page_size == 0);
}

void ferry__table_fini(struct ferry__table *table)
{
	while (table->n) {
		table->n--;
		ferry__store_unmap(table->segment[table->n],
				   segment_size(table, table->n));
	}
}

int ferry__table_grow(struct ferry__table *table, uint64_t index)
{
	uint64_t i = index + ((uint64_t)1 << table->shift);
	unsigned int k = 63 - (unsigned int)__builtin_clzll(i) - table->shift;
	void *base;
	int r;

	while (table->n <= k) {
		r = ferry__store_map(segment_size(table, table->n), &base);
		if (r < 0)
			return r;
		/* T1 */
		__atomic_store_n(&table->segment[table->n], base,
				 __ATOMIC_RELEASE);
		table->n++;
	}
	return 0;
}
