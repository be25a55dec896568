/* SPDX-License-Identifier: MIT */
/*
 * What the malloc makes of its configuration, in whole programs: this one,
 * begun anew with FERRY_MALLOC_CONF, does what its arguments say.
 */
#include <ferry/topology.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ferry/malloc.h>

#include "tests/again.h"
#include "tests/harness.h"

/* Where the malloc is not built these are NULL, and the tests skip. */
#pragma weak ferry_malloc_stats
#pragma weak ferry_hint_cold
#pragma weak ferry_hint_hot
#pragma weak ferry_hint_none
#pragma weak ferry_hint_pin

#define OFFLOAD "malloc,move,kernel_faults"
#define EAGER                                                                  \
	"min_heap:0,cold_after:20ms,idle_after:20ms,rate:0,refault_limit:0,"
#define MIB    ((size_t)1 << 20)
#define NOBODY 65534

/* --- the program that is begun ------------------------------------------- */

static unsigned char *block;
#define BLOCK (8 * MIB)

/* @noise: does not compress. */
static unsigned char byte_at(size_t i, bool noise)
{
	uint32_t x = (uint32_t)i * 2654435761u;

	return (unsigned char)(noise ? x >> 13 ^ x >> 24 : i / 512);
}

static void fill(bool noise)
{
	size_t i;

	block = malloc(BLOCK);
	for (i = 0; i < BLOCK; i++)
		block[i] = byte_at(i, noise);
}

static int verify(bool noise)
{
	size_t i;

	for (i = 0; i < BLOCK; i++)
		if (block[i] != byte_at(i, noise))
			return 3;
	return 0;
}

static struct ferry_malloc_stats stats(void)
{
	struct ferry_malloc_stats s = FERRY_INIT(struct ferry_malloc_stats);

	if (ferry_malloc_stats(&s))
		abort();
	return s;
}

/* Until something is in a store, or never will be. */
static void rest(void)
{
	AWAIT(stats().stored || stats().reason);
}

static int use(void)
{
	fill(false);
	rest();
	return verify(false);
}

/* Do the statistics say that a store has refused pages? */
static bool has_refused(void)
{
	int fds[2], stderr_fd = dup(STDERR_FILENO);
	char text[4096];
	ssize_t n;

	if (stderr_fd < 0 || pipe(fds))
		abort();
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	malloc_stats();
	dup2(stderr_fd, STDERR_FILENO);
	close(stderr_fd);
	n = read(fds[0], text, sizeof(text) - 1);
	close(fds[0]);
	text[n > 0 ? n : 0] = '\0';
	return strstr(text, "store0 ") && !strstr(text, " refused 0 ");
}

static int use_noise(void)
{
	fill(true);
	rest();
	AWAIT(has_refused());
	malloc_stats();
	return verify(true);
}

static int only_run(void)
{
	fill(false);
	return verify(false);
}

static int print_stats(void)
{
	fill(false);
	rest();
	malloc_stats();
	malloc_info(0, stderr);
	return verify(false);
}

static int as_nobody(void)
{
	if (setgid(NOBODY) || setuid(NOBODY))
		return 4;
	fill(false);
	return verify(false);
}

static void *spin(void *arg)
{
	volatile bool *for_ever = arg;

	while (*for_ever)
		;
	return NULL;
}

/* One thread is in a loop, the other waits for a lock that it has itself. */
static int hang(void)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	volatile bool for_ever = true;
	pthread_t thread;

	fill(false);
	if (pthread_create(&thread, NULL, spin, (void *)&for_ever))
		return 4;
	pthread_mutex_lock(&lock);
	pthread_mutex_lock(&lock);
	return 5;
}

static int sleep_for_ever(void)
{
	fill(false);
	while (pause())
		;
	return 5;
}

static int raise_usr2(void)
{
	fill(false);
	rest();
	raise(SIGUSR2);
	while (block) {
		free(malloc(MIB / 8));
		harness_pause();
	}
	return 5;
}

