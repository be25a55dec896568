/* SPDX-License-Identifier: MIT */
/* The sender: offering pages, and finding out whose they are. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/handover/handover-internal.h"

#define HANDOVER_MAGIC 0x5245564f44414e48ull

struct ferry_handover {
	uint64_t magic;
	int pid;  /* of the process whose it is */
	int sock; /* the caller's */
	uint64_t timeout_ns;
	struct ferry_arena *arena;
	size_t offset, len;
	int spare; /* the segment that will take the old one's place, or -1 */
	struct ferry__control *control;
	struct ferry_handover_result result;
};

static int handover_alloc(int sock, struct ferry_arena *arena, size_t offset,
			  size_t len, struct ferry_handover **ret)
{
	struct ferry_handover *h;
	void *mem = NULL;
	int r;

	r = ferry__meta_alloc(sizeof(*h), &mem);
	if (r < 0)
		return r;
	h = mem;
	h->pid = ferry__sys->getpid();
	h->sock = sock;
	h->arena = arena;
	h->offset = offset;
	h->len = len;
	h->spare = -1;
	h->result.size = sizeof(h->result);
	*ret = h;
	return 0;
}

static void handover_free(struct ferry_handover *h)
{
	if (h->spare >= 0)
		ferry__sys->close(h->spare);
	ferry__control_close(h->control);
	h->magic = 0;
	ferry__meta_free(h, sizeof(*h));
}

/*
 * In a child of fork(2) an offer is a copy of a struct: the control page and
 * the socket's answers are its parent's.
 */
static bool is_inherited(const struct ferry_handover *h)
{
	ferry__check(h->magic == HANDOVER_MAGIC);
	return h->pid != ferry__sys->getpid();
}

static int free_inherited(struct ferry_handover *h)
{
	h->control = NULL; /* not mapped here */
	handover_free(h);
	return -ECHILD;
}

static int new_id(uint64_t *ret_id)
{
	ssize_t n;

	do
		n = ferry__sys->getrandom(ret_id, sizeof(*ret_id));
	while (n == -EINTR);
	if (n < 0)
		return (int)n;
	return n == sizeof(*ret_id) ? 0 : -EIO;
}

/* --- what is sent --------------------------------------------------------- */

/* The end of the offer: the state that is in force from here on. */
static enum ferry__handover_state withdraw(struct ferry_handover *h)
{
	if (ferry__control_decide(h->control, FERRY__WITHDRAWN))
		return FERRY__WITHDRAWN;
	return ferry__control_state(h->control);
}

/* @segment: the arena's, or -1: pages that will be copied. */
static int send_offer(struct ferry_handover *h, struct ferry__wire *wire,
		      int segment)
{
	const struct ferry_handover_result *result = &h->result;
	int r, fds[FERRY__WIRE_FDS] = { [FERRY__WIRE_SEGMENT] = segment };

	r = ferry__control_make(result->id, &h->control,
				&fds[FERRY__WIRE_CONTROL]);
	if (r < 0)
		return r;
	wire->kind = FERRY__WIRE_OFFER;
	wire->id = result->id;
	wire->len = h->len;
	wire->address = (uintptr_t)result->address - wire->offset;
	wire->tag = result->tag;
	wire->page_size = (uint32_t)ferry__page_size;
	wire->backing = (uint16_t)result->backing;
	wire->way = (uint16_t)result->way;
	r = ferry__wire_send(h->sock, wire, fds, segment < 0 ? 1 : 2,
			     ferry__wire_deadline(h->timeout_ns));
	ferry__sys->close(fds[FERRY__WIRE_CONTROL]);
	return r;
}

static int offer_whole(struct ferry_handover *h)
{
	struct ferry_arena *arena = h->arena;
	struct ferry__wire wire = {
		.segment = arena->reserved,
		.offset = h->offset,
	};
	int r;

	/* Made now: after the receiver has taken nothing may fail. */
	r = ferry__segment_make(arena->backing, arena->reserved, arena->name,
				&h->spare);
	if (r < 0)
		return r;
	h->result.way = FERRY_HANDOVER_SHARED;
	h->result.backing = arena->backing;
	return send_offer(h, &wire, arena->segment);
}

static int offer_copy(struct ferry_handover *h)
{
	/* As the pages lie here among 2 MiB, so that they can lie there at
	 * the same address. */
	size_t shift = h->offset % FERRY__GRANULE;
	struct ferry__wire wire = {
		.segment = (shift + h->len + FERRY__GRANULE - 1) &
			   ~(FERRY__GRANULE - 1),
		.offset = shift,
	};
	int r;

	h->result.way = FERRY_HANDOVER_COPY;
	r = send_offer(h, &wire, -1);
	if (r < 0)
		return r;
	/* Pages of a service can be refused, which only the kernel survives. */
	h->result.move_error = h->arena->service ? -EOPNOTSUPP : 0;
	return ferry__copy_send(h->sock, &wire, h->control, h->result.address,
				h->timeout_ns, &h->result);
}

