/* SPDX-License-Identifier: MIT */
/* ferryctl stat: what the memory of one process comes to. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ferryctl/agent.h"
#include "tools/ferryctl/job.h"
#include "tools/ferryctl/mappings.h"
#include "tools/ferryctl/nodes.h"
#include "tools/ferryctl/print.h"
#include "tools/ferryctl/sample.h"

/* Mappings that have a policy of their own, by its text. */
struct policy {
	struct policy *next;
	uint64_t bytes;
	char text[];
};

struct stat {
	struct ctl_sample sample;
	uint64_t mappings, mapped;
	uint64_t amount[CTL_AMOUNTS];
	uint64_t *nodes;
	unsigned int nnodes;
	struct policy *policies;
	json_t *objects; /* of the agent; NULL: there is none */
};

static int add_policy(struct stat *stat, const char *text, uint64_t bytes)
{
	struct policy **at = &stat->policies, *policy;
	size_t size = strlen(text) + 1;

	while (*at && strcmp((*at)->text, text))
		at = &(*at)->next;
	if (!*at) {
		policy = malloc(sizeof(*policy) + size);
		if (!policy)
			return -ENOMEM;
		policy->next = NULL;
		policy->bytes = 0;
		memcpy(policy->text, text, size);
		*at = policy;
	}
	(*at)->bytes += bytes;
	return 0;
}

static int add(void *arg, const struct ctl_mapping *m)
{
	struct stat *stat = arg;
	unsigned int i;

	stat->mappings++;
	stat->mapped += m->end - m->start;
	for (i = 0; i < CTL_AMOUNTS; i++)
		stat->amount[i] += m->amount[i];
	for (i = 0; i < m->nnodes && i < stat->nnodes; i++)
		stat->nodes[i] += m->nodes[i];
	return m->policy[0] ? add_policy(stat, m->policy, m->end - m->start)
			    : 0;
}

static void print_amounts(const struct stat *stat)
{
	char size[CTL_SIZE_TEXT];
	unsigned int i;

	printf("  %-14s %8s in %llu mappings\n", "mapped",
	       ctl_size_text(stat->mapped, size),
	       (unsigned long long)stat->mappings);
	for (i = 0; i < CTL_AMOUNTS; i++)
		printf("  %-14s %8s\n", ctl_amount_names[i],
		       ctl_size_text(stat->amount[i], size));
}

/* --- what the agent tells ------------------------------------------------- */

static int add_object(void *arg, const struct ferry_agent_object *object)
{
	json_t *o = json_object();

	ctl_json_bytes(o, "id", object->id);
	json_object_set_new(o, "kind",
			    json_string(ctl_agent_kind_text(object->kind)));
	ctl_json_text(o, "name", object->name);
	ctl_json_range(o, object->addr, object->addr + object->len);
	ctl_json_bytes(o, "used", object->used);
	ctl_json_bytes(o, "resident", object->resident);
	ctl_json_bytes(o, "huge", object->huge);
	ctl_json_bytes(o, "swapped", object->swapped);
	ctl_json_bytes(o, "pinned", object->pinned);
	ctl_json_bytes(o, "out", object->out);
	ctl_json_bytes(o, "live", object->live);
	ctl_json_bytes(o, "limit", object->limit);
	json_array_append_new(arg, o);
	return 0;
}

/* Without an agent, or when it fails, the rest is told all the same. */
static void ask_agent(const struct ctl *ctl, const struct ctl_process *process,
		      struct stat *stat)
{
	struct ctl_client client;
	int r;

	if (ctl_agent_open(ctl, process, &client) < 0)
		return;
	stat->objects = json_array();
	r = ctl_agent_objects(&client, add_object, stat->objects);
	if (r < 0)
		ctl_fail(r, "the agent of %s", ctl_process_label(process));
	ctl_client_fini(&client);
}

static const char *size_of(json_t *object, const char *key, char *buf)
{
	return ctl_size_text(
		(uint64_t)json_integer_value(json_object_get(object, key)),
		buf);
}

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static void print_objects(const struct stat *stat)
{
	char used[CTL_SIZE_TEXT], resident[CTL_SIZE_TEXT], out[CTL_SIZE_TEXT];
	char huge[CTL_SIZE_TEXT], pinned[CTL_SIZE_TEXT];
	json_t *object;
	size_t i;

	if (!stat->objects)
		return;
	printf("  %4s %-7s %8s %8s %8s %8s %8s  %s\n", "ID", "KIND", "USED",
	       "RESIDENT", "HUGE", "PINNED", "OUT", "NAME");
	json_array_foreach(stat->objects, i, object) printf(
		"  %4lld %-7s %8s %8s %8s %8s %8s  %s\n",
		(long long)json_integer_value(json_object_get(object, "id")),
		text_of(object, "kind"), size_of(object, "used", used),
		size_of(object, "resident", resident),
		size_of(object, "huge", huge),
		size_of(object, "pinned", pinned), size_of(object, "out", out),
		text_of(object, "name"));
}

