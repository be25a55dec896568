#!/bin/sh
# SPDX-License-Identifier: MIT
# One case of run.sh: both runs and what is compared.
#
# usage: case.sh BUILD-TREE LIBRARY CASE
#
# CASE is a program of this folder, or a script in cases/. A script with the
# line "# moves" must have had pages that went out and came back, by the
# statistics of its processes; the programs see to that themselves.
set -u

programs=$(cd "$(dirname "$0")" && pwd)
tree=$1
library=$2
name=$3
bin=$tree/tests/programs
work=$tree/tests/programs/runs/$name
limit=${FERRY_PROGRAMS_SECONDS:-600}
export programs bin

if [ -e "$programs/cases/$name.sh" ]; then
	script=$programs/cases/$name.sh
	command="sh $script"
else
	script=/dev/null
	command=$bin/$name
fi

setting()
{
	sed -e '/^#/d' -e "s|@STATS@|$work/stats|" "$programs/setting" |
		paste -s -d ,
}

required()
{
	case ,${FERRY_REQUIRE:-}, in
	*,"$1",*) return 0 ;;
	esac
	return 1
}

result()
{
	echo "$1 programs/$name: $2"
	shift 2
	[ $# -eq 0 ] || printf '     %s\n' "$@"
	# A process that outlives its case may still write its statistics.
	[ -n "${FERRY_PROGRAMS_KEEP:-}" ] || rm -rf "$work" 2> /dev/null
	exit 0
}

passed()
{
	result PASS '1 passed, 0 failed, 0 skipped'
}

# The folder stays, to be looked at.
failed()
{
	FERRY_PROGRAMS_KEEP=yes
	result FAIL '0 passed, 1 failed, 0 skipped' "FAIL $1" "see $work"
}

# skipped FEATURE: REASON
skipped()
{
	if required "${1%%:*}"; then
		failed "required here: $1"
	fi
	result SKIP '0 passed, 0 failed, 1 skipped' "SKIP $1"
}

# run HOW [NAME=VALUE...]: with these variables, in a folder that has the same
# name in both runs and is called HOW afterwards. No one but the case itself
# gets the preload.
run()
{
	how=$1
	shift
	mkdir -p "$work/folder"
	status=0
	# shellcheck disable=SC2086 # words of a command
	(cd "$work/folder" &&
		exec timeout -k 5 "$limit" env "$@" $command) \
		> "$work/$how.out" 2> "$work/$how.errors" < /dev/null ||
		status=$?
	echo "exit status $status" >> "$work/$how.out"
	mv "$work/folder" "$work/$how"
}

# Sum of a counter over the statistics of all processes.
counted()
{
	find "$work/stats" -type f -exec cat {} + |
		awk -v name="$1" '$1 == name { n += $2 } END { print n + 0 }'
}

compare()
{
	if [ "$(tail -n 1 "$work/preloaded.out")" = 'exit status 124' ]; then
		failed "hung: no end after $limit s"
	fi
	if ! cmp -s "$work/plain.out" "$work/preloaded.out"; then
		failed "output differs:
$(diff "$work/plain.out" "$work/preloaded.out" | head -n 20)
$(head -n 5 "$work/preloaded.errors")"
	fi
	if ! cmp -s "$work/plain.errors" "$work/preloaded.errors"; then
		failed "standard error differs:
$(diff "$work/plain.errors" "$work/preloaded.errors" | head -n 20)"
	fi
	said=$(find "$work/preloaded" -name '*.err' -type f \
		-exec grep -lE 'preload\.so|ferry-malloc|ferry:' {} +)
	[ -z "$said" ] || failed "words of the library in $said"
}

# A case in which nothing moved has shown nothing.
moved()
{
	[ -n "$cold" ] && grep -q '^# moves$' "$script" || return 0
	out=$(counted pages_out)
	back=$(counted pages_back)
	if [ "$out" -eq 0 ] || [ "$back" -eq 0 ]; then
		failed "pages out: $out, back: $back: nothing was shown"
	fi
}

rm -rf "$work"
mkdir -p "$work/stats"
chmod 1777 "$work/stats"
cold=${FERRY_PROGRAMS_COLD-1}
run plain
if [ "$status" -eq 77 ]; then
	skipped "$(sed -n 's/^SKIP //p' "$work/plain.out")"
fi
[ "$status" -eq 0 ] || failed "without the preload: status $status
$(tail -n 5 "$work/plain.errors")"
run preloaded LD_PRELOAD="$library" FERRY_MALLOC_CONF="$(setting)" \
	${cold:+PROGRAMS_COLD=1}
compare
moved
passed
