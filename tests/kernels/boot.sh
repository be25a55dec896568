#!/bin/sh
# SPDX-License-Identifier: MIT
# Boots one kernel of the matrix under emulation and prints its results.
#
# usage: boot.sh WORK BOOT	(a name in the file `matrix')
#
# Exit status 0 even when tests fail: the caller reads the results.
# WORK is the folder that run.sh prepared: programs.cpio and, per series, a
# folder with the kernel. The guest's serial lines are kept in WORK/BOOT/.
# Environment: FERRY_KERNEL_SECONDS, limit of the whole boot (default 1500);
# FERRY_KERNEL_QEMU, more options of qemu ("-s -S" waits for a debugger);
# FERRY_KERNEL_ALL, run all programs that are packed, whatever the matrix says;
# FERRY_TEST_SCALE and FERRY_TEST_SEED are handed to the tests.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=$1
boot=$2
seconds=${FERRY_KERNEL_SECONDS:-1500}
log=$work/$boot
node_mib=768

# Sets series, nodes, features and programs from the boot's line of the matrix.
read_matrix()
{
	# shellcheck disable=SC2046 # split on purpose
	set -- $(awk -v b="$boot" '$1 == b' "$here/matrix")
	if [ $# -ne 5 ]; then
		echo "boot.sh: no boot $boot in the matrix" >&2
		exit 2
	fi
	series=$2
	nodes=$3
	features=$(awk -v s="$series" -v list="$4" '
		$1 == s && $2 == "features" {
			for (i = 3; i <= NF; i++)
				list = list "," $i
		}
		END { print list }' "$here/series")
	programs=
	if [ "$5" != all ] && [ -z "${FERRY_KERNEL_ALL:-}" ]; then
		programs=$(grep -v '^#' "$here/$5" | paste -s -d , -)
	fi
}

# Prints qemu's options for the topology, one word each: "2+0" is two CPUs on
# node 0 and none on node 1.
topology()
{
	echo "$nodes" | awk -v mib=$node_mib '{
		n = split($0, cpus, "+")
		for (i = 1; i <= n; i++) {
			print "-object"
			printf "memory-backend-ram,id=m%d,size=%dM\n",
				i - 1, mib
			print "-numa"
			printf "node,nodeid=%d,memdev=m%d", i - 1, i - 1
			if (cpus[i] == 1)
				printf ",cpus=%d", first
			else if (cpus[i] > 1)
				printf ",cpus=%d-%d", first,
					first + cpus[i] - 1
			print ""
			first += cpus[i]
		}
		print "-smp"
		# Sockets: CPUs of one socket on two nodes make no sense.
		printf "%d,sockets=%d\n", first, first
		print "-m"
		printf "%dM\n", n * mib
	}'
}

# NAME=VALUE words of the kernel's command line become init's environment.
# Mitigations are off: they cost emulation much and are not under test. The
# emulated time stamp counter is one for all CPUs, which the kernel doubts;
# the clock it would fall back to is emulated at a hundred times the price.
command_line()
{
	printf '%s' "console=ttyS0 panic=-1 oops=panic mitigations=off"
	printf ' %s' tsc=reliable
	# Before 6.5 memfd_secret has to be asked for.
	printf ' %s' secretmem.enable=1
	# Some kernels keep no stall times unless asked to.
	printf ' %s' psi=1
	# Of the first node's memory a piece is persistent, as far as the
	# kernel knows. A test may format it.
	printf ' %s' 'memmap=32M!512M' FERRY_TEST_PMEM=/dev/pmem0
	printf ' %s' "FERRY_NODES=$nodes" "FERRY_REQUIRE=$features" \
		"FERRY_TEST_SCALE=${FERRY_TEST_SCALE:-8}"
	if [ -n "$programs" ]; then
		printf ' %s' "FERRY_PROGRAMS=$programs"
	fi
	if [ -n "${FERRY_TEST_SEED:-}" ]; then
		printf ' %s' "FERRY_TEST_SEED=$FERRY_TEST_SEED"
	fi
}

# Five-level page tables only make each emulated walk longer. String stores are
# emulated byte by byte: a huge page cleared by one has stopped a CPU for 78 s.
emulate()
{
	# shellcheck disable=SC2046,SC2086 # split on purpose
	timeout -k 5 "$seconds" qemu-system-x86_64 \
		-accel tcg,thread=multi -machine q35 -cpu max,la57=off,-erms,-fsrm \
		-nodefaults -no-user-config -display none -no-reboot \
		$(topology) -kernel "$work/$series/vmlinuz" \
		-initrd "$log/initramfs" -append "$(command_line)" \
		-serial "file:$log/kernel.log" \
		-serial "file:$log/report.log" \
		${FERRY_KERNEL_QEMU:-} > "$log/qemu.log" 2>&1
}

show_tail()
{
	echo "--- the end of $1:"
	tail -n 25 "$1" | tr -d '\r'
}

read_matrix
mkdir -p "$log"
: > "$log/kernel.log"
: > "$log/report.log"
cat "$work/programs.cpio" "$work/$series/modules.cpio" > "$log/initramfs"
start=$(date +%s)
status=0
emulate || status=$?
end=$(date +%s)
rm -f "$log/initramfs"
awk -v boot="$boot" -v status="$status" -v limit="$seconds" \
	-f "$here/report.awk" "$log/report.log" "$log/kernel.log" \
	> "$log/results"
echo ", $((end - start)) s" >> "$log/results"
cat "$log/results"
if grep -q "^FAIL $boot/kernel" "$log/results"; then
	show_tail "$log/qemu.log"
	show_tail "$log/kernel.log"
	show_tail "$log/report.log"
fi
