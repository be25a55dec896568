/* SPDX-License-Identifier: MIT */
/*
 * A peer that sends what no Ferry would send: a clear error, nothing leaked,
 * nothing lost, and no signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <pthread.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/handover/handover-internal.h"
#include "tests/handover_bed.h"

#define LEN   (2 * MIB)
#define FIRST 31
#define ID    0x1234

/* A forged offer: right in every point until a test spoils one. */
struct forged {
	struct ferry__wire wire;
	int fd[8];
	int fds;
	size_t bytes; /* of the message that are sent */
};

static int make_memfd(size_t len, int seals)
{
	int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)len), 0);
	if (seals)
		ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals | F_SEAL_SEAL),
				 0);
	return fd;
}

static void forge(struct forged *f)
{
	struct ferry__control *control;

	*f = (struct forged){
		.wire = {
			.magic = FERRY__WIRE_MAGIC,
			.version = FERRY__WIRE_VERSION,
			.kind = FERRY__WIRE_OFFER,
			.id = ID,
			.segment = LEN,
			.len = LEN,
			.address = (uint64_t)1 << 40,
			.page_size = (uint32_t)page_size(),
			.backing = FERRY_BACKING_SHARED,
			.way = FERRY_HANDOVER_SHARED,
		},
		.fds = FERRY__WIRE_FDS,
		.bytes = sizeof(struct ferry__wire),
	};
	f->fd[FERRY__WIRE_SEGMENT] = make_memfd(LEN, F_SEAL_SHRINK);
	ck_assert_int_eq(
		ferry__control_make(ID, &control, &f->fd[FERRY__WIRE_CONTROL]),
		0);
	ferry__control_close(control);
}

static void send_forged(int sock, const struct forged *f)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(f->fd))];
	} a = { 0 };
	struct iovec iov = { (void *)&f->wire, f->bytes };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (f->fds) {
		a.head.cmsg_level = SOL_SOCKET;
		a.head.cmsg_type = SCM_RIGHTS;
		a.head.cmsg_len = CMSG_LEN((size_t)f->fds * sizeof(int));
		memcpy(CMSG_DATA(&a.head), f->fd, (size_t)f->fds * sizeof(int));
		msg.msg_control = &a;
		msg.msg_controllen = CMSG_SPACE((size_t)f->fds * sizeof(int));
	}
	ck_assert_int_eq(sendmsg(sock, &msg, 0), (ssize_t)f->bytes);
}

static void forged_close(struct forged *f)
{
	int i;

	for (i = 0; i < f->fds || i < FERRY__WIRE_FDS; i++)
		close(f->fd[i]);
}

/* Sends it and hangs up; accepting must answer @error, and keep nothing. */
static void refused_as(struct forged *f, int type, int error)
{
	struct ferry_handover_accept_params p =
		FERRY_INIT(struct ferry_handover_accept_params);
	struct ferry_arena *arena = NULL;
	struct bed_state before;
	int sock[2], r;

	p.hugetlb = true;
	bed_sockets(type, sock);
	send_forged(sock[0], f);
	close(sock[0]);
	/* In flight descriptors are in no table. */
	before = bed_state();
	r = ferry_handover_accept(sock[1], &p, NULL, &arena);
	ck_assert_msg(r == error, "answered %d, not %d", r, error);
	ck_assert_ptr_null(arena);
	bed_assert_no_leak(before);
	close(sock[1]);
	forged_close(f);
}

static void refused(struct forged *f, int error)
{
	refused_as(f, SOCK_STREAM, error);
}

START_TEST(a_forged_offer_that_is_right_is_taken)
{
	struct ferry_arena *arena = NULL;
	struct forged f;
	int sock[2];

	forge(&f);
	bed_sockets(SOCK_STREAM, sock);
	send_forged(sock[0], &f);
	ck_assert_int_eq(ferry_handover_accept(sock[1], NULL, NULL, &arena), 0);
	ferry_arena_destroy(arena);
	forged_close(&f);
}
END_TEST

