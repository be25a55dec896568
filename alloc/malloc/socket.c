/* SPDX-License-Identifier: MIT */
/*
 * What is answered at the control socket:
 *
 *	stats	the statistics, as lines "key value"
 *	trim	gives free memory back to the system
 *	out	takes out whatever was not touched just now
 *	back	brings all back, and takes nothing out until:
 *	resume
 */
#include "alloc/malloc/socket.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "alloc/malloc/control.h"
#include "alloc/malloc/offload.h"
#include "alloc/malloc/path.h"
#include "alloc/malloc/stats.h"
#include "uffd/sys.h"

static struct {
	char path[PATH_MAX]; /* as configured, absolute */
	bool wanted;	     /* to be listened at; atomic */
	/* Of two that stop it, or one that starts it meanwhile. */
	pthread_mutex_t lock;
	struct ferry__control *control; /* written under the lock */
	unsigned int paused;		/* under the lock */
} here = { .lock = PTHREAD_MUTEX_INITIALIZER };

static size_t say(char *buf, size_t size, const char *text)
{
	size_t len = strlen(text);

	if (len > size)
		len = size;
	memcpy(buf, text, len);
	return len;
}

static size_t answer(void *arg, const char *request, char *buf, size_t size)
{
	(void)arg;
	if (!strcmp(request, "stats"))
		return ferry__stats_text(buf, size);
	if (!strcmp(request, "back"))
		return say(buf, size,
			   ferry__offload_restore() ? "error\n" : "ok\n");
	if (!strcmp(request, "out"))
		return say(buf, size,
			   ferry__offload_run() ? "error\n" : "ok\n");
	if (!strcmp(request, "resume")) {
		ferry__offload_resume();
		return say(buf, size, "ok\n");
	}
	if (!strcmp(request, "trim")) {
		ferry__offload_trim();
		return say(buf, size, "ok\n");
	}
	return say(buf, size,
		   "unknown request: stats, trim, out, back, resume\n");
}

static void begin(void *arg)
{
	(void)arg;
	ferry__engine_be_own();
}

static void complain(const char *path, int error)
{
	char line[PATH_MAX + 128];
	int n = snprintf(line, sizeof(line),
			 "ferry-malloc: no control socket at %s: %s\n", path,
			 strerror(-error));

	if (n > 0 && (size_t)n < sizeof(line))
		ferry__sys->write(2, line, (size_t)n);
}

void ferry__socket_init(const struct ferry__conf *conf)
{
	if (!conf->control ||
	    ferry__path_absolute(conf->control, conf->control_len, here.path,
				 sizeof(here.path)))
		return;
	here.wanted = true;
	ferry__engine_want_work();
}

/* Under the lock. */
static int listen_here(char *path, size_t size)
{
	struct ferry__control_params params = {
		.answer = answer,
		.thread_begin = begin,
		.answer_max = FERRY__STATS_TEXT,
	};
	int r = ferry__path_of(here.path, "", path, size);
	struct ferry__control *control;

	if (r)
		return r;
	ferry__engine_own_begin();
	r = ferry__control_start(path, &params, &control);
	ferry__engine_own_end();
	if (!r)
		__atomic_store_n(&here.control, control, __ATOMIC_RELAXED);
	return r;
}

void ferry__socket_work(void)
{
	char path[PATH_MAX];
	int r = 0;

	/* Relaxed: a wish; the rest is under the lock. */
	if (!__atomic_load_n(&here.wanted, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&here.lock);
	if (!here.paused &&
	    __atomic_exchange_n(&here.wanted, false, __ATOMIC_RELAXED) &&
	    !here.control)
		r = listen_here(path, sizeof(path));
	pthread_mutex_unlock(&here.lock);
	if (r)
		complain(path, r);
}

void ferry__socket_pause(void)
{
	struct ferry__control *control;

	if (!here.path[0])
		return;
	pthread_mutex_lock(&here.lock);
	here.paused++;
	control = here.control;
	/* Relaxed: ferry__socket_end() only asks whether there is one. */
	__atomic_store_n(&here.control, NULL, __ATOMIC_RELAXED);
	if (control)
		__atomic_store_n(&here.wanted, true, __ATOMIC_RELAXED);
	ferry__control_stop(control);
	pthread_mutex_unlock(&here.lock);
}

void ferry__socket_resume(void)
{
	if (!here.path[0])
		return;
	pthread_mutex_lock(&here.lock);
	here.paused--;
	pthread_mutex_unlock(&here.lock);
	ferry__engine_want_work();
}

/* A child of vfork(2), or of a fork without handlers, has no such thread. */
void ferry__socket_end(void)
{
	if (__atomic_load_n(&here.control, __ATOMIC_RELAXED) &&
	    !ferry__offload_is_guest())
		ferry__socket_pause();
}

void ferry__socket_give_up(void)
{
	__atomic_store_n(&here.wanted, false, __ATOMIC_RELAXED);
}

/* Who had the lock, or made a pause, is not here. */
void ferry__socket_fork_child(void)
{
	struct ferry__control *control = here.control;

	here.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	here.paused = 0;
	here.control = NULL;
	ferry__control_forget(control);
	if (!control || !strstr(here.path, "%p"))
		return;
	here.wanted = true;
	ferry__engine_want_work();
}
