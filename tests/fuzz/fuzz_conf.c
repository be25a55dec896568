/* SPDX-License-Identifier: MIT */
/*
 * Options of a heap, drawn by libFuzzer: whatever the string, it is taken as
 * a whole, giving values in range that resolve to themselves, or refused
 * with nothing changed.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/policy.h"
#include "uffd/sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int open_nothing(const char *path, int flags)
{
	(void)path;
	(void)flags;
	return -ENOENT;
}

#define expect(cond)                                                           \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(stderr, "conf: %s\n", #cond);                  \
			abort();                                               \
		}                                                              \
	} while (0)

static void expect_sane(const struct ferry_heap_params *p)
{
	expect(p->min_bytes && p->min_bytes <= p->max_bytes);
	expect(p->growth_percent > 100);
	expect(p->threads);
	expect(p->fault_mode);
	expect((unsigned int)p->mode <= FERRY_GC_STOPPED);
}

static void try_options(const char *options)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params), old;
	struct ferry__stress stress, again;
	int r;

	memset(&stress, 0xa5, sizeof(stress));
	again = stress;
	p.options = options;
	p.no_environment = true;
	old = p;
	r = ferry__conf_resolve(&p, &stress);
	if (r) {
		expect(r == -EINVAL);
		expect(!memcmp(&p, &old, sizeof(p)));
		expect(!memcmp(&stress, &again, sizeof(stress)));
		return;
	}
	expect_sane(&p);
	old = p;
	expect(!ferry__conf_resolve(&p, &again));
	expect(!memcmp(&p, &old, sizeof(p)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ferry__sys table;
	char *options = malloc(size + 1);

	if (!options)
		return 0;
	table = ferry__sys_linux;
	table.open = open_nothing;
	ferry__sys = &table;
	memcpy(options, data, size);
	options[size] = '\0';
	try_options(options);
	free(options);
	return 0;
}
