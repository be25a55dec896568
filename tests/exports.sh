#!/bin/sh
# SPDX-License-Identifier: MIT
# The exported names are those that the public headers declare and ferry.map
# lists: no more, no fewer.
set -u

map=$FERRY_SRCDIR/runtime/ferry.map
library=$FERRY_BUILDDIR/runtime/.libs/libferry.so
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# Declarations carry FERRY_EXPORT; they may go over several lines. Those of
# malloc.h are of another library (malloc_exports.sh).
find "$FERRY_SRCDIR"/include/ferry -name '*.h' ! -name malloc.h -exec cat {} + |
  grep -v '^#' | tr '\n' ' ' |
  sed 's|/\*|\n&|g; s|\*/|&\n|g' | grep -v '^/\*' | tr ';{}' '[\n*]' |
  sed -n 's/.*FERRY_EXPORT[^(]*[ *]\(ferry_[a-z0-9_]*\)(.*/\1/p' |
  sort -u >"$tmp/declared"
sed -n 's/^[[:blank:]]*\(ferry_[a-z0-9_]*\);.*/\1/p' "$map" | sort \
  >"$tmp/mapped"
# shellcheck disable=SC2086 # libtool's NM has an option
${NM:-nm} -D --defined-only "$library" |
  sed -n 's/.* [TBDRVW] \([^@ ]*\).*/\1/p' | sort -u >"$tmp/exported"

status=0
# differ TITLE A B: names in A that are not in B.
differ() {
  names=$(comm -23 "$tmp/$2" "$tmp/$3" | tr '\n' ' ')
  if [ -n "$names" ]; then
    echo "FAIL exports: $1: $names"
    status=1
  fi
}
differ 'declared but not in ferry.map' declared mapped
differ 'in ferry.map but not declared' mapped declared
differ 'in ferry.map but not defined' mapped exported
differ 'exported but not in ferry.map' exported mapped
repeated=$(uniq -d "$tmp/mapped" | tr '\n' ' ')
if [ -n "$repeated" ]; then
  echo "FAIL exports: twice in ferry.map: $repeated"
  status=1
fi
if [ ! -s "$tmp/declared" ] || [ ! -s "$tmp/exported" ]; then
  echo "FAIL exports: no names found: this check is broken"
  status=1
fi
echo "$(wc -l <"$tmp/exported") names exported"
exit $status
