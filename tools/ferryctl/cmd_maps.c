/* SPDX-License-Identifier: MIT */
/* ferryctl maps: a picture of the memory of a process. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ferryctl/agent.h"
#include "tools/ferryctl/job.h"
#include "tools/ferryctl/mappings.h"
#include "tools/ferryctl/pages.h"
#include "tools/ferryctl/picture.h"
#include "tools/ferryctl/print.h"

#define MOST_CELLS 4096

/*
 * One mapping, or object of an agent, with its picture; a list, as their
 * number is known at the end.
 */
struct row {
	struct row *next;
	uint64_t object; /* its number; 0: a mapping */
	uint64_t out, pinned;
	uint64_t start, end;
	uint64_t resident, swapped, huge;
	char rights[5];
	char *name, *policy;
	char *places, *marks; /* the picture */
	bool marked;
};

struct maps {
	const struct ctl_process *process;
	struct ctl_pages pages;
	struct ctl_client *client; /* while objects are asked for */
	unsigned int width;
	bool all;
	struct row *first, **last;
	unsigned int n;
};

static void row_free(struct row *row)
{
	if (!row)
		return;
	free(row->name);
	free(row->policy);
	free(row->places);
	free(row->marks);
	free(row);
}

static int row_new(const struct ctl_mapping *m, unsigned int width,
		   struct row **ret_row)
{
	struct row *row = calloc(1, sizeof(*row));

	if (!row)
		return -ENOMEM;
	row->start = m->start;
	row->end = m->end;
	row->resident = m->amount[CTL_RSS] + m->amount[CTL_HUGETLB];
	row->swapped = m->amount[CTL_SWAP];
	memcpy(row->rights, m->rights, sizeof(row->rights));
	row->name = strdup(m->name);
	row->policy = strdup(m->policy);
	row->places = malloc(width + 1);
	row->marks = malloc(width + 1);
	if (row->name && row->policy && row->places && row->marks) {
		*ret_row = row;
		return 0;
	}
	row_free(row);
	return -ENOMEM;
}

struct painter {
	struct ctl_strip strip;
	struct row *row;
};

static int paint(void *arg, const struct ctl_run *run)
{
	struct painter *painter = arg;
	unsigned int paints = run->present ? 1u << CTL_PAINT_PRESENT
					   : 1u << CTL_PAINT_SWAPPED;

	if (run->huge) {
		paints |= 1u << CTL_PAINT_HUGE;
		painter->row->huge += run->end - run->start;
	}
	ctl_strip_paint(&painter->strip, run->start, run->end, paints,
			run->node);
	return 0;
}

static int draw(struct maps *maps, struct row *row)
{
	struct painter painter = { .row = row };
	int r;

	r = ctl_strip_init(&painter.strip, row->start, row->end, maps->width);
	if (r < 0)
		return r;
	/* Nothing is in a mapping of which nothing is counted. */
	if (row->resident || row->swapped)
		r = ctl_pages_walk(&maps->pages, row->start, row->end, true,
				   paint, &painter);
	ctl_strip_places(&painter.strip, row->places);
	row->marked = ctl_strip_marks(&painter.strip, row->marks);
	ctl_strip_fini(&painter.strip);
	return r;
}

static void append(struct maps *maps, struct row *row)
{
	*maps->last = row;
	maps->last = &row->next;
	maps->n++;
}

/* Is it part of an object, which is shown already? */
static bool is_shown(const struct maps *maps, const struct ctl_mapping *m)
{
	const struct row *row;

	for (row = maps->first; row; row = row->next)
		if (row->object && row->start <= m->start && m->end <= row->end)
			return true;
	return false;
}

static int add(void *arg, const struct ctl_mapping *m)
{
	struct maps *maps = arg;
	struct row *row;
	int r;

	if (is_shown(maps, m))
		return 0;
	if (!maps->all && !m->amount[CTL_RSS] && !m->amount[CTL_SWAP] &&
	    !m->amount[CTL_HUGETLB])
		return 0;
	r = row_new(m, maps->width, &row);
	if (r < 0)
		return r;
	append(maps, row);
	return draw(maps, row);
}

