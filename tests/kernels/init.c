/* SPDX-License-Identifier: MIT */
/*
 * First process of the kernel matrix's guests: mounts what the tests need,
 * runs the programs that /ferry/programs names, reports, powers off.
 *
 * The report goes to the second serial line, so that the kernel's own
 * messages, on the first one, never cut a line of it in two. The lines that
 * this program writes begin with "ferry-init: "; report.awk reads them:
 *
 *	ferry-init: kernel RELEASE
 *	ferry-init: node NUMBER cpus LIST memory KIB
 *	ferry-init: start PROGRAM
 *	ferry-init: done PROGRAM exit STATUS | signal NUMBER | timeout SECONDS
 *	ferry-init: taint PROGRAM MASK		(the program's run set these bits)
 *	ferry-init: time PROGRAM MILLISECONDS
 *	ferry-init: end				(absent: the guest died)
 *
 * The kernel hands the NAME=VALUE words of its command line to this process
 * as its environment, and the tests inherit it.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ROOT "/ferry"

/* How long a killed program may take to go before it is called stuck. */
#define REAP_SECONDS 10

struct outcome {
	bool timed_out;
	bool stuck;  /* survived SIGKILL: it hangs inside the kernel */
	int status;  /* as wait(2) gives it, when neither of the above */
	long millis; /* wall time of the guest */
};

