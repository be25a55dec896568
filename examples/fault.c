/* SPDX-License-Identifier: MIT */
/*
 * Memory that is put away and comes back when it is touched: the pages of a
 * table are moved aside, and a fault moves each run of 16 home again. Nothing
 * is copied; whoever uses the table need not know.
 */
#include <ferry/ferry.h>

#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 4096

static size_t page_size;

/*
 * Where a page is that is not at home: at the same offset of the other
 * place, whose address is @aside. Offset and length are preset to the run.
 */
static void supply(void *aside, const struct ferry_fault *fault,
		   struct ferry_supply *supply)
{
	(void)fault;
	supply->kind = FERRY_SUPPLY_MOVE;
	supply->src = (char *)aside + supply->offset;
}

static uint64_t *map(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* The table: every word says which it is. */
static void fill(uint64_t *table, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		table[i] = i;
}

/* Looks at a word of every @step-th page; returns how many are wrong. */
static size_t wrong_words(const uint64_t *table, size_t step)
{
	size_t words = page_size / sizeof(*table), page, wrong = 0;

	for (page = 0; page < PAGES; page += step)
		wrong += table[page * words] != page * words;
	return wrong;
}

static int put_away_and_look(struct ferry_fault_service *service,
			     uint64_t *table, uint64_t *aside, size_t len)
{
	struct ferry_uffd *uffd = ferry_fault_service_uffd(service);
	struct ferry_fault_stats stats = FERRY_INIT(struct ferry_fault_stats);
	struct ferry_move_params whole = FERRY_INIT(struct ferry_move_params);
	size_t wrong;

	/* A place that pages are moved to is registered; this one by us. */
	if (ferry_uffd_register(uffd, aside, len, FERRY_REGISTER_MISSING,
				NULL) ||
	    ferry_fault_attach(service, table, len, supply, aside, NULL) ||
	    ferry_move(uffd, aside, table, len, NULL, NULL))
		return 1;
	wrong = wrong_words(table, 100);
	/*
	 * Before the service ends, the rest comes home: pages that are absent
	 * from then on would read as zero.
	 */
	whole.flags = FERRY_MOVE_HOLES | FERRY_MOVE_PASS_PRESENT;
	if (ferry_move(uffd, table, aside, len, &whole, NULL) ||
	    ferry_fault_detach(service, table, len))
		return 1;
	ferry_fault_service_stats(service, &stats);
	printf("%llu faults brought %llu of %d pages home, %zu words wrong\n",
	       (unsigned long long)stats.faults,
	       (unsigned long long)(stats.pages_moved + stats.pages_copied),
	       PAGES, wrong);
	return wrong || wrong_words(table, 1);
}

int main(void)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);
	struct ferry_fault_service *service;
	enum ferry_reason reason;
	uint64_t *table, *aside;
	size_t len;
	int r;

	page_size = (size_t)sysconf(_SC_PAGESIZE);
	len = PAGES * page_size;
	table = map(len);
	aside = map(len);
	if (!table || !aside)
		return 1;
	fill(table, len / sizeof(*table));
	/* Handler threads, so that system calls find the table as well. */
	params.mode = FERRY_FAULT_THREAD;
	params.around = 16;
	if (ferry_fault_service_create(&params, &reason, &service) < 0) {
		printf("SKIP fault: no fault service: %s\n",
		       ferry_reason_string(reason));
		return 77;
	}
	r = put_away_and_look(service, table, aside, len);
	ferry_fault_service_destroy(service);
	return r;
}
