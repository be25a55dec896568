/* SPDX-License-Identifier: MIT */
/*
 * The policy agent as a server: who is let in, what frames are taken, and that
 * nothing a peer does harms others or the program.
 */
#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/agent_client.h"
#include "uffd/sys.h"

static void start_default(void)
{
	agent_start(NULL);
}

static void expect_error(struct ferry_agent_request req, int error)
{
	struct answer a = agent_ask(req, NULL, NULL, NULL);

	ck_assert_int_eq(a.head.error, error);
	ck_assert_uint_eq(a.head.items_len, 0);
	answer_free(&a);
}

static void expect_alive(void)
{
	expect_error(agent_request(FERRY_AGENT_STATS + 1000), -EINVAL);
}

/* --- the socket --------------------------------------------------------------- */

static void name_of(char *path, size_t size)
{
	snprintf(path, size, "%s/ferry-agent.%d", agent_folder(), getpid());
}

START_TEST(socket_is_in_the_folder_and_for_the_user_alone)
{
	char path[128], found[128];
	struct stat st;
	mode_t old = umask(0);

	agent_start(NULL);
	umask(old);
	name_of(path, sizeof(path));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(ferry_agent_path(0, found, sizeof(found)), 0);
	ck_assert_str_eq(found, path);
	ck_assert_int_eq(ferry_agent_path(getpid(), found, 4), -ENAMETOOLONG);
	ck_assert_int_eq(ferry_agent_path(-1, found, sizeof(found)), -EINVAL);
	ck_assert_int_eq(ferry_agent_start(NULL), -EALREADY);
	ferry_agent_stop();
	ck_assert_int_eq(stat(path, &st), -1);
	ck_assert_int_eq(ferry_agent_path(0, found, sizeof(found)), -ENOENT);
	ferry_agent_stop();
	agent_stop();
}
END_TEST

START_TEST(folder_of_others_is_refused)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);
	char dir[] = "/tmp/ferry-agent-XXXXXX", link[64], path[200];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	p.dir = dir;
	ck_assert_int_eq(chmod(dir, 0777), 0);
	ck_assert_int_eq(ferry_agent_start(&p), -EACCES);
	/* As /tmp is: others cannot touch what is ours there. */
	ck_assert_int_eq(chmod(dir, 01777), 0);
	ck_assert_int_eq(ferry_agent_start(&p), 0);
	ferry_agent_stop();
	snprintf(link, sizeof(link), "%s/none", dir);
	p.dir = link;
	ck_assert_int_eq(ferry_agent_start(&p), -ENOENT);
	p.dir = "relative";
	ck_assert_int_eq(ferry_agent_start(&p), -EINVAL);
	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	p.dir = path;
	ck_assert_int_eq(ferry_agent_start(&p), -ENAMETOOLONG);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

/* What a process leaves that is killed. */
static void leave_socket(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(name.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	close(fd);
}

START_TEST(name_left_by_the_dead_is_replaced_and_no_other)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);
	char dir[] = "/tmp/ferry-agent-XXXXXX", path[128];
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/ferry-agent.%d", dir, getpid());
	p.dir = dir;
	leave_socket(path);
	ck_assert_int_eq(ferry_agent_start(&p), 0);
	ferry_agent_stop();
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	ck_assert_int_eq(ferry_agent_start(&p), -EADDRINUSE);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(program_sees_no_descriptor_and_can_close_none)
{
	size_t before = harness_descriptors();

	agent_start(NULL);
	ck_assert_uint_eq(harness_descriptors(), before);
	expect_alive();
	agent_stop();
	ck_assert_uint_eq(harness_descriptors(), before);
}
END_TEST

#define NO_SUCH_USER 9

