/* SPDX-License-Identifier: MIT */
/* Pages go to another process: whole, once, and are its own from then on. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/handover_bed.h"

#define LEN   (2 * MIB)
#define FIRST 1000

/* What the peer is to meet. */
struct meet {
	enum ferry_handover_way way;
	size_t offset, len;
	uint64_t tag;
	struct ferry_handover_accept_params params;
	int error; /* what accepting answers */
};

static struct meet meet_of(enum ferry_handover_way way)
{
	return (struct meet){
		.way = way,
		.len = LEN,
		.params = FERRY_INIT(struct ferry_handover_accept_params),
	};
}

static int take(int sock, void *arg)
{
	struct ferry_handover_result r =
		FERRY_INIT(struct ferry_handover_result);
	const struct meet *meet = arg;
	struct ferry_arena *arena = NULL;

	EXPECT(ferry_handover_accept(sock, &meet->params, &r, &arena) ==
	       meet->error);
	if (meet->error) {
		EXPECT(!arena);
		EXPECT(r.way == FERRY_HANDOVER_NONE);
		return 0;
	}
	EXPECT(r.way == meet->way);
	EXPECT(r.offset == meet->offset && r.len == meet->len);
	EXPECT(r.tag == meet->tag);
	EXPECT(r.peer_pid == getppid());
	EXPECT(meet->params.lazy ? r.installed == 0 : r.installed == r.len);
	EXPECT(bed_holds(arena, r.offset, r.len, FIRST));
	EXPECT(ferry_lookup((char *)ferry_arena_base(arena) + r.offset) ==
	       arena);
	/* They are ours: to write to, and to give back. */
	memset((char *)ferry_arena_base(arena) + r.offset, 7, r.len);
	EXPECT(ferry_arena_decommit(arena, r.offset, r.len) == 0);
	EXPECT(ferry_arena_commit(arena, r.offset, r.len, true) == 0);
	EXPECT(!*((char *)ferry_arena_base(arena) + r.offset));
	ferry_arena_destroy(arena);
	return 0;
}

static void hand_over(int type, enum ferry_backing backing,
		      const struct meet *meet)
{
	struct ferry_handover_result r =
		FERRY_INIT(struct ferry_handover_result);
	struct ferry_handover_params p =
		FERRY_INIT(struct ferry_handover_params);
	struct ferry_arena *arena = bed_arena(backing, LEN, FIRST);
	int sock[2];
	pid_t pid;

	bed_sockets(type, sock);
	pid = bed_peer(sock, take, (void *)meet);
	p.tag = meet->tag;
	ck_assert_int_eq(ferry_handover_send(sock[0], arena, 0, LEN, &p, &r),
			 meet->error ? -ECONNREFUSED : 0);
	ck_assert_int_eq(r.error, meet->error);
	ck_assert_int_eq(r.way, meet->error ? FERRY_HANDOVER_NONE : meet->way);
	ck_assert_uint_eq(r.copied, r.way == FERRY_HANDOVER_COPY ? LEN : 0);
	bed_join(pid);
	if (meet->error) {
		ck_assert(bed_holds(arena, 0, LEN, FIRST));
	} else {
		ck_assert(bed_absent(arena, 0, LEN));
		ck_assert_int_eq(ferry_arena_commit(arena, 0, LEN, false), 0);
		ck_assert(!*(char *)ferry_arena_base(arena));
	}
	ferry_arena_destroy(arena);
	close(sock[0]);
}

START_TEST(shared_pages_change_hands_over_a_stream)
{
	struct meet meet = meet_of(FERRY_HANDOVER_SHARED);

	meet.tag = 42;
	hand_over(SOCK_STREAM, FERRY_BACKING_SHARED, &meet);
}
END_TEST

START_TEST(shared_pages_change_hands_by_packets)
{
	struct meet meet = meet_of(FERRY_HANDOVER_SHARED);

	hand_over(SOCK_SEQPACKET, FERRY_BACKING_SHARED, &meet);
}
END_TEST

START_TEST(pages_of_the_pool_change_hands_where_wanted)
{
	struct meet meet = meet_of(FERRY_HANDOVER_SHARED);
	struct system_hold hold;

	if (!bed_hold_pool(&hold))
		SKIP("hugetlb", "%s", hold.reason);
	meet.params.hugetlb = true;
	hand_over(SOCK_STREAM, FERRY_BACKING_HUGETLB, &meet);
	system_release(&hold);
}
END_TEST

