/* SPDX-License-Identifier: MIT */
/* The sentence for each reason. */
#include <ferry/base.h>

static const char *const sentences[FERRY_REASON_MAX] = {
	[FERRY_REASON_NONE] = "no obstacle",
	[FERRY_REASON_UNALIGNED] = "address or length is not in whole pages",
	[FERRY_REASON_ZERO_LENGTH] = "the length is zero",
	[FERRY_REASON_OVERFLOW] = "the range ends beyond the address space",
	[FERRY_REASON_OVERLAP] =
		"the destination overlaps the source and lies above it",
	[FERRY_REASON_BAD_FLAGS] =
		"a flag or field is not known or not allowed",
	[FERRY_REASON_CLOSED] = "the handle is closed or being closed",
	[FERRY_REASON_FOREIGN_PROCESS] =
		"the handle was opened by another process",
	[FERRY_REASON_NO_MEMORY] = "the kernel ran out of memory",
	[FERRY_REASON_UNMAPPED] = "nothing is mapped there",
	[FERRY_REASON_READ_ONLY] = "the mapping is not writable",
	[FERRY_REASON_SHARED] = "the mapping is shared",
	[FERRY_REASON_FILE] = "the mapping is backed by a file",
	[FERRY_REASON_DAX] = "the mapping is backed by persistent memory (DAX)",
	[FERRY_REASON_HUGETLB] = "the mapping uses hugetlb pages",
	[FERRY_REASON_LOCKED] =
		"one side is locked in memory, the other is not",
	[FERRY_REASON_DEVICE] = "the mapping belongs to a device",
	[FERRY_REASON_SECRET] = "the mapping is secret memory (memfd_secret)",
	[FERRY_REASON_TAGGED] = "the mapping carries memory tags",
	[FERRY_REASON_SHADOW_STACK] = "the mapping is a shadow stack",
	[FERRY_REASON_SPECIAL] =
		"the mapping is the kernel's own (vdso, stack)",
	[FERRY_REASON_SPLIT] = "the range spans several mappings",
	[FERRY_REASON_PROTECTION] =
		"the access rights of source and destination differ",
	[FERRY_REASON_NOT_REGISTERED] =
		"the destination is not registered with this handle",
	[FERRY_REASON_OTHER_UFFD] =
		"the range is registered with another userfaultfd",
	[FERRY_REASON_HOLE] = "there is no page at the source",
	[FERRY_REASON_PRESENT] = "there is a page at the destination already",
	[FERRY_REASON_BUSY] =
		"the page is shared by fork or KSM, pinned, or being swapped",
	[FERRY_REASON_GUARD] = "the page is poisoned or a guard",
	[FERRY_REASON_NOT_SUPPORTED] = "this kernel cannot do it",
	[FERRY_REASON_NO_PERMISSION] = "privilege or a sysctl is missing",
	[FERRY_REASON_SECCOMP] =
		"the kernel has it, but a system call filter forbids it",
	[FERRY_REASON_NO_DEVICE] = "there is no /dev/userfaultfd",
	[FERRY_REASON_DESCRIPTOR_LIMIT] = "too many open files",
	[FERRY_REASON_CHANGING] =
		"the mappings kept changing until the deadline",
	[FERRY_REASON_CANCELLED] = "the caller asked to stop",
	[FERRY_REASON_HUGE_SPLIT] = "a huge page could not be kept whole",
	[FERRY_REASON_IN_USE] = "there can be only one, and one is in use",
	[FERRY_REASON_PINNED] =
		"the page is pinned or held by the kernel for input or output",
	[FERRY_REASON_NOT_MANAGED] = "not memory of an arena of this library",
};

const char *ferry_reason_string(enum ferry_reason reason)
{
	if ((unsigned int)reason >= FERRY_REASON_MAX)
		return "unknown reason";
	return sentences[reason];
}
