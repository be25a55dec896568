/* SPDX-License-Identifier: MIT */
/* The injecting system-call table: asks the rules, then the kernel. */
#include "tests/inject.h"

#include <errno.h>
#include <string.h>

#include "uffd/sys.h"
#include "uffd/uapi.h"

/* What a call is about, as far as rules can see. */
struct call {
	enum inject_call kind;
	unsigned long request;
	const char *path;
	uintptr_t start[2]; /* its ranges: destination and source, or one */
	size_t len;
};

/*
 * Written before other threads make calls. Counters are the only words that
 * change later: relaxed suffices for them, since each call needs only its
 * own ordinal and no other data hangs on it.
 */
static const struct ferry__sys *base;
static struct ferry__sys table;
static struct inject_rule *rules;

/* Counts calls for inject_calls(): one rule per question would not do. */
#define NR_KINDS (INJECT_SIGACTION + 1)
#define NR_UFFD	 (FERRY__UFFDIO_NR_POISON + 1)

static uint64_t calls[NR_KINDS];
static uint64_t uffd_calls[NR_UFFD];
static uint64_t advice_calls[128];

static bool clock_stands;
static uint64_t clock_ns;

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static bool is_uffd(unsigned long request)
{
	return _IOC_TYPE(request) == 0xAA && _IOC_NR(request) < NR_UFFD;
}

/* The counter of calls of @kind with @request, or NULL: not counted. */
static uint64_t *counter_of(enum inject_call kind, unsigned long request)
{
	if (kind == INJECT_IOCTL && is_uffd(request))
		return &uffd_calls[_IOC_NR(request)];
	if (kind == INJECT_MADVISE && request < 128)
		return &advice_calls[request];
	return NULL;
}

static void count_call(const struct call *c)
{
	uint64_t *counter = counter_of(c->kind, c->request);

	count(&calls[c->kind]);
	if (counter)
		count(counter);
}

uint64_t inject_calls(enum inject_call call, unsigned long request)
{
	uint64_t *counter = request ? counter_of(call, request) : NULL;

	return __atomic_load_n(counter ? counter : &calls[call],
			       __ATOMIC_RELAXED);
}

/*
 * Does the range of @c hold @at? @ret_off is then the distance from the
 * start of the range that does.
 */
static bool covers(const struct call *c, uintptr_t at, size_t *ret_off)
{
	int i;

	for (i = 0; i < 2; i++) {
		if (!c->start[i] || at < c->start[i] ||
		    at - c->start[i] >= c->len)
			continue;
		*ret_off = at - c->start[i];
		return true;
	}
	return false;
}

static bool request_matches(const struct inject_rule *rule,
			    const struct call *c)
{
	if (rule->call == INJECT_CREATE)
		return (c->request & rule->request) == rule->request;
	return !rule->request || rule->request == c->request;
}

static bool matches(const struct inject_rule *rule, const struct call *c)
{
	size_t off;

	return rule->call == c->kind && request_matches(rule, c) &&
	       (!rule->path || (c->path && !strcmp(rule->path, c->path))) &&
	       (!rule->at || covers(c, rule->at, &off));
}

/* Counts one more call for @rule; returns true when it is one to strike. */
static bool strikes(struct inject_rule *rule)
{
	uint64_t n = __atomic_add_fetch(&rule->seen, 1, __ATOMIC_RELAXED);
	uint64_t first = rule->nth ? rule->nth : 1;
	uint64_t many = rule->count ? rule->count : 1;

	if (n < first || n - first >= many)
		return false;
	count(&rule->hits);
	return true;
}

/* Real time, whatever clock the table shows. */
static void prepare(const struct inject_rule *rule)
{
	if (rule->hook)
		rule->hook(rule->arg);
	if (rule->delay_ns)
		base->sleep_ns(rule->delay_ns);
}

/*
 * The rule that strikes @c, or NULL. A call that begins below the address of
 * a rule is not struck but must stop there: at @ret_stop bytes.
 */
static struct inject_rule *find(const struct call *c, size_t *ret_stop)
{
	struct inject_rule *rule;
	size_t off;

	count_call(c);
	/* I1: acquire, pairs with inject_add(). */
	rule = __atomic_load_n(&rules, __ATOMIC_ACQUIRE);
	for (; rule; rule = rule->next) {
		if (!matches(rule, c))
			continue;
		if (rule->at && covers(c, rule->at, &off) && off) {
			*ret_stop = off;
			return rule;
		}
		if (strikes(rule)) {
			*ret_stop = 0;
			prepare(rule);
			return rule;
		}
	}
	return NULL;
}

