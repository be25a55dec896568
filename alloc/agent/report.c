/* SPDX-License-Identifier: MIT */
/*
 * What the agent tells of arenas and heaps: lists, JSON, maps, residency.
 *
 * Nothing here takes an arena's lock: page tables are read as they are, and
 * states page by page, so that a number is true of about the same moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "alloc/agent/work-internal.h"
#include "uffd/node_apply.h"
#include "uffd/pagemap.h"
#include "uffd/uapi.h"

#define RESIDENCY_STEP ((uint64_t)256 << 20)
/* Pages of a map that are looked at before others have a turn. */
#define MAP_STEP_PAGES ((size_t)8192)

static void no_room(struct ferry__agent_job *job)
{
	/* All but what grows with the request is cut short instead. */
	ferry__agent_fail(job, -ENOMEM, FERRY_REASON_NO_MEMORY);
}

/* --- lists -------------------------------------------------------------------------- */

static int describe(struct ferry_arena *arena, struct ferry_agent_object *ret)
{
	struct ferry_arena_stats st = { 0 };
	const struct ferry__owner *owner;
	size_t pinned, out, transit, live;
	void *arg;
	int r;

	r = ferry__arena_resident(arena, &st);
	live = ferry__pages_count(&arena->pages, FERRY_PAGE_LIVE);
	pinned = ferry__pages_count(&arena->pages, FERRY_PAGE_PINNED);
	transit = ferry__pages_count(&arena->pages, FERRY_PAGE_TRANSIT);
	out = ferry__pages_count(&arena->pages, FERRY_PAGE_OUT);
	*ret = (struct ferry_agent_object){
		.id = arena->id,
		.kind = FERRY_AGENT_ARENA,
		.addr = (uintptr_t)arena->base,
		.len = ferry_arena_reserved(arena),
		.used = (live + pinned + transit + out) * ferry__page_size,
		.resident = st.resident,
		.huge = st.huge,
		.swapped = st.swapped,
		.pinned = pinned * ferry__page_size,
		.out = out * ferry__page_size,
	};
	memcpy(ret->name, arena->name, sizeof(ret->name) - 1);
	owner = ferry__arena_owner(arena, &arg);
	if (owner)
		owner->describe(arg, ret);
	return r;
}

/* The next object that is asked for, held; NULL: there is none. */
static struct ferry_arena *next_object(struct ferry__agent_job *job)
{
	uint64_t after = job->next;
	struct ferry_arena *arena;

	if (job->req.object) {
		if (after >= job->req.object)
			return NULL;
		after = job->req.object - 1;
	}
	arena = ferry__arena_hold_next(after);
	if (!arena)
		return NULL;
	if (job->req.object && arena->id != job->req.object) {
		ferry__arena_let_go(arena);
		return NULL;
	}
	job->next = arena->id;
	return arena;
}

/* After the last one: an object that was asked for by name was not there. */
static bool objects_end(struct ferry__agent_job *job)
{
	if (job->req.object && !job->next)
		ferry__agent_fail(job, -ENOENT, FERRY_REASON_NOT_MANAGED);
	return false;
}

bool ferry__agent_list_step(struct ferry__agent_job *job)
{
	uint64_t before = job->next ? job->next : job->req.value;
	struct ferry_agent_object *item;
	struct ferry_arena *arena;
	int r;

	job->next = job->req.object ? job->next : before;
	arena = next_object(job);
	if (!arena)
		return objects_end(job);
	item = ferry__agent_items(job, 1, sizeof(*item));
	r = item ? describe(arena, item) : 0;
	ferry__arena_let_go(arena);
	if (!item) {
		job->reply.flags |= FERRY_AGENT_MORE;
		job->reply.value = before;
		return false;
	}
	if (r < 0)
		ferry__agent_fail(job, r, FERRY_REASON_NONE);
	return r == 0;
}

/* --- JSON ------------------------------------------------------------------------------ */

/* A name is the program's: any bytes. */
static void json_string(const char *text, char *buf, size_t size)
{
	size_t n = 0;
	const unsigned char *p = (const unsigned char *)text;

	for (; *p && n + 7 < size; p++) {
		if (*p == '"' || *p == '\\' || *p < 0x20 || *p >= 0x7f)
			n += (size_t)sprintf(buf + n, "\\u%04x", *p);
		else
			buf[n++] = (char)*p;
	}
	buf[n] = '\0';
}

static const char *kind_name(uint32_t kind)
{
	return kind == FERRY_AGENT_HEAP ? "heap" : "arena";
}