/* Says with its exit status how it went. */
static int ask_as(uid_t uid)
{
	char buf[256];
	int fd, status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (setresuid(uid, uid, uid) < 0)
			_exit(NO_SUCH_USER);
		fd = ferry_agent_connect(getppid());
		if (fd < 0)
			_exit(fd == -EACCES ? 1 : 2);
		_exit(recv(fd, buf, sizeof(buf), 0) == 0 ? 3 : 4);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(other_users_are_not_let_in)
{
	char path[128];
	int status;

	if (geteuid() != 0)
		SKIP("root", "only root can be another user");
	agent_start(NULL);
	ck_assert_int_eq(chmod(agent_folder(), 0711), 0);
	status = ask_as(65534);
	if (status == NO_SUCH_USER) {
		agent_stop();
		SKIP("setuid", "this name space has no other user");
	}
	ck_assert_int_eq(status, 1);
	/* Even where somebody opens the door: hung up on. */
	name_of(path, sizeof(path));
	ck_assert_int_eq(chmod(path, 0666), 0);
	ck_assert_int_eq(ask_as(65534), 3);
	expect_alive();
	agent_stop();
}
END_TEST

/* --- frames ---------------------------------------------------------------------- */

START_TEST(hello_tells_the_limits)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);
	const struct ferry_agent_limits *l;
	struct answer a;

	p.ranges_max = 100;
	p.connections_max = 3;
	p.refuse = (uint64_t)1 << FERRY_AGENT_PIN;
	agent_start(&p);
	a = agent_ask(agent_request(FERRY_AGENT_HELLO), NULL, NULL, NULL);
	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.item_size, sizeof(*l));
	l = answer_item(&a, 0);
	ck_assert_uint_eq(l->ranges_max, 100);
	ck_assert_uint_eq(l->connections_max, 3);
	ck_assert_int_eq(l->pid, getpid());
	ck_assert(l->ops & (uint64_t)1 << FERRY_AGENT_LIST);
	ck_assert(!(l->ops & (uint64_t)1 << FERRY_AGENT_PIN));
	answer_free(&a);
	expect_error(agent_request(FERRY_AGENT_PIN), -EPERM);
	agent_stop();
}
END_TEST

START_TEST(several_requests_may_be_sent_at_once)
{
	struct ferry_agent_request req;
	struct answer a;
	uint64_t id;
	int fd = agent_dial(), i;

	req = agent_request(FERRY_AGENT_HELLO);
	id = req.id;
	for (i = 0; i < 20; i++, req.id++)
		ck_assert(agent_send(fd, req, NULL, NULL, NULL));
	for (i = 0; i < 20; i++) {
		ck_assert(agent_hear(fd, &a));
		ck_assert_uint_eq(a.head.id, id + (uint64_t)i);
		answer_free(&a);
	}
	close(fd);
}
END_TEST

START_TEST(frame_may_come_byte_by_byte)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HELLO);
	struct answer a;
	int fd = agent_dial();
	size_t i;

	req.length = sizeof(req);
	for (i = 0; i < sizeof(req); i++)
		ck_assert(agent_send_bytes(fd, (char *)&req + i, 1));
	ck_assert(agent_hear(fd, &a));
	ck_assert_int_eq(a.head.error, 0);
	answer_free(&a);
	close(fd);
}
END_TEST

/* A request with a header of @size bytes, the tail being @tail. */
static int error_of_long(uint32_t size, char tail)
{
	char frame[256] = { 0 };
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HELLO);
	struct answer a;
	int fd = agent_dial();

	req.size = size;
	req.length = size;
	memcpy(frame, &req, sizeof(req) < size ? sizeof(req) : size);
	if (size > sizeof(req))
		frame[size - 1] = tail;
	ck_assert(agent_send_bytes(fd, frame, size));
	ck_assert(agent_hear(fd, &a));
	close(fd);
	answer_free(&a);
	return a.head.error;
}

START_TEST(header_of_another_length_is_taken_if_its_tail_says_nothing)
{
	ck_assert_int_eq(error_of_long(24, 0), 0);
	ck_assert_int_eq(error_of_long(32, 0), 0);
	ck_assert_int_eq(error_of_long(128, 0), 0);
	ck_assert_int_eq(error_of_long(128, 1), -E2BIG);
	ck_assert_int_eq(error_of_long(30, 0), -EINVAL);
}
END_TEST

START_TEST(unknown_fields_are_refused)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HELLO);

	req.version = 2;
	expect_error(req, -EPROTONOSUPPORT);
	req.version = FERRY_AGENT_VERSION;
	req.flags = 4;
	expect_error(req, -EINVAL);
	req.flags = 0;
	req.reserved = 1;
	expect_error(req, -EINVAL);
	req.reserved = 0;
	req.op = 0;
	expect_error(req, -EINVAL);
	req.op = FERRY_AGENT_OPS;
	expect_error(req, -EINVAL);
}
END_TEST

/* What a frame with a lie in it is answered, over @fd. */
static int error_of(int fd, struct ferry_agent_request req)
{
	struct answer a;

	ck_assert(agent_send_bytes(fd, &req, sizeof(req)));
	ck_assert(agent_hear(fd, &a));
	answer_free(&a);
	return a.head.error;
}

