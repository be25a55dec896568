#!/bin/sh
# SPDX-License-Identifier: MIT
# Packs the programs of a build tree, the system's programs that the file
# `tools' names, and the libraries of both into an initramfs for the kernel
# matrix.
#
# usage: pack.sh BUILD-TREE OUT INIT PROGRAM[,ARGUMENT]......
#
# INIT is a static program that becomes /init; a PROGRAM is a path below
# BUILD-TREE and becomes /ferry/PROGRAM. Environment: FERRY_PROGRAM_SECONDS,
# the time limit of each (default 300, of the guest's clock). Programs in the
# file `slow' do less, as it says.
# LIBTOOL (default: the build tree's) finds what a libtool wrapper stands for.
set -eu

PATH=$PATH:/usr/sbin:/sbin # mkswap, for users too
here=$(cd "$(dirname "$0")" && pwd)
tree=$1
out=$2
init=$3
shift 3
libtool=${LIBTOOL:-$tree/libtool}
stage=$out.tree

# Prints the program that PROGRAM is or wraps.
real()
{
	$libtool --mode=execute echo "$1"
}

# Prints the shared libraries of a program, its loader among them.
libraries()
{
	$libtool --mode=execute ldd "$1" 2>/dev/null |
		awk '$2 == "=>" && $3 ~ /^\// { print $3; next }
			$1 ~ /^\// { print $1 }'
}

# Debug information would only make the guest unpack more.
add_stripped()
{
	mkdir -p "$(dirname "$2")"
	if ! strip --strip-debug -o "$2" "$1" 2>/dev/null; then
		cp -L "$1" "$2"
	fi
	chmod 755 "$2"
}

add_library()
{
	case $1 in
	*/ld-linux*) to=$stage$1 ;;
	*) to=$stage/lib/$(basename "$1") ;;
	esac
	if [ ! -e "$to" ]; then
		add_stripped "$1" "$to"
	fi
}

add_program()
{
	add_stripped "$(real "$1")" "$2"
	for library in $(libraries "$1"); do
		add_library "$library"
	done
}

# Prints where a program of the system is, also of one that is a word of sh.
find_tool()
{
	echo "$PATH" | tr : '\n' | while read -r folder; do
		if [ -x "$folder/$1" ]; then
			echo "$folder/$1"
			break
		fi
	done
}

rm -rf "$stage"
mkdir -p "$stage/bin" "$stage/lib" "$stage/ferry"
cp "$init" "$stage/init"
for entry in "$@"; do
	program=${entry%%,*}
	add_program "$tree/$program" "$stage/ferry/$program"
	name=$(basename "$program")
	slow=$(awk -v name="$name" '$1 == name { print $2 }' "$here/slow")
	echo "${FERRY_PROGRAM_SECONDS:-600} ${slow:-1}" \
		"$(echo "$entry" | tr , ' ')" >> "$stage/ferry/programs"
done
grep -v '^#' "$here/tools" | while read -r name; do
	tool=$(find_tool "$name")
	# What is not here is not there: tests that want it skip.
	if [ -n "$tool" ]; then
		add_program "$tool" "$stage/bin/$name"
	fi
done
# Loaded by name and not linked: thread cancellation needs it.
unwinder=$(${CC:-cc} -print-file-name=libgcc_s.so.1)
if [ -e "$unwinder" ]; then
	add_library "$unwinder"
fi
(cd "$stage" && find . -print0 | sort -z |
	cpio --null --create --format=newc --owner=0:0 --quiet) > "$out"
rm -rf "$stage"