START_TEST(messages_of_others_are_no_offers)
{
	struct forged f;

	forge(&f);
	f.wire.magic ^= 1;
	refused(&f, -EPROTO);
	forge(&f);
	f.wire.version++;
	refused(&f, -EPROTO);
	forge(&f);
	f.wire.kind = 77;
	refused(&f, -EPROTO);
	forge(&f);
	f.wire.way = FERRY_HANDOVER_NONE;
	refused(&f, -EPROTO);
	forge(&f);
	f.wire.way = FERRY_HANDOVER_WAYS;
	refused(&f, -EPROTO);
	forge(&f);
	f.wire.backing = FERRY_BACKING_PRIVATE;
	refused(&f, -EPROTO);
	forge(&f);
	f.wire.backing = FERRY_BACKING_HUGETLB;
	refused(&f, -EPROTO);
	forge(&f);
	f.wire.page_size *= 2;
	refused(&f, -EOPNOTSUPP);
}
END_TEST

START_TEST(an_offer_cut_short_is_none)
{
	struct forged f;

	forge(&f);
	f.bytes = sizeof(f.wire) - 1;
	refused(&f, -EPROTO);
	forge(&f);
	f.bytes = 1;
	refused(&f, -EPROTO);
	forge(&f);
	f.bytes = sizeof(f.wire) - 1;
	refused_as(&f, SOCK_SEQPACKET, -EPROTO);
}
END_TEST

START_TEST(a_packet_that_is_too_long_is_no_offer)
{
	struct {
		struct ferry__wire wire;
		char more[100];
	} packet = { 0 };
	struct ferry_arena *arena = NULL;
	struct forged f;
	int sock[2];

	forge(&f);
	packet.wire = f.wire;
	bed_sockets(SOCK_SEQPACKET, sock);
	ck_assert_int_eq(send(sock[0], &packet, sizeof(packet), 0),
			 (ssize_t)sizeof(packet));
	ck_assert_int_eq(ferry_handover_accept(sock[1], NULL, NULL, &arena),
			 -EPROTO);
	forged_close(&f);
}
END_TEST

START_TEST(descriptors_that_miss_or_are_too_many_are_noticed)
{
	struct forged f;
	int i;

	forge(&f);
	f.fds = 0;
	refused(&f, -EPROTO);
	forge(&f);
	f.fds = 1;
	refused(&f, -EPROTO);
	forge(&f);
	f.fds = 1;
	refused_as(&f, SOCK_SEQPACKET, -EPROTO);
	for (f.fds = 3; f.fds <= 8; f.fds++) {
		int n = f.fds;

		forge(&f);
		f.fds = n;
		for (i = 2; i < n; i++)
			f.fd[i] = dup(f.fd[0]);
		refused(&f, -EPROTO);
		f.fds = n;
	}
}
END_TEST

/* Lengths that are wrong by themselves or in their sum. */
START_TEST(lengths_that_do_not_fit_are_refused)
{
	size_t page = page_size();
	struct {
		uint64_t segment, offset, len, address;
	} bad[] = {
		{ LEN, 0, 0, 0 },
		{ LEN, 0, LEN + page, 0 },
		{ LEN, page, LEN, 0 },
		{ LEN, LEN, page, 0 },
		{ LEN, LEN + page, page, 0 },
		{ LEN, 1, page, 0 },
		{ LEN, 0, 1, 0 },
		{ LEN - 1, 0, page, 0 },
		{ page, 0, page, 0 },
		{ LEN - page, 0, page, 0 },
		{ 2 * LEN, 0, page, 0 },
		{ 0, 0, page, 0 },
		{ 0, 0, 0, 0 },
		{ LEN, 0, UINT64_MAX - page + 1, 0 },
		{ LEN, UINT64_MAX - page + 1, 2 * page, 0 },
		{ UINT64_MAX - page + 1, 0, page, 0 },
		{ UINT64_MAX - page + 1, 0, UINT64_MAX - page + 1, 0 },
		{ (uint64_t)1 << 62, 0, page, 0 },
		{ LEN, 0, LEN, 1 },
		{ LEN, 0, LEN, UINT64_MAX - page + 1 },
		{ LEN, 0, LEN, UINT64_MAX - LEN + 1 },
	};
	struct forged f;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		forge(&f);
		f.wire.segment = bad[i].segment;
		f.wire.offset = bad[i].offset;
		f.wire.len = bad[i].len;
		f.wire.address = bad[i].address;
		refused(&f, -EPROTO);
	}
}
END_TEST

