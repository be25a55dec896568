/* SPDX-License-Identifier: MIT */
/* Injection itself: a tool that lies about faults would make tests lie. */
#include "tests/inject.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define PAGES 8

static int uffd;
static char *src, *dst;
static size_t page;

static char *map_pages(void)
{
	void *p;

	ck_assert_int_eq(
		ferry__sys->mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &p),
		0);
	return p;
}

static void open_and_register(void)
{
	struct ferry__uffdio_api api = { .api = FERRY__UFFD_API };
	struct ferry__uffdio_register reg = {
		.mode = FERRY__REGISTER_MISSING,
	};

	page = ferry__page_size;
	uffd = ferry__sys->userfaultfd(FERRY__UFFD_USER_MODE_ONLY);
	ck_assert_int_ge(uffd, 0);
	ck_assert_int_eq(ferry__sys->ioctl(uffd, FERRY__UFFDIO_API, &api), 0);
	src = map_pages();
	dst = map_pages();
	memset(src, 's', PAGES * page);
	reg.range.start = (uintptr_t)dst;
	reg.range.len = PAGES * page;
	ck_assert_int_eq(ferry__sys->ioctl(uffd, FERRY__UFFDIO_REGISTER, &reg),
			 0);
	inject_start();
}

static void close_all(void)
{
	inject_stop();
	ferry__sys->close(uffd);
}

static int copy(size_t first, size_t n, int64_t *field)
{
	struct ferry__uffdio_copy c = {
		.dst = (uintptr_t)(dst + first * page),
		.src = (uintptr_t)(src + first * page),
		.len = n * page,
		.copy = *field,
	};
	int r = ferry__sys->ioctl(uffd, FERRY__UFFDIO_COPY, &c);

	ck_assert_uint_eq(c.len, n * page);
	*field = c.copy;
	return r;
}

static size_t resident(void)
{
	unsigned char vec[PAGES];
	size_t i, n = 0;

	ck_assert_int_eq(ferry__sys->mincore(dst, PAGES * page, vec), 0);
	for (i = 0; i < PAGES; i++)
		n += vec[i] & 1;
	return n;
}

START_TEST(nth_call_fails_and_its_neighbours_do_not)
{
	struct inject_rule rule = { .call = INJECT_IOCTL,
				    .request = FERRY__UFFDIO_COPY,
				    .nth = 2,
				    .error = ENOMEM };
	int64_t field = 0;

	inject_add(&rule);
	ck_assert_int_eq(copy(0, 1, &field), 0);
	ck_assert_int_eq(copy(1, 1, &field), -ENOMEM);
	ck_assert_int_eq(field, -ENOMEM);
	ck_assert_int_eq(copy(1, 1, &field), 0);
	ck_assert_uint_eq(inject_hits(&rule), 1);
	ck_assert_uint_eq(inject_calls(INJECT_IOCTL, FERRY__UFFDIO_COPY), 3);
	ck_assert_uint_eq(resident(), 2);
}
END_TEST

START_TEST(short_call_does_its_part)
{
	struct inject_rule rule = { .call = INJECT_IOCTL,
				    .request = FERRY__UFFDIO_COPY,
				    .error = EAGAIN,
				    .done = 3 * page };
	int64_t field = 0;

	inject_add(&rule);
	ck_assert_int_eq(copy(0, PAGES, &field), -EAGAIN);
	ck_assert_int_eq(field, (int64_t)(3 * page));
	ck_assert_uint_eq(resident(), 3);
}
END_TEST

START_TEST(field_can_stay_stale_or_lie)
{
	struct inject_rule stale = { .call = INJECT_IOCTL,
				     .request = FERRY__UFFDIO_COPY,
				     .error = EAGAIN,
				     .field = INJECT_FIELD_STALE };
	struct inject_rule lie = { .call = INJECT_IOCTL,
				   .request = FERRY__UFFDIO_COPY,
				   .error = EEXIST,
				   .done = INJECT_ALL,
				   .field = INJECT_FIELD_VALUE,
				   .value = -EEXIST };
	int64_t field = 4711;

	inject_add(&stale);
	ck_assert_int_eq(copy(0, 1, &field), -EAGAIN);
	ck_assert_int_eq(field, 4711);
	ck_assert_uint_eq(resident(), 0);
	inject_add(&lie);
	ck_assert_int_eq(copy(0, 2, &field), -EEXIST);
	ck_assert_int_eq(field, -EEXIST);
	ck_assert_uint_eq(resident(), 2);
}
END_TEST

