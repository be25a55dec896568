/* SPDX-License-Identifier: MIT */
/* The start of the library. */
#include "alloc/malloc/library.h"

void ferry__library_start(void)
{
	ferry__fork_init();
}

void ferry__library_work(void)
{
}