static bool print_object(struct ferry__agent_job *job,
			 struct ferry_arena *arena)
{
	struct ferry_agent_object o;
	const struct ferry__owner *owner;
	char name[6 * sizeof(o.name) + 8];
	bool ok;
	void *arg;

	if (describe(arena, &o) < 0)
		return false;
	json_string(o.name, name, sizeof(name));
	ok = ferry__agent_print(
		     job, "%s{\"id\":%llu,\"kind\":\"%s\",\"name\":\"%s\"",
		     job->offset++ ? "," : "", (unsigned long long)o.id,
		     kind_name(o.kind), name) &&
	     ferry__agent_print(
		     job,
		     ",\"address\":%llu,\"reserved\":%llu,\"used\":%llu,"
		     "\"resident\":%llu,\"huge\":%llu,\"swapped\":%llu,"
		     "\"pinned\":%llu,\"out\":%llu",
		     (unsigned long long)o.addr, (unsigned long long)o.len,
		     (unsigned long long)o.used, (unsigned long long)o.resident,
		     (unsigned long long)o.huge, (unsigned long long)o.swapped,
		     (unsigned long long)o.pinned, (unsigned long long)o.out);
	owner = ferry__arena_owner(arena, &arg);
	if (ok && owner)
		ok = owner->print(arg, job);
	return ok && ferry__agent_print(job, "}");
}

bool ferry__agent_stats_step(struct ferry__agent_job *job)
{
	struct ferry_arena *arena;
	bool ok = true;

	if (!job->next)
		ok = ferry__agent_print(
			job,
			"{\"version\":\"%s\",\"pid\":%d,\"page_size\":%zu,"
			"\"objects\":[",
			ferry__agent_host.version, ferry__sys->getpid(),
			ferry__page_size);
	arena = ok ? next_object(job) : NULL;
	if (arena) {
		ok = print_object(job, arena);
		ferry__arena_let_go(arena);
	} else if (ok) {
		if (!ferry__agent_print(job, "]}\n"))
			no_room(job);
		return objects_end(job);
	}
	if (!ok)
		no_room(job);
	return ok;
}

/* --- residency ---------------------------------------------------------------------------- */

/* What one range has, added up over its pieces: pages of the job's own. */
struct sums {
	unsigned int nodes;
	uint64_t swapped;
	struct ferry__node_bytes node[];
};

static size_t sums_bytes(unsigned int nodes)
{
	return sizeof(struct sums) + nodes * sizeof(struct ferry__node_bytes);
}

static bool sums_make(struct ferry__agent_job *job)
{
	unsigned int nodes = 1;

	if (ferry__numa->available())
		nodes = (unsigned int)ferry__numa->max_node() + 1;
	job->own_bytes = sums_bytes(nodes);
	if (ferry__agent_alloc(job->own_bytes, &job->own) < 0)
		return false;
	((struct sums *)job->own)->nodes = nodes;
	return true;
}

static bool put_resident(struct ferry__agent_job *job, int node, size_t size,
			 uint64_t bytes)
{
	struct ferry_agent_resident *item;

	if (!bytes)
		return true;
	item = ferry__agent_items(job, 1, sizeof(*item));
	if (!item)
		return false;
	item->range = (uint32_t)job->next;
	item->node = node;
	item->page_size = size;
	item->bytes = bytes;
	return true;
}

static bool put_sums(struct ferry__agent_job *job)
{
	struct sums *s = job->own;
	bool ok = put_resident(job, -1, ferry__page_size, s->swapped);
	unsigned int i;

	for (i = 0; ok && i < s->nodes; i++)
		ok = put_resident(job, (int)i, ferry__page_size,
				  s->node[i].base) &&
		     put_resident(job, (int)i, ferry__huge_size(),
				  s->node[i].huge);
	memset(s->node, 0, s->nodes * sizeof(s->node[0]));
	s->swapped = 0;
	return ok;
}

static int add_swapped(uintptr_t start, uintptr_t end, uint64_t *sum)
{
	size_t all, there;
	int fd, r;

	fd = ferry__sys->open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0)
		return fd;
	r = ferry__pagemap_count(fd, start, end, true, &all);
	if (r == 0)
		r = ferry__pagemap_count(fd, start, end, false, &there);
	ferry__sys->close(fd);
	if (r == 0)
		*sum += all > there ? all - there : 0;
	return r;
}

static int add_up(struct sums *s, const struct ferry__target *t)
{
	uintptr_t start = (uintptr_t)t->arena->base + t->offset;
	struct ferry__span span = { start, t->len };
	int r;

	r = ferry__node_residency_spans(&span, 1, s->node, s->nodes);
	return r < 0 ? r : add_swapped(start, start + t->len, &s->swapped);
}

