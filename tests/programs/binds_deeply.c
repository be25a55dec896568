/* SPDX-License-Identifier: MIT */
/*
 * Memory that one allocator gave is freed and grown through another: a module
 * that is bound with RTLD_DEEPBIND, beside the program itself.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/programs/heap.h"

static void *(*module_alloc)(size_t);
static void (*module_free)(void *);
static void *(*module_grow)(void *, size_t);
static size_t (*module_copies)(const char *);

static void *name_in(void *module, const char *name)
{
	void *p = dlsym(module, name);

	check(p != NULL, name);
	return p;
}

static void load(const char *path)
{
	void *module = dlopen(path, RTLD_NOW | RTLD_DEEPBIND);

	if (module == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	*(void **)&module_alloc = name_in(module, "module_alloc");
	*(void **)&module_free = name_in(module, "module_free");
	*(void **)&module_grow = name_in(module, "module_grow");
	*(void **)&module_copies = name_in(module, "module_copies");
}

static void from_module(size_t len)
{
	char *p = module_alloc(len);

	check(p != NULL, "module_alloc");
	memset(p, 'm', len);
	check(malloc_usable_size(p) >= len, "malloc_usable_size");
	p = realloc(p, 3 * len);
	check(p != NULL, "realloc");
	for (size_t i = 0; i < len; i++)
		check(p[i] == 'm', "a byte is wrong");
	free(p);
	free(module_alloc(len));
}

static void to_module(size_t len)
{
	char *p = malloc(len);

	check(p != NULL, "malloc");
	memset(p, 'p', len);
	p = module_grow(p, 3 * len);
	check(p != NULL, "module_grow");
	for (size_t i = 0; i < len; i++)
		check(p[i] == 'p', "a byte is wrong");
	module_free(p);
	module_free(malloc(len));
}

int main(int argc, char **argv)
{
	struct heap *heap = heap_make(2 << 20, 17);

	load(argc > 1 ? argv[1] : "deep_module.so");
	for (size_t len = 8; len <= (size_t)4 << 20; len *= 4)
		from_module(len);
	printf("from the module: right\n");
	printf("copies: %zu\n", module_copies("text of the program"));
	for (size_t len = 8; len <= (size_t)4 << 20; len *= 4)
		to_module(len);
	printf("to the module: right\n");
	heap_rest(heap);
	heap_report(heap, "afterwards");
	heap_free(heap);
	return 0;
}
