/* SPDX-License-Identifier: MIT */
/* Results, as the caller's version of the struct knows them. */
#include <errno.h>
#include <string.h>

#include "alloc/handover/handover-internal.h"

const char *ferry_handover_way_name(enum ferry_handover_way way)
{
	switch (way) {
	case FERRY_HANDOVER_NONE:
		return "none";
	case FERRY_HANDOVER_SHARED:
		return "shared";
	case FERRY_HANDOVER_COPY:
		return "copy";
	default:
		return "unknown";
	}
}

int ferry__result_check(const struct ferry_handover_result *ret)
{
	struct ferry_handover_result known;

	if (!ret)
		return 0;
	return ferry__params_copy(
		&known, sizeof(known), ret,
		offsetof(struct ferry_handover_result, peer_pid));
}

void ferry__result_write(struct ferry_handover_result *ret,
			 const struct ferry_handover_result *from)
{
	size_t size;

	if (!ret)
		return;
	size = ret->size;
	memcpy(ret, from, size < sizeof(*from) ? size : sizeof(*from));
	ret->size = size;
}
