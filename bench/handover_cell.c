/* SPDX-License-Identifier: MIT */
/* handover_cell.c: a run between two processes, and what comes back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "handover.h"
#include "handover_work.h"
#include "preload.h"

const char *const handover_way_names[HANDOVER_WAYS] = {
	[HANDOVER_EAGER] = "ferry-eager",
	[HANDOVER_LAZY] = "ferry-lazy",
	[HANDOVER_COPY] = "ferry-copy",
	[HANDOVER_LOOP] = "hand-loop",
	[HANDOVER_MAP] = "hand-map",
	[HANDOVER_PIPE] = "pipe",
	[HANDOVER_VM_WARM] = "vm-readv-warm",
	[HANDOVER_VM_NEW] = "vm-readv-new",
};

const char *const handover_pages_names[HANDOVER_PAGES] = {
	[HANDOVER_4K] = "4k",
	[HANDOVER_HUGE] = "huge",
};

const struct handover_metric_info handover_metrics[HANDOVER_METRICS] = {
	[HANDOVER_WHOLE] = { "whole_s", "s" },
	[HANDOVER_START] = { "start_s", "s" },
	[HANDOVER_GIVEN] = { "given_s", "s" },
	[HANDOVER_PASS] = { "pass_s", "s" },
	[HANDOVER_P50] = { "first_p50_us", "us" },
	[HANDOVER_P99] = { "first_p99_us", "us" },
	[HANDOVER_HUGE_SHARE] = { "huge_share", "share" },
};

static int run(const struct handover_cell *c, uint64_t seed,
	       struct handover_outcome *ret_out)
{
	char *size = bench_asprintf("%llu", (unsigned long long)c->size);
	char *text = bench_asprintf("%llu", (unsigned long long)seed);
	const char *const argv[] = {
		"/proc/self/exe",
		HANDOVER_WORK_ARGUMENT,
		handover_way_names[c->way],
		size,
		handover_pages_names[c->pages],
		text,
		NULL,
	};
	const struct preload same = { .library = getenv("LD_PRELOAD") };
	struct preload_child child;
	int rc = preload_start(&same, argv, NULL, false, &child);
	bool told;
	int status;

	free(size);
	free(text);
	if (rc < 0)
		return rc;
	told = preload_read_report(&child, ret_out, sizeof(*ret_out));
	status = preload_wait(&child, NULL);
	if (!told || status) {
		char *end = preload_end_text(status);

		snprintf(ret_out->why, sizeof(ret_out->why), "%s", end);
		free(end);
		return -EPROTO;
	}
	return ret_out->error;
}

void handover_cell_run(struct handover_cell *c, uint64_t seed, bool keep)
{
	struct handover_outcome out;

	if (c->error)
		return;
	memset(&out, 0, sizeof(out));
	c->error = run(c, seed, &out);
	c->wrong += out.wrong;
	snprintf(c->why, sizeof(c->why), "%s",
		 c->error && !out.why[0] ? strerror(-c->error) : out.why);
	for (size_t i = 0; i < HANDOVER_METRICS && keep && !c->error; i++)
		bench_samples_add(&c->metric[i], out.v[i]);
}

void handover_cell_fini(struct handover_cell *c)
{
	for (size_t i = 0; i < HANDOVER_METRICS; i++)
		bench_samples_fini(&c->metric[i]);
}

const struct handover_cell *handover_find(const struct handover_cells *cells,
					  enum handover_way_id way,
					  enum handover_pages_id pages,
					  uint64_t size)
{
	for (size_t i = 0; i < cells->n; i++) {
		const struct handover_cell *c = &cells->v[i];

		if (c->way == way && c->pages == pages && c->size == size)
			return c->error ? NULL : c;
	}
	return NULL;
}

char *handover_size_text(uint64_t size)
{
	static const char suffix[] = { 0, 'K', 'M', 'G' };
	size_t i = 0;

	while (i + 1 < sizeof(suffix) && size && size % 1024 == 0) {
		size /= 1024;
		i++;
	}
	return bench_asprintf("%llu%.1s", (unsigned long long)size, &suffix[i]);
}