/* For calls that either happen or fail: is there a failure to answer? */
static int failure(const struct call *c)
{
	size_t stop;
	struct inject_rule *rule = find(c, &stop);

	return rule && !stop ? -rule->error : 0;
}

/* --- the ioctls that work page by page ------------------------------------ */

/* A page ioctl's argument, wherever its fields stand. */
struct page_io {
	uint64_t *len;
	int64_t *field;
	uintptr_t start[2];
};

static bool parse(unsigned long request, void *arg, struct page_io *ret_io)
{
	switch (request) {
	case FERRY__UFFDIO_MOVE: {
		struct ferry__uffdio_move *m = arg;

		*ret_io = (struct page_io){ &m->len,
					    &m->move,
					    { m->dst, m->src } };
		return true;
	}
	case FERRY__UFFDIO_COPY: {
		struct ferry__uffdio_copy *c = arg;

		*ret_io = (struct page_io){ &c->len,
					    &c->copy,
					    { c->dst, c->src } };
		return true;
	}
	case FERRY__UFFDIO_ZEROPAGE: {
		struct ferry__uffdio_zeropage *z = arg;

		*ret_io = (struct page_io){ &z->range.len,
					    &z->zeropage,
					    { z->range.start } };
		return true;
	}
	case FERRY__UFFDIO_CONTINUE: {
		struct ferry__uffdio_continue *c = arg;

		*ret_io = (struct page_io){ &c->range.len,
					    &c->mapped,
					    { c->range.start } };
		return true;
	}
	case FERRY__UFFDIO_POISON: {
		struct ferry__uffdio_poison *p = arg;

		*ret_io = (struct page_io){ &p->range.len,
					    &p->updated,
					    { p->range.start } };
		return true;
	}
	default:
		return false;
	}
}

/* Lets the kernel do the first @len bytes of the call. */
static int do_part(int fd, unsigned long request, void *arg, struct page_io *io,
		   uint64_t len)
{
	uint64_t asked = *io->len;
	int r;

	*io->len = len;
	r = base->ioctl(fd, request, arg);
	*io->len = asked;
	return r;
}

/* Stops at @stop bytes, short, as a kernel does before a bad page. */
static int run_short(int fd, unsigned long request, void *arg,
		     struct page_io *io, uint64_t stop)
{
	int r = do_part(fd, request, arg, io, stop);

	return r < 0 ? r : -EAGAIN;
}

static void write_field(const struct inject_rule *rule, int64_t *field,
			int64_t before, int64_t done)
{
	switch (rule->field) {
	case INJECT_FIELD_KERNEL:
		*field = done > 0 ? done : -rule->error;
		break;
	case INJECT_FIELD_STALE:
		*field = before;
		break;
	case INJECT_FIELD_VALUE:
		*field = rule->value;
		break;
	}
}

static int strike_pages(const struct inject_rule *rule, int fd,
			unsigned long request, void *arg, struct page_io *io)
{
	uint64_t part = rule->done < *io->len ? rule->done : *io->len;
	int64_t before = *io->field;
	int r;

	if (!rule->error && !part)
		return base->ioctl(fd, request, arg);
	if (part) {
		r = do_part(fd, request, arg, io, part);
		if (r < 0)
			return r;
	}
	write_field(rule, io->field, before, (int64_t)part);
	if (rule->error)
		return -rule->error;
	return part < *io->len ? -EAGAIN : 0;
}

static int injected_ioctl(int fd, unsigned long request, void *arg)
{
	struct call c = { .kind = INJECT_IOCTL, .request = request };
	struct inject_rule *rule;
	struct page_io io = { 0 };
	bool pages = parse(request, arg, &io);
	size_t stop = 0;

	if (pages) {
		memcpy(c.start, io.start, sizeof(c.start));
		c.len = *io.len;
	}
	rule = find(&c, &stop);
	if (rule && stop)
		return run_short(fd, request, arg, &io, stop);
	if (rule && pages)
		return strike_pages(rule, fd, request, arg, &io);
	if (rule && rule->error)
		return -rule->error;
	return base->ioctl(fd, request, arg);
}

/* --- descriptors ---------------------------------------------------------- */

