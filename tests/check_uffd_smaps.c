/* SPDX-License-Identifier: MIT */
/* Texts of smaps, also odd ones, are read as what they are. */
#include <ferry/eligible.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/harness.h"
#include "uffd/mapping.h"

/* A reader of @text, with a buffer of @size bytes. */
static struct ferry__smaps reader(const char *text, size_t len, char *buf,
				  size_t size)
{
	struct ferry__smaps smaps;
	int fd = memfd_create("text", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	ferry__smaps_init(&smaps, fd, true, buf, size);
	return smaps;
}

/* Reads all of @text; returns the number of mappings or the error. */
static int read_all(const char *text, size_t len, size_t size,
		    struct ferry__mapping *m, int max)
{
	char buf[4096];
	struct ferry__smaps smaps = reader(text, len, buf, size);
	uint64_t floor = 0;
	int n, r;

	for (n = 0;; n++) {
		struct ferry__mapping one;

		r = ferry__smaps_next(&smaps, &one);
		if (r <= 0)
			break;
		ck_assert_uint_lt(one.start, one.end);
		ck_assert_uint_ge(one.start, floor);
		floor = one.end;
		if (n < max)
			m[n] = one;
	}
	close(smaps.lines.fd);
	return r < 0 ? r : n;
}

struct sample {
	const char *name; /* of the mapping */
	const char *perms;
	const char *inode; /* "dev inode" */
	const char *flags; /* VmFlags */
	enum ferry_reason reason;
};

/* As kernels print them that have what this machine may lack. */
static const struct sample samples[] = {
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac sd", FERRY_REASON_NONE },
	{ "[heap]", "rw-p", "00:00 0", "rd wr mr mw me ac", FERRY_REASON_NONE },
	{ "[anon:dalvik-main space]", "rw-p", "00:00 0", "rd wr ac",
	  FERRY_REASON_NONE },
	{ "[anon_shmem:buf]", "rw-s", "00:01 1024", "rd wr sh ms",
	  FERRY_REASON_SHARED },
	{ "/dev/zero", "rw-p", "00:06 4", "rd wr mr mw me ac",
	  FERRY_REASON_NONE },
	{ "/dev/zero (deleted)", "rw-s", "00:01 4", "rd wr sh ms",
	  FERRY_REASON_SHARED },
	{ "/SYSV00000000 (deleted)", "rw-s", "00:01 4", "rd wr sh ms",
	  FERRY_REASON_SHARED },
	{ "/memfd:vm (deleted)", "rw-p", "00:01 9", "rd wr ac",
	  FERRY_REASON_FILE },
	{ "/dev/mem", "r--s", "00:06 1", "rd mr me ms pf io de dd",
	  FERRY_REASON_DEVICE },
	{ "/dev/nvidia-uvm", "rw-s", "00:06 1", "rd wr sh ms mm",
	  FERRY_REASON_DEVICE },
	{ "/dev/dri/card0", "rw-s", "00:06 1", "rd wr sh ms pf io dd",
	  FERRY_REASON_DEVICE },
	{ "anon_inode:[perf_event]", "rw-s", "00:0e 1", "rd wr sh mm dd",
	  FERRY_REASON_DEVICE },
	{ "/mnt/pmem/db", "rw-s", "103:00 77", "rd wr sh ms mm hg",
	  FERRY_REASON_DAX },
	{ "/mnt/pmem/db", "rw-s", "103:00 77", "rd wr sh ms sf",
	  FERRY_REASON_DAX },
	{ "/dev/dax0.0", "rw-s", "fc:00 8", "rd wr sh ms mm hg",
	  FERRY_REASON_DAX },
	{ "/secretmem (deleted)", "rw-s", "00:0e 41", "rd wr sh ms lo dd",
	  FERRY_REASON_SECRET },
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac mt", FERRY_REASON_TAGGED },
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac ss",
	  FERRY_REASON_SHADOW_STACK },
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac lo", FERRY_REASON_LOCKED },
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac um",
	  FERRY_REASON_OTHER_UFFD },
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac uw",
	  FERRY_REASON_OTHER_UFFD },
	{ "", "rw-p", "00:00 0", "rd wr mr mw me ac ui",
	  FERRY_REASON_OTHER_UFFD },
	{ "/anon_hugepage (deleted)", "rw-p", "00:0f 8", "rd wr de ht",
	  FERRY_REASON_HUGETLB },
	{ "", "---p", "00:00 0", "mr mw me", FERRY_REASON_READ_ONLY },
	{ "[stack]", "rw-p", "00:00 0", "rd wr mr mw me gd ac",
	  FERRY_REASON_SPECIAL },
	{ "[uprobes]", "--xp", "00:00 0", "ex mr mw me de io",
	  FERRY_REASON_SPECIAL },
	{ "[sigpage]", "r-xp", "00:00 0", "rd ex de", FERRY_REASON_SPECIAL },
	{ "[vvar_vclock]", "r--p", "00:00 0", "rd mr pf io de dd",
	  FERRY_REASON_SPECIAL },
	/* A name cannot pass for a record or for flags. */
	{ "/tmp/VmFlags: rd wr", "rw-p", "fe:00 5", "rd wr",
	  FERRY_REASON_FILE },
	{ "/tmp/a\\0127f00-7f01 rw-p", "rw-p", "fe:00 5", "rd wr",
	  FERRY_REASON_FILE },
	{ "/tmp/\x1b[31mred", "rw-p", "fe:00 5", "rd wr", FERRY_REASON_FILE },
	/* Flags to come are passed over. */
	{ "", "rw-p", "00:00 0", "rd wr ?? zz loo l", FERRY_REASON_NONE },
};

