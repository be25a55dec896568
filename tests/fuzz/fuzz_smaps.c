/* SPDX-License-Identifier: MIT */
/*
 * Texts of smaps, drawn by libFuzzer: whatever the text and however it is cut
 * into reads, the reader ends, stays in bounds, reports ascending mappings
 * with printable names, and gives the same for any size of read.
 *
 * Input: one byte is the size of the second pass's reads, the rest the text.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "uffd/mapping.h"
#include "uffd/sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The file that is read: one at a time. */
static struct {
	const uint8_t *data;
	size_t size, pos;
} text;

static ssize_t read_text(int fd, void *buf, size_t len)
{
	size_t left = text.size - text.pos;

	(void)fd;
	if (len > left)
		len = left;
	memcpy(buf, text.data + text.pos, len);
	text.pos += len;
	return (ssize_t)len;
}

static _Noreturn void broken(const char *what)
{
	fprintf(stderr, "smaps: %s\n", what);
	abort();
}

#define expect(cond)                                                           \
	do {                                                                   \
		if (!(cond))                                                   \
			broken(#cond);                                         \
	} while (0)

static uint64_t mix(uint64_t sum, uint64_t value)
{
	return (sum ^ value) * 0x100000001b3u;
}

static uint64_t check_mapping(const struct ferry__mapping *m, uint64_t floor,
			      uint64_t sum)
{
	const char *c;

	expect(m->start < m->end);
	expect(m->start >= floor);
	expect(m->page_size > 0);
	expect((unsigned int)m->reason < FERRY_REASON_MAX);
	expect(memchr(m->name, '\0', sizeof(m->name)));
	for (c = m->name; *c; c++)
		expect((unsigned char)*c >= ' ' && *c != 0x7f);
	sum = mix(mix(mix(sum, m->start), m->end), m->flags);
	return mix(mix(sum, m->page_size), m->reason);
}

/* Reads all of it, @step bytes at once; returns a sum of all that was seen. */
static uint64_t read_all(const uint8_t *data, size_t size, size_t step,
			 bool flags_needed)
{
	uint64_t floor = 0, sum = 0xcbf29ce484222325u;
	struct ferry__smaps smaps;
	struct ferry__mapping m;
	char buf[4096];
	int r;

	text.data = data;
	text.size = size;
	text.pos = 0;
	ferry__smaps_init(&smaps, 0, flags_needed, buf, step);
	while ((r = ferry__smaps_next(&smaps, &m)) > 0) {
		sum = check_mapping(&m, floor, sum);
		floor = m.end;
	}
	expect(r == 0 || r == -EIO);
	return mix(sum, (uint64_t)r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ferry__sys table;
	size_t step;

	if (!size)
		return 0;
	table = ferry__sys_linux;
	table.read = read_text;
	ferry__sys = &table;
	step = 1 + data[0];
	data++;
	size--;
	expect(read_all(data, size, 4096, true) ==
	       read_all(data, size, step, true));
	expect(read_all(data, size, 4096, false) ==
	       read_all(data, size, step, false));
	return 0;
}
