/* SPDX-License-Identifier: MIT */
/*
 * ferryctl top on a terminal: a pseudo-terminal whose other side is this
 * test. It starts, looks again, takes keys, follows the size, ends when told
 * to, and leaves the terminal as it was.
 */
#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "tools/ferryctl/ctl.h"

#define ROWS 20
#define COLS 40 /* too few for the whole head line */

static int screen = -1, terminal = -1; /* our side, and theirs */
static pid_t top;
static struct termios before;

/* All that was written since the last forget(). */
static char output[1 << 20];
static size_t output_len;

static void open_terminal(void)
{
	struct winsize size = { .ws_row = ROWS, .ws_col = COLS };

	screen = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(screen, 0);
	ck_assert_int_eq(grantpt(screen), 0);
	ck_assert_int_eq(unlockpt(screen), 0);
	/* Held open, so that its state outlives whom it is tested with. */
	terminal = open(ptsname(screen), O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(terminal, 0);
	ck_assert_int_eq(ioctl(terminal, TIOCSWINSZ, &size), 0);
	ck_assert_int_eq(tcgetattr(terminal, &before), 0);
}

/* Runs "top" with the words of the NULL-terminated @words. */
static _Noreturn void run_top(const char *const *words)
{
	char *argv[8], err[160];
	struct ctl ctl;
	int n;

	for (n = 0; words[n]; n++)
		argv[n] = strdup(words[n]);
	argv[n] = NULL;
	if (ctl_options_parse(&ctl_cmd_top, n, argv, &ctl, err, sizeof(err)))
		_exit(99);
	n = (int)ctl.command->run(&ctl);
	fflush(stdout);
	_exit(n);
}

static void start_top(const char *term, const char *const *words)
{
	open_terminal();
	top = fork();
	ck_assert_int_ge(top, 0);
	if (top)
		return;
	setsid();
	ioctl(terminal, TIOCSCTTY, 0);
	dup2(terminal, STDIN_FILENO);
	dup2(terminal, STDOUT_FILENO);
	dup2(terminal, STDERR_FILENO);
	close(screen);
	setenv("TERM", term, 1);
	unsetenv("LINES");
	unsetenv("COLUMNS");
	run_top(words);
}

#define START(...)                                                             \
	start_top("xterm", (const char *const[]){ "top", __VA_ARGS__, NULL })

static void read_some(void)
{
	struct pollfd p = { .fd = screen, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, 10) != 1)
		return;
	ck_assert_uint_lt(output_len + 4096, sizeof(output));
	n = read(screen, output + output_len, 4096);
	if (n > 0)
		output_len += (size_t)n;
	output[output_len] = '\0';
}

static bool shows(const char *text)
{
	read_some();
	return strstr(output, text) != NULL;
}

static void forget(void)
{
	output_len = 0;
	output[0] = '\0';
}

static void type(const char *keys)
{
	ck_assert_int_eq(write(screen, keys, strlen(keys)),
			 (ssize_t)strlen(keys));
}

/*
 * Curses writes only what has changed: control-L has it write everything, and
 * comes after the key that is tested.
 */
static void type_and_redraw(const char *keys)
{
	type(keys);
	forget();
	type("\f");
}

static bool ended(int *ret_status)
{
	read_some(); /* it may wait for that */
	return waitpid(top, ret_status, WNOHANG) == top;
}

static void ends_with(int status)
{
	struct termios after;
	int how;

	AWAIT(ended(&how));
	ck_assert(WIFEXITED(how));
	ck_assert_int_eq(WEXITSTATUS(how), status);
	ck_assert_int_eq(tcgetattr(terminal, &after), 0);
	ck_assert_uint_eq(after.c_lflag, before.c_lflag);
	ck_assert_uint_eq(after.c_iflag, before.c_iflag);
	ck_assert_uint_eq(after.c_oflag, before.c_oflag);
}

/* The screen before top, and the cursor, are back. */
static void is_restored(void)
{
	AWAIT(shows("\033[?1049l"));
}

