/* SPDX-License-Identifier: MIT */
/*
 * ferryctl's client against agents that are not sound: each a child process
 * at the other end of a socket, which answers as the test wants.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tools/ferryctl/agent.h"
#include "tools/ferryctl/client.h"

#define PATIENCE_MS 60000 /* so long that a test fails by its time limit */

/* --- the agent ------------------------------------------------------------ */

/* Answers one request; what it leaves out of @reply is right already. */
typedef void (*answer_fn)(int fd, const struct ferry_agent_request *request,
			  struct ferry_agent_reply *reply);

static struct ctl_client client;
static pid_t agent;

static bool get(int fd, void *data, size_t len)
{
	/* Of nothing, recv() would wait for something. */
	return !len || recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

static void put(int fd, const void *data, size_t len)
{
	if (send(fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
		_exit(0);
}

/* What stands behind the head of a request. */
static char tail[1 << 16];

static void put_head(int fd, const struct ferry_agent_reply *reply)
{
	put(fd, reply, sizeof(*reply));
}

static void say_hello(int fd, struct ferry_agent_reply *reply)
{
	struct ferry_agent_limits limits = {
		.ops = (1u << FERRY_AGENT_OPS) - 1,
		.request_max = 4096,
		.reply_max = 1 << 20,
		.ranges_max = 100,
	};

	reply->item_size = sizeof(limits);
	reply->items_len = 1;
	reply->length += sizeof(limits);
	put_head(fd, reply);
	put(fd, &limits, sizeof(limits));
}

static void serve(int fd, answer_fn answer)
{
	struct ferry_agent_request request;
	struct ferry_agent_reply reply;
	size_t rest;

	while (get(fd, &request, sizeof(request))) {
		rest = request.length - sizeof(request);
		if (request.size != sizeof(request) || rest > sizeof(tail) ||
		    !get(fd, tail, rest))
			_exit(1);
		reply = (struct ferry_agent_reply){
			.size = sizeof(reply),
			.version = FERRY_AGENT_VERSION,
			.op = request.op,
			.length = sizeof(reply),
			.id = request.id,
		};
		answer(fd, &request, &reply);
	}
}

/* Says hello as it should, and the rest by @answer. */
static answer_fn then;

static void after_hello(int fd, const struct ferry_agent_request *request,
			struct ferry_agent_reply *reply)
{
	if (request->op == FERRY_AGENT_HELLO)
		say_hello(fd, reply);
	else
		then(fd, request, reply);
}

static int connect_to(answer_fn answer, int patience_ms)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	agent = fork();
	ck_assert_int_ge(agent, 0);
	if (agent == 0) {
		close(fds[0]);
		serve(fds[1], answer);
		_exit(0);
	}
	close(fds[1]);
	return ctl_client_init(&client, fds[0], patience_ms);
}

static void connect_after_hello(answer_fn answer)
{
	then = answer;
	ck_assert_int_eq(connect_to(after_hello, PATIENCE_MS), 0);
}

static void leave(void)
{
	ctl_client_fini(&client);
	ck_assert_int_eq(waitpid(agent, NULL, 0), agent);
}

static int ask(enum ferry_agent_op op)
{
	const struct ctl_ask question = { .head.op = (uint16_t)op };
	struct ctl_reply reply;
	int r = ctl_client_ask(&client, &question, &reply);

	if (r == 0)
		ctl_reply_fini(&reply);
	return r;
}

/* The agent hung up on, or is not listened to any more. */
static void is_given_up(int r)
{
	ck_assert_int_eq(ask(FERRY_AGENT_STATS), r);
	ck_assert_int_eq(client.fd, -1);
	ck_assert_int_eq(ask(FERRY_AGENT_STATS), -EPIPE);
	leave();
}

/* --- hello ---------------------------------------------------------------- */

static void never(int fd, const struct ferry_agent_request *request,
		  struct ferry_agent_reply *reply)
{
	(void)fd;
	(void)request;
	(void)reply;
	_exit(1);
}

START_TEST(limits_are_learnt)
{
	connect_after_hello(never);
	ck_assert(ctl_client_offers(&client, FERRY_AGENT_MIGRATE));
	ck_assert_uint_eq(client.limits.ranges_max, 100);
	ck_assert_uint_eq(ctl_client_batch(&client, 0), 100);
	client.limits.request_max = 72 + 8 + 3 * 16 + 15;
	ck_assert_uint_eq(ctl_client_batch(&client, 64), 3);
	client.limits.request_max = 72;
	ck_assert_uint_eq(ctl_client_batch(&client, 0), 0);
	ck_assert_uint_eq(ctl_client_batch(&client, 1), 0);
	client.limits.request_max = client.limits.ranges_max = UINT64_MAX;
	ck_assert_uint_gt(ctl_client_batch(&client, 1), 100);
	leave();
}
END_TEST

static void hang_up(int fd, const struct ferry_agent_request *request,
		    struct ferry_agent_reply *reply)
{
	(void)fd;
	(void)request;
	(void)reply;
	_exit(0);
}

START_TEST(who_hangs_up_at_once_is_no_agent)
{
	ck_assert_int_eq(connect_to(hang_up, PATIENCE_MS), -ECONNRESET);
	ck_assert_int_eq(client.fd, -1);
	leave();
}
END_TEST

static void hello_alone(int fd, const struct ferry_agent_request *request,
			struct ferry_agent_reply *reply)
{
	(void)request;
	put_head(fd, reply);
}

START_TEST(a_hello_without_limits_is_refused)
{
	ck_assert_int_eq(connect_to(hello_alone, PATIENCE_MS), -EPROTO);
	leave();
}
END_TEST

static void keep_silent(int fd, const struct ferry_agent_request *request,
			struct ferry_agent_reply *reply)
{
	(void)fd;
	(void)request;
	(void)reply;
}

START_TEST(who_says_no_hello_is_given_up)
{
	ck_assert_int_eq(connect_to(keep_silent, 10), -ETIMEDOUT);
	leave();
}
END_TEST

/* The limits of a later version, and of one that knew less. */
static uint32_t item_size;

static void hello_of_size(int fd, const struct ferry_agent_request *request,
			  struct ferry_agent_reply *reply)
{
	char item[512];

	(void)request;
	memset(item, 0xff, sizeof(item));
	memset(item, 0, 8);
	item[0] = 1 << FERRY_AGENT_HELLO;
	reply->item_size = item_size;
	reply->items_len = 1;
	reply->length += item_size;
	put_head(fd, reply);
	put(fd, item, item_size);
}

START_TEST(longer_and_shorter_items_are_understood)
{
	item_size = 512;
	ck_assert_int_eq(connect_to(hello_of_size, PATIENCE_MS), 0);
	ck_assert_uint_eq(client.limits.ops, 1 << FERRY_AGENT_HELLO);
	leave();
	item_size = 8;
	ck_assert_int_eq(connect_to(hello_of_size, PATIENCE_MS), 0);
	ck_assert_uint_eq(client.limits.ops, 1 << FERRY_AGENT_HELLO);
	ck_assert_uint_eq(client.limits.ranges_max, 0);
	ck_assert_uint_eq(ctl_client_batch(&client, 0), 0);
	leave();
}
END_TEST

/* --- replies that do not add up ------------------------------------------- */

static struct ferry_agent_reply lie;
static bool told_length; /* lie.length stands for itself */

static void tell_lie(int fd, const struct ferry_agent_request *request,
		     struct ferry_agent_reply *reply)
{
	struct ferry_agent_reply told = lie;

	(void)request;
	told.op = lie.op ? lie.op : reply->op;
	told.id = lie.id ? lie.id : reply->id;
	told.version = lie.version ? lie.version : reply->version;
	told.size = lie.size ? lie.size : reply->size;
	told.length = told_length ? lie.length : reply->length;
	put_head(fd, &told);
}

static void lies_with(struct ferry_agent_reply reply, int r)
{
	lie = reply;
	told_length = reply.length != 0;
	connect_after_hello(tell_lie);
	is_given_up(r);
}

#define REPLY(...) ((struct ferry_agent_reply){ __VA_ARGS__ })

START_TEST(lengths_that_do_not_add_up_are_refused)
{
	uint64_t size = sizeof(struct ferry_agent_reply);

	lies_with(REPLY(.size = 8), -EPROTO);
	lies_with(REPLY(.size = 79), -EPROTO);
	lies_with(REPLY(.size = UINT32_MAX), -EPROTO);
	lies_with(REPLY(.length = 1), -EPROTO);
	lies_with(REPLY(.length = size + 1), -EPROTO);
	lies_with(REPLY(.length = UINT64_MAX), -EPROTO);
	lies_with(REPLY(.text_len = 1), -EPROTO);
	lies_with(REPLY(.text_len = UINT64_MAX), -EPROTO);
	lies_with(REPLY(.items_len = 1), -EPROTO);
	lies_with(REPLY(.items_len = 1, .item_size = 1), -EPROTO);
	/* Products and sums that wrap to what the length says. */
	lies_with(REPLY(.items_len = (uint64_t)1 << 62, .item_size = 4),
		  -EPROTO);
	lies_with(REPLY(.length = size + 8, .items_len = UINT64_MAX / 8,
			.item_size = 8, .text_len = 16),
		  -EPROTO);
	lies_with(REPLY(.length = size + 8, .items_len = 1, .item_size = 16,
			.text_len = UINT64_MAX - 7),
		  -EPROTO);
}
END_TEST

START_TEST(a_reply_beyond_all_bounds_is_refused)
{
	uint64_t size = sizeof(struct ferry_agent_reply);

	lies_with(REPLY(.length = size + CTL_REPLY_MAX,
			.text_len = CTL_REPLY_MAX),
		  -EPROTO);
}
END_TEST

START_TEST(a_reply_to_something_else_is_refused)
{
	lies_with(REPLY(.op = FERRY_AGENT_LIST), -EPROTO);
	lies_with(REPLY(.id = 77), -EPROTO);
}
END_TEST

START_TEST(another_version_is_told)
{
	lies_with(REPLY(.version = 2), -EPROTONOSUPPORT);
}
END_TEST

START_TEST(an_error_that_is_none_is_refused)
{
	lies_with(REPLY(.error = 5), -EPROTO);
	lies_with(REPLY(.error = -5000), -EPROTO);
	lies_with(REPLY(.error = INT32_MIN), -EPROTO);
}
END_TEST

/* As much as the largest reply is promised, and a little sent. */
static void promise(int fd, const struct ferry_agent_request *request,
		    struct ferry_agent_reply *reply)
{
	(void)request;
	reply->text_len = CTL_REPLY_MAX - sizeof(*reply);
	reply->length += reply->text_len;
	put_head(fd, reply);
	put(fd, "{\"", 2);
	_exit(0);
}

START_TEST(a_reply_that_ends_early_is_told)
{
	connect_after_hello(promise);
	is_given_up(-ECONNRESET);
}
END_TEST

static void half_a_head(int fd, const struct ferry_agent_request *request,
			struct ferry_agent_reply *reply)
{
	(void)request;
	put(fd, reply, sizeof(*reply) / 2);
}

START_TEST(a_reply_that_stops_is_given_up)
{
	connect_after_hello(half_a_head);
	client.patience_ms = 10;
	is_given_up(-ETIMEDOUT);
}
END_TEST

/* Byte by byte, with a pause after each. */
static void drip(int fd, const struct ferry_agent_request *request,
		 struct ferry_agent_reply *reply)
{
	const char *bytes = (const char *)reply;
	size_t i;

	(void)request;
	reply->text_len = 3;
	reply->length += 3;
	for (i = 0; i < sizeof(*reply); i++) {
		put(fd, bytes + i, 1);
		poll(NULL, 0, 1);
	}
	put(fd, "{", 1);
	poll(NULL, 0, 1);
	put(fd, "}\n", 2);
}

START_TEST(slow_replies_are_read_whole)
{
	const struct ctl_ask question = { .head.op = FERRY_AGENT_STATS };
	struct ctl_reply reply;

	connect_after_hello(drip);
	ck_assert_int_eq(ctl_client_ask(&client, &question, &reply), 0);
	ck_assert_str_eq(ctl_reply_text(&reply), "{}\n");
	ctl_reply_fini(&reply);
	leave();
}
END_TEST

/* A later version's head: more fields behind those that are known. */
static void long_head(int fd, const struct ferry_agent_request *request,
		      struct ferry_agent_reply *reply)
{
	char more[1000] = { 0 };

	(void)request;
	reply->size += sizeof(more);
	reply->length += sizeof(more) + 2;
	reply->text_len = 2;
	put_head(fd, reply);
	put(fd, more, sizeof(more));
	put(fd, "ok", 2);
}

START_TEST(fields_of_later_versions_are_passed_over)
{
	const struct ctl_ask question = { .head.op = FERRY_AGENT_STATS };
	struct ctl_reply reply;

	connect_after_hello(long_head);
	ck_assert_int_eq(ctl_client_ask(&client, &question, &reply), 0);
	ck_assert_str_eq(ctl_reply_text(&reply), "ok");
	ctl_reply_fini(&reply);
	ck_assert_int_eq(ask(FERRY_AGENT_STATS), 0); /* it goes on */
	leave();
}
END_TEST

static void refuse(int fd, const struct ferry_agent_request *request,
		   struct ferry_agent_reply *reply)
{
	(void)request;
	reply->error = -EPERM;
	put_head(fd, reply);
}

START_TEST(a_refusal_ends_no_connection)
{
	connect_after_hello(refuse);
	ck_assert_int_eq(ask(FERRY_AGENT_RECLAIM), -EPERM);
	ck_assert_int_eq(ask(FERRY_AGENT_RECLAIM), -EPERM);
	leave();
}
END_TEST

static void sleep_after_hello(int fd, const struct ferry_agent_request *request,
			      struct ferry_agent_reply *reply)
{
	(void)request;
	say_hello(fd, reply);
	for (;;)
		pause();
}

START_TEST(who_does_not_read_is_given_up)
{
	static struct ferry_agent_range ranges[1 << 17];
	const struct ctl_ask question = {
		.head = { .op = FERRY_AGENT_MIGRATE, .ranges_len = 1 << 17 },
		.ranges = ranges,
	};
	struct ctl_reply reply;

	ck_assert_int_eq(connect_to(sleep_after_hello, PATIENCE_MS), 0);
	client.patience_ms = 10;
	ck_assert_int_eq(ctl_client_ask(&client, &question, &reply),
			 -ETIMEDOUT);
	ck_assert_int_eq(client.fd, -1);
	kill(agent, SIGKILL);
	leave();
}
END_TEST

/* --- ranges --------------------------------------------------------------- */

/* Each range by its number; the mask is looked at, too. */
static void place(int fd, const struct ferry_agent_request *request,
		  struct ferry_agent_reply *reply)
{
	static const struct ferry_agent_status answers[] = {
		{ .done = 4096 },
		{ .left = 4096, .error = 0 },
		{ .left = 4096, .error = -EBUSY },
		{ .error = -ENOENT },
		{ .error = -EINVAL, .reason = FERRY_REASON_LOCKED },
		{ .error = 17 },
	};
	const struct ferry_agent_range *ranges = (const void *)tail;
	uint64_t word;
	uint32_t i;

	memcpy(&word, tail + request->ranges_len * sizeof(*ranges), 8);
	if (request->nodes_len != 70 || word != 5 || request->mode != 3)
		_exit(1);
	reply->item_size = sizeof(answers[0]);
	reply->items_len = request->ranges_len;
	reply->length += reply->items_len * reply->item_size;
	put_head(fd, reply);
	for (i = 0; i < request->ranges_len; i++)
		put(fd, &answers[ranges[i].addr / 4096 % 6],
		    sizeof(answers[0]));
}

static int retried;

static int do_outside(void *arg, const struct ctl_range *ranges, size_t n,
		      struct ctl_result *results)
{
	(void)arg;
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(ranges[0].start / 4096, 3);
	results[0].done.done = 4096;
	retried++;
	return 0;
}

static void fill_ranges(struct ctl_range *ranges, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		ranges[i] = (struct ctl_range){ .start = i * 4096,
						.end = i * 4096 + 4096 };
}

START_TEST(ranges_are_answered_for_one_by_one)
{
	unsigned long nodes[70 / (8 * sizeof(long)) + 1] = { 5 };
	struct ctl_agent_job job = {
		.client = &client,
		.head = { .op = FERRY_AGENT_SET_POLICY,
			  .mode = 3,
			  .nodes_len = 70 },
		.nodes = nodes,
		.outside.run = do_outside,
	};
	struct ctl_result results[6] = { 0 };
	struct ctl_range ranges[6];
	struct ctl_doer doer;

	fill_ranges(ranges, 6);
	connect_after_hello(place);
	ck_assert_int_eq(ctl_agent_doer(&job, "placed", &doer), 0);
	ck_assert_uint_eq(doer.batch, 100);
	ck_assert_int_eq(doer.run(doer.arg, ranges, 6, results), 0);
	ck_assert_uint_eq(results[0].done.done, 4096);
	ck_assert_uint_eq(results[1].done.busy, 4096);
	ck_assert_int_eq(results[2].error, -EBUSY);
	ck_assert_uint_eq(results[2].done.busy, 4096);
	ck_assert_int_eq(results[3].error, 0); /* done from outside */
	ck_assert_uint_eq(results[3].done.done, 4096);
	ck_assert_int_eq(retried, 1);
	ck_assert_int_eq(results[4].error, -EINVAL);
	ck_assert_ptr_nonnull(strstr(results[4].why, "locked"));
	ck_assert_int_eq(results[5].error, -EPROTO);
	ctl_agent_job_fini(&job);
	leave();
}
END_TEST

static void one_too_few(int fd, const struct ferry_agent_request *request,
			struct ferry_agent_reply *reply)
{
	struct ferry_agent_status status = { 0 };
	uint32_t i;

	reply->item_size = sizeof(status);
	reply->items_len = request->ranges_len - 1;
	reply->length += reply->items_len * reply->item_size;
	put_head(fd, reply);
	for (i = 1; i < request->ranges_len; i++)
		put(fd, &status, sizeof(status));
}

START_TEST(fewer_answers_than_ranges_are_refused)
{
	struct ctl_agent_job job = { .client = &client,
				     .head.op = FERRY_AGENT_MIGRATE };
	struct ctl_result results[4] = { 0 };
	struct ctl_range ranges[4];
	struct ctl_doer doer;

	fill_ranges(ranges, 4);
	connect_after_hello(one_too_few);
	ck_assert_int_eq(ctl_agent_doer(&job, "placed", &doer), 0);
	ck_assert_int_eq(doer.run(doer.arg, ranges, 4, results), -EPROTO);
	ctl_agent_job_fini(&job);
	leave();
}
END_TEST

/* --- lists that go on ----------------------------------------------------- */

/* Two objects in two replies. */
static void list(int fd, const struct ferry_agent_request *request,
		 struct ferry_agent_reply *reply)
{
	struct ferry_agent_object object = { .id = request->value + 1,
					     .addr = 0x10000,
					     .len = 0x5000 };

	memset(object.name, 'x', sizeof(object.name)); /* no NUL */
	memcpy(object.name, "\033[2J\177", 5);
	reply->item_size = sizeof(object);
	reply->items_len = 1;
	reply->length += sizeof(object);
	if (request->value == 0) {
		reply->flags = FERRY_AGENT_MORE;
		reply->value = 1;
	}
	put_head(fd, reply);
	put(fd, &object, sizeof(object));
}

static uint64_t ids;

static int add_id(void *arg, const struct ferry_agent_object *object)
{
	(void)arg;
	ids = ids * 10 + object->id;
	ck_assert_uint_eq(strlen(object->name), sizeof(object->name) - 1);
	ck_assert_int_eq(strncmp(object->name, "?[2J?x", 6), 0);
	return 0;
}

START_TEST(objects_come_in_several_replies)
{
	connect_after_hello(list);
	ck_assert_int_eq(ctl_agent_objects(&client, add_id, NULL), 0);
	ck_assert_uint_eq(ids, 12);
	leave();
}
END_TEST

static void list_forever(int fd, const struct ferry_agent_request *request,
			 struct ferry_agent_reply *reply)
{
	(void)request;
	reply->flags = FERRY_AGENT_MORE;
	reply->value = 5;
	put_head(fd, reply);
}

START_TEST(a_list_that_does_not_get_on_is_ended)
{
	connect_after_hello(list_forever);
	ck_assert_int_eq(ctl_agent_objects(&client, add_id, NULL), -EPROTO);
	leave();
}
END_TEST

/* Half of what is left, until that is one page. */
static void map_half(int fd, const struct ferry_agent_request *request,
		     struct ferry_agent_reply *reply)
{
	const struct ferry_agent_range *range = (const void *)tail;
	struct ferry_agent_run run = { .addr = range->addr, .len = range->len };

	(void)request;
	if (run.len > 4096) {
		run.len = run.len / 8192 * 4096;
		reply->flags = FERRY_AGENT_MORE;
		reply->value = run.addr + run.len;
	}
	reply->item_size = sizeof(run);
	reply->items_len = 1;
	reply->length += sizeof(run);
	put_head(fd, reply);
	put(fd, &run, sizeof(run));
}

static uint64_t mapped;

static int add_run(void *arg, const struct ferry_agent_run *run)
{
	(void)arg;
	mapped += run->len;
	return 0;
}

START_TEST(runs_come_in_several_replies)
{
	connect_after_hello(map_half);
	ck_assert_int_eq(
		ctl_agent_runs(&client, 0x10000, 64 * 4096, add_run, NULL), 0);
	ck_assert_uint_eq(mapped, 64 * 4096);
	leave();
}
END_TEST

static struct ferry_agent_run false_run;
static uint64_t false_next;

static void map_falsely(int fd, const struct ferry_agent_request *request,
			struct ferry_agent_reply *reply)
{
	(void)request;
	reply->flags = false_next ? FERRY_AGENT_MORE : 0;
	reply->value = false_next;
	reply->item_size = sizeof(false_run);
	reply->items_len = 1;
	reply->length += sizeof(false_run);
	put_head(fd, reply);
	put(fd, &false_run, sizeof(false_run));
}

START_TEST(runs_that_cannot_be_are_refused)
{
	static const struct {
		uint64_t addr, len, next;
	} runs[] = {
		{ 0xf000, 0x1000, 0 },	       /* below */
		{ 0x10000, 0, 0 },	       /* empty */
		{ 0x10000, 0x5000, 0 },	       /* beyond the end */
		{ 0x14000, 0x1000, 0 },	       /* behind it */
		{ 0x11000, UINT64_MAX, 0 },    /* wraps */
		{ 0x10000, 0x1000, 0x10000 },  /* goes on where it was */
		{ 0x10000, 0x1000, 0x1000 },   /* goes back */
		{ 0x10000, 0x1000, 0x900000 }, /* goes away */
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(runs); i++) {
		false_run.addr = runs[i].addr;
		false_run.len = runs[i].len;
		false_next = runs[i].next;
		connect_after_hello(map_falsely);
		ck_assert_int_eq(
			ctl_agent_runs(&client, 0x10000, 0x4000, add_run, NULL),
			-EPROTO);
		leave();
	}
}
END_TEST

static const struct test tests[] = {
	TEST(limits_are_learnt, NULL),
	TEST(who_hangs_up_at_once_is_no_agent, NULL),
	TEST(a_hello_without_limits_is_refused, NULL),
	TEST(who_says_no_hello_is_given_up, NULL),
	TEST(longer_and_shorter_items_are_understood, NULL),
	TEST(lengths_that_do_not_add_up_are_refused, NULL),
	TEST(a_reply_beyond_all_bounds_is_refused, NULL),
	TEST(a_reply_to_something_else_is_refused, NULL),
	TEST(another_version_is_told, NULL),
	TEST(an_error_that_is_none_is_refused, NULL),
	TEST(a_reply_that_ends_early_is_told, NULL),
	TEST(a_reply_that_stops_is_given_up, NULL),
	TEST(slow_replies_are_read_whole, NULL),
	TEST(fields_of_later_versions_are_passed_over, NULL),
	TEST(a_refusal_ends_no_connection, NULL),
	TEST(who_does_not_read_is_given_up, NULL),
	TEST(ranges_are_answered_for_one_by_one, NULL),
	TEST(fewer_answers_than_ranges_are_refused, NULL),
	TEST(objects_come_in_several_replies, NULL),
	TEST(a_list_that_does_not_get_on_is_ended, NULL),
	TEST(runs_come_in_several_replies, NULL),
	TEST(runs_that_cannot_be_are_refused, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
