/* SPDX-License-Identifier: MIT */
/* handover_work.c: the processes of a run of ferry-bench handover. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handover_work.h"
#include "malloc_work.h"
#include "preload.h"

/* A run that takes longer has hung. */
#define LIMIT_S 120

#define HUGE_LEN ((size_t)2 << 20)

/*
 * Of so many bytes one page is accessed first, at random: what the kernel
 * maps around a fault, 64 KiB, then rarely has the next one.
 */
#define FIRST_STRIDE ((size_t)256 << 10)
#define FIRST_MAX    4096 /* accesses */

static const struct handover_way *const ways[HANDOVER_WAYS] = {
	[HANDOVER_EAGER] = &handover_way_eager,
	[HANDOVER_LAZY] = &handover_way_lazy,
	[HANDOVER_COPY] = &handover_way_copy,
	[HANDOVER_LOOP] = &handover_way_loop,
	[HANDOVER_MAP] = &handover_way_map,
	[HANDOVER_PIPE] = &handover_way_pipe,
	[HANDOVER_VM_WARM] = &handover_way_vm_warm,
	[HANDOVER_VM_NEW] = &handover_way_vm_new,
};

/* What the sender tells, before it gives and after. */
struct told {
	int error;
	uint64_t begin, end;
	char why[120];
};

int handover_because(struct handover_work *w, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->why, sizeof(w->why), fmt, ap);
	va_end(ap);
	return rc;
}

