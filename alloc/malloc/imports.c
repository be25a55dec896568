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
#include "uffd/uapi.h"

#define HUGE ((size_t)2 << 20)

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
FERRY__HIDDEN void *ferry__je_cache_memory(void *tsdn, void *arena, size_t size,
					   size_t align, bool zero,
					   void *cache);
FERRY__HIDDEN double ferry__je_log(double x);
FERRY__HIDDEN double ferry__je_exp(double x);
FERRY__HIDDEN double ferry__je_round(double x);
FERRY__HIDDEN int ferry__je__Unwind_Backtrace(void *fn, void *arg);
FERRY__HIDDEN uintptr_t ferry__je__Unwind_GetIP(void *context);

/* jemalloc's own. */
extern FERRY__HIDDEN bool je_opt_tcache;
extern FERRY__HIDDEN bool je_tsd_tcache_enabled_data_init(void *tsd);
extern FERRY__HIDDEN void *je_arena_palloc(void *tsdn, void *arena, size_t size,
					   size_t align, bool zero,
					   void *cache);

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
	return ferry__space_cut(FERRY__SPACE_OWN, len,
				len % HUGE ? ferry__page_size : HUGE, ret_addr);
}

/*
 * jemalloc maps anonymous memory alone. What it wants aligned is aligned to
 * HUGE, is of whole HUGEs, and would be trimmed if it were not.
 */
void *ferry__je_mmap(void *addr, size_t len, int prot, int flags, int fd,
		     off_t off)
{
	int saved = errno;
	void *p;

	(void)prot;
	(void)flags;
	(void)fd;
	(void)off;
	if (addr || map_own(len, &p)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	errno = saved;
	return p;
}

/* The address stays ours; memory goes, though it be locked (mlockall(2)). */
int ferry__je_munmap(void *addr, size_t len)
{
	int r = ferry__sys->madvise(addr, len, MADV_DONTNEED);

	if (r == -EINVAL)
		r = ferry__sys->madvise(addr, len, FERRY__MADV_DONTNEED_LOCKED);
	if (r) {
		errno = -r;
		return -1;
	}
	ferry__space_uncut(FERRY__SPACE_OWN, addr, len);
	return 0;
}

/* --- caches of threads ---------------------------------------------------------------- */

/* The calling thread was refused the memory of its cache. */
static _Thread_local bool refused __attribute__((tls_model("initial-exec")));

void *ferry__je_cache_memory(void *tsdn, void *arena, size_t size, size_t align,
			     bool zero, void *cache)
{
	void *p = je_arena_palloc(tsdn, arena, size, align, zero, cache);

	if (!p)
		refused = true;
	return p;
}

/*
 * jemalloc uses a cache all the same that it had no memory for. There is none
 * from here on: threads that begin meanwhile may have theirs, or not.
 */
bool ferry__engine_thread_data(void *tsd)
{
	bool r = je_tsd_tcache_enabled_data_init(tsd);

	if (!refused)
		return r;
	refused = false;
	/* Relaxed: as above. */
	__atomic_store_n(&je_opt_tcache, false, __ATOMIC_RELAXED);
	return je_tsd_tcache_enabled_data_init(tsd);
}

/* --- the rest --------------------------------------------------------------------------- */

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
