/* SPDX-License-Identifier: MIT */
/*
 * The file of a file store: made, grown, written and read.
 *
 * What is assumed of the kernel
 *  - F_SETFL refuses O_DIRECT with EINVAL where the file system lacks it;
 *    where it takes it and then cannot serve pages, transfers answer EINVAL.
 *  - A direct write that succeeded is with the device: later errors are its
 *    own. One through the page cache is so only after fdatasync(2), whose
 *    answer is therefore waited for.
 */
#include "alloc/store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "alloc/store/map.h"
#include "uffd/sys.h"

#define MODE	    0600
#define NAME_ROOM   32
#define TRIES	    1000 /* of what the kernel asks to be tried again */
#define READ_TRIES  3	 /* of a read with an I/O error */
#define EMPTY_TRIES 16	 /* of a transfer that moves less than a page */

/* --- making it ------------------------------------------------------------ */

/* A name that is gone once the file is open. */
static int open_named(const char *path)
{
	int r, fd;

	fd = ferry__sys->create(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
				MODE);
	if (fd < 0)
		return fd;
	r = ferry__sys->unlink(path);
	if (r == 0)
		return fd;
	ferry__sys->close(fd);
	return r;
}

/* In a folder whose file system knows only files with names. */
static int open_in(const char *folder)
{
	size_t len = strlen(folder) + NAME_ROOM;
	uint64_t salt = ferry__sys->now_ns();
	unsigned int tries;
	void *path;
	int r;

	r = ferry__store_map(len, &path);
	if (r < 0)
		return r;
	r = -EEXIST;
	for (tries = 0; r == -EEXIST && tries < TRIES; tries++) {
		snprintf(path, len, "%s/.ferry-%x-%llx", folder,
			 (unsigned int)ferry__sys->getpid(),
			 (unsigned long long)(salt + tries) & 0xffffffffff);
		r = open_named(path);
	}
	ferry__store_unmap(path, len);
	return r;
}

static int open_file(const char *path)
{
	int r = ferry__sys->create(path, O_RDWR | O_TMPFILE | O_EXCL, MODE);

	switch (r) {
	case -ENOENT:  /* to be made */
	case -ENOTDIR: /* a file, which that refuses by name */
		return open_named(path);
	case -EOPNOTSUPP: /* a folder */
	case -EISDIR:
		return open_in(path);
	default:
		return r;
	}
}

static int set_direct(int fd, bool direct)
{
	int flags = ferry__sys->fcntl(fd, F_GETFL, 0);

	if (flags < 0)
		return flags;
	flags = direct ? flags | O_DIRECT : flags & ~O_DIRECT;
	return ferry__sys->fcntl(fd, F_SETFL, flags);
}

/* Does a page go out and come back without the page cache? */
static bool try_direct(int fd)
{
	struct iovec iov = { .iov_len = ferry__page_size };
	bool refused;

	if (set_direct(fd, true) < 0)
		return false;
	if (ferry__store_map(iov.iov_len, &iov.iov_base) < 0)
		return true;
	refused = ferry__sys->pwritev(fd, &iov, 1, 0) == -EINVAL ||
		  ferry__sys->preadv(fd, &iov, 1, 0) == -EINVAL;
	ferry__store_unmap(iov.iov_base, iov.iov_len);
	if (refused)
		set_direct(fd, false);
	return !refused;
}

/* Without rings the system calls do: what refuses them is no failure. */
static void open_channel(struct ferry__file_channel *channel)
{
	if (ferry__ring_io->open(FERRY__FILE_BATCH, &channel->ring) < 0)
		channel->ring = NULL;
}

int ferry__file_open(struct ferry__file_io *io)
{
	int fd = open_file(io->path);

	if (fd < 0)
		return fd;
	io->direct = try_direct(fd);
	io->len = 0;
	open_channel(&io->write);
	open_channel(&io->read);
	/* FD1 pairs with FD1 in file.c: the rest is there by then. */
	__atomic_store_n(&io->fd, fd, __ATOMIC_RELEASE);
	return 0;
}

static void clear(struct ferry__file_io *io)
{
	io->write.ring = NULL;
	io->read.ring = NULL;
	io->len = 0;
	io->map = NULL;
	io->map_len = 0;
	/* FD1, see own_file() in file.c. */
	__atomic_store_n(&io->fd, -1, __ATOMIC_RELEASE);
}

