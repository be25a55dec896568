/* SPDX-License-Identifier: MIT */
/* Paths of the configuration: absolute, and with the process in them. */
#ifndef FERRY_ALLOC_MALLOC_PATH_H
#define FERRY_ALLOC_MALLOC_PATH_H

#include <stddef.h>

#include "alloc/malloc/engine.h"

/*
 * @buf becomes @name (of @len bytes) as seen from the present directory, which
 * the program may leave. Returns 0; -ENAMETOOLONG; error of getcwd(3).
 */
FERRY__HIDDEN int ferry__path_absolute(const char *name, size_t len, char *buf,
				       size_t size);

/*
 * @buf becomes @path, the first "%p" in it replaced by the number of this
 * process, with @suffix after it. Returns 0; -ENAMETOOLONG.
 */
FERRY__HIDDEN int ferry__path_of(const char *path, const char *suffix,
				 char *buf, size_t size);

#endif
