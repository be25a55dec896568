/* SPDX-License-Identifier: MIT */
/* Memory of the stores' own. */
#include "alloc/store/map.h"

#include <errno.h>
#include <sys/mman.h>

#include "uffd/sys.h"

size_t ferry__store_round(size_t len)
{
	return (len + ferry__page_size - 1) & ~(ferry__page_size - 1);
}

int ferry__store_map(size_t len, void **ret_addr)
{
	int saved = errno, r;

	r = ferry__sys->mmap(
		NULL, ferry__store_round(len), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, ret_addr);
	if (r == 0) {
		/* Neither is more than a wish: old kernels lack them. */
		ferry__sys->madvise(*ret_addr, ferry__store_round(len),
				    MADV_NOHUGEPAGE);
		ferry__sys->name_memory(*ret_addr, ferry__store_round(len),
					"ferry store");
	}
	errno = saved;
	return r;
}

void ferry__store_unmap(void *addr, size_t len)
{
	if (addr)
		ferry__sys->munmap(addr, ferry__store_round(len));
}