/* Pages are in TRANSIT; @whole: the segment goes. */
static int offer_pages(struct ferry_handover *h, bool whole)
{
	int r;

	h->result.len = h->len;
	h->result.address = h->arena->base + h->offset;
	r = whole ? offer_whole(h) : offer_copy(h);
	if (r == 0 || !h->control)
		return r;
	/* It may have gone out all the same. */
	if (withdraw(h) == FERRY__TAKEN)
		return 0;
	if (!whole)
		ferry__copy_void(h->sock, h->result.id);
	return r;
}

static int offer(struct ferry_handover *h,
		 const struct ferry_handover_params *p)
{
	bool whole;
	int r;

	h->timeout_ns = p->timeout_ns;
	h->result.tag = p->tag;
	r = ferry__peer_check(h->sock, p->any_peer, &h->result);
	if (r == 0)
		r = new_id(&h->result.id);
	if (r == 0)
		r = ferry__arena_offer(h->arena, h->offset, h->len, &whole);
	if (r < 0)
		return r;
	r = offer_pages(h, whole && ferry__peer_is_trusted(&h->result));
	if (r < 0)
		ferry__arena_offer_back(h->arena, h->offset, h->len);
	return r;
}

static int params_of(const struct ferry_handover_params *params,
		     struct ferry_handover_params *ret)
{
	if (!params) {
		*ret = (struct ferry_handover_params)FERRY_INIT(
			struct ferry_handover_params);
		return 0;
	}
	return ferry__params_copy(
		ret, sizeof(*ret), params,
		offsetof(struct ferry_handover_params, any_peer));
}

int ferry_handover_offer(int sock, struct ferry_arena *arena, size_t offset,
			 size_t len, const struct ferry_handover_params *params,
			 struct ferry_handover **ret_handover)
{
	struct ferry_handover_params p;
	struct ferry_handover *h = NULL;
	int r;

	if (!arena || !ret_handover)
		return -EINVAL;
	r = params_of(params, &p);
	if (r == 0)
		r = handover_alloc(sock, arena, offset, len, &h);
	if (r < 0)
		return r;
	r = offer(h, &p);
	if (r < 0) {
		handover_free(h);
		return r;
	}
	h->magic = HANDOVER_MAGIC;
	*ret_handover = h;
	return 0;
}

/* --- whose are they? ------------------------------------------------------ */

/* Does what the word says, and frees. */
static enum ferry__handover_state settle(struct ferry_handover *h)
{
	enum ferry__handover_state state = withdraw(h);

	if (state == FERRY__TAKEN) {
		ferry__arena_offer_gone(h->arena, h->offset, h->len, h->spare);
		h->spare = -1;
	} else {
		ferry__arena_offer_back(h->arena, h->offset, h->len);
	}
	return state;
}

/*
 * Reads answers until the word is decided. An answer to another offer of this
 * socket may be read here: that one's word was decided before it was sent. One
 * that was not needed is left, for whoever reads next. A hostile receiver can
 * answer without an end and decide nothing.
 */
static int wait_for_answer(struct ferry_handover *h)
{
	uint64_t deadline = ferry__wire_deadline(h->timeout_ns);
	struct ferry__mail mail;
	int r = 0;

	while (r == 0 && ferry__control_state(h->control) == FERRY__OFFERED) {
		r = ferry__wire_recv(h->sock, FERRY__WIRE_ANSWER, 0, &mail,
				     deadline);
		if (r == 0 && ferry__sys->now_ns() >= deadline)
			r = -ETIMEDOUT;
	}
	return r;
}

static int refusal(const struct ferry_handover *h)
{
	int error =
		__atomic_load_n(&h->control->error, __ATOMIC_RELAXED); /* W2 */

	return error < 0 ? error : -EPROTO;
}

static int await(struct ferry_handover *h)
{
	int r = wait_for_answer(h);

	switch (settle(h)) {
	case FERRY__TAKEN:
		return 0;
	case FERRY__REFUSED:
		h->result.error = refusal(h);
		r = -ECONNREFUSED;
		break;
	default:
		break;
	}
	h->result.way = FERRY_HANDOVER_NONE;
	return r;
}

int ferry_handover_await(struct ferry_handover *handover,
			 struct ferry_handover_result *ret_result)
{
	int r;

	if (!handover)
		return -EINVAL;
	if (is_inherited(handover))
		return free_inherited(handover);
	r = ferry__result_check(ret_result);
	if (r < 0) {
		ferry_handover_withdraw(handover);
		return r;
	}
	r = await(handover);
	ferry__result_write(ret_result, &handover->result);
	handover_free(handover);
	return r;
}

int ferry_handover_withdraw(struct ferry_handover *handover)
{
	enum ferry__handover_state state;

	if (!handover)
		return 0;
	if (is_inherited(handover))
		return free_inherited(handover);
	state = settle(handover);
	handover_free(handover);
	return state == FERRY__TAKEN ? -EALREADY : 0;
}

int ferry_handover_send(int sock, struct ferry_arena *arena, size_t offset,
			size_t len, const struct ferry_handover_params *params,
			struct ferry_handover_result *ret_result)
{
	struct ferry_handover *handover;
	int r;

	r = ferry__result_check(ret_result);
	if (r == 0)
		r = ferry_handover_offer(sock, arena, offset, len, params,
					 &handover);
	if (r < 0)
		return r;
	return ferry_handover_await(handover, ret_result);
}
