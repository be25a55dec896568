/* SPDX-License-Identifier: MIT */
/* Memory for hiredis. */
#include "alloc/store/redis_pool.h"

#include <pthread.h>
#include <string.h>

#include "alloc/store/map.h"
#include "uffd/sys.h"

#define SMALLEST 5		     /* 32 bytes, the head included */
#define LARGEST	 18		     /* 256 KiB; above that, a mapping each */
#define AT_ONCE	 ((size_t)512 << 10) /* mapped for blocks */

/* In front of each block; keeps what follows aligned as malloc() would. */
struct head {
	_Alignas(16) size_t size; /* of the block */
	struct head *next;	  /* while it is free */
};

/* Rank: below all locks of stores; nothing is called under it but mmap. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct head *idle[LARGEST + 1];
static char *rest, *rest_end;
static uint64_t held; /* P1: relaxed: a count */

static void count(uint64_t bytes)
{
	__atomic_fetch_add(&held, bytes, __ATOMIC_RELAXED);
}

uint64_t ferry__redis_pool_held(void)
{
	return __atomic_load_n(&held, __ATOMIC_RELAXED);
}

static struct head *map_block(size_t size)
{
	void *mem;

	if (ferry__store_map(size, &mem) < 0)
		return NULL;
	count(size);
	((struct head *)mem)->size = size;
	return mem;
}

/* Blocks are no larger than half of that, so that little is lost at the end. */
static struct head *cut_block(size_t size)
{
	struct head *block;
	void *mem;

	if ((size_t)(rest_end - rest) < size) {
		if (ferry__store_map(AT_ONCE, &mem) < 0)
			return NULL;
		count(AT_ONCE);
		rest = mem;
		rest_end = rest + AT_ONCE;
	}
	block = (struct head *)rest;
	rest += size;
	block->size = size;
	return block;
}

static struct head *take_block(unsigned int class)
{
	struct head *block;

	pthread_mutex_lock(&lock);
	block = idle[class];
	if (block)
		idle[class] = block->next;
	else
		block = cut_block((size_t)1 << class);
	pthread_mutex_unlock(&lock);
	return block;
}

static unsigned int class_of(size_t size)
{
	unsigned int class = 64 - (unsigned int)__builtin_clzll(size - 1);

	return class < SMALLEST ? SMALLEST : class;
}

void *ferry__redis_malloc(size_t size)
{
	size_t whole = size + sizeof(struct head);
	struct head *block;

	if (whole < size)
		return NULL;
	block = whole > (size_t)1 << LARGEST
			? map_block(ferry__store_round(whole))
			: take_block(class_of(whole));
	return block ? block + 1 : NULL;
}

void ferry__redis_free(void *ptr)
{
	struct head *block;

	if (!ptr)
		return;
	block = (struct head *)ptr - 1;
	if (block->size > (size_t)1 << LARGEST) {
		count(-(uint64_t)block->size);
		ferry__store_unmap(block, block->size);
		return;
	}
	pthread_mutex_lock(&lock);
	block->next = idle[class_of(block->size)];
	idle[class_of(block->size)] = block;
	pthread_mutex_unlock(&lock);
}

void *ferry__redis_calloc(size_t n, size_t size)
{
	size_t bytes;
	void *ptr;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	ptr = ferry__redis_malloc(bytes);
	if (ptr)
		memset(ptr, 0, bytes);
	return ptr;
}

void *ferry__redis_realloc(void *ptr, size_t size)
{
	size_t room = ptr ? ((struct head *)ptr - 1)->size - sizeof(struct head)
			  : 0;
	void *new;

	if (ptr && size <= room)
		return ptr;
	new = ferry__redis_malloc(size);
	if (new &&ptr) {
		memcpy(new, ptr, room);
		ferry__redis_free(ptr);
	}
	return new;
}

char *ferry__redis_strdup(const char *s)
{
	size_t len = strlen(s) + 1;
	char *new = ferry__redis_malloc(len);

	return new ? memcpy(new, s, len) : NULL;
}

void ferry__redis_pool_fork_child(void)
{
	pthread_mutex_init(&lock, NULL);
}