/* --- objects of an agent -------------------------------------------------- */

static int paint_object(void *arg, const struct ferry_agent_run *run)
{
	static const struct {
		uint32_t flag;
		enum ctl_paint paint;
	} flags[] = {
		{ FERRY_AGENT_RUN_PRESENT, CTL_PAINT_PRESENT },
		{ FERRY_AGENT_RUN_HUGE, CTL_PAINT_HUGE },
		{ FERRY_AGENT_RUN_SWAPPED, CTL_PAINT_SWAPPED },
		{ FERRY_AGENT_RUN_PINNED, CTL_PAINT_PINNED },
		{ FERRY_AGENT_RUN_OUT, CTL_PAINT_OUT },
		{ FERRY_AGENT_RUN_TRANSIT, CTL_PAINT_TRANSIT },
	};
	struct painter *painter = arg;
	unsigned int paints = 0;
	size_t i;

	for (i = 0; i < CTL_ARRAY_LEN(flags); i++)
		if (run->flags & flags[i].flag)
			paints |= 1u << flags[i].paint;
	ctl_strip_paint(&painter->strip, run->addr, run->addr + run->len,
			paints, run->node);
	return 0;
}

static int draw_object(struct maps *maps, struct row *row)
{
	struct painter painter = { .row = row };
	int r;

	r = ctl_strip_init(&painter.strip, row->start, row->end, maps->width);
	if (r < 0)
		return r;
	r = ctl_agent_runs(maps->client, row->start, row->end - row->start,
			   paint_object, &painter);
	ctl_strip_places(&painter.strip, row->places);
	row->marked = ctl_strip_marks(&painter.strip, row->marks);
	ctl_strip_fini(&painter.strip);
	return r;
}

static int add_object(void *arg, const struct ferry_agent_object *object)
{
	char name[128];
	const struct ctl_mapping as_mapping = {
		.start = object->addr,
		.end = object->addr + object->len,
		.rights = "rw-p",
		.name = name,
		.policy = "",
		.amount = { [CTL_RSS] = object->resident,
			    [CTL_SWAP] = object->swapped },
	};
	struct maps *maps = arg;
	struct row *row;
	int r;

	if (!object->len)
		return 0;
	snprintf(name, sizeof(name), "%s %llu %s",
		 ctl_agent_kind_text(object->kind),
		 (unsigned long long)object->id, object->name);
	r = row_new(&as_mapping, maps->width, &row);
	if (r < 0)
		return r;
	row->object = object->id;
	row->huge = object->huge;
	row->out = object->out;
	row->pinned = object->pinned;
	append(maps, row);
	r = draw_object(maps, row);
	/* It may be gone by now; a broken agent ends this. */
	return r < 0 && maps->client->fd < 0 ? r : 0;
}

/* Without an agent, or when it fails, mappings are shown all the same. */
static void add_objects(const struct ctl *ctl, struct maps *maps)
{
	struct ctl_client client;
	int r;

	if (ctl_agent_open(ctl, maps->process, &client) < 0)
		return;
	maps->client = &client;
	r = ctl_agent_objects(&client, add_object, maps);
	if (r < 0)
		ctl_fail(r, "the agent of %s",
			 ctl_process_label(maps->process));
	ctl_client_fini(&client);
}

/* --- what is shown -------------------------------------------------------- */

static const char *label(const struct row *row, char *buf, size_t size)
{
	char len[CTL_SIZE_TEXT], resident[CTL_SIZE_TEXT];

	snprintf(buf, size, "%012llx-%012llx %s %5s, %5s in memory  %s%s%s",
		 (unsigned long long)row->start, (unsigned long long)row->end,
		 row->rights, ctl_size_text(row->end - row->start, len),
		 ctl_size_text(row->resident, resident), row->policy,
		 row->name[0] ? "  " : "", row->name);
	return buf;
}

