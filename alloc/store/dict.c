/* SPDX-License-Identifier: MIT */
/* Dictionaries of zstd in memory of our own. */
#define ZSTD_STATIC_LINKING_ONLY
#include "alloc/store/dict.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>

#include "alloc/store/map.h"
#include "uffd/sys.h"

/* Above it zstd would copy its tables of the dictionary for each page. */
#define MOST_PAGE ((size_t)16 << 10)

/*
 * Of what zstd has for level 3, with smaller tables: 140 KiB where they would
 * be 435, for half a percent. Level 1 wins half as much by a dictionary; the
 * levels above this one take from twice as long.
 */
static const ZSTD_compressionParameters params = {
	.windowLog = 16,
	.chainLog = 13,
	.hashLog = 14,
	.searchLog = 2,
	.minMatch = 5,
	.targetLength = 0,
	.strategy = ZSTD_dfast,
};

/* Where the parts are in the mapping; each begins at a line. */
struct layout {
	size_t bytes, pack, unpack, end;
};

static size_t line(size_t size)
{
	return (size + 63) & ~(size_t)63;
}

static size_t pack_size(void)
{
	return ZSTD_estimateCDictSize_advanced(FERRY__DICT_SIZE, params,
					       ZSTD_dlm_byRef);
}

static size_t unpack_size(void)
{
	return ZSTD_estimateDDictSize(FERRY__DICT_SIZE, ZSTD_dlm_byRef);
}

static struct layout layout(void)
{
	struct layout at;

	at.bytes = line(sizeof(struct ferry__dict));
	at.pack = at.bytes + line(FERRY__DICT_SIZE);
	at.unpack = at.pack + line(pack_size());
	at.end = ferry__store_round(at.unpack + unpack_size());
	return at;
}

bool ferry__dict_useful(void)
{
	return ferry__page_size <= MOST_PAGE;
}

size_t ferry__dict_held(void)
{
	return layout().end;
}

/* Its tables are for what is compressed: as without a dictionary. */
size_t ferry__dict_context_size(void)
{
	return ZSTD_estimateCCtxSize_usingCParams(
		ZSTD_adjustCParams(params, ferry__page_size, 0));
}

int ferry__dict_create(const void *bytes, struct ferry__dict **ret_dict)
{
	struct layout at = layout();
	struct ferry__dict *dict;
	void *base;
	char *p;
	int r;

	r = ferry__store_map(at.end, &base);
	if (r < 0)
		return r;
	dict = base;
	p = base;
	memcpy(p + at.bytes, bytes, FERRY__DICT_SIZE);
	dict->held = at.end;
	dict->pack = ZSTD_initStaticCDict(
		p + at.pack, pack_size(), p + at.bytes, FERRY__DICT_SIZE,
		ZSTD_dlm_byRef, ZSTD_dct_rawContent, params);
	dict->unpack = ZSTD_initStaticDDict(
		p + at.unpack, unpack_size(), p + at.bytes, FERRY__DICT_SIZE,
		ZSTD_dlm_byRef, ZSTD_dct_rawContent);
	ferry__check(dict->pack && dict->unpack);
	*ret_dict = dict;
	return 0;
}

void ferry__dict_destroy(struct ferry__dict *dict)
{
	ferry__store_unmap(dict, dict->held);
}
