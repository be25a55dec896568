/* SPDX-License-Identifier: MIT */
/*
 * Programs that know each byte of their heap (heap_model.h), while all that
 * they do not touch for 50 ms is taken away: with threads that come and go,
 * with forks from any of them and forks of forks, and with rests in which
 * everything goes out.
 *
 * Each runs as a process of its own, started anew, so that the malloc reads
 * its settings and nothing of Check is in the heap. FERRY_STRESS_STOP=1 leaves
 * a process that went wrong or hangs for a debugger.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <ferry/malloc.h>

#include "tests/harness.h"
#include "tests/heap_model.h"

/* Where the malloc is not built this is NULL, and the tests skip. */
#pragma weak ferry_malloc_stats

#define SETTING                                                                \
	"cold_after:50ms,idle_after:50ms,min_heap:0,rate:0,"                   \
	"refault_limit:0,stats_interval:200ms,stats_file:"

enum {
	THREADS = 4,
	BLOCKS = 5000,
	CHILDREN = 4,	   /* at a time, of one process */
	DEPTH = 2,	   /* of forks of forks */
	STEPS = 20000,	   /* of a thread at most */
	CHILD_STEPS = 500, /* the same in a child: its parent waits */
};

/* What a program does. */
enum {
	WITH_THREADS = 1,
	WITH_FORKS = 2,
	WITH_RESTS = 4,
};

extern char **environ;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void rest(struct random *rng)
{
	usleep(60000 + random_below(rng, 150000));
}

/* --- the program --------------------------------------------------------- */

static struct heap_model *model;
static int doing;
/* Relaxed: wishes, which carry no data. */
static atomic_bool resting, ending;
static atomic_size_t forks, verified;

struct worker {
	pthread_t thread;
	atomic_bool done;
	bool running;
	struct random rng;
	size_t steps;
	int depth;
};

static void have_child(struct random *rng, int depth, pid_t *pids);

static bool is_set(const atomic_bool *wish)
{
	return atomic_load_explicit(wish, memory_order_relaxed);
}

static void verify_all(void)
{
	atomic_fetch_add_explicit(&verified, heap_model_verify(model),
				  memory_order_relaxed);
}

static void collect(pid_t pid)
{
	int status;

	heap_model_need(waitpid(pid, &status, 0) == pid, "waitpid");
	if (!WIFEXITED(status)) {
		dprintf(STDERR_FILENO, "child %d of %d: signal %d\n", (int)pid,
			(int)getpid(), WTERMSIG(status));
		_exit(HEAP_MODEL_WRONG);
	}
	if (WEXITSTATUS(status))
		_exit(WEXITSTATUS(status));
}

static void collect_all(pid_t *pids)
{
	for (size_t i = 0; i < CHILDREN; i++) {
		if (pids[i])
			collect(pids[i]);
		pids[i] = 0;
	}
}

static void work(struct random *rng, int depth, size_t steps)
{
	pid_t pids[CHILDREN] = { 0 };

	while (steps-- && !is_set(&ending)) {
		while (is_set(&resting) && !is_set(&ending))
			usleep(1000);
		heap_model_step(model, rng);
		if (doing & WITH_FORKS && !random_below(rng, 1000))
			have_child(rng, depth, pids);
	}
	collect_all(pids);
}

static void *worker_runs(void *arg)
{
	struct worker *worker = arg;

	work(&worker->rng, worker->depth, worker->steps);
	/* W1 pairs with W2: whoever sees it may join without waiting. */
	atomic_store_explicit(&worker->done, true, memory_order_release);
	return NULL;
}

static void start(struct worker *worker, struct random *rng, int depth,
		  size_t most_steps)
{
	worker->rng = random_seeded(random_next(rng));
	worker->steps = 1 + random_below(rng, most_steps);
	worker->depth = depth;
	atomic_store_explicit(&worker->done, false, memory_order_relaxed);
	heap_model_need(
		!pthread_create(&worker->thread, NULL, worker_runs, worker),
		"pthread_create");
	worker->running = true;
}

/* --- children ------------------------------------------------------------ */

