/* SPDX-License-Identifier: MIT */
/* preload_child.c: processes under an allocator, seen from both sides. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload.h"
#include "util.h"

extern char **environ;

/* --- from outside --------------------------------------------------------- */

static bool is_preload(const char *line)
{
	return !strncmp(line, "LD_PRELOAD=", strlen("LD_PRELOAD="));
}

/* The variable of "NAME=value" in @line. */
static bool same_variable(const char *line, const char *setting)
{
	size_t len = setting ? (size_t)(strchr(setting, '=') - setting) + 1 : 0;

	return setting && !strncmp(line, setting, len);
}

/* Free the array and, if there is one, its first string. */
static char **make_environment(const struct preload *p, const char *setting)
{
	size_t n = 0, count = 0;
	char **env;

	while (environ[count])
		count++;
	env = bench_alloc((count + 3) * sizeof(*env));
	if (p->library)
		env[n++] = bench_asprintf("LD_PRELOAD=%s", p->library);
	if (setting)
		env[n++] = (char *)setting;
	for (size_t i = 0; i < count; i++)
		if (!is_preload(environ[i]) &&
		    !same_variable(environ[i], setting))
			env[n++] = environ[i];
	return env;
}

static int spawn(const struct preload *p, const char *const argv[],
		 const char *setting, bool quiet, const int in[2],
		 const int out[2], pid_t *ret_pid)
{
	char **env = make_environment(p, setting);
	posix_spawn_file_actions_t fa;
	int rc;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, in[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&fa, out[1], STDOUT_FILENO);
	if (quiet)
		posix_spawn_file_actions_addopen(&fa, STDERR_FILENO,
						 "/dev/null", O_WRONLY, 0);
	rc = posix_spawnp(ret_pid, argv[0], &fa, NULL, (char *const *)argv,
			  env);
	posix_spawn_file_actions_destroy(&fa);
	if (p->library)
		free(env[0]);
	free(env);
	return -rc;
}

int preload_start(const struct preload *p, const char *const argv[],
		  const char *setting, bool quiet, struct preload_child *ret)
{
	int in[2], out[2];
	int rc;

	/* A socket: writing to one that has died is no signal. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) < 0)
		return -errno;
	if (pipe2(out, O_CLOEXEC) < 0) {
		rc = -errno;
		goto err_in;
	}
	rc = spawn(p, argv, setting, quiet, in, out, &ret->pid);
	close(out[1]);
	if (rc < 0)
		goto err_out;
	close(in[0]);
	ret->to = in[1];
	ret->from = out[0];
	return 0;

err_out:
	close(out[0]);
err_in:
	close(in[0]);
	close(in[1]);
	return rc;
}

bool preload_read_report(struct preload_child *c, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(c->from, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

int preload_nudge(struct preload_child *c)
{
	return send(c->to, "", 1, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int preload_wait(struct preload_child *c, struct rusage *ret_usage)
{
	int status = 0;

	close(c->to);
	close(c->from);
	while (wait4(c->pid, &status, 0, ret_usage) < 0 && errno == EINTR)
		;
	return status;
}

char *preload_end_text(int status)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		return bench_strdup("it took too long");
	if (WIFSIGNALED(status))
		return bench_asprintf("it was ended by: %s",
				      strsignal(WTERMSIG(status)));
	return bench_asprintf("it ended with status %d", WEXITSTATUS(status));
}

/* --- from within ---------------------------------------------------------- */

void preload_here(char *buf, size_t size)
{
	void *f = dlsym(RTLD_DEFAULT, "malloc");
	Dl_info info;

	if (!f || !dladdr(f, &info) || !info.dli_fname)
		info.dli_fname = "";
	snprintf(buf, size, "%s", info.dli_fname);
}

bool preload_report(const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(STDOUT_FILENO, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

int preload_probe_main(void)
{
	char where[PATH_MAX] = "";

	preload_here(where, sizeof(where));
	return preload_report(where, sizeof(where)) ? 0 : 1;
}

double preload_cpu(const struct rusage *u)
{
	return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
	       1e-6 * (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
}

size_t preload_peak_rss(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[128];
	size_t kb = 0;

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %zu", &kb) == 1)
			break;
	fclose(f);
	return kb * 1024;
}
