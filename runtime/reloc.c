#include "runtime/heap-internal.h"
int ferry__reloc_init(struct ferry_heap *heap)
{
	(void)heap;
	return 0;
}
void ferry__reloc_fini(struct ferry_heap *heap)
{
	(void)heap;
}
size_t ferry__reloc_run(struct ferry_heap *heap, bool all)
{
	(void)heap;
	(void)all;
	return 0;
}
int ferry__reloc_provide(struct ferry_heap *heap, uintptr_t addr, size_t len)
{
	(void)heap;
	(void)addr;
	(void)len;
	return 0;
}
void ferry__compact_prefault(struct ferry_heap *heap, uintptr_t addr,
			     size_t len)
{
	(void)heap;
	(void)addr;
	(void)len;
}
uintptr_t ferry__forward(const struct ferry_heap *heap, uintptr_t addr)
{
	(void)heap;
	return addr;
}
