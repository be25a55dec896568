/* SPDX-License-Identifier: MIT */
/*
 * lz4 and zstd on one page at a time, in memory of our own.
 *
 * lz4 needs a state to compress and none to decompress. zstd needs one for
 * each; its functions for static contexts are part of the shared library, if
 * of the half of its interface that may change (zstd.h, "static only").
 */
#define ZSTD_STATIC_LINKING_ONLY
#include "alloc/store/codec.h"

#include <errno.h>
#include <lz4.h>
#include <zstd.h>

#include "alloc/store/map.h"
#include "uffd/sys.h"

/*
 * Of zstd's levels 1 is the least that looks for matches of all lengths: on
 * pages, the higher ones win 1 % and cost half as much again.
 */
#define ZSTD_LEVEL 1

/* --- room to work --------------------------------------------------------- */

static size_t work_head(void)
{
	return (sizeof(struct ferry__work) + 63) & ~(size_t)63;
}

static struct ferry__work *take_idle(struct ferry__work_pool *pool)
{
	/* C1: acquire. */
	struct ferry__work *work =
		__atomic_load_n(&pool->head, __ATOMIC_ACQUIRE);
	uint32_t idle;

	for (; work; work = work->next) {
		idle = 0;
		/* C2: acquire: after all that its last user did. */
		if (__atomic_compare_exchange_n(&work->busy, &idle, 1, false,
						__ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return work;
	}
	return NULL;
}

/* Where all rooms are in use, one more: as many as users at a time. */
static struct ferry__work *take_work(struct ferry__work_pool *pool)
{
	struct ferry__work *work = take_idle(pool);
	void *base;

	if (work || ferry__store_map(pool->size, &base) < 0)
		return work;
	work = base;
	work->busy = 1;
	work->state = (char *)base + work_head();
	work->out = (char *)base + pool->size - ferry__page_size;
	__atomic_fetch_add(&pool->held, ferry__store_round(pool->size),
			   __ATOMIC_RELAXED);
	/* C1: release. */
	work->next = __atomic_load_n(&pool->head, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&pool->head, &work->next, work,
					    true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
	return work;
}

void ferry__coder_done(struct ferry__work *work)
{
	/* C2: release. */
	__atomic_store_n(&work->busy, 0, __ATOMIC_RELEASE);
}

static void pool_init(struct ferry__work_pool *pool, size_t state)
{
	*pool = (struct ferry__work_pool){
		.size = ferry__store_round(work_head() + state) +
			ferry__page_size,
	};
}

static void pool_fini(struct ferry__work_pool *pool)
{
	while (pool->head) {
		struct ferry__work *work = pool->head;

		pool->head = work->next;
		ferry__store_unmap(work, pool->size);
	}
}

/* --- lz4 ------------------------------------------------------------------ */

static int pack_lz4(struct ferry__work *work, const void *page, size_t most)
{
	int n = LZ4_compress_fast_extState(work->state, page, work->out,
					   (int)ferry__page_size, (int)most, 1);

	return n > 0 ? n : -E2BIG;
}

static int unpack_lz4(const void *from, size_t len, void *page)
{
	int n = LZ4_decompress_safe(from, page, (int)len,
				    (int)ferry__page_size);

	return n == (int)ferry__page_size ? 0 : -EILSEQ;
}

/* --- zstd ----------------------------------------------------------------- */

/* With a dictionary or without. */
static size_t zstd_pack_size(void)
{
	size_t plain = ZSTD_estimateCCtxSize_usingCParams(
		ZSTD_getCParams(ZSTD_LEVEL, ferry__page_size, 0));
	size_t by_dict = ferry__dict_context_size();

	return plain > by_dict ? plain : by_dict;
}

/*
 * Setting up a context costs as much as a page, hence once for each room.
 * Frames say nothing of what is the same for all: kind, size, checksum.
 */
static ZSTD_CCtx *pack_context(struct ferry__work *work)
{
	ZSTD_CCtx *ctx = work->context;

	if (ctx)
		return ctx;
	ctx = ZSTD_initStaticCCtx(work->state, zstd_pack_size());
	ferry__check(ctx);
	ZSTD_CCtx_setParameter(ctx, ZSTD_c_format, ZSTD_f_zstd1_magicless);
	ZSTD_CCtx_setParameter(ctx, ZSTD_c_compressionLevel, ZSTD_LEVEL);
	ZSTD_CCtx_setParameter(ctx, ZSTD_c_contentSizeFlag, 0);
	work->context = ctx;
	return ctx;
}

static ZSTD_DCtx *unpack_context(struct ferry__work *work)
{
	ZSTD_DCtx *ctx = work->context;

	if (ctx)
		return ctx;
	ctx = ZSTD_initStaticDCtx(work->state, ZSTD_estimateDCtxSize());
	ferry__check(ctx);
	ZSTD_DCtx_setParameter(ctx, ZSTD_d_format, ZSTD_f_zstd1_magicless);
	work->context = ctx;
	return ctx;
}

static int pack_zstd(struct ferry__work *work, const struct ferry__dict *dict,
		     const void *page, size_t most)
{
	ZSTD_CCtx *ctx = pack_context(work);
	size_t n;

	/* What failed half-way refuses another dictionary before this. */
	ZSTD_CCtx_reset(ctx, ZSTD_reset_session_only);
	ZSTD_CCtx_refCDict(ctx, dict ? dict->pack : NULL);
	n = ZSTD_compress2(ctx, work->out, most, page, ferry__page_size);
	return ZSTD_isError(n) ? -E2BIG : (int)n;
}

static int unpack_zstd(struct ferry__coder *coder,
		       const struct ferry__dict *dict, const void *from,
		       size_t len, void *page)
{
	struct ferry__work *work = take_work(&coder->unpack);
	size_t n;

	if (!work)
		return -EIO;
	n = ZSTD_decompress_usingDDict(unpack_context(work), page,
				       ferry__page_size, from, len,
				       dict ? dict->unpack : NULL);
	ferry__coder_done(work);
	return n == ferry__page_size ? 0 : -EILSEQ;
}

/* --- either --------------------------------------------------------------- */

/* One room at once, so that the usual number of users never has to map. */
static int make_room(struct ferry__work_pool *pool)
{
	struct ferry__work *work = take_work(pool);

	if (!work)
		return -ENOMEM;
	ferry__coder_done(work);
	return 0;
}

int ferry__coder_init(struct ferry__coder *coder, enum ferry__codec codec)
{
	int r;

	coder->codec = codec;
	switch (codec) {
	case FERRY__CODEC_LZ4:
		pool_init(&coder->pack, (size_t)LZ4_sizeofState());
		pool_init(&coder->unpack, 0);
		return make_room(&coder->pack);
	case FERRY__CODEC_ZSTD:
		pool_init(&coder->pack, zstd_pack_size());
		pool_init(&coder->unpack, ZSTD_estimateDCtxSize());
		break;
	default:
		return -EINVAL;
	}
	r = make_room(&coder->pack);
	if (r < 0)
		return r;
	r = make_room(&coder->unpack);
	if (r < 0)
		pool_fini(&coder->pack);
	return r;
}

void ferry__coder_fini(struct ferry__coder *coder)
{
	pool_fini(&coder->pack);
	pool_fini(&coder->unpack);
}

int ferry__coder_pack(struct ferry__coder *coder,
		      const struct ferry__dict *dict, const void *page,
		      size_t most, struct ferry__work **ret_work)
{
	struct ferry__work *work = take_work(&coder->pack);
	int n;

	if (!work)
		return -ENOMEM;
	if (coder->codec == FERRY__CODEC_LZ4)
		n = pack_lz4(work, page, most);
	else
		n = pack_zstd(work, dict, page, most);
	if (n < 0)
		ferry__coder_done(work);
	else
		*ret_work = work;
	return n;
}

int ferry__coder_unpack(struct ferry__coder *coder,
			const struct ferry__dict *dict, const void *from,
			size_t len, void *page)
{
	if (coder->codec == FERRY__CODEC_LZ4)
		return unpack_lz4(from, len, page);
	return unpack_zstd(coder, dict, from, len, page);
}

uint64_t ferry__coder_held(const struct ferry__coder *coder)
{
	/* Counts of their own: relaxed. */
	return __atomic_load_n(&coder->pack.held, __ATOMIC_RELAXED) +
	       __atomic_load_n(&coder->unpack.held, __ATOMIC_RELAXED);
}

/* What was cut off in the middle is set up anew. */
static void all_idle(struct ferry__work_pool *pool)
{
	struct ferry__work *work;

	for (work = pool->head; work; work = work->next) {
		/* C2: the only thread: relaxed. */
		if (__atomic_load_n(&work->busy, __ATOMIC_RELAXED))
			work->context = NULL;
		ferry__coder_done(work);
	}
}

void ferry__coder_fork_child(struct ferry__coder *coder)
{
	all_idle(&coder->pack);
	all_idle(&coder->unpack);
}
