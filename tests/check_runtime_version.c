/* SPDX-License-Identifier: MIT */
/* The shared library as a program meets it: through its exported names. */
#include <ferry/version.h>

#include <stdio.h>

#include "tests/harness.h"

START_TEST(library_and_headers_name_one_version)
{
	char text[64];

	snprintf(text, sizeof(text), "%d.%d.%d", FERRY_VERSION_MAJOR,
		 FERRY_VERSION_MINOR, FERRY_VERSION_PATCH);
	ck_assert_str_eq(ferry_version(), text);
	ck_assert_str_eq(ferry_version(), PACKAGE_VERSION);
	ck_assert_uint_eq(ferry_version_number(), FERRY_VERSION_NUMBER);
}
END_TEST

static const struct test tests[] = {
	TEST(library_and_headers_name_one_version, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
