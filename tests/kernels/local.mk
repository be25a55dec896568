# `make check-kernels' runs these test programs and commands under other
# kernels; README.md of this folder says how. Commas separate arguments.
KERNEL_TESTS =
KERNEL_TESTS += %D%/check_kernel
KERNEL_TESTS += $(CHECK_UFFD)
KERNEL_TESTS += $(CHECK_ALLOC)
KERNEL_TESTS += $(CHECK_MALLOC)
KERNEL_TESTS += $(CHECK_RUNTIME)
KERNEL_TESTS += $(CHECK_CTL)

KERNEL_COMMANDS =
KERNEL_COMMANDS += bench/ferry-bench,features

if HAVE_CHECK
check_PROGRAMS += %D%/check_kernel
endif

# First process of a guest: static, so that it also runs where what it starts
# cannot, and never instrumented.
EXTRA_PROGRAMS += %D%/init
CLEANFILES += %D%/init
%C%_init_SOURCES = %D%/init.c
%C%_init_CFLAGS = $(STD_CFLAGS) $(WARN_CFLAGS)
%C%_init_LDFLAGS = -all-static
%C%_init_LDADD =

dist_noinst_SCRIPTS += %D%/boot.sh
dist_noinst_SCRIPTS += %D%/fetch.sh
dist_noinst_SCRIPTS += %D%/modules.sh
dist_noinst_SCRIPTS += %D%/pack.sh
dist_noinst_SCRIPTS += %D%/run.sh

EXTRA_DIST += %D%/README.md
EXTRA_DIST += %D%/matrix
EXTRA_DIST += %D%/modules
EXTRA_DIST += %D%/nodes
EXTRA_DIST += %D%/report.awk
EXTRA_DIST += %D%/series
EXTRA_DIST += %D%/slow
EXTRA_DIST += %D%/tools

.PHONY: check-kernels
check-kernels: $(KERNEL_TESTS) bench/ferry-bench %D%/init
	LIBTOOL='$(LIBTOOL)' CC='$(CC)' $(SHELL) \
	  $(srcdir)/%D%/run.sh . $(KERNEL_TESTS) \
	  $(KERNEL_COMMANDS)
