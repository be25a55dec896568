/* SPDX-License-Identifier: MIT */
/*
 * NUMA policy, migration and residency by vectors of ranges.
 *
 * What is assumed of the kernel
 *  - mbind() refuses a range with a gap (EFAULT) before it changes anything;
 *    with STRICT and without MOVE so, too, pages that lie elsewhere (EIO).
 *  - mbind() of no bytes looks at the mode and at nothing else, and
 *    set_mempolicy_home_node() of no bytes at the node: what they answer
 *    tells what this kernel has.
 *  - mbind() answers EINVAL for an unknown mode, for nodes without memory and
 *    for hugetlb memory cut in its pages. A page of our own tells the last
 *    from the others.
 *  - move_pages() collects pages until it meets one that is not to move, moves
 *    them together and writes what became of them. If one of them stays it
 *    writes nothing of those, does not come to the rest, and returns how many
 *    that makes. So what was not written before the first that was, is what
 *    it tried; what was not written behind it, is what it did not come to.
 *  - move_pages() takes a huge page as a whole for the first of its base
 *    pages; the second is then EBUSY although it goes along.
 */
#include "uffd/node_apply.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>

#include "uffd/pagemap.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define LONG_BITS (CHAR_BIT * sizeof(unsigned long))
#define BATCH	  FERRY__NODE_BATCH
#define UNWRITTEN INT_MIN /* no node and no errno */

/* Ranges of fewer pages are not looked through for holes first. */
#define SMALL 64
#define RUNS  16

const char *ferry__node_reason_text(enum ferry__node_reason reason)
{
	static const char *const text[FERRY__NODE_REASONS] = {
		[FERRY__NODE_OK] = "done",
		[FERRY__NODE_RANGE] = "not a range of whole pages",
		[FERRY__NODE_UNMAPPED] = "not mapped, or not everywhere",
		[FERRY__NODE_STAYED] = "pages stayed: pinned or in use",
		[FERRY__NODE_SHARED] = "pages stayed: other processes have "
				       "them mapped, too",
		[FERRY__NODE_MEMORY] = "no memory on the node, or too many "
				       "mappings (vm.max_map_count)",
		[FERRY__NODE_HOME] = "policy set, but not the home node",
		[FERRY__NODE_REFUSED] = "refused by the kernel",
	};

	return (unsigned int)reason < FERRY__NODE_REASONS ? text[reason]
							  : "unknown";
}

/* --- ranges --------------------------------------------------------------- */

bool ferry__span_check(const struct ferry__span *s)
{
	return s->len && !((s->addr | s->len) & (ferry__page_size - 1)) &&
	       s->addr <= UINTPTR_MAX - s->len;
}

static void refuse(struct ferry__node_result *ret, int error,
		   enum ferry__node_reason reason)
{
	ret->error = error;
	ret->reason = reason;
}

/* Clears the results and marks the ranges that are none. */
static void begin(const struct ferry__span *v, size_t n,
		  struct ferry__node_result *ret)
{
	size_t i;

	memset(ret, 0, n * sizeof(*ret));
	for (i = 0; i < n; i++)
		if (!ferry__span_check(&v[i]))
			refuse(&ret[i], -EINVAL, FERRY__NODE_RANGE);
}

static long failures(const struct ferry__node_result *ret, size_t n)
{
	long bad = 0;
	size_t i;

	for (i = 0; i < n; i++)
		bad += ret[i].error != 0;
	return bad;
}

/*
 * Walks the pages of ranges. Large ranges are looked through first, so that
 * an empty terabyte costs nothing.
 */
struct walk {
	const struct ferry__span *v;
	size_t n, i;
	uint64_t at;   /* next page of v[i]; 0: at its start */
	uint64_t stop; /* as far as pages are to be taken one by one */
	bool huge;     /* they are mapped by huge pages */
	bool sizes;    /* huge is wanted: look through small ranges, too */
	int pagemap;   /* -1: not opened, or cannot be */
	bool opened;
	int runs, run; /* found by the last look, and the next of these */
	struct ferry__page_region found[RUNS];
};

static struct walk walk_of(const struct ferry__span *v, size_t n, bool sizes)
{
	return (struct walk){ .v = v, .n = n, .sizes = sizes, .pagemap = -1 };
}

static void walk_end(struct walk *w)
{
	if (w->pagemap >= 0)
		ferry__sys->close(w->pagemap);
}