START_TEST(pages_of_the_pool_are_refused_unless_wanted)
{
	struct meet meet = meet_of(FERRY_HANDOVER_SHARED);
	struct system_hold hold;

	if (!bed_hold_pool(&hold))
		SKIP("hugetlb", "%s", hold.reason);
	meet.error = -EOPNOTSUPP;
	hand_over(SOCK_STREAM, FERRY_BACKING_HUGETLB, &meet);
	system_release(&hold);
}
END_TEST

START_TEST(private_pages_are_copied_once)
{
	struct meet meet = meet_of(FERRY_HANDOVER_COPY);

	hand_over(SOCK_STREAM, FERRY_BACKING_PRIVATE, &meet);
}
END_TEST

START_TEST(too_long_an_offer_is_refused)
{
	struct meet meet = meet_of(FERRY_HANDOVER_SHARED);

	meet.params.len_max = LEN - page_size();
	meet.error = -EMSGSIZE;
	hand_over(SOCK_STREAM, FERRY_BACKING_SHARED, &meet);
}
END_TEST

static int dislike(void *arg, const struct ferry_handover_result *offer)
{
	return offer->tag == *(uint64_t *)arg ? -EXDEV : 0;
}

START_TEST(the_receiver_judges_an_offer)
{
	struct meet meet = meet_of(FERRY_HANDOVER_SHARED);
	uint64_t bad = 9;

	meet.params.judge = dislike;
	meet.params.judge_arg = &bad;
	meet.tag = 8;
	hand_over(SOCK_STREAM, FERRY_BACKING_SHARED, &meet);
	meet.tag = 9;
	meet.error = -EXDEV;
	hand_over(SOCK_STREAM, FERRY_BACKING_SHARED, &meet);
}
END_TEST

/* --- parts of an arena ---------------------------------------------------- */

static void hand_over_part(enum ferry_backing backing, struct meet *meet,
			   size_t committed)
{
	struct ferry_handover_result r =
		FERRY_INIT(struct ferry_handover_result);
	struct ferry_arena *arena = bed_arena(backing, LEN, 0);
	size_t at = 16 * page_size();
	int sock[2];
	pid_t pid;

	meet->len = 64 * page_size();
	/* It lies among its 2 MiB as it did. */
	meet->offset = at;
	/* The pages before the range, with or without the rest. */
	ck_assert_int_eq(ferry_arena_decommit(arena, committed, at - committed),
			 0);
	ck_assert_int_eq(ferry_arena_decommit(arena, at + meet->len,
					      LEN - at - meet->len),
			 0);
	fill_pages((char *)ferry_arena_base(arena) + at, meet->len, FIRST);
	bed_sockets(SOCK_STREAM, sock);
	pid = bed_peer(sock, take, meet);
	ck_assert_int_eq(
		ferry_handover_send(sock[0], arena, at, meet->len, NULL, &r),
		0);
	bed_join(pid);
	ck_assert_ptr_eq(r.address, (char *)ferry_arena_base(arena) + at);
	ck_assert(bed_absent(arena, at, meet->len));
	if (committed)
		ck_assert(bed_holds(arena, 0, committed, 0));
	ferry_arena_destroy(arena);
	close(sock[0]);
}

START_TEST(all_that_is_committed_goes_without_a_copy)
{
	struct meet meet = meet_of(FERRY_HANDOVER_SHARED);

	hand_over_part(FERRY_BACKING_SHARED, &meet, 0);
}
END_TEST

START_TEST(a_part_is_copied_and_the_rest_stays)
{
	struct meet meet = meet_of(FERRY_HANDOVER_COPY);

	hand_over_part(FERRY_BACKING_SHARED, &meet, 3 * page_size());
	hand_over_part(FERRY_BACKING_PRIVATE, &meet, 3 * page_size());
}
END_TEST

/* --- arenas whose pages come from a service -------------------------------- */

static char supplied[LEN];

static void supply(void *arg, const struct ferry_fault *fault,
		   struct ferry_supply *ret)
{
	(void)arg;
	ret->kind = FERRY_SUPPLY_COPY;
	ret->offset = fault->offset;
	ret->len = page_size();
	ret->src = supplied + fault->offset;
}

