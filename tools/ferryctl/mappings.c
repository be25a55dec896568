/* SPDX-License-Identifier: MIT */
/* The mappings of a process with what the kernel counts of each. */
#include "tools/ferryctl/mappings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ferryctl/ctl.h"
#include "tools/ferryctl/lines.h"
#include "tools/ferryctl/nodes.h"

const char *const ctl_amount_names[CTL_AMOUNTS] = {
	[CTL_RSS] = "resident",	   [CTL_PSS] = "proportional",
	[CTL_ANON] = "anonymous",  [CTL_SWAP] = "swapped",
	[CTL_LOCKED] = "locked",   [CTL_HUGE] = "huge",
	[CTL_HUGETLB] = "hugetlb", [CTL_DIRTY] = "dirty",
};

/* What numa_maps said last, and of what address. */
struct numa {
	struct ctl_lines lines;
	bool pending;
	uint64_t start;
	char *policy;	 /* within the line */
	uint64_t *nodes; /* pages, then bytes */
	unsigned int nnodes;
};

struct walk {
	struct ctl_lines lines;
	struct numa numa;
	struct ctl_mapping mapping;
	char *name;
	size_t name_size;
	bool pending; /* @mapping is there and not handed out */
	ctl_mapping_fn fn;
	void *arg;
};

/* --- numa_maps ------------------------------------------------------------ */

/* "N3=17" of a line. */
static void take_node(struct numa *numa, const char *word)
{
	char *end;
	unsigned long node = strtoul(word + 1, &end, 10);

	if (end > word + 1 && *end == '=' && node < numa->nnodes)
		numa->nodes[node] += strtoull(end + 1, NULL, 10);
}

/* Pages are counted in the mapping's own size, which the line ends with. */
static void take_counts(struct numa *numa, char *words)
{
	static const char size_key[] = "kernelpagesize_kB=";
	uint64_t page = 4096;
	char *word, *rest;
	unsigned int i;

	memset(numa->nodes, 0, numa->nnodes * sizeof(*numa->nodes));
	for (word = strtok_r(words, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest)) {
		if (word[0] == 'N')
			take_node(numa, word);
		else if (!strncmp(word, size_key, sizeof(size_key) - 1))
			page = 1024 *
			       strtoull(word + sizeof(size_key) - 1, NULL, 10);
	}
	for (i = 0; i < numa->nnodes; i++)
		numa->nodes[i] *= page;
}

/* "7f00dead0000 bind:0-1 anon=3 N0=3 kernelpagesize_kB=4" */
static bool take_numa_line(struct numa *numa, char *line)
{
	char *end;

	numa->start = strtoull(line, &end, 16);
	if (end == line || *end != ' ')
		return false;
	numa->policy = end + 1;
	end = strchr(numa->policy, ' ');
	if (end)
		*end = '\0';
	take_counts(numa, end ? end + 1 : strchr(numa->policy, '\0'));
	return true;
}

/* Reads on to the record of @start, if there is one. */
static bool find_numa(struct numa *numa, uint64_t start)
{
	char *line;

	while (!numa->pending || numa->start < start) {
		if (ctl_lines_next(&numa->lines, &line) <= 0)
			return false;
		numa->pending = take_numa_line(numa, line);
	}
	return numa->start == start;
}

/* --- smaps ---------------------------------------------------------------- */

static int hand_out(struct walk *walk)
{
	struct ctl_mapping *m = &walk->mapping;

	if (!walk->pending)
		return 0;
	walk->pending = false;
	m->name = walk->name;
	m->policy = "";
	m->nodes = NULL;
	m->nnodes = 0;
	if (find_numa(&walk->numa, m->start)) {
		m->policy = walk->numa.policy;
		m->nodes = walk->numa.nodes;
		m->nnodes = walk->numa.nnodes;
	}
	return walk->fn(walk->arg, m);
}

/* Names are the process's to choose: control characters stay here. */
static int keep_name(struct walk *walk, const char *name)
{
	size_t i, size = strlen(name) + 1;
	char *copy;

	if (size > walk->name_size) {
		copy = realloc(walk->name, size);
		if (!copy)
			return -ENOMEM;
		walk->name = copy;
		walk->name_size = size;
	}
	for (i = 0; i < size - 1; i++)
		walk->name[i] = (unsigned char)name[i] < ' ' || name[i] == 0x7f
					? '?'
					: name[i];
	walk->name[i] = '\0';
	return 0;
}

