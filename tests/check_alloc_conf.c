/* SPDX-License-Identifier: MIT */
/* The configuration string of the malloc. */
#include "tests/harness.h"

#include <string.h>
#include <unistd.h>

#include "alloc/malloc/conf.h"

static struct ferry__conf conf;
static char said[2048];

/* Parses @string; what is written to standard error goes to said. */
static void parse(const char *string)
{
	int fds[2], old = dup(STDERR_FILENO);
	ssize_t n;

	ck_assert_int_eq(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	ferry__conf_parse(&conf, string);
	dup2(old, STDERR_FILENO);
	close(old);
	n = read(fds[0], said, sizeof(said) - 1);
	close(fds[0]);
	said[n > 0 ? n : 0] = '\0';
}

START_TEST(nothing_is_all_defaults)
{
	parse(NULL);
	ck_assert_str_eq(said, "");
	ck_assert_int_eq(conf.offload, FERRY__OFFLOAD_AUTO);
	ck_assert_uint_gt(conf.cold_after_ns, conf.idle_after_ns);
	ck_assert_uint_eq(conf.n_tiers, 0);
	parse("");
	ck_assert_str_eq(said, "");
}
END_TEST

START_TEST(numbers_have_units)
{
	parse("cold_after:50ms,idle_after:2min,rss_target:3G,min_heap:0,"
	      "rate:64k,stats_interval:0,around:16");
	ck_assert_str_eq(said, "");
	ck_assert_uint_eq(conf.cold_after_ns, 50000000);
	ck_assert_uint_eq(conf.idle_after_ns, UINT64_C(120000000000));
	ck_assert_uint_eq(conf.rss_target, UINT64_C(3) << 30);
	ck_assert_uint_eq(conf.min_heap, 0);
	ck_assert_uint_eq(conf.rate, 65536);
	ck_assert_uint_eq(conf.around, 16);
}
END_TEST

START_TEST(what_is_not_understood_is_named_once_and_the_rest_counts)
{
	parse("colour:red,cold_after:soon,colour:red,nonsense,rate:1q,"
	      "cold_after:99999999999999h,rss_target:1m");
	ck_assert_uint_eq(harness_lines(said), 5);
	ck_assert_ptr_nonnull(strstr(said, "unknown key in \"colour:red\""));
	ck_assert_ptr_nonnull(strstr(said, "bad value in \"cold_after:soon\""));
	ck_assert_ptr_nonnull(strstr(said, "\"nonsense\""));
	ck_assert_ptr_nonnull(strstr(said, "bad value in \"rate:1q\""));
	ck_assert_uint_eq(conf.rss_target, UINT64_C(1) << 20);
}
END_TEST

START_TEST(stores_are_kept_in_order_with_their_ages)
{
	parse("store:memory,store:zstd@10s,store:file=/var/a@b/c@1h,"
	      "store:node=3,store:redis=localhost:6379,store:tape");
	ck_assert_uint_eq(harness_lines(said), 1);
	ck_assert_uint_eq(conf.n_tiers, 5);
	ck_assert_int_eq(conf.tiers[0].kind, FERRY__CONF_MEMORY);
	ck_assert_int_eq(conf.tiers[1].codec, FERRY__CODEC_ZSTD);
	ck_assert_uint_eq(conf.tiers[1].after_ns, UINT64_C(10000000000));
	ck_assert_int_eq(conf.tiers[2].kind, FERRY__CONF_FILE);
	ck_assert_uint_eq(conf.tiers[2].where_len, strlen("/var/a@b/c"));
	ck_assert_uint_eq(conf.tiers[3].node, 3);
	ck_assert_mem_eq(conf.tiers[4].where, "localhost:6379", 14);
}
END_TEST

START_TEST(slow_memory_is_named_among_stores)
{
	parse("store:slow,store:lz4@1min,slow_for:5s");
	ck_assert_uint_eq(harness_lines(said), 0);
	ck_assert_uint_eq(conf.n_tiers, 2);
	ck_assert_int_eq(conf.tiers[0].kind, FERRY__CONF_SLOW);
	ck_assert_uint_eq(conf.slow_for_ns, UINT64_C(5000000000));
	/* How long pages are there is not when they come. */
	parse("store:slow@5s,store:slower");
	ck_assert_uint_eq(harness_lines(said), 2);
	ck_assert_uint_eq(conf.n_tiers, 0);
}
END_TEST

START_TEST(passwords_are_not_in_complaints)
{
	parse("store:redsi=redis://:secret@host,"
	      "shop:redis=:secret@host,"
	      "redis=redis://secret@host/1");
	ck_assert_uint_eq(harness_lines(said), 3);
	ck_assert_ptr_null(strstr(said, "secret"));
	ck_assert_ptr_nonnull(
		strstr(said, "\"store:redsi=redis://:***@host\""));
	ck_assert_ptr_nonnull(strstr(said, "\"shop:redis=:***@host\""));
	ck_assert_ptr_nonnull(strstr(said, "\"redis=redis://***@host/1\""));
}
END_TEST

static void assert_password(const char *address, const char *password)
{
	size_t at = 0, len = 0;
	bool any = ferry__conf_password(address, strlen(address), &at, &len);

	ck_assert_int_eq(any, password != NULL);
	if (!password)
		return;
	ck_assert_uint_eq(len, strlen(password));
	ck_assert_mem_eq(address + at, password, len);
}

START_TEST(passwords_are_found)
{
	assert_password("redis://:a%40b@host:6379/1", "a%40b");
	assert_password("redis://me:a/b:c@d@host", "a/b:c@d");
	assert_password("redis://secret@host", "secret");
	assert_password("rediss://me:secret@host", "secret");
	assert_password("unix://me:secret@/run/a@b?db=2", "secret");
	assert_password("unix://:a/b@/run/x", "a/b");
	assert_password("unix://:secret@relative", "secret");
	assert_password(":secret@host", "secret");
	assert_password("host:6379", NULL);
	assert_password("redis://host:6379/1", NULL);
	assert_password("unix:///run/a@b:c", NULL);
	assert_password("/run/a:b@c", NULL);
	assert_password("", NULL);
}
END_TEST

START_TEST(offload_and_statistics_are_words)
{
	parse("offload:sigbus,stats_exit:on,stats_signal:yes,pressure:off,"
	      "stats_file:/tmp/x.%p,control:sock");
	ck_assert_str_eq(said, "");
	ck_assert_int_eq(conf.offload, FERRY__OFFLOAD_SIGBUS);
	ck_assert(conf.stats_exit && conf.stats_signal && !conf.pressure);
	ck_assert_mem_eq(conf.stats_file, "/tmp/x.%p", conf.stats_file_len);
	ck_assert_uint_eq(conf.control_len, 4);
	parse("offload:maybe,pressure:2");
	ck_assert_uint_eq(harness_lines(said), 2);
}
END_TEST

static const struct test tests[] = {
	TEST(nothing_is_all_defaults, NULL),
	TEST(numbers_have_units, NULL),
	TEST(what_is_not_understood_is_named_once_and_the_rest_counts, NULL),
	TEST(stores_are_kept_in_order_with_their_ages, NULL),
	TEST(slow_memory_is_named_among_stores, NULL),
	TEST(passwords_are_not_in_complaints, NULL),
	TEST(passwords_are_found, NULL),
	TEST(offload_and_statistics_are_words, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
