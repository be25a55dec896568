/* SPDX-License-Identifier: MIT */
/*
 * What jemalloc gets in place of the C library's functions (engine.sh).
 */
#include "alloc/malloc/engine.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include "alloc/malloc/space.h"
#include "uffd/sys.h"

struct ferry__engine_fork ferry__engine_fork;

FERRY__HIDDEN int ferry__je_pthread_atfork(void (*prepare)(void),
					   void (*parent)(void),
					   void (*child)(void));
FERRY__HIDDEN void *ferry__je_mmap(void *addr, size_t len, int prot, int flags,
				   int fd, off_t off);
FERRY__HIDDEN int ferry__je_munmap(void *addr, size_t len);
FERRY__HIDDEN char *ferry__je_secure_getenv(const char *name);
FERRY__HIDDEN ssize_t ferry__je_readlink(const char *path, char *buf,
					 size_t size);
FERRY__HIDDEN void *ferry__je_dlsym(void *handle, const char *name);
FERRY__HIDDEN double ferry__je_log(double x);
FERRY__HIDDEN double ferry__je_exp(double x);
FERRY__HIDDEN double ferry__je_round(double x);
FERRY__HIDDEN int ferry__je__Unwind_Backtrace(void *fn, void *arg);
FERRY__HIDDEN uintptr_t ferry__je__Unwind_GetIP(void *context);

/* We call them at the right moment (fork.c). */
int ferry__je_pthread_atfork(void (*prepare)(void), void (*parent)(void),
			     void (*child)(void))
{
	ferry__engine_fork = (struct ferry__engine_fork){ .prepare = prepare,
							  .parent = parent,
							  .child = child };
	return 0;
}

/*
 * The first call is jemalloc's start, under its lock: what is made ready here
 * is so for everybody.
 */
static int map_own(size_t len, void **ret_addr)
{
	if (!ferry__page_size)
		ferry__page_size = (size_t)sysconf(_SC_PAGESIZE);
	if (!ferry__space_first[FERRY__SPACE_OWN].len &&
	    ferry__space_init(FERRY__SPACE_OWN))
		return -ENOMEM;
	return ferry__space_cut(FERRY__SPACE_OWN, len, (size_t)2 << 20,
				ret_addr);
}

/*
 * jemalloc maps anonymous memory alone. Pieces are aligned to what it asks
 * for at most without saying so: it would trim them otherwise.
 */
void *ferry__je_mmap(void *addr, size_t len, int prot, int flags, int fd,
		     off_t off)
{
	void *p;

	(void)prot;
	(void)flags;
	(void)fd;
	(void)off;
	if (addr || map_own(len, &p)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return p;
}

/* The address stays ours; memory goes. */
int ferry__je_munmap(void *addr, size_t len)
{
	int r = ferry__sys->madvise(addr, len, MADV_DONTNEED);

	if (!r)
		return 0;
	errno = -r;
	return -1;
}

char *ferry__je_secure_getenv(const char *name)
{
	(void)name;
	return NULL;
}

ssize_t ferry__je_readlink(const char *path, char *buf, size_t size)
{
	(void)path;
	(void)buf;
	(void)size;
	errno = ENOENT;
	return -1;
}

/* It falls back on the function that it is linked with. */
void *ferry__je_dlsym(void *handle, const char *name)
{
	(void)handle;
	(void)name;
	return NULL;
}

/* --- its sampling profiler, which cannot be turned on -------------------------------- */

double ferry__je_log(double x)
{
	return x;
}

double ferry__je_exp(double x)
{
	return x;
}

double ferry__je_round(double x)
{
	return x;
}

int ferry__je__Unwind_Backtrace(void *fn, void *arg)
{
	(void)fn;
	(void)arg;
	return 0;
}

uintptr_t ferry__je__Unwind_GetIP(void *context)
{
	(void)context;
	return 0;
}
