# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
need sort awk sed find
text 200000 > text
sort -n -S 64M --parallel=2 text | cksum
sort -k 8 -S 1M -T . text | cksum
sort -u -k 2,2 text
{ head -n 100000 text; rest; tail -n +100001 text; } | sort | cksum
{ head -n 100000 text; rest; tail -n +100001 text; } |
	awk '{ n[$1 % 5003] = n[$1 % 5003] $NF }
	END { for (k in n) sum += length(n[k]); print sum }'
{ head -n 100000 text; rest; tail -n +100001 text; } | tac | cksum
sed 's/line \([0-9]*\)/\1 line/' text | grep -c '7 line'
find /usr/share /usr/lib -name '*.[ch]*' -type f | sort | wc -l |
	grep -c '[1-9]'
diff text text
tr "[:lower:]" "[:upper:]" < text | fold -w 30 | uniq -c | wc -l
