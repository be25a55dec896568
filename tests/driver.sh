#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs one test program for `make check': prints its result with every skip
# and failure, and counts each test of the program, not the program, in the
# summary at the end. Called as automake's manual, Custom Test Drivers, says.
set -u

test_name=
log_file=
trs_file=
expect_failure=no
while [ $# -gt 0 ]; do
  case $1 in
    --test-name) test_name=$2; shift ;;
    --log-file) log_file=$2; shift ;;
    --trs-file) trs_file=$2; shift ;;
    --expect-failure) expect_failure=$2; shift ;;
    --color-tests | --enable-hard-errors | --collect-skipped-logs) shift ;;
    --) shift; break ;;
    *) break ;;
  esac
  shift
done

"$@" >"$log_file" 2>&1 </dev/null
status=$?

# A program that died, or that is no test of ours, says no RESULT.
result=$(sed -n 's/^RESULT [^ ]* //p' "$log_file" | tail -n 1)
if [ -z "$result" ]; then
  case $status in
    0) result='1 0 0' ;;
    77) result='0 0 1' ;;
    *) result='0 1 0' ;;
  esac
  echo "RESULT ${test_name##*/} $result" >>"$log_file"
fi
# shellcheck disable=SC2086 # three words
set -- $result
passed=$1 failed=$2 skipped=$3
if [ "$failed" -eq 0 ] && [ $status -ne 0 ] && [ $status -ne 77 ]; then
  failed=1 # such as a sanitizer's report after the last test
fi

word=PASS
[ "$passed" -gt 0 ] || word=SKIP
[ "$failed" -eq 0 ] || word=FAIL
if [ "$expect_failure" = yes ]; then
  case $word in FAIL) word=XFAIL failed=0 ;; PASS) word=XPASS ;; esac
fi

printf '%s %s: %s passed, %s failed, %s skipped\n' \
  "$word" "$test_name" "$passed" "$failed" "$skipped"
sed -n 's/^\(FAIL\|SKIP\) /     &/p' "$log_file"
if [ $word = FAIL ]; then
  echo "     exit status $status; the whole log is $log_file"
fi

{
  for kind in PASS:$passed FAIL:$failed SKIP:$skipped; do
    n=${kind#*:}
    while [ "$n" -gt 0 ]; do
      echo ":test-result: ${kind%:*}"
      n=$((n - 1))
    done
  done
  echo ":global-test-result: $word"
  echo ":recheck: $([ $word = FAIL ] && echo yes || echo no)"
  echo ":copy-in-global-log: $([ $word = FAIL ] && echo yes || echo no)"
} >"$trs_file"
