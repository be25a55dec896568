#!/bin/sh
# SPDX-License-Identifier: MIT
# The whole of ferryctl against a process whose memory is known: what it
# says, in text and JSON, how it ends, and what it refuses how.
set -u

ctl=$FERRY_BUILDDIR/tools/ferryctl/ferryctl
target=$FERRY_BUILDDIR/tests/ctl_target
completion=$FERRY_SRCDIR/tools/ferryctl/completion
tmp=$(mktemp -d) || exit 1
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "SKIP $1: $2"; }

# Whoever is tried on ends when its input does.
cleanup() {
  exec 9>&- 6>&-
  rm -rf "$tmp"
}
trap cleanup EXIT

# Sockets of agents: of this test alone.
FERRY_AGENT_DIR=$tmp/agents
export FERRY_AGENT_DIR
unset FERRY_AGENT
mkdir -m 700 "$FERRY_AGENT_DIR" && mkfifo "$tmp/hold" "$tmp/hold2" || exit 1

# await FILE PID: until it says that it is ready.
await() {
  while ! grep -q ready "$1"; do
    kill -0 "$2" 2>/dev/null || exit 1
    sleep 0.01
  done
}
"$target" <"$tmp/hold" >"$tmp/target" &
pid=$!
exec 9>"$tmp/hold"
await "$tmp/target" $pid
range() { sed -n "s/^$1 //p" "$tmp/target"; }
touched=$(range touched)
empty=$(range empty)
huge=$(range huge)
page=$(getconf PAGESIZE)
scale=${FERRY_TEST_SCALE:-1}
scale=${scale%%.*}
[ "${scale:-0}" -ge 1 ] || scale=1
many=$((20000 / scale + 1))

# run STATUS NAME ARGUMENT...: standard input is that of the caller; sets out
# and err. Says FAIL, and returns so, when it ends otherwise.
run() {
  expected=$1 name=$2
  shift 2
  "$ctl" "$@" >"$tmp/out" 2>"$tmp/err"
  status=$?
  if [ $status -ne "$expected" ]; then
    fail "$name" "ends with $status, not $expected: $(head -n 3 "$tmp/err")"
    return 1
  fi
}

# says NAME FILE PATTERN: judges by what was said.
says() {
  if grep -q -e "$3" "$tmp/$2"; then
    ok "$1"
  else
    fail "$1" "no '$3' in: $(head -n 5 "$tmp/$2")"
  fi
}

# json FILE EXPRESSION: true of the document d, or of the list d of its lines?
# The last of them, or d, is called last.
has_python=$(command -v python3)
json() {
  python3 - "$1" "$2" <<'PY'
import json, sys
text = open(sys.argv[1]).read()
try:
    d = json.loads(text)
except ValueError:
    d = [json.loads(line) for line in text.splitlines()]
last = d[-1] if isinstance(d, list) and d else d
assert eval("(" + sys.argv[2] + ")"), text[:2000]
PY
}

# holds NAME FILE EXPRESSION
holds() {
  if [ -z "$has_python" ]; then
    skip "$1" 'python3: not installed, which reads the JSON'
  elif json "$tmp/$2" "$3" 2>"$tmp/python"; then
    ok "$1"
  else
    fail "$1" "$(tail -n 2 "$tmp/python")"
  fi
}

# --- help and usage ------------------------------------------------------------

