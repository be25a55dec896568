#!/bin/sh
# SPDX-License-Identifier: MIT
# engine.sh ARCHIVE OUT.lo: makes jemalloc's position-independent archive one
# libtool object that defines no name of the C library.
#
# Every public name becomes ferry__je_NAME, and so do the names of the C
# library that the malloc answers itself:
#   pthread_atfork          we order what happens around fork (DESIGN F1)
#   mmap munmap             so that every pointer of ours is in a region (E4)
#   secure_getenv readlink  MALLOC_CONF and /etc/malloc.conf are for others
#   dlsym                   may allocate; only asked for pthread_create
#   log exp round _Unwind_* the sampling profiler, which is never on, needs
#                           two more shared objects
# Some of its own names are redirected where they are used, as jemalloc has no
# hooks for these moments:
#   tsd.c           a thread allocates for the first time
#   thread_event.c  a thread has allocated or freed some 64 KiB more
#   tcache.c        there is no memory for the cache of a thread
#   pac.c           address space is wanted, maybe behind a block (grow.c)
# The C++ operators are left out: those of the C++ library call malloc.
#
# Environment: AR, NM, OBJCOPY, LD.
set -eu

# shellcheck source=alloc/store/archive.sh
. "$(dirname "$0")/../store/archive.sh"

taken="pthread_atfork mmap munmap secure_getenv readlink dlsym log exp round \
_Unwind_Backtrace _Unwind_GetIP"

archive_open "$1" "$2"
${AR:-ar} d "$tmp/all.a" jemalloc_cpp.pic.o
# redirect MEMBER NAME OURS
redirect() {
  (
    cd "$tmp"
    ${AR:-ar} x all.a "$1"
    ${OBJCOPY:-objcopy} --redefine-sym "$2=$3" "$1"
    ${AR:-ar} r all.a "$1"
  )
}
redirect tsd.pic.o je_tsd_tcache_enabled_data_init ferry__je_thread_begin
redirect thread_event.pic.o je_tcache_gc_event_handler ferry__je_thread_event
redirect tcache.pic.o je_arena_palloc ferry__je_cache_memory
# This one is called as in 5.3.0, and told of its descriptors.
if grep -q -a '5\.3\.0-' "$tmp/all.a"; then
  redirect pac.pic.o je_ecache_alloc_grow ferry__je_extent_grow
fi
{
  archive_names | grep -v '^je_' || :
  # shellcheck disable=SC2086 # a list of words
  printf '%s\n' $taken
} | sort -u | sed 's/.*/& ferry__je_&/' >"$tmp/names"
archive_close malloc mallctl
