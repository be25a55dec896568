/* SPDX-License-Identifier: MIT */
/*
 * Memory pressure: the kernel's stall information (PSI, 4.20), of the control
 * group that this process is in or else of the system.
 *
 * A trigger is asked for: the descriptor is then reported by poll() when
 * tasks stood still for want of memory for TRIGGER's time. A window of a
 * multiple of two seconds needs no privilege (6.5); where a trigger is not
 * to be had, the ten-second average is read every few seconds.
 *
 * The answer is a collection that compacts and keeps no free memory, by the
 * collector thread: this one only asks for it. An answer that gave little
 * back makes the next one later (P10).
 */
#include "runtime/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "runtime/heap-internal.h"
#include "uffd/cgroup.h"

/*
 * All tasks at once stalled for 0.1 s of 2 s. Some task of a machine always
 * does, for a build beside us or a file that is read: that is no reason to
 * make a program collect.
 */
static const char trigger[] = "full 100000 2000000";

#define AVERAGE_LEAST 5.0 /* percent, of avg10 of "full" */

#define SECOND	   1000000000u
#define CALM_AFTER (10ull * SECOND) /* without another sign */
#define WAIT_FIRST (4ull * SECOND)  /* between two answers, at least */
#define WAIT_MOST  (256ull * SECOND)
#define READ_EVERY 5000 /* milliseconds; also how often calm is looked for */

/* --- what is watched ------------------------------------------------------------ */

static bool open_in(void *arg, const char *folder)
{
	char path[FERRY__CGROUP_PATH + 128];
	int *fd = arg;

	snprintf(path, sizeof(path), "%s/memory.pressure", folder);
	*fd = ferry__sys->open(path, O_RDWR | O_NONBLOCK);
	if (*fd < 0)
		*fd = ferry__sys->open(path, O_RDONLY | O_NONBLOCK);
	return *fd >= 0;
}

static int open_system(void)
{
	static const char path[] = "/proc/pressure/memory";
	int fd = ferry__sys->open(path, O_RDWR | O_NONBLOCK);

	return fd >= 0 ? fd : ferry__sys->open(path, O_RDONLY | O_NONBLOCK);
}

/* "full avg10=0.00 avg60=..." Negative if it cannot be read. */
static double read_average(int fd)
{
	static const char key[] = "full avg10=";
	char buf[256], *at;
	ssize_t n;

	n = ferry__sys->pread(fd, buf, sizeof(buf) - 1, 0);
	if (n <= 0)
		return -1;
	buf[n] = '\0';
	at = strstr(buf, key);
	return at ? strtod(at + sizeof(key) - 1, NULL) : -1;
}

/* PSI can be there and switched off (psi=0): then it cannot be read. */
static int open_watched(bool *ret_trigger)
{
	int fd = -1;

	if (!ferry__cgroup_walk(open_in, &fd))
		fd = open_system();
	if (fd < 0)
		return fd;
	*ret_trigger = ferry__sys->write(fd, trigger, sizeof(trigger)) > 0;
	if (*ret_trigger || read_average(fd) >= 0)
		return fd;
	ferry__sys->close(fd);
	return -EOPNOTSUPP;
}

/* --- the thread ------------------------------------------------------------------ */

/* Its own state. */
struct watch {
	uint64_t sign_ns;   /* the last sign of pressure */
	uint64_t answer_ns; /* the last answer; 0: none */
	uint64_t wait_ns;   /* until the next */
	uint64_t released;  /* by then */
};

static uint64_t released(struct ferry_heap *heap)
{
	return atomic_load_explicit(&heap->events.count.released,
				    memory_order_relaxed);
}

/* Did the last answer give a sixteenth of what is in use? Else wait longer. */
static void judge_last(struct ferry_heap *heap, struct watch *w)
{
	size_t used =
		atomic_load_explicit(&heap->space.taken, memory_order_relaxed);

	if (released(heap) - w->released >= used / 16)
		w->wait_ns = WAIT_FIRST;
	else if (w->wait_ns < WAIT_MOST)
		w->wait_ns *= 2;
}

static void on_sign(struct ferry_heap *heap, struct watch *w, uint64_t now)
{
	w->sign_ns = now;
	if (w->answer_ns) {
		if (now - w->answer_ns < w->wait_ns)
			return;
		judge_last(heap, w);
	}
	w->answer_ns = now;
	w->released = released(heap);
	ferry__policy_press(heap, true);
}

static void on_calm(struct ferry_heap *heap, struct watch *w, uint64_t now)
{
	if (w->sign_ns && now - w->sign_ns >= CALM_AFTER) {
		w->sign_ns = 0;
		ferry__policy_press(heap, false);
	}
}

/* Waits a while, with a trigger and nothing to wait for but it as long as it
 * takes; is there pressure? */
static bool look(struct ferry__pressure *p, const struct watch *w,
		 bool *ret_quit)
{
	struct pollfd fds[2] = {
		{ .fd = p->wake, .events = POLLIN },
		{ .fd = p->has_trigger ? p->fd : -1, .events = POLLPRI },
	};
	bool forever = p->has_trigger && !w->sign_ns;
	int r = ferry__sys->poll(fds, 2, forever ? -1 : READ_EVERY);

	if (r < 0)
		ferry__sys->sleep_ns(SECOND);
	*ret_quit = r > 0 && fds[0].revents;
	if (!p->has_trigger)
		return read_average(p->fd) >= AVERAGE_LEAST;
	/* The control group is gone: its averages are, too. */
	if (r > 0 && fds[1].revents & (POLLERR | POLLNVAL))
		p->has_trigger = false;
	return r > 0 && fds[1].revents == POLLPRI;
}

static void *watcher(void *arg)
{
	struct ferry_heap *heap = arg;
	struct watch w = { .wait_ns = WAIT_FIRST };
	bool quit, sign;
	uint64_t now;

	for (;;) {
		sign = look(&heap->policy.pressure, &w, &quit);
		if (quit)
			return NULL;
		now = ferry__sys->now_ns();
		if (sign)
			on_sign(heap, &w, now);
		else
			on_calm(heap, &w, now);
	}
}

/* --- beginning and end -------------------------------------------------------------- */

int ferry__pressure_init(struct ferry_heap *heap)
{
	struct ferry__pressure *p = &heap->policy.pressure;

	if (ferry__mode(heap) != FERRY_GC_CONCURRENT ||
	    heap->params.no_pressure)
		return 0;
	p->wake = ferry__sys->eventfd(0, EFD_CLOEXEC);
	if (p->wake < 0)
		return 0;
	p->fd = open_watched(&p->has_trigger);
	if (p->fd < 0)
		goto err_close_wake;
	if (ferry__thread_start(&p->thread, NULL, watcher, heap))
		goto err_close_fd;
	p->has_thread = true;
	return 0;

err_close_fd:
	ferry__sys->close(p->fd);
err_close_wake:
	ferry__sys->close(p->wake);
	return 0;
}

void ferry__pressure_fini(struct ferry_heap *heap)
{
	struct ferry__pressure *p = &heap->policy.pressure;
	uint64_t one = 1;

	if (!p->has_thread)
		return;
	ferry__sys->write(p->wake, &one, sizeof(one));
	pthread_join(p->thread, NULL);
	ferry__pressure_forget(heap);
}

void ferry__pressure_forget(struct ferry_heap *heap)
{
	struct ferry__pressure *p = &heap->policy.pressure;

	if (!p->has_thread)
		return;
	p->has_thread = false;
	ferry__sys->close(p->fd);
	ferry__sys->close(p->wake);
}
