#!/bin/sh
# SPDX-License-Identifier: MIT
# ferry-bench handover: every way is measured and verified, or left out with a
# reason; a wrong byte is noticed. Asserts no time.
set -u

bench=$FERRY_BUILDDIR/bench/ferry-bench
bad=$FERRY_BUILDDIR/tests/.libs/libbadvmread.so
ways='ferry-eager ferry-lazy ferry-copy hand-loop hand-map pipe vm-readv-warm
  vm-readv-new'
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "SKIP $1: $2"; }

# run OPTION...: the shortest; output in $tmp/out on one line.
run() {
  "$bench" handover --quick --quick "$@" >"$tmp/lines" 2>&1
  status=$?
  tr -s ' \n' '  ' <"$tmp/lines" >"$tmp/out"
  return $status
}

said() {
  grep -q -e "$1" "$tmp/out"
}

recorded() {
  grep -q "\"handover/$1\"" "$tmp/json"
}

run --size 4M,8M --json "$tmp/json"
status=$?
if [ $status -ne 0 ]; then
  fail all_ways_run "status $status: $(cat "$tmp/out")"
fi
for way in $ways; do
  if said "$way, 4k is left out: "; then
    skip "$way" "$(sed "s/.*$way, 4k is left out: \([^.]*\)\..*/\1/" \
      "$tmp/out")"
  elif recorded "4k/size=4M/way=$way/whole_s" &&
    recorded "4k/size=8M/way=$way/whole_s" &&
    ! said "$way, [4khuge]*: [0-9]* pages had not"; then
    ok "$way"
  else
    fail "$way" "$(cat "$tmp/out")"
  fi
done

for way in ferry-lazy hand-loop hand-map; do
  if said "$way, 4k is left out: "; then
    skip "$way-first" 'left out'
  elif recorded "4k/size=8M/way=$way/first_p50_us" &&
    recorded "4k/size=8M/way=$way/first_p99_us"; then
    ok "$way-first"
  else
    fail "$way-first" "$(cat "$tmp/out")"
  fi
done

if recorded 'huge/size=8M/way=pipe/whole_s' &&
  ! recorded 'huge/size=8M/way=hand-loop/whole_s'; then
  ok huge_pages_are_measured_apart
else
  fail huge_pages_are_measured_apart "$(cat "$tmp/out")"
fi

if grep -q '^#define FERRY_SANITIZE' "$FERRY_BUILDDIR/config.h"; then
  skip a_wrong_byte_fails_the_bench 'a sanitizer has to be loaded first'
elif run --size 2M --pages 4k --way vm-readv-warm && said 'is left out: '; then
  skip a_wrong_byte_fails_the_bench 'process_vm_readv: not permitted'
else
  LD_PRELOAD=$bad run --size 2M --pages 4k --way vm-readv-warm
  status=$?
  if [ $status -eq 1 ] && said 'warm, 4k: 1 pages had not their contents'; then
    ok a_wrong_byte_fails_the_bench
  else
    fail a_wrong_byte_fails_the_bench "status $status: $(cat "$tmp/out")"
  fi
fi

if run --size 1048576G --way pipe && said '1048576G are left out'; then
  ok what_does_not_fit_is_left_out
else
  fail what_does_not_fit_is_left_out "$(cat "$tmp/out")"
fi

refused() {
  "$bench" handover "$1" >"$tmp/out" 2>&1
  if [ $? -eq 2 ] && said "$2"; then
    ok "$3"
  else
    fail "$3" "$(cat "$tmp/out")"
  fi
}
refused --way=pipe,none 'way.*pipe,none' unknown_way_is_named
refused --pages=8k 'pages.*8k' unknown_pages_are_named
refused --size=5K 'multiples of 2M.*5K' odd_size_is_refused
refused --size=0 'multiples of 2M.*0' no_size_is_refused

echo "RESULT bench_handover.sh $passed $failed $skipped"
[ $failed -eq 0 ]
