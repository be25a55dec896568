/* SPDX-License-Identifier: MIT */
#include "tests/store_file_bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/memory.h"

char file_folder[256];

void file_setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(file_folder, sizeof(file_folder), "%s/ferry-XXXXXX",
		 tmp ? tmp : "/tmp");
	mkdir(tmp ? tmp : "/tmp", 01777);
	ck_assert_ptr_nonnull(mkdtemp(file_folder));
}

/* Succeeds only if nothing was left there. */
void file_teardown(void)
{
	ck_assert_int_eq(rmdir(file_folder), 0);
}

struct ferry__store *file_make_limited(uint64_t pages)
{
	struct ferry__store *store = NULL;

	ck_assert_int_eq(ferry__store_file_create(file_folder,
						  pages * page_size(), &store),
			 0);
	return store;
}

struct ferry__store *file_make(void)
{
	return file_make_limited(0);
}

int file_make_at(const char *path, struct ferry__store **ret_store)
{
	return ferry__store_file_create(path, 0, ret_store);
}

const char *file_inside(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", file_folder, name);
	return path;
}