static const struct again programs[] = {
	{ "use", use },
	{ "use_noise", use_noise },
	{ "only_run", only_run },
	{ "print_stats", print_stats },
	{ "as_nobody", as_nobody },
	{ "hang", hang },
	{ "sleep_for_ever", sleep_for_ever },
	{ "raise_usr2", raise_usr2 },
};

/* --- who begins it ------------------------------------------------------- */

static char folder[64];

static void setup(void)
{
	strcpy(folder, "/tmp/ferry-settings-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void teardown(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/file", folder);
	unlink(path);
	rmdir(folder);
}

static void kill_it(pid_t pid, int fd)
{
	kill(pid, SIGKILL);
	again_hear(pid, fd);
}

static void assert_said(const char *what)
{
	ck_assert_msg(strstr(again_said, what) != NULL, "no \"%s\" in \"%s\"",
		      what, again_said);
}

/* --- bad values ---------------------------------------------------------- */

static const char *const bad[] = {
	"cold_after:soon",
	"cold_after:-1s",
	"cold_after:",
	"cold_after:5",
	"cold_after:5 s",
	"cold_after:99999999999999999999s",
	"cold_after:99999999999h",
	"idle_after:1e3s",
	"rss_target:-5",
	"rss_target:1q",
	"rss_target:99999999999999999999999",
	"rss_target:99999999999t",
	"rate:",
	"rate:fast",
	"pressure:maybe",
	"offload:perhaps",
	"refault_limit:x",
	"around:many",
	"min_heap:-1",
	"store:tape",
	"store:",
	"store:file=",
	"store:node=",
	"store:node=x",
	"store:node=99999999999",
	"store:redis=",
	"codec:gz",
	"store_limit:all",
	"stats_exit:2",
	"stats_signal:",
	"stats_file:",
	"stats_interval:often",
	"control:",
	"colour:red",
	"Cold_after:1s",
	"nonsense",
	":",
	":5",
};

START_TEST(what_is_wrong_is_named_once_and_the_program_goes_on)
{
	char conf[4096] = "", word[128];
	size_t i, twice;

	for (twice = 0; twice < 2; twice++)
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			strcat(conf, bad[i]);
			strcat(conf, ",");
		}
	ck_assert_int_eq(again_run(conf, "only_run"), 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(word, sizeof(word), "\"%s\"\n", bad[i]);
		assert_said(word);
	}
	ck_assert_uint_eq(harness_lines(again_said), ARRAY_SIZE(bad));
}
END_TEST

START_TEST(what_is_empty_says_nothing)
{
	ck_assert_int_eq(again_run("", "only_run"), 0);
	ck_assert_str_eq(again_said, "");
	ck_assert_int_eq(again_run(",,,", "only_run"), 0);
	ck_assert_str_eq(again_said, "");
}
END_TEST

START_TEST(a_word_longer_than_a_line_is_cut)
{
	char conf[9000];

	memset(conf, 'x', sizeof(conf));
	conf[sizeof(conf) - 1] = '\0';
	ck_assert_int_eq(again_run(conf, "only_run"), 0);
	ck_assert_uint_eq(harness_lines(again_said), 1);
	ck_assert_uint_lt(strlen(again_said), 300);
}
END_TEST

static const char *const extreme[] = {
	"rate:1",
	"rate:16383t",
	"rate:18446744073709551615",
	"around:0",
	"around:18446744073709551615",
	"refault_limit:18446744073709551615",
	"rss_target:1",
	"rss_target:18446744073709551615",
	"cold_after:0,idle_after:0",
	"cold_after:5000000h,idle_after:5000000h",
	"store_limit:1",
	"store_limit:18446744073709551615",
	"stats_interval:1ns",
	"min_heap:18446744073709551615",
	"store:memory@5000000h",
};

/* The value that comes last counts. */
START_TEST(values_at_the_limits_are_taken)
{
	char conf[512];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(extreme); i++) {
		snprintf(conf, sizeof(conf), EAGER "%s", extreme[i]);
		ck_assert_msg(again_run(conf, "only_run") == 0, "%s: %s",
			      extreme[i], again_said);
		ck_assert_str_eq(again_said, "");
	}
}
END_TEST

