#!/bin/sh
# SPDX-License-Identifier: MIT
# Puts the newest Debian cloud kernel of a series into a folder.
#
# usage: fetch.sh SERIES FOLDER
#
# The package is found by name pattern: in the system's own package lists,
# else in private lists of the system's sources and, on the same mirrors, of
# the suites that the file `series' names. Nothing of the system is changed
# and root is not needed. Leaves FOLDER/vmlinuz, FOLDER/release and
# FOLDER/lib/modules; a folder that is complete is left as it is. Exit status
# 75 and a reason on standard output: there is no such package to be had.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
series=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
private=$folder/apt

unavailable()
{
	echo "$*"
	exit 75
}

# Options that give apt its own lists and sources and leave the rest alone.
private_apt()
{
	tool=$1
	shift
	"$tool" -o Dir::Etc::SourceList="$private/sources.list" \
		-o Dir::Etc::SourceParts=- \
		-o Dir::State::Lists="$private/lists" \
		-o Dir::Cache="$private/cache" \
		-o APT::Sandbox::User="$(id -un)" \
		-o Acquire::Retries=2 \
		-o Acquire::http::Timeout=30 "$@"
}

system_apt()
{
	tool=$1
	shift
	"$tool" -o APT::Sandbox::User="$(id -un)" "$@"
}

# Prints the newest package of the series that "$1" (an apt) knows.
newest()
{
	pattern="^linux-image-$(echo "$series" | sed 's/\./\\./g')[.-]"
	"$1" apt-cache pkgnames "linux-image-$series" 2>/dev/null |
		grep "$pattern.*cloud-amd64\$" | sort -V | tail -n 1
}

# The suites of the series, at every mirror that the system's sources name.
# Mirrors that do not carry a suite only make apt-get update complain.
write_sources()
{
	suites=$(awk -v s="$series" '$1 == s && $2 == "suites" {
			$1 = $2 = ""
			print
		}' "$here/series")
	keys=/usr/share/keyrings/debian-archive-keyring.gpg
	signed=
	if [ -r "$keys" ]; then
		signed="[signed-by=$keys] "
	fi
	# shellcheck disable=SC2016 # apt expands these
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
		sort -u | while read -r mirror; do
		for suite in $suites; do
			echo "deb $signed$mirror $suite main"
		done
	done
}

use_system()
{
	apt=system_apt
	package=$(newest $apt)
}

use_private()
{
	mkdir -p "$private/lists/partial" "$private/cache/archives/partial"
	write_sources > "$private/sources.list"
	private_apt apt-get update > "$private/update.log" 2>&1 || true
	apt=private_apt
	package=$(newest $apt)
}

download()
{
	rm -f "$folder"/*.deb
	(cd "$folder" && $apt apt-get download "$package") \
		> "$folder/download.log" 2>&1
}

unpack()
{
	rm -rf "$folder/tree"
	mkdir "$folder/tree"
	dpkg-deb --fsys-tarfile "$folder"/*.deb |
		tar -x -C "$folder/tree" --wildcards './boot/vmlinuz-*' \
			'*/lib/modules/*'
	modules=$(find "$folder/tree" -type d -path '*/lib/modules' | head -n 1)
	release=$(ls "$modules")
	rm -rf "${folder:?}/lib"
	mkdir -p "$folder/lib"
	mv "$modules" "$folder/lib/modules"
	mv "$folder/tree/boot/vmlinuz-$release" "$folder/vmlinuz"
	rm -rf "$folder/tree"
	rm -rf "$private"
	depmod -b "$folder" "$release"
	rm -f "$folder"/*.deb
	# Written last: it says that the folder is complete.
	echo "$release" > "$folder/release"
}

if [ -s "$folder/release" ]; then
	exit 0
fi
use_system
# Lists that were fetched long ago name packages that are gone.
if [ -z "$package" ] || ! download; then
	use_private
	if [ -z "$package" ]; then
		unavailable "apt offers no linux-image-$series*-cloud-amd64" \
			"(see $private/update.log)"
	fi
	if ! download; then
		unavailable "$package cannot be downloaded:" \
			"$(tail -n 1 "$folder/download.log")"
	fi
fi
unpack
