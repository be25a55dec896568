/* SPDX-License-Identifier: MIT */
/*
 * The options of a heap: what the host's struct says, then its options
 * string, then the environment, then defaults for all that is zero still.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/policy.h"
#include "uffd/cgroup.h"
#include "uffd/sys.h"

/* All that options can set; applied as a whole or not at all. */
struct conf {
	struct ferry_heap_params params;
	struct ferry__stress stress;
};

/* A piece of the string; not zero-terminated. */
struct text {
	const char *at;
	size_t len;
};

struct option;
typedef int (*set_fn)(const struct option *option, void *field,
		      struct text value);

struct option {
	const char *key;
	size_t offset; /* of its field in struct conf */
	set_fn set;
	const char *const *words; /* of set_word: values 0, 1, ... */
};

static bool equals(struct text text, const char *word)
{
	return strlen(word) == text.len && !memcmp(text.at, word, text.len);
}

/* --- values ---------------------------------------------------------------------- */

/* The digits at the start of @text, which are taken off it. */
static int take_number(struct text *text, uint64_t *ret)
{
	size_t len = text->len;
	uint64_t n = 0;

	while (text->len && *text->at >= '0' && *text->at <= '9') {
		if (__builtin_mul_overflow(n, 10u, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*text->at - '0'), &n))
			return -EINVAL;
		text->at++;
		text->len--;
	}
	if (text->len == len)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int read_number(struct text text, uint64_t max, uint64_t *ret)
{
	uint64_t n;
	int r;

	r = take_number(&text, &n);
	if (r || text.len || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int set_u64(const struct option *option, void *field, struct text value)
{
	(void)option;
	return read_number(value, UINT64_MAX, field);
}

static int set_uint(const struct option *option, void *field, struct text value)
{
	unsigned int *out = field;
	uint64_t n;
	int r;

	(void)option;
	r = read_number(value, UINT32_MAX, &n);
	if (!r)
		*out = (unsigned int)n;
	return r;
}

/* Powers of 1024: K, M, G, T in either case; -1 for anything else. */
static int shift_of(struct text unit)
{
	static const char letters[] = "kmgtKMGT";
	const char *at;

	if (!unit.len)
		return 0;
	if (unit.len > 1 || !*unit.at)
		return -1;
	at = strchr(letters, *unit.at);
	return at ? 10 * (1 + (int)((at - letters) % 4)) : -1;
}

static int set_bytes(const struct option *option, void *field,
		     struct text value)
{
	size_t *out = field;
	uint64_t n;
	int shift;

	(void)option;
	if (take_number(&value, &n))
		return -EINVAL;
	shift = shift_of(value);
	if (shift < 0 || n > (uint64_t)SIZE_MAX >> shift)
		return -EINVAL;
	*out = (size_t)n << shift;
	return 0;
}

int ferry__conf_bytes(const char *text, size_t *ret_bytes)
{
	return set_bytes(NULL, ret_bytes, (struct text){ text, strlen(text) });
}

static int set_bool(const struct option *option, void *field, struct text value)
{
	static const char *const words[] = { "false", "no",  "off", "0",
					     "true",  "yes", "on",  "1" };
	bool *out = field;
	size_t i;

	(void)option;
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!equals(value, words[i]))
			continue;
		*out = i >= 4;
		return 0;
	}
	return -EINVAL;
}

/* For the fields no_minor and the like: "minor:false" sets them. */
static int set_not(const struct option *option, void *field, struct text value)
{
	bool *out = field;
	int r = set_bool(option, field, value);

	if (!r)
		*out = !*out;
	return r;
}

static int set_word(const struct option *option, void *field, struct text value)
{
	unsigned int i, *out = field;

	for (i = 0; option->words[i]; i++) {
		if (!equals(value, option->words[i]))
			continue;
		*out = i;
		return 0;
	}
	return -EINVAL;
}

/* --- keys ------------------------------------------------------------------------- */

/* By the values of the enums of heap.h, arena.h and fault.h. */
static const char *const sizings[] = { "adaptive", "growable", "fixed", NULL };
static const char *const modes[] = { "auto", "concurrent", "stopped", NULL };
static const char *const stacks[] = { "precise", "ambiguous", NULL };
static const char *const faults[] = { "default", "sigbus", "thread", NULL };
static const char *const pages[] = { "system", "always", "never", NULL };

_Static_assert(sizeof(enum ferry_gc_mode) == sizeof(unsigned int) &&
		       FERRY_GC_STOPPED == 2 && FERRY_SIZING_FIXED == 2 &&
		       FERRY_STACK_AMBIGUOUS == 1 && FERRY_FAULT_THREAD == 2 &&
		       FERRY_THP_NEVER == 2,
	       "the tables of words name these values");

#define PARAM(field)  offsetof(struct conf, params.field)
#define STRESS(field) offsetof(struct conf, stress.field)

