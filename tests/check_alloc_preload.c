/* SPDX-License-Identifier: MIT */
/*
 * Programs of the system with the malloc in front of them, on whatever kernel
 * this is: each reads half of its input, rests until some of its heap is in a
 * store, reads the other half, and must say what it says without the malloc.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"

#define NOBODY 65534
#define COLD                                                                   \
	"min_heap:0,cold_after:20ms,idle_after:20ms,rate:0,refault_limit:0,"   \
	"stats_interval:20ms,stats_file:"

static char folder[64];	  /* for everybody to read and write */
static char library[128]; /* the malloc, where everybody can read it */

/* --- files and text ------------------------------------------------------ */

/* A text that grows; never given back, as each test is a process. */
struct text {
	char *p;
	size_t len, room;
};

static void text_reserve(struct text *t, size_t more)
{
	if (t->room - t->len > more)
		return;
	t->room = (t->len + more) * 2 + 4096;
	t->p = realloc(t->p, t->room);
	ck_assert_ptr_nonnull(t->p);
}

static void text_add(struct text *t, const char *p, size_t len)
{
	text_reserve(t, len);
	memcpy(t->p + t->len, p, len);
	t->len += len;
	t->p[t->len] = '\0';
}

static void text_copy_file(struct text *t, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char buf[4096];
	ssize_t n;

	while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0)
		text_add(t, buf, (size_t)n);
	close(fd);
}

static void copy_library(const char *from)
{
	struct text t = { 0 };
	int fd;

	text_copy_file(&t, from);
	ck_assert_uint_gt(t.len, 0);
	snprintf(library, sizeof(library), "%s/libferry-malloc.so", folder);
	fd = open(library, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, t.p, t.len), (ssize_t)t.len);
	fchmod(fd, 0755);
	close(fd);
	free(t.p);
}

/* The malloc of this program is the one that the others shall have. */
static void setup(void)
{
	Dl_info info;

	strcpy(folder, "/tmp/ferry-preload-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chmod(folder, 01777), 0);
	ck_assert_int_ne(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info), 0);
	ck_assert_ptr_nonnull(strstr(info.dli_fname, "libferry-malloc.so"));
	copy_library(info.dli_fname);
}

static void teardown(void)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(folder);
}

/* --- a program ----------------------------------------------------------- */

struct program {
	pid_t pid;
	int in, out;
	int status;
	char stats[128]; /* the file that it writes about itself */
	struct text said;
};

struct how {
	bool preloaded;
	bool nobody;
};

static void become(const char *const *argv, struct how how)
{
	char conf[512];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (how.preloaded) {
		snprintf(conf, sizeof(conf), COLD "%s/%%p", folder);
		setenv("FERRY_MALLOC_CONF", conf, 1);
		setenv("LD_PRELOAD", library, 1);
	}
	setenv("LC_ALL", "C", 1);
	if (how.nobody && (setgid(NOBODY) || setuid(NOBODY)))
		_exit(98);
	execvp(argv[0], (char *const *)argv);
	_exit(99);
}

static struct program start(const char *const *argv, struct how how)
{
	struct program p = { 0 };
	int in[2], out[2];

	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	fflush(stdout);
	p.pid = fork();
	ck_assert_int_ge(p.pid, 0);
	if (!p.pid) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		become(argv, how);
	}
	close(in[0]);
	close(out[1]);
	p.in = in[1];
	p.out = out[0];
	snprintf(p.stats, sizeof(p.stats), "%s/%d", folder, (int)p.pid);
	return p;
}

/* What it says now, if it says something; false at its end. */
static bool hear(struct program *p)
{
	char buf[4096];
	ssize_t n = read(p->out, buf, sizeof(buf));

	if (n > 0)
		text_add(&p->said, buf, (size_t)n);
	return n > 0;
}

/* It may say something before it has heard all. */
static void tell(struct program *p, const char *text, size_t len)
{
	struct pollfd fds[2] = { { .fd = p->in, .events = POLLOUT },
				 { .fd = p->out, .events = POLLIN } };
	ssize_t n;

	while (len) {
		ck_assert_int_gt(poll(fds, 2, -1), 0);
		if (fds[1].revents & POLLIN)
			hear(p);
		if (!(fds[0].revents & POLLOUT))
			continue;
		/* What a pipe that is ready takes without a wait. */
		n = write(p->in, text, len < 4096 ? len : 4096);
		ck_assert_int_gt(n, 0);
		text += n;
		len -= (size_t)n;
	}
}

static bool stats_say(const struct program *p, const char *what)
{
	struct text t = { 0 };
	bool found;

	text_copy_file(&t, p->stats);
	found = t.len && strstr(t.p, what);
	free(t.p);
	return found;
}

static void await_stored(const struct program *p)
{
	AWAIT(stats_say(p, "running yes") && !stats_say(p, "\nstored 0\n"));
}

