/* SPDX-License-Identifier: MIT */
/*
 * A module for binds_deeply.c. Bound with RTLD_DEEPBIND, its calls of malloc
 * go to the C library past any other allocator, while strdup(3) and the like
 * use the program's.
 */
#include <stdlib.h>
#include <string.h>

__attribute__((visibility("default"))) void *module_alloc(size_t len);
__attribute__((visibility("default"))) void module_free(void *p);
__attribute__((visibility("default"))) void *module_grow(void *p, size_t len);
__attribute__((visibility("default"))) size_t module_copies(const char *text);

void *module_alloc(size_t len)
{
	return malloc(len);
}

void module_free(void *p)
{
	free(p);
}

void *module_grow(void *p, size_t len)
{
	return realloc(p, len);
}

size_t module_copies(const char *text)
{
	char *copy = strdup(text);
	size_t len = strlen(copy);

	free(copy);
	return len;
}
