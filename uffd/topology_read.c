/* SPDX-License-Identifier: MIT */
/* From files of sysfs to a topology; see topology.h. */
#include "uffd/topology.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "uffd/cgroup.h"
#include "uffd/sys.h"

#define TIERS	       "devices/virtual/memory_tiering"
#define TIER	       "memory_tier"
#define SAME_DISTANCE  10u
#define OTHER_DISTANCE 20u
#define MOST_WEIGHT    255u
/* Weights whose ratios are as wrong as that are taken for smaller numbers. */
#define WEIGHT_ERROR 20u /* a twentieth */
#define MOST_SCALE   16u

struct reader {
	struct ferry_topology *t;
	const char *root;
	char text[FERRY__SYSFS_MAX];
};

/* --- files ---------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static bool slurp(struct reader *r,
							const char *format, ...)
{
	char path[PATH_MAX];
	int at = snprintf(path, sizeof(path), "%s/", r->root);
	va_list args;

	va_start(args, format);
	vsnprintf(path + at, sizeof(path) - (size_t)at, format, args);
	va_end(args);
	return ferry__file_read(path, r->text, sizeof(r->text));
}

/* The whole of a file is one number; 0: it is not, or there is none. */
static uint64_t number_in(const char *text)
{
	char *end;
	unsigned long long n;

	if (*text < '0' || *text > '9')
		return 0;
	errno = 0;
	n = strtoull(text, &end, 10);
	return errno || (*end && *end != '\n') ? 0 : n;
}

static uint64_t memory_in(const char *meminfo)
{
	const char *at = strstr(meminfo, "MemTotal:");
	uint64_t kib = at ? strtoull(at + strlen("MemTotal:"), NULL, 10) : 0;

	return kib > UINT64_MAX / 1024 ? 0 : kib * 1024;
}

/* What processors see, if that is told apart from what other devices do. */
static uint64_t performance(struct reader *r, int node, const char *what)
{
	if (slurp(r, "devices/system/node/node%d/access1/initiators/%s", node,
		  what) ||
	    slurp(r, "devices/system/node/node%d/access0/initiators/%s", node,
		  what))
		return number_in(r->text);
	return 0;
}

static void read_node(struct reader *r, struct ferry_topology_node *node)
{
	uint64_t weight = 0;

	if (slurp(r, "devices/system/node/node%d/meminfo", node->node))
		node->memory = memory_in(r->text);
	node->read_bandwidth = performance(r, node->node, "read_bandwidth");
	node->write_bandwidth = performance(r, node->node, "write_bandwidth");
	node->read_latency = performance(r, node->node, "read_latency");
	node->write_latency = performance(r, node->node, "write_latency");
	if (slurp(r, "kernel/mm/mempolicy/weighted_interleave/node%d",
		  node->node))
		weight = number_in(r->text);
	node->kernel_weight = weight <= MOST_WEIGHT ? (unsigned int)weight : 0;
}

static void read_processors(struct reader *r)
{
	unsigned int i;

	ferry__node_list(r->root, "has_cpu", r->text);
	for (i = 0; i < r->t->n; i++)
		r->t->nodes[i].has_cpu = ferry__list_has(
			r->text, (unsigned int)r->t->nodes[i].node);
}

/* --- distances ------------------------------------------------------------ */

static void presume_distances(struct ferry_topology *t, unsigned int from)
{
	uint32_t *to = t->distance + (size_t)from * t->n;
	unsigned int i;

	for (i = 0; i < t->n; i++)
		to[i] = i == from ? SAME_DISTANCE : OTHER_DISTANCE;
}

/* @row: one number for each node of the list @online. @ret: those of our nodes;
 * as far as it can be understood. */
static bool parse_distances(const struct ferry_topology *t, const char *row,
			    const char *online, uint32_t *ret)
{
	unsigned int first, last, i = 0;
	const char *at = online;
	unsigned long distance;
	char *end;

	while (ferry__list_next(&at, &first, &last)) {
		for (; first <= last; first++, row = end) {
			distance = strtoul(row, &end, 10);
			if (end == row || distance < SAME_DISTANCE ||
			    distance > UINT8_MAX)
				return false;
			if (i < t->n && t->nodes[i].node == (int)first)
				ret[i++] = (uint32_t)distance;
		}
	}
	return true;
}