/* Its status, as waitpid(2) gives it. */
static int finish(struct program *p)
{
	close(p->in);
	while (hear(p))
		;
	close(p->out);
	ck_assert_int_eq(waitpid(p->pid, &p->status, 0), p->pid);
	return p->status;
}

/* --- what they are given ------------------------------------------------- */

#define LINES ((size_t)6000)

/* Lines of a number and a word, for programs that keep all of them. */
static void add_lines(struct text *t, size_t from, size_t to)
{
	char line[128];
	int n;

	for (; from < to; from++) {
		n = snprintf(line, sizeof(line), "%zu the line number %zu\n",
			     from * 2654435761u % 1000003, from);
		text_add(t, line, (size_t)n);
	}
}

static void lines(struct text *first, struct text *second)
{
	add_lines(first, 0, LINES);
	add_lines(second, LINES, 2 * LINES);
}

/* A script that fills variables, and one that shows them in children. */
static void script(struct text *first, struct text *second)
{
	static const char show[] =
		"while [ $i -lt $n ]; do\n"
		"  i=$((i + 1))\n"
		"  (eval \"echo $i \\$v$((i * 9))\"; exit $i) || echo \"is $?\"\n"
		"  s=$(eval \"echo \\$v$((i * 7 + 1))\")\n"
		"  echo \"$s\" | { read -r a b; echo \"$b of $a\"; }\n"
		"done\n";
	char line[320];
	size_t i;
	int n;

	for (i = 0; i < 1500; i++) {
		n = snprintf(line, sizeof(line),
			     "v%zu='variable %zu %0250zu'\n", i, i, i);
		text_add(first, line, (size_t)n);
	}
	n = snprintf(line, sizeof(line), "i=0 n=%zu\n", harness_scaled(40));
	text_add(second, line, (size_t)n);
	text_add(second, show, sizeof(show) - 1);
}

static const struct test_case {
	const char *argv[4];
	void (*make)(struct text *first, struct text *second);
	bool leaves; /* by exit(3), with its statistics as they are then */
} cases[] = {
	{ { "sort", "-n" }, lines, true },
	{ { "sed", "-n", "H;${x;s/line/LINE/g;p;}" }, lines, true },
	{ { "sh" }, script, false },
};

/* With the malloc, @rests says whether something goes out meanwhile. */
static struct program run_case(const struct test_case *c, struct how how,
			       bool rests)
{
	struct text first = { 0 }, second = { 0 };
	struct program p;

	c->make(&first, &second);
	p = start(c->argv, how);
	tell(&p, first.p, first.len);
	if (rests)
		await_stored(&p);
	tell(&p, second.p, second.len);
	ck_assert_msg(finish(&p) == 0, "%s: status %d", c->argv[0], p.status);
	free(first.p);
	free(second.p);
	return p;
}

static struct program compare(const struct test_case *c, struct how how,
			      bool rests)
{
	struct program without = run_case(c, (struct how){ 0 }, false);
	struct program with = run_case(c, how, rests);

	ck_assert_uint_gt(without.said.len, 1000);
	ck_assert_uint_eq(with.said.len, without.said.len);
	ck_assert_int_eq(memcmp(with.said.p, without.said.p, with.said.len), 0);
	return with;
}

/* --- tests --------------------------------------------------------------- */

START_TEST(what_went_out_changes_no_output)
{
	struct program p;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		p = compare(&cases[i], (struct how){ .preloaded = true }, true);
		if (cases[i].leaves)
			ck_assert(!stats_say(&p, "\npages_back 0\n"));
	}
}
END_TEST

/* A plain allocator, that says why it is one. */
static void compare_plain(struct how how)
{
	struct program p;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		p = compare(&cases[i], how, false);
		if (!cases[i].leaves)
			continue;
		ck_assert(stats_say(&p, "running no ("));
		ck_assert(!stats_say(&p, "heap is small"));
		ck_assert(stats_say(&p, "\npages_out 0\n"));
	}
}

START_TEST(nobody_has_a_plain_allocator)
{
	compare_plain((struct how){ .preloaded = true, .nobody = true });
}
END_TEST

START_TEST(a_kernel_without_moves_has_a_plain_allocator)
{
	if (harness_feature("move", NULL))
		SKIP("no_move", "this kernel has UFFDIO_MOVE");
	compare_plain((struct how){ .preloaded = true });
}
END_TEST

#define PRELOAD_TEST(name, needs) TEST_FIXTURE(name, needs, setup, teardown)

static const struct test tests[] = {
	PRELOAD_TEST(what_went_out_changes_no_output,
		     "malloc,move,kernel_faults"),
	PRELOAD_TEST(nobody_has_a_plain_allocator, "malloc,root"),
	PRELOAD_TEST(a_kernel_without_moves_has_a_plain_allocator, "malloc"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
