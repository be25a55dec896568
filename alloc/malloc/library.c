/* SPDX-License-Identifier: MIT */
/* The life of the library within a process. */
#include "alloc/malloc/library.h"

#include <string.h>
#include <sys/auxv.h>

#include "alloc/malloc/conf.h"
#include "alloc/malloc/leave.h"
#include "alloc/malloc/offload.h"
#include "alloc/malloc/report.h"
#include "alloc/malloc/socket.h"

static struct ferry__conf conf;

void ferry__library_start(void)
{
	ferry__fork_init();
}

void ferry__library_work(void)
{
	if (ferry__offload_is_guest()) {
		ferry__engine_want_work();
		return;
	}
	ferry__report_work();
	ferry__socket_work();
	ferry__offload_work();
}

/*
 * The environment of a program that runs with more rights than its user has
 * (setuid) is not believed.
 */
static const char *find(char *const *environment)
{
	static const char name[] = "FERRY_MALLOC_CONF=";

	if (getauxval(AT_SECURE))
		return NULL;
	for (; environment && *environment; environment++)
		if (!strncmp(*environment, name, sizeof(name) - 1))
			return *environment + sizeof(name) - 1;
	return NULL;
}

/*
 * The loader runs this before other constructors (-z initfirst), also before
 * the C library's own: getenv(3) knows of nothing yet.
 */
__attribute__((constructor)) static void begin(int argc, char **argv,
					       char **environment)
{
	(void)argc;
	(void)argv;
	ferry__engine_start();
	ferry__conf_parse(&conf, find(environment));
	ferry__report_init(&conf);
	ferry__socket_init(&conf);
	ferry__offload_init(&conf);
	ferry__leave_init();
}

/* Threads that run on do no harm; a name in the file system would stay. */
__attribute__((destructor)) static void end(void)
{
	ferry__socket_end();
}
