/* SPDX-License-Identifier: MIT */
/* ferryctl classify: which mappings Ferry could manage, and why not others. */
#include <errno.h>
#include <ferry/eligible.h>
#include <string.h>

#include "tools/ferryctl/job.h"
#include "tools/ferryctl/print.h"

/* Stable names, for programs. */
static const char *reason_name(enum ferry_reason reason)
{
	switch (reason) {
	case FERRY_REASON_NONE:
		return "none";
	case FERRY_REASON_READ_ONLY:
		return "read-only";
	case FERRY_REASON_SHARED:
		return "shared";
	case FERRY_REASON_FILE:
		return "file";
	case FERRY_REASON_DAX:
		return "dax";
	case FERRY_REASON_HUGETLB:
		return "hugetlb";
	case FERRY_REASON_LOCKED:
		return "locked";
	case FERRY_REASON_DEVICE:
		return "device";
	case FERRY_REASON_SECRET:
		return "secret";
	case FERRY_REASON_TAGGED:
		return "tagged";
	case FERRY_REASON_SHADOW_STACK:
		return "shadow-stack";
	case FERRY_REASON_SPECIAL:
		return "special";
	case FERRY_REASON_OTHER_UFFD:
		return "userfaultfd";
	case FERRY_REASON_GUARD:
		return "guard";
	case FERRY_REASON_UNMAPPED:
		return "unmapped";
	default:
		return "other";
	}
}

struct classify {
	json_t *mappings; /* NULL: text */
	uint64_t bytes, managed, n;
};

static void print_text(const struct ferry_mapping *m)
{
	char size[CTL_SIZE_TEXT];
	uint64_t start = (uintptr_t)m->range.addr;

	printf("%012llx-%012llx %5s %c%c%c%c %s%s%s\n",
	       (unsigned long long)start,
	       (unsigned long long)(start + m->range.len),
	       ctl_size_text(m->range.len, size), m->readable ? 'r' : '-',
	       m->writable ? 'w' : '-', m->executable ? 'x' : '-',
	       m->shared ? 's' : 'p', m->explanation, m->name[0] ? "  " : "",
	       m->name);
}

static json_t *as_json(const struct ferry_mapping *m)
{
	uint64_t start = (uintptr_t)m->range.addr;
	json_t *o = json_object();

	ctl_json_range(o, start, start + m->range.len);
	json_object_set_new(o, "manageable",
			    json_boolean(m->reason == FERRY_REASON_NONE));
	json_object_set_new(o, "reason", json_string(reason_name(m->reason)));
	ctl_json_text(o, "explanation", m->explanation);
	ctl_json_text(o, "name", m->name);
	json_object_set_new(o, "writable", json_boolean(m->writable));
	json_object_set_new(o, "shared", json_boolean(m->shared));
	json_object_set_new(o, "locked", json_boolean(m->locked));
	json_object_set_new(o, "userfaultfd", json_boolean(m->userfault));
	ctl_json_bytes(o, "page_size", m->page_size);
	return o;
}

static int take(void *arg, const struct ferry_mapping *m)
{
	struct classify *c = arg;

	c->n++;
	c->bytes += m->range.len;
	if (m->reason == FERRY_REASON_NONE)
		c->managed += m->range.len;
	if (c->mappings)
		json_array_append_new(c->mappings, as_json(m));
	else
		print_text(m);
	return ferror(stdout) ? -EPIPE : 0;
}

static void sum_up(const struct ctl_process *process, const struct classify *c)
{
	char managed[CTL_SIZE_TEXT], bytes[CTL_SIZE_TEXT];
	json_t *o;

	if (!c->mappings) {
		printf("%s: %s of %s in %llu mappings could be managed\n",
		       ctl_process_label(process),
		       ctl_size_text(c->managed, managed),
		       ctl_size_text(c->bytes, bytes),
		       (unsigned long long)c->n);
		return;
	}
	o = json_object();
	json_object_set_new(o, "pid", json_integer(process->pid));
	ctl_json_text(o, "name", process->name);
	ctl_json_bytes(o, "mapped", c->bytes);
	ctl_json_bytes(o, "manageable", c->managed);
	json_object_set(o, "mappings", c->mappings);
	ctl_json_document(o);
}

/* The library takes a number: the process is seen to be alive after it. */
static int walk(const struct ctl_process *process, struct classify *c)
{
	int r = ferry_mappings_walk(process->pid, NULL, 0, take, c);
	int check = ctl_process_check(process);

	return check ? check : r;
}

static enum ctl_status classify(struct ctl *ctl)
{
	struct ctl_process process;
	enum ctl_status status;
	struct classify c = { 0 };
	int r;

	status = ctl_process_of(ctl, &process);
	if (status)
		return status;
	if (ctl_given(ctl, CTL_JSON))
		c.mappings = json_array();
	r = walk(&process, &c);
	if (r == 0)
		sum_up(&process, &c);
	else if (r == -EPIPE)
		status = CTL_FAILED; /* told at the end of main() */
	else
		status = ctl_fail(r, "%s", ctl_process_label(&process));
	json_decref(c.mappings);
	ctl_process_close(&process);
	return status;
}

const struct ctl_command ctl_cmd_classify = {
	.name = "classify",
	.operands = "PID",
	.summary = "which mappings Ferry could manage, and why not others",
	.options = CTL_TAKES(CTL_JSON),
	.least = 1,
	.most = 1,
	.run = classify,
};