static int look(struct walk *w, uint64_t end)
{
	if (!w->opened) {
		w->opened = true;
		w->pagemap = ferry__sys->open("/proc/self/pagemap", O_RDONLY);
	}
	w->run = 0;
	/* With what is swapped: so looks a page that is being migrated. */
	w->runs = ferry__pagemap_kinds(w->pagemap, w->at, end, w->found, RUNS);
	if (w->runs == -EFAULT) /* beyond all addresses: no pages there */
		w->runs = 0;
	return w->runs;
}

/* Steps to the next stretch of v[i]; false when there is none. */
static bool next_stretch(struct walk *w, uint64_t end)
{
	bool last = w->run == w->runs && w->runs > 0 && w->runs < RUNS;
	const struct ferry__page_region *found;

	if (last)
		return false;
	if (w->run == w->runs &&
	    ((!w->sizes && end - w->at < SMALL * ferry__page_size) ||
	     look(w, end) < 0)) {
		w->huge = false;
		w->stop = end;
		w->run = w->runs = 0;
		return true;
	}
	if (!w->runs)
		return false;
	found = &w->found[w->run++];
	w->at = found->start;
	w->stop = found->end;
	w->huge = found->categories & FERRY__PAGE_IS_HUGE;
	return true;
}

/*
 * The next page that may be in memory and the range it is of; false at the
 * end. *@ret_len bytes are taken as one: what is left of a huge page, if that
 * was asked for.
 */
static bool next_page(struct walk *w, uint64_t *ret_addr, uint64_t *ret_len,
		      size_t *ret_i)
{
	uint64_t end, unit;

	for (; w->i < w->n; w->i++, w->at = w->stop = 0, w->run = w->runs = 0) {
		if (!ferry__span_check(&w->v[w->i]))
			continue;
		if (!w->at)
			w->at = w->stop = w->v[w->i].addr;
		end = w->v[w->i].addr + w->v[w->i].len;
		if (w->at == end || (w->at == w->stop && !next_stretch(w, end)))
			continue;
		unit = w->huge && w->sizes ? ferry__huge_size() : 0;
		unit = unit ? unit - (w->at & (unit - 1)) : ferry__page_size;
		*ret_len = unit < w->stop - w->at ? unit : w->stop - w->at;
		*ret_addr = w->at;
		*ret_i = w->i;
		w->at += *ret_len;
		return true;
	}
	return false;
}

/* --- single pages --------------------------------------------------------- */

/* An error of move_pages() as one of ours. */
static int call_error(long r)
{
	switch (r) {
	case -ENOSYS:
		return -EOPNOTSUPP;
	case -ENODEV:
		return -EINVAL;
	case -EACCES:
		return -EPERM;
	default:
		return (int)r;
	}
}

/* Where each page is: a node, or a negative errno. */
static int where(void **pages, size_t n, int *ret_status)
{
	long r = ferry__sys->move_pages(0, n, pages, NULL, ret_status, 0);

	return r < 0 ? call_error(r) : 0;
}

static bool is_absent(int status)
{
	return status == -ENOENT || status == -EFAULT;
}

/* Pages still to be asked for. */
struct batch {
	size_t n;
	void *page[BATCH];
	int node[BATCH];
	int status[BATCH];
	uint16_t index[BATCH]; /* of it for the caller */
	bool again[BATCH];     /* was EBUSY once */
};

static void batch_add(struct batch *b, void *page, size_t index, bool again)
{
	b->page[b->n] = page;
	b->index[b->n] = (uint16_t)index;
	b->again[b->n++] = again;
}

/* How many the kernel has tried for certain, counted from the first. */
static size_t tried(const struct batch *b)
{
	size_t i;

	for (i = 0; i < b->n && b->status[i] == UNWRITTEN; i++)
		;
	return i;
}

/*
 * Learns where the pages are that the kernel wrote nothing of, into @ret_now;
 * for the others that is what it wrote.
 */
static int look_after(struct batch *b, int *ret_now)
{
	size_t i;
	int r;

	for (i = 0; i < b->n && b->status[i] != UNWRITTEN; i++)
		;
	if (i == b->n) {
		memcpy(ret_now, b->status, b->n * sizeof(*ret_now));
		return 0;
	}
	r = where(b->page, b->n, ret_now);
	for (i = 0; r == 0 && i < b->n; i++)
		if (b->status[i] != UNWRITTEN)
			ret_now[i] = b->status[i];
	return r;
}

/*
 * What came of one call that answered @r: @ret for the pages that are
 * settled, the others stay in the batch. The first is settled, or was EBUSY
 * for the first time, so that the batch comes to an end.
 */