START_TEST(pages_that_a_service_has_to_bring_are_brought_first)
{
	struct ferry_fault_params f = FERRY_INIT(struct ferry_fault_params);
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct meet meet = meet_of(FERRY_HANDOVER_COPY);
	struct ferry_arena *arena = NULL;
	int sock[2];
	pid_t pid;

	bed_sockets(SOCK_STREAM, sock);
	pid = bed_peer(sock, take, &meet);
	fill_pages(supplied, LEN, FIRST);
	f.mode = FERRY_FAULT_SIGBUS;
	ck_assert_int_eq(ferry_fault_service_create(&f, NULL, &p.service), 0);
	p.reserve = LEN;
	p.supply = supply;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, LEN, false), 0);
	/* One is there, the others nobody has touched. */
	ck_assert(page_holds(ferry_arena_base(arena), FIRST));
	ck_assert_int_eq(
		ferry_handover_send(sock[0], arena, 0, LEN, NULL, NULL), 0);
	bed_join(pid);
	ck_assert(bed_absent(arena, 0, LEN));
	ferry_arena_destroy(arena);
	ferry_fault_service_destroy(p.service);
	close(sock[0]);
}
END_TEST

/* --- addresses ------------------------------------------------------------ */

/* A structure with a pointer into itself. */
struct knot {
	struct knot *self;
	uint64_t value;
};

static int take_knot(int sock, void *arg)
{
	struct ferry_handover_accept_params p =
		FERRY_INIT(struct ferry_handover_accept_params);
	struct ferry_handover_result r =
		FERRY_INIT(struct ferry_handover_result);
	struct ferry_arena *arena = NULL;
	struct knot *knot;
	void **place = arg;

	EXPECT(ferry_handover_accept(sock, NULL, NULL, &arena) == 0);
	p.keep_address = true;
	ferry_arena_destroy(arena);
	EXPECT(ferry_handover_accept(sock, &p, &r, &arena) == 0);
	knot = r.address;
	EXPECT(knot == *place);
	EXPECT(knot->self == knot && knot->value == 77);
	ferry_arena_destroy(arena);
	return 0;
}

START_TEST(pages_keep_their_address_where_asked)
{
	/* Made after the fork: the peer has nothing where it lies. */
	void **place = bed_shared(page_size());
	struct ferry_arena *first, *arena;
	struct knot *knot;
	int sock[2];
	pid_t pid;

	bed_sockets(SOCK_STREAM, sock);
	pid = bed_peer(sock, take_knot, place);
	first = bed_arena(FERRY_BACKING_SHARED, LEN, 0);
	arena = bed_arena(FERRY_BACKING_SHARED, 32 * MIB, 0);
	knot = ferry_arena_base(arena);
	*place = knot;
	*knot = (struct knot){ knot, 77 };
	ck_assert_int_eq(
		ferry_handover_send(sock[0], first, 0, LEN, NULL, NULL), 0);
	ck_assert_int_eq(
		ferry_handover_send(sock[0], arena, 0, 32 * MIB, NULL, NULL),
		0);
	bed_join(pid);
	ferry_arena_destroy(first);
	ferry_arena_destroy(arena);
	close(sock[0]);
}
END_TEST

