# SPDX-License-Identifier: MIT
. "$programs/lib.sh"
need make gcc
for i in 1 2 3 4 5 6 7 8; do
	echo "int f$i(int x) { return x * $i; }" > f$i.c
	echo "int f$i(int);" >> all.h
done
cat > main.c <<'SRC'
#include <stdio.h>
#include "all.h"
int main(void) { printf("%d\n", f1(f2(f3(f4(f5(f6(f7(f8(1))))))))); }
SRC
cat > Makefile <<'MK'
objects = $(patsubst %.c,%.o,$(sort $(wildcard *.c)))
all: run
	./run
run: $(objects)
	@$(CC) -o $@ $(objects)
%.o: %.c all.h
	@sleep 0.1; $(CC) -O1 -c -o $@ $<
MK
MAKEFLAGS='' make -s -j 2
cksum f1.o main.o
MAKEFLAGS='' make -s -q run
echo "made $?"
