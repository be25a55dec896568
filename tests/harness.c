/* SPDX-License-Identifier: MIT */
/* The main of every test program: runs the tests and says what happened. */
#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

/* What a test tells its parent through memory that both see. */
struct verdict {
	bool skipped;
	char reason[512]; /* longer reasons are cut */
};

struct counts {
	unsigned int passed, failed, skipped;
};

static struct verdict *verdict;
static const char *running; /* name of the test in this process */
static uint64_t seed;
static double scale;

static double default_scale(void)
{
#ifdef FERRY_SANITIZE
	return 4;
#else
	return 1;
#endif
}

/* Also in programs that a test makes of itself, which have no harness. */
__attribute__((constructor)) static void read_scale(void)
{
	const char *s = getenv("FERRY_TEST_SCALE");

	scale = s ? strtod(s, NULL) : 0;
	if (!(scale > 0))
		scale = default_scale();
}

static void read_seed(void)
{
	const char *s = getenv("FERRY_TEST_SEED");

	if (s && *s)
		seed = strtoull(s, NULL, 0);
	else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = 1;
}

bool harness_thread_sanitized(void)
{
#ifdef FERRY_SANITIZE
	return strstr(FERRY_SANITIZE, "thread");
#else
	return false;
#endif
}

size_t harness_scaled(size_t n)
{
	size_t scaled = (size_t)((double)n / scale);

	return scaled ? scaled : 1;
}

double harness_patience(double seconds)
{
	return scale > 1 ? seconds * scale : seconds;
}

void harness_pause(void)
{
	struct timespec moment = { .tv_nsec = 1000000 };

	nanosleep(&moment, NULL);
}

#ifdef FERRY_SANITIZE
#undef pthread_create

struct thread_start {
	void *(*fn)(void *);
	void *arg;
	sem_t runs;
};

static void *thread_main(void *arg)
{
	struct thread_start *start = arg;
	void *(*fn)(void *) = start->fn;

	arg = start->arg;
	sem_post(&start->runs); /* it is gone after this */
	return fn(arg);
}

int harness_thread_create(pthread_t *ret_thread, const pthread_attr_t *attr,
			  void *(*fn)(void *), void *arg)
{
	struct thread_start start = { .fn = fn, .arg = arg };
	int r;

	sem_init(&start.runs, 0, 0);
	r = pthread_create(ret_thread, attr, thread_main, &start);
	while (r == 0 && sem_wait(&start.runs) < 0)
		; /* a signal came */
	sem_destroy(&start.runs);
	return r;
}
#endif