static int take_where_something_lies(int sock, void *arg)
{
	struct ferry_handover_accept_params p =
		FERRY_INIT(struct ferry_handover_accept_params);
	struct ferry_arena *arena = NULL;

	(void)arg;
	p.keep_address = true;
	EXPECT(ferry_handover_accept(sock, &p, NULL, &arena) == -EADDRINUSE);
	/* The sender has it still, and may offer it again. */
	EXPECT(ferry_handover_accept(sock, NULL, NULL, &arena) == 0);
	EXPECT(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
	return 0;
}

START_TEST(a_place_that_is_taken_is_not_overwritten)
{
	/* Private: the fork leaves it mapped in the peer, just there. */
	struct ferry_arena *arena =
		bed_arena(FERRY_BACKING_PRIVATE, LEN, FIRST);
	struct ferry_handover_result r =
		FERRY_INIT(struct ferry_handover_result);
	int sock[2];
	pid_t pid;

	bed_sockets(SOCK_STREAM, sock);
	pid = bed_peer(sock, take_where_something_lies, NULL);
	ck_assert_int_eq(ferry_handover_send(sock[0], arena, 0, LEN, NULL, &r),
			 -ECONNREFUSED);
	ck_assert_int_eq(r.error, -EADDRINUSE);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ck_assert_int_eq(ferry_handover_send(sock[0], arena, 0, LEN, NULL, &r),
			 0);
	bed_join(pid);
	ferry_arena_destroy(arena);
	close(sock[0]);
}
END_TEST

/* --- many, and both ways --------------------------------------------------- */

#define MANY 8

static int take_many(int sock, void *arg)
{
	struct ferry_handover_result r =
		FERRY_INIT(struct ferry_handover_result);
	struct ferry_arena *arena = NULL;
	uint64_t i;

	(void)arg;
	for (i = 0; i < MANY; i++) {
		EXPECT(ferry_handover_accept(sock, NULL, &r, &arena) == 0);
		EXPECT(r.tag == i);
		EXPECT(bed_holds(arena, 0, LEN, i * 1000));
		ferry_arena_destroy(arena);
	}
	return 0;
}

START_TEST(several_offers_can_be_under_way)
{
	struct ferry_handover_params p =
		FERRY_INIT(struct ferry_handover_params);
	struct ferry_handover *handover[MANY];
	struct ferry_arena *arena[MANY];
	size_t i, order[MANY] = { 3, 0, 7, 1, 2, 6, 4, 5 };
	int sock[2];
	pid_t pid;

	bed_sockets(SOCK_SEQPACKET, sock);
	pid = bed_peer(sock, take_many, NULL);
	for (i = 0; i < MANY; i++) {
		arena[i] = bed_arena(FERRY_BACKING_SHARED, LEN, i * 1000);
		p.tag = i;
		ck_assert_int_eq(ferry_handover_offer(sock[0], arena[i], 0, LEN,
						      &p, &handover[i]),
				 0);
		ck_assert_int_eq(ferry_arena_page_state(arena[i], 0),
				 FERRY_PAGE_TRANSIT);
	}
	for (i = 0; i < MANY; i++)
		ck_assert_int_eq(ferry_handover_await(handover[order[i]], NULL),
				 0);
	for (i = 0; i < MANY; i++) {
		ck_assert(bed_absent(arena[i], 0, LEN));
		ferry_arena_destroy(arena[i]);
	}
	bed_join(pid);
	close(sock[0]);
}
END_TEST

static int send_back(int sock, void *arg)
{
	struct ferry_handover_result r =
		FERRY_INIT(struct ferry_handover_result);
	struct ferry_arena *arena = NULL;

	(void)arg;
	EXPECT(ferry_handover_accept(sock, NULL, &r, &arena) == 0);
	fill_pages(ferry_arena_base(arena), LEN, FIRST + 1);
	EXPECT(ferry_handover_send(sock, arena, 0, LEN, NULL, &r) == 0);
	EXPECT(r.way == FERRY_HANDOVER_SHARED);
	ferry_arena_destroy(arena);
	return 0;
}

START_TEST(pages_come_back_as_they_went)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_arena *back = NULL;
	int sock[2];
	pid_t pid;

	bed_sockets(SOCK_STREAM, sock);
	pid = bed_peer(sock, send_back, NULL);
	ck_assert_int_eq(
		ferry_handover_send(sock[0], arena, 0, LEN, NULL, NULL), 0);
	ck_assert_int_eq(ferry_handover_accept(sock[0], NULL, NULL, &back), 0);
	ck_assert(bed_holds(back, 0, LEN, FIRST + 1));
	bed_join(pid);
	ferry_arena_destroy(arena);
	ferry_arena_destroy(back);
	close(sock[0]);
}
END_TEST

/* --- while it is offered -------------------------------------------------- */

static struct ferry_handover *offer_all(int sock, struct ferry_arena *arena)
{
	struct ferry_handover *handover = NULL;

	ck_assert_int_eq(
		ferry_handover_offer(sock, arena, 0, LEN, NULL, &handover), 0);
	return handover;
}