START_TEST(bad_page_stops_the_call_that_reaches_it)
{
	struct inject_rule rule = { .call = INJECT_IOCTL,
				    .request = FERRY__UFFDIO_COPY,
				    .at = (uintptr_t)(src + 5 * page),
				    .count = INJECT_ALWAYS,
				    .error = EBUSY };
	int64_t field = 0;

	inject_add(&rule);
	ck_assert_int_eq(copy(2, 2, &field), 0);
	ck_assert_int_eq(copy(4, 4, &field), -EAGAIN);
	ck_assert_int_eq(field, (int64_t)page);
	ck_assert_int_eq(copy(5, 3, &field), -EBUSY);
	ck_assert_int_eq(copy(5, 1, &field), -EBUSY);
	ck_assert_int_eq(copy(6, 2, &field), 0);
	ck_assert_uint_eq(inject_hits(&rule), 2);
	ck_assert_uint_eq(resident(), 5);
}
END_TEST

START_TEST(path_and_advice_select_calls)
{
	struct inject_rule path = { .call = INJECT_OPEN,
				    .path = "/dev/null",
				    .count = INJECT_ALWAYS,
				    .error = EACCES };
	struct inject_rule advice = { .call = INJECT_MADVISE,
				      .request = MADV_DONTNEED,
				      .error = EINVAL };
	int fd;

	inject_add(&path);
	inject_add(&advice);
	ck_assert_int_eq(ferry__sys->open("/dev/null", 0), -EACCES);
	fd = ferry__sys->open("/dev/zero", 0);
	ck_assert_int_ge(fd, 0);
	ferry__sys->close(fd);
	ck_assert_int_eq(ferry__sys->madvise(src, page, MADV_WILLNEED), 0);
	ck_assert_int_eq(ferry__sys->madvise(src, page, MADV_DONTNEED),
			 -EINVAL);
	ck_assert_int_eq(ferry__sys->madvise(src, page, MADV_DONTNEED), 0);
}
END_TEST

START_TEST(clock_stands_until_somebody_sleeps)
{
	inject_clock(1000);
	ck_assert_uint_eq(ferry__sys->now_ns(), 1000);
	ferry__sys->sleep_ns(60000000000);
	ck_assert_uint_eq(ferry__sys->now_ns(), 60000001000);
	inject_clock_advance(1);
	ck_assert_uint_eq(ferry__sys->now_ns(), 60000001001);
}
END_TEST

#define CALLS 2000

static void *many_calls(void *arg)
{
	uint64_t *struck = arg;
	int i;

	for (i = 0; i < CALLS; i++)
		*struck += ferry__sys->membarrier(0, 0) == -EPERM;
	return NULL;
}

START_TEST(threads_share_one_count)
{
	struct inject_rule rule = { .call = INJECT_MEMBARRIER,
				    .nth = 100,
				    .count = CALLS,
				    .error = EPERM };
	uint64_t struck[2] = { 0 };
	pthread_t thread;

	inject_add(&rule);
	ck_assert_int_eq(pthread_create(&thread, NULL, many_calls, &struck[1]),
			 0);
	many_calls(&struck[0]);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(struck[0] + struck[1], CALLS);
	ck_assert_uint_eq(inject_hits(&rule), CALLS);
	ck_assert_uint_eq(inject_calls(INJECT_MEMBARRIER, 0), 2 * CALLS);
}
END_TEST

#define WITH_UFFD(name)                                                        \
	TEST_FIXTURE(name, "userfaultfd", open_and_register, close_all)

static const struct test tests[] = {
	WITH_UFFD(nth_call_fails_and_its_neighbours_do_not),
	WITH_UFFD(short_call_does_its_part),
	WITH_UFFD(field_can_stay_stale_or_lie),
	WITH_UFFD(bad_page_stops_the_call_that_reaches_it),
	WITH_UFFD(path_and_advice_select_calls),
	WITH_UFFD(clock_stands_until_somebody_sleeps),
	WITH_UFFD(threads_share_one_count),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
