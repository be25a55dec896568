/* SPDX-License-Identifier: MIT */
/*
 * offload_work_base.c: what faults of the malloc's stores are compared with:
 * the kernel's swap, and the smallest service by hand that decompresses.
 */
#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hand.h"
#include "offload_work.h"

#define PAGE 4096

/* Memory full of values, one behind the other. */
struct plain {
	char *addr;
	size_t len;
	size_t n; /* values */
};

static int plain_make(size_t bytes, struct plain *ret)
{
	size_t len = bytes / PAGE * PAGE;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	madvise(p, len, MADV_NOHUGEPAGE);
	ret->addr = p;
	ret->len = len;
	ret->n = len / OFFLOAD_VALUE;
	for (size_t i = 0; i < ret->n; i++)
		offload_value_make((uint64_t *)(p + i * OFFLOAD_VALUE), i);
	return 0;
}

static uint64_t plain_wrong(const struct plain *m)
{
	uint64_t wrong = 0;

	for (size_t i = 0; i < m->n; i++)
		wrong += !offload_value_right(
			(const uint64_t *)(m->addr + i * OFFLOAD_VALUE), i);
	return wrong;
}

static void plain_unmake(struct plain *m)
{
	munmap(m->addr, m->len);
}

/* --- swap ----------------------------------------------------------------- */

int offload_work_swap(struct offload_work *w)
{
	struct offload_pages p;
	struct plain m;
	int rc = plain_make(w->bytes, &m);

	if (rc < 0)
		return rc;
	offload_pages_in(m.addr, m.len, &p);
	offload_phase(OFFLOAD_FILLED);
	if (madvise(m.addr, m.len, MADV_PAGEOUT) < 0) {
		offload_absent("MADV_PAGEOUT: %s", strerror(errno));
	} else if (offload_wait_cold(&p, w->ms)) {
		offload_phase(OFFLOAD_RESTED);
		offload_measure_faults(&p, &w->rng);
	}
	offload_wrong(plain_wrong(&m));
	offload_phase(OFFLOAD_CHECKED);
	offload_pages_free(&p);
	plain_unmake(&m);
	return 0;
}

/* --- by hand -------------------------------------------------------------- */

/* Pages as lz4 has them, one behind the other. */
struct packed {
	char *data;
	uint32_t *at; /* of each page, and the end */
};

static int pack(const struct plain *m, struct packed *ret)
{
	size_t n = m->len / PAGE;
	size_t room = n * (size_t)LZ4_compressBound(PAGE);
	uint32_t end = 0;

	ret->at = bench_alloc((n + 1) * sizeof(*ret->at));
	ret->data = mmap(NULL, room, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ret->data == MAP_FAILED) {
		free(ret->at);
		return -errno;
	}
	for (size_t i = 0; i < n; i++) {
		int len = LZ4_compress_default(m->addr + i * PAGE,
					       ret->data + end, PAGE,
					       LZ4_compressBound(PAGE));

		ret->at[i] = end;
		end += (uint32_t)len;
	}
	ret->at[n] = end;
	return 0;
}

static void unpack(void *arg, size_t at, char *window)
{
	const struct packed *k = arg;
	size_t i = at / PAGE;

	LZ4_decompress_safe(k->data + k->at[i], window,
			    (int)(k->at[i + 1] - k->at[i]), PAGE);
}

static int serve_by_hand(struct offload_work *w, const struct plain *m,
			 struct packed *k, bool thread)
{
	static char window[PAGE] __attribute__((aligned(PAGE)));
	struct hand_params params = {
		.thread = thread,
		.copy = true,
		.window = PAGE,
		.dst = m->addr,
		.src = window,
		.len = m->len,
		.make = unpack,
		.arg = k,
	};
	enum ferry_reason reason;
	struct offload_pages p;
	int rc = hand_start(&params, &reason);

	if (rc < 0) {
		offload_absent("%s", ferry_reason_string(reason));
		return 0;
	}
	offload_pages_in(m->addr, m->len, &p);
	madvise(m->addr, m->len, MADV_DONTNEED);
	offload_phase(OFFLOAD_RESTED);
	offload_measure_faults(&p, &w->rng);
	offload_wrong(plain_wrong(m));
	offload_phase(OFFLOAD_CHECKED);
	offload_pages_free(&p);
	return hand_stop();
}

static int by_hand(struct offload_work *w, bool thread)
{
	struct packed k;
	struct plain m;
	int rc = plain_make(w->bytes, &m);

	if (rc < 0)
		return rc;
	rc = pack(&m, &k);
	if (rc == 0) {
		offload_phase(OFFLOAD_FILLED);
		rc = serve_by_hand(w, &m, &k, thread);
		munmap(k.data, m.len / PAGE * (size_t)LZ4_compressBound(PAGE));
		free(k.at);
	}
	plain_unmake(&m);
	return rc;
}

int offload_work_hand_thread(struct offload_work *w)
{
	return by_hand(w, true);
}

int offload_work_hand_sigbus(struct offload_work *w)
{
	return by_hand(w, false);
}