static void run_in_child(struct random *rng, int depth)
{
	struct worker worker = { .running = false };

	/* Wishes of threads that are not here. */
	atomic_store_explicit(&resting, false, memory_order_relaxed);
	atomic_store_explicit(&ending, false, memory_order_relaxed);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (random_below(rng, 2))
		verify_all();
	if (!random_below(rng, 3))
		start(&worker, rng, depth, CHILD_STEPS);
	work(rng, depth, random_below(rng, CHILD_STEPS));
	if (!random_below(rng, 3)) {
		rest(rng);
		verify_all();
	}
	if (worker.running)
		pthread_join(worker.thread, NULL);
}

/* The child can use whatever block no other thread held just now. */
static pid_t fork_one(struct random *rng, int depth)
{
	struct random theirs = random_seeded(random_next(rng));
	pid_t pid = fork();

	heap_model_need(pid >= 0, "fork");
	if (pid)
		return pid;
	run_in_child(&theirs, depth + 1);
	if (random_below(&theirs, 2))
		exit(0);
	_exit(0);
}

static pid_t spawn_one(void)
{
	char *argv[] = { (char *)"true", NULL };
	pid_t pid;

	heap_model_need(!posix_spawnp(&pid, "true", NULL, NULL, argv, environ),
			"posix_spawn");
	return pid;
}

static void have_child(struct random *rng, int depth, pid_t *pids)
{
	size_t i = random_below(rng, CHILDREN);

	if (depth >= DEPTH)
		return;
	if (pids[i])
		collect(pids[i]);
	pids[i] = random_below(rng, 4) ? fork_one(rng, depth) : spawn_one();
	atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
	if (random_below(rng, 2)) {
		collect(pids[i]);
		pids[i] = 0;
	}
}

/* --- its main thread ----------------------------------------------------- */

static void tend(struct worker *workers, struct random *rng)
{
	for (size_t i = 0; i < THREADS; i++) {
		struct worker *worker = &workers[i];

		/* W2 pairs with W1. */
		if (worker->running &&
		    atomic_load_explicit(&worker->done, memory_order_acquire)) {
			pthread_join(worker->thread, NULL);
			worker->running = false;
		}
		if (doing & WITH_THREADS && !worker->running &&
		    !random_below(rng, 4))
			start(worker, rng, 0, STEPS);
	}
}

static void everyone_rests(struct random *rng)
{
	atomic_store_explicit(&resting, true, memory_order_relaxed);
	rest(rng);
	if (random_below(rng, 2))
		verify_all();
	atomic_store_explicit(&resting, false, memory_order_relaxed);
	if (!random_below(rng, 4))
		malloc_trim(0);
}

/* Where nothing goes out this is no test: a slow machine gets its time. */
static void rest_until_out(void)
{
	struct ferry_malloc_stats stats = FERRY_INIT(struct ferry_malloc_stats);

	atomic_store_explicit(&resting, true, memory_order_relaxed);
	do {
		harness_pause();
		heap_model_need(!ferry_malloc_stats(&stats), "statistics");
	} while (!stats.pages_out);
	atomic_store_explicit(&resting, false, memory_order_relaxed);
}

static int model_main(uint64_t seed, double seconds, int what)
{
	static struct worker workers[THREADS];
	struct random rng = random_seeded(seed);
	double end = now() + seconds;

	doing = what;
	model = heap_model_create(BLOCKS);
	while (now() < end) {
		tend(workers, &rng);
		work(&rng, 0, 200);
		if (doing & WITH_RESTS && !random_below(&rng, 20))
			everyone_rests(&rng);
	}
	rest_until_out();
	atomic_store_explicit(&ending, true, memory_order_relaxed);
	for (size_t i = 0; i < THREADS; i++) {
		if (workers[i].running)
			pthread_join(workers[i].thread, NULL);
	}
	verify_all();
	printf("# %zu MiB at the end, %zu blocks verified, %zu children\n",
	       heap_model_bytes(model) >> 20, atomic_load(&verified),
	       atomic_load(&forks));
	heap_model_destroy(model);
	return 0;
}

/* --- the test ------------------------------------------------------------ */

static char folder[64];

