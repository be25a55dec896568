#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs real programs with and without the preload, and compares.
#
# usage: run.sh BUILD-TREE [CASE...]
#
# Environment: FERRY_PROGRAMS_JOBS, cases at a time (default: processors, at
# most 4); FERRY_PROGRAMS_LIBRARY, another library to preload;
# FERRY_PROGRAMS_SECONDS, the only limit of a run of a case (default: 600);
# FERRY_PROGRAMS_KEEP, not empty: what cases wrote stays;
# FERRY_PROGRAMS_COLD=: do not ask for pages that went out;
# FERRY_REQUIRE: features whose lack is a failure and not a skip.
# Prints the lines that tests/driver.sh prints, and a sum.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$1" && pwd)
shift
work=$tree/tests/programs/runs
library=${FERRY_PROGRAMS_LIBRARY:-$tree/alloc/malloc/.libs/libferry-malloc.so}

if [ ! -e "$library" ]; then
	echo "run.sh: there is no $library" >&2
	exit 2
fi
[ $# -gt 0 ] || {
	echo "run.sh: no cases" >&2
	exit 2
}

jobs()
{
	if [ -n "${FERRY_PROGRAMS_JOBS:-}" ]; then
		echo "$FERRY_PROGRAMS_JOBS"
	else
		getconf _NPROCESSORS_ONLN | awk '{ print ($1 > 4 ? 4 : $1) }'
	fi
}

# Whether pages can go out here: asked of another program than the one that is
# looked at.
features()
{
	"$tree/bench/ferry-bench" features | awk '
		$1 == "kernel-faults" || $1 == "move-works" { n += $2 == "yes" }
		END { exit n != 2 }'
}

rm -rf "$work"
mkdir -p "$work"
if [ -z "${FERRY_PROGRAMS_COLD-1}" ]; then
	echo 'Pages need not go out, as was asked for.'
elif ! features; then
	case ,${FERRY_REQUIRE:-}, in
	*,kernel_faults,*)
		echo 'run.sh: pages cannot go out here' >&2
		exit 1
		;;
	esac
	echo 'Pages cannot go out here: kernel-faults and move are needed.'
	FERRY_PROGRAMS_COLD=
	export FERRY_PROGRAMS_COLD
fi
# Where every user can read it.
shared=$(mktemp -d "${TMPDIR:-/tmp}/ferry-programs.XXXXXX")
trap 'rm -rf "$shared"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$shared"
cp "$library" "$shared/preload.so"
chmod 644 "$shared/preload.so"

# Each case prints its lines at once, when it has ended.
# shellcheck disable=SC2016 # the inner shell expands it
printf '%s\n' "$@" | xargs -P "$(jobs)" -I '{}' \
	sh -c 'out=$(sh "$0" "$1" "$2" "$3"); printf "%s\n" "$out"' \
	"$here/case.sh" "$tree" "$shared/preload.so" '{}' |
	tee "$work/results"
awk '/^(PASS|FAIL|SKIP) / { p += $3; f += $5; s += $7; n++ }
END {
	printf "programs: %d passed, %d failed, %d skipped\n", p, f, s
	exit f > 0 || n == 0
}' "$work/results"
