/* SPDX-License-Identifier: MIT */
/*
 * A dictionary: bytes that pages of a program are likely to repeat, and what
 * zstd makes of them to find and to copy them. All of it is one mapping, and
 * nothing in it changes while it is there.
 *
 * For zstd alone: lz4 wins 6 to 10 % by one and takes 1.2 to 1.6 times as long
 * to read a page; see DESIGN-malloc.md, S9.
 */
#ifndef FERRY_ALLOC_STORE_DICT_H
#define FERRY_ALLOC_STORE_DICT_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes; twice of it wins half a percent. */
#define FERRY__DICT_SIZE ((size_t)32 << 10)

struct ZSTD_CDict_s;
struct ZSTD_DDict_s;

struct ferry__dict {
	const struct ZSTD_CDict_s *pack;
	const struct ZSTD_DDict_s *unpack;
	size_t held; /* bytes of the mapping */
};

/* Pages of this size are short enough to win by one. */
bool ferry__dict_useful(void);

/* Bytes of memory that one takes. */
size_t ferry__dict_held(void);

/* Of a copy of @bytes. Returns 0 or -ENOMEM. */
int ferry__dict_create(const void *bytes, struct ferry__dict **ret_dict);
void ferry__dict_destroy(struct ferry__dict *dict);

/* Bytes that zstd needs to compress a page by one. */
size_t ferry__dict_context_size(void);

#endif