START_TEST(parts_that_do_not_add_up_are_refused_and_the_connection_goes_on)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HINT);
	int fd = agent_dial();

	req.length = sizeof(req);
	req.ranges_len = 1;
	ck_assert_int_eq(error_of(fd, req), -EINVAL);
	req.ranges_len = UINT32_MAX;
	ck_assert_int_eq(error_of(fd, req), -EINVAL);
	req.nodes_len = UINT32_MAX;
	req.text_len = UINT32_MAX;
	ck_assert_int_eq(error_of(fd, req), -EINVAL);
	/* The sum of these is the length again, in 32 bits. */
	req = agent_request(FERRY_AGENT_HINT);
	req.length = sizeof(req);
	req.ranges_len = 1u << 28;
	ck_assert_int_eq(error_of(fd, req), -EINVAL);
	req = agent_request(FERRY_AGENT_HELLO);
	req.length = sizeof(req);
	ck_assert_int_eq(error_of(fd, req), 0);
	close(fd);
}
END_TEST

static bool is_hung_up(int fd)
{
	char c;

	return recv(fd, &c, 1, 0) <= 0;
}

START_TEST(frame_beyond_the_limit_is_answered_and_hung_up_on)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HINT);
	struct answer a;
	int fd = agent_dial();

	req.length = UINT64_MAX;
	ck_assert(agent_send_bytes(fd, &req, FERRY_AGENT_REQUEST_MIN));
	ck_assert(agent_hear(fd, &a));
	ck_assert_int_eq(a.head.error, -EMSGSIZE);
	ck_assert_uint_eq(a.head.id, req.id);
	ck_assert(is_hung_up(fd));
	answer_free(&a);
	close(fd);
	expect_alive();
}
END_TEST

START_TEST(frame_without_an_id_is_hung_up_on)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HELLO);
	int fd = agent_dial();

	req.size = 16;
	req.length = 72;
	ck_assert(agent_send_bytes(fd, &req, FERRY_AGENT_REQUEST_MIN));
	ck_assert(is_hung_up(fd));
	close(fd);
	fd = agent_dial();
	req.size = 72;
	req.length = 24;
	ck_assert(agent_send_bytes(fd, &req, FERRY_AGENT_REQUEST_MIN));
	ck_assert(is_hung_up(fd));
	close(fd);
	expect_alive();
}
END_TEST

START_TEST(more_ranges_than_allowed_are_refused)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HINT);
	struct ferry_agent_range ranges[5] = { { 0, 0 } };
	struct answer a;

	p.ranges_max = 4;
	agent_start(&p);
	req.value = FERRY_AGENT_COLD;
	req.ranges_len = 5;
	a = agent_ask(req, ranges, NULL, NULL);
	ck_assert_int_eq(a.head.error, -EMSGSIZE);
	answer_free(&a);
	req.ranges_len = 4;
	a = agent_ask(req, ranges, NULL, NULL);
	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.items_len, 4);
	ck_assert_uint_eq(a.head.failed, 4);
	answer_free(&a);
	agent_stop();
}
END_TEST

/* --- peers ------------------------------------------------------------------------- */

START_TEST(who_goes_away_half_way_harms_nobody)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HINT);
	int fd, i;

	req.ranges_len = 1000;
	req.length = sizeof(req) + 16000;
	for (i = 0; i <= 36; i++) {
		fd = agent_dial();
		ck_assert(agent_send_bytes(fd, &req, (size_t)i * 2));
		close(fd);
	}
	expect_alive();
}
END_TEST

static struct ferry_agent_params impatient(unsigned int connections)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);

	p.patience_ns = 20000000;
	p.connections_max = connections;
	return p;
}

START_TEST(slow_request_is_hung_up_on)
{
	struct ferry_agent_params p = impatient(2);
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HELLO);
	int fd;

	agent_start(&p);
	fd = agent_dial();
	ck_assert(agent_send_bytes(fd, &req, 10));
	ck_assert(is_hung_up(fd));
	close(fd);
	agent_stop();
}
END_TEST

/* Sends requests and hears no answer, till the agent has had enough. */
static void flood(int fd)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HELLO);
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	req.length = sizeof(req);
	for (;;) {
		AWAIT(poll(&p, 1, 0) == 1);
		if (send(fd, &req, sizeof(req), MSG_NOSIGNAL | MSG_DONTWAIT) <
			    0 &&
		    errno != EAGAIN)
			return;
	}
}

