/* SPDX-License-Identifier: MIT */
/*
 * The plain model of arenas: what each page's state, pins and contents must
 * be, and what an operation on a run of pages must answer.
 */
#ifndef FERRY_TESTS_FUZZ_MODEL_H
#define FERRY_TESTS_FUZZ_MODEL_H

#include <ferry/ferry.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ends the program with file and line: libFuzzer keeps the input. */
#define expect(cond)                                                           \
	do {                                                                   \
		if (!(cond))                                                   \
			model_fail(__FILE__, __LINE__, #cond);                 \
	} while (0)

_Noreturn void model_fail(const char *file, int line, const char *what);

/* Pages of the smallest arena. */
#define MODEL_PAGES ((size_t)512)

struct model_page {
	enum ferry_page_state state;
	size_t pins;
	uint64_t number; /* what is written all over it; 0: zeros */
};

struct model {
	struct ferry_arena *arena;
	char *base;
	size_t pages;
	struct model_page *page;
};

char *model_page(const struct model *m, size_t page);

/* How many pages from @first on are in @state, at most @n. */
size_t model_prefix(const struct model *m, size_t first, size_t n,
		    enum ferry_page_state state);
size_t model_count(const struct model *m, enum ferry_page_state state);

/* Each changes the model and returns what the arena must answer. */
int model_commit(struct model *m, size_t first, size_t n);
int model_decommit(struct model *m, size_t first, size_t n);
int model_pin(struct model *m, size_t first, size_t n);
int model_unpin(struct model *m, size_t first, size_t n);
size_t model_claim(struct model *m, size_t first, size_t n);
int model_claim_absent(struct model *m, size_t first, size_t n);

void model_settle(struct model *m, size_t first, size_t n,
		  enum ferry_page_state to);
void model_move(struct model *from, size_t first, struct model *to,
		size_t to_first, size_t n);
void model_grow(struct model *m, size_t reserved);

/* Writes fresh numbers over the committed pages of the run. */
void model_write(struct model *m, size_t first, size_t n);

bool contents_are(const char *page, uint64_t number);

/* The arena's runs, state by state, are those of the model. */
void model_check_states(const struct model *m);

/* --- all arenas of one input ---------------------------------------------- */

#define WORLD_ARENAS 6

struct world {
	struct ferry_uffd *uffd;
	struct model model[WORLD_ARENAS];
	size_t len;
};

void world_init(struct world *world);
void world_fini(struct world *world);

/* Takes an arena that was made elsewhere, all of it ABSENT in the model. */
struct model *world_adopt(struct world *world, struct ferry_arena *arena);

/* Destroys the arena and makes a fresh one in its place. */
void world_replace(struct model *m);

/* States, contents, look-ups and invariants of every arena. */
void world_check(struct world *world);

#endif
