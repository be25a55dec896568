/* SPDX-License-Identifier: MIT */
/* compact_objects.c: files as objects, and which of them live on. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "compact.h"

#define DEFAULT_FOLDER "/usr/bin"

uint64_t compact_sum(const void *bytes, size_t len)
{
	return XXH3_64bits(bytes, len);
}

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* --- loading -------------------------------------------------------------- */

static ssize_t read_all(int fd, char *to, size_t len)
{
	size_t done = 0;
	ssize_t r;

	while (done < len) {
		r = read(fd, to + done, len - done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (!r)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

/* Adds a file as far as there is room. */
static int load_open(struct compact_input *in, int fd, size_t most)
{
	size_t mask = page_size() - 1;
	ssize_t r = read_all(fd, in->bytes + in->len, most - in->len);

	if (r <= 0)
		return (int)r;
	in->len += ((size_t)r + mask) & ~mask;
	in->files++;
	return 0;
}

static int load_file(struct compact_input *in, const char *path, size_t most)
{
	int fd, r;

	if (in->len == most)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = load_open(in, fd, most);
	close(fd);
	return r;
}

static bool is_file(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode);
}

/* Files that cannot be read are passed over: there are such in /usr/bin. */
static int load_folder(struct compact_input *in, const char *path, size_t most)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);
	char *file;

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		file = bench_asprintf("%s/%s", path, names[i]->d_name);
		if (is_file(file))
			load_file(in, file, most);
		free(file);
		free(names[i]);
	}
	free(names);
	return 0;
}

static int load_path(struct bench *b, struct compact_input *in,
		     const char *path, size_t most)
{
	struct stat st;
	int r;

	if (stat(path, &st) < 0)
		r = -errno;
	else if (S_ISDIR(st.st_mode))
		r = load_folder(in, path, most);
	else
		r = load_file(in, path, most);
	if (r < 0)
		bench_say(b, "%s: %s.", path, strerror(-r));
	return r;
}

int compact_input_load(struct bench *b, char **paths, size_t n, size_t most,
		       struct compact_input *ret)
{
	static char folder[] = DEFAULT_FOLDER;
	char *defaults[] = { folder };
	int r = 0;

	*ret = (struct compact_input){ .bytes = bench_reserve(most, false) };
	if (!n) {
		paths = defaults;
		n = 1;
	}
	for (size_t i = 0; i < n && !r; i++)
		r = load_path(b, ret, paths[i], most);
	bench_unmap(ret->bytes + ret->len, most - ret->len);
	if (!r && !ret->len) {
		bench_say(b, "There is nothing in these files.");
		r = -ENODATA;
	}
	if (r < 0)
		compact_input_fini(ret);
	return r;
}

void compact_input_fini(struct compact_input *input)
{
	if (input->len)
		bench_unmap(input->bytes, input->len);
	input->len = 0;
}

/* --- patterns ------------------------------------------------------------- */

static void pattern_add(struct compact_pattern *p, size_t offset, size_t len,
			const char *bytes)
{
	if ((p->n & (p->n - 1)) == 0)
		p->v = bench_grow(p->v, p->n ? 2 * p->n : 1, sizeof(*p->v));
	p->v[p->n++] = (struct compact_object){
		.offset = offset,
		.len = len,
		.packed = p->live,
		.sum = compact_sum(bytes + offset, len),
	};
	p->live += len;
}

/* A length of 1 to twice the mean less one: every one as likely. */
static size_t draw(struct bench_rng *rng, size_t mean)
{
	return 1 + bench_rng_below(rng, 2 * mean - 1);
}

/* Runs and gaps in turn; gaps are three times as long on average. */
void compact_pattern_make(struct bench_rng *rng,
			  const struct compact_shape *shape,
			  const struct compact_input *input,
			  struct compact_pattern *ret)
{
	size_t units = input->len / shape->unit, at, n;

	*ret = (struct compact_pattern){ 0 };
	for (at = 0; at < units; at += n + draw(rng, 3 * shape->mean)) {
		n = draw(rng, shape->mean);
		if (n > units - at)
			n = units - at;
		pattern_add(ret, at * shape->unit, n * shape->unit,
			    input->bytes);
	}
}

void compact_pattern_fini(struct compact_pattern *pattern)
{
	free(pattern->v);
	pattern->v = NULL;
}
