/* SPDX-License-Identifier: MIT */
/* A program that knows what each byte of its heap must be. */
#include "tests/heap_model.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <ferry/malloc.h>

#define KIB ((size_t)1 << 10)

struct slot {
	/* L1: acquire and release around every use of the others. */
	atomic_bool locked;
	unsigned char *at; /* NULL: none */
	size_t size;
	uint64_t seed;
};

struct heap_model {
	size_t n, len;
	atomic_size_t bytes; /* relaxed: an estimate */
	struct slot slots[];
};

void heap_model_need(bool ok, const char *what)
{
	if (ok)
		return;
	dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
	_exit(HEAP_MODEL_BROKEN);
}

struct heap_model *heap_model_create(size_t n)
{
	size_t len = sizeof(struct heap_model) + n * sizeof(struct slot);
	struct heap_model *model;

	model = mmap(NULL, len, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	heap_model_need(model != MAP_FAILED, "mmap");
	model->n = n;
	model->len = len;
	return model;
}

static bool slot_lock(struct slot *slot)
{
	return !atomic_exchange_explicit(&slot->locked, true,
					 memory_order_acquire);
}

static void slot_unlock(struct slot *slot)
{
	atomic_store_explicit(&slot->locked, false, memory_order_release);
}

/* --- contents ------------------------------------------------------------ */

/*
 * What a block holds at @offset. Some blocks are of one word, some compress
 * well, some do not.
 */
static uint64_t word_at(uint64_t seed, size_t offset)
{
	uint64_t x = seed + offset;

	switch (seed % 4) {
	case 0:
		return seed;
	case 1:
		return offset / 64 % 3 ? seed >> 40 : x;
	default:
		x *= 0x9e3779b97f4a7c15u;
		x ^= x >> 29;
		return x * 0xbf58476d1ce4e5b9u;
	}
}

static size_t word_len(size_t size, size_t offset)
{
	return size - offset < 8 ? size - offset : 8;
}

static void fill(const struct slot *slot, size_t from)
{
	for (size_t i = from & -(size_t)8; i < slot->size; i += 8) {
		uint64_t word = word_at(slot->seed, i);

		memcpy(slot->at + i, &word, word_len(slot->size, i));
	}
}

static _Noreturn void wrong(const struct slot *slot, const void *at,
			    size_t size, size_t offset, const char *what)
{
	uint64_t got = 0, other = 0;

	memcpy(&got, (const char *)at + offset, word_len(size, offset));
	/* Once more: was it there late, or never? */
	usleep(100000);
	memcpy(&other, (const char *)at + offset, word_len(size, offset));
	dprintf(STDERR_FILENO,
		"%s: pid %d, block %p of %zu bytes (seed %#llx), offset %zu "
		"(%p): %#llx, a moment later %#llx, expected %#llx\n",
		what, (int)getpid(), (void *)slot->at, slot->size,
		(unsigned long long)slot->seed, offset,
		(void *)((const char *)at + offset), (unsigned long long)got,
		(unsigned long long)other,
		(unsigned long long)word_at(slot->seed, offset));
	if (getenv("FERRY_STRESS_STOP"))
		pause();
	_exit(HEAP_MODEL_WRONG);
}

/* Does @at, of @size bytes, hold the beginning of the slot's contents? */
static void check_at(const struct slot *slot, const void *at, size_t size,
		     const char *what)
{
	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = word_at(slot->seed, i);

		if (memcmp((const char *)at + i, &word, word_len(size, i)))
			wrong(slot, at, size, i, what);
	}
}

static void check(const struct slot *slot)
{
	check_at(slot, slot->at, slot->size, "a block is not what it was");
}

/* --- blocks -------------------------------------------------------------- */

static size_t any_size(struct random *rng)
{
	uint64_t kind = random_below(rng, 2000);

	if (kind == 0)
		return random_below(rng, 12000 * KIB);
	if (kind < 20)
		return random_below(rng, 512 * KIB);
	if (kind < 200)
		return random_below(rng, 40 * KIB);
	return random_below(rng, 2 * KIB);
}

static void note(struct heap_model *model, struct slot *slot, void *at,
		 size_t size)
{
	atomic_fetch_add_explicit(&model->bytes, size - slot->size,
				  memory_order_relaxed);
	slot->at = at;
	slot->size = size;
}

static void *zeroed(struct slot *slot, size_t size)
{
	unsigned char *at = calloc(1, size);

	for (size_t i = 0; at && i < size; i++) {
		if (at[i])
			wrong(slot, at, size, i, "calloc() gave");
	}
	return at;
}