run 0 help --help && says help out 'migrate-phys'
run 0 version --version && says version out '^ferryctl [0-9]'
run 2 no-command && says no-command err 'which command'
run 2 unknown-command fly && says unknown-command err "'fly'"
commands=$("$ctl" --help | sed -n 's/^  \([a-z][a-z-]*\)  *.*/\1/p')
for command in $commands; do
  run 0 "$command-help" "$command" --help &&
    says "$command-help" out "^usage: ferryctl $command "
  run 2 "$command-usage" "$command" --no-such-option &&
    says "$command-usage" err --no-such-option
  # Every option stands in the man page and in each completion.
  for option in $("$ctl" "$command" --help |
    sed -n 's/^ .*--\([a-z]*\).*/\1/p'); do
    grep -q "Fl \\\\-$option" "$FERRY_SRCDIR/doc/ferryctl.1" ||
      fail "$command-documented" "--$option is not in ferryctl(1)"
    grep -q -e "--$option" "$completion/ferryctl" ||
      fail "$command-bash" "--$option is not in the completion"
    grep -q -e "--$option" "$completion/_ferryctl" ||
      fail "$command-zsh" "--$option is not in the completion"
    grep -q -e "-l $option" "$completion/ferryctl.fish" ||
      fail "$command-fish" "--$option is not in the completion"
  done
  grep -q "It Cm $command" "$FERRY_SRCDIR/doc/ferryctl.1" ||
    fail "$command-documented" 'not in ferryctl(1)'
  for shell in ferryctl _ferryctl ferryctl.fish; do
    grep -qw -e "$command" "$completion/$shell" ||
      fail "$command-$shell" 'not in the completion'
  done
done
ok everything-is-documented

if command -v bash >/dev/null; then
  # shellcheck disable=SC2016 # that is for the other shell
  if bash -c '. "$1"; COMP_WORDS=(ferryctl migrate --no); COMP_CWORD=2
    _ferryctl; [ "${COMPREPLY[*]}" = --nodes ]' - "$completion/ferryctl"; then
    ok bash-completes
  else
    fail bash-completes 'not --nodes for --no'
  fi
fi
for shell in zsh fish; do
  file=$completion/_ferryctl
  [ $shell = zsh ] || file=$completion/ferryctl.fish
  if ! command -v $shell >/dev/null; then
    skip "$shell-reads-its-completion" "$shell: not installed"
  elif $shell -n "$file"; then
    ok "$shell-reads-its-completion"
  else
    fail "$shell-reads-its-completion" 'not understood'
  fi
done

# --- which process -------------------------------------------------------------

# Nodes that pages can be moved between: many a container forbids it.
nodes=$(cat /sys/devices/system/node/online 2>/dev/null)
node=${nodes%%[-,]*}
no_nodes='this kernel has none'
if [ -n "$nodes" ]; then
  "$ctl" migrate $pid "$touched" --nodes "$node" >"$tmp/out" 2>"$tmp/err"
  case $? in 5 | 6) nodes='' no_nodes=$(head -n 1 "$tmp/err") ;; esac
fi

for bad in 0 -- -5 abc 1x 99999999999 ''; do
  run 2 "pid-$bad" stat -- "$bad" && says "pid-$bad" err 'not the number'
done
(exit 0) &
gone=$!
wait $gone
run 4 gone stat $gone && says gone err "no process $gone"
for command in stat maps classify watch migrate compact; do
  if [ $command = migrate ]; then
    [ -n "$nodes" ] || continue
    command="migrate -n $node"
  fi
  # shellcheck disable=SC2086 # a command and its options
  run 4 "${command%% *}-gone" $command $gone && ok "${command%% *}-gone"
done

# --- looking -------------------------------------------------------------------

run 0 list list --all && says list out "^ *$pid .*ctl_target"
run 0 list-json list --all --json &&
  holds list-json out "[p for p in d if p['pid'] == $pid][0]['resident'] > 0"
run 0 stat stat $pid && says stat out '^  resident'
run 0 stat-json stat $pid --json &&
  holds stat-json out "d['pid'] == $pid and d['mapped'] > 8 << 20 and
d['resident'] + d['swapped'] >= 8 << 20"
run 0 maps maps $pid && says maps out "^0*${touched%-*}"
run 0 maps-json maps $pid --json -w 16 &&
  holds maps-json out "[m for m in d['mappings']
if int(m['start'], 16) <= 0x${huge%-*} < int(m['end'], 16)]"
run 0 maps-all maps $pid --all && says maps-all out "^0*${empty%-*}"
run 0 maps-svg maps $pid --svg
if [ -z "$has_python" ]; then
  skip maps-svg 'python3: not installed, which reads the SVG'
