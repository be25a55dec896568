/* SPDX-License-Identifier: MIT */
/*
 * Statistics at exit, at an interval, and after SIGUSR2, each only where the
 * configuration asks. A file is written beside its name and renamed, so that
 * who reads it sees all of it; by the name of a thread's own, since processes
 * may share one that is configured. No stdio: its buffers are on the heap.
 */
#include "alloc/malloc/report.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/malloc/path.h"
#include "alloc/malloc/stats.h"
#include "alloc/pager/pager.h"
#include "uffd/sys.h"

static struct {
	const struct ferry__conf *conf;
	char path[PATH_MAX]; /* absolute; "%p" stands for the process */
	uint64_t next_ns;    /* of the pager's thread */
	bool wanted;	     /* by a signal; atomic */
	bool stopped;	     /* for ever */
} report;

/* --- writing -------------------------------------------------------------------------- */

static int write_all(int fd, const char *text, size_t len)
{
	ssize_t n;

	while (len) {
		n = ferry__sys->write(fd, text, len);
		if (n <= 0)
			return n ? (int)n : -EIO;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* More than RLIMIT_FSIZE is answered with a signal that ends the program. */
static bool is_too_long(size_t len)
{
	struct rlimit limit;

	return ferry__sys->getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
	       limit.rlim_cur != RLIM_INFINITY && len > limit.rlim_cur;
}

/* Where it is written, of this thread alone. */
static int fresh_path(char *buf, size_t size)
{
	char suffix[32];

	snprintf(suffix, sizeof(suffix), ".%d.new", ferry__sys->gettid());
	return ferry__path_of(report.path, suffix, buf, size);
}

/* A device or a pipe stays what it is; a link may be a trap. */
static void write_to(const char *name, const char *text, size_t len)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK |
				    O_NOCTTY);

	if (fd < 0)
		return;
	write_all(fd, text, len);
	close(fd);
}

static void replace(const char *name, const char *text, size_t len)
{
	char fresh[PATH_MAX];
	int fd, r;

	if (fresh_path(fresh, sizeof(fresh)))
		return;
	/* What has the name is left over, or in everybody's folder a trap. */
	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	r = write_all(fd, text, len);
	close(fd);
	if (r || rename(fresh, name))
		unlink(fresh);
}

/* What cannot be written is not: nobody is there to be told. */
static void write_file(const char *text, size_t len)
{
	char name[PATH_MAX];
	struct stat st;

	if (is_too_long(len) ||
	    ferry__path_of(report.path, "", name, sizeof(name)))
		return;
	if (lstat(name, &st) == 0 && !S_ISREG(st.st_mode))
		write_to(name, text, len);
	else
		replace(name, text, len);
}

/* To the file, or to @fd where there is none. */
static void write_report(int fd)
{
	char text[FERRY__STATS_TEXT];
	int saved = errno;
	size_t len = ferry__stats_text(text, sizeof(text));

	if (report.path[0])
		write_file(text, len);
	else if (fd >= 0)
		write_all(fd, text, len);
	errno = saved;
}

/* --- when ----------------------------------------------------------------------------- */

static bool is_asked(void)
{
	/* Relaxed: only that it was asked for is passed on. */
	return !report.stopped &&
	       __atomic_exchange_n(&report.wanted, false, __ATOMIC_RELAXED);
}

static void write_to_program(void)
{
	int fd = ferry__pager_stderr();

	write_report(fd);
	if (fd >= 0)
		ferry__sys->close(fd);
}

void ferry__report_tick(uint64_t now_ns)
{
	if (is_asked())
		write_to_program();
	if (!report.conf->stats_interval_ns || now_ns < report.next_ns)
		return;
	report.next_ns = now_ns + report.conf->stats_interval_ns;
	write_report(-1);
}

void ferry__report_work(void)
{
	if (is_asked())
		write_report(STDERR_FILENO);
}

static void ask(int sig)
{
	(void)sig;
	__atomic_store_n(&report.wanted, true, __ATOMIC_RELAXED);
	ferry__engine_want_work();
}

void ferry__report_init(const struct ferry__conf *conf)
{
	struct sigaction act = { .sa_handler = ask, .sa_flags = SA_RESTART };

	report.conf = conf;
	if (conf->stats_file)
		ferry__path_absolute(conf->stats_file, conf->stats_file_len,
				     report.path, sizeof(report.path));
	if (conf->stats_signal)
		ferry__sys->sigaction(SIGUSR2, &act, NULL);
}

void ferry__report_stop(void)
{
	report.stopped = true;
}

__attribute__((destructor)) static void at_exit(void)
{
	if (report.stopped)
		return;
	if (report.path[0] || (report.conf && report.conf->stats_exit))
		write_report(STDERR_FILENO);
}
