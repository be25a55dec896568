/* SPDX-License-Identifier: MIT */
/* ferryctl list: who uses Ferry, and who would listen. */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ferryctl/job.h"
#include "tools/ferryctl/print.h"
#include "tools/ferryctl/sample.h"

struct list {
	bool all;
	struct ctl_sample *v;
	size_t n, size;
};

static int add(void *arg, const struct ctl_sample *sample)
{
	struct list *list = arg;
	size_t size;
	void *v;

	if (!list->all && !sample->agent && sample->uses == CTL_USES_NOTHING)
		return 0;
	if (list->n == list->size) {
		size = list->size ? 2 * list->size : 64;
		v = realloc(list->v, size * sizeof(*list->v));
		if (!v)
			return -ENOMEM;
		list->v = v;
		list->size = size;
	}
	list->v[list->n++] = *sample;
	return 0;
}

static int by_pid(const void *a, const void *b)
{
	const struct ctl_sample *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static const char *user_name(uint32_t uid, char *buf, size_t size)
{
	struct passwd *user = getpwuid(uid);

	if (user)
		snprintf(buf, size, "%s", user->pw_name);
	else
		snprintf(buf, size, "%u", (unsigned int)uid);
	return buf;
}

static void print_json(const struct ctl_sample *s)
{
	json_t *o = json_object();
	char user[64];

	json_object_set_new(o, "pid", json_integer(s->pid));
	ctl_json_text(o, "name", s->name);
	json_object_set_new(o, "uid", json_integer(s->uid));
	ctl_json_text(o, "user", user_name(s->uid, user, sizeof(user)));
	json_object_set_new(o, "uses",
			    s->uses ? json_string(ctl_uses_text(s->uses))
				    : json_null());
	json_object_set_new(o, "agent", json_boolean(s->agent));
	ctl_json_bytes(o, "resident", s->resident);
	ctl_json_bytes(o, "anonymous", s->anonymous);
	ctl_json_bytes(o, "swapped", s->swapped);
	ctl_json_line(o);
}

static void print_text(const struct ctl_sample *s)
{
	char resident[CTL_SIZE_TEXT], swapped[CTL_SIZE_TEXT], user[64];

	printf("%7d %-10.10s %8s %8s %-8s %-6s %s\n", (int)s->pid,
	       user_name(s->uid, user, sizeof(user)),
	       ctl_size_text(s->resident, resident),
	       ctl_size_text(s->swapped, swapped), ctl_uses_text(s->uses),
	       s->agent ? "yes" : "-", s->name);
}

static enum ctl_status list_command(struct ctl *ctl)
{
	struct list list = { .all = ctl_given(ctl, CTL_ALL) };
	int r = ctl_sample_all(add, &list);
	size_t i;

	if (list.n)
		qsort(list.v, list.n, sizeof(*list.v), by_pid);
	if (!ctl_given(ctl, CTL_JSON))
		printf("%7s %-10s %8s %8s %-8s %-6s %s\n", "PID", "USER",
		       "RESIDENT", "SWAPPED", "USES", "AGENT", "NAME");
	for (i = 0; i < list.n; i++)
		if (ctl_given(ctl, CTL_JSON))
			print_json(&list.v[i]);
		else
			print_text(&list.v[i]);
	free(list.v);
	return r < 0 ? ctl_fail(r, "/proc") : CTL_OK;
}

const struct ctl_command ctl_cmd_list = {
	.name = "list",
	.operands = "",
	.summary = "processes that use Ferry, and whether they have an agent",
	.options = CTL_TAKES(CTL_ALL) | CTL_TAKES(CTL_JSON),
	.least = 0,
	.most = 0,
	.run = list_command,
};
