/* SPDX-License-Identifier: MIT */
#include "tests/tree.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/harness.h"

static char root[64];

const char *tree_make(void)
{
	strcpy(root, "/tmp/ferry-tree-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	return root;
}

static void make_folders(char *path)
{
	char *slash = path + strlen(root);

	while ((slash = strchr(slash + 1, '/'))) {
		*slash = '\0';
		ck_assert(!mkdir(path, 0700) || errno == EEXIST);
		*slash = '/';
	}
}

void tree_add(const char *path, const char *contents)
{
	char full[PATH_MAX];
	FILE *file;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	make_folders(full);
	file = fopen(full, "w");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(contents, file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

void tree_remove(void)
{
	ck_assert_int_eq(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}