START_TEST(who_does_not_listen_is_hung_up_on)
{
	struct ferry_agent_params p = impatient(2);
	int fd;

	agent_start(&p);
	fd = agent_dial();
	flood(fd);
	close(fd);
	agent_stop();
}
END_TEST

static bool answers(int fd)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HELLO);
	struct answer a;

	if (!agent_send(fd, req, NULL, NULL, NULL) || !agent_hear(fd, &a))
		return false;
	answer_free(&a);
	return true;
}

START_TEST(longest_idle_connection_makes_room)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);
	int fd[4], i;

	p.connections_max = 3;
	agent_start(&p);
	for (i = 0; i < 3; i++) {
		fd[i] = agent_dial();
		ck_assert(answers(fd[i]));
	}
	ck_assert(answers(fd[0]));
	fd[3] = agent_dial();
	ck_assert(answers(fd[3]));
	ck_assert(is_hung_up(fd[1]));
	ck_assert(answers(fd[0]));
	ck_assert(answers(fd[2]));
	for (i = 0; i < 4; i++)
		close(fd[i]);
	agent_stop();
}
END_TEST

/* A connection with a request under way keeps its place; who comes waits. */
START_TEST(newcomer_waits_where_all_are_busy)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HELLO);
	struct answer a;
	int busy, late;

	p.connections_max = 1;
	p.patience_ns = UINT64_C(1000000000000);
	agent_start(&p);
	busy = agent_dial();
	ck_assert(answers(busy));
	req.length = sizeof(req);
	/* They are there before the newcomer is: it is seen to be busy. */
	ck_assert(agent_send_bytes(busy, &req, 12));
	late = agent_dial();
	ck_assert(agent_send(late, req, NULL, NULL, NULL));
	ck_assert(agent_send_bytes(busy, (char *)&req + 12, sizeof(req) - 12));
	ck_assert(agent_hear(late, &a));
	answer_free(&a);
	close(busy);
	close(late);
	agent_stop();
}
END_TEST

START_TEST(hundreds_of_connections_are_served)
{
	int fd, i;

	for (i = 0; i < 300; i++) {
		fd = agent_dial();
		ck_assert(answers(fd));
		if (i % 2)
			close(fd);
	}
}
END_TEST

START_TEST(short_request_is_answered_beside_a_long_one)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HINT);
	size_t n = 60000;
	struct ferry_agent_range *ranges = calloc(n, sizeof(*ranges));
	struct answer a;
	int fd = agent_dial();

	req.value = FERRY_AGENT_HOT;
	req.ranges_len = (uint32_t)n;
	ck_assert(agent_send(fd, req, ranges, NULL, NULL));
	expect_alive();
	ck_assert(agent_hear(fd, &a));
	ck_assert_uint_eq(a.head.items_len, n);
	ck_assert_uint_eq(a.head.failed, n);
	answer_free(&a);
	free(ranges);
	close(fd);
}
END_TEST

START_TEST(random_bytes_harm_nobody)
{
	struct random random = harness_random();
	struct ferry_agent_request req;
	uint64_t word;
	size_t i, n = harness_scaled(2000), at;
	int fd = -1;

	for (i = 0; i < n; i++) {
		if (fd < 0)
			fd = agent_dial();
		req = agent_request(random_next(&random) % FERRY_AGENT_OPS);
		req.length = sizeof(req);
		at = random_next(&random) % sizeof(req);
		word = random_next(&random);
		memcpy((char *)&req + at, &word,
		       sizeof(req) - at < 8 ? sizeof(req) - at : 8);
		if (!agent_send_bytes(fd, &req, sizeof(req)) || i % 7 == 0) {
			close(fd);
			fd = -1;
		}
	}
	close(fd);
	expect_alive();
}
END_TEST

START_TEST(peers_see_the_end_when_the_agent_stops)
{
	int fd;

	agent_start(NULL);
	fd = agent_dial();
	ck_assert(answers(fd));
	agent_stop();
	ck_assert(is_hung_up(fd));
	close(fd);
}
END_TEST

START_TEST(parameters_out_of_range_are_refused)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);

	p.ranges_max = SIZE_MAX;
	ck_assert_int_eq(ferry_agent_start(&p), -EINVAL);
	p.ranges_max = 0;
	p.connections_max = UINT32_MAX;
	ck_assert_int_eq(ferry_agent_start(&p), -EINVAL);
	p.connections_max = 0;
	p.request_max = 8;
	ck_assert_int_eq(ferry_agent_start(&p), -EINVAL);
	p.size = 0;
	ck_assert_int_eq(ferry_agent_start(&p), -EINVAL);
}
END_TEST

