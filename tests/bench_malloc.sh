#!/bin/sh
# SPDX-License-Identifier: MIT
# ferry-bench malloc and offload: what they measure is verified, allocators
# that are not there are left out with a reason, nobody is measured under
# another's name. Asserts no time.
set -u

bench=$FERRY_BUILDDIR/bench/ferry-bench
bad=$FERRY_BUILDDIR/tests/.libs/libbadmalloc.so
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "SKIP $1: $2"; }

# run OPTION...: the shortest; output in $tmp/out on one line.
run() {
  "$bench" "$@" --quick --quick >"$tmp/lines" 2>&1
  status=$?
  tr -s ' \n' '  ' <"$tmp/lines" >"$tmp/out"
  return $status
}

said() {
  grep -q -e "$1" "$tmp/out"
}

if run malloc --allocator=glibc --workload=churn,queue,threads,realloc &&
  ! said 'had not their contents'; then
  ok a_right_malloc_passes
else
  fail a_right_malloc_passes "$(cat "$tmp/out")"
fi

run malloc --library=bad="$bad" --allocator=bad,glibc --workload=churn
status=$?
if said 'built with a sanitizer'; then
  skip a_wrong_byte_fails_the_bench 'the sanitizer has a malloc of its own'
elif [ $status -eq 1 ] && said 'churn, bad: [0-9]* blocks had not their'; then
  ok a_wrong_byte_fails_the_bench
else
  fail a_wrong_byte_fails_the_bench "status $status: $(cat "$tmp/out")"
fi

if run malloc --library=jemalloc=/no/such.so --workload=start &&
  said 'jemalloc is left out: '; then
  ok what_cannot_be_preloaded_is_left_out
else
  fail what_cannot_be_preloaded_is_left_out "$(cat "$tmp/out")"
fi

run malloc --allocator=ferry,jemalloc,glibc --workload=heap
status=$?
if said 'ferry is left out: '; then
  skip heaps_are_measured_where_there_are_any 'there is no ferry here'
elif [ $status -eq 0 ] && said 'heap: .* ferry [0-9.]* [0-9.]* [0-9.]* ' &&
  ! said 'glibc [0-9.]* [0-9.]* [0-9.]* ' && ! said 'had not their'; then
  ok heaps_are_measured_where_there_are_any
else
  fail heaps_are_measured_where_there_are_any "status $status: $(cat "$tmp/out")"
fi

run offload --library=glibc="$bad" --allocator=glibc --part=fork
status=$?
if said 'built with a sanitizer'; then
  skip a_wrong_byte_fails_offload 'the sanitizer has a malloc of its own'
elif [ $status -eq 1 ] && said 'fork, glibc: [0-9]* values had not their'; then
  ok a_wrong_byte_fails_offload
else
  fail a_wrong_byte_fails_offload "status $status: $(cat "$tmp/out")"
fi

if run offload --allocator=glibc --part=idle,fork &&
  said 'glibc [0-9.]* [0-9.]* [0-9.]* [0-9.]* [0-9.]*' &&
  ! said 'had not their contents'; then
  ok offload_runs_without_ferry
else
  fail offload_runs_without_ferry "$(cat "$tmp/out")"
fi

refused() {
  "$bench" "$4" "$1" >"$tmp/out" 2>&1
  if [ $? -eq 2 ] && said "$2"; then
    ok "$3"
  else
    fail "$3" "$(cat "$tmp/out")"
  fi
}
refused --allocator=nobody 'allocator.*nobody' unknown_allocator_is_named malloc
refused --library=nothing 'NAME=FILE.*nothing' library_without_name_is_refused \
  malloc
refused --workload=none 'workload.*none' unknown_workload_is_named malloc
refused --part=none 'part.*none' unknown_part_is_named offload

echo "RESULT bench_malloc.sh $passed $failed $skipped"
[ $failed -eq 0 ]