static int injected_open(const char *path, int flags)
{
	int r = failure(&(struct call){ .kind = INJECT_OPEN, .path = path });

	return r ? r : base->open(path, flags);
}

static int injected_close(int fd)
{
	int r = failure(&(struct call){ .kind = INJECT_CLOSE });

	return r ? r : base->close(fd);
}

/* A struck read or write without an error is cut to .done bytes. */
static ssize_t cut(enum inject_call kind, size_t *len)
{
	size_t stop;
	struct inject_rule *rule = find(&(struct call){ .kind = kind }, &stop);

	if (rule && rule->error)
		return -rule->error;
	if (rule && rule->done < *len)
		*len = rule->done;
	return 0;
}

static ssize_t injected_read(int fd, void *buf, size_t len)
{
	ssize_t r = cut(INJECT_READ, &len);

	return r ? r : base->read(fd, buf, len);
}

static ssize_t injected_write(int fd, const void *buf, size_t len)
{
	ssize_t r = cut(INJECT_WRITE, &len);

	return r ? r : base->write(fd, buf, len);
}

static ssize_t injected_pread(int fd, void *buf, size_t len, off_t off)
{
	ssize_t r = cut(INJECT_PREAD, &len);

	return r ? r : base->pread(fd, buf, len, off);
}

static int injected_create(const char *path, int flags, mode_t mode)
{
	int r = failure(&(struct call){ .kind = INJECT_CREATE,
					.request = (unsigned long)flags,
					.path = path });

	return r ? r : base->create(path, flags, mode);
}

static int injected_fcntl(int fd, int cmd, long arg)
{
	int r = failure(&(struct call){ .kind = INJECT_FCNTL,
					.request = (unsigned long)cmd });

	return r ? r : base->fcntl(fd, cmd, arg);
}

static ssize_t injected_send(int fd, const void *buf, size_t len)
{
	ssize_t r = cut(INJECT_SEND, &len);

	return r ? r : base->send(fd, buf, len);
}

static ssize_t injected_recv(int fd, void *buf, size_t len)
{
	ssize_t r = cut(INJECT_RECV, &len);

	return r ? r : base->recv(fd, buf, len);
}

/* Short by what the rule lets through of the first vector. */
static ssize_t injected_sendmsg(int fd, const struct msghdr *msg)
{
	struct msghdr part = *msg;
	struct iovec iov = msg->msg_iov[0];
	ssize_t r = cut(INJECT_SENDMSG, &iov.iov_len);

	part.msg_iov = &iov;
	return r ? r : base->sendmsg(fd, &part);
}

static ssize_t injected_recvmsg(int fd, struct msghdr *msg)
{
	struct iovec iov = msg->msg_iov[0], *all = msg->msg_iov;
	ssize_t r = cut(INJECT_RECVMSG, &iov.iov_len);

	if (r)
		return r;
	msg->msg_iov = &iov;
	r = base->recvmsg(fd, msg);
	msg->msg_iov = all;
	return r;
}

static int injected_getsockopt(int fd, int level, int name, void *ret,
			       socklen_t *len)
{
	int r = failure(&(struct call){ .kind = INJECT_GETSOCKOPT,
					.request = (unsigned long)name });

	return r ? r : base->getsockopt(fd, level, name, ret, len);
}

static ssize_t injected_getrandom(void *buf, size_t len)
{
	ssize_t r = cut(INJECT_GETRANDOM, &len);

	return r ? r : base->getrandom(buf, len);
}

static int injected_fstat(int fd, struct stat *ret)
{
	int r = failure(&(struct call){ .kind = INJECT_FSTAT });

	return r ? r : base->fstat(fd, ret);
}

typedef ssize_t (*vector_call)(int fd, const struct iovec *iov, int n,
			       off_t off);

/*
 * As cut(): the vectors that lie wholly within what is left, or a part of the
 * first.
 */
static ssize_t cut_vector(enum inject_call kind, vector_call call, int fd,
			  const struct iovec *iov, int n, off_t off)
{
	size_t stop, whole = 0;
	struct inject_rule *rule = find(&(struct call){ .kind = kind }, &stop);
	struct iovec part;
	int i;

	if (rule && rule->error)
		return -rule->error;
	if (!rule)
		return call(fd, iov, n, off);
	for (i = 0; i < n && whole + iov[i].iov_len <= rule->done; i++)
		whole += iov[i].iov_len;
	if (i)
		return call(fd, iov, i, off);
	part = iov[0];
	part.iov_len = rule->done;
	return rule->done ? call(fd, &part, 1, off) : 0;
}

