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
bad='had not their contents\|the heap was full\|it was ended\|it ended with\|Sanitizer'
unset FERRY_HEAP_CONF

# The last thing that was said.
last_line() {
  grep -v '^[[:space:]]*$' "$tmp/out" | tail -n 1
}

# run NAME OPTIONS: with the heap's options from the environment.
run() {
  if ! FERRY_HEAP_CONF=$2 "$bench" gc --quick --quick --live=2M \
    --workload="$workloads" --collector=ferry,ferry-stw --mutators=1,2 --volume=1M \
    >"$tmp/out" 2>&1; then
    echo "FAIL $1: it ended with an error: $(last_line)"
    failed=$((failed + 1))
  elif grep -q -e "$bad" "$tmp/out"; then
    echo "FAIL $1: $(grep -m 1 -e "$bad" "$tmp/out")"
    failed=$((failed + 1))
  else
    echo "ok $1"
    passed=$((passed + 1))
  fi
}

run workloads_are_right_as_they_are ''
run workloads_are_right_when_verified 'verify:yes'
run workloads_are_right_when_all_moves 'move-all:yes,verify:yes'
run workloads_are_right_when_the_dead_are_poisoned 'poison:yes'
run workloads_are_right_when_collected_all_the_time 'collect-every:2000'
run workloads_are_right_when_threads_are_delayed 'delay-seed:5'

echo "RESULT bench_gc.sh $passed $failed 0"
[ $failed -eq 0 ]
