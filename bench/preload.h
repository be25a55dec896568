/* SPDX-License-Identifier: MIT */
/*
 * preload.h: allocators that ferry-bench puts before programs, and processes
 * of its own that run under them.
 */
#ifndef FERRY_BENCH_PRELOAD_H
#define FERRY_BENCH_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "opts.h"

/* What is known from the start; more come by name (--library). */
enum preload_id {
	PRELOAD_FERRY,
	PRELOAD_JEMALLOC, /* what ratios are to */
	PRELOAD_MIMALLOC,
	PRELOAD_TCMALLOC,
	PRELOAD_GLIBC, /* nothing is preloaded */
	PRELOAD_KNOWN
};

/* An allocator. */
struct preload {
	char *name;
	char *library; /* for LD_PRELOAD; NULL: none */
	char *why;     /* it is left out; NULL: it can be measured */
	bool wanted;   /* by the options */
	bool has_heaps;
	char *heaps; /* the library that has them; NULL: .library */
};

struct preload_set {
	struct preload *v; /* the known ones first, by enum preload_id */
	size_t n;
};

/* Options that subcommands with allocators share; see preload_check(). */
/* clang-format off */
#define PRELOAD_OPTIONS                                                     \
	{ "allocator", BENCH_TEXT, "LIST",                                  \
	  "ferry,jemalloc,mimalloc,tcmalloc,glibc" },                       \
	{ "library", BENCH_TEXT, "NAME=FILE,...",                           \
	  "where an allocator is to be found, or one more" }
/* clang-format on */

/*
 * Reads the options. Returns 0, or -EINVAL with a sentence. Nothing is run
 * yet: preload_probe() does. Undo with preload_fini(), also after an error.
 */
int preload_read(const struct bench_options *opt, struct preload_set *ret_set,
		 char *err, size_t err_size);
void preload_fini(struct preload_set *set);

/* Starts a process under each that is wanted, to see whether that works. */
void preload_probe(struct preload_set *set);

/* Whether it is wanted and works. */
bool preload_usable(const struct preload *p);

/* The same with the library of its heaps; valid as long as @p is. */
struct preload preload_heaps(const struct preload *p);

/* --- processes ------------------------------------------------------------ */

/*
 * A process under an allocator: ferry-bench itself with other arguments, or
 * any other program.
 */
struct preload_child {
	pid_t pid;
	int from; /* its standard output */
	int to;	  /* its standard input */
};

/*
 * Starts @argv (argv[0] is looked for in PATH; "/proc/self/exe" is this
 * program) under @p. @setting: one more
 * line for its environment, such as "FERRY_MALLOC_CONF=..", or NULL.
 * @quiet: its standard error is thrown away.
 * Returns 0 or a negative errno.
 */
int preload_start(const struct preload *p, const char *const argv[],
		  const char *setting, bool quiet, struct preload_child *ret);

/*
 * Reads a report of @len bytes from its output. Returns false when it ended
 * before.
 */
bool preload_read_report(struct preload_child *c, void *data, size_t len);

/* A byte to its standard input. Returns 0 or a negative errno. */
int preload_nudge(struct preload_child *c);

/* Waits for its end. @ret_usage may be NULL. Returns its wait status. */
int preload_wait(struct preload_child *c, struct rusage *ret_usage);

/* How a process ended: "ended with status 1", "was ended by: Aborted". */
char *preload_end_text(int status);

/* --- within such a process ------------------------------------------------ */

#define PRELOAD_PROBE_ARGUMENT "--preload-probe"

/*
 * The file that this process's malloc() is in, into @buf: nobody is measured
 * under another's name, as the dynamic linker goes on without a library that
 * it cannot load.
 */
void preload_here(char *buf, size_t size);

/* Reports preload_here() on standard output. Returns the exit status. */
int preload_probe_main(void);

/* Writes all of it to standard output. Returns false where it cannot. */
bool preload_report(const void *data, size_t len);

/* User and system time, in seconds. */
double preload_cpu(const struct rusage *u);

/* The most that this process was resident, in bytes. Unlike ru_maxrss it does
 * not contain what the process was before exec(). */
size_t preload_peak_rss(void);

#endif