/* The range that is next, or the object where there are none. */
static int range_or_object(struct ferry__agent_job *job,
			   struct ferry__target *t, enum ferry_reason *why)
{
	if (job->req.ranges_len)
		return ferry__agent_target(job, job->next, NULL, t, why);
	*why = FERRY_REASON_NOT_MANAGED;
	t->arena = job->req.object ? ferry__arena_hold_next(job->req.object - 1)
				   : NULL;
	if (t->arena && t->arena->id != job->req.object) {
		ferry__arena_let_go(t->arena);
		t->arena = NULL;
	}
	if (!t->arena)
		return -ENOENT;
	t->offset = 0;
	t->len = ferry_arena_reserved(t->arena);
	return 0;
}

/* A range that is none has no items, which is not an error of the others. */
bool ferry__agent_residency_step(struct ferry__agent_job *job)
{
	struct ferry__target t;
	enum ferry_reason why;
	uint64_t left = 0, len = 0;
	int r;

	if (!job->own && !sums_make(job)) {
		no_room(job);
		return false;
	}
	r = range_or_object(job, &t, &why);
	if (r == 0) {
		left = t.len - job->offset;
		len = left < RESIDENCY_STEP ? left : RESIDENCY_STEP;
		t.offset += job->offset;
		t.len = len;
		r = add_up(job->own, &t);
		ferry__arena_let_go(t.arena);
	} else if (!job->req.ranges_len) {
		ferry__agent_fail(job, r, why);
		return false;
	}
	job->reply.failed += r < 0;
	job->offset += len;
	if (r == 0 && len < left)
		return true;
	if (!put_sums(job)) {
		no_room(job);
		return false;
	}
	job->offset = 0;
	return ++job->next < job->req.ranges_len;
}

/* --- maps ------------------------------------------------------------------------------------ */

/* A stretch of pages, read together. */
struct stretch {
	struct ferry_arena *arena;
	size_t first, n; /* pages */
	uint64_t word[FERRY__WORDS];
	uint32_t flags[FERRY__WORDS];
	int node[FERRY__WORDS];
};

static uint32_t flags_of(unsigned int state, uint64_t word)
{
	uint32_t flags = 0;

	if (state != FERRY_PAGE_ABSENT)
		flags |= FERRY_AGENT_RUN_COMMITTED;
	if (state == FERRY_PAGE_PINNED)
		flags |= FERRY_AGENT_RUN_PINNED;
	if (state == FERRY_PAGE_OUT)
		flags |= FERRY_AGENT_RUN_OUT;
	if (state == FERRY_PAGE_TRANSIT || state >= FERRY_PAGE_STATES)
		flags |= FERRY_AGENT_RUN_TRANSIT;
	if (word & FERRY__PM_PRESENT)
		flags |= FERRY_AGENT_RUN_PRESENT;
	else if (word & FERRY__PM_SWAP)
		flags |= FERRY_AGENT_RUN_SWAPPED;
	return flags;
}

/* Sets @flag on pages of the stretch that carry all of @mask. */
static void mark(struct stretch *s, int pagemap, uint64_t mask, uint32_t flag)
{
	uintptr_t base = (uintptr_t)s->arena->base;
	uintptr_t at = base + s->first * ferry__page_size;
	uintptr_t end = at + s->n * ferry__page_size, from, to;
	size_t i;

	while (at < end &&
	       ferry__pagemap_find(pagemap, at, end, mask, &from, &to) == 1) {
		for (i = (from - base) / ferry__page_size - s->first;
		     i < (to - base) / ferry__page_size - s->first; i++)
			s->flags[i] |= flag;
		at = to;
	}
}

static void read_nodes(struct stretch *s)
{
	void *page[FERRY__WORDS];
	int status[FERRY__WORDS];
	size_t i, n = 0;

	for (i = 0; i < s->n; i++) {
		s->node[i] = -1;
		if (s->flags[i] & FERRY_AGENT_RUN_PRESENT)
			page[n++] = s->arena->base +
				    (s->first + i) * ferry__page_size;
	}
	if (!n || ferry__sys->move_pages(0, n, page, NULL, status, 0) < 0)
		return;
	for (i = n = 0; i < s->n; i++)
		if (s->flags[i] & FERRY_AGENT_RUN_PRESENT && status[n++] >= 0)
			s->node[i] = status[n - 1];
}

