/* SPDX-License-Identifier: MIT */
/*
 * Memory that is made when it is touched: each page of a large array holds
 * numbers that are computed at its first use.
 */
#include <ferry/ferry.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define LEN ((size_t)64 << 20)

struct squares {
	uint64_t *staging; /* one page, where the next page is made */
	size_t page_size;
};

/*
 * Makes the page that is missing. This runs in a signal handler of the thread
 * that touched it: no allocation, no lock, nothing in the array itself. With
 * one thread in the array, one staging page is enough.
 */
static void supply(void *arg, const struct ferry_fault *fault,
		   struct ferry_supply *supply)
{
	const struct squares *squares = arg;
	uint64_t first = fault->offset / sizeof(uint64_t);
	size_t i;

	for (i = 0; i < squares->page_size / sizeof(uint64_t); i++)
		squares->staging[i] = (first + i) * (first + i);
	supply->kind = FERRY_SUPPLY_COPY;
	supply->src = squares->staging;
	supply->offset = fault->offset;
	supply->len = squares->page_size;
}

static uint64_t *map(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Touches numbers here and there; returns how many were wrong. */
static size_t look_around(const uint64_t *array)
{
	static const uint64_t places[] = { 0, 7, 1000, 1000000, 8000000 };
	size_t i, wrong = 0;

	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint64_t n = places[i];

		printf("%10llu squared is %llu\n", (unsigned long long)n,
		       (unsigned long long)array[n]);
		wrong += array[n] != n * n;
	}
	return wrong;
}

int main(void)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);
	struct ferry_fault_stats stats = FERRY_INIT(struct ferry_fault_stats);
	struct ferry_fault_service *service;
	struct squares squares;
	enum ferry_reason reason;
	uint64_t *array;
	size_t wrong;

	squares.page_size = (size_t)sysconf(_SC_PAGESIZE);
	squares.staging = map(squares.page_size);
	array = map(LEN);
	if (!squares.staging || !array)
		return 1;
	params.mode = FERRY_FAULT_SIGBUS;
	if (ferry_fault_service_create(&params, &reason, &service) < 0) {
		printf("SKIP lazy: no fault service: %s\n",
		       ferry_reason_string(reason));
		return 77;
	}
	if (ferry_fault_attach(service, array, LEN, supply, &squares, NULL) < 0)
		return 1;
	wrong = look_around(array);
	ferry_fault_service_stats(service, &stats);
	printf("%llu pages of %zu were made\n",
	       (unsigned long long)stats.faults, LEN / squares.page_size);
	ferry_fault_service_destroy(service);
	return wrong != 0;
}
