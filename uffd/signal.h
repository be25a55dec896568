/* SPDX-License-Identifier: MIT */
/*
 * Fault signals (SIGBUS, SIGSEGV) shared between this library and its host:
 * one handler per signal, installed once per process, that offers a signal
 * to Ferry's own hooks first and passes what none of them wants on to the
 * action that it found.
 */
#ifndef FERRY_UFFD_SIGNAL_H
#define FERRY_UFFD_SIGNAL_H

#include <signal.h>
#include <stdbool.h>

/*
 * Looks at a signal. True: dealt with, the thread goes on where it was.
 * False: not mine. Runs in the signal handler with all asynchronous signals
 * blocked and SIGBUS and SIGSEGV not blocked: it may be entered again from
 * itself. errno is kept around it, and the thread cannot be cancelled in it.
 * @info and @context are never NULL.
 */
typedef bool ferry__signal_fn(int sig, siginfo_t *info, void *context);

/* A hook; static storage, as hooks are never taken off again. */
struct ferry__signal_hook {
	ferry__signal_fn *fn;
	struct ferry__signal_hook *next; /* of signal.c: written once */
	bool added;			 /* of signal.c: under its lock */
};

/*
 * Adds @hook to those of @sig, and installs the handler if it is not there;
 * a second call with the same hook does nothing.
 *
 * The handler stays for the life of the process: a thread may have been
 * preempted between its fault and the first instruction of the handler, and
 * nothing tells when the last such thread has arrived. It would be killed by
 * the default action that was put back meanwhile. ferry_signal_restore() is
 * for hosts that know better.
 *
 * Returns 0; errors of sigaction(2). Any thread; not signal-safe.
 */
int ferry__signal_add(int sig, struct ferry__signal_hook *hook);

/*
 * Passes a signal on as the kernel would have delivered it to the action
 * found: its flags (SA_SIGINFO, SA_RESETHAND, SA_NODEFER) and mask honoured,
 * default action and SIG_IGN included. One thing cannot be given: the stack.
 * The handler runs on the alternate stack where the thread has one.
 * May return, or not (the host's handler may jump out or end the process).
 */
void ferry__signal_chain(int sig, siginfo_t *info, void *context);

/*
 * All signals but those that an instruction raises: what a handler blocks,
 * and a thread that runs none of the host's handlers.
 */
void ferry__signal_fill(sigset_t *mask);

/*
 * Registers the handlers around fork(2), which the first ferry__signal_add()
 * does otherwise: for a host whose own, in the child, add to signals. Any
 * number of times.
 */
void ferry__signal_watch_forks(void);

#endif