START_TEST(addresses_that_cannot_be_kept_are_refused)
{
	struct ferry_handover_accept_params p =
		FERRY_INIT(struct ferry_handover_accept_params);
	uint64_t bad[] = { 0, page_size(), LEN + page_size() };
	struct ferry_arena *arena = NULL;
	struct forged f;
	int sock[2];
	size_t i;

	p.keep_address = true;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		forge(&f);
		f.wire.address = bad[i];
		bed_sockets(SOCK_STREAM, sock);
		send_forged(sock[0], &f);
		ck_assert_int_eq(
			ferry_handover_accept(sock[1], &p, NULL, &arena),
			-EADDRINUSE);
		close(sock[0]);
		close(sock[1]);
		forged_close(&f);
	}
}
END_TEST

/* --- descriptors that are not what they should be ------------------------- */

static void replace(struct forged *f, int which, int fd)
{
	close(f->fd[which]);
	f->fd[which] = fd;
}

static void refused_with(int which, int fd)
{
	struct forged f;

	ck_assert_int_ge(fd, 0);
	forge(&f);
	replace(&f, which, fd);
	refused(&f, -EPROTO);
}

static void refused_files(int which)
{
	char path[] = "/tmp/ferry-hostile-XXXXXX";
	int pipes[2], file;

	ck_assert_int_eq(pipe(pipes), 0);
	refused_with(which, pipes[0]);
	close(pipes[1]);
	refused_with(which, open("/dev/zero", O_RDWR));
	refused_with(which, open("/proc/self/mem", O_RDONLY));
	refused_with(which, open("/", O_RDONLY | O_DIRECTORY));
	refused_with(which, socket(AF_UNIX, SOCK_STREAM, 0));
	file = mkstemp(path);
	unlink(path);
	ck_assert_int_eq(ftruncate(file, LEN), 0);
	refused_with(which, file);
	/* It could shrink. */
	refused_with(which, make_memfd(LEN, 0));
	refused_with(which, make_memfd(LEN, F_SEAL_GROW));
	/* Its former owner could seal it against writing. */
	file = make_memfd(LEN, 0);
	ck_assert_int_eq(fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	refused_with(which, file);
	/* It is too small. */
	refused_with(which, make_memfd(0, F_SEAL_SHRINK));
	refused_with(which, make_memfd(page_size() - 1, F_SEAL_SHRINK));
	/* It cannot be written to. */
	refused_with(which, make_memfd(LEN, F_SEAL_SHRINK | F_SEAL_WRITE));
}

START_TEST(a_segment_must_be_a_memfd_that_cannot_shrink)
{
	refused_files(FERRY__WIRE_SEGMENT);
	refused_with(FERRY__WIRE_SEGMENT,
		     make_memfd(LEN - page_size(), F_SEAL_SHRINK));
}
END_TEST

START_TEST(so_must_the_control_page)
{
	refused_files(FERRY__WIRE_CONTROL);
	/* Empty: of no offer. */
	refused_with(FERRY__WIRE_CONTROL, make_memfd(LEN, F_SEAL_SHRINK));
}
END_TEST

static int read_only(int fd)
{
	char path[64];
	int other;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	other = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return other;
}

START_TEST(descriptors_for_reading_are_refused)
{
	struct forged f;

	forge(&f);
	replace(&f, FERRY__WIRE_SEGMENT,
		read_only(make_memfd(LEN, F_SEAL_SHRINK)));
	refused(&f, -EACCES);
}
END_TEST

START_TEST(pages_of_the_pool_are_not_shared_memory)
{
	int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING |
						MFD_HUGETLB | MFD_HUGE_2MB);
	struct forged f;

	if (fd < 0)
		SKIP("hugetlb", "memfd_create: %s", strerror(errno));
	ck_assert_int_eq(ftruncate(fd, LEN), 0);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL),
			 0);
	forge(&f);
	replace(&f, FERRY__WIRE_SEGMENT, dup(fd));
	refused(&f, -EPROTO);
	refused_with(FERRY__WIRE_CONTROL, fd);
}
END_TEST

