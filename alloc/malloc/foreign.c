/* SPDX-License-Identifier: MIT */
/*
 * Foreign pointers go to the allocator that the program would have without
 * us: the next definition in the order of the loader. Asked for once, in a
 * constructor, as the loader must not be asked while it is at work; what comes
 * before that can only be the C library's.
 */
#include "alloc/malloc/foreign.h"

#include <dlfcn.h>

extern void __libc_free(void *ptr);
extern void *__libc_realloc(void *ptr, size_t size);

static void (*next_free)(void *) = __libc_free;
static void *(*next_realloc)(void *, size_t) = __libc_realloc;
static size_t (*next_usable_size)(void *);

/* ISO C has no conversion from void * to a function pointer. */
static void find(const char *name, void *ret_function)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (p)
		*(void **)ret_function = p;
}

__attribute__((constructor)) static void find_next(void)
{
	find("free", &next_free);
	find("realloc", &next_realloc);
	find("malloc_usable_size", &next_usable_size);
}

void ferry__foreign_free(void *ptr)
{
	next_free(ptr);
}

void *ferry__foreign_realloc(void *ptr, size_t size)
{
	return next_realloc(ptr, size);
}

size_t ferry__foreign_usable_size(void *ptr)
{
	return next_usable_size ? next_usable_size(ptr) : 0;
}
