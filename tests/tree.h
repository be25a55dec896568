/* SPDX-License-Identifier: MIT */
/* A folder with files made up by a test, for what takes a root of its own. */
#ifndef FERRY_TESTS_TREE_H
#define FERRY_TESTS_TREE_H

/* Makes an empty folder; static storage. One at a time. */
const char *tree_make(void);

/* A file below it, and the folders on the way. */
void tree_add(const char *path, const char *contents);

/* Removes it with all it holds. */
void tree_remove(void);

#endif
