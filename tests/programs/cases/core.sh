# SPDX-License-Identifier: MIT
# A core file has what was in memory. What was cold is missing from it, as
# the manual says; the dump takes no longer for it.
. "$programs/lib.sh"
need gdb
if [ "$(cat /proc/sys/kernel/core_pattern)" != core ]; then
	skip core-files "core files do not go to the working folder here"
fi

sh -c '"$bin/dumps_core"; echo "status $?"' 2> dumps.err
core=$(ls core*)
printf 'set pagination off\nprintf "hot: %%s\\n", hot\n' > commands
gdb -nx -q -batch -x commands "$bin/dumps_core" "$core" 2> gdb.err |
	grep '^hot:'
