#!/bin/sh
# SPDX-License-Identifier: MIT
# Every exported name has a man page or is named in one, every page is clean
# by mandoc, and every page that a page refers to exists.
#
# Environment: MANDOC.
set -u

doc=$FERRY_SRCDIR/doc
status=0
fail() {
  echo "FAIL manpages: $*"
  status=1
}

names=$(sed -n 's/^[[:blank:]]*\(ferry_[a-z0-9_]*\);.*/\1/p' \
  "$FERRY_SRCDIR/runtime/ferry.map" "$FERRY_SRCDIR/alloc/instance/alloc.map")
for name in $names; do
  [ -e "$doc/$name.3" ] || grep -qw "$name" "$doc"/*.3 2>/dev/null ||
    fail "no page names $name"
done

for page in "$doc"/*.[1-8]; do
  [ -e "$page" ] || continue
  # What pages say of other pages of ours: ferry_move(3).
  refs=$(sed -n 's/^\.Xr \(ferry[a-z0-9_-]*\) \([1-8]\).*/\1.\2/p' "$page")
  for ref in $refs; do
    [ -e "$doc/$ref" ] || fail "${page##*/} refers to $ref, which is not there"
  done
  if command -v "${MANDOC:-mandoc}" >/dev/null; then
    lint=$("${MANDOC:-mandoc}" -T lint -W warning "$page") ||
      fail "mandoc: $lint"
  fi
done
command -v "${MANDOC:-mandoc}" >/dev/null ||
  echo "SKIP manpages: no mandoc here to check their form"
exit $status