/* --- asleep ------------------------------------------------------------------------ */

static struct ferry__sys table;
static bool refuses;	   /* poll(2) does */
static size_t passed_over; /* polls that left out the first descriptor */
static size_t rests;	   /* since poll(2) refused */

/* Relaxed, all of these: a number that is seen late is waited for. */
static int watched_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	if (__atomic_load_n(&refuses, __ATOMIC_RELAXED))
		return -EINVAL;
	if (n && fds[0].fd < 0)
		__atomic_add_fetch(&passed_over, 1, __ATOMIC_RELAXED);
	return ferry__sys_linux.poll(fds, n, timeout_ms);
}

static int watched_wait(uint32_t *word, uint32_t value, uint64_t ns)
{
	if (!__atomic_load_n(&refuses, __ATOMIC_RELAXED))
		return ferry__sys_linux.futex_wait(word, value, ns);
	__atomic_add_fetch(&rests, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&refuses, false, __ATOMIC_RELAXED);
	return 0;
}

static void start_watched(void)
{
	table = *ferry__sys;
	table.poll = watched_poll;
	table.futex_wait = watched_wait;
	ferry__sys = &table;
	agent_start(NULL);
}

static size_t count_of(const size_t *count)
{
	return __atomic_load_n(count, __ATOMIC_RELAXED);
}

START_TEST(signal_pending_for_the_program_does_not_keep_the_agent_awake)
{
	sigset_t urgent, pending;

	sigemptyset(&urgent);
	sigaddset(&urgent, SIGURG);
	ck_assert_int_eq(sigprocmask(SIG_BLOCK, &urgent, NULL), 0);
	start_watched();
	ck_assert_int_eq(kill(getpid(), SIGURG), 0);
	AWAIT(count_of(&passed_over));
	expect_alive();
	agent_stop();
	/* It is the program's still. */
	ck_assert_int_eq(sigpending(&pending), 0);
	ck_assert_int_eq(sigismember(&pending, SIGURG), 1);
}
END_TEST

START_TEST(agent_rests_where_poll_is_refused)
{
	int fd;

	start_watched();
	__atomic_store_n(&refuses, true, __ATOMIC_RELAXED);
	fd = agent_dial();
	AWAIT(count_of(&rests));
	ck_assert(answers(fd));
	close(fd);
	agent_stop();
}
END_TEST

#define SERVED(name) TEST_FIXTURE(name, NULL, start_default, agent_stop)

static const struct test tests[] = {
	TEST(socket_is_in_the_folder_and_for_the_user_alone, NULL),
	TEST(folder_of_others_is_refused, NULL),
	TEST(name_left_by_the_dead_is_replaced_and_no_other, NULL),
	TEST(program_sees_no_descriptor_and_can_close_none, NULL),
	TEST(other_users_are_not_let_in, NULL),
	TEST(hello_tells_the_limits, NULL),
	SERVED(several_requests_may_be_sent_at_once),
	SERVED(frame_may_come_byte_by_byte),
	SERVED(header_of_another_length_is_taken_if_its_tail_says_nothing),
	SERVED(unknown_fields_are_refused),
	SERVED(parts_that_do_not_add_up_are_refused_and_the_connection_goes_on),
	SERVED(frame_beyond_the_limit_is_answered_and_hung_up_on),
	SERVED(frame_without_an_id_is_hung_up_on),
	TEST(more_ranges_than_allowed_are_refused, NULL),
	SERVED(who_goes_away_half_way_harms_nobody),
	TEST(slow_request_is_hung_up_on, NULL),
	TEST(who_does_not_listen_is_hung_up_on, NULL),
	TEST(longest_idle_connection_makes_room, NULL),
	TEST(newcomer_waits_where_all_are_busy, NULL),
	SERVED(hundreds_of_connections_are_served),
	SERVED(short_request_is_answered_beside_a_long_one),
	SERVED(random_bytes_harm_nobody),
	TEST(peers_see_the_end_when_the_agent_stops, NULL),
	TEST(parameters_out_of_range_are_refused, NULL),
	TEST(signal_pending_for_the_program_does_not_keep_the_agent_awake,
	     NULL),
	TEST(agent_rests_where_poll_is_refused, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
