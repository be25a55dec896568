/* SPDX-License-Identifier: MIT */
/* machine.h: what a result depends on: machine, kernel, version, date. */
#ifndef FERRY_BENCH_MACHINE_H
#define FERRY_BENCH_MACHINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct bench_machine {
	char cpu[128];
	long cores;    /* online */
	size_t memory; /* bytes */
	size_t page_size;
	char arch[66];
	char kernel[256];
	char thp[32];		  /* the setting in force, or "" */
	char virtual_machine[64]; /* "" on bare metal, as far as is known */
	const char *ferry;
	const char *commit; /* of the source tree, or "unknown" */
	double load;	    /* processes running, when it began; -1 unknown */
	char date[32];	    /* UTC, ISO 8601 */
};

void bench_machine_get(struct bench_machine *ret);

/* A new JSON object. */
json_t *bench_machine_json(const struct bench_machine *m);

/* Whether others were using the processors when the run began. */
bool bench_machine_busy(const struct bench_machine *m);

/* Whether UFFDIO_MOVE works here, or else moves are emulated, and slow. */
bool bench_machine_moves(void);

/* Bytes that the system could give out now, swapping nothing. */
uint64_t bench_memory_available(void);

/* Two lines for people; the caller frees the string. */
char *bench_machine_line(const struct bench_machine *m);

#endif
