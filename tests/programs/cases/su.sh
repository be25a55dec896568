# SPDX-License-Identifier: MIT
# A program that opens modules (PAM), gives up its rights, and forks.
. "$programs/lib.sh"
need perl
want su
if [ "$(id -u)" -ne 0 ]; then
	skip root 'only root can become somebody else'
fi
program='my @a = map { "text $_" x 9 } 0 .. 20000;
	select(undef, undef, undef, 0.3);
	my $n = 0; $n += length for @a; print "$n\n"'
su -s /bin/sh nobody -c 'id -un'
su -s /bin/sh nobody -c "perl -e '$program'"
su -s /bin/sh nobody -c 'exit 3' || echo "exit $?"
