#!/bin/sh
# SPDX-License-Identifier: MIT
# Every kind of event is a USDT probe of the heap's library, every probe that
# ferry-probes(7) names is one of the malloc's and the allocator's, and nothing
# else is.
#
# Environment: READELF.
set -u

if ! grep -q '^#define FERRY_PROBES 1' "$FERRY_BUILDDIR/config.h"; then
  echo "SKIP probes: built without them (no sys/sdt.h)"
  exit 77
fi
if ! command -v "${READELF:-readelf}" >/dev/null; then
  echo "SKIP probes: no readelf here to see them"
  exit 77
fi

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
status=0

# compare LIBRARY DECLARED: the probes of the one are the names in the other.
compare() {
  "${READELF:-readelf}" -n "$FERRY_BUILDDIR/$1" |
    awk '$1 == "Provider:" { ours = $2 == "ferry" }
         $1 == "Name:" && ours { print $2 }' | sort -u >"$tmp/probes"
  missing=$(comm -23 "$2" "$tmp/probes" | tr '\n' ' ')
  if [ -n "$missing" ]; then
    echo "FAIL probes: ${1##*/} does not have: $missing"
    status=1
  fi
  unknown=$(comm -13 "$2" "$tmp/probes" | tr '\n' ' ')
  if [ -n "$unknown" ]; then
    echo "FAIL probes: ${1##*/} has, and nothing names: $unknown"
    status=1
  fi
  if [ ! -s "$2" ]; then
    echo "FAIL probes: no names found for ${1##*/}: this check is broken"
    status=1
  fi
  echo "${1##*/}: $(wc -l <"$tmp/probes") probes"
}

sed -n 's/^\tFERRY_EVENT_\([A-Z_]*\).*/\1/p' \
  "$FERRY_SRCDIR/include/ferry/event.h" | tr '[:upper:]' '[:lower:]' | sort \
  >"$tmp/events"
compare runtime/.libs/libferry.so "$tmp/events"

if [ -e "$FERRY_BUILDDIR/alloc/malloc/.libs/libferry-malloc.so" ]; then
  sed -n 's/^\.It Cm \([a-z_]*\).*/\1/p' "$FERRY_SRCDIR/doc/ferry-probes.7" |
    sort >"$tmp/malloc"
  compare alloc/malloc/.libs/libferry-malloc.so "$tmp/malloc"
  # System calls are not the business of an allocator that is linked.
  grep -v '^quiet_' "$tmp/malloc" >"$tmp/alloc"
  compare alloc/instance/.libs/libferry-alloc.so "$tmp/alloc"
fi
exit $status
