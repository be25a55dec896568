/* SPDX-License-Identifier: MIT */
/* The system-call table with files of its own. */
#include "tests/files.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <urcu/list.h>

#include "uffd/sys.h"

/* Descriptors of these files are numbers that the kernel does not give out. */
#define FIRST_FD 1000000

struct file {
	struct cds_list_head node;
	char *path;
	char *contents;
	char written[256];
	bool raised;
	size_t pos; /* one reader of a file at a time */
	int fd;
	size_t opened; /* times it is open */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CDS_LIST_HEAD(files);
static struct ferry__sys table;
static int next_fd = FIRST_FD;
static int write_error;

static struct file *by_path(const char *path)
{
	struct file *file;

	cds_list_for_each_entry (file, &files, node)
		if (!strcmp(file->path, path))
			return file;
	return NULL;
}

static struct file *by_fd(int fd)
{
	struct file *file;

	cds_list_for_each_entry (file, &files, node)
		if (file->fd == fd)
			return file;
	return NULL;
}

static int files_sys_open(const char *path, int flags)
{
	struct file *file;
	int fd = -ENOENT;

	(void)flags;
	pthread_mutex_lock(&lock);
	file = by_path(path);
	if (file) {
		file->pos = 0;
		file->opened++;
		fd = file->fd;
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

static int files_sys_close(int fd)
{
	struct file *file;

	if (fd < FIRST_FD)
		return ferry__sys_linux.close(fd);
	pthread_mutex_lock(&lock);
	file = by_fd(fd);
	file->opened--;
	pthread_mutex_unlock(&lock);
	return 0;
}

static ssize_t take(struct file *file, void *buf, size_t len, size_t pos)
{
	size_t size = strlen(file->contents);
	size_t left = pos < size ? size - pos : 0;

	if (len > left)
		len = left;
	memcpy(buf, file->contents + pos, len);
	return (ssize_t)len;
}

static ssize_t files_sys_read(int fd, void *buf, size_t len)
{
	struct file *file;
	ssize_t n;

	if (fd < FIRST_FD)
		return ferry__sys_linux.read(fd, buf, len);
	pthread_mutex_lock(&lock);
	file = by_fd(fd);
	n = take(file, buf, len, file->pos);
	file->pos += (size_t)n;
	pthread_mutex_unlock(&lock);
	return n;
}

static ssize_t files_sys_pread(int fd, void *buf, size_t len, off_t off)
{
	ssize_t n;

	if (fd < FIRST_FD)
		return ferry__sys_linux.pread(fd, buf, len, off);
	pthread_mutex_lock(&lock);
	n = take(by_fd(fd), buf, len, (size_t)off);
	pthread_mutex_unlock(&lock);
	return n;
}

static ssize_t files_sys_write(int fd, const void *buf, size_t len)
{
	struct file *file;
	ssize_t n;

	if (fd < FIRST_FD)
		return ferry__sys_linux.write(fd, buf, len);
	pthread_mutex_lock(&lock);
	file = by_fd(fd);
	n = write_error;
	if (!n) {
		n = (ssize_t)len;
		if (len >= sizeof(file->written))
			len = sizeof(file->written) - 1;
		memcpy(file->written, buf, len);
		file->written[len] = '\0';
	}
	pthread_mutex_unlock(&lock);
	return n;
}

/* What of @fds are ours: asked for without waiting. */
static int poll_ours(struct pollfd *fds, nfds_t n)
{
	struct file *file;
	int ready = 0;
	nfds_t i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < n; i++) {
		if (fds[i].fd < FIRST_FD)
			continue;
		file = by_fd(fds[i].fd);
		fds[i].revents = file->raised ? fds[i].events & POLLPRI : 0;
		ready += fds[i].revents != 0;
		file->raised = false;
	}
	pthread_mutex_unlock(&lock);
	return ready;
}

/* The kernel's: without waiting. Ours are taken out of its sight. */
static int poll_theirs(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	struct pollfd copy[8];
	int ready;
	nfds_t i;

	memcpy(copy, fds, n * sizeof(*fds));
	for (i = 0; i < n; i++)
		if (fds[i].fd >= FIRST_FD)
			copy[i].fd = -1;
	ready = ferry__sys_linux.poll(copy, n, timeout_ms);
	for (i = 0; i < n; i++)
		if (fds[i].fd < FIRST_FD)
			fds[i].revents = copy[i].revents;
	return ready;
}

static int files_sys_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	int waited = 0, ready;

	for (;;) {
		ready = poll_ours(fds, n) + poll_theirs(fds, n, 1);
		if (ready || (timeout_ms >= 0 && waited >= timeout_ms))
			return ready;
		waited++;
	}
}

void files_start(void)
{
	table = ferry__sys_linux;
	table.open = files_sys_open;
	table.close = files_sys_close;
	table.read = files_sys_read;
	table.pread = files_sys_pread;
	table.write = files_sys_write;
	table.poll = files_sys_poll;
	ferry__sys = &table;
}

static struct file *file_new(const char *path)
{
	struct file *file = calloc(1, sizeof(*file));

	file->path = strdup(path);
	file->fd = next_fd++;
	cds_list_add(&file->node, &files);
	return file;
}

void files_add(const char *path, const char *contents)
{
	struct file *file;

	pthread_mutex_lock(&lock);
	file = by_path(path);
	if (!file)
		file = file_new(path);
	free(file->contents);
	file->contents = strdup(contents);
	pthread_mutex_unlock(&lock);
}

void files_refuse_writes(int error)
{
	pthread_mutex_lock(&lock);
	write_error = error;
	pthread_mutex_unlock(&lock);
}

const char *files_written(const char *path)
{
	static char copy[sizeof(((struct file *)0)->written)];
	struct file *file;

	pthread_mutex_lock(&lock);
	file = by_path(path);
	memcpy(copy, file ? file->written : "", file ? sizeof(copy) : 1);
	pthread_mutex_unlock(&lock);
	return copy;
}

void files_raise(const char *path)
{
	struct file *file;

	pthread_mutex_lock(&lock);
	file = by_path(path);
	if (file)
		file->raised = true;
	pthread_mutex_unlock(&lock);
}

size_t files_open(void)
{
	struct file *file;
	size_t n = 0;

	pthread_mutex_lock(&lock);
	cds_list_for_each_entry (file, &files, node)
		n += file->opened;
	pthread_mutex_unlock(&lock);
	return n;
}
