#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs every subcommand of ferry-bench, briefly, and checks the form of what
# it leaves: JSON, plots, the report. Asserts no time.
set -u

bench=$FERRY_BUILDDIR/bench/ferry-bench
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "SKIP $1: $2"; }

# valid FILE PREFIX: is it a result file with names that begin so?
valid() {
  python3 - "$1" "$2" <<'PY'
import json, sys
with open(sys.argv[1]) as f:
    doc = json.load(f)
machine = doc["machine"]
for key in ("cpu", "kernel", "thp", "ferry", "commit", "date"):
    assert isinstance(machine[key], str), key
for key in ("cores", "memory_bytes", "page_size"):
    assert machine[key] > 0, key
assert doc["results"], "no results"
names, seen = set(), set()
for r in doc["results"]:
    assert (r["name"], r["unit"]) not in seen, "twice: " + r["name"]
    seen.add((r["name"], r["unit"]))
    names.add(r["name"])
    assert r["name"].startswith(sys.argv[2]), r["name"]
    assert isinstance(r["unit"], str) and r["unit"], r["name"]
    assert r["min"] <= r["value"] <= r["max"], r["name"]
for t in doc["targets"]:
    assert t["verdict"] in ("reached", "not reached", "not measured"), t
    assert (t["verdict"] == "not measured") or t["name"] in names, t
PY
}

# A small input for compact; the others take no operands.
head -c 33554432 /dev/urandom >"$tmp/input"
operands() {
  if [ "$1" = compact ]; then
    echo "$tmp/input"
  fi
}

subcommands=$("$bench" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p')
if [ -z "$subcommands" ]; then
  fail subcommands 'none listed by --help'
fi

for command in $subcommands; do
  if ! "$bench" "$command" --help >"$tmp/help" || ! [ -s "$tmp/help" ]; then
    fail "$command-help" 'no help'
  fi
  "$bench" "$command" --no-such-option >"$tmp/out" 2>"$tmp/err"
  if [ $? -ne 2 ] || ! grep -q -e --no-such-option "$tmp/err"; then
    fail "$command-usage" 'an unknown option is not refused by name'
  else
    ok "$command-usage"
  fi
  if [ "$command" = tour ]; then
    continue # runs all others: below
  fi
  # shellcheck disable=SC2046 # none or one word
  if ! "$bench" "$command" --quick --quick --json "$tmp/$command.json" \
    --plot "$tmp/plots" $(operands "$command") >"$tmp/out" 2>&1; then
    cat "$tmp/out"
    fail "$command-runs" 'exit status'
  elif ! command -v python3 >/dev/null; then
    skip "$command-json" 'python3: not installed, which reads the JSON'
  elif valid "$tmp/$command.json" "$command/"; then
    ok "$command-json"
  else
    fail "$command-json" 'not of the documented form'
  fi
done

"$bench" features --json - >"$tmp/stdout.json" 2>"$tmp/tables"
if [ "$(head -c 1 "$tmp/stdout.json")" = '{' ] && [ -s "$tmp/tables" ]; then
  ok json-to-standard-output
else
  fail json-to-standard-output 'tables and JSON are not kept apart'
fi

"$bench" gc --collector=none,nobody >"$tmp/out" 2>"$tmp/err"
if [ $? -eq 2 ] && grep -q 'collector.*nobody' "$tmp/err"; then
  ok unknown-collector-is-named
else
  fail unknown-collector-is-named "$(cat "$tmp/err")"
fi

head -c 5000 /dev/zero >"$tmp/tiny"
if "$bench" compact --quick --quick "$tmp/tiny" >"$tmp/out" 2>&1 &&
  grep -q 'too small' "$tmp/out"; then
  ok input-too-small-is-said
else
  fail input-too-small-is-said "$(tail -n 3 "$tmp/out")"
fi

"$bench" features --json "$tmp/no/such/file" >/dev/null 2>"$tmp/err"
if [ $? -eq 1 ] && grep -q "$tmp/no/such/file" "$tmp/err"; then
  ok unwritable-file-is-named
else
  fail unwritable-file-is-named "$(cat "$tmp/err")"
fi

if ! gnuplot --version >/dev/null 2>&1; then
  skip plots 'gnuplot: not installed'
elif ! command -v python3 >/dev/null; then
  skip plots 'python3: not installed, which reads the SVG'
elif python3 -c 'import sys, xml.dom.minidom as x
[x.parse(f) for f in sys.argv[1:]]' "$tmp"/plots/*.svg; then
  ok plots
else
  fail plots 'not well-formed'
fi

echo "RESULT bench_run $passed $failed $skipped"
[ $failed -eq 0 ]