static void print_text(const struct ctl_process *process,
		       const struct stat *stat)
{
	const struct policy *policy;
	char size[CTL_SIZE_TEXT];
	unsigned int i;

	printf("%s: uses Ferry: %s; agent: %s\n", ctl_process_label(process),
	       stat->sample.uses ? ctl_uses_text(stat->sample.uses) : "no",
	       stat->sample.agent ? "yes" : "no");
	print_amounts(stat);
	printf("  %-14s %8llu minor, %llu major\n", "faults",
	       (unsigned long long)stat->sample.minor,
	       (unsigned long long)stat->sample.major);
	for (i = 0; i < stat->nnodes; i++)
		if (stat->nodes[i])
			printf("  node %-9u %8s\n", i,
			       ctl_size_text(stat->nodes[i], size));
	for (policy = stat->policies; policy; policy = policy->next)
		printf("  %-14s %8s mapped\n", policy->text,
		       ctl_size_text(policy->bytes, size));
	print_objects(stat);
}

static json_t *json_nodes(const struct stat *stat)
{
	json_t *o = json_object();
	char key[16];
	unsigned int i;

	for (i = 0; i < stat->nnodes; i++) {
		if (!stat->nodes[i])
			continue;
		snprintf(key, sizeof(key), "%u", i);
		ctl_json_bytes(o, key, stat->nodes[i]);
	}
	return o;
}

static void print_json(const struct ctl_process *process,
		       const struct stat *stat)
{
	json_t *o = json_object(), *policies = json_object();
	const struct ctl_sample *s = &stat->sample;
	const struct policy *policy;
	unsigned int i;

	json_object_set_new(o, "pid", json_integer(process->pid));
	ctl_json_text(o, "name", process->name);
	json_object_set_new(o, "uid", json_integer(s->uid));
	json_object_set_new(o, "uses",
			    s->uses ? json_string(ctl_uses_text(s->uses))
				    : json_null());
	json_object_set_new(o, "agent", json_boolean(s->agent));
	ctl_json_bytes(o, "mapped", stat->mapped);
	ctl_json_bytes(o, "mappings", stat->mappings);
	for (i = 0; i < CTL_AMOUNTS; i++)
		ctl_json_bytes(o, ctl_amount_names[i], stat->amount[i]);
	ctl_json_bytes(o, "minor_faults", s->minor);
	ctl_json_bytes(o, "major_faults", s->major);
	ctl_json_bytes(o, "cpu_ms", s->cpu_ms);
	ctl_json_bytes(o, "threads", s->threads);
	json_object_set_new(o, "nodes", json_nodes(stat));
	for (policy = stat->policies; policy; policy = policy->next)
		ctl_json_bytes(policies, policy->text, policy->bytes);
	json_object_set_new(o, "policies", policies);
	json_object_set(o, "objects",
			stat->objects ? stat->objects : json_null());
	ctl_json_document(o);
}

static void stat_fini(struct stat *stat)
{
	struct policy *policy;

	while ((policy = stat->policies)) {
		stat->policies = policy->next;
		free(policy);
	}
	free(stat->nodes);
	json_decref(stat->objects);
}

static int look(const struct ctl_process *process, struct stat *stat)
{
	int r = ctl_sample_take(process, &stat->sample);

	if (r < 0)
		return r;
	stat->nnodes = ctl_nodes_count();
	stat->nodes = calloc(stat->nnodes, sizeof(*stat->nodes));
	if (!stat->nodes)
		return -ENOMEM;
	return ctl_mappings_walk(process, add, stat);
}

static enum ctl_status stat_command(struct ctl *ctl)
{
	struct ctl_process process;
	enum ctl_status status;
	struct stat stat = { 0 };
	int r;

	status = ctl_process_of(ctl, &process);
	if (status)
		return status;
	r = look(&process, &stat);
	if (r == 0)
		ask_agent(ctl, &process, &stat);
	if (r < 0)
		status = ctl_fail(r, "%s", ctl_process_label(&process));
	else if (ctl_given(ctl, CTL_JSON))
		print_json(&process, &stat);
	else
		print_text(&process, &stat);
	stat_fini(&stat);
	ctl_process_close(&process);
	return status;
}

const struct ctl_command ctl_cmd_stat = {
	.name = "stat",
	.operands = "PID",
	.summary = "what the memory of a process comes to",
	.options = CTL_TAKES(CTL_OUTSIDE) | CTL_TAKES(CTL_JSON),
	.least = 1,
	.most = 1,
	.run = stat_command,
};
