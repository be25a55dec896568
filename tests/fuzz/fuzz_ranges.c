/* SPDX-License-Identifier: MIT */
/*
 * Texts of ranges, drawn by libFuzzer: whatever the text and however it is cut
 * into reads, ferryctl's reader ends, stays in bounds, numbers lines as they
 * are, hands out ranges of whole pages only, and gives the same for any size
 * of read.
 *
 * Input: one byte is the size of the second pass's reads, the rest the text.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/ferryctl/kernel.h"
#include "tools/ferryctl/ranges.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	const uint8_t *data;
	size_t size, pos, step;
} text;

static int open_text(int folder, const char *name, int flags)
{
	(void)folder;
	(void)name;
	(void)flags;
	return 1000;
}

static ssize_t read_text(int fd, void *buf, size_t len)
{
	size_t left = text.size - text.pos;

	(void)fd;
	len = len < left ? len : left;
	len = len < text.step ? len : text.step;
	memcpy(buf, text.data + text.pos, len);
	text.pos += len;
	return (ssize_t)len;
}

static void close_text(int fd)
{
	(void)fd;
}

static _Noreturn void broken(const char *what)
{
	fprintf(stderr, "ranges: %s\n", what);
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

static uint64_t lines_of(const uint8_t *data, size_t size)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < size; i++)
		n += data[i] == '\n';
	return n + (size && data[size - 1] != '\n');
}

static void check_range(const struct ctl_range *range)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	expect(range->start < range->end);
	expect(range->start % page == 0 && range->end % page == 0);
}

/* Reads all of it; returns a sum of all that was seen. */
static uint64_t read_all(const uint8_t *data, size_t size, size_t step)
{
	uint64_t sum = 0xcbf29ce484222325u, line = 0;
	struct ctl_range range;
	struct ctl_ranges in;
	int r;

	text.data = data;
	text.size = size;
	text.pos = 0;
	text.step = step;
	expect(ctl_ranges_open(&in, NULL, 0, "text") == 0);
	while ((r = ctl_ranges_next(&in, &range)) != 0) {
		expect(r == 1 || r == -EINVAL);
		expect(range.line > line);
		line = range.line;
		sum = mix(mix(sum, (uint64_t)r), line);
		if (r < 0) {
			expect(in.why != NULL);
			continue;
		}
		check_range(&range);
		sum = mix(mix(sum, range.start), range.end);
	}
	expect(line <= lines_of(data, size));
	ctl_ranges_close(&in);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ctl_kernel table;
	size_t step;

	if (!size)
		return 0;
	table = ctl_kernel_linux;
	table.open = open_text;
	table.read = read_text;
	table.close = close_text;
	ctl_kernel = &table;
	step = 1 + data[0];
	data++;
	size--;
	expect(read_all(data, size, SIZE_MAX) == read_all(data, size, step));
	return 0;
}