/* All, or none counts. */
static void take_distances(struct ferry_topology *t, unsigned int from,
			   const char *row, const char *online)
{
	uint32_t *to = t->distance + (size_t)from * t->n;

	if (!parse_distances(t, row, online, to))
		presume_distances(t, from);
}

static void read_distances(struct reader *r)
{
	char online[FERRY__SYSFS_MAX];
	unsigned int i;

	for (i = 0; i < r->t->n; i++)
		presume_distances(r->t, i);
	if (ferry__node_list(r->root, "online", online) < 0)
		return;
	for (i = 0; i < r->t->n; i++)
		if (slurp(r, "devices/system/node/node%d/distance",
			  r->t->nodes[i].node))
			take_distances(r->t, i, r->text, online);
}

/* --- tiers ---------------------------------------------------------------- */

struct seeker {
	struct reader *r;
	long above, least; /* the least number above the last one */
};

static void see_tier(void *arg, const char *name)
{
	struct seeker *s = arg;
	char *end;
	long n;

	if (strncmp(name, TIER, strlen(TIER)))
		return;
	n = strtol(name + strlen(TIER), &end, 10);
	if (end == name + strlen(TIER) || *end || n <= s->above)
		return;
	if (n < s->least)
		s->least = n;
}

/* How many nodes of ours are of it; those get @rank. */
static unsigned int take_tier(struct reader *r, long number, unsigned int rank)
{
	unsigned int i, n = 0;

	if (!slurp(r, TIERS "/" TIER "%ld/nodelist", number) ||
	    ferry__list_count(r->text) < 0)
		return 0;
	for (i = 0; i < r->t->n; i++) {
		if (!ferry__list_has(r->text,
				     (unsigned int)r->t->nodes[i].node))
			continue;
		r->t->nodes[i].tier = rank;
		n++;
	}
	return n;
}

/* False: the kernel has not sorted all of our nodes into several tiers. */
static bool by_kernel(struct reader *r)
{
	struct seeker s = { .r = r, .above = -1 };
	unsigned int rank = 0, sorted = 0, n;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/" TIERS, r->root);
	for (;;) {
		s.least = LONG_MAX;
		if (ferry__sys->list(path, see_tier, &s) < 0 ||
		    s.least == LONG_MAX)
			break;
		n = take_tier(r, s.least, rank);
		sorted += n;
		rank += n > 0;
		s.above = s.least;
	}
	r->t->tiers = rank;
	return rank > 1 && sorted == r->t->n;
}

static uint64_t bandwidth(const struct ferry_topology_node *node)
{
	return node->read_bandwidth < node->write_bandwidth
		       ? node->read_bandwidth
		       : node->write_bandwidth;
}

/*
 * The nearest to @i of the nodes for which @fits; -1: there is none. Nodes
 * ascend, so that the lowest of several is found.
 */
static int nearest(const struct ferry_topology *t, unsigned int i,
		   bool (*fits)(const struct ferry_topology_node *,
				unsigned int tier),
		   unsigned int tier)
{
	const uint32_t *distance = t->distance + (size_t)i * t->n;
	unsigned int k;
	int best = -1;

	for (k = 0; k < t->n; k++)
		if (fits(&t->nodes[k], tier) &&
		    (best < 0 || distance[k] < distance[best]))
			best = (int)k;
	return best;
}

static bool has_processors(const struct ferry_topology_node *node,
			   unsigned int tier)
{
	(void)tier;
	return node->has_cpu;
}

enum { FASTER, USUAL, SLOWER, RANKS };

