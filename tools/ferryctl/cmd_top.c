/* SPDX-License-Identifier: MIT */
/* ferryctl top: processes and their memory, live, on a terminal. */
#include "tools/ferryctl/ctl.h"

#ifdef HAVE_CURSES
#include <curses.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/ferryctl/sample.h"

enum order { BY_RESIDENT, BY_SWAPPED, BY_FAULTS, BY_CPU, BY_PID };

struct line {
	struct ctl_sample s;
	double faults, cpu; /* each second */
};

struct top {
	struct line *v, *before;
	size_t n, size, nbefore;
	bool all, help;
	enum order order;
	double interval;
	size_t first;	/* line at the top of the screen */
	pid_t selected; /* 0: none yet */
	int error;	/* of the last look */
};

/* Set by the handler; the only thing it does. */
static volatile sig_atomic_t told_to_end;

static void end(int sig)
{
	(void)sig;
	told_to_end = 1;
}

/* --- looking -------------------------------------------------------------- */

static const struct line *earlier(const struct top *top, pid_t pid)
{
	size_t i;

	for (i = 0; i < top->nbefore; i++)
		if (top->before[i].s.pid == pid)
			return &top->before[i];
	return NULL;
}

static void rate(const struct top *top, struct line *line)
{
	const struct line *before = earlier(top, line->s.pid);
	double seconds;

	line->faults = line->cpu = 0;
	/* A process of the same number that did less is another one. */
	if (!before || before->s.cpu_ms > line->s.cpu_ms ||
	    before->s.minor > line->s.minor)
		return;
	seconds = (double)(line->s.at_ns - before->s.at_ns) / 1e9;
	if (seconds <= 0)
		return;
	line->faults = (double)(line->s.minor - before->s.minor) / seconds;
	line->cpu = (double)(line->s.cpu_ms - before->s.cpu_ms) / seconds / 10;
}

static int add(void *arg, const struct ctl_sample *s)
{
	struct top *top = arg;
	size_t size;
	void *v;

	if (!top->all && !s->agent && s->uses == CTL_USES_NOTHING)
		return 0;
	if (top->n == top->size) {
		size = top->size ? 2 * top->size : 64;
		v = realloc(top->v, size * sizeof(*top->v));
		if (!v)
			return -ENOMEM;
		top->v = v;
		top->size = size;
	}
	top->v[top->n].s = *s;
	rate(top, &top->v[top->n++]);
	return 0;
}

static int descending(double a, double b)
{
	return (a < b) - (a > b);
}

/* qsort() has no argument for it. */
static enum order sort_order;

static int compare(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int r = 0;

	switch (sort_order) {
	case BY_RESIDENT:
		r = descending((double)x->s.resident, (double)y->s.resident);
		break;
	case BY_SWAPPED:
		r = descending((double)x->s.swapped, (double)y->s.swapped);
		break;
	case BY_FAULTS:
		r = descending(x->faults, y->faults);
		break;
	case BY_CPU:
		r = descending(x->cpu, y->cpu);
		break;
	case BY_PID:
		break;
	}
	return r ? r : (x->s.pid > y->s.pid) - (x->s.pid < y->s.pid);
}

static void sort(struct top *top)
{
	sort_order = top->order;
	if (top->n)
		qsort(top->v, top->n, sizeof(*top->v), compare);
}

static void look(struct top *top)
{
	free(top->before);
	top->before = top->v;
	top->nbefore = top->n;
	top->v = NULL;
	top->n = top->size = 0;
	top->error = ctl_sample_all(add, top);
	sort(top);
}

/* --- drawing -------------------------------------------------------------- */

#define HEAD_LINES 2
#define TAIL_LINES 1

static size_t body_lines(void)
{
	return LINES > HEAD_LINES + TAIL_LINES
		       ? (size_t)(LINES - HEAD_LINES - TAIL_LINES)
		       : 0;
}

static size_t selected_index(const struct top *top)
{
	size_t i;

	for (i = 0; i < top->n; i++)
		if (top->v[i].s.pid == top->selected)
			return i;
	return 0;
}