START_TEST(holes_take_no_memory)
{
	struct ferry_arena *arena = NULL;
	struct forged f;
	struct stat st;
	int sock[2];

	forge(&f);
	/* 1 GiB, of which two pages are there. */
	replace(&f, FERRY__WIRE_SEGMENT, make_memfd(1024 * MIB, F_SEAL_SHRINK));
	f.wire.segment = f.wire.len = 1024 * MIB;
	ck_assert_int_eq(pwrite(f.fd[FERRY__WIRE_SEGMENT], "x", 1, 0), 1);
	ck_assert_int_eq(pwrite(f.fd[FERRY__WIRE_SEGMENT], "y", 1, 512 * MIB),
			 1);
	bed_sockets(SOCK_STREAM, sock);
	send_forged(sock[0], &f);
	ck_assert_int_eq(ferry_handover_accept(sock[1], NULL, NULL, &arena), 0);
	ck_assert_int_eq(fstat(f.fd[FERRY__WIRE_SEGMENT], &st), 0);
	ck_assert_int_le(st.st_blocks * 512, (blkcnt_t)(8 * MIB));
	ck_assert_int_eq(*(char *)ferry_arena_base(arena), 'x');
	ck_assert_int_eq(*((char *)ferry_arena_base(arena) + 512 * MIB), 'y');
	ferry_arena_destroy(arena);
	forged_close(&f);
}
END_TEST

START_TEST(every_page_of_the_arena_can_be_touched)
{
	struct ferry_arena *arena = NULL;
	struct forged f;
	int sock[2];
	char *base;
	size_t at;

	forge(&f);
	f.wire.len = page_size();
	bed_sockets(SOCK_STREAM, sock);
	send_forged(sock[0], &f);
	ck_assert_int_eq(ferry_handover_accept(sock[1], NULL, NULL, &arena), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0,
					    ferry_arena_reserved(arena), false),
			 0);
	base = ferry_arena_base(arena);
	for (at = 0; at < ferry_arena_reserved(arena); at += page_size())
		base[at] = 1;
	ferry_arena_destroy(arena);
	forged_close(&f);
}
END_TEST

START_TEST(a_former_owner_can_add_no_seals)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);

	ck_assert_int_eq(fcntl(arena->segment, F_ADD_SEALS, 0x10), -1);
	ck_assert_int_eq(errno, EPERM);
	ferry_arena_destroy(arena);
}
END_TEST

/* --- words that are decided already ---------------------------------------- */

START_TEST(an_offer_that_is_decided_is_void)
{
	uint32_t words[] = { 0,	 FERRY__TAKEN, FERRY__WITHDRAWN, FERRY__REFUSED,
			     77, UINT32_MAX };
	struct ferry__control *control;
	struct forged f;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		forge(&f);
		ck_assert_int_eq(ferry__control_open(f.fd[FERRY__WIRE_CONTROL],
						     ID, &control),
				 0);
		control->state = words[i];
		ferry__control_close(control);
		refused(&f, -ECANCELED);
	}
}
END_TEST

START_TEST(another_offers_control_page_will_not_do)
{
	struct forged f;

	forge(&f);
	f.wire.id++;
	refused(&f, -EPROTO);
}
END_TEST

/* --- slow and silent peers ------------------------------------------------ */

START_TEST(half_an_offer_is_not_waited_for_forever)
{
	struct ferry_handover_accept_params p =
		FERRY_INIT(struct ferry_handover_accept_params);
	struct ferry_arena *arena = NULL;
	size_t fds;
	struct forged f;
	int sock[2];

	p.timeout_ns = 1000000;
	bed_sockets(SOCK_STREAM, sock);
	ck_assert_int_eq(ferry_handover_accept(sock[1], &p, NULL, &arena),
			 -ETIMEDOUT);
	forge(&f);
	f.bytes = 10;
	send_forged(sock[0], &f);
	fds = harness_descriptors();
	ck_assert_int_eq(ferry_handover_accept(sock[1], &p, NULL, &arena),
			 -ETIMEDOUT);
	ck_assert_uint_eq(harness_descriptors(), fds);
	forged_close(&f);
}
END_TEST

