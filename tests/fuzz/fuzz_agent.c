/* SPDX-License-Identifier: MIT */
/*
 * Frames of the policy agent, drawn by libFuzzer: whatever is in them, they
 * are refused or worked on, the reply is of the form that is promised, and the
 * arenas are sound afterwards with their contents.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/agent/agent-internal.h"
#include "alloc/alloc-internal.h"
#include "tests/fuzz/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MIB	   ((size_t)1 << 20)
#define RANGES_MAX 64
#define REPLY_MAX  ((size_t)256 << 10)

static struct ferry_arena *arena;
static uint64_t *word; /* the first of each page is its number */

static void begin(void)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	size_t i;

	p.reserve = 2 * MIB;
	p.thp = FERRY_THP_NEVER;
	expect(!ferry_arena_create(&p, &arena));
	expect(!ferry_arena_commit(arena, 0, MIB, true));
	word = ferry_arena_base(arena);
	for (i = 0; i < MIB / 8; i += 512)
		word[i] = i;
}

static void expect_sound(void)
{
	size_t i;

	for (i = 0; i < MIB / 8; i += 512)
		expect(word[i] == i);
	ferry__arena_check(arena);
}

/*
 * Most frames that are drawn are refused at once: so the length is made right,
 * and addresses are counted from the arena, unless the input says otherwise.
 */
static void help(char *frame, size_t size, uint8_t how)
{
	struct ferry_agent_request *req = (void *)frame;
	struct ferry_agent_range *range;
	size_t i;

	if (how & 1) {
		req->version = FERRY_AGENT_VERSION;
		req->length = size;
	}
	if (!(how & 2))
		return;
	req->size = sizeof(*req);
	req->flags &= 3;
	req->reserved = 0;
	req->nodes_len %= 130;
	req->ranges_len %= 5;
	req->object %= 4;
	range = (void *)(frame + sizeof(*req));
	for (i = 0;
	     i < req->ranges_len && (char *)(range + i + 1) <= frame + size;
	     i++) {
		range[i].addr = (uintptr_t)word + range[i].addr % (4 * MIB);
		range[i].len %= 4 * MIB;
		if (how & 4) {
			range[i].addr &= ~(uint64_t)4095;
			range[i].len &= ~(uint64_t)4095;
		}
	}
	i = sizeof(*req) + req->ranges_len * sizeof(*range) +
	    (req->nodes_len + 63) / 64 * 8;
	req->text_len = size > i ? (uint32_t)(size - i) : 0;
}

static void expect_reply(const struct ferry__agent_job *job)
{
	const struct ferry_agent_reply *r = &job->reply;

	expect(job->out.len <= REPLY_MAX);
	expect(r->length == job->out.len);
	expect(r->length ==
	       sizeof(*r) + r->items_len * r->item_size + r->text_len);
	expect(!r->error || (!r->items_len && !r->text_len));
	expect(r->failed <= job->req.ranges_len + 1);
	expect(!memcmp(job->out.mem, r, sizeof(*r)));
}

static void serve(const char *frame, size_t size)
{
	struct ferry__agent_job job = { .root = false };
	int r = ferry__agent_parse(frame, size, RANGES_MAX, &job);

	expect(!ferry__agent_reply_begin(&job, REPLY_MAX));
	if (r < 0)
		ferry__agent_fail(&job, r, FERRY_REASON_NONE);
	else if (job.req.op != FERRY_AGENT_HELLO &&
		 job.req.op != FERRY_AGENT_MIGRATE_PHYS)
		while (ferry__agent_host.step(&job))
			;
	ferry__agent_reply_end(&job);
	expect_reply(&job);
	ferry__agent_free(job.own, job.own_bytes);
	ferry__agent_reply_free(&job);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *frame;
	uint8_t how;

	if (!arena)
		begin();
	if (!size)
		return 0;
	how = *data++;
	size--;
	/* Of the very size, so that a byte too far is seen. */
	frame = malloc(size ? size : 1);
	memcpy(frame, data, size);
	if (size >= sizeof(struct ferry_agent_request))
		help(frame, size, how);
	serve(frame, size);
	free(frame);
	ferry__agent_host.end();
	expect_sound();
	return 0;
}
