#!/bin/sh
# SPDX-License-Identifier: MIT
# Packs the modules that the file `modules' names, and those they depend on,
# into an archive that an initramfs can be continued with.
#
# usage: modules.sh KERNEL-FOLDER OUT	(the folder that fetch.sh filled)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=$1
out=$2
stage=$out.tree
from=$folder/lib/modules/$(cat "$folder/release")

# Prints the files of the wanted modules in the order of loading. A line of
# modules.dep is "file: what it needs ...", the deepest need last.
order()
{
	awk '
	FNR == NR { if ($1 !~ /^#/) want[$1] = 1; next }
	{
		sub(/:/, "", $1)
		name = $1
		sub(/.*\//, "", name)
		sub(/\.ko.*/, "", name)
		if (!(name in want))
			next
		for (i = NF; i >= 1; i--)
			if (!seen[$i]++)
				print $i
	}' "$here/modules" "$from/modules.dep"
}

rm -rf "$stage"
mkdir -p "$stage/modules"
order | while read -r file; do
	name=$(basename "$file")
	case $name in
	*.xz) xz -dc "$from/$file" > "$stage/modules/${name%.xz}" ;;
	*.zst) zstd -qdc "$from/$file" > "$stage/modules/${name%.zst}" ;;
	*) cp "$from/$file" "$stage/modules/$name" ;;
	esac
	name=${name%.xz}
	echo "/modules/${name%.zst}" >> "$stage/modules/order"
done
(cd "$stage" && find . -mindepth 1 -print0 | sort -z |
	cpio --null --create --format=newc --owner=0:0 --quiet) > "$out"
rm -rf "$stage"
