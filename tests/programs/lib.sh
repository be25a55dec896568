# SPDX-License-Identifier: MIT
# For the cases of this folder: each begins with `. "$programs/lib.sh"'.
# shellcheck shell=sh
#
# $programs is this folder, $bin where its programs are built. The working
# folder is empty, and the case's own.
set -eu
LC_ALL=C.UTF-8 TZ=UTC
export LC_ALL TZ

# Ends the case: it can show nothing here, for want of FEATURE.
skip()
{
	feature=$1
	shift
	echo "SKIP $feature: $*"
	exit 77
}

# Programs that the check as a whole needs.
need()
{
	for tool; do
		if ! command -v "$tool" > /dev/null; then
			skip programs "there is no $tool here"
		fi
	done
}

# Programs that are tried where they are installed.
want()
{
	for tool; do
		if ! command -v "$tool" > /dev/null; then
			skip more-programs "there is no $tool here"
		fi
	done
}

# Long enough for what is not touched to go out.
rest()
{
	sleep "${1:-0.4}"
}

# Waits until a command succeeds. The limit of the case is the only clock.
until_true()
{
	until "$@" > /dev/null 2>&1; do
		sleep 0.1
	done
}

# A few MiB of text, the same every time: LINES.
text()
{
	awk -v n="$1" 'BEGIN {
		x = 1
		for (i = 0; i < n; i++) {
			x = (x * 1103515 + 12345) % 2147483647
			printf "%d line %d of the text, key %x\n", x, i, x * 31
		}
	}'
}