START_TEST(a_receiver_that_does_not_read_is_not_waited_for_forever)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_handover_params p =
		FERRY_INIT(struct ferry_handover_params);
	char junk[4096] = { 0 };
	int sock[2];

	bed_sockets(SOCK_STREAM, sock);
	while (send(sock[0], junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
	p.timeout_ns = 1000000;
	ck_assert_int_eq(ferry_handover_send(sock[0], arena, 0, LEN, &p, NULL),
			 -ETIMEDOUT);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
}
END_TEST

/* --- a hostile receiver --------------------------------------------------- */

/* An offer of this process's, as its receiver got it. */
struct got {
	struct ferry__mail mail;
	struct ferry__control *control;
};

static struct ferry_handover *offer_to(int sock[2], struct ferry_arena *arena,
				       struct got *ret)
{
	struct ferry_handover *h = NULL;

	bed_sockets(SOCK_STREAM, sock);
	ck_assert_int_eq(ferry_handover_offer(sock[0], arena, 0, LEN, NULL, &h),
			 0);
	ck_assert_int_eq(ferry__wire_recv(sock[1], FERRY__WIRE_OFFER, 0,
					  &ret->mail, UINT64_MAX),
			 0);
	ck_assert_int_eq(ferry__control_open(ret->mail.fd[FERRY__WIRE_CONTROL],
					     ret->mail.wire.id, &ret->control),
			 0);
	return h;
}

static void drop(int sock[2], struct got *got)
{
	close(sock[0]);
	close(sock[1]);
	ferry__mail_close(&got->mail);
	ferry__control_close(got->control);
}

START_TEST(what_is_no_answer_withdraws_the_offer)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	char junk[sizeof(struct ferry__wire)];
	struct ferry_handover *h;
	struct got got;
	int sock[2];

	memset(junk, 0xa5, sizeof(junk));
	h = offer_to(sock, arena, &got);
	ck_assert_int_eq(send(sock[1], junk, sizeof(junk), 0),
			 (ssize_t)sizeof(junk));
	ck_assert_int_eq(ferry_handover_await(h, NULL), -EPROTO);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ck_assert_int_eq(ferry__control_state(got.control), FERRY__WITHDRAWN);
	drop(sock, &got);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(answers_that_decide_nothing_are_passed_over)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry__wire wire = { .kind = FERRY__WIRE_ANSWER };
	struct ferry_handover *h;
	struct got got;
	int sock[2], i;

	h = offer_to(sock, arena, &got);
	wire.id = got.mail.wire.id;
	for (i = 0; i < 5; i++)
		ck_assert_int_eq(
			ferry__wire_send(sock[1], &wire, NULL, 0, UINT64_MAX),
			0);
	close(sock[1]);
	ck_assert_int_eq(ferry_handover_await(h, NULL), -EPIPE);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	drop(sock, &got);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(descriptors_in_an_answer_are_closed)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_handover *h;
	struct forged f;
	struct got got;
	int sock[2];
	size_t fds;

	forge(&f);
	h = offer_to(sock, arena, &got);
	f.wire.kind = FERRY__WIRE_ANSWER;
	send_forged(sock[1], &f);
	fds = harness_descriptors();
	ck_assert_int_eq(ferry_handover_await(h, NULL), -EPROTO);
	/* Less the segment that would have taken the old one's place. */
	ck_assert_uint_eq(harness_descriptors(), fds - 1);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	forged_close(&f);
	drop(sock, &got);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(a_word_that_means_nothing_gives_the_pages_up)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry__wire wire = { .kind = FERRY__WIRE_ANSWER };
	struct ferry_handover *h;
	struct got got;
	int sock[2];
	char *mem;

	h = offer_to(sock, arena, &got);
	got.control->state = 99;
	ck_assert_int_eq(ferry__wire_send(sock[1], &wire, NULL, 0, UINT64_MAX),
			 0);
	ck_assert_int_eq(ferry_handover_await(h, NULL), 0);
	ck_assert(bed_absent(arena, 0, LEN));
	/* The receiver's, untouched by what happens here. */
	mem = mmap(NULL, LEN, PROT_READ, MAP_SHARED,
		   got.mail.fd[FERRY__WIRE_SEGMENT], 0);
	ck_assert_ptr_ne(mem, MAP_FAILED);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, LEN, true), 0);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, LEN), 0);
	ferry_arena_destroy(arena);
	assert_pages(mem, LEN, FIRST);
	drop(sock, &got);
}
END_TEST

