/* SPDX-License-Identifier: MIT */
/* machine.c: read from /proc and /sys what a result depends on. */
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <ferry/ferry.h>

#include "bench/commit.h"
#include "machine.h"
#include "util.h"

/* The first line of the file, without its newline; "" if there is none. */
static void read_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");

	buf[0] = '\0';
	if (!f)
		return;
	if (fgets(buf, (int)size, f))
		buf[strcspn(buf, "\n")] = '\0';
	fclose(f);
}

/* The value of the first line "@key : value" in /proc/cpuinfo. */
static bool cpuinfo(const char *key, char *buf, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[512];
	bool found = false;

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		char *value = strchr(line, ':');

		if (!value || strncmp(line, key, strlen(key)))
			continue;
		value++;
		value += strspn(value, " \t");
		value[strcspn(value, "\n")] = '\0';
		snprintf(buf, size, "%s", value);
		found = true;
	}
	fclose(f);
	return found;
}

static void get_cpu(struct bench_machine *m)
{
	static const char *const keys[] = { "model name", "Processor",
					    "cpu model", "uarch", "cpu\t" };

	for (size_t i = 0; i < BENCH_ARRAY_LEN(keys); i++)
		if (cpuinfo(keys[i], m->cpu, sizeof(m->cpu)))
			return;
	snprintf(m->cpu, sizeof(m->cpu), "%s", m->arch);
}

/* "always [madvise] never" -> "madvise". */
static void get_thp(struct bench_machine *m)
{
	char line[128];
	char *open, *close;

	read_line("/sys/kernel/mm/transparent_hugepage/enabled", line,
		  sizeof(line));
	open = strchr(line, '[');
	close = strchr(line, ']');
	if (!open || !close || close < open)
		return;
	*close = '\0';
	snprintf(m->thp, sizeof(m->thp), "%s", open + 1);
}

static void get_virtual_machine(struct bench_machine *m)
{
	char flags[8192];

	read_line("/sys/hypervisor/type", m->virtual_machine,
		  sizeof(m->virtual_machine));
	if (m->virtual_machine[0] || !cpuinfo("flags", flags, sizeof(flags)))
		return;
	if (strstr(flags, " hypervisor"))
		snprintf(m->virtual_machine, sizeof(m->virtual_machine),
			 "virtual machine");
}

void bench_machine_get(struct bench_machine *ret)
{
	struct bench_machine *m = ret;
	time_t now = time(NULL);
	struct utsname u;
	struct tm tm;

	memset(m, 0, sizeof(*m));
	if (uname(&u) == 0) {
		snprintf(m->arch, sizeof(m->arch), "%s", u.machine);
		snprintf(m->kernel, sizeof(m->kernel), "%s %s", u.sysname,
			 u.release);
	}
	get_cpu(m);
	get_thp(m);
	get_virtual_machine(m);
	m->cores = sysconf(_SC_NPROCESSORS_ONLN);
	m->page_size = (size_t)sysconf(_SC_PAGESIZE);
	m->memory = (size_t)sysconf(_SC_PHYS_PAGES) * m->page_size;
	if (getloadavg(&m->load, 1) != 1)
		m->load = -1;
	m->ferry = ferry_version();
	m->commit = FERRY_BENCH_COMMIT;
	if (gmtime_r(&now, &tm))
		strftime(m->date, sizeof(m->date), "%Y-%m-%dT%H:%M:%SZ", &tm);
}

bool bench_machine_busy(const struct bench_machine *m)
{
	return m->load > 0.75 * (double)m->cores;
}

uint64_t bench_memory_available(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kb = 0;
	char line[128];

	if (!f)
		return UINT64_MAX;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kb) == 1)
			break;
	fclose(f);
	return kb ? kb * 1024 : UINT64_MAX;
}

bool bench_machine_moves(void)
{
	struct ferry_features f = FERRY_INIT(struct ferry_features);

	return ferry_features_get(&f) == 0 &&
	       f.features & FERRY_FEATURE_MOVE_WORKS;
}

json_t *bench_machine_json(const struct bench_machine *m)
{
	return json_pack("{s:s s:I s:I s:I s:s s:s s:s s:s s:f s:s s:s s:s}",
			 "cpu", m->cpu, "cores", (json_int_t)m->cores,
			 "memory_bytes", (json_int_t)m->memory, "page_size",
			 (json_int_t)m->page_size, "arch", m->arch, "kernel",
			 m->kernel, "thp", m->thp, "virtual",
			 m->virtual_machine, "load", m->load, "ferry", m->ferry,
			 "commit", m->commit, "date", m->date);
}

char *bench_machine_line(const struct bench_machine *m)
{
	return bench_asprintf(
		"%s, %ld cores, %.1f GiB%s%s; %s %s, pages of %zu bytes, huge "
		"pages \"%s\"; load %.1f; ferry %s (commit %s), %s",
		m->cpu, m->cores, (double)m->memory / (1 << 30),
		m->virtual_machine[0] ? ", " : "", m->virtual_machine,
		m->kernel, m->arch, m->page_size, m->thp, m->load, m->ferry,
		m->commit, m->date);
}
