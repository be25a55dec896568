/* SPDX-License-Identifier: MIT */
/*
 * A small compactor: a list whose records lie scattered is made dense while a
 * thread walks along it. At one moment its head is changed to the new address,
 * at which there is nothing yet. Each unit of 16 pages is copied there, and
 * its links corrected, when the walk or a background thread comes to it; pages
 * that are emptied are what the next units are written to.
 */
#include <ferry/ferry.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define GROUPS	  ((size_t)1 << 14)
#define PER_GROUP 64u /* records whose places one word tells */
#define RECORDS	  (GROUPS * PER_GROUP)

struct record {
	struct record *next;
	uint64_t id, payload, more[5];
};

static struct record *from, *to;
static uint64_t live[GROUPS];	  /* a bit per record */
static size_t before[GROUPS + 1]; /* live in groups before */
static uint32_t left[RECORDS * sizeof(struct record) / 4096]; /* to be copied */
static size_t unit_len;

static size_t count(uint64_t bits)
{
	return (size_t)__builtin_popcountll(bits);
}

/* Where a record goes: as many places on as live ones lie before it. */
static struct record *forward(const struct record *old)
{
	size_t i = (size_t)(old - from), group = i / PER_GROUP;
	uint64_t below = live[group] & ((1ull << i % PER_GROUP) - 1);

	return to + before[group] + count(below);
}

/* The group that holds the record which goes to place @place. */
static size_t group_of(size_t place)
{
	size_t low = 0, n = GROUPS;

	for (; n > 1; n -= n / 2)
		low += before[low + n / 2] <= place ? n / 2 : 0;
	return low;
}

/* A record has left its unit; who copies the last one hands the pages in. */
static void copied(struct ferry_demand *demand, const struct record *old)
{
	size_t unit = (size_t)(old - from) * sizeof(*old) / unit_len;
	char *pages = (char *)from + unit * unit_len;

	if (!__atomic_sub_fetch(&left[unit], 1, __ATOMIC_ACQ_REL))
		ferry_demand_recycle(demand, pages, unit_len);
}

/* Called once for each unit, perhaps in a SIGBUS handler. */
static enum ferry_demand_answer produce(void *arg,
					struct ferry_demand_unit *unit)
{
	struct record *new = ferry_demand_staging(unit);
	size_t i, n = unit->len / sizeof(*new), place = unit->number * n;
	size_t last = place + n;

	(void)arg;
	i = group_of(place) * PER_GROUP;
	for (; i < RECORDS && place < last; i++) {
		if (!(live[i / PER_GROUP] >> i % PER_GROUP & 1) ||
		    forward(&from[i]) != to + place)
			continue; /* dead, or in the unit before */
		*new = from[i];
		if (new->next)
			new->next = forward(new->next);
		new ++;
		place++;
		copied(unit->demand, &from[i]);
	}
	return FERRY_DEMAND_STAGED;
}

/* Every third record is in the list, now and then each one. */
static struct record *make_list(void)
{
	struct record *head = NULL;
	size_t i;

	for (i = RECORDS; i--;) {
		if (i % 3 && i % 4096 > 100)
			continue;
		from[i] = (struct record){ head, i, 3 * i, { 0 } };
		head = &from[i];
		live[i / PER_GROUP] |= 1ull << i % PER_GROUP;
		left[i * sizeof(*from) / unit_len]++;
	}
	for (i = 0; i < GROUPS; i++)
		before[i + 1] = before[i] + count(live[i]);
	return head;
}

static void *in_background(void *demand)
{
	return ferry_demand_run(demand, NULL) ? demand : NULL;
}

int main(void)
{
	struct ferry_demand_params params = { .size = sizeof(params) };
	struct ferry_demand_stats stats = { .size = sizeof(stats) };
	struct ferry_demand_range range = { .unit_pages = 16 };
	struct ferry_demand *demand;
	const struct record *r;
	pthread_t thread;
	size_t n = 0;

	unit_len = 16 * (size_t)sysconf(_SC_PAGESIZE);
	from = mmap(NULL, 2 * RECORDS * sizeof(*from), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	to = from + RECORDS;
	r = make_list();
	range.addr = to;
	range.len = (before[GROUPS] * sizeof(*to) / unit_len + 1) * unit_len;
	range.initial = FERRY_DEMAND_WAITING;
	if (ferry_demand_create(&params, NULL, &demand))
		return 77; /* no userfaultfd */
	ferry_demand_prepare(demand, &range, 1, produce, NULL);
	/* The pause: as long as it takes to correct the roots. */
	ferry_demand_begin(demand, NULL);
	r = forward(r);
	pthread_create(&thread, NULL, in_background, demand);
	for (; r; r = r->next)
		n += r == to + n && r->payload == 3 * r->id;
	pthread_join(thread, NULL);
	ferry_demand_end(demand);
	ferry_demand_stats(demand, &stats);
	printf("%zu records right, %lu units by the walk, %lu beside it\n", n,
	       (unsigned long)stats.by_faults,
	       (unsigned long)stats.by_background);
	ferry_demand_destroy(demand);
	return n != before[GROUPS];
}
