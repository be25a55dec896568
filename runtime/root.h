/* SPDX-License-Identifier: MIT */
/*
 * Roots as the collector sees them.
 */
#ifndef FERRY_RUNTIME_ROOT_H
#define FERRY_RUNTIME_ROOT_H

#include <ferry/root.h>

#include <pthread.h>
#include <urcu/list.h>

/* A page of handles; free slots are chained through their contents. */
struct ferry__handle_page;

struct ferry__roots {
	pthread_mutex_t lock;	   /* rank 20 */
	struct cds_list_head list; /* struct ferry_root */
	struct ferry__handle_page *pages;
	void **free_handles;
	/* Pins: open addressing by address, counted. */
	struct ferry__pin *pins;
	size_t pins_len; /* in use */
	size_t pins_max; /* slots, a power of two; 0: no table yet */
};

#endif
