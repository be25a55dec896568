/* SPDX-License-Identifier: MIT */
/* output.h: files that a run leaves behind; for main.c, the tour and tests. */
#ifndef FERRY_BENCH_OUTPUT_H
#define FERRY_BENCH_OUTPUT_H

#include "bench.h"

/*
 * The run as JSON: {"machine":{..}, "command":.., "seed":..,
 * "results":[{"name","unit","value","min","max","samples",..}],
 * "targets":[{"name","text","wanted","limit","verdict"[,"value"]}]}.
 * A new reference.
 */
json_t *bench_json(const struct bench *b);

/* Write it to @path ("-": standard output). Returns 0 or a negative errno. */
int bench_write_json(const struct bench *b, const char *path);

/* Draw all plots of the record into @dir. Returns 0 or a negative errno. */
int bench_write_plots(struct bench *b, const char *dir);

/* As mkdir -p. Returns 0 or a negative errno. */
int bench_make_dirs(const char *path);

#endif
