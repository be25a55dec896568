# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
need perl
PERL_HASH_SEED=1
export PERL_HASH_SEED
perl "$programs/cases/perl.pl"
