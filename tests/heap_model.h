/* SPDX-License-Identifier: MIT */
/*
 * A program that uses malloc in every way there is and knows what each byte
 * of each block must be: for the malloc that it is linked with, or that is
 * preloaded.
 *
 * What blocks there are stands in a table of its own mapping, and what they
 * hold follows from a number in it, so that nothing of the model can be lost
 * together with the heap. Blocks belong to no thread: whoever locks the slot
 * may use its block. The first thing that is not as it must be is described
 * on standard error, and ends the process with HEAP_MODEL_WRONG.
 */
#ifndef FERRY_TESTS_HEAP_MODEL_H
#define FERRY_TESTS_HEAP_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/random.h"

enum {
	HEAP_MODEL_WRONG = 3, /* exit status: a byte was not what it was */
	HEAP_MODEL_BROKEN =
		4, /* exit status: the test itself could not go on */
};

struct heap_model;

/* A model of @n blocks at most. */
struct heap_model *heap_model_create(size_t n);

/* One thing that programs do with a block, whichever is free. */
void heap_model_step(struct heap_model *model, struct random *rng);

/* Looks at every block that nobody holds. Returns how many there were. */
size_t heap_model_verify(struct heap_model *model);

/* Bytes in blocks now; an estimate beside other threads. */
size_t heap_model_bytes(struct heap_model *model);

/* Frees all blocks; alone. */
void heap_model_destroy(struct heap_model *model);

/* Ends the process with HEAP_MODEL_BROKEN unless @ok. */
void heap_model_need(bool ok, const char *what);

#endif
