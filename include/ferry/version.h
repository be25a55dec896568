/* SPDX-License-Identifier: MIT */
/*
 * The version of Ferry: of the headers a program is compiled with, and of
 * the library it runs with.
 */
#ifndef FERRY_VERSION_H
#define FERRY_VERSION_H

#include <ferry/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FERRY_VERSION_MAJOR 0
#define FERRY_VERSION_MINOR 1
#define FERRY_VERSION_PATCH 0

/*
 * One number that grows with every release, for comparisons at compile time:
 * #if FERRY_VERSION_NUMBER >= FERRY_MAKE_VERSION(0, 2, 0)
 */
#define FERRY_MAKE_VERSION(major, minor, patch)                                \
	((major)*1000000 + (minor)*1000 + (patch))
#define FERRY_VERSION_NUMBER                                                   \
	FERRY_MAKE_VERSION(FERRY_VERSION_MAJOR, FERRY_VERSION_MINOR,           \
			   FERRY_VERSION_PATCH)

/*
 * Returns the version of the library in use as text, "0.1.0". The text is
 * static: the caller does not free it.
 *
 * Thread-safe and async-signal-safe.
 */
FERRY_EXPORT const char *ferry_version(void);

/*
 * Returns the version of the library in use in the form of
 * FERRY_VERSION_NUMBER, which is that of the headers.
 *
 * Thread-safe and async-signal-safe.
 */
FERRY_EXPORT unsigned int ferry_version_number(void);

#ifdef __cplusplus
}
#endif

#endif
