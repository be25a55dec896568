/* SPDX-License-Identifier: MIT */
/*
 * Memory that is pinned, as far as the kernel tells where it is.
 *
 * What this file takes for granted of the kernel (proc_pid_status(5),
 * proc_pid_fdinfo(5), io_uring/fdinfo.c):
 *  - VmPin counts the pages that io_uring and RDMA hold of a process; a child
 *    of fork(2) begins with none.
 *  - fdinfo of a ring says "UserBufs:", a count, and as many lines "index:
 *    address/length" (address in hexadecimal) or "index: <none>". A ring that
 *    is in use at that moment leaves the lines out, newer kernels all of it.
 *  - An empty slot has been printed as address -1 (before 6.13).
 *  - No call tells whether one given page is pinned.
 */
#include <ferry/eligible.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "uffd/lines.h"
#include "uffd/mapping.h"
#include "uffd/sys.h"

/* How often a ring that is in use is asked, and how long it is left alone. */
#define TRIES	 100
#define PAUSE_NS 100000

struct walk {
	pid_t pid;
	ferry_pin_fn fn;
	void *arg;
	int result; /* other than 0: the walk is over */
};

/* The text of one ring. */
struct ring {
	struct walk *walk;
	int fd;
	bool told;     /* "UserBufs:" was there */
	uint64_t left; /* lines of buffers still to come */
};

/* Opens /proc/PID/@file. */
static int open_proc(pid_t pid, const char *file)
{
	char path[FERRY__PROC_PATH];
	int fd;

	ferry__proc_path(pid, file, path, sizeof(path));
	fd = ferry__sys->open(path, O_RDONLY);
	if (fd == -ENOENT)
		return pid ? -ESRCH : -EIO;
	return fd == -EPERM ? -EACCES : fd;
}

static bool is_pin_line(const char *text, uint64_t *ret_kib)
{
	const char *s = ferry__text_after(text, "VmPin:");

	if (!s)
		return false;
	s += strspn(s, " \t");
	return ferry__number_parse(&s, 10, ret_kib);
}

/* What the kernel counts; a process without memory has no such line. */
static int count_pinned(pid_t pid, size_t *ret_bytes)
{
	struct ferry__lines lines;
	struct ferry__line line;
	int r, fd = open_proc(pid, "status");
	uint64_t kib = 0;
	char buf[1024];

	if (fd < 0)
		return fd;
	ferry__lines_init(&lines, fd, buf, sizeof(buf));
	while ((r = ferry__lines_next(&lines, &line)) > 0)
		if (is_pin_line(line.text, &kib))
			break;
	ferry__sys->close(fd);
	*ret_bytes = (size_t)kib * 1024;
	return r < 0 ? r : 0;
}

/* --- one ring ------------------------------------------------------------- */

/* "    0: 0x7f37f98d3000/8192"; false for a slot without a buffer. */
static bool parse_buffer(const char *s, uint64_t *ret_addr, uint64_t *ret_len)
{
	uint64_t index;

	s += strspn(s, " ");
	if (!ferry__number_parse(&s, 10, &index))
		return false;
	s = ferry__text_after(s, ": 0x");
	if (!s || !ferry__number_parse(&s, 16, ret_addr) || *s++ != '/' ||
	    !ferry__number_parse(&s, 10, ret_len) || !*ret_len)
		return false;
	return *ret_addr && *ret_addr <= UINTPTR_MAX - *ret_len;
}

static int report(const struct ring *ring, uint64_t addr, uint64_t len)
{
	struct ferry_pin pin = {
		.size = sizeof(pin),
		.range = { (void *)(uintptr_t)addr, (size_t)len },
		.fd = ring->fd,
	};

	return ring->walk->fn(ring->walk->arg, &pin);
}

static int take_line(struct ring *ring, const char *text)
{
	const char *s = ferry__text_after(text, "UserBufs:");
	uint64_t addr, len;

	if (s) {
		s += strspn(s, " \t");
		ring->told = ferry__number_parse(&s, 10, &ring->left);
		return 0;
	}
	/* Between the count and the last of its lines stand only these. */
	if (!ring->left || *text != ' ')
		return 0;
	ring->left--;
	return parse_buffer(text, &addr, &len) ? report(ring, addr, len) : 0;
}

/* Returns 0, what the caller's function returned, or a negative errno. */
static int read_ring(struct ring *ring)
{
	struct ferry__lines lines;
	struct ferry__line line;
	char file[32], buf[1024];
	int r, fd, stop = 0;

	snprintf(file, sizeof(file), "fdinfo/%d", ring->fd);
	fd = open_proc(ring->walk->pid, file);
	if (fd < 0)
		return fd;
	ferry__lines_init(&lines, fd, buf, sizeof(buf));
	while (!stop && (r = ferry__lines_next(&lines, &line)) > 0)
		stop = take_line(ring, line.text);
	ferry__sys->close(fd);
	if (stop)
		return stop;
	return r < 0 ? r : !ring->told || ring->left ? -EAGAIN : 0;
}

/* Closed since it was listed, or the process has ended. */
static bool is_gone(int error)
{
	return error == -ESRCH || error == -EIO;
}

static int ask_ring(struct walk *walk, int fd)
{
	int r, tries = TRIES;

	for (;;) {
		struct ring ring = { .walk = walk, .fd = fd };

		r = read_ring(&ring);
		if (r != -EAGAIN || !--tries)
			return is_gone(r) ? 0 : r;
		ferry__sys->sleep_ns(PAUSE_NS);
	}
}

/* --- all descriptors ------------------------------------------------------ */

static bool is_ring(const struct walk *walk, const char *name)
{
	char path[FERRY__PROC_PATH], file[32], link[32];
	int n;

	snprintf(file, sizeof(file), "fd/%s", name);
	ferry__proc_path(walk->pid, file, path, sizeof(path));
	n = ferry__sys->readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return false;
	link[n] = '\0';
	return !strcmp(link, "anon_inode:[io_uring]");
}

static void look_at(void *arg, const char *name)
{
	struct walk *walk = arg;
	const char *s = name;
	uint64_t fd;

	if (!walk->result && ferry__number_parse(&s, 10, &fd) &&
	    is_ring(walk, name))
		walk->result = ask_ring(walk, (int)fd);
}

static int walk_rings(struct walk *walk)
{
	char path[FERRY__PROC_PATH];
	int r;

	ferry__proc_path(walk->pid, "fd", path, sizeof(path));
	r = ferry__sys->list(path, look_at, walk);
	if (walk->result)
		return walk->result;
	if (r == -ENOENT)
		return walk->pid ? -ESRCH : -EIO;
	return r == -EPERM ? -EACCES : r;
}

int ferry_pins_walk(pid_t pid, ferry_pin_fn fn, void *arg, size_t *ret_bytes)
{
	struct walk walk = { .pid = pid, .fn = fn, .arg = arg };
	size_t bytes;
	int r;

	if (pid < 0)
		return -EINVAL;
	r = count_pinned(pid, &bytes);
	if (r)
		return r;
	if (bytes && fn)
		r = walk_rings(&walk);
	if (!r && ret_bytes)
		*ret_bytes = bytes;
	return r;
}