/* "55d0c000-55d0d000 rw-p 00003000 fe:00 1095   /usr/bin/x" */
static int take_header(struct walk *walk, char *line)
{
	struct ctl_mapping *m = &walk->mapping;
	char *s;
	int i;

	*m = (struct ctl_mapping){ .page_size = 4096 };
	m->start = strtoull(line, &s, 16);
	if (*s != '-')
		return -EIO;
	m->end = strtoull(s + 1, &s, 16);
	if (*s != ' ' || strlen(s) < 6 || m->end <= m->start)
		return -EIO;
	memcpy(m->rights, s + 1, 4);
	s += 5;
	for (i = 0; i < 3; i++) { /* offset, device, inode */
		s += strspn(s, " ");
		s += strcspn(s, " ");
	}
	walk->pending = true;
	return keep_name(walk, s + strspn(s, " "));
}

static const struct {
	const char *key;
	enum ctl_amount amount;
} keys[] = {
	{ "Rss:", CTL_RSS },
	{ "Pss:", CTL_PSS },
	{ "Anonymous:", CTL_ANON },
	{ "Swap:", CTL_SWAP },
	{ "Locked:", CTL_LOCKED },
	{ "AnonHugePages:", CTL_HUGE },
	{ "ShmemPmdMapped:", CTL_HUGE },
	{ "FilePmdMapped:", CTL_HUGE },
	{ "Shared_Hugetlb:", CTL_HUGETLB },
	{ "Private_Hugetlb:", CTL_HUGETLB },
	{ "Shared_Dirty:", CTL_DIRTY },
	{ "Private_Dirty:", CTL_DIRTY },
};

/* "Rss:   12 kB"; other keys are passed over. */
static void take_field(struct ctl_mapping *m, const char *line)
{
	size_t i, n;

	if (!strncmp(line, "KernelPageSize:", 15))
		m->page_size = 1024 * strtoull(line + 15, NULL, 10);
	for (i = 0; i < CTL_ARRAY_LEN(keys); i++) {
		n = strlen(keys[i].key);
		if (strncmp(line, keys[i].key, n))
			continue;
		m->amount[keys[i].amount] +=
			1024 * strtoull(line + n, NULL, 10);
	}
}

static bool is_header(const char *line)
{
	return (*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f');
}

static int take_line(struct walk *walk, char *line)
{
	int r;

	if (!is_header(line)) {
		take_field(&walk->mapping, line);
		return 0;
	}
	r = hand_out(walk);
	return r ? r : take_header(walk, line);
}

static int read_all(struct walk *walk)
{
	char *line;
	int r;

	while ((r = ctl_lines_next(&walk->lines, &line)) > 0) {
		r = take_line(walk, line);
		if (r)
			return r;
	}
	return r < 0 ? r : hand_out(walk);
}

static int open_lines(const struct ctl_process *process, const char *name,
		      struct ctl_lines *lines)
{
	int fd = ctl_process_file(process, name);

	ctl_lines_init(lines, fd);
	return fd < 0 ? fd : 0;
}

int ctl_mappings_walk(const struct ctl_process *process, ctl_mapping_fn fn,
		      void *arg)
{
	struct walk walk = { .fn = fn, .arg = arg };
	int r;

	r = open_lines(process, "smaps", &walk.lines);
	if (r == -EOPNOTSUPP)
		r = open_lines(process, "maps", &walk.lines);
	if (r < 0)
		return r;
	/* A kernel without NUMA has no such file: nothing is known then. */
	open_lines(process, "numa_maps", &walk.numa.lines);
	walk.numa.nnodes = ctl_nodes_count();
	walk.numa.nodes = calloc(walk.numa.nnodes, sizeof(*walk.numa.nodes));
	r = walk.numa.nodes ? read_all(&walk) : -ENOMEM;
	/* The kernel ends the text of a process that ends with it. */
	if (r == 0)
		r = ctl_process_check(process);
	free(walk.numa.nodes);
	free(walk.name);
	ctl_lines_fini(&walk.numa.lines);
	ctl_lines_fini(&walk.lines);
	return r;
}
