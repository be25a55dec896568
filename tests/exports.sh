#!/bin/sh
# SPDX-License-Identifier: MIT
# The exported names of a library are those that its public headers declare and
# its map lists: no more, no fewer.
set -u

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
status=0

# differ MAP TITLE A B: names in A that are not in B.
differ() {
  names=$(comm -23 "$tmp/$3" "$tmp/$4" | tr '\n' ' ')
  if [ -n "$names" ]; then
    echo "FAIL exports: $1: $2: $names"
    status=1
  fi
}

# compare MAP LIBRARY HEADER...
compare() {
  map=$1
  library=$FERRY_BUILDDIR/$2
  shift 2
  # Declarations carry FERRY_EXPORT; they may go over several lines.
  cat "$@" | grep -v '^#' | tr '\n' ' ' |
    sed 's|/\*|\n&|g; s|\*/|&\n|g' | grep -v '^/\*' | tr ';{}' '[\n*]' |
    sed -n 's/.*FERRY_EXPORT[^(]*[ *]\(ferry_[a-z0-9_]*\)(.*/\1/p' |
    sort -u >"$tmp/declared"
  sed -n 's/^[[:blank:]]*\(ferry_[a-z0-9_]*\);.*/\1/p' \
    "$FERRY_SRCDIR/$map" | sort >"$tmp/mapped"
  # shellcheck disable=SC2086 # libtool's NM has an option
  ${NM:-nm} -D --defined-only "$library" |
    sed -n 's/.* [TBDRVW] \([^@ ]*\).*/\1/p' | sort -u >"$tmp/exported"
  differ "$map" 'declared but not listed' declared mapped
  differ "$map" 'listed but not declared' mapped declared
  differ "$map" 'listed but not defined' mapped exported
  differ "$map" 'exported but not listed' exported mapped
  repeated=$(uniq -d "$tmp/mapped" | tr '\n' ' ')
  if [ -n "$repeated" ]; then
    echo "FAIL exports: $map: twice: $repeated"
    status=1
  fi
  if [ ! -s "$tmp/declared" ] || [ ! -s "$tmp/exported" ]; then
    echo "FAIL exports: $map: no names found: this check is broken"
    status=1
  fi
  echo "$map: $(wc -l <"$tmp/exported") names exported"
}

# What belongs to a library of its own is declared in headers of its own.
include=$FERRY_SRCDIR/include/ferry
others=
for header in "$include"/*.h; do
  case $header in
    */alloc.h | */malloc.h) ;;
    *) others="$others $header" ;;
  esac
done
# shellcheck disable=SC2086 # a list of words
compare runtime/ferry.map runtime/.libs/libferry.so $others
if [ -e "$FERRY_BUILDDIR/alloc/instance/.libs/libferry-alloc.so" ]; then
  # With the words for the reasons that its calls give.
  grep -A 1 FERRY_EXPORT "$include/base.h" >"$tmp/base.h"
  compare alloc/instance/alloc.map alloc/instance/.libs/libferry-alloc.so \
    "$include/alloc.h" "$tmp/base.h"
else
  echo "libferry-alloc.so is not built"
fi
exit $status
