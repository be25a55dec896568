/* SPDX-License-Identifier: MIT */
/*
 * What counts as cold just now (O1 to O4): the host's age, that of an idle
 * process, doubled for refaults, halved under pressure or above the target.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"
#include "uffd/cgroup.h"

#define SECOND	    1000000000ull
#define AGE_MIN_NS  10000000ull
#define DAY	    (86400 * SECOND)
#define MAX_SLOWER  10
#define MAX_HASTE   4
#define STATUS_NS   (SECOND / 5)
#define REFAULT_NS  (10 * SECOND)
#define QUIET_NS    (60 * SECOND)
#define PRESSURE_NS SECOND
/* Refaults in one look that are never too many. */
#define REFAULT_FREE 64
/* Idle is below a hundredth of one processor. */
#define IDLE_SHARE 100
/* Pressure is more than a hundredth of the time stalled for memory. */
#define STALL_SHARE 100

/* --- files --------------------------------------------------------------- */

/* A whole small file as a string; empty if it cannot be had. */
static void slurp(const char *path, char *buf, size_t size)
{
	int fd = ferry__sys->open(path, 0 /* O_RDONLY */);
	ssize_t n = -1;

	if (fd >= 0) {
		n = ferry__sys->read(fd, buf, size - 1);
		ferry__sys->close(fd);
	}
	buf[n > 0 ? n : 0] = '\0';
}

/* The number behind @key; 0 if it is not there. */
static uint64_t number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* --- the process --------------------------------------------------------- */

static uint64_t in_use(struct ferry__pager *pager)
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	uint64_t sum = 0;

	for (; r; r = ferry__region_next(r))
		sum += __atomic_load_n(&r->used, __ATOMIC_RELAXED);
	return sum;
}

static void look_at_status(struct ferry__pager *pager, uint64_t now)
{
	struct ferry__pager_policy *p = &pager->policy;
	char text[4096];

	if (p->status_at && now - p->status_at < STATUS_NS)
		return;
	p->status_at = now;
	slurp("/proc/self/status", text, sizeof(text));
	p->traced = number_after(text, "TracerPid:");
	/* A few locked pages are somebody's secrets; most of it is a wish. */
	p->locked = number_after(text, "VmLck:") * 1024 > in_use(pager) / 2;
}

static uint64_t thread_cpu(pthread_t thread)
{
	clockid_t clock;

	return pthread_getcpuclockid(thread, &clock)
		       ? 0
		       : ferry__sys->clock_ns(clock);
}

/* CPU time of the program, its helpers left out. */
static void look_at_cpu(struct ferry__pager *pager, uint64_t now)
{
	struct ferry__pager_policy *p = &pager->policy;
	uint64_t cpu, ours, used;

	if (p->cpu_at && now - p->cpu_at < SECOND / 10)
		return;
	ours = thread_cpu(pager->handler.thread) +
	       ferry__sys->clock_ns(CLOCK_THREAD_CPUTIME_ID);
	cpu = ferry__sys->clock_ns(CLOCK_PROCESS_CPUTIME_ID) - ours;
	/* Read one after the other: of nothing it may be less than before. */
	used = cpu > p->cpu_ns ? cpu - p->cpu_ns : 0;
	p->idle = p->cpu_at && used < (now - p->cpu_at) / IDLE_SHARE;
	p->cpu_ns = cpu;
	p->cpu_at = now;
}

/* --- refaults (O3) ------------------------------------------------------- */

/* Too many for the time since the last look? */
static bool too_many(struct ferry__pager *pager, uint64_t n, uint64_t ns)
{
	uint64_t pages = in_use(pager) / ferry__page_size;
	uint64_t a_minute = pages * pager->params.refault_limit / 1000;

	return n > REFAULT_FREE + a_minute * (ns / 1000000) / 60000;
}

static void look_at_refaults(struct ferry__pager *pager, uint64_t now)
{
	struct ferry__pager_policy *p = &pager->policy;
	uint64_t n, ns = now - p->refaults_at;

	/* What there was before is of a parent, or of an earlier start. */
	if (!p->refaults_at) {
		p->refaults_at = now;
		p->refaults = ferry__pager_read(&pager->counts.refaults);
	}
	if (!pager->params.refault_limit || now - p->refaults_at < REFAULT_NS)
		return;
	n = ferry__pager_read(&pager->counts.refaults) - p->refaults;
	p->refaults += n;
	if (too_many(pager, n, ns)) {
		p->quiet_since = now;
		if (p->slower < MAX_SLOWER)
			p->slower++;
		ferry__pager_count(pager, backed_off, 1);
		FERRY__PROBE2(back_off, p->slower, n);
	} else if (p->slower && now - p->quiet_since >= QUIET_NS) {
		p->quiet_since = now;
		p->slower--;
		FERRY__PROBE2(back_off, p->slower, n);
	}
	p->refaults_at = now;
}