elif python3 -c 'import sys, xml.dom.minidom as x
x.parse(sys.argv[1])' "$tmp/out"; then
  ok maps-svg
else
  fail maps-svg 'not well-formed'
fi
for width in 0 4097 x 1K; do
  run 2 "width-$width" maps $pid --width $width &&
    says "width-$width" err --width
done
run 0 classify classify $pid && says classify out 'can be managed'
run 0 classify-json classify $pid --json &&
  holds classify-json out "[m for m in d['mappings']
if int(m['start'], 16) <= 0x${touched%-*} < int(m['end'], 16) and
m['manageable'] and m['reason'] == 'none']"
run 0 watch watch $pid --count 3 --interval 0.01
if [ "$(wc -l <"$tmp/out")" -eq 4 ]; then # with a heading
  ok watch
else
  fail watch "$(cat "$tmp/out")"
fi
run 0 watch-json watch $pid -c 2 -i 0.01 -j &&
  holds watch-json out "len(d) == 2 and d[1]['pid'] == $pid"
for seconds in 0 -1 x 1e9 nan; do
  run 2 "interval-$seconds" watch $pid "--interval=$seconds" &&
    says "interval-$seconds" err 'wants seconds'
done
"$ctl" top </dev/null >"$tmp/out" 2>"$tmp/err"
case $? in
  1) says top-without-terminal err 'wants a terminal' ;;
  6) skip top-without-terminal 'curses: ferryctl was built without it' ;;
  *) fail top-without-terminal "$(head -n 3 "$tmp/err")" ;;
esac

# --- ranges --------------------------------------------------------------------

if [ -z "$nodes" ]; then
  skip migrate "numa_calls: $no_nodes"
else
  # Pages in use elsewhere are told (3), and are nobody's fault.
  "$ctl" migrate $pid "$touched" --nodes "$node" --json >"$tmp/out" 2>&1
  holds migrate out "last['ranges'] == 1 and not last['failed'] and
last['done'] + last['busy'] + last['absent'] == 64 * $page"
  "$ctl" migrate $pid "$empty" --nodes "$node" --json >"$tmp/out" 2>&1
  holds migrate-nothing out "last['done'] == 0 and last['busy'] == 0"
  # With several nodes pages of libraries stay, which others have mapped.
  "$ctl" migrate $pid --nodes "$node" >"$tmp/out" 2>"$tmp/err"
  case $? in
    0 | 3) ok migrate-all ;;
    *) fail migrate-all "$(head -n 3 "$tmp/err")" ;;
  esac
  "$ctl" migrate $pid --file "/proc/$pid/maps" -n "$node" --json >"$tmp/out"
  holds migrate-maps out "last['ranges'] > 5 and not last['wrong_lines']"
  for list in x 99999 '' 0-; do
    run 2 "nodes-$list" migrate $pid "$touched" --nodes "$list" &&
      says "nodes-$list" err --nodes
  done
  run 2 no-nodes migrate $pid "$touched" && says no-nodes err --nodes
  for bad in xyz 1000 2000-1000 1000+1 1000-; do
    [ "$bad" = 1000 ] ||
      { run 2 "range-$bad" migrate $pid "$bad" -n "$node" &&
        says "range-$bad" err "'$bad'"; }
  done
  printf '%s\n# comment\n\nxyz\n2000-1000\n%s # end' "$touched" "$empty" \
    >"$tmp/lines"
  run 3 wrong-lines migrate $pid - -n "$node" --json <"$tmp/lines"
  holds wrong-lines out "[e['line'] for e in d if 'text' in e] == [4, 5] and