static ssize_t injected_preadv(int fd, const struct iovec *iov, int n,
			       off_t off)
{
	return cut_vector(INJECT_PREADV, base->preadv, fd, iov, n, off);
}

static ssize_t injected_pwritev(int fd, const struct iovec *iov, int n,
				off_t off)
{
	return cut_vector(INJECT_PWRITEV, base->pwritev, fd, iov, n, off);
}

static int injected_fallocate(int fd, int mode, off_t off, off_t len)
{
	int r = failure(&(struct call){ .kind = INJECT_FALLOCATE });

	return r ? r : base->fallocate(fd, mode, off, len);
}

static int injected_ftruncate(int fd, off_t len)
{
	int r = failure(&(struct call){ .kind = INJECT_FTRUNCATE });

	return r ? r : base->ftruncate(fd, len);
}

static int injected_fdatasync(int fd)
{
	int r = failure(&(struct call){ .kind = INJECT_FDATASYNC });

	return r ? r : base->fdatasync(fd);
}

static int injected_memfd_create(const char *name, unsigned int flags)
{
	int r = failure(&(struct call){ .kind = INJECT_MEMFD_CREATE });

	return r ? r : base->memfd_create(name, flags);
}

static int injected_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	int r = failure(&(struct call){ .kind = INJECT_POLL });

	return r ? r : base->poll(fds, n, timeout_ms);
}

static int injected_eventfd(unsigned int value, int flags)
{
	int r = failure(&(struct call){ .kind = INJECT_EVENTFD });

	return r ? r : base->eventfd(value, flags);
}

static int injected_userfaultfd(int flags)
{
	int r = failure(&(struct call){ .kind = INJECT_USERFAULTFD });

	return r ? r : base->userfaultfd(flags);
}

/* --- memory --------------------------------------------------------------- */

static int range_failure(enum inject_call kind, unsigned long request,
			 void *addr, size_t len)
{
	return failure(&(struct call){ .kind = kind,
				       .request = request,
				       .start = { (uintptr_t)addr },
				       .len = len });
}

static int injected_mmap(void *addr, size_t len, int prot, int flags, int fd,
			 off_t off, void **ret_addr)
{
	int r = range_failure(INJECT_MMAP, 0, addr, len);

	return r ? r : base->mmap(addr, len, prot, flags, fd, off, ret_addr);
}

static int injected_munmap(void *addr, size_t len)
{
	int r = range_failure(INJECT_MUNMAP, 0, addr, len);

	return r ? r : base->munmap(addr, len);
}

static int injected_mremap(void *addr, size_t old_len, size_t new_len,
			   int flags, void *new_addr, void **ret_addr)
{
	int r = range_failure(INJECT_MREMAP, 0, addr, old_len);

	return r ? r
		 : base->mremap(addr, old_len, new_len, flags, new_addr,
				ret_addr);
}

static int injected_mprotect(void *addr, size_t len, int prot)
{
	int r = range_failure(INJECT_MPROTECT, 0, addr, len);

	return r ? r : base->mprotect(addr, len, prot);
}

static int injected_madvise(void *addr, size_t len, int advice)
{
	int r = range_failure(INJECT_MADVISE, (unsigned long)advice, addr, len);

	return r ? r : base->madvise(addr, len, advice);
}

static ssize_t injected_process_madvise(int pidfd, const struct iovec *iov,
					size_t n, int advice)
{
	int r = failure(&(struct call){ .kind = INJECT_PROCESS_MADVISE,
					.request = (unsigned long)advice });

	return r ? r : base->process_madvise(pidfd, iov, n, advice);
}

static int injected_mincore(void *addr, size_t len, unsigned char *vec)
{
	int r = range_failure(INJECT_MINCORE, 0, addr, len);

	return r ? r : base->mincore(addr, len, vec);
}

static int injected_mbind(void *addr, size_t len, int mode,
			  const unsigned long *nodes, unsigned long bits,
			  unsigned int flags)
{
	int r = range_failure(INJECT_MBIND, 0, addr, len);

	return r ? r : base->mbind(addr, len, mode, nodes, bits, flags);
}

static int injected_home_node(void *addr, size_t len, int node)
{
	int r = range_failure(INJECT_HOME_NODE, 0, addr, len);

	return r ? r : base->set_home_node(addr, len, node);
}

