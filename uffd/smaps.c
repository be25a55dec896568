/* SPDX-License-Identifier: MIT */
/* Reads the text of /proc/PID/smaps and /proc/PID/maps, record by record. */
#include "uffd/mapping.h"

#include <errno.h>
#include <string.h>

#include "uffd/sys.h"

void ferry__smaps_init(struct ferry__smaps *smaps, int fd, bool flags_needed,
		       char *buf, size_t size)
{
	memset(smaps, 0, sizeof(*smaps));
	smaps->flags_needed = flags_needed;
	ferry__lines_init(&smaps->lines, fd, buf, size);
}

static bool parse_char(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

static bool parse_perms(const char **s, uint32_t *flags)
{
	static const struct {
		char on[3];
		uint32_t flag;
	} perms[] = {
		{ "r-", FERRY__VM_READ },
		{ "w-", FERRY__VM_WRITE },
		{ "x-", FERRY__VM_EXEC },
		{ "sp", FERRY__VM_SHARED },
	};
	size_t i;

	for (i = 0; i < 4; i++, (*s)++) {
		if (**s == perms[i].on[0])
			*flags |= perms[i].flag;
		else if (**s != perms[i].on[1])
			return false;
	}
	return true;
}

static void copy_name(char *to, size_t size, const char *from)
{
	size_t i;

	for (i = 0; i + 1 < size && from[i]; i++)
		to[i] = (unsigned char)from[i] < ' ' || from[i] == 0x7f
				? '?'
				: from[i];
	to[i] = '\0';
}

/* "55d0c000-55d0d000 rw-p 00003000 fe:00 1095   /usr/bin/x" */
static bool parse_header(const char *s, struct ferry__mapping *m)
{
	uint64_t skipped;

	memset(m, 0, sizeof(*m));
	m->page_size = ferry__page_size;
	if (!ferry__number_parse(&s, 16, &m->start) || !parse_char(&s, '-') ||
	    !ferry__number_parse(&s, 16, &m->end) || !parse_char(&s, ' ') ||
	    !parse_perms(&s, &m->flags) || !parse_char(&s, ' ') ||
	    !ferry__number_parse(&s, 16, &skipped) || !parse_char(&s, ' ') ||
	    !ferry__number_parse(&s, 16, &skipped) || !parse_char(&s, ':') ||
	    !ferry__number_parse(&s, 16, &skipped) || !parse_char(&s, ' ') ||
	    !ferry__number_parse(&s, 10, &m->inode))
		return false;
	if (*s && *s != ' ')
		return false;
	s += strspn(s, " ");
	copy_name(m->name, sizeof(m->name), s);
	return m->start < m->end;
}

static uint32_t flag_of(const char *word)
{
	static const struct {
		char word[3];
		uint32_t flag;
	} words[] = {
		{ "lo", FERRY__VM_LOCKED },   { "io", FERRY__VM_IO },
		{ "pf", FERRY__VM_PFNMAP },   { "mm", FERRY__VM_MIXEDMAP },
		{ "ht", FERRY__VM_HUGETLB },  { "mt", FERRY__VM_TAGGED },
		{ "ss", FERRY__VM_SHADOW },   { "um", FERRY__VM_UFFD_MISSING },
		{ "uw", FERRY__VM_UFFD_WP },  { "ui", FERRY__VM_UFFD_MINOR },
		{ "sf", FERRY__VM_SYNC },     { "gd", FERRY__VM_GROWSDOWN },
		{ "dc", FERRY__VM_DONTFORK }, { "hg", FERRY__VM_HUGE },
		{ "nh", FERRY__VM_NOHUGE },
	};
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (word[0] == words[i].word[0] && word[1] == words[i].word[1])
			return words[i].flag;
	return 0;
}

/* Words of two letters; the kernel prints "??" for bits it cannot name. */
static void parse_flags(const char *s, struct ferry__mapping *m)
{
	size_t n;

	m->flags |= FERRY__VM_FLAGS_READ;
	for (;; s += n) {
		s += strspn(s, " ");
		n = strcspn(s, " ");
		if (!n)
			return;
		if (n == 2)
			m->flags |= flag_of(s);
	}
}

static bool parse_page_size(const char *s, struct ferry__mapping *m)
{
	uint64_t kib;

	s += strspn(s, " ");
	if (!ferry__number_parse(&s, 10, &kib) || !kib || kib > SIZE_MAX / 1024)
		return false;
	m->page_size = (size_t)kib * 1024;
	return true;
}

/* "Name:  value" of the current record; unknown names are passed over. */
static bool parse_field(const struct ferry__line *line,
			struct ferry__mapping *m)
{
	const char *value;

	value = ferry__text_after(line->text, "VmFlags:");
	if (value) {
		parse_flags(value, m);
		return !line->cut;
	}
	value = ferry__text_after(line->text, "KernelPageSize:");
	if (value)
		return parse_page_size(value, m);
	value = line->text + strcspn(line->text, ": ");
	return value > line->text && *value == ':';
}

/*
 * Hands out the pending record unless it lies wholly behind what was
 * returned. Returns 1, 0 (nothing to hand out) or -EIO.
 */
static int emit(struct ferry__smaps *smaps, struct ferry__mapping *ret)
{
	struct ferry__mapping *m = &smaps->next;

	if (!smaps->pending)
		return 0;
	smaps->pending = false;
	if (smaps->flags_needed && !(m->flags & FERRY__VM_FLAGS_READ))
		return -EIO;
	if (m->end <= smaps->floor)
		return 0;
	if (m->start < smaps->floor)
		m->start = smaps->floor;
	smaps->floor = m->end;
	m->reason = ferry__mapping_classify(m);
	*ret = *m;
	return 1;
}

static bool is_header(const char *text)
{
	return (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'f');
}

/* Takes in one line. Returns 1 when @ret was filled, 0 or -EIO. */
static int take_line(struct ferry__smaps *smaps, const struct ferry__line *line,
		     struct ferry__mapping *ret)
{
	int r;

	if (!is_header(line->text)) {
		if (!smaps->pending || !parse_field(line, &smaps->next))
			return -EIO;
		return 0;
	}
	r = emit(smaps, ret);
	if (r < 0 || !parse_header(line->text, &smaps->next))
		return -EIO;
	smaps->pending = true;
	return r;
}

int ferry__smaps_next(struct ferry__smaps *smaps,
		      struct ferry__mapping *ret_mapping)
{
	struct ferry__line line;
	int r;

	while ((r = ferry__lines_next(&smaps->lines, &line)) > 0) {
		r = take_line(smaps, &line, ret_mapping);
		if (r)
			return r;
	}
	return r < 0 ? r : emit(smaps, ret_mapping);
}
