# SPDX-License-Identifier: MIT
use strict;
use warnings;

my (%h, @a);
for my $i (0 .. 60000) {
	$h{"key $i"} = { n => $i, text => "value $i" x ($i % 9) };
	push @a, [ $i, $i * $i % 10007, "x" x ($i % 300) ];
}
select(undef, undef, undef, 0.4);
my $sum = 0;
$sum += length($h{$_}{text}) + $h{$_}{n} for keys %h;
print "hash $sum\n";
my @sorted = sort { $a->[1] <=> $b->[1] || $a->[0] <=> $b->[0] } @a;
print "sorted $sorted[$_][0] $sorted[$_][1]\n" for (0, 100, 20000, 60000);
delete $h{"key $_"} for grep { $_ % 3 } 0 .. 60000;
select(undef, undef, undef, 0.3);
my $text = join(" ", map { "$_=$h{$_}{n}" } sort keys %h);
my $found = () = $text =~ /key (\d*7\d*)=\1/g;
print "found $found of ", length($text), "\n";
$text =~ s/(\d+)=(\d+)/$2-$1/g;
print "replaced ", unpack("%32C*", $text), "\n";
$| = 1;
for my $i (1 .. 20) {
	my $pid = fork();
	die unless defined $pid;
	if ($pid == 0) {
		$h{"key $_"}{text} .= "child" for grep { $_ % 3 == 0 } 0 .. 3000;
		exit(scalar(keys %h) % 200);
	}
	waitpid($pid, 0);
	print "child ", $? >> 8, "\n" if $i % 10 == 0;
	select(undef, undef, undef, 0.06);
}
print "lines ", scalar(() = `ls /usr/bin`) > 0 ? "some" : "none", "\n";
