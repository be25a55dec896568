/* SPDX-License-Identifier: MIT */
/*
 * Frames of the agent's protocol: reading requests that may say anything, and
 * building replies. Knows of no socket and no arena; calls nothing but mmap.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/agent/agent-internal.h"
#include "uffd/sys.h"

_Static_assert(sizeof(struct ferry_agent_request) == 72, "wire format");
_Static_assert(sizeof(struct ferry_agent_reply) == 80, "wire format");
_Static_assert(sizeof(struct ferry_agent_status) == 24, "wire format");
_Static_assert(sizeof(struct ferry_agent_run) == 24, "wire format");
_Static_assert(sizeof(struct ferry_agent_resident) == 24, "wire format");
_Static_assert(sizeof(struct ferry_agent_object) == 160, "wire format");
_Static_assert(sizeof(struct ferry_agent_limits) == 88, "wire format");
_Static_assert(offsetof(struct ferry_agent_request, flags) ==
		       FERRY_AGENT_REQUEST_MIN,
	       "wire format");

#define FLAGS (FERRY_AGENT_MOVE | FERRY_AGENT_STRICT)

/* --- memory --------------------------------------------------------------- */

static size_t whole_pages(size_t bytes)
{
	return (bytes + ferry__page_size - 1) & ~(ferry__page_size - 1);
}

int ferry__agent_alloc(size_t bytes, void **ret_mem)
{
	size_t len = whole_pages(bytes);
	void *mem;
	int r;

	r = ferry__sys->mmap(NULL, len, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &mem);
	if (r < 0)
		return -ENOMEM;
	/* Where it is refused a child has a copy that nobody uses. */
	ferry__sys->madvise(mem, len, MADV_DONTFORK);
	*ret_mem = mem;
	return 0;
}

void ferry__agent_free(void *mem, size_t bytes)
{
	if (mem)
		ferry__sys->munmap(mem, whole_pages(bytes));
}

static bool grow(struct ferry__agent_buffer *b, size_t len)
{
	size_t cap = whole_pages(len > 2 * b->cap ? len : 2 * b->cap);
	void *mem;

	if (b->mem) {
		if (ferry__sys->mremap(b->mem, b->cap, cap, MREMAP_MAYMOVE,
				       NULL, &mem) < 0)
			return false;
	} else if (ferry__agent_alloc(cap, &mem) < 0) {
		return false;
	}
	b->mem = mem;
	b->cap = cap;
	return true;
}

void *ferry__agent_extend(struct ferry__agent_buffer *b, size_t bytes)
{
	size_t at = b->len;

	if (bytes > b->max - b->len)
		return NULL;
	if (b->len + bytes > b->cap && !grow(b, b->len + bytes))
		return NULL;
	b->len += bytes;
	return b->mem + at;
}

/* --- requests -------------------------------------------------------------- */

static bool all_zero(const char *p, const char *end)
{
	while (p < end)
		if (*p++)
			return false;
	return true;
}

/* The fixed part, from a frame whose header may be shorter or longer. */
static int read_header(const char *frame, size_t len,
		       struct ferry_agent_request *req)
{
	uint32_t size;

	memset(req, 0, sizeof(*req));
	if (len < FERRY_AGENT_REQUEST_MIN)
		return -EINVAL;
	memcpy(&size, frame, sizeof(size));
	memcpy(req, frame, FERRY_AGENT_REQUEST_MIN);
	if (req->version != FERRY_AGENT_VERSION)
		return -EPROTONOSUPPORT;
	if (size < FERRY_AGENT_REQUEST_MIN || size > len || size % 8 ||
	    req->length != len)
		return -EINVAL;
	memcpy(req, frame, size < sizeof(*req) ? size : sizeof(*req));
	if (size > sizeof(*req) &&
	    !all_zero(frame + sizeof(*req), frame + size))
		return -E2BIG;
	return 0;
}

static int check_fields(const struct ferry_agent_request *req)
{
	if (!req->op || req->op >= FERRY_AGENT_OPS)
		return -EINVAL;
	if (req->flags & ~FLAGS || req->reserved)
		return -EINVAL;
	return 0;
}

/* No sum overflows: each part is below 2^36. */
static int check_parts(const struct ferry_agent_request *req, size_t ranges_max)
{
	uint64_t words = ((uint64_t)req->nodes_len + 63) / 64;
	uint64_t sum = req->size;

	sum += (uint64_t)req->ranges_len * sizeof(struct ferry_agent_range);
	sum += words * sizeof(uint64_t) + req->text_len;
	if (sum != req->length)
		return -EINVAL;
	return req->ranges_len > ranges_max ? -EMSGSIZE : 0;
}

int ferry__agent_parse(const void *frame, size_t len, size_t ranges_max,
		       struct ferry__agent_job *job)
{
	const char *at = frame;
	int r;

	r = read_header(frame, len, &job->req);
	if (r == 0)
		r = check_fields(&job->req);
	if (r == 0)
		r = check_parts(&job->req, ranges_max);
	if (r < 0)
		return r;
	at += job->req.size;
	job->ranges = (const struct ferry_agent_range *)(const void *)at;
	at += (size_t)job->req.ranges_len * sizeof(*job->ranges);
	job->nodes = (const uint64_t *)(const void *)at;
	at += ((size_t)job->req.nodes_len + 63) / 64 * sizeof(uint64_t);
	job->text = at;
	return 0;
}

/* --- replies ---------------------------------------------------------------- */

int ferry__agent_reply_begin(struct ferry__agent_job *job, size_t max)
{
	job->out.max = max;
	job->reply = (struct ferry_agent_reply){
		.size = sizeof(job->reply),
		.version = FERRY_AGENT_VERSION,
		.op = job->req.op,
		.id = job->req.id,
	};
	if (!ferry__agent_extend(&job->out, sizeof(job->reply)))
		return -ENOMEM;
	return 0;
}

void *ferry__agent_items(struct ferry__agent_job *job, size_t n, size_t size)
{
	void *p;

	if (__builtin_mul_overflow(n, size, &size))
		return NULL;
	p = ferry__agent_extend(&job->out, size);
	if (p) {
		job->reply.item_size = n ? (uint32_t)(size / n) : 0;
		job->reply.items_len += n;
	}
	return p;
}

bool ferry__agent_print(struct ferry__agent_job *job, const char *format, ...)
{
	char line[512];
	va_list args;
	void *p;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(line))
		return false;
	p = ferry__agent_extend(&job->out, (size_t)n);
	if (!p)
		return false;
	memcpy(p, line, (size_t)n);
	job->reply.text_len += (uint64_t)n;
	return true;
}

void ferry__agent_fail(struct ferry__agent_job *job, int error,
		       enum ferry_reason reason)
{
	job->out.len = sizeof(job->reply);
	job->reply.error = error;
	job->reply.reason = reason;
	job->reply.flags = 0;
	job->reply.item_size = 0;
	job->reply.items_len = 0;
	job->reply.text_len = 0;
	job->reply.value = 0;
	job->reply.failed = 0;
}

void ferry__agent_reply_end(struct ferry__agent_job *job)
{
	job->reply.length = job->out.len;
	memcpy(job->out.mem, &job->reply, sizeof(job->reply));
}

void ferry__agent_reply_free(struct ferry__agent_job *job)
{
	ferry__agent_free(job->out.mem, job->out.cap);
	job->out = (struct ferry__agent_buffer){ 0 };
}