size_t harness_descriptors(void)
{
	size_t n = 0;
	int fd;

	for (fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

size_t harness_lines(const char *text)
{
	size_t n = 0;

	for (; (text = strchr(text, '\n')); text++)
		n++;
	return n;
}

uint64_t harness_seed(void)
{
	return seed;
}

struct random harness_random(void)
{
	uint64_t h = seed;
	const char *c;

	/* FNV-1a over the name: tests do not share their numbers. */
	for (c = running; c && *c; c++)
		h = (h ^ (unsigned char)*c) * 0x100000001b3u;
	return random_seeded(h);
}

/* Is @word one of the comma-separated @list? */
static bool listed(const char *list, const char *word, size_t len)
{
	size_t n;

	for (; list && *list; list += n + (list[n] == ',')) {
		n = strcspn(list, ",");
		if (n == len && !strncmp(list, word, len))
			return true;
	}
	return false;
}

static bool required(const char *feature)
{
	return listed(getenv("FERRY_REQUIRE"), feature, strlen(feature));
}

void harness_skip(const char *feature, const char *reason, ...)
{
	va_list ap;

	va_start(ap, reason);
	vsnprintf(verdict->reason, sizeof(verdict->reason), reason, ap);
	va_end(ap);
	if (required(feature))
		ck_abort_msg("%s is required here: %s", feature,
			     verdict->reason);
	verdict->skipped = true;
}

/*
 * Looks for the features that @test needs. Returns true when all are there;
 * else names the first missing one in @buf and why in @ret_reason.
 */
static bool has_needs(const struct test *test, char *buf, size_t size,
		      const char **ret_reason)
{
	const char *needs = test->needs;
	size_t n;

	for (; needs && *needs; needs += n + (needs[n] == ',')) {
		n = strcspn(needs, ",");
		snprintf(buf, size, "%.*s", (int)n, needs);
		if (!harness_feature(buf, ret_reason))
			return false;
	}
	return true;
}

static void report_failures(SRunner *runner, const char *name)
{
	int i, n = srunner_ntests_failed(runner);
	TestResult **failures = srunner_failures(runner);

	for (i = 0; i < n; i++)
		printf("FAIL %s: %s:%d: %s\n", name, tr_lfile(failures[i]),
		       tr_lno(failures[i]), tr_msg(failures[i]));
	free(failures);
}

/* Runs one test in a process of its own; returns true unless it failed. */
static bool run_in_check(const struct test *test, const char *name)
{
	double seconds = test->seconds > 0 ? test->seconds : 120;
	Suite *suite = suite_create("ferry");
	TCase *tc = tcase_create(name);
	SRunner *runner;
	bool ok;

	tcase_add_checked_fixture(tc, test->setup, test->teardown);
	tcase_set_timeout(tc, harness_patience(seconds));
	tcase_add_test(tc, *test->fn);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_SILENT);
	ok = !srunner_ntests_failed(runner);
	if (!ok)
		report_failures(runner, name);
	srunner_free(runner);
	return ok;
}

static void run_with_needs(const struct test *test, const char *name,
			   struct counts *counts)
{
	memset(verdict, 0, sizeof(*verdict));
	running = name;
	if (!run_in_check(test, name)) {
		counts->failed++;
	} else if (verdict->skipped) {
		printf("SKIP %s: %s\n", name, verdict->reason);
		counts->skipped++;
	} else {
		printf("ok %s\n", name);
		counts->passed++;
	}
}

static void run(const struct test *test, struct counts *counts)
{
	const char *name = (*test->fn)->name;
	const char *reason = "";
	char feature[64];

	if (has_needs(test, feature, sizeof(feature), &reason)) {
		run_with_needs(test, name, counts);
	} else if (required(feature)) {
		printf("FAIL %s: %s is required here: %s\n", name, feature,
		       reason);
		counts->failed++;
	} else {
		printf("SKIP %s: no %s: %s\n", name, feature, reason);
		counts->skipped++;
	}
}

static bool wanted(int argc, char **argv, const char *name)
{
	int i;

	for (i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc < 2;
}

static int list(const struct test *tests, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		printf("%s%s%s\n", (*tests[i].fn)->name,
		       tests[i].needs ? " needs " : "",
		       tests[i].needs ? tests[i].needs : "");
	return 0;
}

/*
 * Check's handler of SIGALRM kills the process group of its child, which in a
 * child of that child would be its own: alarm() there is to end it alone.
 */
static void forget_alarm(void)
{
	signal(SIGALRM, SIG_DFL);
}

static const char *program_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	/* What libtool runs from its folder of objects. */
	return strncmp(name, "lt-", 3) ? name : name + 3;
}

/*
 * ThreadSanitizer asks this before main(): children that start threads go on,
 * as heaps do in the child of a fork. What it says about them is less certain
 * then, but it finds what goes wrong in the parent.
 */
const char *__tsan_default_options(void);

__attribute__((no_sanitize("thread"), visibility("default"))) const char *
__tsan_default_options(void)
{
	return "die_after_fork=0";
}

int harness_main(int argc, char **argv, const struct test *tests, size_t n)
{
	const char *program = program_name(argv[0]);
	struct counts counts = { 0 };
	size_t i;

	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list(tests, n);
	/* Line by line, so that a hang shows where, and forks print once. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	read_seed();
	pthread_atfork(NULL, NULL, forget_alarm);
	printf("SEED %s %llu\n", program, (unsigned long long)seed);
	verdict = mmap(NULL, sizeof(*verdict), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (verdict == MAP_FAILED) {
		printf("FAIL %s: mmap: %s\n", program, strerror(errno));
		return 1;
	}
	for (i = 0; i < n; i++)
		if (wanted(argc, argv, (*tests[i].fn)->name))
			run(&tests[i], &counts);
	munmap(verdict, sizeof(*verdict));
	printf("RESULT %s %u %u %u\n", program, counts.passed, counts.failed,
	       counts.skipped);
	if (counts.failed || !(counts.passed + counts.skipped))
		return 1;
	return counts.passed ? 0 : 77;
}
