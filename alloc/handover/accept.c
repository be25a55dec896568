/* SPDX-License-Identifier: MIT */
/*
 * The receiver: from an offer, which nothing vouches for, to an arena.
 *
 * Everything that can fail is done before the word is turned to TAKEN; what
 * comes after it, filling page tables, may stop early without harm.
 */
#include <errno.h>
#include <string.h>

#include "alloc/handover/handover-internal.h"

/* An offer as it was received; descriptors are ours. */
struct offer {
	struct ferry__mail mail;
	struct ferry__control *control;
	struct ferry_handover_result *result;
};

static void offer_close(struct offer *o)
{
	ferry__mail_close(&o->mail);
	ferry__control_close(o->control);
}

/* --- is it one? ----------------------------------------------------------- */

/* Lengths: in whole pages, inside the segment, no sum of which overflows. */
static int check_lengths(const struct ferry__wire *w)
{
	uint64_t mask = ferry__page_size - 1;

	if (!w->len || w->segment > SIZE_MAX / 4)
		return -EPROTO;
	/* As long as the arena will be, or its last pages raise SIGBUS. */
	if (w->segment & (FERRY__GRANULE - 1))
		return -EPROTO;
	if ((w->offset | w->len | w->address) & mask)
		return -EPROTO;
	if (w->offset > w->segment || w->len > w->segment - w->offset)
		return -EPROTO;
	return w->address > UINT64_MAX - w->segment ? -EPROTO : 0;
}

static int check_wire(const struct ferry__wire *w)
{
	if (w->way != FERRY_HANDOVER_SHARED && w->way != FERRY_HANDOVER_COPY)
		return -EPROTO;
	return 0;
}

static int verify(struct offer *o)
{
	struct ferry__wire *w = &o->mail.wire;
	enum ferry_backing backing;
	int r;

	r = check_wire(w);
	if (r == 0)
		r = ferry__control_open(o->mail.fd[FERRY__WIRE_CONTROL], w->id,
					&o->control);
	if (r < 0)
		return r;
	/* From here on it can be refused. */
	if (w->page_size != ferry__page_size)
		return -EOPNOTSUPP;
	r = check_lengths(w);
	if (r < 0 || w->way == FERRY_HANDOVER_COPY)
		return r;
	r = ferry__control_verify(o->mail.fd[FERRY__WIRE_SEGMENT], w->segment,
				  &backing);
	return r == 0 && backing != w->backing ? -EPROTO : r;
}

static void fill_result(struct offer *o)
{
	struct ferry_handover_result *result = o->result;
	const struct ferry__wire *w = &o->mail.wire;

	result->backing = (enum ferry_backing)w->backing;
	result->way = (enum ferry_handover_way)w->way;
	result->id = w->id;
	result->tag = w->tag;
	result->offset = w->offset;
	result->len = w->len;
	result->address = (void *)(uintptr_t)(w->address + w->offset);
}

/* --- is it wanted? -------------------------------------------------------- */

static int judge(const struct offer *o,
		 const struct ferry_handover_accept_params *p)
{
	const struct ferry__wire *w = &o->mail.wire;
	int r;

	if (w->backing == FERRY_BACKING_HUGETLB &&
	    (!p->hugetlb || (w->segment | w->offset | w->len | w->address) &
				    (FERRY__GRANULE - 1)))
		return -EOPNOTSUPP;
	if (p->len_max && w->len > p->len_max)
		return -EMSGSIZE;
	/* At 0 nothing lies: there it would be put anywhere. */
	if (p->keep_address &&
	    (!w->address || w->address & (FERRY__GRANULE - 1)))
		return -EADDRINUSE;
	if (!p->judge)
		return 0;
	r = p->judge(p->judge_arg, o->result);
	return r > 0 ? -EINVAL : r;
}

/* The segment that came with the offer. */
static int adopt_segment(struct offer *o, struct ferry__adoption *adoption,
			 struct ferry_arena **ret_arena)
{
	int r;

	adoption->backing = (enum ferry_backing)o->mail.wire.backing;
	adoption->fd = o->mail.fd[FERRY__WIRE_SEGMENT];
	r = ferry__arena_adopt(adoption, ret_arena);
	if (r < 0)
		return r;
	o->mail.fd[FERRY__WIRE_SEGMENT] = -1; /* the arena's */
	r = ferry__segment_reserve(*ret_arena, adoption->offset, adoption->len);
	if (r < 0) {
		ferry__arena_disown(*ret_arena);
		ferry_arena_destroy(*ret_arena);
	}
	return r;
}