void ferry__file_close(struct ferry__file_io *io)
{
	ferry__ring_io->close(io->write.ring);
	ferry__ring_io->close(io->read.ring);
	if (io->map)
		ferry__sys->munmap(io->map, io->map_len);
	if (io->fd >= 0)
		ferry__sys->close(io->fd);
	clear(io);
}

void ferry__file_forget(struct ferry__file_io *io)
{
	if (io->write.ring)
		ferry__ring_io->forget(io->write.ring);
	if (io->read.ring)
		ferry__ring_io->forget(io->read.ring);
	clear(io);
}

/* --- its length ----------------------------------------------------------- */

static int full_error(int r)
{
	return r == -EFBIG || r == -EDQUOT ? -ENOSPC : r;
}

/* What a write ended with: for want of room or memory, or for good. */
static int write_error(int r)
{
	return r == -ENOMEM || full_error(r) == -ENOSPC ? -ENOSPC : -EIO;
}

/*
 * Growing beyond RLIMIT_FSIZE is answered with SIGXFSZ, which would end the
 * host: it is looked at first.
 */
static bool too_long(uint64_t len)
{
	struct rlimit limit;

	return len > INT64_MAX ||
	       (ferry__sys->getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
		limit.rlim_cur != RLIM_INFINITY && len > limit.rlim_cur);
}

static int set_space_aside(struct ferry__file_io *io, uint64_t len)
{
	int r;

	do
		r = ferry__sys->fallocate(io->fd, 0, (off_t)io->len,
					  (off_t)(len - io->len));
	while (r == -EINTR);
	if (r == -EOPNOTSUPP || r == -ENOSYS)
		r = ferry__sys->ftruncate(io->fd, (off_t)len);
	return full_error(r);
}

static int map_file(struct ferry__file_io *io, uint64_t len)
{
	int r;

	if (io->map)
		r = ferry__sys->mremap(io->map, io->map_len, len,
				       MREMAP_MAYMOVE, NULL, &io->map);
	else
		r = ferry__sys->mmap(NULL, len, PROT_READ, MAP_SHARED, io->fd,
				     0, &io->map);
	if (r == 0)
		io->map_len = len;
	return r;
}

int ferry__file_extend(struct ferry__file_io *io, uint64_t len)
{
	int r;

	if (too_long(len))
		return -ENOSPC;
	r = set_space_aside(io, len);
	if (r == 0)
		r = map_file(io, len);
	if (r < 0) {
		/* Some file systems keep what they found before they failed. */
		ferry__sys->ftruncate(io->fd, (off_t)io->len);
		return r;
	}
	io->len = len;
	return 0;
}

void ferry__file_truncate(struct ferry__file_io *io, uint64_t len)
{
	if (len >= io->len || ferry__sys->ftruncate(io->fd, (off_t)len) < 0)
		return;
	io->len = len;
	if (len) {
		map_file(io, len);
		return;
	}
	ferry__sys->munmap(io->map, io->map_len);
	io->map = NULL;
	io->map_len = 0;
}

/* --- transfers ------------------------------------------------------------ */

/* What came to nothing so far. */
struct tries {
	unsigned int again, failed, empty;
};

/*
 * The error that counts for a transfer that ended with @r; 0: it is to be
 * tried again.
 */
static int verdict(int r, bool write, struct tries *tries)
{
	if (r == -EINTR)
		return 0;
	if (r == -EAGAIN && ++tries->again < TRIES) {
		ferry__sys->sched_yield();
		return 0;
	}
	if (!write)
		return ++tries->failed < READ_TRIES ? 0 : -EIO;
	return write_error(r);
}

/* Moves the pages [@i, @end) of @t, which lie in a row; each gets its error. */
static void transfer_row(struct ferry__file_io *io, bool write,
			 struct ferry__file_transfer *t, size_t i, size_t end)
{
	struct tries tries = { 0 };
	int error = 0;
	ssize_t r;

