/* SPDX-License-Identifier: MIT */
/*
 * What ferryctl does to a process from outside: to a real one, a child whose
 * memory is known, and with answers of the kernel that are made on demand.
 */
#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/nodes.h"
#include "tools/ferryctl/ctl.h"
#include "tools/ferryctl/frames.h"
#include "tools/ferryctl/kernel.h"
#include "tools/ferryctl/mappings.h"
#include "tools/ferryctl/nodes.h"
#include "tools/ferryctl/outside.h"
#include "tools/ferryctl/picture.h"
#include "tools/ferryctl/sample.h"

/* --- a child with memory that is known ------------------------------------ */

#define CHILD_PAGES 64

static char *memory; /* at the same address in the child; half is touched */
static pid_t child;
static struct ctl_process process;
static struct ctl_pages pages;

static void child_main(int ready)
{
	fill_pages(memory, CHILD_PAGES / 2 * page_size(), 1);
	if (write(ready, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void start_child(void)
{
	int fds[2];
	char c;

	memory = map_anon(CHILD_PAGES * page_size());
	ck_assert_int_eq(pipe(fds), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0)
		child_main(fds[1]);
	ck_assert_int_eq(read(fds[0], &c, 1), 1);
	close(fds[0]);
	close(fds[1]);
	ck_assert_int_eq(ctl_process_open(child, &process), 0);
	ck_assert_int_eq(ctl_pages_open(&pages, &process), 0);
}

static void stop_child(void)
{
	ctl_pages_close(&pages);
	ctl_process_close(&process);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static uint64_t address(size_t page)
{
	return (uintptr_t)memory + page * page_size();
}

/* --- processes ------------------------------------------------------------ */

START_TEST(a_process_is_known_until_it_ends)
{
	char text[64];

	ck_assert_int_eq(ctl_process_check(&process), 0);
	ck_assert_int_gt(ctl_process_text(&process, "comm", text, sizeof(text)),
			 0);
	ck_assert(process.name[0] != '\0');
	ck_assert_ptr_null(strchr(process.name, '\n'));
	kill(child, SIGKILL);
	AWAIT(ctl_process_check(&process) == -ESRCH); /* a zombie, as yet */
	waitpid(child, NULL, 0);
	ck_assert_int_eq(ctl_process_check(&process), -ESRCH);
	ck_assert_int_eq(ctl_process_file(&process, "status"), -ESRCH);
	ck_assert_int_eq(ctl_process_open(child, &process), -ESRCH);
}
END_TEST

START_TEST(a_zombie_is_no_process)
{
	struct ctl_process other;

	kill(child, SIGKILL);
	AWAIT(ctl_process_check(&process) == -ESRCH);
	ck_assert_int_eq(ctl_process_open(child, &other), -ESRCH);
}
END_TEST

START_TEST(a_file_that_the_kernel_lacks_is_not_an_end)
{
	ck_assert_int_eq(ctl_process_file(&process, "no_such_file"),
			 -EOPNOTSUPP);
}
END_TEST

/* The number goes to another process between pidfd and folder. */
static int is_dead(int pidfd)
{
	(void)pidfd;
	return 0;
}

START_TEST(a_number_that_changed_hands_is_noticed)
{
	static struct ctl_kernel table;
	struct ctl_process other;
	size_t before = harness_descriptors();

	table = ctl_kernel_linux;
	table.alive = is_dead;
	ctl_kernel = &table;
	ck_assert_int_eq(ctl_process_open(child, &other), -ESRCH);
	ctl_kernel = &ctl_kernel_linux;
	ck_assert_uint_eq(harness_descriptors(), before);
}
END_TEST

START_TEST(numbers_of_status_are_found_by_key)
{
	const char *s = "Name:\tVmRSS: 5\nVmRSS:\t  1234 kB\nVmSwap: 7 kB\n";

	ck_assert_uint_eq(ctl_status_number(s, "VmRSS:", 0), 1234);
	ck_assert_uint_eq(ctl_status_number(s, "VmSwap:", 0), 7);
	ck_assert_uint_eq(ctl_status_number(s, "VmLck:", 9), 9);
}
END_TEST

/* --- mappings ------------------------------------------------------------- */

struct seen {
	size_t n;
	struct ctl_mapping mapping;
	uint64_t node_bytes;
	char policy[64];
};

/* The mapping that holds the child's memory. */
static int find_memory(void *arg, const struct ctl_mapping *m)
{
	struct seen *seen = arg;
	unsigned int i;

	ck_assert_uint_lt(m->start, m->end);
	if (m->start > address(0) || m->end <= address(0))
		return 0;
	seen->n++;
	seen->mapping = *m;
	snprintf(seen->policy, sizeof(seen->policy), "%s", m->policy);
	for (i = 0; i < m->nnodes; i++)
		seen->node_bytes += m->nodes[i];
	return 0;
}

START_TEST(mappings_tell_what_is_in_them)
{
	struct seen seen = { 0 };

	ck_assert_int_eq(ctl_mappings_walk(&process, find_memory, &seen), 0);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_str_eq(seen.mapping.rights, "rw-p");
	ck_assert_uint_eq(seen.mapping.page_size, page_size());
	/* What the kernel swaps out meanwhile still is the child's. */
	ck_assert_uint_ge(seen.mapping.amount[CTL_RSS] +
				  seen.mapping.amount[CTL_SWAP],
			  CHILD_PAGES / 2 * page_size());
}
END_TEST

START_TEST(mappings_tell_their_policy_and_nodes)
{
	struct seen seen = { 0 };

	ck_assert_int_eq(ctl_mappings_walk(&process, find_memory, &seen), 0);
	ck_assert_str_eq(seen.policy, "default");
	ck_assert_uint_gt(seen.node_bytes, 0);
}
END_TEST

START_TEST(a_process_that_ends_while_it_is_read_is_told)
{
	struct seen seen = { 0 };

	kill(child, SIGKILL);
	AWAIT(ctl_process_check(&process) == -ESRCH);
	ck_assert_int_eq(ctl_mappings_walk(&process, find_memory, &seen),
			 -ESRCH);
}
END_TEST

/* Files in a folder that stands for a process. */
static char folder[] = "/tmp/ferryctl-XXXXXX";

static void put_file(const char *name, const char *contents)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(contents, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void start_fake(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	process = (struct ctl_process){ .pid = getpid() };
	process.pidfd = ctl_kernel->pidfd_open(getpid());
	ck_assert_int_ge(process.pidfd, 0);
	process.folder = ctl_kernel->open(AT_FDCWD, folder, O_DIRECTORY);
	ck_assert_int_ge(process.folder, 0);
}

static void stop_fake(void)
{
	static const char *const names[] = { "smaps", "maps", "numa_maps" };
	char path[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		unlink(path);
	}
	rmdir(folder);
}

static char seen_text[4096];

static int note(void *arg, const struct ctl_mapping *m)
{
	size_t len = strlen(seen_text);

	(void)arg;
	snprintf(seen_text + len, sizeof(seen_text) - len,
		 "%llx-%llx %s %s rss=%llu huge=%llu n0=%llu '%s'\n",
		 (unsigned long long)m->start, (unsigned long long)m->end,
		 m->rights, m->policy, (unsigned long long)m->amount[CTL_RSS],
		 (unsigned long long)m->amount[CTL_HUGE],
		 (unsigned long long)(m->nnodes ? m->nodes[0] : 0), m->name);
	return 0;
}

START_TEST(the_two_files_are_joined_by_address)
{
	put_file("smaps", "1000-3000 rw-p 00000000 00:00 0 \n"
			  "Rss:                   8 kB\n"
			  "AnonHugePages:         4 kB\n"
			  "ShmemPmdMapped:        2 kB\n"
			  "VmFlags: rd wr\n"
			  "5000-6000 r--s 00000000 fe:00 17   /a b\n"
			  "Rss:                   4 kB\n"
			  "9000-a000 rw-p 00000000 00:00 0 [heap]\n");
	put_file("numa_maps",
		 "1000 bind:0 anon=2 dirty=2 N0=2 kernelpagesize_kB=4\n"
		 "4000 default N0=9 kernelpagesize_kB=4\n"
		 "9000 interleave:0-1 heap anon=1 N0=1 N9999=4 "
		 "kernelpagesize_kB=2048\n");
	ck_assert_int_eq(ctl_mappings_walk(&process, note, NULL), 0);
	ck_assert_str_eq(seen_text,
			 "1000-3000 rw-p bind:0 rss=8192 huge=6144 n0=8192 "
			 "''\n"
			 "5000-6000 r--s  rss=4096 huge=0 n0=0 '/a b'\n"
			 "9000-a000 rw-p interleave:0-1 rss=0 huge=0 "
			 "n0=2097152 '[heap]'\n");
}
END_TEST

START_TEST(maps_serves_where_there_is_no_smaps)
{
	put_file("maps", "1000-3000 rw-p 00000000 00:00 0");
	ck_assert_int_eq(ctl_mappings_walk(&process, note, NULL), 0);
	ck_assert_str_eq(seen_text, "1000-3000 rw-p  rss=0 huge=0 n0=0 ''\n");
}
END_TEST

START_TEST(names_cannot_drive_a_terminal)
{
	put_file("maps",
		 "1000-3000 rw-p 00000000 00:00 0 [anon:\033[2J\177]\n");
	ck_assert_int_eq(ctl_mappings_walk(&process, note, NULL), 0);
	ck_assert_ptr_nonnull(strstr(seen_text, "'[anon:?[2J?]'"));
}
END_TEST

START_TEST(a_name_may_be_of_any_length)
{
	char *text = malloc(200000);

	ck_assert_ptr_nonnull(text);
	strcpy(text, "1000-3000 rw-p 00000000 00:00 0 /");
	memset(text + strlen(text), 'x', 150000);
	text[150033] = '\0';
	put_file("maps", text);
	ck_assert_int_eq(ctl_mappings_walk(&process, note, NULL), 0);
	ck_assert_ptr_nonnull(strstr(seen_text, "/xxxx"));
	free(text);
}
END_TEST

START_TEST(text_that_is_no_map_is_an_error)
{
	static const char *const texts[] = {
		"1000\n",
		"1000-2000\n",
		"2000-1000 rw-p 0 00:00 0\n",
		"1000-2000 rw\n",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(texts); i++) {
		put_file("maps", texts[i]);
		ck_assert_int_eq(ctl_mappings_walk(&process, note, NULL), -EIO);
	}
}
END_TEST

/* --- pages ---------------------------------------------------------------- */

static uint64_t walked, walked_to;

static int add_run(void *arg, const struct ctl_run *run)
{
	int *node = arg;

	ck_assert_uint_lt(run->start, run->end);
	ck_assert_uint_ge(run->start, walked_to);
	walked_to = run->end;
	walked += run->end - run->start;
	if (node && run->present)
		*node = run->node;
	return 0;
}

static uint64_t walk(bool nodes, int *ret_node)
{
	walked = walked_to = 0;
	ck_assert_int_eq(ctl_pages_walk(&pages, address(0),
					address(CHILD_PAGES), nodes, add_run,
					ret_node),
			 0);
	return walked;
}

START_TEST(pages_that_are_there_are_found)
{
	int node = -2;

	ck_assert_uint_eq(walk(false, NULL), CHILD_PAGES / 2 * page_size());
	ck_assert_uint_eq(walk(true, &node), CHILD_PAGES / 2 * page_size());
	/* What is just being moved has no node for a moment. */
	AWAIT(walk(true, &node) && node >= 0);
}
END_TEST

START_TEST(words_tell_the_same_as_a_scan)
{
	pages.no_scan = true;
	ck_assert_uint_eq(walk(false, NULL), CHILD_PAGES / 2 * page_size());
	ck_assert_uint_eq(walk(true, NULL), CHILD_PAGES / 2 * page_size());
}
END_TEST

static int no_scan(int pagemap, struct ferry__pm_scan_arg *arg)
{
	(void)pagemap;
	(void)arg;
	return -ENOTTY;
}

START_TEST(a_kernel_without_scan_is_noticed)
{
	static struct ctl_kernel table;

	table = ctl_kernel_linux;
	table.scan = no_scan;
	ctl_kernel = &table;
	ck_assert_uint_eq(walk(false, NULL), CHILD_PAGES / 2 * page_size());
	ck_assert(pages.no_scan);
}
END_TEST

static int stop_at_once(void *arg, const struct ctl_run *run)
{
	(void)arg;
	(void)run;
	return 77;
}

START_TEST(a_walk_can_be_stopped)
{
	ck_assert_int_eq(ctl_pages_walk(&pages, address(0),
					address(CHILD_PAGES), true,
					stop_at_once, NULL),
			 77);
}
END_TEST

/* --- placing -------------------------------------------------------------- */

static struct ctl_done place(const struct bitmask *to)
{
	const struct ctl_placing placing = { .pages = &pages, .to = to };
	struct ctl_done done;

	ck_assert_int_eq(
		ctl_place(&placing, address(0), address(CHILD_PAGES), &done),
		0);
	return done;
}

static uint64_t sum(const struct ctl_done *done)
{
	return done->done + done->absent + ctl_done_left(done);
}

START_TEST(placing_answers_for_every_page_that_is_there)
{
	struct bitmask *to = mask_of(first_node());
	struct ctl_done done = place(to);

	ck_assert_uint_eq(sum(&done), CHILD_PAGES / 2 * page_size());
	numa_free_nodemask(to);
}
END_TEST

START_TEST(pages_go_to_the_other_node)
{
	struct bitmask *to = mask_of(second_node());
	int node = -1;

	AWAIT(place(to).done == CHILD_PAGES / 2 * page_size());
	AWAIT(walk(true, &node) && node == second_node());
	numa_free_nodemask(to);
}
END_TEST

/* Status by the page's number: what move_pages() can answer. */
static const int answers[] = { 0,	-ENOENT, -EFAULT, -EBUSY,
			       -EACCES, -ENOMEM, -EIO,	  7 };

static long answer_pages(pid_t pid, size_t n, void **addrs, const int *nodes,
			 int *ret_status, int flags)
{
	size_t i, page;

	ck_assert_int_eq(pid, child);
	ck_assert_ptr_nonnull(nodes);
	ck_assert_int_eq(flags, MPOL_MF_MOVE);
	for (i = 0; i < n; i++) {
		page = ((uintptr_t)addrs[i] - address(0)) / page_size();
		ret_status[i] = answers[page % ARRAY_SIZE(answers)];
		if (ret_status[i] == 0)
			ret_status[i] = nodes[i];
	}
	return 0;
}

START_TEST(each_answer_of_the_kernel_is_counted_as_what_it_is)
{
	struct bitmask *to = mask_of(first_node());
	uint64_t each = CHILD_PAGES / 2 / ARRAY_SIZE(answers) * page_size();
	static struct ctl_kernel table;
	struct ctl_done done;

	table = ctl_kernel_linux;
	table.move_pages = answer_pages;
	ctl_kernel = &table;
	/* What the kernel is just moving is absent, and not asked for. */
	do
		done = place(to);
	while (done.absent > 2 * each);
	ck_assert_uint_eq(done.done, each);
	ck_assert_uint_eq(done.absent, 2 * each);
	ck_assert_uint_eq(done.busy, 2 * each); /* and on another node */
	ck_assert_uint_eq(done.shared, each);
	ck_assert_uint_eq(done.full, each);
	ck_assert_uint_eq(done.failed, each);
	numa_free_nodemask(to);
}
END_TEST

static unsigned int asked;

/* Nothing the first time, then everything, as of the pages of a folio. */
static long busy_once(pid_t pid, size_t n, void **addrs, const int *nodes,
		      int *ret_status, int flags)
{
	size_t i;

	(void)pid;
	(void)addrs;
	(void)flags;
	for (i = 0; i < n; i++)
		ret_status[i] = asked ? nodes[i] : -EBUSY;
	asked++;
	return 0;
}

START_TEST(what_is_busy_is_asked_for_once_more)
{
	struct bitmask *to = mask_of(first_node());
	static struct ctl_kernel table;
	struct ctl_done done;

	table = ctl_kernel_linux;
	table.move_pages = busy_once;
	ctl_kernel = &table;
	/* What the kernel is just moving is absent, and not asked for. */
	do {
		asked = 0;
		done = place(to);
	} while (done.absent);
	ck_assert_uint_eq(done.done, CHILD_PAGES / 2 * page_size());
	ck_assert_uint_eq(asked, 2);
	numa_free_nodemask(to);
}
END_TEST

static int place_error;

static long fail_pages(pid_t pid, size_t n, void **addrs, const int *nodes,
		       int *ret_status, int flags)
{
	(void)pid;
	(void)n;
	(void)addrs;
	(void)nodes;
	(void)ret_status;
	(void)flags;
	return place_error;
}

START_TEST(errors_of_the_call_are_handed_on)
{
	static const int errors[] = { -EPERM, -EACCES, -ENODEV, -ESRCH };
	struct bitmask *to = mask_of(first_node());
	const struct ctl_placing placing = { .pages = &pages, .to = to };
	static struct ctl_kernel table;
	struct ctl_done done;
	size_t i;

	table = ctl_kernel_linux;
	table.move_pages = fail_pages;
	ctl_kernel = &table;
	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		place_error = errors[i];
		ck_assert_int_eq(ctl_place(&placing, address(0),
					   address(CHILD_PAGES), &done),
				 errors[i]);
	}
	/* "No page there", said by older kernels for the whole call. */
	place_error = -ENOENT;
	ck_assert_uint_eq(place(to).absent, CHILD_PAGES / 2 * page_size());
	numa_free_nodemask(to);
}
END_TEST

static long place_and_die(pid_t pid, size_t n, void **addrs, const int *nodes,
			  int *ret_status, int flags)
{
	(void)flags;
	(void)pid;
	(void)addrs;
	memcpy(ret_status, nodes, n * sizeof(*nodes));
	kill(child, SIGKILL);
	AWAIT(ctl_process_check(&process) == -ESRCH);
	return 0;
}

START_TEST(an_end_during_the_call_is_told)
{
	struct bitmask *to = mask_of(first_node());
	const struct ctl_placing placing = { .pages = &pages, .to = to };
	static struct ctl_kernel table;
	struct ctl_done done;

	table = ctl_kernel_linux;
	table.move_pages = place_and_die;
	ctl_kernel = &table;
	ck_assert_int_eq(
		ctl_place(&placing, address(0), address(CHILD_PAGES), &done),
		-ESRCH);
	numa_free_nodemask(to);
}
END_TEST

START_TEST(all_pages_of_a_process_can_be_placed)
{
	struct bitmask *to = mask_of(first_node()), *from = mask_of_all();
	uint64_t left;

	ck_assert_int_eq(ctl_place_all(&process, from, to, &left), 0);
	numa_free_nodemask(from);
	numa_free_nodemask(to);
}
END_TEST

/* --- advice --------------------------------------------------------------- */

static ssize_t advise_short(int pidfd, const struct iovec *iov, size_t n,
			    int advice)
{
	(void)pidfd;
	(void)advice;
	ck_assert_uint_eq(n, 1);
	asked++;
	return iov->iov_len > page_size() ? (ssize_t)page_size()
					  : (ssize_t)iov->iov_len;
}

START_TEST(short_advice_is_gone_on_with)
{
	static struct ctl_kernel table;
	uint64_t done;

	table = ctl_kernel_linux;
	table.process_madvise = advise_short;
	ctl_kernel = &table;
	ck_assert_int_eq(ctl_advise(&process, address(0), address(8),
				    FERRY__MADV_COLD, &done),
			 0);
	ck_assert_uint_eq(done, 8 * page_size());
	ck_assert_uint_eq(asked, 8);
}
END_TEST

static uint64_t largest;

static ssize_t advise_measured(int pidfd, const struct iovec *iov, size_t n,
			       int advice)
{
	(void)pidfd;
	(void)advice;
	(void)n;
	largest = iov->iov_len > largest ? iov->iov_len : largest;
	return (ssize_t)iov->iov_len;
}

START_TEST(advice_on_much_memory_comes_in_pieces)
{
	static struct ctl_kernel table;
	uint64_t done;

	table = ctl_kernel_linux;
	table.process_madvise = advise_measured;
	ctl_kernel = &table;
	ck_assert_int_eq(ctl_advise(&process, 0, (uint64_t)5 << 32,
				    FERRY__MADV_COLD, &done),
			 0);
	ck_assert_uint_eq(done, (uint64_t)5 << 32);
	ck_assert_uint_lt(largest, (uint64_t)1 << 31);
}
END_TEST

static ssize_t advise_nothing(int pidfd, const struct iovec *iov, size_t n,
			      int advice)
{
	(void)pidfd;
	(void)iov;
	(void)n;
	(void)advice;
	return 0;
}

START_TEST(advice_that_does_nothing_ends)
{
	static struct ctl_kernel table;
	uint64_t done;

	table = ctl_kernel_linux;
	table.process_madvise = advise_nothing;
	ctl_kernel = &table;
	ck_assert_int_eq(ctl_advise(&process, address(0), address(8),
				    FERRY__MADV_COLD, &done),
			 -EAGAIN);
	ck_assert_uint_eq(done, 0);
}
END_TEST

START_TEST(a_hole_refuses_advice)
{
	uint64_t done;
	int r;

	r = ctl_advise(&process, 0x1000, 0x3000, FERRY__MADV_COLD, &done);
	if (r == -EPERM || r == -ENOSYS)
		SKIP("process_madvise", "refused here: %s", strerror(-r));
	ck_assert_int_eq(r, -ENOMEM);
}
END_TEST

/* --- page frames ---------------------------------------------------------- */

/* The frame of a page of the child, or 0. */
static uint64_t frame_of(size_t page)
{
	uint64_t word = 0;

	ck_assert_int_eq(
		ctl_kernel->pread(pages.pagemap, &word, sizeof(word),
				  (off_t)(address(page) / page_size() * 8)),
		sizeof(word));
	return word & FERRY__PM_PRESENT ? word & ((1ull << 55) - 1) : 0;
}

/* All but the one that cannot be there? */
static bool found(const struct ctl_frame *frames, size_t n)
{
	size_t i, there = 0;

	for (i = 0; i < n; i++)
		there += frames[i].addr != 0;
	return there == n - 1;
}

START_TEST(frames_lead_back_to_addresses)
{
	struct ctl_frame frames[4];
	size_t i;
	int r;

	/* The kernel may move a page between the two looks at it. */
	do {
		frames[0] = (struct ctl_frame){ .frame = frame_of(3) };
		frames[1] =
			(struct ctl_frame){ .frame = frame_of(5), .tag = 1 };
		frames[2] =
			(struct ctl_frame){ .frame = UINT64_MAX / 2, .tag = 2 };
		frames[3] = frames[0]; /* twice the same */
		frames[3].tag = 3;
		r = ctl_frames_find(&process, frames, 4);
		if (r == -EPERM)
			SKIP("sys_admin", "physical addresses are hidden");
		ck_assert_int_eq(r, 0);
	} while (!found(frames, 4));
	for (i = 0; i < 4; i++)
		switch (frames[i].tag) {
		case 1:
			ck_assert_uint_eq(frames[i].addr, address(5));
			break;
		case 2:
			ck_assert_uint_eq(frames[i].addr, 0);
			break;
		default:
			ck_assert_uint_eq(frames[i].addr, address(3));
		}
}
END_TEST

static ssize_t hide_frames(int fd, void *buf, size_t len, off_t off)
{
	uint64_t *words = buf;
	size_t i;

	(void)fd;
	(void)off;
	for (i = 0; i < len / sizeof(*words); i++)
		words[i] = FERRY__PM_PRESENT;
	return (ssize_t)len;
}

START_TEST(hidden_frames_are_told)
{
	struct ctl_frame frame = { .frame = 1 };
	static struct ctl_kernel table;

	table = ctl_kernel_linux;
	table.pread = hide_frames;
	ctl_kernel = &table;
	ck_assert_int_eq(ctl_frames_find(&process, &frame, 1), -EPERM);
}
END_TEST

/* --- nodes, pictures, samples --------------------------------------------- */

START_TEST(lists_of_nodes_are_those_of_numactl)
{
	struct bitmask *nodes;
	char err[160], text[64], first[16];

	snprintf(first, sizeof(first), "%d", first_node());
	ck_assert_int_eq(ctl_nodes_parse(first, &nodes, err, sizeof(err)), 0);
	ck_assert_str_eq(ctl_nodes_text(nodes, text, sizeof(text)), first);
	numa_free_nodemask(nodes);
	ck_assert_int_eq(ctl_nodes_parse("all", &nodes, err, sizeof(err)), 0);
	ck_assert(numa_bitmask_isbitset(nodes, (unsigned int)first_node()));
	numa_free_nodemask(nodes);
}
END_TEST

START_TEST(wrong_lists_of_nodes_are_refused)
{
	static const char *const lists[] = { "x",   "0-",  "-1", "99999",
					     "0,,", "0 1", "" };
	struct bitmask *nodes;
	char err[160];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lists); i++)
		ck_assert_msg(ctl_nodes_parse(lists[i], &nodes, err,
					      sizeof(err)) == -EINVAL,
			      "'%s'", lists[i]);
}
END_TEST

START_TEST(masks_are_written_short)
{
	static const struct {
		unsigned int bits[6], n;
		const char *text;
	} masks[] = {
		{ { 0 }, 0, "" },
		{ { 3 }, 1, "3" },
		{ { 0, 1, 2, 4 }, 4, "0-2,4" },
		{ { 1, 3, 62, 63, 64 }, 5, "1,3,62-64" },
	};
	struct bitmask *nodes;
	char text[64];
	size_t i, k;

	for (i = 0; i < ARRAY_SIZE(masks); i++) {
		nodes = numa_bitmask_alloc(128);
		for (k = 0; k < masks[i].n; k++)
			numa_bitmask_setbit(nodes, masks[i].bits[k]);
		ck_assert_str_eq(ctl_nodes_text(nodes, text, sizeof(text)),
				 masks[i].text);
		numa_bitmask_free(nodes);
	}
}
END_TEST

#define PRESENT (1u << CTL_PAINT_PRESENT)

START_TEST(cells_show_what_most_of_their_bytes_are)
{
	uint64_t page = page_size();
	struct ctl_strip strip;
	char text[8];

	ck_assert_int_eq(ctl_strip_init(&strip, 0, 64 * page, 4), 0);
	ctl_strip_paint(&strip, 0, 10 * page, PRESENT, 1);
	ctl_strip_paint(&strip, 10 * page, 16 * page, PRESENT, 0);
	ctl_strip_paint(&strip, 16 * page, 20 * page, PRESENT, 0);
	ctl_strip_paint(&strip, 20 * page, 32 * page, 1u << CTL_PAINT_SWAPPED,
			-1);
	ctl_strip_paint(&strip, 32 * page, 48 * page,
			PRESENT | 1u << CTL_PAINT_HUGE, 11);
	ctl_strip_places(&strip, text);
	ck_assert_str_eq(text, "1s+.");
	ck_assert(ctl_strip_marks(&strip, text));
	ck_assert_str_eq(text, "  H ");
	ctl_strip_paint(&strip, 0, page, 1u << CTL_PAINT_PINNED, 1);
	ctl_strip_marks(&strip, text);
	ck_assert_str_eq(text, "P H ");
	ctl_strip_fini(&strip);
}
END_TEST

START_TEST(a_strip_has_no_more_cells_than_pages)
{
	struct ctl_strip strip;
	char text[8];

	ck_assert_int_eq(ctl_strip_init(&strip, 0, 3 * page_size(), 7), 0);
	ck_assert_uint_eq(strip.width, 3);
	/* Beyond both ends is clipped. */
	ctl_strip_paint(&strip, 2 * page_size(), 99 * page_size(), PRESENT, 0);
	ctl_strip_places(&strip, text);
	ck_assert_str_eq(text, "..0");
	ctl_strip_fini(&strip);
}
END_TEST

START_TEST(the_largest_strip_adds_up)
{
	uint64_t end = UINT64_MAX / page_size() * page_size(), painted = 0;
	struct ctl_strip strip;
	unsigned int i;

	ck_assert_int_eq(ctl_strip_init(&strip, 0, end, 4095), 0);
	ctl_strip_paint(&strip, 0, end, PRESENT, 0);
	for (i = 0; i < strip.width; i++)
		painted += strip.cells[i].bytes[CTL_PAINT_PRESENT];
	ck_assert_uint_eq(painted, end);
	ctl_strip_fini(&strip);
}
END_TEST

START_TEST(a_look_tells_what_the_process_is)
{
	struct ctl_sample sample;

	ck_assert_int_eq(ctl_sample_take(&process, &sample), 0);
	ck_assert_int_eq(sample.pid, child);
	ck_assert_uint_eq(sample.uid, getuid());
	ck_assert_uint_eq(sample.threads, 1);
	ck_assert_uint_ge(sample.resident + sample.swapped,
			  CHILD_PAGES / 2 * page_size());
	/* This program is linked with the library. */
	ck_assert_int_ne(sample.uses, CTL_USES_NOTHING);
}
END_TEST

static int look_for_child(void *arg, const struct ctl_sample *sample)
{
	*(bool *)arg |= sample->pid == child;
	return 0;
}

START_TEST(all_processes_are_looked_at)
{
	size_t before = harness_descriptors();
	bool found = false;

	ck_assert_int_eq(ctl_sample_all(look_for_child, &found), 0);
	ck_assert(found);
	ck_assert_uint_eq(harness_descriptors(), before);
}
END_TEST

START_TEST(sizes_are_short)
{
	char text[CTL_SIZE_TEXT];

	ck_assert_str_eq(ctl_size_text(0, text), "0");
	ck_assert_str_eq(ctl_size_text(1023, text), "1023");
	ck_assert_str_eq(ctl_size_text(1024, text), "1.0K");
	ck_assert_str_eq(ctl_size_text(1536 << 10, text), "1.5M");
	ck_assert_str_eq(ctl_size_text((uint64_t)10 << 30, text), "10G");
	ck_assert_str_eq(ctl_size_text(UINT64_MAX, text), "16E");
}
END_TEST

#define WITH_CHILD(name, needs)                                                \
	TEST_FIXTURE(name, needs, start_child, stop_child)
#define WITH_FAKE(name) TEST_FIXTURE(name, NULL, start_fake, stop_fake)

static const struct test tests[] = {
	WITH_CHILD(a_process_is_known_until_it_ends, NULL),
	WITH_CHILD(a_zombie_is_no_process, NULL),
	WITH_CHILD(a_file_that_the_kernel_lacks_is_not_an_end, NULL),
	WITH_CHILD(a_number_that_changed_hands_is_noticed, NULL),
	TEST(numbers_of_status_are_found_by_key, NULL),
	WITH_CHILD(mappings_tell_what_is_in_them, NULL),
	WITH_CHILD(mappings_tell_their_policy_and_nodes, "numa_calls"),
	WITH_CHILD(a_process_that_ends_while_it_is_read_is_told, NULL),
	WITH_FAKE(the_two_files_are_joined_by_address),
	WITH_FAKE(maps_serves_where_there_is_no_smaps),
	WITH_FAKE(names_cannot_drive_a_terminal),
	WITH_FAKE(a_name_may_be_of_any_length),
	WITH_FAKE(text_that_is_no_map_is_an_error),
	WITH_CHILD(pages_that_are_there_are_found, "numa_calls"),
	WITH_CHILD(words_tell_the_same_as_a_scan, "numa_calls"),
	WITH_CHILD(a_kernel_without_scan_is_noticed, NULL),
	WITH_CHILD(a_walk_can_be_stopped, "numa_calls"),
	WITH_CHILD(placing_answers_for_every_page_that_is_there, "numa_calls"),
	WITH_CHILD(pages_go_to_the_other_node, "numa"),
	WITH_CHILD(each_answer_of_the_kernel_is_counted_as_what_it_is, NULL),
	WITH_CHILD(what_is_busy_is_asked_for_once_more, NULL),
	WITH_CHILD(errors_of_the_call_are_handed_on, NULL),
	WITH_CHILD(an_end_during_the_call_is_told, NULL),
	WITH_CHILD(all_pages_of_a_process_can_be_placed, "numa_calls"),
	WITH_CHILD(short_advice_is_gone_on_with, NULL),
	WITH_CHILD(advice_on_much_memory_comes_in_pieces, NULL),
	WITH_CHILD(advice_that_does_nothing_ends, NULL),
	WITH_CHILD(a_hole_refuses_advice, NULL),
	WITH_CHILD(frames_lead_back_to_addresses, "root"),
	WITH_CHILD(hidden_frames_are_told, NULL),
	TEST(lists_of_nodes_are_those_of_numactl, "numa_calls"),
	TEST(wrong_lists_of_nodes_are_refused, "numa_calls"),
	TEST(masks_are_written_short, NULL),
	TEST(cells_show_what_most_of_their_bytes_are, NULL),
	TEST(a_strip_has_no_more_cells_than_pages, NULL),
	TEST(the_largest_strip_adds_up, NULL),
	WITH_CHILD(a_look_tells_what_the_process_is, NULL),
	WITH_CHILD(all_processes_are_looked_at, NULL),
	TEST(sizes_are_short, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