d[-1]['ranges'] == 2 and d[-1]['wrong_lines'] == 2"
  run 2 twice migrate $pid - --file - -n "$node" </dev/null &&
    says twice err 'one file'
  run 1 no-file migrate $pid --file "$tmp/no/such" -n "$node" &&
    says no-file err 'no/such'
  run 1 folder migrate $pid --file "$tmp" -n "$node" &&
    says folder err 'directory'
  run 0 no-ranges migrate $pid - -n "$node" </dev/null &&
    says no-ranges out 'in 0 ranges'

  awk -v n="$many" -v r="$touched" 'BEGIN { for (i = 0; i < n; i++) print r }' |
    "$ctl" migrate $pid - -n "$node" --json >"$tmp/out"
  holds thousands-through-a-pipe out "last['ranges'] == $many and
not last['failed']"

  # A daemon that writes a range and waits is answered before it writes more.
  mkfifo "$tmp/to" "$tmp/from"
  "$ctl" migrate $pid - -n "$node" --verbose <"$tmp/to" >"$tmp/from" 2>&1 &
  exec 7>"$tmp/to" 8<"$tmp/from"
  echo "$touched" >&7
  read -r answer <&8
  exec 7>&-
  cat <&8 >/dev/null
  exec 8<&-
  wait $!
  case $answer in
    *"$touched"*) ok a-waiting-daemon-is-answered ;;
    *) fail a-waiting-daemon-is-answered "$answer" ;;
  esac

  # Nobody reads on: it ends, by the signal or, where that is ignored, saying
  # so; and does not work on for nobody.
  (trap '' PIPE
    yes "$touched" 2>/dev/null | "$ctl" migrate $pid - -n "$node" -v 2>"$tmp/err"
    echo $? >"$tmp/status") | head -n 1 >/dev/null
  if [ "$(cat "$tmp/status")" = 1 ] && grep -q 'standard output' "$tmp/err"
  then
    ok nobody-reads
  else
    fail nobody-reads "$(cat "$tmp/status"): $(head -n 2 "$tmp/err")"
  fi
  if [ -w /dev/full ]; then
    "$ctl" list --all >/dev/full 2>"$tmp/err"
    if [ $? -eq 1 ] && grep -q 'standard output' "$tmp/err"; then
      ok output-that-is-lost-is-told
    else
      fail output-that-is-lost-is-told "$(cat "$tmp/err")"
    fi
  fi
fi

# --- by physical address ---------------------------------------------------------

run 2 phys-nothing migrate-phys $pid -n "${node:-0}" &&
  says phys-nothing err 'is missing'
if [ "$(id -u)" -ne 0 ] || [ -z "$nodes" ]; then
  skip migrate-phys 'root: page frames are shown to it only'
elif "$ctl" migrate-phys $pid fffffffffff000 -n "$node" >"$tmp/out" 2>&1
  [ $? -eq 5 ]; then
  skip migrate-phys 'sys_admin: physical addresses are hidden'
elif [ -z "$has_python" ]; then
  skip migrate-phys 'python3: not installed, which reads the page map'
else
  # A page may move between the two looks: again then.
  tries=0
  while [ $tries -lt 50 ]; do
    tries=$((tries + 1))
    python3 - $pid "${touched%-*}" "$page" >"$tmp/frames" <<'PY'
import struct, sys
pid, start, page = int(sys.argv[1]), int(sys.argv[2], 16), int(sys.argv[3])
with open("/proc/%d/pagemap" % pid, "rb") as f:
    f.seek(start // page * 8)
    for word in struct.unpack("64Q", f.read(64 * 8)):
        print("%#x" % ((word & ((1 << 55) - 1)) * page + 0x10 * (word & 1)))
PY
    "$ctl" migrate-phys $pid --file "$tmp/frames" -n "$node" --json \
      >"$tmp/out" 2>&1
    json "$tmp/out" "last['done'] == 64 * $page" 2>/dev/null &&
      break
  done
  holds migrate-phys out "last['done'] == 64 * $page"
  run 3 phys-elsewhere migrate-phys $pid fffffffffff000 -n "$node" &&
    says phys-elsewhere err 'no such page'
fi

# --- reclaim and compact ---------------------------------------------------------

run 2 reclaim-what reclaim $pid && says reclaim-what err 'what'
for bytes in x -1 1X 99999999999999999999; do
  run 2 "bytes-$bytes" reclaim $pid "--bytes=$bytes" &&
    says "bytes-$bytes" err --bytes
done
"$ctl" reclaim $pid "$touched" --cold --json >"$tmp/out" 2>"$tmp/err"
case $? in
  5 | 6) skip reclaim-cold "process_madvise: $(head -n 1 "$tmp/err")" ;;
  *) holds reclaim-cold out "last['ranges'] == 1 and not last['failed']" ;;