/* What ferry-heap(7) documents. */
static const struct option options[] = {
	{ "min", PARAM(min_bytes), set_bytes, NULL },
	{ "max", PARAM(max_bytes), set_bytes, NULL },
	{ "sizing", PARAM(sizing), set_word, sizings },
	{ "growth", PARAM(growth_percent), set_uint, NULL },
	{ "mode", PARAM(mode), set_word, modes },
	{ "stacks", PARAM(stacks), set_word, stacks },
	{ "fault-mode", PARAM(fault_mode), set_word, faults },
	{ "threads", PARAM(threads), set_uint, NULL },
	{ "pause-threads", PARAM(pause_threads), set_uint, NULL },
	{ "minor", PARAM(no_minor), set_not, NULL },
	{ "compact", PARAM(no_compact), set_not, NULL },
	{ "pressure", PARAM(no_pressure), set_not, NULL },
	{ "pace", PARAM(no_pace), set_not, NULL },
	{ "debug", PARAM(debug), set_bool, NULL },
	{ "thp", PARAM(thp), set_word, pages },
	{ "collect-every", STRESS(collect_every), set_u64, NULL },
	{ "move-all", STRESS(move_all), set_bool, NULL },
	{ "poison", STRESS(poison), set_bool, NULL },
	{ "verify", STRESS(verify), set_bool, NULL },
	{ "delay-seed", STRESS(delay_seed), set_u64, NULL },
};

static int set_option(struct conf *conf, struct text key, struct text value)
{
	const struct option *o;
	size_t i;

	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		o = &options[i];
		if (equals(key, o->key))
			return o->set(o, (char *)conf + o->offset, value);
	}
	return -EINVAL;
}

/* --- the string --------------------------------------------------------------------- */

/* "key:value", @len bytes. */
static int parse_item(struct conf *conf, const char *item, size_t len)
{
	const char *colon = memchr(item, ':', len);
	struct text key, value;

	if (!colon)
		return -EINVAL;
	key = (struct text){ item, (size_t)(colon - item) };
	value = (struct text){ colon + 1, len - key.len - 1 };
	return set_option(conf, key, value);
}

/* NULL and "" are no options; an empty item is a mistake. */
static int parse(struct conf *conf, const char *string)
{
	size_t len;
	int r;

	if (!string || !*string)
		return 0;
	for (;;) {
		len = strcspn(string, ",");
		r = parse_item(conf, string, len);
		if (r || !string[len])
			return r;
		string += len + 1;
	}
}

/* --- defaults ------------------------------------------------------------------------- */

#define MIN_BYTES    ((size_t)8 << 20)
#define MAX_LEAST    ((size_t)1 << 20) /* of max_bytes: sixteen blocks */
#define GROWTH	     200u
#define GROWTH_LEAST 105u
#define GROWTH_MOST  10000u
#define THREADS_MOST 1024u

/* Processors that this process may use. */
static unsigned int processors(void)
{
	cpu_set_t set;
	long n;

	if (!sched_getaffinity(0, sizeof(set), &set))
		return (unsigned int)CPU_COUNT(&set);
	/* More than the set has room for. */
	n = sysconf(_SC_NPROCESSORS_ONLN);
	return n > 0 ? (unsigned int)n : 1;
}

static unsigned int within_threads(unsigned int n)
{
	if (n < 1)
		return 1;
	return n < THREADS_MOST ? n : THREADS_MOST;
}

/*
 * Neither default depends on the other number: values resolved already must
 * resolve to themselves, with the same options beside them.
 */
static void set_threads(struct ferry_heap_params *p)
{
	if (!p->pause_threads)
		p->pause_threads = within_threads(processors());
	if (!p->threads)
		p->threads = within_threads(processors() / 2);
	if (p->pause_threads < p->threads)
		p->pause_threads = p->threads;
}

static size_t default_max(const struct ferry_heap_params *p)
{
	size_t max = ferry__memory_allowed() / 2;
	size_t least = p->min_bytes > MAX_LEAST ? p->min_bytes : MAX_LEAST;

	return max > least ? max : least;
}

static void set_defaults(struct ferry_heap_params *p)
{
	if (!p->max_bytes)
		p->max_bytes = default_max(p);
	if (!p->min_bytes)
		p->min_bytes = p->max_bytes < MIN_BYTES ? p->max_bytes
							: MIN_BYTES;
	if (!p->growth_percent)
		p->growth_percent = GROWTH;
	if (!p->fault_mode)
		p->fault_mode = FERRY_FAULT_THREAD;
	set_threads(p);
}

static bool words_are_known(const struct ferry_heap_params *p)
{
	return (unsigned int)p->sizing <= FERRY_SIZING_FIXED &&
	       (unsigned int)p->mode <= FERRY_GC_STOPPED &&
	       (unsigned int)p->stacks <= FERRY_STACK_AMBIGUOUS &&
	       (unsigned int)p->fault_mode <= FERRY_FAULT_THREAD &&
	       (unsigned int)p->thp <= FERRY_THP_NEVER;
}

static bool numbers_are_sane(const struct ferry_heap_params *p)
{
	return p->max_bytes >= MAX_LEAST && p->min_bytes <= p->max_bytes &&
	       p->growth_percent >= GROWTH_LEAST &&
	       p->growth_percent <= GROWTH_MOST &&
	       p->pause_threads <= THREADS_MOST;
}

/*
 * The environment of a program that runs with more rights than its user has
 * (setuid) is not believed: hence secure_getenv().
 */
static const char *environment(const struct ferry_heap_params *params)
{
	if (params->no_environment)
		return NULL;
	return secure_getenv("FERRY_HEAP_CONF");
}

int ferry__conf_resolve(struct ferry_heap_params *params,
			struct ferry__stress *stress)
{
	struct conf conf = { .params = *params };
	int r;

	if (!params->load != !params->store)
		return -EINVAL;
	r = parse(&conf, params->options);
	if (!r)
		r = parse(&conf, environment(params));
	if (r || !words_are_known(&conf.params))
		return -EINVAL;
	set_defaults(&conf.params);
	if (!numbers_are_sane(&conf.params))
		return -EINVAL;
	*params = conf.params;
	*stress = conf.stress;
	return 0;
}
