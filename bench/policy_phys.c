/* SPDX-License-Identifier: MIT */
/* policy_phys.c: physical addresses: the page map inverted, pages migrated. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy.h"
#include "uffd/physmap.h"

#define PFN_MASK ((1ull << 55) - 1)

/* --- inversion ------------------------------------------------------------ */

struct inversion {
	struct ferry__physmap *map;
	struct ferry__span span;
};

/* Base pages a microsecond: millions a second. */
static int run_inversion(void *arg, double *ret_v)
{
	struct inversion *inv = arg;
	struct ferry__physmap_stats stats;
	uint64_t ns = bench_now();
	int rc = ferry__physmap_build(inv->map, &inv->span, 1);

	ns = bench_now() - ns;
	ferry__physmap_stats(inv->map, &stats);
	*ret_v = (double)stats.pages * 1e3 / (double)ns;
	return rc;
}

enum { BASE, HUGE, KINDS };

static const char *const kind_names[KINDS] = { "4k", "huge" };
static const char *const kind_texts[KINDS] = { "base pages", "huge pages" };

static void show_inversion(struct bench *b, const struct bench_case *cases,
			   const struct inversion *inv, size_t len)
{
	char *caption = bench_asprintf(
		"Page map inverted, %zu MiB, million base pages a second",
		len >> 20);
	struct bench_table *t = bench_table_new(caption, "in", "million/s",
						"min..max", "runs", NULL);
	struct ferry__physmap_stats stats;

	for (size_t i = 0; i < KINDS; i++) {
		struct bench_stat st = bench_samples_stat(&cases[i].samples);

		ferry__physmap_stats(inv[i].map, &stats);
		bench_cell(t, "%s", kind_texts[i]);
		bench_cell_stat(t, &st);
		bench_cell(t, "%lu", (unsigned long)stats.runs);
		bench_result(b, &st, "1/us", "policy/inversion/%s",
			     kind_names[i]);
	}
	bench_show(b, t);
	free(caption);
}

void policy_inversion(struct bench *b)
{
	size_t len = bench_pick(b, 16, 256, 1024) << 20;
	struct bench_case cases[KINDS] = { 0 };
	struct inversion inv[KINDS];
	void *mem[KINDS];
	struct bench_stat st;

	bench_section(b, "The page map, inverted");
	for (size_t i = 0; i < KINDS; i++) {
		mem[i] = bench_pool_get(len, i == HUGE);
		inv[i].span = (struct ferry__span){ (uintptr_t)mem[i], len };
		if (ferry__physmap_create(0, &inv[i].map) < 0)
			bench_die("no memory for a page map");
		cases[i].run = run_inversion;
		cases[i].arg = &inv[i];
	}
	bench_rounds(b, cases, KINDS, bench_pick(b, 5, 51, 101),
		     bench_pick(b, 300, 2000, 10000));
	if (cases[BASE].error)
		bench_say(b, "The page map cannot be inverted here: %s%s.",
			  strerror(-cases[BASE].error),
			  cases[BASE].error == -EPERM
				  ? "; it takes CAP_SYS_ADMIN"
				  : "");
	else
		show_inversion(b, cases, inv, len);
	st = bench_samples_stat(&cases[BASE].samples);
	policy_target(b, "policy/inversion/target",
		      "page map inverted, base pages, million a second",
		      BENCH_AT_LEAST, 5, "1/us", &st);
	for (size_t i = 0; i < KINDS; i++) {
		ferry__physmap_destroy(inv[i].map);
		bench_pool_put(mem[i], len, i == HUGE);
	}
	bench_cases_fini(cases, KINDS);
}

/* --- by physical address -------------------------------------------------- */

struct phys {
	struct policy_bed *bed;
	struct ferry__physmap *map;
	uint64_t *addr;
	struct ferry_agent_range *range;
	struct ferry__phys_result *result;
};