static void *aligned(size_t size, struct random *rng)
{
	size_t align = sizeof(void *) << random_below(rng, 12);
	void *at;

	if (posix_memalign(&at, align, size))
		return NULL;
	heap_model_need(!((uintptr_t)at % align), "alignment");
	return at;
}

static void allocate(struct heap_model *model, struct slot *slot,
		     struct random *rng)
{
	size_t size = 1 + any_size(rng);
	void *at;

	switch (random_below(rng, 6)) {
	case 0:
		at = zeroed(slot, size);
		break;
	case 1:
		at = aligned(size, rng);
		break;
	default:
		at = malloc(size);
	}
	heap_model_need(at, "no memory");
	slot->seed = random_next(rng);
	note(model, slot, at,
	     random_below(rng, 50) ? size : malloc_usable_size(at));
	fill(slot, 0);
}

static void release(struct heap_model *model, struct slot *slot)
{
	check(slot);
	free(slot->at);
	note(model, slot, NULL, 0);
}

static void resize(struct heap_model *model, struct slot *slot,
		   struct random *rng)
{
	size_t old = slot->size, size = 1 + any_size(rng);
	void *at = realloc(slot->at, size);

	heap_model_need(at, "no memory");
	note(model, slot, at, size);
	check_at(slot, at, old < size ? old : size, "realloc() changed");
	if (size > old)
		fill(slot, old);
}

/* Through the kernel: it reads a block that may be away, and writes one. */
static void through_pipe(struct slot *slot)
{
	size_t len = slot->size < 32 * KIB ? slot->size : 32 * KIB;
	unsigned char *copy = malloc(len);
	int fds[2];

	heap_model_need(copy, "no memory");
	heap_model_need(!pipe(fds), "pipe");
	heap_model_need(write(fds[1], slot->at, len) == (ssize_t)len, "write");
	heap_model_need(read(fds[0], copy, len) == (ssize_t)len, "read");
	close(fds[0]);
	close(fds[1]);
	check_at(slot, copy, len, "a pipe gave");
	free(copy);
}

/* Where the malloc is another one, it has no hints. */
#pragma weak ferry_hint_cold
#pragma weak ferry_hint_hot
#pragma weak ferry_hint_pin
#pragma weak ferry_hint_none

static void pin_for_a_while(struct slot *slot)
{
	ferry_hint_pin(slot->at, slot->size);
	check(slot);
	ferry_hint_none(slot->at, slot->size);
}

static void hint(struct slot *slot, struct random *rng)
{
	if (!ferry_hint_cold)
		return;
	switch (random_below(rng, 4)) {
	case 0:
		ferry_hint_hot(slot->at, slot->size);
		break;
	case 1:
		pin_for_a_while(slot);
		break;
	default:
		ferry_hint_cold(slot->at, slot->size);
	}
}

static void refill(struct slot *slot, struct random *rng)
{
	slot->seed = random_next(rng);
	fill(slot, 0);
}

static void use(struct heap_model *model, struct slot *slot, struct random *rng)
{
	switch (random_below(rng, 16)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
	case 5:
		release(model, slot);
		break;
	case 6:
		resize(model, slot, rng);
		break;
	case 7:
		through_pipe(slot);
		break;
	case 8:
		hint(slot, rng);
		break;
	case 9:
		refill(slot, rng);
		break;
	default:
		check(slot);
	}
}

/* Nine in ten steps are with one in ten blocks: the others get cold. */
static struct slot *any_slot(struct heap_model *model, struct random *rng)
{
	size_t n = random_below(rng, 10) ? model->n / 10 : model->n;

	return &model->slots[random_below(rng, n ? n : 1)];
}

void heap_model_step(struct heap_model *model, struct random *rng)
{
	struct slot *slot = any_slot(model, rng);

	if (!slot_lock(slot))
		return;
	if (slot->at)
		use(model, slot, rng);
	else
		allocate(model, slot, rng);
	slot_unlock(slot);
}

size_t heap_model_verify(struct heap_model *model)
{
	size_t seen = 0;

	for (size_t i = 0; i < model->n; i++) {
		struct slot *slot = &model->slots[i];

		if (!slot_lock(slot))
			continue;
		if (slot->at)
			check(slot);
		seen += slot->at != NULL;
		slot_unlock(slot);
	}
	return seen;
}

size_t heap_model_bytes(struct heap_model *model)
{
	return atomic_load_explicit(&model->bytes, memory_order_relaxed);
}

void heap_model_destroy(struct heap_model *model)
{
	for (size_t i = 0; i < model->n; i++) {
		if (model->slots[i].at)
			release(model, &model->slots[i]);
	}
	munmap(model, model->len);
}
