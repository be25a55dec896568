/* SPDX-License-Identifier: MIT */
/*
 * A range under a fault service, for tests: source pages whose contents say
 * which page they are, a destination without pages, and a supplier that
 * answers as the test orders.
 *
 * Each function asserts its own success.
 */
#ifndef FERRY_TESTS_SERVED_H
#define FERRY_TESTS_SERVED_H

#include <ferry/fault.h>

#include "tests/harness.h"

struct served {
	struct ferry_fault_service *service;
	char *src, *dst;
	size_t page, len;
	/* The answer of its supplier; served_answer() changes it under way. */
	enum ferry_supply_kind kind;
	uint32_t flags;
	/* Called after the answer was filled in, to change it; or NULL. */
	void (*change)(struct served *s, const struct ferry_fault *fault,
		       struct ferry_supply *ret);
	/* Written by the supplier: use served_asked() while others run. */
	unsigned long asked;
	struct ferry_fault last;
};

/* A service of @mode and @around with one range of @pages pages. */
void served_start(struct served *s, enum ferry_fault_mode mode, size_t pages,
		  size_t around);

/* The same by parameters that the test has filled in. */
void served_start_with(struct served *s,
		       const struct ferry_fault_params *params, size_t pages);

/* Another range of @pages pages under the service of @other. */
void served_add(struct served *s, const struct served *other, size_t pages);

/* Detaches the range; returns the counts then. */
struct ferry_fault_stats served_detach(struct served *s);

/* Detaches and destroys; returns the counts before. */
struct ferry_fault_stats served_stop(struct served *s);

struct ferry_fault_stats served_stats(const struct served *s);
void served_answer(struct served *s, enum ferry_supply_kind kind);
unsigned long served_asked(const struct served *s);

/* The same test in both modes, from a function that takes the mode. */
#define BOTH_MODES(name)                                                       \
	START_TEST(name##_in_sigbus_mode)                                      \
	{                                                                      \
		name(FERRY_FAULT_SIGBUS);                                      \
	}                                                                      \
	END_TEST                                                               \
	START_TEST(name##_in_thread_mode)                                      \
	{                                                                      \
		name(FERRY_FAULT_THREAD);                                      \
	}                                                                      \
	END_TEST

/* Its two entries in the table of tests. */
#define TEST_BOTH(name)                                                        \
	TEST(name##_in_sigbus_mode, "sigbus"),                                 \
		TEST(name##_in_thread_mode, "userfaultfd")

/* Touches a page and says what is in its byte at @addr. */
char touch(const char *addr);

/* Are all bytes zero? Touches them. */
bool is_zero(const char *addr, size_t len);

/*
 * For suppliers and for threads of a test, where nothing of Check may be
 * called: notes the first condition that does not hold. served_detach() and
 * served_assert_noted() assert that there was none.
 */
#define EXPECT(cond)                                                           \
	do {                                                                   \
		if (!(cond))                                                   \
			served_note(__FILE__, __LINE__, #cond);                \
	} while (0)

void served_note(const char *file, int line, const char *what);
void served_assert_noted(void);

/* Do pages hold what fill_pages() gave them? assert_pages() as an answer. */
bool served_pages_hold(const char *addr, size_t len, uint64_t first);

/* The supplier; @arg is the struct served. */
void served_supply(void *arg, const struct ferry_fault *fault,
		   struct ferry_supply *ret);

#endif