static void report(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

static void report(const char *format, ...)
{
	va_list args;

	fputs("ferry-init: ", stdout);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

static long now_millis(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

static void mount_one(const char *type, const char *where)
{
	mkdir(where, 0755);
	if (mount(type, where, type, 0, NULL) && errno != EBUSY)
		report("warning: mount %s: %s", where, strerror(errno));
}

static void mount_all(void)
{
	mount_one("proc", "/proc");
	mount_one("sysfs", "/sys");
	mount_one("cgroup2", "/sys/fs/cgroup");
	mount_one("devtmpfs", "/dev");
	mount_one("tmpfs", "/tmp");
	mkdir("/dev/shm", 01777);
	mount_one("tmpfs", "/dev/shm");
	mount_one("tmpfs", "/run");
}

/* 127.0.0.1, where servers of the tests listen, or nobody does. */
static void raise_loopback(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo))
		report("warning: loopback: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Standard output and error become the report line, input becomes empty. */
static void redirect(void)
{
	struct termios raw;
	int in = open("/dev/null", O_RDONLY);
	int out = open("/dev/ttyS1", O_WRONLY | O_NOCTTY);

	if (in < 0 || out < 0)
		return;
	if (!tcgetattr(out, &raw)) {
		cfmakeraw(&raw);
		cfsetspeed(&raw, B115200);
		tcsetattr(out, TCSANOW, &raw);
	}
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	if (in > STDERR_FILENO)
		close(in);
	if (out > STDERR_FILENO)
		close(out);
}

static bool read_line(const char *path, char *line, int size)
{
	FILE *file = fopen(path, "re");
	bool ok;

	if (!file)
		return false;
	ok = fgets(line, size, file);
	fclose(file);
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	return ok;
}

static void write_line(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		report("warning: %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Calls each with every line of the file that is neither empty nor remark. */
static void for_each_line(const char *path, void (*each)(char *line))
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;

	if (!file)
		return;
	while (getline(&line, &size, file) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] && line[0] != '#')
			each(line);
	}
	free(line);
	fclose(file);
}

static void load_module(char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
		report("warning: module %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static long node_kib(int node)
{
	char path[64];
	char line[128];
	long kib = 0;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo",
		 node);
	if (read_line(path, line, sizeof(line)))
		sscanf(line, "Node %*d MemTotal: %ld", &kib);
	return kib;
}

/* The guests number their nodes from 0 without gaps. */
static void describe(void)
{
	struct utsname names;
	char path[64];
	char cpus[128];

	uname(&names);
	report("kernel %s", names.release);
	for (int node = 0;; node++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/cpulist", node);
		if (access(path, R_OK))
			break;
		if (!read_line(path, cpus, sizeof(cpus)) || !cpus[0])
			strcpy(cpus, "-");
		report("node %d cpus %s memory %ld", node, cpus,
		       node_kib(node));
	}
}

static unsigned long taint(void)
{
	char line[32];

	if (!read_line("/proc/sys/kernel/tainted", line, sizeof(line)))
		return 0;
	return strtoul(line, NULL, 10);
}

static void multiply_scale(long by)
{
	const char *scale = getenv("FERRY_TEST_SCALE");
	char text[32];

	snprintf(text, sizeof(text), "%ld",
		 by * (scale ? strtol(scale, NULL, 10) : 1));
	setenv("FERRY_TEST_SCALE", text, 1);
}

static pid_t spawn(char **argv, long slow)
{
	pid_t pid = fork();
	sigset_t none;

	if (pid)
		return pid;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	multiply_scale(slow);
	execv(argv[0], argv);
	fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/*
 * Reaps everything that dies, orphans too, until @pid does or @deadline
 * passes. A pid of -1 waits until no child is left. True when it is done.
 */
static bool reap(pid_t pid, long deadline, int *ret_status)
{
	struct timespec tick = { .tv_nsec = 100000000 };
	sigset_t child;
	int status;
	pid_t dead;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	for (;;) {
		while ((dead = waitpid(-1, &status, WNOHANG)) > 0) {
			if (dead != pid)
				continue;
			*ret_status = status;
			return true;
		}
		if (dead < 0 && errno == ECHILD)
			return pid == -1;
		if (now_millis() > deadline)
			return false;
		sigtimedwait(&child, NULL, &tick);
	}
}

/* The first process is spared by kill(-1), so this ends all that is left. */
static bool kill_rest(void)
{
	int ignored;

	kill(-1, SIGKILL);
	return reap(-1, now_millis() + REAP_SECONDS * 1000L, &ignored);
}

static struct outcome run(char **argv, long seconds, long slow)
{
	struct outcome out = { 0 };
	long start = now_millis();
	pid_t pid = spawn(argv, slow);

	out.timed_out = !reap(pid, start + seconds * 1000, &out.status);
	if (out.timed_out) {
		/* Stacks of blocked tasks, into the kernel's log. */
		write_line("/proc/sysrq-trigger", "w");
	}
	out.stuck = !kill_rest();
	out.millis = now_millis() - start;
	return out;
}

/* The tests' last line may lack its newline: begin a fresh one. */
static void report_outcome(const char *program, const struct outcome *out,
			   long seconds)
{
	putchar('\n');
	report("time %s %ld", program, out->millis);
	if (out->timed_out)
		report("done %s timeout %ld", program, seconds);
	else if (WIFSIGNALED(out->status))
		report("done %s signal %d", program, WTERMSIG(out->status));
	else
		report("done %s exit %d", program, WEXITSTATUS(out->status));
	if (out->stuck)
		report("warning: %s left a process that cannot be killed",
		       program);
}

/* The words of @line, with a NULL behind the last; for the caller to free. */
static char **split(char *line)
{
	char **words = calloc(strlen(line) / 2 + 2, sizeof(*words));
	char *word;
	size_t n = 0;

	if (!words)
		return NULL;
	for (word = strtok(line, " "); word; word = strtok(NULL, " "))
		words[n++] = word;
	return words;
}

/* Does this guest run it? By its last name; without a list all are run. */
static bool is_wanted(const char *path)
{
	const char *list = getenv("FERRY_PROGRAMS");
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	size_t n = strlen(name);

	if (!list)
		return true;
	for (; list; list = strchr(list, ',')) {
		list += *list == ',';
		if (!strncmp(list, name, n) && (!list[n] || list[n] == ','))
			return true;
	}
	return false;
}

/*
 * A line is "SECONDS SLOW PROGRAM [ARGUMENT]...": its time limit, by how much
 * FERRY_TEST_SCALE is multiplied for it, and the program as its path in the
 * build tree, which begins at ROOT here.
 */
static void run_line(char *line)
{
	char **words = split(line);
	unsigned long fresh, before = taint();
	struct outcome out;
	char *name, *path;
	long seconds;

	if (!words || !words[0] || !words[1] || !words[2] ||
	    !is_wanted(words[2]))
		goto out;
	seconds = strtol(words[0], NULL, 10);
	name = words[2];
	if (asprintf(&path, "%s/%s", ROOT, name) < 0)
		goto out;
	words[2] = path;
	report("start %s", name);
	out = run(words + 2, seconds, strtol(words[1], NULL, 10));
	report_outcome(name, &out, seconds);
	fresh = taint() & ~before;
	if (fresh)
		report("taint %s %lu", name, fresh);
	free(path);
out:
	free(words);
}

static void prepare(void)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	setenv("PATH", "/bin", 1);
	setenv("HOME", "/tmp", 1);
	setenv("LD_LIBRARY_PATH", "/lib", 1);
	chdir("/tmp");
	write_line("/proc/sys/kernel/hung_task_timeout_secs", "60");
}

int main(void)
{
	mount_all();
	redirect();
	raise_loopback();
	describe();
	for_each_line("/modules/order", load_module);
	prepare();
	for_each_line(ROOT "/programs", run_line);
	report("end");
	tcdrain(STDOUT_FILENO);
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
