/* SPDX-License-Identifier: MIT */
/* preload.c: which allocators there are, found by asking a process of each. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"
#include "util.h"

/* Under these the malloc of the sanitizer cannot be replaced. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static const struct {
	const char *name;
	const char *library; /* as the dynamic linker finds it */
	bool has_heaps;	     /* beside its malloc */
} known[PRELOAD_KNOWN] = {
	[PRELOAD_FERRY] = { "ferry", "libferry-malloc.so", true },
	[PRELOAD_JEMALLOC] = { "jemalloc", "libjemalloc.so.2", true },
	[PRELOAD_MIMALLOC] = { "mimalloc", "libmimalloc.so.2", true },
	[PRELOAD_TCMALLOC] = { "tcmalloc", "libtcmalloc_minimal.so.4", false },
	[PRELOAD_GLIBC] = { "glibc", NULL, false },
};

/* Allocator instances are a library of their own. */
static const char our_heaps[] = "libferry-alloc.so.0";

/* Where ours is, seen from the folder of this program: built, installed. */
static const char *const places[] = {
	"../../alloc/malloc/.libs/",
	"../alloc/malloc/.libs/",
	"../../alloc/instance/.libs/",
	"../alloc/instance/.libs/",
	"../lib/",
	FERRY_LIBDIR "/",
};

static char *folder_of_program(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n < 0)
		return NULL;
	path[n] = '\0';
	return bench_strdup(dirname(path));
}

/* The file of ours; else its name, for the dynamic linker to look for. */
static char *find_ours(const char *file)
{
	char *folder = folder_of_program();
	char *path = NULL;

	for (size_t i = 0; folder && i < BENCH_ARRAY_LEN(places); i++) {
		path = places[i][0] == '/'
			       ? bench_asprintf("%s%s", places[i], file)
			       : bench_asprintf("%s/%s%s", folder, places[i],
						file);
		if (access(path, R_OK) == 0)
			break;
		free(path);
		path = NULL;
	}
	free(folder);
	return path ? path : bench_strdup(file);
}

static void add(struct preload_set *set, const char *name, char *library)
{
	struct preload *p;

	set->v = bench_grow(set->v, set->n + 1, sizeof(*set->v));
	p = &set->v[set->n++];
	memset(p, 0, sizeof(*p));
	p->name = bench_strdup(name);
	p->library = library;
	p->wanted = true;
}

static void add_known(struct preload_set *set)
{
	for (size_t i = 0; i < PRELOAD_KNOWN; i++) {
		const char *library = known[i].library;

		if (i == PRELOAD_FERRY)
			add(set, known[i].name, find_ours(library));
		else
			add(set, known[i].name,
			    library ? bench_strdup(library) : NULL);
		set->v[i].has_heaps = known[i].has_heaps;
	}
	set->v[PRELOAD_FERRY].heaps = find_ours(our_heaps);
}

static struct preload *find(const struct preload_set *set, const char *name)
{
	for (size_t i = 0; i < set->n; i++)
		if (!strcmp(set->v[i].name, name))
			return &set->v[i];
	return NULL;
}

/* "NAME=FILE", cut at the '='. */
static int add_library(struct preload_set *set, char *item)
{
	char *file = strchr(item, '=');
	struct preload *p;

	if (!file || file == item || !file[1])
		return -EINVAL;
	*file++ = '\0';
	p = find(set, item);
	if (!p) {
		add(set, item, bench_strdup(file));
		return 0;
	}
	free(p->library);
	p->library = bench_strdup(file);
	return 0;
}

static int add_libraries(struct preload_set *set, const char *list)
{
	char *copy = bench_strdup(list);
	char *rest = copy;
	char *item;
	int rc = 0;

	while (rc == 0 && (item = strsep(&rest, ",")))
		rc = add_library(set, item);
	free(copy);
	return rc;
}

static int want_only(struct preload_set *set, const char *list)
{
	char *copy = bench_strdup(list);
	char *rest = copy;
	char *item;
	int rc = 0;

	for (size_t i = 0; i < set->n; i++)
		set->v[i].wanted = false;
	while (rc == 0 && (item = strsep(&rest, ","))) {
		struct preload *p = find(set, item);

		if (p)
			p->wanted = true;
		else
			rc = -EINVAL;
	}
	free(copy);
	return rc;
}

int preload_read(const struct bench_options *opt, struct preload_set *ret_set,
		 char *err, size_t err_size)
{
	const char *libraries = bench_option_text(opt, "library");
	const char *names = bench_option_text(opt, "allocator");

	memset(ret_set, 0, sizeof(*ret_set));
	add_known(ret_set);
	if (libraries && add_libraries(ret_set, libraries) < 0) {
		snprintf(err, err_size, "--library wants NAME=FILE, not '%s'",
			 libraries);
		return -EINVAL;
	}
	if (names && want_only(ret_set, names) < 0) {
		snprintf(err, err_size,
			 "--allocator wants names of allocators, not '%s'",
			 names);
		return -EINVAL;
	}
	return 0;
}

void preload_fini(struct preload_set *set)
{
	for (size_t i = 0; i < set->n; i++) {
		free(set->v[i].name);
		free(set->v[i].library);
		free(set->v[i].heaps);
		free(set->v[i].why);
	}
	free(set->v);
	memset(set, 0, sizeof(*set));
}

/* --- does it work? -------------------------------------------------------- */

static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Names of files agree up to what a version adds. */
static bool same_library(const char *asked, const char *got)
{
	char a[PATH_MAX], g[PATH_MAX];

	if (realpath(asked, a) && realpath(got, g))
		return !strcmp(a, g);
	return !strncmp(base(asked), base(got), strlen(base(asked)));
}

static char *try(const struct preload *p)
{
	static const char *const argv[] = { "/proc/self/exe",
					    PRELOAD_PROBE_ARGUMENT, NULL };
	struct preload_child c;
	char where[PATH_MAX];
	bool reported;
	int status;
	int rc = preload_start(p, argv, NULL, true, &c);

	if (rc < 0)
		return bench_strdup(strerror(-rc));
	reported = preload_read_report(&c, where, sizeof(where));
	status = preload_wait(&c, NULL);
	if (!reported)
		return preload_end_text(status);
	if (p->library && !same_library(p->library, where))
		return bench_asprintf("%s cannot be preloaded", p->library);
	return NULL;
}

void preload_probe(struct preload_set *set)
{
	for (size_t i = 0; i < set->n; i++) {
		struct preload *p = &set->v[i];

		if (!p->wanted)
			continue;
		if (SANITIZED && p->library)
			p->why = bench_strdup("this program is built with a "
					      "sanitizer, which has a malloc "
					      "of its own");
		else
			p->why = try(p);
	}
}

struct preload preload_heaps(const struct preload *p)
{
	struct preload same = *p;

	if (p->heaps)
		same.library = p->heaps;
	return same;
}

bool preload_usable(const struct preload *p)
{
	return p->wanted && !p->why;
}