static int print_sample(char *text, size_t size, const struct sample *s)
{
	return snprintf(text, size,
			"7f0000000000-7f0000400000 %s 00000000 %s   %s\n"
			"Size:               4096 kB\n"
			"KernelPageSize:        4 kB\n"
			"THPeligible:           1\n"
			"ProtectionKey:         0\n"
			"VmFlags: %s \n",
			s->perms, s->inode, s->name, s->flags);
}

START_TEST(saved_records_are_classified)
{
	struct ferry__mapping m;
	char text[1024], *c;
	size_t i;
	int len;

	for (i = 0; i < ARRAY_SIZE(samples); i++) {
		len = print_sample(text, sizeof(text), &samples[i]);
		ck_assert_int_eq(read_all(text, (size_t)len, 4096, &m, 1), 1);
		ck_assert_msg(m.reason == samples[i].reason,
			      "'%s' %s: got '%s'", samples[i].name,
			      samples[i].flags, ferry_reason_string(m.reason));
		for (c = m.name; *c; c++)
			ck_assert_int_ge(*c, ' ');
	}
}
END_TEST

START_TEST(any_read_size_gives_the_same)
{
	struct ferry__mapping whole[3], cut[3];
	struct random random = harness_random();
	char text[4096];
	size_t i, len = 0;

	for (i = 0; i < 3; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"7f000000%zu000-7f000000%zu000 rw-p "
					"00000000 00:00 0 \n"
					"KernelPageSize:        4 kB\n"
					"VmFlags: rd wr lo \n",
					i, i + 1);
	ck_assert_int_eq(read_all(text, len, 4096, whole, 3), 3);
	for (i = 1; i < 200; i++) {
		memset(cut, 0, sizeof(cut));
		ck_assert_int_eq(read_all(text, len,
					  1 + random_below(&random, i), cut, 3),
				 3);
		ck_assert_int_eq(memcmp(whole, cut, sizeof(cut)), 0);
	}
}
END_TEST

START_TEST(a_text_cut_anywhere_never_passes_for_whole)
{
	struct ferry__mapping m;
	char text[1024];
	size_t whole, len;
	int r;

	whole = (size_t)print_sample(text, sizeof(text), &samples[0]);
	ck_assert_int_eq(read_all(text, 0, 4096, &m, 1), 0);
	for (len = 1; len < whole; len++) {
		r = read_all(text, len, 4096, &m, 1);
		ck_assert_msg(r == -EIO, "%zu of %zu bytes gave %d", len, whole,
			      r);
	}
}
END_TEST