static void print_text(const struct maps *maps)
{
	const struct row *row;
	char text[512];

	printf("%s: a digit is a node, s swapped, o stored, . not there; "
	       "below: H huge, P pinned, t moving\n",
	       ctl_process_label(maps->process));
	for (row = maps->first; row; row = row->next) {
		printf("%s\n  %s\n", label(row, text, sizeof(text)),
		       row->places);
		if (row->marked)
			printf("  %s\n", row->marks);
	}
}

static void print_svg(const struct maps *maps)
{
	const struct row *row;
	struct ctl_svg svg;
	char text[512];

	ctl_svg_begin(&svg, stdout, ctl_process_label(maps->process), maps->n);
	for (row = maps->first; row; row = row->next)
		ctl_svg_strip(&svg, label(row, text, sizeof(text)), row->places,
			      row->marks);
	ctl_svg_end(&svg);
}

static void print_json(const struct maps *maps)
{
	json_t *o = json_object(), *rows = json_array(), *one;
	const struct row *row;

	for (row = maps->first; row; row = row->next) {
		one = json_object();
		ctl_json_range(one, row->start, row->end);
		ctl_json_text(one, "name", row->name);
		json_object_set_new(one, "rights", json_string(row->rights));
		ctl_json_text(one, "policy", row->policy);
		ctl_json_bytes(one, "resident", row->resident);
		ctl_json_bytes(one, "swapped", row->swapped);
		ctl_json_bytes(one, "huge", row->huge);
		if (row->object) {
			ctl_json_bytes(one, "object", row->object);
			ctl_json_bytes(one, "out", row->out);
			ctl_json_bytes(one, "pinned", row->pinned);
		}
		json_object_set_new(one, "places", json_string(row->places));
		json_object_set_new(one, "marks", json_string(row->marks));
		json_array_append_new(rows, one);
	}
	json_object_set_new(o, "pid", json_integer(maps->process->pid));
	ctl_json_text(o, "name", maps->process->name);
	json_object_set_new(o, "mappings", rows);
	ctl_json_document(o);
}

static enum ctl_status show(const struct ctl *ctl, struct maps *maps)
{
	int r = ctl_pages_open(&maps->pages, maps->process);

	if (r == 0) {
		add_objects(ctl, maps);
		r = ctl_mappings_walk(maps->process, add, maps);
	}
	ctl_pages_close(&maps->pages);
	if (r < 0)
		return ctl_fail(r, "%s", ctl_process_label(maps->process));
	if (ctl_given(ctl, CTL_JSON))
		print_json(maps);
	else if (ctl_given(ctl, CTL_SVG))
		print_svg(maps);
	else
		print_text(maps);
	return CTL_OK;
}

static enum ctl_status maps_command(struct ctl *ctl)
{
	struct maps maps = { .all = ctl_given(ctl, CTL_ALL) };
	struct ctl_process process;
	enum ctl_status status;
	struct row *row;
	uint64_t width;

	if (ctl_number(ctl, CTL_WIDTH, false, 72, &width) < 0)
		return CTL_USAGE;
	if (!width || width > MOST_CELLS) {
		ctl_complain("--width is from 1 to %d", MOST_CELLS);
		return CTL_USAGE;
	}
	status = ctl_process_of(ctl, &process);
	if (status)
		return status;
	maps.process = &process;
	maps.width = (unsigned int)width;
	maps.last = &maps.first;
	status = show(ctl, &maps);
	while ((row = maps.first)) {
		maps.first = row->next;
		row_free(row);
	}
	ctl_process_close(&process);
	return status;
}

const struct ctl_command ctl_cmd_maps = {
	.name = "maps",
	.operands = "PID",
	.summary = "a picture of the memory of a process",
	.options = CTL_TAKES(CTL_ALL) | CTL_TAKES(CTL_SVG) |
		   CTL_TAKES(CTL_WIDTH) | CTL_TAKES(CTL_OUTSIDE) |
		   CTL_TAKES(CTL_JSON),
	.least = 1,
	.most = 1,
	.run = maps_command,
};