START_TEST(an_offered_segment_takes_no_more_pages)
{
	struct ferry_arena *arena =
		bed_arena(FERRY_BACKING_SHARED, 2 * LEN, FIRST);
	struct ferry_handover *handover;
	int sock[2];

	bed_sockets(SOCK_STREAM, sock);
	/* The second half is free to be committed, were it not for the offer. */
	ck_assert_int_eq(ferry_arena_decommit(arena, LEN, LEN), 0);
	handover = offer_all(sock[0], arena);
	ck_assert_int_eq(ferry_arena_commit(arena, LEN, LEN, false), -EBUSY);
	ck_assert_int_eq(ferry_arena_grow(arena, LEN), -EBUSY);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, LEN), -EBUSY);
	ck_assert_int_eq(ferry_arena_pin(arena, 0, LEN), -EBUSY);
	ck_assert_int_eq(ferry_handover_withdraw(handover), 0);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ck_assert_int_eq(ferry_arena_commit(arena, LEN, LEN, false), 0);
	ferry_arena_destroy(arena);
	close(sock[0]);
	close(sock[1]);
}
END_TEST

START_TEST(a_withdrawn_offer_is_void)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_handover_result r =
		FERRY_INIT(struct ferry_handover_result);
	struct ferry_arena *got = NULL;
	int sock[2];

	bed_sockets(SOCK_STREAM, sock);
	ck_assert_int_eq(ferry_handover_withdraw(offer_all(sock[0], arena)), 0);
	ck_assert_int_eq(ferry_handover_accept(sock[1], NULL, &r, &got),
			 -ECANCELED);
	ck_assert_ptr_null(got);
	ck_assert_int_eq(r.way, FERRY_HANDOVER_NONE);
	/* What the receiver had mapped meanwhile it has not dropped. */
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
	close(sock[0]);
	close(sock[1]);
}
END_TEST

START_TEST(an_offer_that_was_taken_cannot_be_withdrawn)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_handover *handover;
	struct ferry_arena *got = NULL;
	int sock[2];

	bed_sockets(SOCK_STREAM, sock);
	handover = offer_all(sock[0], arena);
	ck_assert_int_eq(ferry_handover_accept(sock[1], NULL, NULL, &got), 0);
	ck_assert_int_eq(ferry_handover_withdraw(handover), -EALREADY);
	ck_assert(bed_absent(arena, 0, LEN));
	ck_assert(bed_holds(got, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
	ck_assert(bed_holds(got, 0, LEN, FIRST));
	ferry_arena_destroy(got);
	close(sock[0]);
	close(sock[1]);
}
END_TEST

START_TEST(answers_that_nobody_needed_hold_nobody_up)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_handover_accept_params p =
		FERRY_INIT(struct ferry_handover_accept_params);
	int sock[2], room = 1, i;

	bed_sockets(SOCK_STREAM, sock);
	/* The least that the kernel has: room for some answers. */
	ck_assert_int_eq(
		setsockopt(sock[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)),
		0);
	p.timeout_ns = UINT64_MAX;
	for (i = 0; i < 64; i++) {
		struct ferry_handover *handover = offer_all(sock[0], arena);
		struct ferry_arena *got = NULL;

		ck_assert_int_eq(ferry_handover_accept(sock[1], &p, NULL, &got),
				 0);
		/* Taken before anyone waited: the answer stays unread. */
		ck_assert_int_eq(ferry_handover_await(handover, NULL), 0);
		ferry_arena_destroy(got);
		ck_assert_int_eq(ferry_arena_commit(arena, 0, LEN, false), 0);
	}
	ferry_arena_destroy(arena);
	close(sock[0]);
	close(sock[1]);
}
END_TEST

START_TEST(sockets_may_tell_whose_a_message_is)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_arena *got = NULL;
	struct ferry_handover *handover;
	int sock[2], on = 1, i;

	bed_sockets(SOCK_STREAM, sock);
	for (i = 0; i < 2; i++)
		ck_assert_int_eq(setsockopt(sock[i], SOL_SOCKET, SO_PASSCRED,
					    &on, sizeof(on)),
				 0);
	handover = offer_all(sock[0], arena);
	ck_assert_int_eq(ferry_handover_accept(sock[1], NULL, NULL, &got), 0);
	ck_assert_int_eq(ferry_handover_await(handover, NULL), 0);
	ck_assert(bed_holds(got, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
	ferry_arena_destroy(got);
	close(sock[0]);
	close(sock[1]);
}
END_TEST

START_TEST(a_peer_that_does_not_answer_loses_the_offer)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_handover_params p =
		FERRY_INIT(struct ferry_handover_params);
	int sock[2];

	bed_sockets(SOCK_STREAM, sock);
	p.timeout_ns = 1000000;
	ck_assert_int_eq(ferry_handover_send(sock[0], arena, 0, LEN, &p, NULL),
			 -ETIMEDOUT);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
	close(sock[0]);
	close(sock[1]);
}
END_TEST

