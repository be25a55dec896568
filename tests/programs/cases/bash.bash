# SPDX-License-Identifier: MIT
# Thousands of forks of a shell whose heap is partly cold.
declare -A table
for ((i = 0; i < 20000; i++)); do
	table[key$i]="value $((i * 7919 % 10007))"
done
sleep 0.4

sum=0
for ((i = 0; i < 1500; i++)); do
	x=$(echo "${table[key$((i * 13))]}")
	sum=$((sum + ${x#value }))
	((i % 300)) || sleep 0.1
done
echo "sum $sum"

for ((i = 0; i < 500; i++)); do
	(exit $((i % 250))) || ((failed += $?))
done
echo "failed $failed"

for ((i = 0; i < 200; i++)); do
	echo "$i" | { read -r x; echo "$((x + 1))"; }
done | { n=0; while read -r x; do n=$((n + x)); done; echo "pipes $n"; }

for ((i = 0; i < 50; i++)); do
	/bin/true &
done
wait
sleep 0.3
n=0
for k in "${!table[@]}"; do
	x=${table[$k]}
	n=$((n + ${x#value }))
done
echo "table $n"