static int learn(struct phys *p)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t word;
	size_t i;

	if (fd < 0)
		return -errno;
	for (i = 0; i < p->bed->n; i++) {
		word = 0;
		if (pread(fd, &word, sizeof(word),
			  (off_t)((uintptr_t)p->bed->page[i] / page *
				  sizeof(word))) != sizeof(word) ||
		    !(word & PFN_MASK))
			break;
		p->addr[i] = (word & PFN_MASK) * page;
		p->range[i] = (struct ferry_agent_range){ p->addr[i], page };
	}
	close(fd);
	return i < p->bed->n ? -EPERM : 0;
}

/* The kernel may have moved a page or two: that is no failure. */
static int phys_inside(void *arg, double *ret_v)
{
	struct phys *p = arg;
	uint64_t ns = bench_now();
	long there = ferry__physmap_migrate(p->map, p->addr, p->bed->n,
					    p->bed->node, p->result);

	*ret_v = (double)(bench_now() - ns) / (double)p->bed->n;
	return there < 0 ? (int)there : 0;
}

static int phys_agent(void *arg, double *ret_v)
{
	struct phys *p = arg;
	struct ferry_agent_request req = {
		.op = FERRY_AGENT_MIGRATE_PHYS,
		.node = p->bed->node,
	};
	uint64_t ns = bench_now();
	int rc = p->bed->agent ? policy_agent_ask(p->bed->agent, req, p->range,
						  p->bed->n, NULL)
			       : -ENOTCONN;

	*ret_v = (double)(bench_now() - ns) / (double)p->bed->n;
	return rc == -EIO ? 0 : rc;
}

enum { INSIDE, AGENT, PHYS_WAYS };

static const char *const way_names[PHYS_WAYS] = { "inside", "agent" };
static const char *const way_texts[PHYS_WAYS] = {
	"inside: one call of the engine",
	"agent: one request",
};

static void show_phys(struct bench *b, const struct bench_case *cases, size_t n)
{
	char *caption = bench_asprintf(
		"%zu pages to their node by physical address, ns each", n);
	struct bench_table *t =
		bench_table_new(caption, "way", "ns", "min..max", NULL);

	for (size_t i = 0; i < PHYS_WAYS; i++) {
		struct bench_stat st = bench_samples_stat(&cases[i].samples);

		bench_cell(t, "%s", way_texts[i]);
		bench_cell_stat(t, &st);
		bench_result(b, &st, "ns", "policy/phys/ranges=%zu/%s", n,
			     way_names[i]);
	}
	bench_show(b, t);
	free(caption);
}

static void measure_phys(struct bench *b, struct phys *p)
{
	struct bench_case cases[PHYS_WAYS] = {
		[INSIDE] = { .run = phys_inside, .arg = p },
		[AGENT] = { .run = phys_agent, .arg = p },
	};
	struct ferry__span all = {
		(uintptr_t)ferry_arena_base(p->bed->arena),
		ferry_arena_reserved(p->bed->arena),
	};

	if (ferry__physmap_build(p->map, &all, 1) < 0)
		return;
	bench_rounds(b, cases, PHYS_WAYS, bench_pick(b, 5, 51, 201),
		     bench_pick(b, 300, 2000, 10000));
	show_phys(b, cases, p->bed->n);
	bench_cases_fini(cases, PHYS_WAYS);
}

void policy_phys(struct bench *b, struct policy_bed *bed)
{
	struct phys p = { .bed = bed };
	int rc;

	bench_section(b, "By physical address");
	p.addr = bench_alloc(bed->n * sizeof(*p.addr));
	p.range = bench_alloc(bed->n * sizeof(*p.range));
	p.result = bench_alloc(bed->n * sizeof(*p.result));
	if (ferry__physmap_create(0, &p.map) < 0)
		bench_die("no memory for a page map");
	rc = learn(&p);
	if (rc < 0)
		bench_say(b, "Physical addresses are hidden here: %s.",
			  strerror(-rc));
	else
		measure_phys(b, &p);
	ferry__physmap_destroy(p.map);
	free(p.addr);
	free(p.range);
	free(p.result);
}
