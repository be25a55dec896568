/* SPDX-License-Identifier: MIT */
/*
 * The agent's thread: connections that take turns, each with a request that
 * is read, worked on and answered bit by bit.
 *
 *	          first byte          all of it             done
 *	READING ------------> READING ---------> WORKING ----------> SENDING
 *	 (idle)                                  in steps               |
 *	    ^-----------------------------------------------------------'
 *
 * A peer that takes longer than the patience over a request or a reply is hung
 * up on; an idle one when its place is wanted. Nobody is waited for: all
 * descriptors are non-blocking, and the only sleep is in poll(2), without a
 * limit while nothing is under way.
 *
 * The thread has a descriptor table of its own: the program can neither see
 * nor close what is in it, and children of fork(2) have none of it. That leaves
 * no descriptor through which to wake it. Hence a signal that is blocked here
 * as all are, sent to this thread alone, and told of by a signalfd: no
 * handler ever runs. The signalfd is never read, as the program may have the
 * same signal pending for itself: then it says nothing of use, and is left
 * alone for a while each time.
 *
 * Memory: a page each for the server and each connection; frames are mapped
 * while they are there.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "alloc/agent/agent-internal.h"
#include "uffd/listen.h"
#include "uffd/sys.h"
#include "uffd/thread.h"

#define STACK_SIZE ((size_t)256 << 10)
#define BACKLOG	   64
#define WAKE	   SIGURG
/* Bytes read or sent in one turn. */
#define TURN ((size_t)256 << 10)
/* After accept(2) failed for want of something: when to try again. So, too,
 * after poll(2) failed, or told of a signal that was not sent from here. */
#define MUTE_NS 1000000000ull

enum state { READING, WORKING, SENDING };

struct conn {
	struct conn *next;
	int fd;
	enum state state;
	bool root;
	bool last;	   /* hang up after the reply */
	uint64_t since;	   /* the last thing that was heard or said */
	uint64_t deadline; /* 0: none, idle */
	char *frame;	   /* .small, or mapped: .length bytes */
	uint64_t length;   /* 0: not known yet */
	size_t got, sent;
	struct ferry__agent_job job;
	_Alignas(8) char small[1024];
};

struct ferry__agent_server {
	struct ferry__agent_config config;
	pthread_t thread;
	/* G1: the thread's word on its start; set with release, futex. */
	uint32_t started;
	int error;     /* of the start */
	uint32_t stop; /* G2; futex */

	/* The thread's. Descriptors are of its table. */
	int listen, wake;
	struct conn *conns;
	unsigned int conns_len;
	uint64_t mute_until; /* no accept(2) before */
	uint64_t deaf_until; /* no look at .wake before */
	struct pollfd *polls;
};

/* --- connections ------------------------------------------------------------ */

static void frame_drop(struct conn *c)
{
	if (c->frame != c->small)
		ferry__agent_free(c->frame, c->length);
	c->frame = c->small;
	c->length = 0;
	c->got = 0;
}

static void job_drop(struct conn *c)
{
	ferry__agent_free(c->job.own, c->job.own_bytes);
	ferry__agent_reply_free(&c->job);
	memset(&c->job, 0, sizeof(c->job));
}

static void conn_drop(struct ferry__agent_server *s, struct conn *c)
{
	struct conn **at = &s->conns;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	s->conns_len--;
	job_drop(c);
	frame_drop(c);
	ferry__sys->close(c->fd);
	ferry__agent_free(c, sizeof(*c));
	s->mute_until = 0;
	if (!s->conns && ferry__agent_host.idle)
		ferry__agent_host.idle();
}

static void conn_add(struct ferry__agent_server *s, int fd, uint64_t now)
{
	struct conn *c;
	void *mem;
	bool root;

	if (!ferry__listen_admits(fd, &root) ||
	    ferry__agent_alloc(sizeof(*c), &mem) < 0) {
		ferry__sys->close(fd);
		return;
	}
	c = mem;
	c->fd = fd;
	c->root = root;
	c->since = now;
	c->frame = c->small;
	c->next = s->conns;
	s->conns = c;
	s->conns_len++;
}

static bool is_idle(const struct conn *c)
{
	return c->state == READING && !c->got;
}

/* The one that has been idle longest, or NULL. */
static struct conn *most_idle(const struct ferry__agent_server *s)
{
	struct conn *c, *found = NULL;

	for (c = s->conns; c; c = c->next)
		if (is_idle(c) && (!found || c->since < found->since))
			found = c;
	return found;
}

static bool has_place(const struct ferry__agent_server *s)
{
	return s->conns_len < s->config.connections_max || most_idle(s);
}

