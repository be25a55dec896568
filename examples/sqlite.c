/* SPDX-License-Identifier: MIT */
/*
 * SQLite over an allocator instance: pages of a database in memory that no
 * query reads go out of memory.
 *
 * The argument is the policy.
 */
#include <ferry/alloc.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

/* SQLite has one allocator, which it passes nothing of ours to. */
static struct ferry_allocator *memory;
static const char *policy = "min_heap:0,rate:0,refault_limit:0";

static void *sqlite_malloc(int size)
{
	return ferry_allocator_malloc(memory, (size_t)size);
}

static void sqlite_free(void *ptr)
{
	ferry_allocator_free(memory, ptr);
}

static void *sqlite_realloc(void *ptr, int size)
{
	return ferry_allocator_realloc(memory, ptr, (size_t)size);
}

static int sqlite_size(void *ptr)
{
	return (int)ferry_allocator_usable_size(memory, ptr);
}

static int sqlite_roundup(int size)
{
	return (size + 7) & ~7;
}

static int sqlite_init(void *arg)
{
	struct ferry_allocator_params params =
		FERRY_INIT(struct ferry_allocator_params);

	(void)arg;
	params.conf = policy;
	params.name = "sqlite";
	return ferry_allocator_create(&params, &memory) ? SQLITE_NOMEM
							: SQLITE_OK;
}

static void sqlite_shutdown(void *arg)
{
	(void)arg;
	ferry_allocator_destroy(memory);
	memory = NULL;
}

static sqlite3_mem_methods methods = {
	.xMalloc = sqlite_malloc,
	.xFree = sqlite_free,
	.xRealloc = sqlite_realloc,
	.xSize = sqlite_size,
	.xRoundup = sqlite_roundup,
	.xInit = sqlite_init,
	.xShutdown = sqlite_shutdown,
};

static const char fill[] =
	"CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT);"
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
	"  WHERE i < 100000)"
	"INSERT INTO t SELECT i, printf('word %d %.*c', i, i % 100, '.') FROM n;";

/* Rows that are not as they were written. */
static const char check[] =
	"SELECT count(*) + 100000 - (SELECT count(*) FROM t) FROM t"
	"  WHERE word <> printf('word %d %.*c', id, id % 100, '.')";

static int first_number(void *ret, int n, char **values, char **names)
{
	(void)n;
	(void)names;
	*(int *)ret = values[0] ? atoi(values[0]) : -1;
	return 0;
}

static int query(sqlite3 *db, const char *sql, int *ret)
{
	char *message = NULL;

	if (sqlite3_exec(db, sql, first_number, ret, &message) == SQLITE_OK)
		return 0;
	fprintf(stderr, "sqlite: %s\n", message);
	sqlite3_free(message);
	return -1;
}

static void report(void)
{
	struct ferry_allocator_stats s =
		FERRY_INIT(struct ferry_allocator_stats);

	ferry_allocator_stats(memory, &s);
	printf("of %lu KiB, %lu KiB are out in %lu KiB\n",
	       (unsigned long)s.allocated >> 10, (unsigned long)s.stored >> 10,
	       (unsigned long)s.store_memory >> 10);
}

int main(int argc, char **argv)
{
	sqlite3 *db;
	int wrong = -1;

	if (argc > 1)
		policy = argv[1];
	if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK ||
	    sqlite3_open(":memory:", &db) != SQLITE_OK)
		return 1;
	if (query(db, fill, &wrong))
		return 1;
	report();
	ferry_allocator_trim(memory);
	report();
	if (query(db, check, &wrong))
		return 1;
	report();
	sqlite3_close(db);
	sqlite3_shutdown();
	return wrong != 0;
}