/* Terminals are described in files that a machine may lack. */
static bool is_described(void)
{
	static const char *const paths[] = {
		"/lib/terminfo/x/xterm",
		"/usr/share/terminfo/x/xterm",
		"/etc/terminfo/x/xterm",
		"/usr/lib/terminfo/x/xterm",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(paths); i++)
		if (access(paths[i], R_OK) == 0)
			return true;
	return false;
}

#ifdef HAVE_CURSES
#define BUILT_WITH_CURSES true
#else
#define BUILT_WITH_CURSES false
#endif

#define NEEDS_TERMINAL()                                                       \
	do {                                                                   \
		if (!BUILT_WITH_CURSES)                                        \
			SKIP("curses", "ferryctl was built without it");       \
		if (!is_described())                                           \
			SKIP("terminfo", "xterm is not described here");       \
	} while (0)

START_TEST(the_first_look_is_shown)
{
	NEEDS_TERMINAL();
	START("--all", "--interval", "3600");
	AWAIT(shows("ferryctl top: "));
	AWAIT(shows("PID"));
	type("q");
	ends_with(CTL_OK);
	is_restored();
}
END_TEST

START_TEST(it_looks_again_by_itself)
{
	NEEDS_TERMINAL();
	START("--all", "--interval", "0.05", "--count", "4");
	ends_with(CTL_OK);
	ck_assert(shows("ferryctl top: "));
	is_restored();
}
END_TEST

START_TEST(keys_sort_and_help)
{
	NEEDS_TERMINAL();
	START("--all", "--interval", "3600");
	AWAIT(shows("ferryctl top: "));
	type_and_redraw("h");
	AWAIT(shows("sort by number"));
	type_and_redraw("x");
	AWAIT(shows("ferryctl top: "));
	type_and_redraw("p\033OB\033OA\033[6~\033[5~");
	AWAIT(shows("by n"));
	type_and_redraw("s");
	AWAIT(shows("by s"));
	type_and_redraw("a");
	/* As much of "that use Ferry" as is seen of thousands, too. */
	AWAIT(shows(" that use"));
	type("q");
	ends_with(CTL_OK);
	is_restored();
}
END_TEST

START_TEST(another_size_is_followed)
{
	struct winsize wide = { .ws_row = 30, .ws_col = 200 };

	NEEDS_TERMINAL();
	START("--all", "--interval", "3600");
	AWAIT(shows("PID"));
	ck_assert(!shows("(h: help)"));
	ck_assert_int_eq(ioctl(screen, TIOCSWINSZ, &wide), 0);
	AWAIT(shows("(h: help)"));
	type("q");
	ends_with(CTL_OK);
	is_restored();
}
END_TEST

START_TEST(the_smallest_terminal_does_no_harm)
{
	struct winsize tiny = { .ws_row = 1, .ws_col = 1 };

	NEEDS_TERMINAL();
	START("--all", "--interval", "0.05");
	AWAIT(shows("PID"));
	ck_assert_int_eq(ioctl(screen, TIOCSWINSZ, &tiny), 0);
	type("\033[6~ph \f");
	type("xq");
	ends_with(CTL_OK);
	is_restored();
}
END_TEST

START_TEST(signals_end_it_and_leave_the_terminal_whole)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	size_t i;

	NEEDS_TERMINAL();
	for (i = 0; i < ARRAY_SIZE(signals); i++) {
		forget();
		START("--all");
		AWAIT(shows("PID"));
		ck_assert_int_eq(kill(top, signals[i]), 0);
		ends_with(CTL_OK);
		is_restored();
		close(screen);
		close(terminal);
	}
}
END_TEST

START_TEST(an_unknown_terminal_is_refused)
{
	NEEDS_TERMINAL();
	start_top("no-such-terminal", (const char *const[]){ "top", NULL });
	ends_with(CTL_FAILED);
	AWAIT(shows("'no-such-terminal' is not known"));
}
END_TEST

static const struct test tests[] = {
	TEST(the_first_look_is_shown, NULL),
	TEST(it_looks_again_by_itself, NULL),
	TEST(keys_sort_and_help, NULL),
	TEST(another_size_is_followed, NULL),
	TEST(the_smallest_terminal_does_no_harm, NULL),
	TEST(signals_end_it_and_leave_the_terminal_whole, NULL),
	TEST(an_unknown_terminal_is_refused, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