esac
"$ctl" reclaim $pid "$touched" --json >"$tmp/out" 2>"$tmp/err"
case $? in
  5 | 6) skip reclaim "process_madvise: $(head -n 1 "$tmp/err")" ;;
  *) holds reclaim out "last['ranges'] == 1 and
last['done'] + last['busy'] <= 64 * $page"
    ;;
esac
# What cannot be, such as its page in the kernel's half, ends nothing.
"$ctl" reclaim $pid --cold --file "/proc/$pid/maps" --json >"$tmp/out" \
  2>"$tmp/err"
case $? in
  5 | 6) skip reclaim-maps "process_madvise: $(head -n 1 "$tmp/err")" ;;
  0 | 3) holds reclaim-maps out "last['ranges'] > 5 and
not last['wrong_lines']" ;;
  *) fail reclaim-maps "$(head -n 3 "$tmp/err")" ;;
esac
"$ctl" reclaim $pid 1000-3000 >"$tmp/out" 2>"$tmp/err"
case $? in
  5 | 6) skip reclaim-hole "process_madvise: $(head -n 1 "$tmp/err")" ;;
  3) says reclaim-hole err '1000-3000: not all of it is mapped' ;;
  *) fail reclaim-hole 'not told' ;;
esac
"$ctl" compact $pid "$touched" >"$tmp/out" 2>"$tmp/err"
case $? in
  5 | 6) skip compact-small "process_madvise: $(head -n 1 "$tmp/err")" ;;
  3) says compact-small err 'no whole huge page' ;;
  *) fail compact-small 'not told' ;;
esac
# No room for a huge page up there: nothing at the bottom instead.
run 3 compact-top compact $pid fffffffffff00000-fffffffffffff000 &&
  says compact-top err 'no whole huge page'
"$ctl" compact $pid "$huge" --json >"$tmp/out" 2>"$tmp/err"
case $? in
  5 | 6) skip compact "process_madvise: $(head -n 1 "$tmp/err")" ;;
  *) holds compact out "last['ranges'] == 1" ;;
esac

# --- what is not possible from outside ------------------------------------------

run 2 mode mbind $pid "$touched" -n "${node:-0}" -m sideways &&
  says mode err "'sideways'"
run 2 no-mode mbind $pid "$touched" -n "${node:-0}" && says no-mode err --mode
run 2 mbind-nothing mbind $pid -n "${node:-0}" -m bind &&
  says mbind-nothing err 'is missing'
if [ -n "$nodes" ]; then
  run 6 mbind mbind $pid "$touched" -n "$node" -m bind &&
    says mbind err 'no agent'
fi

for command in pin unpin 'hint --hot' 'hint --cold'; do
  # shellcheck disable=SC2086 # a command and its options
  run 6 "${command#* --}-outside" $command $pid "$touched" &&
    says "${command#* --}-outside" err 'no agent'
done
run 2 hint-what hint $pid "$touched" && says hint-what err --hot
run 2 pin-nothing pin $pid && says pin-nothing err 'is missing'
run 6 collect-outside collect $pid && says collect-outside err 'no agent'
run 2 collect-what collect $pid all && says collect-what err "'all'"
run 6 configure-outside configure $pid thp:never &&
  says configure-outside err 'no agent'

