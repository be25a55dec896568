# SPDX-License-Identifier: MIT
# As a user who may not serve faults of the kernel: a plain allocator.
. "$programs/lib.sh"
need setpriv perl
if [ "$(id -u)" -ne 0 ]; then
	skip root 'only root can become somebody else'
fi
as_nobody()
{
	setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}

as_nobody id -u
as_nobody perl -e 'my @a = map { "text $_" x 9 } 0 .. 50000;
	select(undef, undef, undef, 0.3);
	my $n = 0; $n += length for @a; print "perl $n\n"'
as_nobody sh -c 'for i in 1 2 3; do (exit $i) || echo "exit $?"; done'
as_nobody sort /etc/passwd | cksum
