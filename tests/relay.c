/* SPDX-License-Identifier: MIT */
#include "tests/relay.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/server.h"

#define PIECE 65536

char relay_path[96];

static int relay_pid, control; /* the test's end */

/* --- the process ---------------------------------------------------------- */

struct pair {
	int client, server; /* -1: ended */
	bool held;
	char *kept;
	size_t len;
};

static struct pair *pairs;
static size_t n_pairs;

static void must(bool ok)
{
	if (!ok)
		_exit(1);
}

static struct sockaddr_un name_of(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	return un;
}

static void end_pair(struct pair *pair)
{
	if (pair->client >= 0)
		close(pair->client);
	if (pair->server >= 0)
		close(pair->server);
	pair->client = -1;
	pair->server = -1;
}

/* False: nobody reads it. */
static bool send_all(int fd, const char *data, size_t len)
{
	ssize_t n;

	while (len) {
		n = send(fd, data, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static void let_in(int listener)
{
	struct sockaddr_un un = name_of(server_path);
	struct pair pair = { .client = accept(listener, NULL, NULL) };

	must(pair.client >= 0);
	pair.server = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(pair.server, (struct sockaddr *)&un, sizeof(un)))
		end_pair(&pair);
	pairs = realloc(pairs, (n_pairs + 1) * sizeof(*pairs));
	must(pairs);
	pairs[n_pairs++] = pair;
}

static void keep(struct pair *pair, const char *data, size_t len)
{
	pair->kept = realloc(pair->kept, pair->len + len);
	must(pair->kept);
	memcpy(pair->kept + pair->len, data, len);
	pair->len += len;
}

static void from_client(struct pair *pair)
{
	char data[PIECE];
	ssize_t n = read(pair->client, data, sizeof(data));

	if (n > 0 && pair->held) {
		keep(pair, data, (size_t)n);
	} else if (pair->held) {
		close(pair->client);
		pair->client = -1;
	} else if (n <= 0 || !send_all(pair->server, data, (size_t)n)) {
		end_pair(pair);
	}
}

static void from_server(struct pair *pair)
{
	char data[PIECE];
	ssize_t n = read(pair->server, data, sizeof(data));

	if (n <= 0 ||
	    (pair->client >= 0 && !send_all(pair->client, data, (size_t)n)))
		end_pair(pair);
}

/* The server closes when it has answered all. */
static void release(struct pair *pair)
{
	char data[PIECE];

	must(pair->server >= 0);
	must(send_all(pair->server, pair->kept, pair->len));
	shutdown(pair->server, SHUT_WR);
	while (read(pair->server, data, sizeof(data)) > 0)
		;
	end_pair(pair);
	free(pair->kept);
	pair->kept = NULL;
	pair->held = false;
}

static void obey(int orders)
{
	char order;
	size_t i;

	must(read(orders, &order, 1) == 1);
	for (i = 0; i < n_pairs; i++)
		if (order == 'h' && pairs[i].client >= 0)
			pairs[i].held = true;
		else if (order == 'r' && pairs[i].held)
			release(&pairs[i]);
	must(write(orders, &order, 1) == 1);
}

static void serve(int listener, int orders)
{
	struct pollfd *fds = calloc(2 + 2 * n_pairs, sizeof(*fds));
	size_t i, n = n_pairs;

	must(fds);
	fds[0] = (struct pollfd){ listener, POLLIN, 0 };
	fds[1] = (struct pollfd){ orders, POLLIN, 0 };
	for (i = 0; i < n; i++) {
		fds[2 + 2 * i] = (struct pollfd){ pairs[i].client, POLLIN, 0 };
		fds[3 + 2 * i] = (struct pollfd){ pairs[i].server, POLLIN, 0 };
	}
	must(poll(fds, 2 + 2 * n, -1) > 0);
	for (i = 0; i < n; i++) {
		if (fds[2 + 2 * i].revents && pairs[i].client >= 0)
			from_client(&pairs[i]);
		if (fds[3 + 2 * i].revents && pairs[i].server >= 0)
			from_server(&pairs[i]);
	}
	if (fds[1].revents)
		obey(orders);
	if (fds[0].revents)
		let_in(listener);
	free(fds);
}

/* --- the test ------------------------------------------------------------- */

void relay_start(void)
{
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), ends[2];
	struct sockaddr_un un;

	snprintf(relay_path, sizeof(relay_path), "%s/relay", server_dir);
	un = name_of(relay_path);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
	ck_assert_int_eq(listen(listener, 16), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	relay_pid = fork();
	ck_assert_int_ge(relay_pid, 0);
	if (!relay_pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[0]);
		for (;;)
			serve(listener, ends[1]);
	}
	close(listener);
	close(ends[1]);
	control = ends[0];
}

static void order(char what)
{
	char answer;

	ck_assert_int_eq(write(control, &what, 1), 1);
	ck_assert_int_eq(read(control, &answer, 1), 1);
}

void relay_hold(void)
{
	order('h');
}

void relay_release(void)
{
	order('r');
}

void relay_end(void)
{
	kill(relay_pid, SIGKILL);
	waitpid(relay_pid, NULL, 0);
	close(control);
	unlink(relay_path);
}