static int adopt(int sock, struct offer *o,
		 const struct ferry_handover_accept_params *p,
		 uint64_t deadline, struct ferry_arena **ret_arena)
{
	const struct ferry__wire *w = &o->mail.wire;
	struct ferry__adoption adoption = {
		.size = w->segment,
		.offset = w->offset,
		.len = w->len,
		.name = p->name,
	};

	if (p->keep_address)
		adoption.at = (char *)(uintptr_t)w->address;
	if (w->way == FERRY_HANDOVER_SHARED)
		return adopt_segment(o, &adoption, ret_arena);
	return ferry__copy_receive(sock, w, &adoption, o->result, deadline,
				   ret_arena);
}

/* --- taking and refusing -------------------------------------------------- */

/*
 * The word has been turned already: a peer that is gone needs no answer. Nor
 * does one whose queue is full, and it is not waited for: with each message
 * that it reads it looks at the word, and what fills its queue may be answers
 * that it did not need.
 */
static void answer(int sock, const struct offer *o)
{
	struct ferry__wire wire = {
		.kind = FERRY__WIRE_ANSWER,
		.id = o->mail.wire.id,
	};

	ferry__wire_send(sock, &wire, NULL, 0, 0);
}

static void refuse(int sock, const struct offer *o, int error)
{
	if (!o->control)
		return;
	__atomic_store_n(&o->control->error, error, __ATOMIC_RELAXED); /* W2 */
	ferry__control_decide(o->control, FERRY__REFUSED);
	answer(sock, o);
}

static int take(int sock, struct offer *o,
		const struct ferry_handover_accept_params *p, uint64_t deadline,
		struct ferry_arena **ret_arena)
{
	struct ferry_arena *arena;
	int r;

	r = adopt(sock, o, p, deadline, &arena);
	if (r < 0) {
		refuse(sock, o, r);
		return r;
	}
	if (!ferry__control_decide(o->control, FERRY__TAKEN)) {
		/* Not ours: no page of it may be dropped. */
		ferry__arena_disown(arena);
		ferry_arena_destroy(arena);
		return -ECANCELED;
	}
	answer(sock, o);
	o->result->backing = arena->backing;
	*ret_arena = arena;
	return 0;
}

static int accept_offer(int sock, const struct ferry_handover_accept_params *p,
			struct ferry_handover_result *result,
			struct ferry_arena **ret_arena)
{
	struct offer o = { .result = result };
	uint64_t deadline;
	int r;

	r = ferry__peer_check(sock, p->any_peer, result);
	if (r == 0)
		r = ferry__wire_recv(sock, FERRY__WIRE_OFFER, 0, &o.mail,
				     ferry__wire_deadline(p->timeout_ns));
	if (r < 0)
		return r;
	/* The time for the offer to come may be used up; a copy has its own. */
	deadline = ferry__wire_deadline(p->timeout_ns);
	r = verify(&o);
	if (r == 0) {
		fill_result(&o);
		r = judge(&o, p);
	}
	if (r < 0)
		refuse(sock, &o, r);
	else
		r = take(sock, &o, p, deadline, ret_arena);
	offer_close(&o);
	if (r < 0)
		result->way = FERRY_HANDOVER_NONE;
	return r;
}

static int params_of(const struct ferry_handover_accept_params *params,
		     struct ferry_handover_accept_params *ret)
{
	if (!params) {
		*ret = (struct ferry_handover_accept_params)FERRY_INIT(
			struct ferry_handover_accept_params);
		return 0;
	}
	return ferry__params_copy(
		ret, sizeof(*ret), params,
		offsetof(struct ferry_handover_accept_params, any_peer));
}

int ferry_handover_accept(int sock,
			  const struct ferry_handover_accept_params *params,
			  struct ferry_handover_result *ret_result,
			  struct ferry_arena **ret_arena)
{
	struct ferry_handover_result result =
		FERRY_INIT(struct ferry_handover_result);
	struct ferry_handover_accept_params p;
	int r;

	if (!ret_arena)
		return -EINVAL;
	r = params_of(params, &p);
	if (r == 0)
		r = ferry__result_check(ret_result);
	if (r < 0)
		return r;
	r = accept_offer(sock, &p, &result, ret_arena);
	if (r == 0 && result.backing == FERRY_BACKING_PRIVATE)
		result.installed = result.len; /* by the copy */
	else if (r == 0 && p.lazy)
		ferry__install_later(*ret_arena, result.offset, result.len);
	else if (r == 0)
		result.installed =
			ferry__install(*ret_arena, result.offset, result.len);
	ferry__result_write(ret_result, &result);
	return r;
}