START_TEST(nobody_can_cut_a_segment_short)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_handover *h;
	struct got got;
	int sock[2];

	h = offer_to(sock, arena, &got);
	ck_assert_int_eq(ftruncate(got.mail.fd[FERRY__WIRE_SEGMENT], 0), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(ftruncate(got.mail.fd[FERRY__WIRE_CONTROL], 0), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(ferry_handover_withdraw(h), 0);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	drop(sock, &got);
	ferry_arena_destroy(arena);
}
END_TEST

/* --- copies --------------------------------------------------------------- */

/* A receiver that speaks by itself: the sender is a thread. */
struct sender {
	int sock;
	int result;
	struct ferry_arena *arena;
	struct ferry_handover_result told;
};

static void *send_copy(void *arg)
{
	struct sender *s = arg;
	struct ferry_handover_params p =
		FERRY_INIT(struct ferry_handover_params);

	s->told.size = sizeof(s->told);
	s->result =
		ferry_handover_send(s->sock, s->arena, 0, LEN, &p, &s->told);
	return NULL;
}

static void start_sender(struct sender *s, int sock[2], pthread_t *thread,
			 struct ferry__mail *ret_offer)
{
	bed_sockets(SOCK_STREAM, sock);
	*s = (struct sender){
		.sock = sock[0],
		.arena = bed_arena(FERRY_BACKING_PRIVATE, LEN, FIRST),
	};
	ck_assert_int_eq(pthread_create(thread, NULL, send_copy, s), 0);
	ck_assert_int_eq(ferry__wire_recv(sock[1], FERRY__WIRE_OFFER, 0,
					  ret_offer, UINT64_MAX),
			 0);
}

static void end_sender(struct sender *s, int sock[2], pthread_t thread,
		       struct ferry__mail *offer, int error)
{
	close(sock[1]);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(s->result, error);
	ck_assert(bed_holds(s->arena, 0, LEN, FIRST));
	close(sock[0]);
	ferry__mail_close(offer);
	ferry_arena_destroy(s->arena);
}

static void say_ready(int sock, uint64_t id, uint64_t address, int fd)
{
	struct ferry__wire wire = {
		.kind = FERRY__WIRE_READY,
		.id = id,
		.address = address,
	};

	ck_assert_int_eq(
		ferry__wire_send(sock, &wire, &fd, fd >= 0, UINT64_MAX), 0);
}

/* What it is given instead of a userfaultfd leads to a segment. */
static void copied_in_a_segment(int fd, uint64_t address)
{
	struct ferry__mail offer, filled;
	struct sender s;
	pthread_t thread;
	int sock[2];
	char *mem;

	start_sender(&s, sock, &thread, &offer);
	say_ready(sock[1], offer.wire.id, address, fd);
	ck_assert_int_eq(ferry__wire_recv(sock[1], FERRY__WIRE_FILLED,
					  offer.wire.id, &filled, UINT64_MAX),
			 0);
	ck_assert_int_ge(filled.fd[0], 0);
	mem = mmap(NULL, LEN, PROT_READ, MAP_SHARED, filled.fd[0], 0);
	ck_assert_ptr_ne(mem, MAP_FAILED);
	assert_pages(mem, LEN, FIRST);
	munmap(mem, LEN);
	ferry__mail_close(&filled);
	end_sender(&s, sock, thread, &offer, -EPIPE);
}

START_TEST(what_is_no_userfaultfd_is_not_copied_through)
{
	struct bed_state before = bed_state();
	int fd;

	copied_in_a_segment(-1, 0);
	fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	copied_in_a_segment(fd, 0);
	close(fd);
	fd = make_memfd(LEN, 0);
	copied_in_a_segment(fd, UINT64_MAX);
	close(fd);
	bed_assert_no_leak(before);
}
END_TEST

START_TEST(a_userfaultfd_with_a_bad_address_is_not_copied_through)
{
	struct ferry_uffd *uffd = NULL;
	char *mem = map_anon(LEN);

	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &uffd), 0);
	copied_in_a_segment(ferry_uffd_fd(uffd), 0);
	copied_in_a_segment(ferry_uffd_fd(uffd), UINT64_MAX - 1);
	/* Mapped, but not registered; then half of it. */
	copied_in_a_segment(ferry_uffd_fd(uffd), (uintptr_t)mem);
	ck_assert_int_eq(ferry_uffd_register(uffd, mem, LEN / 2,
					     FERRY_REGISTER_MISSING, NULL),
			 0);
	copied_in_a_segment(ferry_uffd_fd(uffd), (uintptr_t)mem);
	ferry_uffd_close(uffd);
}
END_TEST

START_TEST(a_receiver_that_is_never_ready_loses_the_offer)
{
	struct ferry__mail offer;
	struct sender s;
	pthread_t thread;
	int sock[2];

	/* It says so of another offer only, and hangs up. */
	start_sender(&s, sock, &thread, &offer);
	say_ready(sock[1], offer.wire.id + 1, 0, sock[1]);
	end_sender(&s, sock, thread, &offer, -EPIPE);
}
END_TEST