static int settle(struct batch *b, int node, long r, int *ret)
{
	size_t i, n = b->n, sure = tried(b);
	int now[BATCH], error;

	error = look_after(b, now);
	if (error < 0)
		return error;
	for (b->n = i = 0; i < n; i++) {
		int *to = &ret[b->index[i]];

		if (now[i] == node)
			*to = FERRY__PAGE_MOVED;
		else if (is_absent(now[i]))
			*to = FERRY__PAGE_ABSENT;
		else if (r == -ENOMEM)
			*to = -ENOMEM;
		else if (b->status[i] == UNWRITTEN && i > sure)
			batch_add(b, b->page[i], b->index[i], b->again[i]);
		else if (!b->again[i])
			batch_add(b, b->page[i], b->index[i], true);
		else
			*to = now[i] < 0 ? now[i] : -EBUSY;
	}
	return 0;
}

static long ask(struct batch *b, int node)
{
	size_t i;

	for (i = 0; i < b->n; i++) {
		b->node[i] = node;
		b->status[i] = UNWRITTEN;
	}
	return ferry__sys->move_pages(0, b->n, b->page, b->node, b->status,
				      MPOL_MF_MOVE);
}

/* Answers about pages, not about the call; ENOENT: all absent, before 4.17. */
static bool concerns_pages(long r)
{
	return r >= 0 || r == -ENOENT || r == -ENOMEM;
}

