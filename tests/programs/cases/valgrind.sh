# SPDX-License-Identifier: MIT
# A tool that puts functions of its own in place of a malloc's.
. "$programs/lib.sh"
want valgrind
valgrind -q --error-exitcode=3 perl -e '
	my @a = map { "text $_" x 9 } 0 .. 2000;
	my $n = 0; $n += length for @a; print "$n\n"'
