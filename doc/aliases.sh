#!/bin/sh
# SPDX-License-Identifier: MIT
# Prints "ALIAS PAGE" for each further name of each man page in FOLDER, both
# as file names: "ferry_movev.3 ferry_move.3".
#
# usage: aliases.sh FOLDER
set -eu

for path in "$1"/*.[1-8]; do
  page=${path##*/}
  sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([^ ]*\).*/\1/p' "$path" |
    while read -r name; do
      alias=$name.${page##*.}
      [ "$alias" = "$page" ] || echo "$alias $page"
    done
done
