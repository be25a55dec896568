#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the examples against what is installed, and nothing else, as a user
# would; runs them and the installed programs.
#
# usage: installcheck.sh EXAMPLE.c...   Environment: CC, DESTDIR, bindir,
# pkgconfigdir, ALLOC_EXAMPLE (a program over libferry-alloc, or nothing).
set -eu
: "${CC:=cc}" "${bindir:?}" "${pkgconfigdir:?}"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
PKG_CONFIG_PATH=${DESTDIR:-}$pkgconfigdir${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
if [ -n "${DESTDIR:-}" ]; then
  PKG_CONFIG_SYSROOT_DIR=$DESTDIR
  export PKG_CONFIG_SYSROOT_DIR
fi

pkg-config --validate ferry
libdir=$(pkg-config --variable=libdir ferry)
LD_LIBRARY_PATH=${DESTDIR:-}$libdir
export LD_LIBRARY_PATH
# try PACKAGE SOURCE
try() {
  name=$(basename "$2" .c)
  # The compiler and the flags are lists of words.
  # shellcheck disable=SC2046,SC2086
  $CC -o "$tmp/$name" "$2" $(pkg-config --cflags --libs "$1") -pthread
  echo "running $name"
  "$tmp/$name" || [ $? -eq 77 ] # it says what this machine lacks
}

for source in "$@"; do
  try ferry "$source"
done
if [ -n "${ALLOC_EXAMPLE:-}" ]; then
  pkg-config --validate ferry-alloc
  try ferry-alloc "$ALLOC_EXAMPLE"
fi

# Every header can be included first, and alone.
includedir=$(pkg-config --variable=includedir ferry)
case $includedir in
  "${DESTDIR:-}"*) ;;
  *) includedir=${DESTDIR:-}$includedir ;;
esac
for header in "$includedir"/ferry/*.h; do
  echo "#include <ferry/${header##*/}>" >"$tmp/header.c"
  # shellcheck disable=SC2046,SC2086
  $CC -Wall -Wextra -Werror -std=c11 -fsyntax-only $(pkg-config --cflags ferry) \
    "$tmp/header.c"
done

"${DESTDIR:-}$bindir/ferry-bench" --version
"${DESTDIR:-}$bindir/ferryctl" --version
"${DESTDIR:-}$bindir/ferryctl" classify $$ | tail -n 1
echo "installation is sound"
