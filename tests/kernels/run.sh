#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the programs of a build tree under the kernels of the matrix.
#
# usage: run.sh BUILD-TREE PROGRAM[,ARGUMENT]......
#
# Environment: FERRY_KERNEL_BOOTS, names of the boots to run (default: all);
# FERRY_KERNEL_CACHE, where kernels are kept (default: the work folder, below
# the build tree); FERRY_KERNEL_JOBS, boots at a time (default: one for every
# two processors, as each guest has two or more, at most 4);
# FERRY_REQUIRE with kernel-matrix in it: that a kernel cannot be had is a
# failure, not a skip.
set -eu

PATH=$PATH:/usr/sbin:/sbin # depmod, for users too
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$1" && pwd)
shift
work=$tree/tests/kernels/boots
cache=${FERRY_KERNEL_CACHE:-$work}
boots=${FERRY_KERNEL_BOOTS:-$(awk '$1 !~ /^#/ { print $1 }' "$here/matrix")}

# Prints why nothing can be booted here, if so.
obstacle()
{
	if [ "$(uname -m)" != x86_64 ]; then
		echo "the programs are built for $(uname -m), not x86_64"
		return
	fi
	for tool in qemu-system-x86_64 cpio depmod xz apt-get dpkg-deb; do
		if ! command -v $tool > /dev/null; then
			echo "there is no $tool here"
			return
		fi
	done
}

# A boot that cannot be: skipped with its reason, or failed where required.
cannot_boot()
{
	case ,${FERRY_REQUIRE:-}, in
	*,kernel-matrix,*)
		echo "FAIL $1/kernel: 0 passed, 1 failed, 0 skipped"
		echo "     FAIL required here: $2"
		;;
	*)
		echo "SKIP $1/kernel: 0 passed, 0 failed, 1 skipped"
		echo "     SKIP $2"
		;;
	esac
}

series_of()
{
	awk -v b="$1" '$1 == b { print $2 }' "$here/matrix"
}

# Makes WORK/SERIES ready; prints why not, if so.
prepare_series()
{
	status=0
	"$here/fetch.sh" "$1" "$cache/$1" || status=$?
	if [ $status -ne 0 ]; then
		# 75 has given its reason
		if [ $status -ne 75 ]; then
			echo "the package of $1 cannot be unpacked"
		fi
		return
	fi
	mkdir -p "$work/$1"
	if [ "$cache" != "$work" ]; then
		ln -sf "$cache/$1/vmlinuz" "$work/$1/vmlinuz"
	fi
	"$here/modules.sh" "$cache/$1" "$work/$1/modules.cpio"
}

# Prints the boots that can be; what cannot is said on standard error.
bootable()
{
	for boot in $boots; do
		series=$(series_of "$boot")
		reason=$(obstacle)
		if [ -z "$reason" ]; then
			reason=$(prepare_series "$series")
		fi
		if [ -n "$reason" ]; then
			cannot_boot "$boot" "$reason" >> "$work/results"
		else
			echo "$boot"
		fi
	done
}

parallel_boots()
{
	if [ -n "${FERRY_KERNEL_JOBS:-}" ]; then
		echo "$FERRY_KERNEL_JOBS"
	else
		nproc | awk '{ n = int($1 / 2)
			if (n > 4) n = 4; print n < 1 ? 1 : n }'
	fi
}

for boot in $boots; do
	if [ -z "$(series_of "$boot")" ]; then
		echo "run.sh: no boot $boot in the matrix" >&2
		exit 2
	fi
done
mkdir -p "$work"
: > "$work/results"
ready=$(bootable)
cat "$work/results"
if [ -n "$ready" ]; then
	"$here/pack.sh" "$tree" "$work/programs.cpio" \
		"$tree/tests/kernels/init" "$@"
	# Each boot prints its lines at once, when it has ended.
	# shellcheck disable=SC2016 # the inner shell expands it
	echo "$ready" | xargs -P "$(parallel_boots)" -I '{}' \
		sh -c 'out=$("$0" "$1" "$2"); printf "%s\n\n" "$out"' \
		"$here/boot.sh" "$work" '{}' | tee -a "$work/results"
fi
awk '/^(PASS|FAIL|SKIP) / { p += $3; f += $5; s += $7 }
END {
	printf "kernel matrix: %d passed, %d failed, %d skipped\n", p, f, s
	exit f > 0 || p + s == 0
}' "$work/results"