/* --- stores that cannot be had ------------------------------------------- */

/* @store is named with its error, and pages go to the usual ones. */
static void assert_refused(const char *store, int error)
{
	char conf[512];

	snprintf(conf, sizeof(conf), EAGER "store:%s", store);
	ck_assert_msg(again_run(conf, "use") == 0, "%s: %s", store, again_said);
	assert_said("ferry-malloc: the store ");
	assert_said(strerror(error));
	ck_assert_uint_eq(harness_lines(again_said), 1);
}

START_TEST(stores_that_cannot_be_had_are_named_and_others_used)
{
	char store[256];
	int fd;

	assert_refused("file=/no/such/folder/file", ENOENT);
	assert_refused("file=/dev/null/file", ENOTDIR);
	snprintf(store, sizeof(store), "file=%s/file", folder);
	fd = open(store + strlen("file="), O_CREAT | O_WRONLY, 0600);
	ck_assert_int_eq(write(fd, "mine", 4), 4);
	close(fd);
	assert_refused(store, EEXIST);
	assert_refused("node=4000", EINVAL);
}
END_TEST

START_TEST(slow_memory_that_is_not_there_is_named)
{
	/* Kernels may tell of tiers that no feature is about. */
	struct ferry_topology *top;
	unsigned int tiers = 1;

	if (!ferry_topology_get(NULL, &top)) {
		tiers = ferry_topology_tiers(top);
		ferry_topology_free(top);
	}
	if (tiers > 1)
		SKIP("one_tier", "this machine has several tiers of memory");
	assert_refused("slow", EOPNOTSUPP);
}
END_TEST

/* However long its name is. */
START_TEST(a_store_with_a_long_name_is_named_with_its_error)
{
	char conf[1200], *end;

	end = stpcpy(conf, EAGER "store:file=/nowhere");
	while (end < conf + 1000)
		end = stpcpy(end, "/folder");
	ck_assert_int_eq(again_run(conf, "use"), 0);
	assert_said(strerror(ENOENT));
	ck_assert_uint_eq(harness_lines(again_said), 1);
}
END_TEST

START_TEST(servers_that_cannot_be_had_are_named_and_others_used)
{
	char store[256];

	snprintf(store, sizeof(store), "redis=%s/none", folder);
	assert_refused(store, ENOENT);
	assert_refused("redis=127.0.0.1:1", ECONNREFUSED);
}
END_TEST

START_TEST(a_password_is_shown_to_nobody)
{
	char conf[512];

	assert_refused("redis=redis://:secret@127.0.0.1:1", ECONNREFUSED);
	assert_said("\"redis redis://:***@127.0.0.1:1\"");
	assert_refused("redis=redis://me:sec/ret@127.0.0.1:1/3", ECONNREFUSED);
	assert_said("\"redis redis://me:***@127.0.0.1:1/3\"");
	snprintf(conf, sizeof(conf),
		 EAGER "store:redis=unix://me:secret@%s/none", folder);
	ck_assert_int_eq(again_run(conf, "print_stats"), 0);
	assert_said("running yes\n");
	assert_said("</malloc>");
	ck_assert_ptr_null(strstr(again_said, "secret"));
}
END_TEST

/* --- statistics ---------------------------------------------------------- */

START_TEST(every_store_is_in_the_statistics)
{
	char conf[512];

	ck_assert_int_eq(
		again_run(EAGER "store:memory,store:zstd@1h", "print_stats"),
		0);
	assert_said("running yes\n");
	assert_said("store0 memory pages ");
	assert_said("store1 memory pages ");
	assert_said("</malloc>");
	snprintf(conf, sizeof(conf), EAGER "store:file=%s", folder);
	ck_assert_int_eq(again_run(conf, "print_stats"), 0);
	assert_said("store0 file");
	assert_said("</malloc>");
}
END_TEST