/* --- pressure and the target (O4) ---------------------------------------- */

/* Too much since the last look, when the total was @old? */
static bool psi_presses(const char *text, uint64_t us, uint64_t *old)
{
	uint64_t total = number_after(text, "total="), since = *old;

	*old = total;
	return since && total > since && (total - since) * STALL_SHARE > us;
}

/* Without PSI: less than a twentieth of the memory is to be had. */
static bool memory_short(void)
{
	char text[4096];

	slurp("/proc/meminfo", text, sizeof(text));
	return number_after(text, "MemAvailable:") * 20 <
	       number_after(text, "MemTotal:");
}

#define PSI_TEXT 512

static bool read_group(void *arg, const char *folder)
{
	char path[FERRY__CGROUP_PATH + 128], *text = arg;

	snprintf(path, sizeof(path), "%s/memory.pressure", folder);
	slurp(path, text, PSI_TEXT);
	return text[0];
}

/*
 * The system's stalls are a mean over its processors: a group that stands
 * still at its own limit is lost in it on a big machine. The group's alone
 * do not tell that others want the memory that we do not use.
 */
static bool pressed(struct ferry__pager *pager, uint64_t us)
{
	struct ferry__pager_policy *p = &pager->policy;
	char system[PSI_TEXT], group[PSI_TEXT] = "";
	bool here, there;

	if (!pager->params.pressure)
		return false;
	slurp("/proc/pressure/memory", system, sizeof(system));
	ferry__cgroup_walk(read_group, group);
	if (!system[0] && !group[0])
		return memory_short();
	there = psi_presses(system, us, &p->stall_us);
	here = psi_presses(group, us, &p->group_stall_us);
	return here || there;
}

static bool above_target(struct ferry__pager *pager)
{
	struct ferry__pager_stats stats;

	if (!pager->params.rss_target)
		return false;
	ferry__pager_stats(pager, &stats);
	return stats.resident > pager->params.rss_target;
}

static void look_at_pressure(struct ferry__pager *pager, uint64_t now)
{
	struct ferry__pager_policy *p = &pager->policy;
	uint64_t ns = now - p->pressed_at;
	bool psi, above;

	if ((!pager->params.pressure && !pager->params.rss_target) ||
	    ns < PRESSURE_NS)
		return;
	p->pressed_at = now;
	psi = pressed(pager, ns / 1000);
	above = above_target(pager);
	if (psi || above)
		p->haste += p->haste < MAX_HASTE;
	else
		p->haste -= p->haste > 0;
	__atomic_store_n(&pager->hasty, p->haste > 0, __ATOMIC_RELAXED);
	FERRY__PROBE3(haste, p->haste, psi, above);
}

/* --- the sum ------------------------------------------------------------- */

void ferry__policy_update(struct ferry__pager *pager, uint64_t now)
{
	struct ferry__pager_policy *p = &pager->policy;
	uint64_t age;

	look_at_status(pager, now);
	look_at_cpu(pager, now);
	look_at_refaults(pager, now);
	look_at_pressure(pager, now);
	age = p->idle ? pager->params.idle_after_ns
		      : ferry__doubled(pager->params.cold_after_ns, p->slower);
	age = ferry__doubled(age, 0) >> p->haste;
	/* Relaxed: the only writer; ferry__pager_stats() wants no more. */
	__atomic_store_n(&p->age_ns, age < AGE_MIN_NS ? AGE_MIN_NS : age,
			 __ATOMIC_RELAXED);
}

/*
 * Of a second's worth at most, and of a page's where that is more. The time
 * that is not yet worth a byte is left for the next look.
 */
static void earn_tokens(struct ferry__pager *pager, uint64_t most)
{
	struct ferry__pager_policy *p = &pager->policy;
	uint64_t rate = pager->params.rate, now = ferry__sys->now_ns(), earned;

	/* A day at most, so that it can be counted. */
	if (now - p->tokens_at > DAY)
		p->tokens_at = now - DAY;
	earned = (uint64_t)((unsigned __int128)rate * (now - p->tokens_at) /
			    SECOND);
	p->tokens_at += (uint64_t)((unsigned __int128)earned * SECOND / rate);
	p->tokens = earned < most - p->tokens ? p->tokens + earned : most;
}

bool ferry__policy_allows(struct ferry__pager *pager, uint64_t bytes)
{
	struct ferry__pager_policy *p = &pager->policy;
	uint64_t rate = pager->params.rate;
	uint64_t most = rate > ferry__page_size ? rate : ferry__page_size;

	if (!rate)
		return true;
	earn_tokens(pager, most);
	/* What is more than there can ever be may go where all of it is. */
	if (bytes > p->tokens && p->tokens < most)
		return false;
	p->tokens -= bytes < p->tokens ? bytes : p->tokens;
	return true;
}
