/* SPDX-License-Identifier: MIT */
/* Pages whose contents follow from their number. */
#include "tests/stored.h"

#include <string.h>

#include "tests/memory.h"
#include "tests/random.h"

#define MOST_PAGE 65536

static void noise(unsigned char *p, size_t len, struct random *rng)
{
	uint64_t word = 0;
	size_t i;

	for (i = 0; i < len; i++) {
		if (i % 8 == 0)
			word = random_next(rng);
		p[i] = (unsigned char)(word >> i % 8 * 8);
	}
}

void stored_fill(void *page, uint64_t number)
{
	struct random rng = random_seeded(number);
	size_t part = 16 + random_below(&rng, page_size() * 5 / 8);
	unsigned char *p = page;
	size_t i;

	noise(p, part, &rng);
	for (i = part; i < page_size(); i++)
		p[i] = (unsigned char)(i / 16);
}

bool stored_holds(const void *page, uint64_t number)
{
	unsigned char expected[MOST_PAGE];

	stored_fill(expected, number);
	return memcmp(page, expected, page_size()) == 0;
}

void stored_noise(void *page, uint64_t number)
{
	struct random rng = random_seeded(number);

	noise(page, page_size(), &rng);
}

uint64_t stored_tag(uint64_t number)
{
	return (number + 1) * page_size();
}