/*
 * An idle connection makes room only for who may stay. What one sends at
 * the moment when it is chosen is lost: it sees the end of the connection
 * without an answer, and connects again.
 */
static void accept_one(struct ferry__agent_server *s, uint64_t now)
{
	int fd = ferry__sys->accept(s->listen);

	if (fd < 0) {
		if (fd != -EAGAIN && fd != -EINTR && fd != -ECONNABORTED)
			s->mute_until = now + MUTE_NS;
		return;
	}
	if (!ferry__listen_admits(fd, NULL)) {
		ferry__sys->close(fd);
		return;
	}
	if (s->conns_len >= s->config.connections_max)
		conn_drop(s, most_idle(s));
	conn_add(s, fd, now);
}

/* --- reading ----------------------------------------------------------------- */

/* What a frame's beginning says: 0; -EMSGSIZE; -EPROTO: no answer. */
static int take_length(const struct ferry__agent_server *s, struct conn *c)
{
	struct ferry_agent_request req;

	memcpy(&req, c->small, FERRY_AGENT_REQUEST_MIN);
	if (req.size < FERRY_AGENT_REQUEST_MIN || req.length < req.size)
		return -EPROTO;
	if (req.length > s->config.request_max) {
		c->job.req = (struct ferry_agent_request){ .op = req.op,
							   .id = req.id };
		return -EMSGSIZE;
	}
	c->length = req.length;
	return 0;
}

/* Room for all of it, once it is known how much. */
static int frame_make(struct conn *c)
{
	void *mem;

	if (c->length <= sizeof(c->small))
		return 0;
	if (ferry__agent_alloc(c->length, &mem) < 0)
		return -ENOMEM;
	memcpy(mem, c->small, c->got);
	c->frame = mem;
	return 0;
}

/* Some bytes: how many; 0: none there; negative: it is over. */
static ssize_t receive(struct conn *c, size_t want)
{
	ssize_t n;

	if (want > TURN)
		want = TURN;
	n = ferry__sys->recv(c->fd, c->frame + c->got, want);
	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0)
		return -ECONNRESET;
	c->got += (size_t)n;
	return n;
}

/*
 * Returns 1 when the frame is complete, 0 if not, or negative: hang up, but
 * for -EMSGSIZE, which is an answer.
 */
static int read_frame(struct ferry__agent_server *s, struct conn *c)
{
	bool idle = is_idle(c);
	ssize_t n;
	int r;

	n = receive(c,
		    (c->length ? c->length : FERRY_AGENT_REQUEST_MIN) - c->got);
	if (n < 0)
		return (int)n;
	c->since = ferry__sys->now_ns();
	if (n && idle)
		c->deadline = c->since + s->config.patience_ns;
	if (!c->length && c->got == FERRY_AGENT_REQUEST_MIN) {
		r = take_length(s, c);
		if (r == 0)
			r = frame_make(c);
		if (r < 0)
			return r;
	}
	return c->length && c->got == c->length;
}

/* --- working ------------------------------------------------------------------- */

static uint64_t bit(unsigned int op)
{
	return (uint64_t)1 << op;
}

static uint64_t offered(const struct ferry__agent_server *s)
{
	return (ferry__agent_host.ops | bit(FERRY_AGENT_HELLO)) &
	       ~s->config.refuse;
}

static void hello(const struct ferry__agent_server *s,
		  struct ferry__agent_job *job)
{
	struct ferry_agent_limits *l;

	l = ferry__agent_items(job, 1, sizeof(*l));
	if (!l) {
		ferry__agent_fail(job, -ENOMEM, FERRY_REASON_NO_MEMORY);
		return;
	}
	l->ops = offered(s);
	l->request_max = s->config.request_max;
	l->reply_max = s->config.reply_max;
	l->ranges_max = s->config.ranges_max;
	l->page_size = ferry__page_size;
	l->huge_size = ferry__huge_size();
	l->connections_max = s->config.connections_max;
	l->pid = ferry__sys->getpid();
	strncpy(l->version, ferry__agent_host.version, sizeof(l->version) - 1);
}

/* Whether it may be done at all; else the reply says why not. */
static bool permitted(const struct ferry__agent_server *s,
		      struct ferry__agent_job *job)
{
	if (s->config.refuse & bit(job->req.op)) {
		ferry__agent_fail(job, -EPERM, FERRY_REASON_NO_PERMISSION);
		return false;
	}
	if (!(offered(s) & bit(job->req.op))) {
		ferry__agent_fail(job, -EOPNOTSUPP, FERRY_REASON_NOT_SUPPORTED);
		return false;
	}
	if (job->req.op == FERRY_AGENT_MIGRATE_PHYS && !job->root) {
		ferry__agent_fail(job, -EPERM, FERRY_REASON_NO_PERMISSION);
		return false;
	}
	return true;
}