START_TEST(a_copy_that_was_not_asked_for_is_passed_over)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_arena *got = NULL;
	struct ferry_handover *h = NULL;
	struct ferry__wire wire = { .kind = FERRY__WIRE_FILLED, .id = 5 };
	int sock[2], fd = make_memfd(LEN, 0);
	size_t fds;

	bed_sockets(SOCK_STREAM, sock);
	ck_assert_int_eq(ferry__wire_send(sock[0], &wire, &fd, 1, UINT64_MAX),
			 0);
	ck_assert_int_eq(ferry_handover_offer(sock[0], arena, 0, LEN, NULL, &h),
			 0);
	fds = harness_descriptors();
	ck_assert_int_eq(ferry_handover_accept(sock[1], NULL, NULL, &got), 0);
	/* The segment, and no more. */
	ck_assert_uint_eq(harness_descriptors(), fds + 1);
	ck_assert_int_eq(ferry_handover_await(h, NULL), 0);
	ferry_arena_destroy(got);
	ferry_arena_destroy(arena);
}
END_TEST

/* A sender that forges: the receiver is a thread. */
struct receiver {
	int sock;
	int result;
	struct ferry_arena *got;
};

static void *receive_copy(void *arg)
{
	struct receiver *r = arg;

	r->result = ferry_handover_accept(r->sock, NULL, NULL, &r->got);
	return NULL;
}

/* Sends @fd as the copy (or none, and @word into the control page). */
static void filled_with(int fd, uint32_t word, int error)
{
	struct ferry__wire wire = { .kind = FERRY__WIRE_FILLED, .id = ID };
	struct ferry__control *control;
	struct bed_state before = bed_state();
	struct receiver r = { 0 };
	struct ferry__mail ready;
	struct forged f;
	pthread_t thread;
	int sock[2];

	forge(&f);
	f.wire.way = FERRY_HANDOVER_COPY;
	f.fds = 1;
	bed_sockets(SOCK_STREAM, sock);
	r.sock = sock[1];
	ck_assert_int_eq(pthread_create(&thread, NULL, receive_copy, &r), 0);
	send_forged(sock[0], &f);
	ck_assert_int_eq(ferry__wire_recv(sock[0], FERRY__WIRE_READY, ID,
					  &ready, UINT64_MAX),
			 0);
	ck_assert_int_eq(
		ferry__control_open(f.fd[FERRY__WIRE_CONTROL], ID, &control),
		0);
	if (word)
		control->state = word;
	ferry__control_close(control);
	ferry__mail_close(&ready);
	ck_assert_int_eq(
		ferry__wire_send(sock[0], &wire, &fd, fd >= 0, UINT64_MAX), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(r.result, error);
	ck_assert_int_eq(error == 0, r.got != NULL);
	ferry_arena_destroy(r.got);
	if (fd >= 0)
		close(fd);
	close(sock[0]);
	close(sock[1]);
	forged_close(&f);
	before.fds -= fd >= 0;
	bed_assert_no_leak(before);
}

START_TEST(a_copy_in_a_bad_segment_is_refused)
{
	filled_with(make_memfd(LEN, 0), 0, -EPROTO);
	filled_with(make_memfd(LEN - 1, F_SEAL_SHRINK), 0, -EPROTO);
	filled_with(make_memfd(LEN, F_SEAL_SHRINK | F_SEAL_WRITE), 0, -EPROTO);
	filled_with(open("/dev/zero", O_RDWR | O_CLOEXEC), 0, -EPROTO);
	filled_with(make_memfd(LEN, F_SEAL_SHRINK), 0, 0);
}
END_TEST

START_TEST(a_copy_of_a_void_offer_is_dropped)
{
	filled_with(-1, FERRY__WITHDRAWN, -ECANCELED);
	filled_with(make_memfd(LEN, F_SEAL_SHRINK), FERRY__WITHDRAWN,
		    -ECANCELED);
	/* Nothing was copied: zeros are what was sent. */
	filled_with(-1, 0, 0);
}
END_TEST

/* --- strangers ------------------------------------------------------------ */

static int stranger(int sock, void *arg)
{
	struct sockaddr_un *addr = arg;
	char byte;

	(void)sock;
	EXPECT(setgid(65534) == 0);
	EXPECT(setuid(65534) == 0);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	EXPECT(connect(sock, (struct sockaddr *)addr, sizeof(*addr)) == 0);
	/* Until the other end has seen enough; it never answers. */
	while (recv(sock, &byte, 1, 0) > 0)
		;
	return 0;
}

/* The root of a container may be the only user that it has. */
static bool has_other_users(void)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(setgid(65534) || setuid(65534));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status == 0;
}