START_TEST(a_peer_that_hangs_up_loses_the_offer)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_handover *handover;
	int sock[2];

	bed_sockets(SOCK_STREAM, sock);
	handover = offer_all(sock[0], arena);
	close(sock[1]);
	ck_assert_int_eq(ferry_handover_await(handover, NULL), -EPIPE);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ck_assert_int_eq(
		ferry_handover_send(sock[0], arena, 0, LEN, NULL, NULL),
		-EPIPE);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
	close(sock[0]);
}
END_TEST

/* --- what is refused ------------------------------------------------------ */

START_TEST(what_cannot_be_offered_is_refused)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_handover *h = NULL;
	size_t page = page_size();
	int sock[2];

	bed_sockets(SOCK_STREAM, sock);
	ck_assert_int_eq(ferry_handover_offer(sock[0], arena, 0, 0, NULL, &h),
			 -EINVAL);
	ck_assert_int_eq(
		ferry_handover_offer(sock[0], arena, 1, page, NULL, &h),
		-EINVAL);
	ck_assert_int_eq(
		ferry_handover_offer(sock[0], arena, 0, LEN + page, NULL, &h),
		-EINVAL);
	ck_assert_int_eq(ferry_handover_offer(sock[0], NULL, 0, LEN, NULL, &h),
			 -EINVAL);
	ck_assert_int_eq(ferry_arena_pin(arena, page, page), 0);
	ck_assert_int_eq(ferry_handover_offer(sock[0], arena, 0, LEN, NULL, &h),
			 -EBUSY);
	ck_assert_int_eq(ferry_arena_unpin(arena, page, page), 0);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ck_assert_int_eq(ferry_arena_decommit(arena, page, page), 0);
	ck_assert_int_eq(ferry_handover_offer(sock[0], arena, 0, LEN, NULL, &h),
			 -ENOENT);
	ck_assert_ptr_null(h);
	ferry_arena_destroy(arena);
	close(sock[0]);
	close(sock[1]);
}
END_TEST

static void refused_socket(int sock, int error)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_arena *got = NULL;

	ck_assert_int_eq(ferry_handover_send(sock, arena, 0, LEN, NULL, NULL),
			 error);
	ck_assert_int_eq(ferry_handover_accept(sock, NULL, NULL, &got), error);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
}

START_TEST(only_connected_unix_sockets_will_do)
{
	int sock[2], pipes[2], fd;

	refused_socket(-1, -EBADF);
	ck_assert_int_eq(pipe(pipes), 0);
	refused_socket(pipes[0], -ENOTSOCK);
	bed_sockets(SOCK_DGRAM, sock);
	refused_socket(sock[0], -EPROTOTYPE);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	refused_socket(fd, -EPROTOTYPE);
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd >= 0)
		refused_socket(fd, -EPROTOTYPE);
}
END_TEST

START_TEST(results_of_another_size_are_refused)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_handover_result r = { .size = 8 };
	struct ferry_arena *got = NULL;
	int sock[2];

	bed_sockets(SOCK_STREAM, sock);
	ck_assert_int_eq(ferry_handover_send(sock[0], arena, 0, LEN, NULL, &r),
			 -EINVAL);
	ck_assert_int_eq(ferry_handover_await(offer_all(sock[0], arena), &r),
			 -EINVAL);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ck_assert_int_eq(ferry_handover_accept(sock[1], NULL, &r, &got),
			 -EINVAL);
	ferry_arena_destroy(arena);
	close(sock[0]);
	close(sock[1]);
}
END_TEST

/* --- fork ----------------------------------------------------------------- */

