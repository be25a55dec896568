# SPDX-License-Identifier: MIT
# What a debugger sees of a heap that is cold: in a program that it started,
# and in one that runs already.
. "$programs/lib.sh"
need gdb

cat > commands <<'GDB'
set pagination off
set debuginfod enabled off
set confirm off
printf "first: %s\n", list->name
set $n = 0
set $p = list
while $p
  set $n = $n + 1
  set $p = $p->next
end
printf "nodes: %d\n", $n
printf "a later one: %s\n", list->next->next->next->name
set var list->name[0] = 'N'
printf "written: %s\n", list->name
GDB

{
	echo 'set breakpoint pending on'
	echo 'break stop_here'
	echo 'run > traced.out'
	cat commands
	echo 'continue'
} > started
gdb -nx -q -batch -x started --args "$bin/traced" 2> gdb.err |
	grep -oE '^(first|nodes|a later one|written):.*|exited normally'
cat traced.out

# Cold memory of a process that is stopped cannot be served, and is not looked
# at here; all else can be.
mkfifo words
"$bin/traced" attached < words > traced.out &
traced=$!
exec 3> words
until_true grep -q pid traced.out
cat > attached <<'GDB'
set pagination off
set debuginfod enabled off
printf "nodes: %d\n", nodes
set var nodes = 7
bt
detach
GDB
for _ in 1 2 3; do
	gdb -nx -q -batch -p "$traced" -x attached 2> gdb.err |
		grep -oE '^nodes:.*|wait_for_word|in main'
	rest 0.2
done
# A core file has the heap, and not the address space kept for it to grow.
gdb -nx -q -batch -p "$traced" -ex 'generate-core-file taken' \
	> gcore.out 2>&1
gdb -nx -q -batch "$bin/traced" taken -ex 'printf "nodes: %d\n", nodes' \
	2> gdb.err | grep -oE '^nodes:.*'
[ "$(stat -c %s taken)" -lt 2000000000 ] && echo "the core file is small"
rm -f taken
echo go on >&3
exec 3>&-
wait "$traced"
sed 1d traced.out