# --- with an agent -----------------------------------------------------------------

"$target" agent <"$tmp/hold2" >"$tmp/target2" 9>&- &
agent=$!
exec 6>"$tmp/hold2"
await "$tmp/target2" $agent
arena=$(sed -n 's/^arena //p' "$tmp/target2")
other=$(sed -n 's/^touched //p' "$tmp/target2")

run 0 agent-list list --json &&
  holds agent-list out "[p for p in (d if isinstance(d, list) else [d])
if p['pid'] == $agent][0]['agent']"
run 0 agent-stat stat $agent && says agent-stat out 'arena .* known'
run 0 agent-stat-json stat $agent --json &&
  holds agent-stat-json out "d['agent'] and
[o for o in d['objects'] if o['name'] == 'known'][0]['used'] == 64 * $page"
run 0 agent-stat-outside stat $agent --json --outside &&
  holds agent-stat-outside out "d['objects'] is None"
run 0 agent-maps maps $agent && says agent-maps out 'arena [0-9]* known'
id=$("$ctl" stat $agent | sed -n 's/^ *\([0-9]*\) arena .* known$/\1/p')
if [ -z "$nodes" ]; then
  skip agent-mbind "numa_calls: $no_nodes"
else
  run 0 agent-mbind mbind $agent "$arena" -n "$node" -m bind --json &&
    holds agent-mbind out "last['ranges'] == 1 and last['via'] == 'agent'"
  grep -q "^0*${arena%-*} bind" "/proc/$agent/numa_maps" ||
    fail agent-mbind-lands "$(grep "^0*${arena%-*}" "/proc/$agent/numa_maps")"
  run 3 agent-mbind-elsewhere mbind $agent "$other" -n "$node" -m bind &&
    says agent-mbind-elsewhere err "no memory of Ferry's"
  run 0 agent-mbind-default mbind $agent "$arena" -m default &&
    ok agent-mbind-default
  # The arena's by the agent, the other from outside, in one stream.
  "$ctl" migrate $agent "$arena" "$other" -n "$node" --json >"$tmp/out" 2>&1
  # An agent counts what had to move; from outside, what is there now.
  holds agent-migrate out "last['ranges'] == 2 and not last['failed'] and
64 * $page <= last['done'] + last['busy'] + last['absent'] <= 128 * $page"
  awk -v n="$many" -v r="$arena" 'BEGIN { for (i = 0; i < n; i++) print r }' |
    "$ctl" mbind $agent - -n "$node" -m preferred --json >"$tmp/out"
  holds agent-thousands out "last['ranges'] == $many and
not last['failed']"
fi
run 0 agent-pin pin $agent "$arena" --json &&
  holds agent-pin out "last['ranges'] == 1 and not last['failed']"
run 0 agent-pinned maps $agent && says agent-pinned out '^  P'
run 0 agent-unpin unpin $agent "$arena" && ok agent-unpin
run 0 agent-hint hint $agent "$arena" --cold && ok agent-hint
run 0 agent-configure configure $agent thp:never --object "$id" &&
  ok agent-configure
run 1 agent-configure-wrong configure $agent colour:blue --object "$id" &&
  says agent-configure-wrong err 'the agent of'
run 2 agent-object collect $agent --object x && says agent-object err --object
run 0 agent-collect collect $agent minor && says agent-collect out 'heaps asked'
"$ctl" reclaim $agent "$arena" --json >"$tmp/out" 2>"$tmp/err"
holds agent-reclaim out "last['ranges'] == 1 and last['via'] == 'agent'"
"$ctl" compact $agent --json >"$tmp/out" 2>"$tmp/err"
holds agent-compact out "last['via'] == 'agent'"

# A socket that nobody listens at is left by a process that was killed.
kill -9 $agent
wait $agent 2>/dev/null
run 4 agent-killed stat $agent && ok agent-killed

echo "RESULT ferryctl $passed $failed $skipped"
[ $failed -eq 0 ]
