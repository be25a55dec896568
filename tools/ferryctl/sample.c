/* SPDX-License-Identifier: MIT */
/* One look at a process. */
#include "tools/ferryctl/sample.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/ferryctl/ctl.h"
#include "tools/ferryctl/kernel.h"
#include "tools/ferryctl/lines.h"

/* Fields of /proc/PID/stat behind the name, which may hold anything. */
static void take_stat(struct ctl_sample *s, const char *text)
{
	uint64_t ticks = (uint64_t)sysconf(_SC_CLK_TCK), user, system;
	const char *rest = strrchr(text, ')');
	unsigned long long minor, major, u, k;

	if (!rest || sscanf(rest + 1,
			    " %*c %*d %*d %*d %*d %*d %*u %llu %*u %llu %*u "
			    "%llu %llu",
			    &minor, &major, &u, &k) != 4)
		return;
	user = u * 1000 / ticks;
	system = k * 1000 / ticks;
	s->minor = minor;
	s->major = major;
	s->cpu_ms = user + system;
}

static void take_status(struct ctl_sample *s, const char *text)
{
	s->uid = (uint32_t)ctl_status_number(text, "Uid:", 0);
	s->threads = ctl_status_number(text, "Threads:", 0);
	s->resident = 1024 * ctl_status_number(text, "VmRSS:", 0);
	s->anonymous = 1024 * ctl_status_number(text, "RssAnon:", 0);
	s->swapped = 1024 * ctl_status_number(text, "VmSwap:", 0);
	s->locked = 1024 * ctl_status_number(text, "VmLck:", 0);
	s->hugetlb = 1024 * ctl_status_number(text, "HugetlbPages:", 0);
}

/* The name of a shared object, whatever folder and version it has. */
static bool is_object(const char *line, const char *name)
{
	const char *slash = strrchr(line, '/');

	return slash && !strncmp(slash + 1, name, strlen(name));
}

static enum ctl_uses uses_of(const struct ctl_process *process)
{
	enum ctl_uses uses = CTL_USES_NOTHING;
	struct ctl_lines lines;
	char *line;

	ctl_lines_init(&lines, ctl_process_file(process, "maps"));
	while (uses != CTL_USES_MALLOC && ctl_lines_next(&lines, &line) > 0) {
		if (is_object(line, "libferry-malloc.so"))
			uses = CTL_USES_MALLOC;
		else if (is_object(line, "libferry.so") ||
			 is_object(line, "libferry-alloc.so"))
			uses = CTL_USES_LIBRARY;
	}
	ctl_lines_fini(&lines);
	return uses;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int ctl_sample_take(const struct ctl_process *process,
		    struct ctl_sample *ret_sample)
{
	struct ctl_sample s = { .pid = process->pid, .at_ns = now_ns() };
	char text[4096];
	ssize_t r;

	memcpy(s.name, process->name, sizeof(s.name));
	r = ctl_process_text(process, "status", text, sizeof(text));
	if (r < 0)
		return (int)r;
	take_status(&s, text);
	r = ctl_process_text(process, "stat", text, sizeof(text));
	if (r < 0)
		return (int)r;
	take_stat(&s, text);
	s.uses = uses_of(process);
	s.agent = ctl_kernel->agent_is_there(process->pid);
	*ret_sample = s;
	return ctl_process_check(process);
}

const char *ctl_uses_text(enum ctl_uses uses)
{
	switch (uses) {
	case CTL_USES_LIBRARY:
		return "library";
	case CTL_USES_MALLOC:
		return "malloc";
	default:
		return "-";
	}
}

static int sample_one(pid_t pid,
		      int (*fn)(void *arg, const struct ctl_sample *sample),
		      void *arg)
{
	struct ctl_process process;
	struct ctl_sample sample;
	int r;

	r = ctl_process_open(pid, &process);
	if (r < 0)
		return r == -EMFILE || r == -ENFILE || r == -ENOSYS ? r : 0;
	r = ctl_sample_take(&process, &sample);
	ctl_process_close(&process);
	return r == 0 ? fn(arg, &sample) : 0;
}

int ctl_sample_all(int (*fn)(void *arg, const struct ctl_sample *sample),
		   void *arg)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	uint64_t pid;
	int r = 0;

	if (!folder)
		return -errno;
	while (r == 0 && (entry = readdir(folder)))
		if (ctl_parse_number(entry->d_name, false, &pid) == 0 &&
		    (pid_t)pid != getpid())
			r = sample_one((pid_t)pid, fn, arg);
	closedir(folder);
	return r;
}