static int migrate_batch(void **pages, size_t n, int node, int *ret)
{
	struct batch b = { .n = 0 };
	int r;
	long answer;
	size_t i;

	r = where(pages, n, ret);
	if (r < 0)
		return r;
	for (i = 0; i < n; i++) {
		if (ret[i] != node && !is_absent(ret[i]))
			batch_add(&b, pages[i], i, false);
		ret[i] = ret[i] == node ? FERRY__PAGE_THERE
					: FERRY__PAGE_ABSENT;
	}
	while (b.n) {
		answer = ask(&b, node);
		if (!concerns_pages(answer))
			return call_error(answer);
		r = settle(&b, node, answer, ret);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The node is looked at before the page, and no page is at 0. */
static int check_node(int node)
{
	void *nowhere = NULL;
	int status;
	long r = ferry__sys->move_pages(0, 1, &nowhere, &node, &status,
					MPOL_MF_MOVE);

	return concerns_pages(r) ? 0 : call_error(r);
}

int ferry__node_migrate_pages(void **pages, size_t n, int node, int *ret)
{
	int r;

	if (n > BATCH)
		return -EINVAL;
	r = check_node(node);
	return r < 0 ? r : migrate_batch(pages, n, node, ret);
}

/* --- migration of ranges -------------------------------------------------- */

/* Pages to ask for, and whose they are. */
struct load {
	size_t n;
	void *page[BATCH];
	uint64_t len[BATCH]; /* bytes that the page speaks for */
	size_t owner[BATCH];
	int status[BATCH];
	bool huge[BATCH];
};

static bool next_load(struct walk *w, struct load *ret)
{
	uint64_t addr;
	size_t n;

	for (n = 0; n < BATCH; n++) {
		if (!next_page(w, &addr, &ret->len[n], &ret->owner[n]))
			break;
		ret->page[n] = (void *)(uintptr_t)addr;
		ret->huge[n] = w->huge;
	}
	ret->n = n;
	return n;
}

static enum ferry__node_reason reason_of(int error)
{
	switch (error) {
	case 0:
		return FERRY__NODE_OK;
	case -EACCES:
		return FERRY__NODE_SHARED;
	case -ENOMEM:
		return FERRY__NODE_MEMORY;
	case -EFAULT:
		return FERRY__NODE_UNMAPPED;
	case -EIO:
	case -EBUSY:
		return FERRY__NODE_STAYED;
	default:
		return FERRY__NODE_REFUSED;
	}
}

enum ferry__node_reason ferry__node_reason_of(int status)
{
	return status < 0 ? reason_of(status) : FERRY__NODE_OK;
}

static void book(struct ferry__node_result *ret, int status, uint64_t len)
{
	if (status == FERRY__PAGE_MOVED)
		ret->moved += len;
	if (status >= 0)
		return;
	ret->failed += len;
	if (!ret->error)
		refuse(ret, status, reason_of(status));
}

long ferry__node_migrate_spans(const struct ferry__span *v, size_t n, int node,
			       struct ferry__node_result *ret)
{
	struct walk w = walk_of(v, n, false);
	struct load load;
	size_t i;
	int r;

	begin(v, n, ret);
	r = check_node(node);
	while (r == 0 && next_load(&w, &load)) {
		r = migrate_batch(load.page, load.n, node, load.status);
		for (i = 0; r == 0 && i < load.n; i++)
			book(&ret[load.owner[i]], load.status[i], load.len[i]);
	}
	walk_end(&w);
	return r < 0 ? r : failures(ret, n);
}

/* --- residency ------------------------------------------------------------ */

static void place(struct ferry__node_bytes *ret, unsigned int nodes, int node,
		  uint64_t len, bool huge)
{
	if (node < 0 || (unsigned int)node >= nodes)
		return;
	if (huge)
		ret[node].huge += len;
	else
		ret[node].base += len;
}

int ferry__node_residency_spans(const struct ferry__span *v, size_t n,
				struct ferry__node_bytes *ret,
				unsigned int nodes)
{
	struct walk w = walk_of(v, n, true);
	struct load load;
	size_t i;
	int r = 0;

	for (i = 0; i < n; i++)
		if (!ferry__span_check(&v[i]))
			return -EINVAL;
	memset(ret, 0, nodes * sizeof(*ret));
	while (r == 0 && next_load(&w, &load)) {
		r = where(load.page, load.n, load.status);
		for (i = 0; r == 0 && i < load.n; i++)
			place(ret, nodes, load.status[i], load.len[i],
			      load.huge[i]);
	}
	walk_end(&w);
	return r;
}

/* --- policy --------------------------------------------------------------- */

/* A policy as the kernel is told it. */
struct order {
	const struct ferry__node_policy *policy;
	unsigned long bits; /* up to the last that is set */
	unsigned int flags;
};

static bool in_mask(const struct ferry__node_policy *policy, size_t node)
{
	return node < policy->nodes_len &&
	       policy->nodes[node / LONG_BITS] >> node % LONG_BITS & 1;
}

/* Nodes named, and bits up to the last of them. */
static size_t count_nodes(const struct ferry__node_policy *policy,
			  size_t *ret_bits)
{
	size_t i, words = (policy->nodes_len + LONG_BITS - 1) / LONG_BITS;
	size_t n = 0, bit;

	*ret_bits = 0;
	for (i = 0; i < words; i++) {
		if (!policy->nodes[i])
			continue;
		for (bit = i * LONG_BITS; bit < (i + 1) * LONG_BITS; bit++) {
			if (!in_mask(policy, bit))
				continue;
			*ret_bits = bit + 1;
			n++;
		}
	}
	return n;
}

static bool fits_mode(const struct ferry__node_policy *policy, size_t nodes)
{
	switch (policy->mode) {
	case FERRY__NODE_DEFAULT:
		return nodes == 0;
	case FERRY__NODE_PREFERRED:
		return nodes <= 1;
	case FERRY__NODE_BIND:
	case FERRY__NODE_INTERLEAVE:
	case FERRY__NODE_PREFERRED_MANY:
	case FERRY__NODE_WEIGHTED_INTERLEAVE:
		return nodes > 0;
	default:
		return false;
	}
}

int ferry__node_policy_check(const struct ferry__node_policy *policy)
{
	size_t bits;

	if (policy->nodes_len && !policy->nodes)
		return -EINVAL;
	if (!fits_mode(policy, count_nodes(policy, &bits)))
		return -EINVAL;
	if (policy->home_node == FERRY__NODE_NONE)
		return 0;
	return policy->home_node >= 0 &&
			       (policy->mode == FERRY__NODE_BIND ||
				policy->mode == FERRY__NODE_PREFERRED_MANY)
		       ? 0
		       : -EINVAL;
}

static int tell(const struct order *o, void *addr, size_t len,
		unsigned int flags)
{
	return ferry__sys->mbind(addr, len, (int)o->policy->mode,
				 o->bits ? o->policy->nodes : NULL, o->bits,
				 flags);
}

/* Of no bytes: is there such a call, such a mode, such a node? */
static int probe(const struct order *o)
{
	int r;

	r = ferry__sys->mbind(NULL, 0, (int)o->policy->mode, NULL, 0, 0);
	if (r == -ENOSYS || r == -EINVAL)
		return -EOPNOTSUPP;
	if (r < 0 || o->policy->home_node == FERRY__NODE_NONE)
		return r;
	r = ferry__sys->set_home_node(NULL, 0, o->policy->home_node);
	return r == -ENOSYS ? -EOPNOTSUPP : r;
}

static int order_of(const struct ferry__node_policy *policy,
		    struct order *ret_order)
{
	size_t bits;
	int r = ferry__node_policy_check(policy);

	if (r < 0)
		return r;
	count_nodes(policy, &bits);
	*ret_order = (struct order){
		.policy = policy,
		.bits = bits,
		.flags = (policy->move ? MPOL_MF_MOVE : 0) |
			 (policy->strict ? MPOL_MF_STRICT : 0),
	};
	return probe(ret_order);
}

/* Does the kernel take these nodes for a page that nothing speaks against? */
static bool nodes_are_taken(const struct order *o)
{
	void *page;
	int r;

	r = ferry__sys->mmap(NULL, ferry__page_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &page);
	if (r < 0)
		return true;
	r = tell(o, page, ferry__page_size, 0);
	ferry__sys->munmap(page, ferry__page_size);
	return r != -EINVAL;
}

/*
 * Tells the kernel. The home node goes to a policy that is in force, with
 * pages that stayed or not; @ret_home: it was that which failed.
 */
static int apply(const struct order *o, const struct ferry__span *v, size_t n,
		 bool *ret_home)
{
	const struct ferry__span *last = &v[n - 1];
	void *addr = (void *)(uintptr_t)v->addr;
	size_t len = (size_t)(last->addr + last->len - v->addr);
	int home = o->policy->home_node, r, h;

	*ret_home = false;
	r = tell(o, addr, len, o->flags);
	if (home == FERRY__NODE_NONE ||
	    (r < 0 && !(r == -EIO && o->policy->move)))
		return r;
	h = ferry__sys->set_home_node(addr, len, home);
	if (h == 0)
		return r;
	*ret_home = true;
	return h;
}

/* Errors that speak of the call and not of the range. */
static bool is_whole(const struct order *o, int r)
{
	return r == -EPERM || r == -ENOSYS ||
	       (r == -EINVAL && !nodes_are_taken(o));
}

static int apply_one(const struct order *o, const struct ferry__span *v,
		     struct ferry__node_result *ret)
{
	bool home;
	int r = apply(o, v, 1, &home);

	if (r < 0 && !home && is_whole(o, r))
		return r == -ENOSYS ? -EOPNOTSUPP : r;
	refuse(ret, r, home ? FERRY__NODE_HOME : reason_of(r));
	return 0;
}

/* How many ranges from @v on adjoin each other, all of them good. */
static size_t joined(const struct ferry__span *v, size_t n,
		     const struct ferry__node_result *ret)
{
	size_t i;

	for (i = 1; i < n && !ret[i].error; i++)
		if (v[i - 1].addr + v[i - 1].len != v[i].addr)
			break;
	return i;
}

static int apply_all(const struct order *o, const struct ferry__span *v,
		     size_t n, struct ferry__node_result *ret)
{
	size_t i, k, run;
	bool home;
	int r = 0;

	for (i = 0; r == 0 && i < n; i += run) {
		run = 1;
		if (ret[i].error)
			continue;
		run = joined(v + i, n - i, ret + i);
		if (run > 1 && apply(o, v + i, run, &home) == 0)
			continue;
		for (k = i; r == 0 && k < i + run; k++)
			r = apply_one(o, &v[k], &ret[k]);
	}
	return r;
}

/* Bytes of each range that are on no node of the mask. */
static int count_misplaced(const struct order *o, const struct ferry__span *v,
			   size_t n, struct ferry__node_result *ret)
{
	struct walk w = walk_of(v, n, false);
	struct load load;
	int r = 0, node;
	size_t i;

	for (i = 0; i < n; i++)
		ret[i].failed = 0;
	while (r == 0 && o->bits && next_load(&w, &load)) {
		r = where(load.page, load.n, load.status);
		for (i = 0; r == 0 && i < load.n; i++) {
			node = load.status[i];
			if (node >= 0 && !in_mask(o->policy, (size_t)node))
				ret[load.owner[i]].failed += load.len[i];
		}
	}
	walk_end(&w);
	return r;
}

/* From counts before (moved) and after (failed) to what was moved. */
static void subtract(struct ferry__node_result *ret, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		ret[i].moved = ret[i].moved > ret[i].failed
				       ? ret[i].moved - ret[i].failed
				       : 0;
}

long ferry__node_apply_spans(const struct ferry__span *v, size_t n,
			     const struct ferry__node_policy *policy,
			     struct ferry__node_result *ret)
{
	struct order o;
	size_t i;
	int r;

	r = order_of(policy, &o);
	if (r < 0)
		return r;
	begin(v, n, ret);
	if (policy->count)
		r = count_misplaced(&o, v, n, ret);
	for (i = 0; i < n; i++)
		ret[i].moved = ret[i].failed;
	if (r == 0)
		r = apply_all(&o, v, n, ret);
	if (r == 0 && policy->count)
		r = count_misplaced(&o, v, n, ret);
	if (r < 0)
		return r;
	subtract(ret, n);
	return failures(ret, n);
}