static void draw_help(void)
{
	static const char *const lines[] = {
		"q        quit",
		"a        all processes, or those that use Ferry",
		"r s f c  sort by resident, swapped, faults, CPU time",
		"p        sort by number",
		"up down  select a process (page up, page down, home, end)",
		"+ -      look more often, less often",
		"space    look now",
		"h        this help; any key leaves it",
	};
	size_t i;

	for (i = 0; i < CTL_ARRAY_LEN(lines); i++)
		mvaddnstr((int)i + HEAD_LINES, 2, lines[i], COLS - 2);
}

static void draw_head(const struct top *top)
{
	static const char *const orders[] = { "resident", "swapped", "faults",
					      "CPU", "number" };
	char text[256];

	snprintf(
		text, sizeof(text),
		"ferryctl top: %zu processes%s, by %s, every %.1f s  (h: help)",
		top->n, top->all ? "" : " that use Ferry", orders[top->order],
		top->interval);
	mvaddnstr(0, 0, text, COLS);
	snprintf(text, sizeof(text), "%7s %8s %8s %8s %9s %6s %-8s %-5s %s",
		 "PID", "RESIDENT", "ANON", "SWAPPED", "FAULTS/s", "CPU%",
		 "USES", "AGENT", "NAME");
	attron(A_REVERSE);
	mvhline(1, 0, ' ', COLS);
	mvaddnstr(1, 0, text, COLS);
	attroff(A_REVERSE);
}

static void draw_line(int y, const struct line *line, bool selected)
{
	char resident[CTL_SIZE_TEXT], anon[CTL_SIZE_TEXT];
	char swapped[CTL_SIZE_TEXT], text[256];

	snprintf(text, sizeof(text), "%7d %8s %8s %8s %9.0f %6.1f %-8s %-5s %s",
		 (int)line->s.pid, ctl_size_text(line->s.resident, resident),
		 ctl_size_text(line->s.anonymous, anon),
		 ctl_size_text(line->s.swapped, swapped), line->faults,
		 line->cpu, ctl_uses_text(line->s.uses),
		 line->s.agent ? "yes" : "-", line->s.name);
	if (selected)
		attron(A_BOLD);
	mvaddnstr(y, 0, text, COLS);
	if (selected)
		attroff(A_BOLD);
}

static void draw_tail(const struct top *top)
{
	char text[256], locked[CTL_SIZE_TEXT], hugetlb[CTL_SIZE_TEXT];
	const struct ctl_sample *s;

	if (top->error < 0) {
		snprintf(text, sizeof(text), "/proc: %s",
			 strerror(-top->error));
	} else if (!top->n) {
		snprintf(text, sizeof(text),
			 "no process that you may look at uses Ferry; a: all");
	} else {
		s = &top->v[selected_index(top)].s;
		snprintf(text, sizeof(text),
			 "%d %s: uid %u, %llu threads, %s locked, %s hugetlb, "
			 "%llu major faults",
			 (int)s->pid, s->name, (unsigned int)s->uid,
			 (unsigned long long)s->threads,
			 ctl_size_text(s->locked, locked),
			 ctl_size_text(s->hugetlb, hugetlb),
			 (unsigned long long)s->major);
	}
	mvaddnstr(LINES - 1, 0, text, COLS - 1);
}

/* The selected line stays on the screen. */
static void scroll_to(struct top *top, size_t selected)
{
	size_t body = body_lines();

	if (selected < top->first)
		top->first = selected;
	else if (body && selected >= top->first + body)
		top->first = selected - body + 1;
}

static void draw(struct top *top)
{
	size_t i, selected = selected_index(top), body = body_lines();

	erase();
	draw_head(top);
	scroll_to(top, selected);
	if (top->help)
		draw_help();
	else
		for (i = 0; i < body && top->first + i < top->n; i++)
			draw_line(HEAD_LINES + (int)i, &top->v[top->first + i],
				  top->first + i == selected);
	draw_tail(top);
	refresh();
}

/* --- keys ----------------------------------------------------------------- */

static void select_line(struct top *top, long by)
{
	long at = (long)selected_index(top) + by;

	if (!top->n)
		return;
	if (at < 0)
		at = 0;
	if ((size_t)at >= top->n)
		at = (long)top->n - 1;
	top->selected = top->v[at].s.pid;
}

static void set_order(struct top *top, enum order order)
{
	top->order = order;
	sort(top);
}

