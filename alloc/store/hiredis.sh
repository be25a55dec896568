#!/bin/sh
# SPDX-License-Identifier: MIT
# hiredis.sh ARCHIVE OUT.lo: makes hiredis' archive one libtool object that
# meets nobody else's: every name of it becomes ferry__hi_NAME, so that a
# program with a hiredis of its own keeps that, and its memory comes from
# ferry__redis_malloc() and its like (redis_pool.h), not from the malloc whose
# pages it brings back.
#
# Environment: AR, NM, OBJCOPY, LD.
set -eu

# shellcheck source=alloc/store/archive.sh
. "$(dirname "$0")/archive.sh"

archive_open "$1" "$2"
# Before 1.0 it aborts when there is no memory, in functions of that one file.
if ! ${NM:-nm} "$tmp/all.a" | grep -q ' hiredisAllocFns$'; then
  ${AR:-ar} d "$tmp/all.a" alloc.o
  for call in malloc calloc realloc strdup; do
    echo "hi_$call $call"
  done >"$tmp/aborting"
  ${OBJCOPY:-objcopy} --redefine-syms="$tmp/aborting" "$tmp/all.a"
fi
{
  archive_names | sort -u | sed 's/.*/& ferry__hi_&/'
  for call in malloc calloc realloc free strdup; do
    echo "$call ferry__redis_$call"
  done
} >"$tmp/names"
archive_close redisReaderFeed
