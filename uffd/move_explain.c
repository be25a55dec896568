/* SPDX-License-Identifier: MIT */
/* Why the kernel refused two mappings: its EINVAL and ENOENT taken apart. */
#include "uffd/mover.h"

static bool mapped(uintptr_t addr)
{
	unsigned char in_core;

	return ferry__sys->mincore((void *)addr, ferry__page_size, &in_core) !=
	       -ENOMEM;
}

enum ferry_reason ferry__mover_explain(const struct ferry__mover *m, int error)
{
	if (!mapped(m->dst + m->pos) || !mapped(m->src + m->pos))
		return FERRY_REASON_UNMAPPED;
	return error == -ENOENT ? FERRY_REASON_HOLE
				: FERRY_REASON_NOT_REGISTERED;
}
