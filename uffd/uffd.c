/* SPDX-License-Identifier: MIT */
/*
 * Handles of userfaultfd descriptors: memory, opening by three ways, closing
 * while calls are in flight.
 *
 * What this file takes for granted of the kernel:
 *  - MADV_WIPEONFORK (4.14, older than anything else here): a page so marked
 *    reads as zero in a child made by any kind of fork, and stays as it is in
 *    one that shares the memory (vfork, threads). That is the line at which
 *    userfaultfd stops working, too.
 *  - UFFDIO_API succeeds once per descriptor; a refusal leaves it fresh.
 *  - UFFD_USER_MODE_ONLY needs no privilege (5.11): EPERM there is a filter.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "uffd/handle.h"
#include "uffd/uapi.h"

_Thread_local char ferry__thread_mark;

/* Handles are made in blocks, which form a list that only grows. */
struct block {
	struct block *next;
	size_t n;
	struct ferry_uffd handles[];
};

#define BLOCK_SIZE ((size_t)64 << 10)

/* H4: release store when pushed, acquire load in the walk. */
static struct block *blocks;

/*
 * The page that says whose address space this is. Its second page cannot be
 * read: a source that UFFDIO_COPY trips over, see register.c.
 */
static uint64_t *mark;

/* Numbers given to address spaces; inherited, so that a child's is new. */
static uint64_t owners;

static int map_mark(uint64_t **ret_mark)
{
	void *p;
	int r;

	r = ferry__sys->mmap(NULL, 2 * ferry__page_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &p);
	if (r)
		return r;
	r = ferry__sys->madvise(p, ferry__page_size, MADV_WIPEONFORK);
	if (!r)
		r = ferry__sys->mprotect((char *)p + ferry__page_size,
					 ferry__page_size, PROT_NONE);
	if (r)
		ferry__sys->munmap(p, 2 * ferry__page_size);
	else
		*ret_mark = p;
	return r;
}

