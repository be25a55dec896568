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
#include <stdio.h>
#include <string.h>

#include "alloc/malloc/control.h"
#include "alloc/malloc/offload.h"
#include "alloc/malloc/path.h"
#include "alloc/malloc/stats.h"
#include "uffd/sys.h"

static struct {
	char path[PATH_MAX];		/* as configured, absolute */
	bool wanted;			/* to be listened at; atomic */
	struct ferry__control *control; /* of whoever works or stops */
} here;

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

void ferry__socket_work(void)
{
	struct ferry__control_params params = {
		.answer = answer,
		.thread_begin = begin,
		.answer_max = FERRY__STATS_TEXT,
	};
	char path[PATH_MAX];
	int r;

	/* Relaxed: one thread gets the work (do_work() in engine.c). */
	if (!__atomic_exchange_n(&here.wanted, false, __ATOMIC_RELAXED))
		return;
	r = ferry__path_of(here.path, "", path, sizeof(path));
	ferry__engine_own_begin();
	if (!r)
		r = ferry__control_start(path, &params, &here.control);
	ferry__engine_own_end();
	if (r)
		complain(path, r);
}

void ferry__socket_stop(bool again)
{
	if (!again)
		here.wanted = false;
	if (!here.control)
		return;
	ferry__control_stop(here.control);
	here.control = NULL;
	here.wanted = again;
	if (again)
		ferry__engine_want_work();
}

void ferry__socket_fork_child(void)
{
	if (!here.control)
		return;
	ferry__control_forget(here.control);
	here.control = NULL;
	if (!strstr(here.path, "%p"))
		return;
	here.wanted = true;
	ferry__engine_want_work();
}
