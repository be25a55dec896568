/* SPDX-License-Identifier: MIT */
/*
 * The control socket: one thread that answers one connection after another.
 * Who connects and then says nothing, or does not listen, is hung up on after
 * a second.
 *
 * All memory is mapped at the start: the thread allocates nothing of its own.
 */
#include "alloc/malloc/control.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "uffd/listen.h"
#include "uffd/sys.h"
#include "uffd/thread.h"

#define REQUEST_MAX 256
#define PATIENCE_MS 1000
#define PATIENCE_NS (PATIENCE_MS * 1000000ull)
#define BACKLOG	    16
/* How often an idle thread looks whether it is to stop: see stop(). */
#define STOP_MS	   1000
#define STACK_SIZE ((size_t)256 << 10)

struct ferry__control {
	struct ferry__control_params params;
	size_t mapped; /* bytes of this mapping, the answer's included */
	pthread_t thread;
	struct sockaddr_un name;
	/* C1: the thread's word on its start; set with release, futex. */
	uint32_t started;
	int error;  /* of the start */
	int listen; /* of the thread's descriptor table */
	bool stop;  /* C2 */
	char answer[];
};

/* --- one connection ------------------------------------------------------- */

/*
 * Waits for @events until @deadline; false: it came, or nobody is there. What
 * is there already counts, however late this thread looks.
 */
static bool wait_for(int fd, short events, uint64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	uint64_t now = ferry__sys->now_ns();
	int ms = 0;

	if (now < deadline)
		ms = (int)((deadline - now) / 1000000) + 1;
	return ferry__sys->poll(&p, 1, ms) == 1;
}

/* A line, without its end. */
static bool read_request(int fd, char *buf, size_t size)
{
	uint64_t deadline = ferry__sys->now_ns() + PATIENCE_NS;
	size_t len = 0;
	char *end;
	ssize_t n;

	while (len < size - 1 && wait_for(fd, POLLIN, deadline)) {
		n = recv(fd, buf + len, size - 1 - len, MSG_DONTWAIT);
		if (n <= 0)
			return false;
		len += (size_t)n;
		buf[len] = '\0';
		end = strchr(buf, '\n');
		if (end) {
			*end = '\0';
			return true;
		}
	}
	return false;
}

static void send_answer(int fd, const char *text, size_t len)
{
	uint64_t deadline = ferry__sys->now_ns() + PATIENCE_NS;
	ssize_t n;

	while (len && wait_for(fd, POLLOUT, deadline)) {
		n = send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

static void serve(struct ferry__control *c, int fd)
{
	char request[REQUEST_MAX];
	size_t len;

	if (!ferry__listen_admits(fd, NULL) ||
	    !read_request(fd, request, sizeof(request)))
		return;
	len = c->params.answer(c->params.arg, request, c->answer,
			       c->params.answer_max);
	send_answer(fd, c->answer, len);
}

static void serve_until_stopped(struct ferry__control *c)
{
	struct pollfd p = { .fd = c->listen, .events = POLLIN };
	int fd;

	/* C2: acquire, pairs with ferry__control_stop(). */
	while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE)) {
		if (ferry__sys->poll(&p, 1, STOP_MS) != 1)
			continue;
		fd = accept4(c->listen, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		serve(c, fd);
		close(fd);
	}
}

/* --- the thread ----------------------------------------------------------- */

static int begin(struct ferry__control *c)
{
	int r = ferry__sys->unshare(CLONE_FILES);

	if (!r)
		r = ferry__sys->close_range(0, UINT_MAX);
	if (!r)
		r = c->listen = ferry__listen_open(&c->name, BACKLOG);
	return r < 0 ? r : 0;
}

static void *control_main(void *arg)
{
	struct ferry__control *c = arg;

	if (c->params.thread_begin)
		c->params.thread_begin(c->params.arg);
	pthread_setname_np(pthread_self(), "ferry-control");
	c->error = begin(c);
	__atomic_store_n(&c->started, 1, __ATOMIC_RELEASE); /* C1 */
	ferry__sys->futex_wake(&c->started);
	if (c->error)
		return NULL;
	serve_until_stopped(c);
	unlink(c->name.sun_path);
	ferry__sys->close(c->listen);
	return NULL;
}

static int start_thread(struct ferry__control *c)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	r = ferry__thread_start(&c->thread, &attr, control_main, c);
	pthread_attr_destroy(&attr);
	if (r)
		return r;
	/* C1: what the thread wrote before is to be seen. */
	while (!__atomic_load_n(&c->started, __ATOMIC_ACQUIRE))
		ferry__sys->futex_wait(&c->started, 0, 1000000000u);
	if (c->error)
		ferry__thread_join(c->thread);
	return c->error;
}

int ferry__control_start(const char *path,
			 const struct ferry__control_params *params,
			 struct ferry__control **ret_control)
{
	size_t size = sizeof(struct ferry__control) + params->answer_max;
	struct ferry__control *c;
	struct sockaddr_un name;
	void *p;
	int r;

	r = ferry__listen_name(path, &name);
	if (r)
		return r;
	r = ferry__sys->mmap(NULL, size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &p);
	if (r)
		return r;
	c = p;
	c->mapped = size;
	c->params = *params;
	c->name = name;
	r = start_thread(c);
	if (r)
		goto err_unmap;
	*ret_control = c;
	return 0;

err_unmap:
	ferry__sys->munmap(c, size);
	return r;
}

/*
 * Its descriptors are in another table, so that the thread can be woken only
 * by a connection; where the socket was removed it looks by itself.
 */
static void wake(const struct ferry__control *c)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return;
	(void)!connect(fd, (const struct sockaddr *)&c->name, sizeof(c->name));
	close(fd);
}

void ferry__control_stop(struct ferry__control *control)
{
	int saved = errno;

	if (!control)
		return;
	__atomic_store_n(&control->stop, true, __ATOMIC_RELEASE); /* C2 */
	wake(control);
	ferry__thread_join(control->thread);
	ferry__control_forget(control);
	errno = saved;
}

void ferry__control_forget(struct ferry__control *control)
{
	if (control)
		ferry__sys->munmap(control, control->mapped);
}