static bool is_selection(struct top *top, int key)
{
	switch (key) {
	case KEY_UP:
		select_line(top, -1);
		return true;
	case KEY_DOWN:
		select_line(top, 1);
		return true;
	case KEY_PPAGE:
		select_line(top, -(long)body_lines());
		return true;
	case KEY_NPAGE:
		select_line(top, (long)body_lines());
		return true;
	case KEY_HOME:
		select_line(top, -(long)top->n);
		return true;
	case KEY_END:
		select_line(top, (long)top->n);
		return true;
	}
	return false;
}

static bool is_order(struct top *top, int key)
{
	static const char letters[] = "rsfcp";
	const char *at = key > 0 && key < 128 ? strchr(letters, key) : NULL;

	if (at)
		set_order(top, (enum order)(at - letters));
	return at != NULL;
}

/* Returns whether it is time to look again; *ret_quit: to end. */
static bool press(struct top *top, int key, bool *ret_quit)
{
	if (top->help) {
		top->help = key == KEY_RESIZE;
		return false;
	}
	if (is_selection(top, key) || is_order(top, key))
		return false;
	switch (key) {
	case 'q':
		*ret_quit = true;
		return false;
	case 'h':
	case '?':
		top->help = true;
		return false;
	case 'a':
		top->all = !top->all;
		return true;
	case '+':
		top->interval = top->interval > 0.2 ? top->interval / 2 : 0.1;
		return false;
	case '-':
		top->interval = top->interval < 1800 ? top->interval * 2 : 3600;
		return false;
	case '\f': /* control-L: somebody else has written there */
		clearok(curscr, TRUE);
		return false;
	case ' ':
		return true;
	}
	return false;
}

/* --- the screen ----------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Keys until the next look is due. */
static void wait_keys(struct top *top, uint64_t due, bool *ret_quit)
{
	uint64_t now;
	int key;

	while (!*ret_quit && !told_to_end && (now = now_ms()) < due) {
		/* A signal just before getch() is seen a second later. */
		timeout(due - now < 1000 ? (int)(due - now) : 1000);
		key = getch();
		if (key == ERR) {
			if (!isatty(STDIN_FILENO))
				*ret_quit = true; /* the terminal went away */
			continue;
		}
		if (press(top, key, ret_quit))
			return;
		draw(top);
	}
}

static void loop(struct top *top, uint64_t count)
{
	bool quit = false;
	uint64_t i;

	for (i = 0; !quit && !told_to_end && (!count || i < count); i++) {
		look(top);
		draw(top);
		wait_keys(top, now_ms() + (uint64_t)(top->interval * 1000),
			  &quit);
	}
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = end };

	/* Instead of those of curses, which end without our say. */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

static enum ctl_status on_screen(struct top *top, uint64_t count)
{
	SCREEN *screen = newterm(NULL, stdout, stdin);

	if (!screen) {
		ctl_complain("top: the terminal '%s' is not known",
			     getenv("TERM") ? getenv("TERM") : "");
		return CTL_FAILED;
	}
	catch_signals();
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	loop(top, count);
	endwin();
	delscreen(screen);
	return CTL_OK;
}

static enum ctl_status top_command(struct ctl *ctl)
{
	struct top top = { .all = ctl_given(ctl, CTL_ALL) };
	enum ctl_status status;
	uint64_t count;

	if (ctl_number(ctl, CTL_COUNT, false, 0, &count) < 0 ||
	    ctl_seconds(ctl, CTL_INTERVAL, 1, &top.interval) < 0)
		return CTL_USAGE;
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		ctl_complain("top wants a terminal; 'ferryctl list' and "
			     "'ferryctl watch' do not");
		return CTL_FAILED;
	}
	status = on_screen(&top, count);
	free(top.v);
	free(top.before);
	return status;
}
#else
static enum ctl_status top_command(struct ctl *ctl)
{
	(void)ctl;
	ctl_complain("top was left out of this build: configure found no "
		     "curses (libncurses-dev)");
	return CTL_NOT_POSSIBLE;
}
#endif

const struct ctl_command ctl_cmd_top = {
	.name = "top",
	.operands = "",
	.summary = "processes and their memory, live",
	.options = CTL_TAKES(CTL_ALL) | CTL_TAKES(CTL_COUNT) |
		   CTL_TAKES(CTL_INTERVAL),
	.least = 0,
	.most = 0,
	.run = top_command,
};
