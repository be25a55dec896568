#!/bin/sh
# SPDX-License-Identifier: MIT
# Every workload of `ferry-bench gc`, small, with one and two threads, in both
# modes of the heap: verified after each collection, and under each mode of
# stress. A workload checks its objects itself. Asserts no time.
set -u

bench=$FERRY_BUILDDIR/bench/ferry-bench
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

workloads=gcbench,binary-trees,oldmut,fragment,chain,leaf
# What it says of a run that has no result; some of these are no error to it.
bad='had not their contents\| MiB live: \|Sanitizer'
unset FERRY_HEAP_CONF

# try OPTIONS: all of them, with the heap's options from the environment. False
# and $why if something is wrong.
try() {
  FERRY_HEAP_CONF=$1 "$bench" gc --quick --quick --live=2M \
    --workload="$workloads" --collector=ferry,ferry-stw --mutators=1,2 --volume=1M \
    >"$tmp/out" 2>&1
  status=$?
  why=$(grep -m 1 -e "$bad" "$tmp/out") && return 1
  why=$(grep -v '^[[:space:]]*$' "$tmp/out" | tail -n 1)
  return $status
}

ok() {
  echo "ok $1"
  passed=$((passed + 1))
}

fail() {
  echo "FAIL $1: $2"
  failed=$((failed + 1))
}

run() {
  if try "$2"; then
    ok "$1"
  else
    fail "$1" "$why"
  fi
}

# No heap can be made with these.
if try 'no-such-key:1'; then
  fail workloads_that_cannot_run_are_noticed "$why"
else
  ok workloads_that_cannot_run_are_noticed
fi
run workloads_are_right_as_they_are ''
run workloads_are_right_when_verified 'verify:yes'
run workloads_are_right_when_all_moves 'move-all:yes,verify:yes'
run workloads_are_right_when_the_dead_are_poisoned 'poison:yes'
run workloads_are_right_when_collected_all_the_time 'collect-every:2000'
run workloads_are_right_when_threads_are_delayed 'delay-seed:5'

echo "RESULT bench_gc.sh $passed $failed 0"
[ $failed -eq 0 ]
