/* SPDX-License-Identifier: MIT */
/* Output of ferryctl that several commands share. */
#include "tools/ferryctl/print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ctl_json_bytes(json_t *to, const char *key, uint64_t n)
{
	json_object_set_new(
		to, key,
		json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n));
}

static json_t *as_ascii(const char *text)
{
	char *copy = strdup(text), *c;
	json_t *value;

	for (c = copy; c && *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	value = copy ? json_string(copy) : NULL;
	free(copy);
	return value;
}

void ctl_json_text(json_t *to, const char *key, const char *text)
{
	json_t *value = json_string(text);

	json_object_set_new(to, key, value ? value : as_ascii(text));
}

void ctl_json_range(json_t *to, uint64_t start, uint64_t end)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)start);
	json_object_set_new(to, "start", json_string(text));
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)end);
	json_object_set_new(to, "end", json_string(text));
}

static void print(json_t *value, size_t flags)
{
	/* Whether it could be written, main() sees at the end. */
	json_dumpf(value, stdout, flags);
	putchar('\n');
	json_decref(value);
}

void ctl_json_line(json_t *value)
{
	print(value, JSON_COMPACT);
}

void ctl_json_document(json_t *value)
{
	print(value, JSON_INDENT(1));
}
