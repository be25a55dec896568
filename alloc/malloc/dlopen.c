/* SPDX-License-Identifier: MIT */
/*
 * dlopen(3) without RTLD_DEEPBIND.
 *
 * A module that is bound deeply finds the C library's free() before ours,
 * while memory that the C library allocates on its behalf (strdup(3)) is ours:
 * the first such free ends the program. Looking after foreign pointers cannot
 * help, as it is the other allocator that gets them.
 */
#include <dlfcn.h>
#include <stddef.h>

#include <ferry/base.h>

typedef void *open_fn(const char *name, int flags);

/* Two threads that ask at once get the same answer. Relaxed: code is there. */
static open_fn *next_open(void)
{
	static open_fn *next;
	open_fn *fn = __atomic_load_n(&next, __ATOMIC_RELAXED);

	if (!fn) {
		/* ISO C has no conversion to a function pointer. */
		*(void **)&fn = dlsym(RTLD_NEXT, "dlopen");
		__atomic_store_n(&next, fn, __ATOMIC_RELAXED);
	}
	return fn;
}

/*
 * The next one looks at its return address, to search the RUNPATH of who
 * calls: this must be, and with optimisation is, a jump.
 */
FERRY_EXPORT void *dlopen(const char *name, int flags)
{
	return next_open()(name, flags & ~RTLD_DEEPBIND);
}