/* Memory on the package is nobody's own, and faster than all others. */
static unsigned int rank_of(const struct ferry_topology *t, unsigned int i)
{
	int near;

	if (t->nodes[i].has_cpu)
		return USUAL;
	near = nearest(t, i, has_processors, 0);
	if (near >= 0 && bandwidth(&t->nodes[near]) &&
	    bandwidth(&t->nodes[i]) > bandwidth(&t->nodes[near]))
		return FASTER;
	return SLOWER;
}

static void by_processors(struct ferry_topology *t)
{
	unsigned int i, rank, tier[RANKS] = { 0 }, seen[RANKS] = { 0 };

	for (i = 0; i < t->n; i++)
		seen[rank_of(t, i)] = 1;
	t->tiers = 0;
	for (rank = 0; rank < RANKS; rank++) {
		tier[rank] = t->tiers;
		t->tiers += seen[rank];
	}
	for (i = 0; i < t->n; i++)
		t->nodes[i].tier = tier[rank_of(t, i)];
}

static void read_tiers(struct reader *r)
{
	if (by_kernel(r)) {
		r->t->source = FERRY_TOPOLOGY_KERNEL;
		return;
	}
	by_processors(r->t);
	r->t->source = r->t->tiers > 1 ? FERRY_TOPOLOGY_PROCESSORS
				       : FERRY_TOPOLOGY_ALIKE;
}

static bool in_tier(const struct ferry_topology_node *node, unsigned int tier)
{
	return node->tier == tier;
}

static int number_of(const struct ferry_topology *t, int i)
{
	return i < 0 ? -1 : t->nodes[i].node;
}

static void find_targets(struct ferry_topology *t)
{
	struct ferry_topology_node *node;
	unsigned int i;

	for (i = 0; i < t->n; i++) {
		node = &t->nodes[i];
		node->slower =
			number_of(t, nearest(t, i, in_tier, node->tier + 1));
		node->faster = -1;
		if (node->tier)
			node->faster = number_of(
				t, nearest(t, i, in_tier, node->tier - 1));
	}
}

/* --- weights -------------------------------------------------------------- */

static uint64_t scaled(uint64_t bandwidth, uint64_t least, unsigned int scale)
{
	uint64_t n = bandwidth / least * scale;

	n += (bandwidth % least * scale + least / 2) / least;
	return n < MOST_WEIGHT ? n : MOST_WEIGHT;
}

/* Are the weights in about the ratio of the bandwidths, as far as they go? */
static bool fit(const struct ferry_topology *t, uint64_t least,
		unsigned int scale)
{
	uint64_t is, wanted;
	unsigned int i;

	for (i = 0; i < t->n; i++) {
		is = scaled(bandwidth(&t->nodes[i]), least, scale);
		if (is == MOST_WEIGHT)
			continue;
		is *= least;
		wanted = bandwidth(&t->nodes[i]) * scale;
		if ((is > wanted ? is - wanted : wanted - is) * WEIGHT_ERROR >
		    wanted)
			return false;
	}
	return true;
}

/* The smallest weights that fit: a round of them is to be short. */
static void weigh(struct ferry_topology *t)
{
	uint64_t least = UINT64_MAX;
	unsigned int i, scale = 1;

	for (i = 0; i < t->n; i++) {
		t->nodes[i].weight = 1;
		if (bandwidth(&t->nodes[i]) < least)
			least = bandwidth(&t->nodes[i]);
	}
	/* Of nonsense so large no ratio is made. */
	for (i = 0; i < t->n; i++)
		if (bandwidth(&t->nodes[i]) > UINT32_MAX)
			least = 0;
	if (!least)
		return;
	while (scale < MOST_SCALE && !fit(t, least, scale))
		scale++;
	for (i = 0; i < t->n; i++)
		t->nodes[i].weight = (unsigned int)scaled(
			bandwidth(&t->nodes[i]), least, scale);
}

void ferry__topology_read(struct ferry_topology *t, const char *root)
{
	struct reader r = { .t = t, .root = root };
	unsigned int i;

	for (i = 0; i < t->n; i++)
		read_node(&r, &t->nodes[i]);
	read_processors(&r);
	read_distances(&r);
	read_tiers(&r);
	find_targets(t);
	weigh(t);
}