START_TEST(text_that_is_not_smaps_is_refused)
{
	static const char *const texts[] = {
		"\n",
		"hello\n",
		"VmFlags: rd\n",
		"Size: 4 kB\n",
		"7f00-7f00 rw-p 0 0:0 0\nVmFlags: rd\n",
		"7f01-7f00 rw-p 0 0:0 0\nVmFlags: rd\n",
		"7f00-7f01 rwxp\nVmFlags: rd\n",
		"7f00-7f01 qw-p 0 0:0 0\nVmFlags: rd\n",
		"7f00 7f01 rw-p 0 0:0 0\nVmFlags: rd\n",
		"7f00-7f01 rw-p 0 0:0 0x\nVmFlags: rd\n",
		"7f00-10000000000000000 rw-p 0 0:0 0\nVmFlags: rd\n",
		"7f00-7f01 rw-p 0 0:0 99999999999999999999\nVmFlags: rd\n",
		"7f00-7f01 rw-p 0 0:0 0\nKernelPageSize: 0 kB\nVmFlags: rd\n",
		"7f00-7f01 rw-p 0 0:0 0\nKernelPageSize: x kB\nVmFlags: rd\n",
		"7f00-7f01 rw-p 0 0:0 0\nnonsense\nVmFlags: rd\n",
	};
	struct ferry__mapping m;
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(texts); i++) {
		r = read_all(texts[i], strlen(texts[i]), 4096, &m, 1);
		ck_assert_msg(r == -EIO, "text %zu gave %d", i, r);
	}
}
END_TEST

START_TEST(mappings_that_merge_while_read_are_cut)
{
	static const char text[] = "1000-2000 rw-p 0 0:0 0 \nVmFlags: rd wr \n"
				   "1000-4000 rw-p 0 0:0 0 \nVmFlags: rd wr \n"
				   "2000-3000 rw-p 0 0:0 0 \nVmFlags: rd wr \n"
				   "3000-5000 rw-p 0 0:0 0 \nVmFlags: rd wr \n";
	struct ferry__mapping m[4];

	ck_assert_int_eq(read_all(text, sizeof(text) - 1, 4096, m, 4), 3);
	ck_assert_uint_eq(m[1].start, 0x2000);
	ck_assert_uint_eq(m[1].end, 0x4000);
	ck_assert_uint_eq(m[2].start, 0x4000);
	ck_assert_uint_eq(m[2].end, 0x5000);
}
END_TEST

START_TEST(huge_names_and_texts_are_read)
{
	const size_t records = 5000;
	char name[4097], *text = malloc(records * 256 + sizeof(name) + 256);
	struct ferry__mapping m;
	size_t i, len;

	ck_assert_ptr_nonnull(text);
	memset(name, 'n', sizeof(name) - 1);
	name[0] = '/';
	name[sizeof(name) - 1] = '\0';
	len = (size_t)sprintf(text,
			      "1000-2000 rw-p 0 fe:0 7 %s\n"
			      "VmFlags: rd wr \n",
			      name);
	for (i = 1; i < records; i++)
		len += (size_t)sprintf(text + len,
				       "%zx000-%zx000 rw-p 0 0:0 0 \n"
				       "VmFlags: rd wr \n",
				       i + 1, i + 2);
	ck_assert_int_eq(read_all(text, len, 4096, &m, 1), (int)records);
	ck_assert_uint_eq(strlen(m.name), sizeof(m.name) - 1);
	free(text);
}
END_TEST

START_TEST(random_bytes_do_no_harm)
{
	struct random random = harness_random();
	size_t i, k, n, rounds = harness_scaled(20000);
	char text[1024];
	struct ferry__mapping m;

	for (i = 0; i < rounds; i++) {
		n = (size_t)print_sample(
			text, sizeof(text),
			&samples[random_below(&random, ARRAY_SIZE(samples))]);
		for (k = random_below(&random, 8); k; k--)
			text[random_below(&random, n)] =
				(char)random_next(&random);
		read_all(text, n, 1 + random_below(&random, 4096), &m, 1);
	}
}
END_TEST

static const struct test tests[] = {
	TEST(saved_records_are_classified, NULL),
	TEST(any_read_size_gives_the_same, NULL),
	TEST(a_text_cut_anywhere_never_passes_for_whole, NULL),
	TEST(text_that_is_not_smaps_is_refused, NULL),
	TEST(mappings_that_merge_while_read_are_cut, NULL),
	TEST(huge_names_and_texts_are_read, NULL),
	TEST(random_bytes_do_no_harm, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