static void make_folder(void)
{
	strcpy(folder, "/tmp/ferry-stress-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(folder);
}

static pid_t start_model(double seconds, int what)
{
	char setting[256], seed_text[32], seconds_text[32], what_text[16];
	pid_t pid;

	snprintf(setting, sizeof(setting), SETTING "%s/%%p", folder);
	snprintf(seed_text, sizeof(seed_text), "%llu",
		 (unsigned long long)harness_seed());
	snprintf(seconds_text, sizeof(seconds_text), "%g", seconds);
	snprintf(what_text, sizeof(what_text), "%d", what);
	fflush(stdout);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	setpgid(0, 0);
	setenv("FERRY_MALLOC_CONF", setting, 1);
	execl("/proc/self/exe", "stress_alloc_malloc", "--model", seed_text,
	      seconds_text, what_text, (char *)NULL);
	_exit(HEAP_MODEL_BROKEN);
}

/* Where the threads of a process that hangs are. */
static void describe(pid_t group)
{
	char command[512];

	snprintf(command, sizeof(command),
		 "for p in $(ps -o pid= -o pgid= -e | "
		 "awk '$2 == %d {print $1}'); do for t in /proc/$p/task/*; do "
		 "echo \"$t $(cat $t/comm $t/wchan $t/syscall 2>/dev/null | "
		 "tr '\\n' ' ')\"; cat $t/stack 2>/dev/null | head -4; "
		 "done; done >&2",
		 (int)group);
	if (system(command))
		fprintf(stderr, "ps failed\n");
	if (getenv("FERRY_STRESS_STOP"))
		pause();
}

static void await(pid_t pid, double seconds)
{
	double end = now() + seconds;
	int status;
	pid_t r;

	while (!(r = waitpid(pid, &status, WNOHANG)) && now() < end)
		usleep(20000);
	if (!r) {
		describe(pid);
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		ck_abort_msg("hangs");
	}
	kill(-pid, SIGKILL); /* children that it left behind */
	ck_assert_int_eq(r, pid);
	ck_assert_msg(WIFEXITED(status), "signal %d", WTERMSIG(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}

/* The number behind @key in the statistics of @pid; -1: there is none. */
static long long statistic(pid_t pid, const char *key)
{
	char path[128], line[256];
	long long value = -1;
	size_t len = strlen(key);
	FILE *file;

	snprintf(path, sizeof(path), "%s/%d", folder, (int)pid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, key, len) && line[len] == ' ')
			value = atoll(line + len);
	}
	if (file)
		fclose(file);
	return value;
}

static void run(int what)
{
	double seconds = harness_scaled(1000) * 0.004;
	pid_t pid;

	make_folder();
	pid = start_model(seconds, what);
	await(pid, seconds + harness_patience(600));
	printf("# pages out %lld, back %lld, dropped %lld, copied %lld\n",
	       statistic(pid, "pages_out"), statistic(pid, "pages_back"),
	       statistic(pid, "pages_dropped"), statistic(pid, "copied"));
	/* Else this was no test of it. */
	ck_assert_int_gt(statistic(pid, "pages_out"), 0);
	remove_folder();
}

START_TEST(one_thread_keeps_its_bytes)
{
	run(WITH_RESTS);
}
END_TEST

START_TEST(threads_keep_their_bytes)
{
	run(WITH_THREADS | WITH_RESTS);
}
END_TEST

START_TEST(children_of_one_thread_keep_their_bytes)
{
	run(WITH_FORKS | WITH_RESTS);
}
END_TEST

START_TEST(children_of_many_threads_keep_their_bytes)
{
	run(WITH_THREADS | WITH_FORKS | WITH_RESTS);
}
END_TEST

/* Children that fork again, threads: a crowd, which waits for two CPUs. */
#define NEEDS "malloc,kernel_faults,move"

static const struct test tests[] = {
	TEST(one_thread_keeps_its_bytes, NEEDS, .seconds = 100000),
	TEST(threads_keep_their_bytes, NEEDS, .seconds = 100000),
	TEST(children_of_one_thread_keep_their_bytes, NEEDS, .seconds = 100000),
	TEST(children_of_many_threads_keep_their_bytes, NEEDS,
	     .seconds = 100000),
};

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "--model"))
		return model_main(strtoull(argv[2], NULL, 10), atof(argv[3]),
				  atoi(argv[4]));
	return HARNESS_MAIN(argc, argv, tests);
}
