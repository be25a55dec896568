# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
need xz tar
text 60000 > text
mkdir many
split -l 1000 text many/part.
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf a.tar many
cksum a.tar
xz -k -T 2 -3 a.tar
cksum a.tar.xz
xz -dc a.tar.xz | cmp - a.tar
# Input that comes with pauses.
{ head -c 1000000 text; rest; tail -c +1000001 text; } | xz -6 -c > slow.xz
xz -dc slow.xz | cmp - text
{ head -c 1000000 text; rest; tail -c +1000001 text; } | gzip -9n | cksum
if command -v zstd > /dev/null; then
	{ head -c 1000000 text; rest; tail -c +1000001 text; } |
		zstd -q -12 -T2 -c > slow.zst
	zstd -q -dc slow.zst | cmp - text
fi
tar -xf a.tar.xz -C . --transform=s/many/more/
diff -r many more