START_TEST(other_users_are_refused_unless_wanted)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct ferry_arena *arena, *got = NULL;
	struct ferry_handover_result r =
		FERRY_INIT(struct ferry_handover_result);
	struct ferry_handover_params p =
		FERRY_INIT(struct ferry_handover_params);
	struct ferry_handover *h = NULL;
	int sock[2], lis, fd;
	pid_t pid;

	if (!has_other_users())
		SKIP("setuid", "this name space has no other user");
	/* An abstract name: no file to leave behind. */
	snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1,
		 "ferry-handover-%d", getpid());
	lis = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(lis, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(lis, 1), 0);
	bed_sockets(SOCK_STREAM, sock);
	pid = bed_peer(sock, stranger, &addr);
	fd = accept(lis, NULL, NULL);
	ck_assert_int_ge(fd, 0);
	arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	ck_assert_int_eq(ferry_handover_send(fd, arena, 0, LEN, NULL, NULL),
			 -EPERM);
	ck_assert_int_eq(ferry_handover_accept(fd, NULL, &r, &got), -EPERM);
	ck_assert_uint_eq(r.peer_uid, 65534);
	ck_assert_uint_eq(r.peer_gid, 65534);
	ck_assert_int_eq(r.peer_pid, pid);
	/* To be copied: it would have to be ready. */
	p.any_peer = true;
	p.timeout_ns = 1000000;
	ck_assert_int_eq(ferry_handover_offer(fd, arena, 0, LEN, &p, &h),
			 -ETIMEDOUT);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
	close(fd);
	bed_join(pid);
}
END_TEST

static const struct test tests[] = {
	TEST(a_forged_offer_that_is_right_is_taken, NULL),
	TEST(messages_of_others_are_no_offers, NULL),
	TEST(an_offer_cut_short_is_none, NULL),
	TEST(a_packet_that_is_too_long_is_no_offer, NULL),
	TEST(descriptors_that_miss_or_are_too_many_are_noticed, NULL),
	TEST(lengths_that_do_not_fit_are_refused, NULL),
	TEST(addresses_that_cannot_be_kept_are_refused, NULL),
	TEST(a_segment_must_be_a_memfd_that_cannot_shrink, NULL),
	TEST(so_must_the_control_page, NULL),
	TEST(descriptors_for_reading_are_refused, NULL),
	TEST(pages_of_the_pool_are_not_shared_memory, NULL),
	TEST(holes_take_no_memory, NULL),
	TEST(every_page_of_the_arena_can_be_touched, NULL),
	TEST(a_former_owner_can_add_no_seals, NULL),
	TEST(an_offer_that_is_decided_is_void, NULL),
	TEST(another_offers_control_page_will_not_do, NULL),
	TEST(half_an_offer_is_not_waited_for_forever, NULL),
	TEST(a_receiver_that_does_not_read_is_not_waited_for_forever, NULL),
	TEST(what_is_no_answer_withdraws_the_offer, NULL),
	TEST(answers_that_decide_nothing_are_passed_over, NULL),
	TEST(descriptors_in_an_answer_are_closed, NULL),
	TEST(a_word_that_means_nothing_gives_the_pages_up, NULL),
	TEST(nobody_can_cut_a_segment_short, NULL),
	TEST(what_is_no_userfaultfd_is_not_copied_through, NULL),
	TEST(a_userfaultfd_with_a_bad_address_is_not_copied_through,
	     "userfaultfd"),
	TEST(a_receiver_that_is_never_ready_loses_the_offer, NULL),
	TEST(a_copy_that_was_not_asked_for_is_passed_over, NULL),
	TEST(a_copy_in_a_bad_segment_is_refused, NULL),
	TEST(a_copy_of_a_void_offer_is_dropped, NULL),
	TEST(other_users_are_refused_unless_wanted, "root"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