/* Nothing that is written to a full disk is lost: it stays in memory. */
START_TEST(a_full_disk_takes_no_more)
{
	char conf[512];

	if (syscall(SYS_unshare, CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("ferry", folder, "tmpfs", 0, "size=1m"))
		SKIP("root", "nothing can be mounted: %s", strerror(errno));
	snprintf(conf, sizeof(conf), EAGER "store:file=%s", folder);
	ck_assert_int_eq(again_run(conf, "use_noise"), 0);
	umount(folder);
	assert_said("store0 file");
	ck_assert_msg(!strstr(again_said, " refused 0 "), "%s", again_said);
	ck_assert_msg(!strstr(again_said, " pages 0 "), "%s", again_said);
}
END_TEST

START_TEST(without_rights_the_statistics_say_why)
{
	ck_assert_int_eq(again_run(EAGER "stats_exit:on", "as_nobody"), 0);
	assert_said("running no (");
	ck_assert_ptr_null(strstr(again_said, "heap is small"));
	assert_said("allocated ");
	assert_said("resident ");
}
END_TEST

START_TEST(what_is_resident_is_told_without_a_pager)
{
	ck_assert_int_eq(again_run("offload:off,stats_exit:on", "only_run"), 0);
	assert_said("running no (");
	assert_said("\nresident ");
}
END_TEST

/* What is asked of the socket at @path; false: nobody is there yet. */
static bool ask(const char *path, const char *request, char *buf, size_t size)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	size_t len = 0;
	ssize_t n = 0;

	strcpy(name.sun_path, path);
	if (!connect(fd, (struct sockaddr *)&name, sizeof(name)))
		(void)!send(fd, request, strlen(request), MSG_NOSIGNAL);
	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = '\0';
	close(fd);
	return len;
}

START_TEST(a_program_that_hangs_answers_at_its_socket)
{
	char conf[256], path[128], answer[8192];
	pid_t pid;
	int fd;

	snprintf(path, sizeof(path), "%s/socket", folder);
	snprintf(conf, sizeof(conf), EAGER "control:%s", path);
	pid = again_begin(conf, "hang", &fd);
	do {
		AWAIT(ask(path, "stats\n", answer, sizeof(answer)));
	} while (!strstr(answer, "running yes") ||
		 strstr(answer, "\nstored 0\n"));
	AWAIT(ask(path, "back\n", answer, sizeof(answer)));
	ck_assert_str_eq(answer, "ok\n");
	AWAIT(ask(path, "stats\n", answer, sizeof(answer)));
	ck_assert_ptr_nonnull(strstr(answer, "\nstored 0\n"));
	kill_it(pid, fd);
	unlink(path);
}
END_TEST

START_TEST(statistics_are_written_at_an_interval)
{
	char conf[256], path[128];
	unsigned int i;
	pid_t pid;
	int fd;

	snprintf(path, sizeof(path), "%s/file", folder);
	snprintf(conf, sizeof(conf), EAGER "stats_interval:50ms,stats_file:%s",
		 path);
	pid = again_begin(conf, "sleep_for_ever", &fd);
	for (i = 0; i < 3; i++)
		AWAIT(!unlink(path));
	kill_it(pid, fd);
}
END_TEST

START_TEST(a_signal_is_the_programs_unless_asked_for)
{
	int status = again_run(EAGER "stats_exit:on", "raise_usr2");

	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGUSR2);
}
END_TEST

START_TEST(statistics_come_after_a_signal_where_asked_for)
{
	char text[8192] = "";
	size_t len = 0;
	ssize_t n;
	pid_t pid;
	int fd;

	pid = again_begin(EAGER "stats_signal:on", "raise_usr2", &fd);
	do {
		n = read(fd, text + len, sizeof(text) - 1 - len);
		ck_assert_int_gt(n, 0);
		len += (size_t)n;
		text[len] = '\0';
	} while (!strstr(text, "running yes\n") || !strstr(text, "\nstored "));
	kill_it(pid, fd);
}
END_TEST

/* --- errno --------------------------------------------------------------- */

static void *volatile sink;

