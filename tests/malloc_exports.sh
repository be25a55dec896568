#!/bin/sh
# SPDX-License-Identifier: MIT
# libferry-malloc.so exports what malloc.map lists and nothing else, needs the
# C library alone, and has its thread-local data where the loader puts it at
# start (a malloc may not allocate to find its own data); it stays loaded.
#
# Environment: NM, READELF.
set -u

library=$FERRY_BUILDDIR/alloc/malloc/.libs/libferry-malloc.so
why=$(sed -n 's/^#define FERRY_NO_MALLOC "\(.*\)"$/\1/p' \
  "$FERRY_BUILDDIR/config.h")
if [ -n "$why" ]; then
  echo "SKIP malloc: libferry-malloc.so is not built: $why"
  exit 77
fi
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
status=0
fail() {
  echo "FAIL malloc_exports: $*"
  status=1
}

sed -n 's/^\t\([A-Za-z0-9_]*\);$/\1/p' \
  "$FERRY_SRCDIR/alloc/malloc/malloc.map" | sort >"$tmp/mapped"
# shellcheck disable=SC2086 # libtool's NM has an option
${NM:-nm} -D --defined-only "$library" |
  sed -n 's/.* [TBDRVWi] \([^@ ]*\).*/\1/p' | sort -u >"$tmp/exported"
names=$(comm -23 "$tmp/mapped" "$tmp/exported" | tr '\n' ' ')
[ -z "$names" ] || fail "in malloc.map but not exported: $names"
names=$(comm -13 "$tmp/mapped" "$tmp/exported" | tr '\n' ' ')
[ -z "$names" ] || fail "exported but not in malloc.map: $names"
grep -qx malloc "$tmp/exported" || fail "malloc is not exported"

if command -v "${READELF:-readelf}" >/dev/null; then
  "${READELF:-readelf}" -dW "$library" >"$tmp/dynamic"
  needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' "$tmp/dynamic" |
    grep -v '^libc\.so' | tr '\n' ' ')
  [ -z "$needed" ] || fail "needs $needed"
  grep -q STATIC_TLS "$tmp/dynamic" || fail "its data are not initial-exec"
  "${READELF:-readelf}" -rW "$library" >"$tmp/relocations"
  if grep -Eq 'DTPMOD|TLSDESC|__tls_get_addr' "$tmp/relocations"; then
    fail "some of its thread-local data is found by a call"
  fi
  # What they leave with the C library (destructors of threads, handlers around
  # fork) is called when a module that needed them is long gone.
  for each in "$library" \
    "$FERRY_BUILDDIR/alloc/instance/.libs/libferry-alloc.so" \
    "$FERRY_BUILDDIR/runtime/.libs/libferry.so"; do
    "${READELF:-readelf}" -dW "$each" | grep -q NODELETE ||
      fail "dlclose() may take $each away"
  done
else
  echo "SKIP malloc_exports: no readelf here to see what it needs"
fi
echo "$(wc -l <"$tmp/exported") names exported"
exit $status
