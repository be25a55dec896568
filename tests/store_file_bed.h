/* SPDX-License-Identifier: MIT */
/* File stores in a folder of a test's own. */
#ifndef FERRY_TESTS_STORE_FILE_BED_H
#define FERRY_TESTS_STORE_FILE_BED_H

#include "alloc/store/store.h"

extern char file_folder[256];

void file_setup(void);
/* Succeeds only if nothing was left there. */
void file_teardown(void);

#define FILE_TEST(name) TEST_FIXTURE(name, NULL, file_setup, file_teardown)

/* Must succeed: in the folder, of as many pages as there is room for. */
struct ferry__store *file_make(void);
struct ferry__store *file_make_limited(uint64_t pages);
int file_make_at(const char *path, struct ferry__store **ret_store);

/* The path of @name in the folder, until the next call. */
const char *file_inside(const char *name);

#endif
