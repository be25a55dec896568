/* SPDX-License-Identifier: MIT */
/* How ferryctl speaks: complaints, what an errno means to it, sizes. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "tools/ferryctl/ctl.h"

__attribute__((format(printf, 1, 0))) static void
complain(const char *format, va_list args, const char *end)
{
	/* What was printed before was said before. */
	fflush(stdout);
	fputs("ferryctl: ", stderr);
	vfprintf(stderr, format, args);
	fprintf(stderr, "%s\n", end);
}

void ctl_complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args, "");
	va_end(args);
}

enum ctl_status ctl_fail(int r, const char *format, ...)
{
	char end[128];
	va_list args;

	snprintf(end, sizeof(end), ": %s", strerror(-r));
	va_start(args, format);
	complain(format, args, end);
	va_end(args);
	return ctl_status_of(r);
}

enum ctl_status ctl_status_of(int r)
{
	switch (r) {
	case 0:
		return CTL_OK;
	case -ESRCH:
		return CTL_NO_PROCESS;
	case -EACCES:
	case -EPERM:
		return CTL_NOT_PERMITTED;
	case -ENOSYS:
	case -EOPNOTSUPP:
		return CTL_NOT_POSSIBLE;
	}
	return CTL_FAILED;
}

const char *ctl_size_text(uint64_t bytes, char *buf)
{
	static const char units[] = "BKMGTPE";
	double n = (double)bytes;
	size_t i = 0;

	for (; n >= 1023.5 && i + 2 < sizeof(units); i++)
		n /= 1024;
	if (i == 0)
		snprintf(buf, CTL_SIZE_TEXT, "%.0f", n);
	else
		snprintf(buf, CTL_SIZE_TEXT, n < 9.95 ? "%.1f%c" : "%.0f%c", n,
			 units[i]);
	return buf;
}