	while (i < end && !error) {
		r = (write ? ferry__sys->pwritev : ferry__sys->preadv)(
			io->fd, &t->iov[i], (int)(end - i),
			(off_t)(t->slot[i] * ferry__page_size));
		if (r < 0) {
			error = verdict((int)r, write, &tries);
			continue;
		}
		/* A part of a page is moved again: direct I/O wants blocks. */
		i += (size_t)r / ferry__page_size;
		if ((size_t)r < ferry__page_size &&
		    ++tries.empty == EMPTY_TRIES)
			error = -EIO;
	}
	for (; i < end; i++)
		t->error[i] = error;
}

/* The end of the row that begins with page @i. */
static size_t row_end(const struct ferry__file_transfer *t, size_t i)
{
	do
		i++;
	while (i < t->n && t->slot[i] == t->slot[i - 1] + 1);
	return i;
}

static unsigned int make_ops(const struct ferry__file_transfer *t,
			     struct ferry__ring_op *ops)
{
	unsigned int n = 0;
	size_t i, end;

	for (i = 0; i < t->n; i = end) {
		end = row_end(t, i);
		ops[n++] = (struct ferry__ring_op){
			.iov = &t->iov[i],
			.n = (unsigned int)(end - i),
			.off = t->slot[i] * ferry__page_size,
			.res = -ECANCELED,
		};
	}
	return n;
}

static void run_ring(struct ferry__file_io *io, bool write,
		     struct ferry__ring_op *ops, unsigned int n)
{
	struct ferry__file_channel *channel = write ? &io->write : &io->read;

	pthread_mutex_lock(&channel->lock);
	if (channel->ring &&
	    ferry__ring_io->run(channel->ring, io->fd, write, ops, n) < 0) {
		ferry__ring_io->close(channel->ring);
		channel->ring = NULL;
	}
	pthread_mutex_unlock(&channel->lock);
}

/*
 * Rows through the ring with one system call; what it left undone, for
 * whatever reason, goes the plain way, which knows each error. A single row is
 * one system call anyhow.
 */
static void transfer_rows(struct ferry__file_io *io, bool write,
			  struct ferry__file_transfer *t)
{
	struct ferry__ring_op ops[FERRY__FILE_BATCH];
	unsigned int k, n = make_ops(t, ops);
	size_t i, done;

	if (n > 1)
		run_ring(io, write, ops, n);
	for (k = 0, i = 0; k < n; i += ops[k++].n) {
		done = ops[k].res > 0 ? (size_t)ops[k].res / ferry__page_size
				      : 0;
		transfer_row(io, write, t, i + done, i + ops[k].n);
	}
}

static bool aligned(const struct ferry__file_transfer *t)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if ((uintptr_t)t->iov[i].iov_base % ferry__page_size)
			return false;
	return true;
}

static void copy_pages(struct ferry__file_transfer *t, char *pages, bool out)
{
	size_t i;

	for (i = 0; i < t->n; i++, pages += ferry__page_size)
		if (out)
			memcpy(pages, t->iov[i].iov_base, ferry__page_size);
		else if (!t->error[i])
			memcpy(t->iov[i].iov_base, pages, ferry__page_size);
}

static void fail_all(struct ferry__file_transfer *t, int error)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		t->error[i] = error;
}

/* By way of pages that direct I/O can use. */
static void transfer_bounced(struct ferry__file_io *io, bool write,
			     struct ferry__file_transfer *t)
{
	struct ferry__file_transfer own = *t;
	size_t i, len = t->n * ferry__page_size;
	void *pages;

	if (ferry__store_map(len, &pages) < 0) {
		fail_all(t, write ? -ENOSPC : -EIO);
		return;
	}
	for (i = 0; i < t->n; i++)
		own.iov[i].iov_base = (char *)pages + i * ferry__page_size;
	if (write)
		copy_pages(t, pages, true);
	transfer_rows(io, write, &own);
	memcpy(t->error, own.error, sizeof(t->error));
	if (!write)
		copy_pages(t, pages, false);
	ferry__store_unmap(pages, len);
}

void ferry__file_transfer(struct ferry__file_io *io, bool write,
			  struct ferry__file_transfer *t)
{
	int r = 0;

	fail_all(t, 0);
	if (io->direct && !aligned(t))
		transfer_bounced(io, write, t);
	else
		transfer_rows(io, write, t);
	if (write && !io->direct)
		r = ferry__sys->fdatasync(io->fd);
	if (r < 0)
		fail_all(t, write_error(r));
}
