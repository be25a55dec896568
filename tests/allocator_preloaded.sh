#!/bin/sh
# SPDX-License-Identifier: MIT
# Allocator instances in a program whose malloc is libferry-malloc.so, both
# with everything cold at once; and the examples for Lua and SQLite, which
# check what they have stored, with and without it.
set -u

b=$FERRY_BUILDDIR
why=$(sed -n 's/^#define FERRY_NO_MALLOC "\(.*\)"$/\1/p' "$b/config.h")
if [ -n "$why" ]; then
  echo "SKIP instances preloaded: libferry-malloc.so is not built: $why"
  exit 77
fi
if grep -q '^#define FERRY_SANITIZE' "$b/config.h"; then
  echo "SKIP instances preloaded: a sanitizer has a malloc of its own"
  exit 77
fi
cold=min_heap:0,cold_after:1ms,idle_after:1ms,rate:0,refault_limit:0
status=0
# run WHAT COMMAND...
run() {
  what=$1
  shift
  if ! said=$("$@" 2>&1); then
    printf '%s\n' "$said"
    echo "FAIL $what"
    status=1
  fi
}

preloaded="env FERRY_MALLOC_CONF=$cold
  LD_PRELOAD=$b/alloc/malloc/.libs/libferry-malloc.so
  LD_LIBRARY_PATH=$b/alloc/instance/.libs"
# What the libtool wrappers would run: they are scripts, with shells.
program() {
  if [ -x "$b/$1/.libs/$2" ]; then
    echo "$b/$1/.libs/$2"
  else
    echo "$b/$1/$2"
  fi
}

for example in allocator lua sqlite; do
  [ -x "$b/examples/$example" ] || continue
  run "$example, cold" "$b/examples/$example" "$cold"
  # shellcheck disable=SC2086 # a list of words
  run "$example, cold and preloaded" $preloaded \
    "$(program examples $example)" "$cold"
done
# shellcheck disable=SC2086 # a list of words
run "the tests of instances, preloaded" $preloaded \
  "$(program tests check_alloc_allocator)"
[ $status -ne 0 ] || echo "ok instances live beside the malloc"
exit $status
