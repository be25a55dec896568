# SPDX-License-Identifier: MIT
# A program that may have little of something.
. "$programs/lib.sh"
need perl
program='my @a = map { "text $_" x 9 } 0 .. 20000;
	select(undef, undef, undef, 0.3);
	my $n = 0; $n += length for @a; print "$n\n"'

# limited OPTION VALUE...: of ulimit
limited()
{
	echo "$@"
	(ulimit "$@" && exec perl -e "$program")
	echo "exit $?"
}

limited -v 400000
limited -d 300000
limited -n 8
# What is printed goes to a file, too.
limited -f 0 | cat
limited -s 256
limited -s unlimited
limited -l 0
(exec < /dev/null > closed 2>&1 && exec perl -e "close STDIN; close STDERR;
	$program") || echo "exit $?"
cat closed
perl -e "$program" <&- > closed 2>&-
cat closed
perl -e "$program" <&- >&- 2>&- || echo "exit $?"
perl -e "$program" > /dev/full 2> /dev/null || echo "exit $?"