int handover_write(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int handover_read(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0)
			return -errno;
		if (n == 0)
			return -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int call(int (*step)(struct handover_work *w), struct handover_work *w)
{
	return step ? step(w) : 0;
}

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* --- the sender ----------------------------------------------------------- */

static int tell(int control, const struct handover_work *w, struct told *t,
		int error)
{
	t->error = error;
	snprintf(t->why, sizeof(t->why), "%s", w->why);
	return handover_write(control, t, sizeof(*t));
}

static int send_all(struct handover_work *w, int control)
{
	const struct handover_way *way = ways[w->id];
	struct told t = { 0 };
	char go;
	int rc = way->make(w);

	if (rc == 0)
		malloc_fill(w->addr, w->size, w->seed, 1);
	if (tell(control, w, &t, rc) < 0 || rc < 0)
		return rc;
	rc = handover_read(control, &go, 1);
	if (rc < 0)
		return rc;
	t.begin = bench_now();
	rc = way->give(w);
	t.end = bench_now();
	tell(control, w, &t, rc);
	/* Its memory stays until the receiver has seen it. */
	handover_read(control, &go, 1);
	return rc;
}

/* --- the receiver --------------------------------------------------------- */

/*
 * Threads that serve faults run where the access was: what is to be measured
 * is not how long another processor needs to wake up (B29).
 */
static void stay_here(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	CPU_ZERO(&set);
	CPU_SET((size_t)(cpu < 0 ? 0 : cpu), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void touch(const char *p)
{
	(void)*(const volatile char *)p;
}

static uint32_t *make_order(size_t n, struct bench_rng *rng)
{
	uint32_t *order = bench_alloc(n * sizeof(*order));

	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	bench_rng_shuffle(rng, order, n);
	return order;
}

/* Accesses to pages all over, each timed. */
static void touch_first(const struct handover_work *w,
			struct handover_outcome *out)
{
	size_t stride = w->huge ? HUGE_LEN : FIRST_STRIDE;
	size_t n = w->size / stride;
	struct bench_samples us = { 0 };
	struct bench_rng rng = { w->seed };
	uint32_t *order = make_order(n, &rng);

	for (size_t i = 0; i < n && i < FIRST_MAX; i++) {
		size_t page = bench_rng_below(&rng, stride / page_size());
		const char *p =
			w->addr + order[i] * stride + page * page_size();
		uint64_t begin = bench_now();

		touch(p);
		bench_samples_add(&us, (double)(bench_now() - begin) * 1e-3);
	}
	out->v[HANDOVER_P50] = bench_samples_quantile(&us, 0.5);
	out->v[HANDOVER_P99] = bench_samples_quantile(&us, 0.99);
	bench_samples_fini(&us);
	free(order);
}

static void touch_all(const struct handover_work *w)
{
	for (size_t i = 0; i < w->size; i += page_size())
		touch(w->addr + i);
}

static int bring_rest(struct handover_work *w)
{
	if (ways[w->id]->rest)
		return ways[w->id]->rest(w);
	touch_all(w);
	return 0;
}

static uint64_t count_wrong(const struct handover_work *w)
{
	size_t page = page_size();
	uint64_t wrong = 0;

	for (size_t i = 0; i < w->size; i += page)
		wrong += !malloc_right(w->addr + i, page, w->seed + i / 8, 1);
	return wrong;
}

/* What is not on the clock. */
static void look(const struct handover_work *w, struct handover_outcome *out)
{
	uint64_t begin = bench_now();

	touch_all(w);
	out->v[HANDOVER_PASS] = (double)(bench_now() - begin) * 1e-9;
	out->v[HANDOVER_HUGE_SHARE] =
		(double)bench_huge_bytes(w->addr, w->size) / (double)w->size;
	out->wrong = count_wrong(w);
}

/* Takes the sender's word, and its reason when it failed. */
static int hear(int control, struct handover_work *w, struct told *t)
{
	int rc = handover_read(control, t, sizeof(*t));

	if (rc < 0)
		return handover_because(w, rc, "the sender died");
	if (t->error < 0)
		return handover_because(w, t->error, "%s", t->why);
	if (!w->why[0])
		snprintf(w->why, sizeof(w->why), "%s", t->why);
	return 0;
}

static double seconds(uint64_t begin, uint64_t end)
{
	return (double)(end - begin) * 1e-9;
}

static int take_all(struct handover_work *w, int control,
		    struct handover_outcome *out)
{
	uint64_t start, end;
	struct told t;
	int rc = handover_write(control, "", 1);

	if (rc < 0)
		return rc;
	rc = ways[w->id]->take(w);
	start = bench_now();
	if (rc == 0 && handover_is_lazy(w->id)) {
		touch_first(w, out);
		rc = bring_rest(w);
	}
	end = bench_now();
	if (rc < 0)
		return rc;
	rc = hear(control, w, &t);
	if (rc < 0)
		return rc;
	out->v[HANDOVER_START] = seconds(t.begin, start);
	out->v[HANDOVER_GIVEN] = seconds(t.begin, t.end);
	out->v[HANDOVER_WHOLE] = seconds(t.begin, t.end > end ? t.end : end);
	look(w, out);
	return 0;
}

static int receive(struct handover_work *w, int control,
		   struct handover_outcome *out)
{
	const struct handover_way *way = ways[w->id];
	struct told t;
	int rc, end;

	if (handover_is_lazy(w->id))
		stay_here();
	rc = call(way->ready, w);
	if (rc < 0)
		return rc;
	rc = hear(control, w, &t);
	if (rc == 0)
		rc = take_all(w, control, out);
	end = call(way->done, w);
	return rc < 0 ? rc : end;
}

/* --- both ----------------------------------------------------------------- */

/* The receiver has the first of each pair, the sender the second. */
static int fork_sender(struct handover_work *w, int *ret_control)
{
	int control[2], sock[2];
	bool mine;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0 ||
	    pipe2(w->pipe, O_CLOEXEC) < 0)
		return -errno; /* the process ends */
	w->sender = fork();
	if (w->sender < 0)
		return -errno;
	mine = w->sender == 0;
	close(control[!mine]);
	close(sock[!mine]);
	close(w->pipe[!mine]);
	w->sock = sock[mine];
	*ret_control = control[mine];
	if (w->sender == 0) {
		alarm(LIMIT_S);
		_exit(send_all(w, *ret_control) < 0);
	}
	return 0;
}

static int find_name(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(name, names[i]))
			return i;
	return -EINVAL;
}

static int read_arguments(int argc, char **argv, struct handover_work *w)
{
	int way, pages;
	uint64_t size;

	if (argc != 4)
		return -EINVAL;
	way = find_name(argv[0], handover_way_names, HANDOVER_WAYS);
	pages = find_name(argv[2], handover_pages_names, HANDOVER_PAGES);
	if (way < 0 || pages < 0 ||
	    bench_parse_number(argv[1], true, &size) < 0 ||
	    bench_parse_number(argv[3], false, &w->seed) < 0)
		return -EINVAL;
	w->id = (enum handover_way_id)way;
	w->huge = pages == HANDOVER_HUGE;
	w->size = size;
	return size && size % HUGE_LEN == 0 ? 0 : -EINVAL;
}

int handover_work_main(int argc, char **argv)
{
	struct handover_outcome out = { 0 };
	struct handover_work w = { 0 };
	int control = -1;

	if (read_arguments(argc, argv, &w) < 0)
		bench_die("%s wants: WAY BYTES (of whole 2M) PAGES SEED",
			  HANDOVER_WORK_ARGUMENT);
	signal(SIGPIPE, SIG_IGN); /* each side may find the other gone */
	alarm(LIMIT_S);
	out.error = fork_sender(&w, &control);
	if (out.error == 0) {
		out.error = receive(&w, control, &out);
		close(control);
		close(w.sock);
		close(w.pipe[0]);
		waitpid(w.sender, NULL, 0);
	}
	snprintf(out.why, sizeof(out.why), "%s", w.why);
	return preload_report(&out, sizeof(out)) ? EXIT_SUCCESS : EXIT_FAILURE;
}
