/* SPDX-License-Identifier: MIT */
/* handover_work_ferry.c: hand-over by the library, in its ways. */
#include <errno.h>
#include <string.h>

#include <ferry/arena.h>
#include <ferry/handover.h>

#include "handover_work.h"

static int make_arena(struct handover_work *w, enum ferry_backing backing)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	int rc;

	p.reserve = w->size;
	p.backing = backing;
	p.thp = w->huge ? FERRY_THP_ALWAYS : FERRY_THP_NEVER;
	rc = ferry_arena_create(&p, &w->arena);
	if (rc == 0)
		rc = ferry_arena_commit(w->arena, 0, w->size, true);
	if (rc < 0)
		return handover_because(w, rc, "no arena to send: %s",
					strerror(-rc));
	w->addr = ferry_arena_base(w->arena);
	return 0;
}

static int make_shared(struct handover_work *w)
{
	return make_arena(w, FERRY_BACKING_SHARED);
}

static int make_private(struct handover_work *w)
{
	return make_arena(w, FERRY_BACKING_PRIVATE);
}

static int give(struct handover_work *w)
{
	int rc = ferry_handover_send(w->sock, w->arena, 0, w->size, NULL, NULL);

	return rc < 0 ? handover_because(w, rc, "the offer failed: %s",
					 strerror(-rc))
		      : 0;
}

/* A way that was not the one to be measured is no measurement. */
static int accept_by(struct handover_work *w, bool lazy,
		     enum ferry_handover_way way)
{
	struct ferry_handover_accept_params p =
		FERRY_INIT(struct ferry_handover_accept_params);
	struct ferry_handover_result r =
		FERRY_INIT(struct ferry_handover_result);
	int rc;

	p.lazy = lazy;
	rc = ferry_handover_accept(w->sock, &p, &r, &w->arena);
	if (rc < 0)
		return handover_because(w, rc, "the offer was not taken: %s",
					strerror(-rc));
	if (r.way != way || r.len != w->size)
		return handover_because(w, -EPROTO, "%zu bytes came by way %s",
					r.len, ferry_handover_way_name(r.way));
	w->addr = (char *)ferry_arena_base(w->arena) + r.offset;
	return 0;
}

static int take_eager(struct handover_work *w)
{
	return accept_by(w, false, FERRY_HANDOVER_SHARED);
}

static int take_lazy(struct handover_work *w)
{
	return accept_by(w, true, FERRY_HANDOVER_SHARED);
}

static int take_copy(struct handover_work *w)
{
	return accept_by(w, false, FERRY_HANDOVER_COPY);
}

static int finish(struct handover_work *w)
{
	return ferry_handover_finish(w->arena);
}

static int done(struct handover_work *w)
{
	ferry_arena_destroy(w->arena);
	return 0;
}

const struct handover_way handover_way_eager = {
	.make = make_shared,
	.give = give,
	.take = take_eager,
	.done = done,
};

const struct handover_way handover_way_lazy = {
	.make = make_shared,
	.give = give,
	.take = take_lazy,
	.rest = finish,
	.done = done,
};

const struct handover_way handover_way_copy = {
	.make = make_private,
	.give = give,
	.take = take_copy,
	.done = done,
};