#define KEEPS(call)                                                            \
	do {                                                                   \
		errno = 77;                                                    \
		call;                                                          \
		ck_assert_msg(errno == 77, "%s: errno %d", #call, errno);      \
	} while (0)

static void one_size_keeps(size_t size)
{
	void *p, *q = NULL;

	KEEPS(sink = p = malloc(size));
	KEEPS(p = realloc(p, size * 2 + 100));
	KEEPS(p = realloc(p, size / 2 + 1));
	KEEPS(p = reallocarray(p, 3, size));
	KEEPS(malloc_usable_size(p));
	KEEPS(free(p));
	KEEPS(sink = p = calloc(3, size));
	KEEPS(free(p));
	KEEPS(sink = p = aligned_alloc(64, size));
	KEEPS(free(p));
	KEEPS(sink = p = memalign(4096, size));
	KEEPS(free(p));
	KEEPS(sink = p = valloc(size));
	KEEPS(free(p));
	KEEPS(sink = p = pvalloc(size));
	KEEPS(free(p));
	KEEPS((void)!posix_memalign(&q, 64, size));
	KEEPS(free(q));
	KEEPS((void)!posix_memalign(&q, 3, size));
	KEEPS((void)!posix_memalign(&q, 64, (size_t)-1 - size));
}

START_TEST(every_call_that_succeeds_keeps_errno)
{
	struct ferry_malloc_stats s = FERRY_INIT(struct ferry_malloc_stats);
	FILE *null = fopen("/dev/null", "w");
	size_t size;
	void *p;

	setvbuf(null, NULL, _IONBF, 0);
	for (size = 1; size <= 64 * MIB; size *= 4)
		one_size_keeps(size);
	p = malloc(MIB);
	KEEPS(mallinfo2());
	KEEPS(mallopt(M_TRIM_THRESHOLD, 1));
	KEEPS(malloc_info(0, null));
	KEEPS(malloc_trim(0));
	KEEPS(ferry_malloc_stats(&s));
	KEEPS(ferry_hint_hot(p, MIB));
	KEEPS(ferry_hint_pin(p, MIB));
	KEEPS(ferry_hint_none(p, MIB));
	KEEPS(ferry_hint_cold(p, MIB));
	KEEPS(free(p));
	fclose(null);
}
END_TEST

#define SETTING_TEST(name, needs) TEST_FIXTURE(name, needs, setup, teardown)

static const struct test tests[] = {
	TEST(what_is_wrong_is_named_once_and_the_program_goes_on, "malloc"),
	TEST(what_is_empty_says_nothing, "malloc"),
	TEST(a_word_longer_than_a_line_is_cut, "malloc"),
	TEST(values_at_the_limits_are_taken, "malloc"),
	SETTING_TEST(stores_that_cannot_be_had_are_named_and_others_used,
		     OFFLOAD),
	SETTING_TEST(slow_memory_that_is_not_there_is_named, OFFLOAD),
	TEST(a_store_with_a_long_name_is_named_with_its_error, OFFLOAD),
	SETTING_TEST(servers_that_cannot_be_had_are_named_and_others_used,
		     OFFLOAD ",redis_server"),
	SETTING_TEST(a_password_is_shown_to_nobody, OFFLOAD ",redis_server"),
	SETTING_TEST(every_store_is_in_the_statistics, OFFLOAD),
	SETTING_TEST(a_full_disk_takes_no_more, OFFLOAD ",root"),
	TEST(without_rights_the_statistics_say_why, "malloc,root"),
	TEST(what_is_resident_is_told_without_a_pager, "malloc"),
	SETTING_TEST(a_program_that_hangs_answers_at_its_socket, OFFLOAD),
	SETTING_TEST(statistics_are_written_at_an_interval, OFFLOAD),
	TEST(a_signal_is_the_programs_unless_asked_for, OFFLOAD),
	TEST(statistics_come_after_a_signal_where_asked_for, OFFLOAD),
	TEST(every_call_that_succeeds_keeps_errno, "malloc"),
};

int main(int argc, char **argv)
{
	int status;

	if (again_main(argc, argv, programs, ARRAY_SIZE(programs), &status))
		return status;
	return HARNESS_MAIN(argc, argv, tests);
}
