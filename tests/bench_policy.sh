#!/bin/sh
# SPDX-License-Identifier: MIT
# `ferry-bench policy`, small: every way sets the policy of every range, and
# nothing is left behind. Asserts no time.
set -u

bench=$FERRY_BUILDDIR/bench/ferry-bench
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "SKIP $1: $2"; }

# has NAME: is there a result of that name?
has() {
  grep -q "\"name\": \"$1\"" "$tmp/out.json"
}

if ! "$bench" policy --quick --quick --ranges 64 --idle-seconds 0 \
  --json "$tmp/out.json" >"$tmp/out" 2>&1; then
  fail small-run "$(tail -n 3 "$tmp/out")"
elif grep -q 'without NUMA' "$tmp/out"; then
  skip every-way 'numa_calls: this kernel was built without NUMA'
else
  missing=
  for way in mbind inside arena vector requests move_pages; do
    has "policy/ranges=64/$way" || missing="$missing $way"
  done
  if [ -z "$missing" ]; then
    ok every-way-sets-policies
  else
    fail every-way-sets-policies "no result:$missing: $(grep '\.$' "$tmp/out")"
  fi
  if grep -q 'are hidden here' "$tmp/out"; then
    skip physical-addresses 'sys_admin: physical addresses are hidden'
  elif has policy/phys/ranges=64/inside && has policy/phys/ranges=64/agent &&
    has policy/inversion/4k && has policy/inversion/huge; then
    ok pages-are-found-by-physical-address
  else
    fail pages-are-found-by-physical-address "$(tail -n 20 "$tmp/out")"
  fi
fi

for bad in 0 30001; do
  "$bench" policy --ranges $bad >"$tmp/out" 2>"$tmp/err"
  if [ $? -eq 2 ] && grep -q -e --ranges "$tmp/err"; then
    ok "ranges-$bad-are-refused"
  else
    fail "ranges-$bad-are-refused" "$(cat "$tmp/err")"
  fi
done

echo "RESULT bench_policy $passed $failed $skipped"
[ $failed -eq 0 ]
