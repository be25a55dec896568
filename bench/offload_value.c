/* SPDX-License-Identifier: MIT */
/* offload_value.c: values with contents as programs have them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "offload_work.h"

#define TEXT (OFFLOAD_VALUE - 8)

/* A text that is being written: where, and how much more. */
struct text {
	char *p;
	size_t left;
};

static void put(struct text *t, const char *s, size_t len)
{
	if (len > t->left)
		len = t->left;
	memcpy(t->p, s, len);
	t->p += len;
	t->left -= len;
}

static void put_string(struct text *t, const char *s)
{
	put(t, s, strlen(s));
}

static void put_word(struct text *t, struct bench_rng *rng)
{
	static const char *const words[] = {
		"anna",	  "bruno",  "carla",  "dmitri",	 "elena",   "farid",
		"greta",  "hiro",   "ingrid", "jonas",	 "kofi",    "lucia",
		"mehmet", "noor",   "oskar",  "paula",	 "quentin", "rosa",
		"harbor", "valley", "bridge", "station", "market",  "garden",
		"silver", "copper", "yellow", "quiet",	 "second",  "northern",
		"ferry",  "island",
	};

	put_string(t, words[bench_rng_below(rng, BENCH_ARRAY_LEN(words))]);
}

static void put_hex(struct text *t, uint64_t v, size_t digits)
{
	char s[16];

	for (size_t i = 0; i < digits; i++, v >>= 4)
		s[i] = "0123456789abcdef"[v & 15];
	put(t, s, digits);
}

static void put_record(struct text *t, struct bench_rng *rng)
{
	put_string(t, "{\"id\":\"");
	put_hex(t, bench_rng_next(rng), 16);
	put_string(t, "\",\"name\":\"");
	put_word(t, rng);
	put(t, " ", 1);
	put_word(t, rng);
	put_string(t, "\",\"city\":\"");
	put_word(t, rng);
	put_string(t, "\",\"mail\":\"");
	put_word(t, rng);
	put_hex(t, bench_rng_next(rng), 4);
	put_string(t, "@example.org\",\"seen\":\"");
	put_hex(t, bench_rng_next(rng), 8);
	put_string(t, "\",\"note\":\"");
	while (t->left) {
		put_word(t, rng);
		put(t, " ", 1);
	}
}

static uint64_t sum_of(const uint64_t *value, uint64_t id)
{
	uint64_t sum = id;

	for (size_t i = 0; i < OFFLOAD_WORDS - 1; i++)
		sum = (sum ^ value[i]) * UINT64_C(0x9e3779b97f4a7c15) +
		      (sum >> 29);
	return sum;
}

void offload_value_make(uint64_t *value, uint64_t id)
{
	struct bench_rng rng = { id };
	struct text t = { (char *)value, TEXT };

	put_record(&t, &rng);
	value[OFFLOAD_WORDS - 1] = sum_of(value, id);
}

void offload_value_touch(uint64_t *value, uint64_t id)
{
	value[OFFLOAD_WORDS - 2]++;
	value[OFFLOAD_WORDS - 1] = sum_of(value, id);
}

bool offload_value_right(const uint64_t *value, uint64_t id)
{
	return value[OFFLOAD_WORDS - 1] == sum_of(value, id);
}

int offload_table_make(size_t bytes, struct offload_table *ret)
{
	size_t n = bytes / OFFLOAD_VALUE;
	struct offload_table t = { bench_alloc(n * sizeof(*t.v)), 0 };

	for (; t.n < n; t.n++) {
		t.v[t.n] = malloc(OFFLOAD_VALUE);
		if (!t.v[t.n]) {
			offload_table_free(&t);
			return -ENOMEM;
		}
		offload_value_make(t.v[t.n], t.n);
	}
	*ret = t;
	return 0;
}

void offload_table_free(struct offload_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i]);
	free(t->v);
}

uint64_t offload_table_wrong(const struct offload_table *t)
{
	uint64_t wrong = 0;

	for (size_t i = 0; i < t->n; i++)
		wrong += !offload_value_right(t->v[i], i);
	return wrong;
}
