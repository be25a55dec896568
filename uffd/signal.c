/* SPDX-License-Identifier: MIT */
/*
 * The handler of fault signals: hooks first, then the action found.
 *
 * What this file takes for granted of the kernel and the C library:
 *  - a fault whose signal is blocked or ignored kills the process at once
 *    (force_sig_info): hence fault signals are not blocked in the handler;
 *  - a thread may queue itself a signal with any si_code
 *    (rt_tgsigqueueinfo), also one that only the kernel gives;
 *  - the kernel writes _NSIG / 8 bytes of uc_sigmask; what follows there in
 *    the C library's larger type is not a mask.
 *
 * Lock rank: `lock' is a leaf. No handler takes it.
 */
#include "uffd/signal.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <ucontext.h>

#include <ferry/fault.h>

#include "uffd/sys.h"

/* What there is about one signal. */
struct slot {
	struct ferry__signal_hook *hooks; /* G1 */
	/*
	 * G2: the action to pass signals on to; NULL before installation.
	 * Points to found or to default_action, neither of which changes
	 * while the handler is installed.
	 */
	const struct sigaction *next;
	struct sigaction found;
	bool installed; /* under lock */
};

static struct slot slots[_NSIG];
static const struct sigaction default_action; /* SIG_DFL is zero */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, after_fork, after_fork);
}

void ferry__signal_watch_forks(void)
{
	pthread_once(&fork_once, watch_forks);
}

/* Did an instruction of this thread raise it, as opposed to kill(2)? */
static bool is_fault(const siginfo_t *info)
{
	return info->si_code > 0;
}

/*
 * What happens without a handler. The signal is queued anew and meets the
 * default action when this handler has returned, so that a core dump shows
 * the faulting instruction. Going back without it would be enough for a
 * fault that persists; one that another thread cures meanwhile would leave
 * the process alive with its handler gone.
 */
static void take_default(int sig, siginfo_t *info)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	ferry__sys->sigaction(sig, &default_action, NULL);
	ferry__sys->sigqueue_self(sig, info);
}

/* The mask under which the kernel would have run @act. */
static sigset_t mask_of(const struct sigaction *act, int sig,
			const void *context)
{
	const ucontext_t *uc = context;
	sigset_t mask;

	sigemptyset(&mask);
	memcpy(&mask, &uc->uc_sigmask, _NSIG / 8);
	sigorset(&mask, &mask, &act->sa_mask);
	if (!(act->sa_flags & SA_NODEFER))
		sigaddset(&mask, sig);
	return mask;
}

static void run_action(const struct sigaction *act, int sig, siginfo_t *info,
		       void *context)
{
	sigset_t mask = mask_of(act, sig, context), before;

	pthread_sigmask(SIG_SETMASK, &mask, &before);
	if (act->sa_flags & SA_SIGINFO)
		act->sa_sigaction(sig, info, context);
	else
		act->sa_handler(sig);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/*
 * Claims the right to run @act once more: with SA_RESETHAND the first to
 * come has it, and the default action is what the others find.
 */
static bool claim(struct slot *slot, const struct sigaction *act)
{
	/* Relaxed: what it publishes is constant. */
	return !(act->sa_flags & SA_RESETHAND) ||
	       __atomic_compare_exchange_n(&slot->next, &act, &default_action,
					   false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED);
}

void ferry__signal_chain(int sig, siginfo_t *info, void *context)
{
	struct slot *slot = &slots[sig];
	const struct sigaction *act;

	/* G2: acquire, pairs with the release in install(). */
	act = __atomic_load_n(&slot->next, __ATOMIC_ACQUIRE);
	if (act->sa_handler == SIG_IGN && !is_fault(info))
		return;
	/* The kernel does not let a fault be ignored. */
	if (act->sa_handler == SIG_DFL || act->sa_handler == SIG_IGN ||
	    !claim(slot, act))
		take_default(sig, info);
	else
		run_action(act, sig, info, context);
}

static bool offer(int sig, siginfo_t *info, void *context)
{
	struct ferry__signal_hook *hook;

	/* G1: acquire, pairs with the release in ferry__signal_add(). */
	hook = __atomic_load_n(&slots[sig].hooks, __ATOMIC_ACQUIRE);
	for (; hook; hook = hook->next)
		if (hook->fn(sig, info, context))
			return true;
	return false;
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	int saved = errno, cancel;
	bool taken;

	/* Hooks read and sleep: that must not end the thread amid them. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	taken = offer(sig, info, context);
	pthread_setcancelstate(cancel, NULL);
	if (!taken)
		ferry__signal_chain(sig, info, context);
	errno = saved;
}

/*
 * All asynchronous signals wait, so that no host's handler runs, and maybe
 * faults or jumps out, amid one of ours. Those that a fault raises do not:
 * blocked, they kill.
 */
void ferry__signal_fill(sigset_t *mask)
{
	static const int faults[] = { SIGBUS,  SIGSEGV, SIGILL, SIGFPE,
				      SIGTRAP, SIGSYS,	SIGABRT };
	size_t i;

	sigfillset(mask);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(mask, faults[i]);
}

/* Flags that change what the host sees of signals sent with kill(2). */
static int inherited_flags(const struct sigaction *found)
{
	/* An ignored signal interrupts no system call. */
	if (found->sa_handler == SIG_IGN)
		return SA_RESTART;
	return found->sa_flags & SA_RESTART;
}

static int install(int sig, struct slot *slot)
{
	struct sigaction act = { .sa_sigaction = on_signal };
	int r;

	r = ferry__sys->sigaction(sig, NULL, &slot->found);
	if (r)
		return r;
	/* G2: release; in place before the first signal can come. */
	__atomic_store_n(&slot->next, &slot->found, __ATOMIC_RELEASE);
	ferry__signal_fill(&act.sa_mask);
	act.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER |
		       inherited_flags(&slot->found);
	r = ferry__sys->sigaction(sig, &act, NULL);
	slot->installed = !r;
	return r;
}

static void push(struct slot *slot, struct ferry__signal_hook *hook)
{
	if (hook->added)
		return;
	hook->added = true;
	hook->next = slot->hooks;
	/* G1: release, pairs with the acquire in offer(). */
	__atomic_store_n(&slot->hooks, hook, __ATOMIC_RELEASE);
}

int ferry__signal_add(int sig, struct ferry__signal_hook *hook)
{
	struct slot *slot = &slots[sig];
	int r = 0;

	ferry__signal_watch_forks();
	pthread_mutex_lock(&lock);
	push(slot, hook);
	if (!slot->installed)
		r = install(sig, slot);
	pthread_mutex_unlock(&lock);
	return r;
}

static int restore_locked(int sig, struct slot *slot)
{
	struct sigaction now;
	int r;

	if (!slot->installed)
		return -ENOENT;
	r = ferry__sys->sigaction(sig, NULL, &now);
	if (r)
		return r;
	if (now.sa_sigaction != on_signal)
		return -EBUSY;
	r = ferry__sys->sigaction(sig, slot->next, NULL);
	slot->installed = r != 0;
	return r;
}

int ferry_signal_restore(int sig)
{
	int r;

	if (sig != SIGBUS && sig != SIGSEGV)
		return -EINVAL;
	pthread_mutex_lock(&lock);
	r = restore_locked(sig, &slots[sig]);
	pthread_mutex_unlock(&lock);
	return r;
}