/* A struck call without an error stops after .done pages, as a kernel may. */
static long injected_move_pages(int pid, size_t n, void **pages,
				const int *nodes, int *ret_status, int flags)
{
	struct call c = { .kind = INJECT_MOVE_PAGES, .request = nodes ? 2 : 1 };
	size_t stop, done = n;
	struct inject_rule *rule = find(&c, &stop);
	long r;

	if (rule && rule->error)
		return -rule->error;
	if (rule && rule->done < n)
		done = rule->done;
	r = done ? base->move_pages(pid, done, pages, nodes, ret_status, flags)
		 : 0;
	return r < 0 ? r : r + (long)(n - done);
}

static int injected_membarrier(int command, unsigned int flags)
{
	int r = failure(&(struct call){ .kind = INJECT_MEMBARRIER });

	return r ? r : base->membarrier(command, flags);
}

static int injected_sigaction(int sig, const struct sigaction *act,
			      struct sigaction *old)
{
	int r = failure(&(struct call){ .kind = INJECT_SIGACTION });

	return r ? r : base->sigaction(sig, act, old);
}

/* --- the clock ------------------------------------------------------------ */

static uint64_t injected_now_ns(void)
{
	if (!clock_stands)
		return base->now_ns();
	return __atomic_load_n(&clock_ns, __ATOMIC_RELAXED);
}

void inject_clock_advance(uint64_t ns)
{
	__atomic_fetch_add(&clock_ns, ns, __ATOMIC_RELAXED);
}

static void injected_sleep_ns(uint64_t ns)
{
	if (clock_stands)
		inject_clock_advance(ns);
	else
		base->sleep_ns(ns);
}

void inject_clock(uint64_t now_ns)
{
	clock_ns = now_ns;
	clock_stands = true;
}

/* --- in and out ----------------------------------------------------------- */

void inject_add(struct inject_rule *rule)
{
	rule->seen = 0;
	rule->hits = 0;
	rule->next = rules;
	/* I1: release: other threads may be making calls. */
	__atomic_store_n(&rules, rule, __ATOMIC_RELEASE);
}

uint64_t inject_hits(const struct inject_rule *rule)
{
	return __atomic_load_n(&rule->hits, __ATOMIC_RELAXED);
}

/* Entries that no rule can strike stay those of the table below. */
static void fill_table(void)
{
	table = *base;
	table.open = injected_open;
	table.close = injected_close;
	table.read = injected_read;
	table.write = injected_write;
	table.pread = injected_pread;
	table.create = injected_create;
	table.fcntl = injected_fcntl;
	table.preadv = injected_preadv;
	table.pwritev = injected_pwritev;
	table.fallocate = injected_fallocate;
	table.ftruncate = injected_ftruncate;
	table.fdatasync = injected_fdatasync;
	table.memfd_create = injected_memfd_create;
	table.send = injected_send;
	table.recv = injected_recv;
	table.sendmsg = injected_sendmsg;
	table.recvmsg = injected_recvmsg;
	table.getsockopt = injected_getsockopt;
	table.getrandom = injected_getrandom;
	table.fstat = injected_fstat;
	table.poll = injected_poll;
	table.eventfd = injected_eventfd;
	table.ioctl = injected_ioctl;
	table.userfaultfd = injected_userfaultfd;
	table.mmap = injected_mmap;
	table.munmap = injected_munmap;
	table.mremap = injected_mremap;
	table.mprotect = injected_mprotect;
	table.madvise = injected_madvise;
	table.process_madvise = injected_process_madvise;
	table.mincore = injected_mincore;
	table.mbind = injected_mbind;
	table.set_home_node = injected_home_node;
	table.move_pages = injected_move_pages;
	table.membarrier = injected_membarrier;
	table.sigaction = injected_sigaction;
	table.now_ns = injected_now_ns;
	table.sleep_ns = injected_sleep_ns;
}

void inject_start(void)
{
	base = ferry__sys;
	rules = NULL;
	clock_stands = false;
	memset(calls, 0, sizeof(calls));
	memset(uffd_calls, 0, sizeof(uffd_calls));
	memset(advice_calls, 0, sizeof(advice_calls));
	fill_table();
	ferry__sys = &table;
}

void inject_stop(void)
{
	ferry__sys = base;
	rules = NULL;
}