static int look_in_child(int sock, void *arg)
{
	struct ferry_arena *arena = arg;
	struct ferry_handover *h = NULL;

	EXPECT(ferry_handover_offer(sock, arena, 0, LEN, NULL, &h) == -ECHILD);
	EXPECT(ferry_handover_step(arena, page_size(), NULL) == -ECHILD);
	ferry_arena_destroy(arena);
	return 0;
}

static int look_at_offer(int sock, void *arg)
{
	struct ferry_handover **h = arg;

	(void)sock;
	EXPECT(ferry_handover_await(h[0], NULL) == -ECHILD);
	EXPECT(ferry_handover_withdraw(h[1]) == -ECHILD);
	return 0;
}

START_TEST(an_offer_is_that_of_the_process_that_made_it)
{
	struct ferry_arena *arena[2], *got = NULL;
	struct ferry_handover *h[2];
	int sock[2], none[2], i;

	bed_sockets(SOCK_STREAM, sock);
	for (i = 0; i < 2; i++) {
		arena[i] = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
		h[i] = offer_all(sock[0], arena[i]);
	}
	bed_sockets(SOCK_STREAM, none);
	bed_join(bed_peer(none, look_at_offer, h));
	close(none[0]);
	/* The child has not touched them. */
	ck_assert_int_eq(ferry_handover_accept(sock[1], NULL, NULL, &got), 0);
	ck_assert_int_eq(ferry_handover_await(h[0], NULL), 0);
	ck_assert_int_eq(ferry_handover_withdraw(h[1]), 0);
	ck_assert(bed_holds(arena[1], 0, LEN, FIRST));
	ferry_arena_destroy(got);
	for (i = 0; i < 2; i++)
		ferry_arena_destroy(arena[i]);
	close(sock[0]);
	close(sock[1]);
}
END_TEST

START_TEST(a_child_has_no_part_in_it)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	int sock[2];

	bed_sockets(SOCK_STREAM, sock);
	bed_join(bed_peer(sock, look_in_child, arena));
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
	close(sock[0]);
}
END_TEST

START_TEST(ways_have_names)
{
	ck_assert_str_eq(ferry_handover_way_name(FERRY_HANDOVER_NONE), "none");
	ck_assert_str_eq(ferry_handover_way_name(FERRY_HANDOVER_SHARED),
			 "shared");
	ck_assert_str_eq(ferry_handover_way_name(FERRY_HANDOVER_COPY), "copy");
	ck_assert_str_eq(ferry_handover_way_name(FERRY_HANDOVER_WAYS),
			 "unknown");
}
END_TEST

static const struct test tests[] = {
	TEST(shared_pages_change_hands_over_a_stream, NULL),
	TEST(shared_pages_change_hands_by_packets, NULL),
	TEST(pages_of_the_pool_change_hands_where_wanted, NULL),
	TEST(pages_of_the_pool_are_refused_unless_wanted, NULL),
	TEST(private_pages_are_copied_once, NULL),
	TEST(too_long_an_offer_is_refused, NULL),
	TEST(the_receiver_judges_an_offer, NULL),
	TEST(all_that_is_committed_goes_without_a_copy, NULL),
	TEST(a_part_is_copied_and_the_rest_stays, NULL),
	TEST(pages_that_a_service_has_to_bring_are_brought_first, "sigbus"),
	TEST(pages_keep_their_address_where_asked, NULL),
	TEST(a_place_that_is_taken_is_not_overwritten, NULL),
	TEST(several_offers_can_be_under_way, NULL),
	TEST(pages_come_back_as_they_went, NULL),
	TEST(an_offered_segment_takes_no_more_pages, NULL),
	TEST(a_withdrawn_offer_is_void, NULL),
	TEST(an_offer_that_was_taken_cannot_be_withdrawn, NULL),
	TEST(answers_that_nobody_needed_hold_nobody_up, NULL),
	TEST(sockets_may_tell_whose_a_message_is, NULL),
	TEST(a_peer_that_does_not_answer_loses_the_offer, NULL),
	TEST(a_peer_that_hangs_up_loses_the_offer, NULL),
	TEST(what_cannot_be_offered_is_refused, NULL),
	TEST(only_connected_unix_sockets_will_do, NULL),
	TEST(results_of_another_size_are_refused, NULL),
	TEST(a_child_has_no_part_in_it, NULL),
	TEST(an_offer_is_that_of_the_process_that_made_it, NULL),
	TEST(ways_have_names, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