static int reply_begin(struct ferry__agent_server *s, struct conn *c)
{
	return ferry__agent_reply_begin(&c->job, s->config.reply_max);
}

static void reply_ready(struct ferry__agent_server *s, struct conn *c)
{
	ferry__agent_reply_end(&c->job);
	frame_drop(c);
	c->state = SENDING;
	c->sent = 0;
	c->since = ferry__sys->now_ns();
	c->deadline = c->since + s->config.patience_ns;
}

/* The frame is there. Returns 0, or negative: hang up. */
static int work_begin(struct ferry__agent_server *s, struct conn *c)
{
	int r;

	c->deadline = 0;
	c->job.root = c->root;
	r = ferry__agent_parse(c->frame, c->length, s->config.ranges_max,
			       &c->job);
	if (reply_begin(s, c) < 0)
		return -ENOMEM;
	c->state = WORKING;
	if (r < 0)
		ferry__agent_fail(&c->job, r, FERRY_REASON_NONE);
	else if (permitted(s, &c->job)) {
		if (c->job.req.op != FERRY_AGENT_HELLO)
			return 0;
		hello(s, &c->job);
	}
	reply_ready(s, c);
	return 0;
}

static void work_on(struct ferry__agent_server *s, struct conn *c)
{
	if (!ferry__agent_host.step(&c->job))
		reply_ready(s, c);
}

/* What comes behind an oversized frame's header cannot be told apart. */
static int refuse_frame(struct ferry__agent_server *s, struct conn *c)
{
	if (reply_begin(s, c) < 0)
		return -ENOMEM;
	ferry__agent_fail(&c->job, -EMSGSIZE, FERRY_REASON_NONE);
	c->last = true;
	reply_ready(s, c);
	return 0;
}

/* --- sending --------------------------------------------------------------------- */

/* Returns 0, or negative: hang up. */
static int send_some(struct conn *c)
{
	const struct ferry__agent_buffer *out = &c->job.out;
	size_t left = out->len - c->sent;
	ssize_t n;

	n = ferry__sys->send(c->fd, out->mem + c->sent,
			     left < TURN ? left : TURN);
	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n < 0)
		return (int)n;
	c->sent += (size_t)n;
	if (c->sent < out->len)
		return 0;
	if (c->last)
		return -EPROTO;
	job_drop(c);
	c->state = READING;
	c->deadline = 0;
	c->since = ferry__sys->now_ns();
	return 0;
}

/* --- turns -------------------------------------------------------------------------- */

static int read_turn(struct ferry__agent_server *s, struct conn *c)
{
	int r = read_frame(s, c);

	if (r == -EMSGSIZE)
		return refuse_frame(s, c);
	return r > 0 ? work_begin(s, c) : r;
}

/* A connection's turn; @events: what poll(2) said. Negative: hang up. */
static int turn(struct ferry__agent_server *s, struct conn *c, short events)
{
	if (c->state == WORKING) {
		if (events & (POLLHUP | POLLERR))
			return -ECONNRESET;
		work_on(s, c);
		return 0;
	}
	if (events)
		return c->state == READING ? read_turn(s, c) : send_some(c);
	if (c->deadline && ferry__sys->now_ns() >= c->deadline)
		return -ETIMEDOUT;
	return 0;
}

static short wanted(const struct conn *c)
{
	switch (c->state) {
	case READING:
		return POLLIN;
	case SENDING:
		return POLLOUT;
	default:
		return 0;
	}
}

/* The earlier of two times of which 0 is never. */
static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a && (!b || a < b) ? a : b;
}

/* Milliseconds until something is due: -1 never. */
static int patience_left(const struct ferry__agent_server *s)
{
	uint64_t first = earlier(s->mute_until, s->deaf_until);
	uint64_t now = ferry__sys->now_ns();
	const struct conn *c;

	for (c = s->conns; c; c = c->next) {
		if (c->state == WORKING)
			return 0;
		first = earlier(c->deadline, first);
	}
	if (!first)
		return -1;
	if (first <= now)
		return 0;
	first = (first - now) / 1000000 + 1;
	return first < INT_MAX ? (int)first : INT_MAX;
}

static nfds_t fill_polls(struct ferry__agent_server *s)
{
	uint64_t now = ferry__sys->now_ns();
	const struct conn *c;
	nfds_t n = 0;

	if (now >= s->mute_until)
		s->mute_until = 0;
	if (now >= s->deaf_until)
		s->deaf_until = 0;
	/* A negative descriptor is passed over. */
	s->polls[n++] = (struct pollfd){
		.fd = s->deaf_until ? -1 : s->wake,
		.events = POLLIN,
	};
	s->polls[n++] = (struct pollfd){
		.fd = !s->mute_until && has_place(s) ? s->listen : -1,
		.events = POLLIN,
	};
	for (c = s->conns; c; c = c->next)
		s->polls[n++] =
			(struct pollfd){ .fd = c->fd, .events = wanted(c) };
	return n;
}

