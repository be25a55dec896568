/* SPDX-License-Identifier: MIT */
/* What FERRY_MALLOC_CONF says; the keys are in ferry-malloc(7). */
#ifndef FERRY_ALLOC_MALLOC_CONF_H
#define FERRY_ALLOC_MALLOC_CONF_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc/store/store.h"

enum ferry__conf_offload {
	FERRY__OFFLOAD_AUTO = 0, /* not under a filter that we came into */
	FERRY__OFFLOAD_OFF,
	FERRY__OFFLOAD_ON,
	FERRY__OFFLOAD_SIGBUS,
};

enum ferry__conf_store {
	FERRY__CONF_MEMORY = 0,
	FERRY__CONF_FILE,
	FERRY__CONF_NODE,
	FERRY__CONF_REDIS,
	FERRY__CONF_SLOW, /* no store: slower memory, before all of them */
};

/* One store of the list; they are kept in the order in which they are used. */
struct ferry__conf_tier {
	enum ferry__conf_store kind;
	enum ferry__codec codec; /* of a memory store */
	const char *where;	 /* path or address; a part of the string */
	size_t where_len;
	unsigned int node;
	uint64_t after_ns;
};

struct ferry__conf {
	enum ferry__conf_offload offload;
	uint64_t cold_after_ns;
	uint64_t idle_after_ns;
	uint64_t slow_for_ns; /* on slower memory, before a store */
	uint64_t rss_target;
	bool pressure;
	uint64_t rate;
	uint64_t refault_limit; /* thousandths */
	uint64_t around;
	uint64_t min_heap;
	uint64_t store_limit; /* bytes of each store */
	uint64_t stats_interval_ns;
	bool stats_exit;
	bool stats_signal;
	const char *stats_file; /* a part of the string */
	size_t stats_file_len;
	const char *control; /* path of the socket; likewise */
	size_t control_len;
	struct ferry__conf_tier *tiers; /* mapped */
	size_t n_tiers;
};

/*
 * Fills @conf from @string, which must stay; NULL or "": defaults. What is
 * not understood is named on standard error, each thing once, and the rest
 * counts. Allocates nothing; needs no C library that has been initialised.
 */
void ferry__conf_parse(struct ferry__conf *conf, const char *string);

/*
 * The same for who can be told: returns -EINVAL at the first thing that is not
 * understood, or 0, and prints nothing.
 */
int ferry__conf_read(struct ferry__conf *conf, const char *string);

/*
 * Which part of the address of a server is a password, which nobody is to
 * see: false, none. Rather more than less where it is not understood.
 */
bool ferry__conf_password(const char *address, size_t len, size_t *ret_at,
			  size_t *ret_len);

/* Frees what either has mapped. */
void ferry__conf_fini(struct ferry__conf *conf);

#endif
