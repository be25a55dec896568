/* SPDX-License-Identifier: MIT */
/* The control socket: who is answered, and what its failures leave behind. */
#include "alloc/malloc/control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"

static char folder[64], path[96];
static struct ferry__control *control;

/* "repeat N" is answered with N letters, anything else with itself. */
static size_t echo(void *arg, const char *request, char *buf, size_t size)
{
	unsigned long n;

	(*(int *)arg)++;
	if (sscanf(request, "repeat %lu", &n) == 1) {
		n = n < size ? n : size;
		memset(buf, 'x', n);
		return n;
	}
	return (size_t)snprintf(buf, size, "you said %s\n", request);
}

static int asked;
static const struct ferry__control_params params = {
	.answer = echo,
	.arg = &asked,
	.answer_max = 1 << 20,
};

static void setup(void)
{
	strcpy(folder, "/tmp/ferry-control-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/socket", folder);
}

static void teardown(void)
{
	ferry__control_stop(control);
	unlink(path);
	rmdir(folder);
}

static void start(void)
{
	ck_assert_int_eq(ferry__control_start(path, &params, &control), 0);
}

static int dial(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(name.sun_path, path);
	if (connect(fd, (struct sockaddr *)&name, sizeof(name)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* What comes till the end of the connection; how much. */
static size_t hear(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size && (n = read(fd, buf + len, size - len)) > 0)
		len += (size_t)n;
	close(fd);
	return len;
}

/* Who is too slow to ask is hung up on. */
static size_t ask(const char *request, char *buf, size_t size)
{
	int fd = dial();

	ck_assert_int_ge(fd, 0);
	(void)!send(fd, request, strlen(request), MSG_NOSIGNAL);
	return hear(fd, buf, size);
}

static void expect_answer(const char *request, const char *answer)
{
	char buf[256] = { 0 };

	AWAIT(ask(request, buf, sizeof(buf) - 1));
	ck_assert_str_eq(buf, answer);
}

START_TEST(each_connection_is_answered)
{
	start();
	expect_answer("stats\n", "you said stats\n");
	expect_answer("\n", "you said \n");
	ck_assert_int_eq(asked, 2);
}
END_TEST

START_TEST(long_answers_arrive_whole)
{
	char *buf = malloc(1 << 20);

	start();
	AWAIT(ask("repeat 1000000\n", buf, 1 << 20) == 1000000);
	free(buf);
}
END_TEST

static size_t ask_in_pieces(char *buf, size_t size)
{
	int fd = dial();

	ck_assert_int_ge(fd, 0);
	(void)!send(fd, "st", 2, MSG_NOSIGNAL);
	usleep(10000);
	(void)!send(fd, "ats\n", 4, MSG_NOSIGNAL);
	return hear(fd, buf, size);
}

START_TEST(requests_may_come_in_pieces)
{
	char buf[64] = { 0 };

	start();
	AWAIT(ask_in_pieces(buf, sizeof(buf) - 1));
	ck_assert_str_eq(buf, "you said stats\n");
}
END_TEST

START_TEST(who_says_nothing_holds_nobody_up_for_ever)
{
	char buf[8], line[1024];
	int silent, gone;

	start();
	silent = dial();
	gone = dial();
	close(gone);
	memset(line, 'y', sizeof(line));
	expect_answer("next\n", "you said next\n");
	ck_assert_uint_eq(hear(silent, buf, sizeof(buf)), 0);
	/* A line without end is none. */
	silent = dial();
	(void)!send(silent, line, sizeof(line), MSG_NOSIGNAL);
	ck_assert_uint_eq(hear(silent, buf, sizeof(buf)), 0);
	ck_assert_int_eq(asked, 1);
}
END_TEST

START_TEST(only_the_owner_may_open_it)
{
	struct stat st;
	mode_t old = umask(0);

	start();
	umask(old);
	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
}
END_TEST

START_TEST(other_users_are_not_answered)
{
	char buf[64];
	int status;
	pid_t pid;

	start();
	/* Its mode would not let them in. */
	ck_assert_int_eq(chmod(path, 0666), 0);
	ck_assert_int_eq(chmod(folder, 0755), 0);
	pid = fork();
	if (!pid) {
		int fd;

		if (setuid(65534) || (fd = dial()) < 0)
			_exit(2);
		/* It may have hung up by now. */
		(void)!send(fd, "stats\n", 6, MSG_NOSIGNAL);
		_exit(hear(fd, buf, sizeof(buf)) ? 1 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(asked, 0);
}
END_TEST

START_TEST(stopping_removes_the_socket)
{
	start();
	ferry__control_stop(control);
	control = NULL;
	ck_assert_int_lt(access(path, F_OK), 0);
	start();
	expect_answer("again\n", "you said again\n");
	/* Also when somebody else has removed it. */
	unlink(path);
	ferry__control_stop(control);
	control = NULL;
}
END_TEST

START_TEST(left_over_socket_is_replaced)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(name.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	close(fd);
	start();
	expect_answer("stats\n", "you said stats\n");
}
END_TEST

START_TEST(bad_paths_are_refused)
{
	struct ferry__control *other = NULL;
	char longest[200], file[sizeof(path)];
	int fd;

	start();
	ck_assert_int_eq(ferry__control_start(path, &params, &other),
			 -EADDRINUSE);
	memset(longest, 'p', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	ck_assert_int_eq(ferry__control_start(longest, &params, &other),
			 -ENAMETOOLONG);
	ck_assert_int_eq(ferry__control_start("", &params, &other), -EINVAL);
	ck_assert_int_eq(ferry__control_start("/none/there", &params, &other),
			 -ENOENT);
	ck_assert_int_eq(ferry__control_start(folder, &params, &other),
			 -EADDRINUSE);
	snprintf(file, sizeof(file), "%s/file", folder);
	fd = open(file, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_eq(write(fd, "kept", 4), 4);
	close(fd);
	ck_assert_int_eq(ferry__control_start(file, &params, &other),
			 -EADDRINUSE);
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_ptr_null(other);
	expect_answer("stats\n", "you said stats\n");
}
END_TEST

static unsigned int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

START_TEST(program_neither_sees_nor_closes_it)
{
	unsigned int before = descriptors();
	int fd;

	start();
	ck_assert_uint_eq(descriptors(), before);
	for (fd = 3; fd < 256; fd++)
		close(fd);
	expect_answer("stats\n", "you said stats\n");
}
END_TEST

START_TEST(child_leaves_it_to_its_parent)
{
	int status;
	pid_t pid;

	start();
	pid = fork();
	if (!pid) {
		ferry__control_forget(control);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	expect_answer("stats\n", "you said stats\n");
}
END_TEST

#define CONTROL_TEST(name, needs) TEST_FIXTURE(name, needs, setup, teardown)

static const struct test tests[] = {
	CONTROL_TEST(each_connection_is_answered, NULL),
	CONTROL_TEST(long_answers_arrive_whole, NULL),
	CONTROL_TEST(requests_may_come_in_pieces, NULL),
	CONTROL_TEST(who_says_nothing_holds_nobody_up_for_ever, NULL),
	CONTROL_TEST(only_the_owner_may_open_it, NULL),
	CONTROL_TEST(other_users_are_not_answered, "root"),
	CONTROL_TEST(stopping_removes_the_socket, NULL),
	CONTROL_TEST(left_over_socket_is_replaced, NULL),
	CONTROL_TEST(bad_paths_are_refused, NULL),
	CONTROL_TEST(program_neither_sees_nor_closes_it, NULL),
	CONTROL_TEST(child_leaves_it_to_its_parent, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