/* poll(2) refuses, as where the program has lowered RLIMIT_NOFILE. */
static void rest(struct ferry__agent_server *s, int error)
{
	if (error != -EINTR)
		ferry__sys->futex_wait(&s->stop, 0, MUTE_NS);
}

/* Everyone has a turn; then one may come in. */
static void round_once(struct ferry__agent_server *s)
{
	struct conn *c, *next;
	nfds_t n = fill_polls(s), i = 2;
	bool newcomer;
	int r;

	r = ferry__sys->poll(s->polls, n, patience_left(s));
	if (r < 0) {
		rest(s, r);
		return;
	}
	/* If it was ours, the loop ends; else it would be told of for ever. */
	if (s->polls[0].revents)
		s->deaf_until = ferry__sys->now_ns() + MUTE_NS;
	newcomer = s->polls[1].revents;
	for (c = s->conns; c; c = next, i++) {
		next = c->next;
		if (turn(s, c, s->polls[i].revents) < 0)
			conn_drop(s, c);
	}
	if (newcomer && has_place(s))
		accept_one(s, ferry__sys->now_ns());
}

/* --- the thread ---------------------------------------------------------------------- */

static int open_wake(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, WAKE);
	return ferry__sys->signalfd(&set);
}

static int begin(struct ferry__agent_server *s)
{
	int r = ferry__sys->unshare(CLONE_FILES);

	if (r == 0)
		r = ferry__sys->close_range(0, UINT_MAX);
	if (r < 0)
		return r;
	s->wake = open_wake();
	if (s->wake < 0)
		return s->wake;
	s->listen = ferry__listen_open(&s->config.name, BACKLOG);
	return s->listen < 0 ? s->listen : 0;
}

static void serve(struct ferry__agent_server *s)
{
	/* G2: acquire, pairs with ferry__agent_server_stop(). */
	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE))
		round_once(s);
	while (s->conns)
		conn_drop(s, s->conns);
}

static void *server_main(void *arg)
{
	struct ferry__agent_server *s = arg;

	if (ferry__agent_host.begin)
		ferry__agent_host.begin();
	pthread_setname_np(pthread_self(), "ferry-agent");
	s->error = begin(s);
	__atomic_store_n(&s->started, 1, __ATOMIC_RELEASE); /* G1 */
	ferry__sys->futex_wake(&s->started);
	if (s->error == 0) {
		serve(s);
		ferry__sys->unlink(s->config.name.sun_path);
	}
	if (ferry__agent_host.end)
		ferry__agent_host.end();
	/* The descriptors go with the thread, whose table this is. */
	return NULL;
}

static int start_thread(struct ferry__agent_server *s)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	r = ferry__thread_start(&s->thread, &attr, server_main, s);
	pthread_attr_destroy(&attr);
	if (r)
		return r;
	/* G1: what the thread wrote before is to be seen. */
	while (!__atomic_load_n(&s->started, __ATOMIC_ACQUIRE))
		ferry__sys->futex_wait(&s->started, 0, 1000000000u);
	if (s->error)
		ferry__thread_join(s->thread);
	return s->error;
}

static size_t polls_bytes(const struct ferry__agent_config *config)
{
	return ((size_t)config->connections_max + 2) * sizeof(struct pollfd);
}

static void server_free(struct ferry__agent_server *s)
{
	ferry__agent_free(s->polls, polls_bytes(&s->config));
	ferry__agent_free(s, sizeof(*s));
}

int ferry__agent_server_start(const struct ferry__agent_config *config,
			      struct ferry__agent_server **ret_server)
{
	struct ferry__agent_server *s;
	void *mem;
	int r;

	r = ferry__agent_alloc(sizeof(*s), &mem);
	if (r < 0)
		return r;
	s = mem;
	s->config = *config;
	r = ferry__agent_alloc(polls_bytes(config), &mem);
	if (r == 0) {
		s->polls = mem;
		r = start_thread(s);
	}
	if (r < 0) {
		server_free(s);
		return r;
	}
	*ret_server = s;
	return 0;
}

void ferry__agent_server_stop(struct ferry__agent_server *server)
{
	__atomic_store_n(&server->stop, 1, __ATOMIC_RELEASE); /* G2 */
	pthread_kill(server->thread, WAKE);
	ferry__sys->futex_wake(&server->stop);
	ferry__thread_join(server->thread);
	server_free(server);
}