/* Gives this address space its number. */
static int own_address_space(uint64_t *ret_owner)
{
	uint64_t *fresh, *old = NULL, number, none = 0;
	int r;

	/* H5: acquire and release, so that the mapping is there before it. */
	if (!__atomic_load_n(&mark, __ATOMIC_ACQUIRE)) {
		r = map_mark(&fresh);
		if (r)
			return r;
		if (!__atomic_compare_exchange_n(&mark, &old, fresh, false,
						 __ATOMIC_ACQ_REL,
						 __ATOMIC_ACQUIRE))
			ferry__sys->munmap(fresh, 2 * ferry__page_size);
	}
	/* Relaxed: numbers need only differ. */
	number = __atomic_add_fetch(&owners, 1, __ATOMIC_RELAXED);
	if (__atomic_compare_exchange_n(mark, &none, number, false,
					__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		none = number;
	*ret_owner = none;
	return 0;
}

static bool claim(struct ferry_uffd *uffd)
{
	unsigned int state = FERRY__UFFD_FREE;

	/* Acquire pairs with the release of set_free(). */
	return __atomic_compare_exchange_n(&uffd->state, &state,
					   FERRY__UFFD_OPENING, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void set_free(struct ferry_uffd *uffd)
{
	__atomic_store_n(&uffd->state, FERRY__UFFD_FREE, __ATOMIC_RELEASE);
}

static struct ferry_uffd *claim_any(void)
{
	struct block *block =
		__atomic_load_n(&blocks, __ATOMIC_ACQUIRE); /* H4 */
	size_t i;

	for (; block; block = block->next)
		for (i = 0; i < block->n; i++)
			if (claim(&block->handles[i]))
				return &block->handles[i];
	return NULL;
}

/* A new block, of which the first handle is claimed. */
static int add_block(struct ferry_uffd **ret_uffd)
{
	struct block *block;
	void *p;
	int r;

	r = ferry__sys->mmap(NULL, BLOCK_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &p);
	if (r)
		return r;
	block = p;
	block->n = (BLOCK_SIZE - sizeof(*block)) / sizeof(block->handles[0]);
	block->handles[0].state = FERRY__UFFD_OPENING;
	block->next = __atomic_load_n(&blocks, __ATOMIC_ACQUIRE);
	while (!__atomic_compare_exchange_n(&blocks, &block->next, block, false,
					    __ATOMIC_RELEASE, /* H4 */
					    __ATOMIC_RELAXED))
		;
	*ret_uffd = &block->handles[0];
	return 0;
}

static int handle_alloc(struct ferry_uffd **ret_uffd)
{
	struct ferry_uffd *uffd = claim_any();

	if (!uffd)
		return add_block(ret_uffd);
	*ret_uffd = uffd;
	return 0;
}

/* --- ways ---------------------------------------------------------------- */

static bool exists(const char *path)
{
	int fd = ferry__sys->open(path, O_RDONLY);

	if (fd >= 0)
		ferry__sys->close(fd);
	return fd != -ENOENT && fd != -ENOTDIR;
}

/* Has this kernel a userfaultfd, whatever the system call says? */
static bool kernel_has_uffd(void)
{
	return exists("/dev/userfaultfd") ||
	       exists("/proc/sys/vm/unprivileged_userfaultfd");
}

static int open_device(int flags, enum ferry_reason *ret_reason)
{
	int fd, r;

	fd = ferry__sys->open("/dev/userfaultfd", O_RDWR);
	if (fd == -ENOENT || fd == -ENODEV || fd == -ENXIO) {
		*ret_reason = FERRY_REASON_NO_DEVICE;
		return -ENOENT;
	}
	if (fd == -EACCES || fd == -EPERM) {
		*ret_reason = FERRY_REASON_NO_PERMISSION;
		return -EPERM;
	}
	if (fd < 0)
		return fd;
	r = ferry__sys->ioctl(fd, FERRY__USERFAULTFD_IOC_NEW,
			      (void *)(uintptr_t)(flags | O_CLOEXEC));
	ferry__sys->close(fd);
	/* The device grants by its file mode: only a filter says EPERM now. */
	if (r == -EPERM || r == -EACCES || r == -ENOSYS) {
		*ret_reason = FERRY_REASON_SECCOMP;
		return -EPERM;
	}
	return r;
}

static int open_syscall(int flags, enum ferry_reason *ret_reason)
{
	int fd = ferry__sys->userfaultfd(flags | O_CLOEXEC);
	bool user_mode = flags & FERRY__UFFD_USER_MODE_ONLY;

	if (fd == -ENOSYS && kernel_has_uffd()) {
		*ret_reason = FERRY_REASON_SECCOMP;
		return -EPERM;
	}
	if (fd == -ENOSYS)
		*ret_reason = FERRY_REASON_NOT_SUPPORTED;
	if (fd == -EPERM || fd == -EACCES) {
		*ret_reason = user_mode ? FERRY_REASON_SECCOMP
					: FERRY_REASON_NO_PERMISSION;
		return -EPERM;
	}
	if (fd == -EINVAL && user_mode) {
		*ret_reason = FERRY_REASON_NOT_SUPPORTED;
		return -EOPNOTSUPP;
	}
	return fd;
}

/* The system call, denied: by privilege, or by a filter as well? */
static int open_privileged(int flags, enum ferry_reason *ret_reason)
{
	enum ferry_reason ignored;
	int fd, plain;

	fd = open_syscall(flags, ret_reason);
	if (fd != -EPERM)
		return fd;
	plain = open_syscall(FERRY__UFFD_USER_MODE_ONLY, &ignored);
	if (plain >= 0)
		ferry__sys->close(plain);
	else if (plain == -EPERM)
		*ret_reason = FERRY_REASON_SECCOMP;
	return fd;
}

int ferry__uffd_descriptor(enum ferry_uffd_way way, int flags,
			   enum ferry_reason *ret_reason)
{
	int fd;

	*ret_reason = FERRY_REASON_NONE;
	switch (way) {
	case FERRY_UFFD_DEVICE:
		fd = open_device(flags, ret_reason);
		break;
	case FERRY_UFFD_SYSCALL:
		fd = open_privileged(flags, ret_reason);
		break;
	default:
		fd = open_syscall(flags | FERRY__UFFD_USER_MODE_ONLY,
				  ret_reason);
		break;
	}
	if (fd == -EMFILE || fd == -ENFILE)
		*ret_reason = FERRY_REASON_DESCRIPTOR_LIMIT;
	if (fd == -ENOMEM)
		*ret_reason = FERRY_REASON_NO_MEMORY;
	return fd;
}

int ferry__uffd_negotiate(int fd, uint64_t want, uint64_t *ret_offered)
{
	struct ferry__uffdio_api api = {
		.api = FERRY__UFFD_API,
		.features = want,
	};
	int r;

	r = ferry__sys->ioctl(fd, FERRY__UFFDIO_API, &api);
	if (r == -EINVAL && want)
		return -EOPNOTSUPP;
	if (r < 0)
		return r;
	*ret_offered = api.features;
	return 0;
}

/* --- open and close ------------------------------------------------------ */

/* Features that work only where they were asked for at UFFDIO_API. */
#define ASKED_FOR                                                              \
	(FERRY_FEATURE_EVENT_FORK | FERRY_FEATURE_EVENT_REMAP |                \
	 FERRY_FEATURE_EVENT_REMOVE | FERRY_FEATURE_EVENT_UNMAP |              \
	 FERRY_FEATURE_SIGBUS | FERRY_FEATURE_THREAD_ID |                      \
	 FERRY_FEATURE_EXACT | FERRY_FEATURE_WP_UNPOP |                        \
	 FERRY_FEATURE_WP_ASYNC)

/* Bits that UFFDIO_API knows; those above were found by trying. */
#define NEGOTIABLE 0xffffffffull

static uint64_t wanted_features(const struct ferry_uffd_params *params)
{
	uint64_t want = params->features & NEGOTIABLE;

	if (params->flags & FERRY_UFFD_SIGBUS)
		want |= FERRY_FEATURE_SIGBUS;
	if (params->flags & FERRY_UFFD_WP_ASYNC)
		want |= FERRY_FEATURE_WP_ASYNC | FERRY_FEATURE_WP_UNPOP;
	return want;
}

static int read_params(const struct ferry_uffd_params *params,
		       struct ferry_uffd_params *ret_params)
{
	const uint32_t known = FERRY_UFFD_SIGBUS | FERRY_UFFD_WP_ASYNC |
			       FERRY_UFFD_NONBLOCK;
	int r;

	memset(ret_params, 0, sizeof(*ret_params));
	if (!params)
		return 0;
	r = ferry__params_copy(ret_params, sizeof(*ret_params), params,
			       sizeof(params->size));
	if (r)
		return r;
	if (ret_params->flags & ~known ||
	    (unsigned int)ret_params->way >= FERRY_UFFD_WAYS)
		return -EINVAL;
	return 0;
}

/* Opens by one way and negotiates; a failure leaves nothing open. */
static int open_way(const struct ferry_uffd_params *params,
		    enum ferry_uffd_way way, struct ferry_uffd *uffd,
		    enum ferry_reason *reason)
{
	uint64_t want = wanted_features(params), offered;
	int fd, r;

	fd = ferry__uffd_descriptor(
		way, params->flags & FERRY_UFFD_NONBLOCK ? O_NONBLOCK : 0,
		reason);
	if (fd < 0)
		return fd;
	r = ferry__uffd_negotiate(fd, want, &offered);
	if (r == -EOPNOTSUPP)
		*reason = FERRY_REASON_NOT_SUPPORTED;
	if (r == -EPERM)
		*reason = FERRY_REASON_NO_PERMISSION;
	if (r) {
		ferry__sys->close(fd);
		return r;
	}
	uffd->fd = fd;
	uffd->way = way;
	uffd->features = offered & (~ASKED_FOR | want);
	return 0;
}

static int open_ways(const struct ferry_uffd_params *params,
		     struct ferry_uffd *uffd, enum ferry_reason *reason)
{
	enum ferry_uffd_way way;
	int r = -EOPNOTSUPP;

	if (params->way != FERRY_UFFD_ANY)
		return open_way(params, params->way, uffd, reason);
	/* The last way needs least, so its refusal is the one to report. */
	for (way = FERRY_UFFD_DEVICE; way < FERRY_UFFD_WAYS; way++) {
		r = open_way(params, way, uffd, reason);
		if (!r)
			break;
	}
	return r;
}

/* Features found by trying are tried again now. */
static int check_tried(uint64_t want, enum ferry_reason *reason)
{
	struct ferry_features features = FERRY_INIT(struct ferry_features);
	int r;

	if (!(want & ~NEGOTIABLE))
		return 0;
	r = ferry_features_get(&features);
	if (r)
		return r;
	if (!(want & ~NEGOTIABLE & ~features.features))
		return 0;
	*reason = FERRY_REASON_NOT_SUPPORTED;
	return -EOPNOTSUPP;
}

/* Where system calls are filtered, only a try shows whether a move works. */
static void check_filter(struct ferry_uffd *uffd)
{
	enum ferry_reason reason;

	uffd->move_denied = false;
	if (!(uffd->features & FERRY_FEATURE_MOVE) || !ferry__filtered())
		return;
	if (!ferry__probe_move(&reason) || reason != FERRY_REASON_SECCOMP)
		return;
	uffd->move_denied = true;
	uffd->features &= ~FERRY_FEATURE_MOVE;
}

static int open_handle(const struct ferry_uffd_params *params,
		       enum ferry_reason *reason, struct ferry_uffd **ret_uffd)
{
	struct ferry_uffd *uffd;
	int r;

	r = handle_alloc(&uffd);
	if (r)
		return r;
	r = own_address_space(&uffd->owner);
	if (r)
		goto err_free;
	uffd->mark = mark;
	r = open_ways(params, uffd, reason);
	if (r)
		goto err_free;
	check_filter(uffd);
	uffd->huge_size = ferry__huge_size();
	uffd->huge_zero_unsafe = ferry__huge_zero_unsafe();
	uffd->pagemap = ferry__sys->open("/proc/self/pagemap", O_RDONLY);
	/* H1: what stands above is visible to whoever finds OPEN. */
	__atomic_store_n(&uffd->state, FERRY__UFFD_OPEN, __ATOMIC_SEQ_CST);
	*ret_uffd = uffd;
	return 0;

err_free:
	set_free(uffd);
	return r;
}

int ferry_uffd_open(const struct ferry_uffd_params *params,
		    enum ferry_reason *ret_reason, struct ferry_uffd **ret_uffd)
{
	enum ferry_reason reason = FERRY_REASON_NONE;
	struct ferry_uffd_params p;
	int r;

	r = read_params(params, &p);
	if (r)
		reason = FERRY_REASON_BAD_FLAGS;
	if (!r)
		r = check_tried(p.features, &reason);
	if (!r)
		r = open_handle(&p, &reason, ret_uffd);
	if (r == -ENOMEM)
		reason = FERRY_REASON_NO_MEMORY;
	if (ret_reason)
		*ret_reason = r ? reason : FERRY_REASON_NONE;
	return r;
}

static void wait_for_calls(struct ferry_uffd *uffd)
{
	struct ferry__backoff backoff = { .limit_ns = UINT64_MAX };
	unsigned int i;

	for (i = 0; i < FERRY__STRIPES; i++)
		/* H1 (after the state was set), H2 (acquire). */
		while (__atomic_load_n(&uffd->stripes[i].in_flight,
				       __ATOMIC_SEQ_CST))
			ferry__backoff_wait(&backoff);
}

void ferry_uffd_close(struct ferry_uffd *uffd)
{
	unsigned int open = FERRY__UFFD_OPEN;

	if (!uffd || !__atomic_compare_exchange_n(
			     &uffd->state, &open, FERRY__UFFD_CLOSING, false,
			     __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) /* H1 */
		return;
	/* In a child the threads whose calls were in flight are not there. */
	if (__atomic_load_n(uffd->mark, __ATOMIC_RELAXED) == uffd->owner)
		wait_for_calls(uffd);
	else
		memset(uffd->stripes, 0, sizeof(uffd->stripes));
	ferry__sys->close(uffd->fd);
	if (uffd->pagemap >= 0)
		ferry__sys->close(uffd->pagemap);
	set_free(uffd);
}

void ferry__uffd_forget(struct ferry_uffd *uffd)
{
	if (!uffd)
		return;
	memset(uffd->stripes, 0, sizeof(uffd->stripes));
	set_free(uffd);
}

static bool is_open(const struct ferry_uffd *uffd)
{
	/* H1: acquires what open wrote. */
	return uffd && __atomic_load_n(&uffd->state, __ATOMIC_ACQUIRE) ==
			       FERRY__UFFD_OPEN;
}

int ferry_uffd_fd(const struct ferry_uffd *uffd)
{
	return is_open(uffd) ? uffd->fd : -EBADF;
}

uint64_t ferry_uffd_features(const struct ferry_uffd *uffd)
{
	return is_open(uffd) ? uffd->features : 0;
}

enum ferry_uffd_way ferry_uffd_way(const struct ferry_uffd *uffd)
{
	return is_open(uffd) ? uffd->way : FERRY_UFFD_ANY;
}

const char *ferry_uffd_way_name(enum ferry_uffd_way way)
{
	static const char *const names[FERRY_UFFD_WAYS] = { "any", "device",
							    "system call",
							    "user mode only" };

	return (unsigned int)way < FERRY_UFFD_WAYS ? names[way] : "unknown";
}
