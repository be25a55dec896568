/* SPDX-License-Identifier: MIT */
/* Tells a program which Ferry it runs with. */
#include <ferry/version.h>

#define TEXT(x)	 #x
#define VALUE(x) TEXT(x)

static const char version[] = VALUE(FERRY_VERSION_MAJOR) "." VALUE(
	FERRY_VERSION_MINOR) "." VALUE(FERRY_VERSION_PATCH);

/* configure.ac and version.h each name the version: they must agree. */
_Static_assert(sizeof(version) == sizeof(PACKAGE_VERSION),
	       "version.h and configure.ac differ");

const char *ferry_version(void)
{
	return version;
}

unsigned int ferry_version_number(void)
{
	return FERRY_VERSION_NUMBER;
}