static int read_stretch(struct stretch *s, int pagemap)
{
	uintptr_t addr =
		(uintptr_t)s->arena->base + s->first * ferry__page_size;
	size_t i;
	int n;

	n = ferry__pagemap_read(pagemap, addr, s->n, s->word);
	if (n < 0)
		return n;
	s->n = (size_t)n;
	for (i = 0; i < s->n; i++)
		s->flags[i] = flags_of(
			ferry__pages_get(&s->arena->pages, s->first + i),
			s->word[i]);
	mark(s, pagemap, FERRY__PAGE_IS_PRESENT | FERRY__PAGE_IS_HUGE,
	     FERRY_AGENT_RUN_HUGE);
	mark(s, pagemap, FERRY__PAGE_IS_PRESENT | FERRY__PAGE_IS_PFNZERO,
	     FERRY_AGENT_RUN_ZERO);
	read_nodes(s);
	return 0;
}

/* The last run of the reply, or NULL. */
static struct ferry_agent_run *last_run(struct ferry__agent_job *job)
{
	if (!job->reply.items_len)
		return NULL;
	return (struct ferry_agent_run *)(void *)(job->out.mem +
						  sizeof(job->reply)) +
	       job->reply.items_len - 1;
}

/* False: no room for another run. */
static bool put_run(struct ferry__agent_job *job, uint64_t addr, uint64_t len,
		    int node, uint32_t flags)
{
	struct ferry_agent_run *run = last_run(job);

	if (run && run->node == node && run->flags == flags &&
	    run->addr + run->len == addr) {
		run->len += len;
		return true;
	}
	run = ferry__agent_items(job, 1, sizeof(*run));
	if (!run)
		return false;
	*run = (struct ferry_agent_run){ addr, len, node, flags };
	return true;
}

/* Returns 0; -EMSGSIZE: the reply is full; how far in *@ret_pages. */
static int put_stretch(struct ferry__agent_job *job, const struct stretch *s,
		       size_t *ret_pages)
{
	uint64_t addr = (uintptr_t)s->arena->base;
	size_t i;

	for (i = 0; i < s->n; i++) {
		*ret_pages = s->first + i;
		if (!put_run(job, addr + (s->first + i) * ferry__page_size,
			     ferry__page_size, s->node[i], s->flags[i]))
			return -EMSGSIZE;
	}
	*ret_pages = s->first + s->n;
	return 0;
}

/* Pages [*@page, @end) of the target, as far as one turn goes. */
static int map_some(struct ferry__agent_job *job, struct ferry_arena *arena,
		    int pagemap, size_t *page, size_t end)
{
	struct stretch s = { .arena = arena };
	size_t todo = MAP_STEP_PAGES, next;
	int r = 0;

	while (r == 0 && *page < end && todo) {
		/* What is not committed is in no run. */
		next = ferry__pages_find(&arena->pages, *page, end,
					 FERRY__CODE(FERRY_PAGE_ABSENT), false);
		*page = next;
		if (next == end)
			break;
		s.first = next;
		s.n = end - next < FERRY__WORDS ? end - next : FERRY__WORDS;
		r = read_stretch(&s, pagemap);
		if (r == 0)
			r = put_stretch(job, &s, page);
		todo -= todo < s.n ? todo : s.n;
	}
	return r;
}

static bool map_piece(struct ferry__agent_job *job, struct ferry__target *t)
{
	size_t page = (t->offset + job->offset) / ferry__page_size;
	size_t end = (t->offset + t->len) / ferry__page_size;
	int fd, r;

	fd = ferry__sys->open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0) {
		ferry__agent_fail(job, fd, FERRY_REASON_NONE);
		return false;
	}
	r = map_some(job, t->arena, fd, &page, end);
	ferry__sys->close(fd);
	if (r == -EMSGSIZE) {
		job->reply.flags |= FERRY_AGENT_MORE;
		job->reply.value =
			(uintptr_t)t->arena->base + page * ferry__page_size;
	} else if (r < 0) {
		ferry__agent_fail(job, r, FERRY_REASON_NONE);
	}
	job->offset = page * ferry__page_size - t->offset;
	return r == 0 && page < end;
}

bool ferry__agent_map_step(struct ferry__agent_job *job)
{
	struct ferry__target t;
	enum ferry_reason why;
	bool more;
	int r;

	r = job->req.ranges_len > 1 ? -EINVAL : range_or_object(job, &t, &why);
	if (r < 0) {
		ferry__agent_fail(job, r,
				  r == -EINVAL ? FERRY_REASON_NONE : why);
		return false;
	}
	more = map_piece(job, &t);
	ferry__arena_let_go(t.arena);
	return more;
}
