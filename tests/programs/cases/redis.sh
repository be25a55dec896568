# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
need redis-server redis-cli redis-benchmark

server=
trap '[ -z "$server" ] || kill "$server" 2> /dev/null || :' EXIT

cli()
{
	redis-cli -s "$PWD/socket" "$@"
}

start()
{
	redis-server --port 0 --unixsocket "$PWD/socket" --save '' \
		--dir "$PWD" --enable-debug-command yes \
		--logfile "$PWD/redis.err" "$@" > server.err 2>&1 &
	server=$!
	until_true ready
}

ready()
{
	[ "$(cli ping)" = PONG ]
}

stop()
{
	cli shutdown nosave > /dev/null 2>&1 || :
	wait "$server" || echo "the server ended with $?"
	server=
}

field()
{
	cli info persistence | tr -d '\r' | sed -n "s/^$1://p"
}

is()
{
	[ "$(field "$1")" = "$2" ]
}

fill()
{
	awk 'BEGIN {
		for (i = 0; i < 60000; i++) {
			printf "SET key:%d %0200d\r\n", i, i * 17
			if (i % 10 == 0) {
				printf "HSET hash:%d a %d b %d\r\n", i % 997, i, i
				printf "RPUSH list:%d %d\r\n", i % 13, i
				printf "ZADD zset:%d %d m%d\r\n", i % 7, i % 501, i
				printf "SADD set:%d s%d\r\n", i % 5, i
			}
		}
	}' | cli --pipe | tail -n 1
}

save()
{
	echo "BGSAVE: $(cli bgsave)"
	until_true is rdb_bgsave_in_progress 0
	echo "status: $(field rdb_last_bgsave_status)"
}

rewrite()
{
	cli bgrewriteaof > /dev/null
	until_true is aof_rewrite_in_progress 0
	echo "rewrite: $(field aof_last_bgrewrite_status)"
}

start
fill
rest 0.8
echo "digest: $(cli debug digest)"
rest
save
rest
# Writers while the child saves.
cli bgsave > /dev/null
redis-benchmark -s "$PWD/socket" -q -n 20000 -c 10 -P 8 \
	-t set,get,incr,lpush,hset,mset > benchmark.out 2> benchmark.err
until_true is rdb_bgsave_in_progress 0
echo "status: $(field rdb_last_bgsave_status)"
cli del mylist > /dev/null
cli debug digest > digest
save
stop

start --appendonly no
rest 0.8
echo "reloaded: $(cli debug digest | cmp - digest && echo equal)"
cli config set appendonly yes > /dev/null
until_true is aof_rewrite_in_progress 0
rest
redis-benchmark -s "$PWD/socket" -q -n 5000 -t set,rpush > benchmark.out \
	2> benchmark.err
rewrite
cli debug digest > digest
stop

rm -f dump.rdb
start --appendonly yes
rest
echo "from its log: $(cli debug digest | cmp - digest && echo equal)"
echo "keys: $(cli dbsize)"
stop
