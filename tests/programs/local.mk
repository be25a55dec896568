# `make check-programs' runs real programs with and without the preload;
# README.md of this folder says how. Programs of our own, one a case:
PROGRAM_OWN =
PROGRAM_OWN += %D%/binds_deeply
PROGRAM_OWN += %D%/closes_all
PROGRAM_OWN += %D%/daemonises
PROGRAM_OWN += %D%/dumps_core
PROGRAM_OWN += %D%/exec_chain
PROGRAM_OWN += %D%/filters
PROGRAM_OWN += %D%/fixed_buffers
PROGRAM_OWN += %D%/forks
PROGRAM_OWN += %D%/identity
PROGRAM_OWN += %D%/last_thread
PROGRAM_OWN += %D%/locked
PROGRAM_OWN += %D%/namespaces
PROGRAM_OWN += %D%/remaps
PROGRAM_OWN += %D%/signals
PROGRAM_OWN += %D%/spawns
PROGRAM_OWN += %D%/starts
PROGRAM_OWN += %D%/system_calls
PROGRAM_OWN += %D%/threads
PROGRAM_OWN += %D%/touched
PROGRAM_OWN += %D%/traced

# Everything that is run, the longest first.
PROGRAM_CASES =
PROGRAM_CASES += stress-ng
PROGRAM_CASES += python
PROGRAM_CASES += redis
PROGRAM_CASES += compilers
PROGRAM_CASES += bash
PROGRAM_CASES += sqlite
PROGRAM_CASES += git
PROGRAM_CASES += packers
PROGRAM_CASES += texts
PROGRAM_CASES += closes_all
PROGRAM_CASES += core
PROGRAM_CASES += daemonises
PROGRAM_CASES += deepbind
PROGRAM_CASES += editors
PROGRAM_CASES += exec_chain
PROGRAM_CASES += filters
PROGRAM_CASES += fixed_buffers
PROGRAM_CASES += forks
PROGRAM_CASES += gdb
PROGRAM_CASES += identity
PROGRAM_CASES += java
PROGRAM_CASES += keys
PROGRAM_CASES += last_thread
PROGRAM_CASES += limits
PROGRAM_CASES += locked
PROGRAM_CASES += lua
PROGRAM_CASES += make
PROGRAM_CASES += namespaces
PROGRAM_CASES += nginx
PROGRAM_CASES += node
PROGRAM_CASES += perl
PROGRAM_CASES += php
PROGRAM_CASES += remaps
PROGRAM_CASES += ruby
PROGRAM_CASES += signals
PROGRAM_CASES += spawns
PROGRAM_CASES += starts
PROGRAM_CASES += su
PROGRAM_CASES += system_calls
PROGRAM_CASES += tcl
PROGRAM_CASES += threads
PROGRAM_CASES += touched
PROGRAM_CASES += unprivileged
PROGRAM_CASES += valgrind

EXTRA_PROGRAMS += $(PROGRAM_OWN)
EXTRA_LTLIBRARIES += %D%/libprogram.la
EXTRA_LTLIBRARIES += %D%/deep_module.la
CLEANFILES += $(PROGRAM_OWN)
%C%_libprogram_la_SOURCES = %D%/heap.c %D%/heap.h
# -rpath makes it a shared object, which is not installed.
%C%_deep_module_la_SOURCES = %D%/deep_module.c
%C%_deep_module_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared \
	-rpath /nowhere

PROGRAM_LIBS = %D%/libprogram.la $(PTHREAD_LIBS)
%C%_binds_deeply_LDADD = $(PROGRAM_LIBS)
%C%_binds_deeply_LDFLAGS = $(AM_LDFLAGS) -Wl,--enable-new-dtags \
	-Wl,-rpath,$(abs_builddir)/%D%/.libs
%C%_closes_all_LDADD = $(PROGRAM_LIBS)
%C%_daemonises_LDADD = $(PROGRAM_LIBS)
%C%_dumps_core_LDADD = $(PROGRAM_LIBS)
%C%_exec_chain_LDADD = $(PROGRAM_LIBS)
%C%_filters_CFLAGS = $(AM_CFLAGS) $(SECCOMP_CFLAGS)
%C%_filters_LDADD = $(PROGRAM_LIBS) $(SECCOMP_LIBS)
%C%_fixed_buffers_CFLAGS = $(AM_CFLAGS) $(URING_CFLAGS)
%C%_fixed_buffers_LDADD = $(PROGRAM_LIBS) $(URING_LIBS)
%C%_forks_LDADD = $(PROGRAM_LIBS)
%C%_identity_LDADD = $(PROGRAM_LIBS)
%C%_last_thread_LDADD = $(PROGRAM_LIBS)
%C%_locked_LDADD = $(PROGRAM_LIBS)
%C%_namespaces_LDADD = $(PROGRAM_LIBS)
%C%_remaps_LDADD = $(PROGRAM_LIBS)
%C%_signals_LDADD = $(PROGRAM_LIBS)
%C%_spawns_LDADD = $(PROGRAM_LIBS)
%C%_starts_LDADD = $(PROGRAM_LIBS)
%C%_system_calls_LDADD = $(PROGRAM_LIBS)
%C%_threads_LDADD = $(PROGRAM_LIBS)
%C%_touched_LDADD = $(PROGRAM_LIBS)
%C%_traced_LDADD = $(PROGRAM_LIBS)

EXTRA_DIST += %D%/README.md
EXTRA_DIST += %D%/setting
EXTRA_DIST += %D%/cases/.shellcheckrc
EXTRA_DIST += %D%/cases/bash.bash
EXTRA_DIST += %D%/cases/perl.pl
EXTRA_DIST += %D%/cases/python.py
dist_noinst_SCRIPTS += %D%/run.sh
dist_noinst_SCRIPTS += %D%/case.sh
dist_noinst_SCRIPTS += %D%/lib.sh
dist_noinst_SCRIPTS += %D%/cases/bash.sh
dist_noinst_SCRIPTS += %D%/cases/compilers.sh
dist_noinst_SCRIPTS += %D%/cases/core.sh
dist_noinst_SCRIPTS += %D%/cases/deepbind.sh
dist_noinst_SCRIPTS += %D%/cases/editors.sh
dist_noinst_SCRIPTS += %D%/cases/gdb.sh
dist_noinst_SCRIPTS += %D%/cases/git.sh
dist_noinst_SCRIPTS += %D%/cases/java.sh
dist_noinst_SCRIPTS += %D%/cases/keys.sh
dist_noinst_SCRIPTS += %D%/cases/limits.sh
dist_noinst_SCRIPTS += %D%/cases/lua.sh
dist_noinst_SCRIPTS += %D%/cases/make.sh
dist_noinst_SCRIPTS += %D%/cases/nginx.sh
dist_noinst_SCRIPTS += %D%/cases/node.sh
dist_noinst_SCRIPTS += %D%/cases/packers.sh
dist_noinst_SCRIPTS += %D%/cases/perl.sh
dist_noinst_SCRIPTS += %D%/cases/php.sh
dist_noinst_SCRIPTS += %D%/cases/python.sh
dist_noinst_SCRIPTS += %D%/cases/redis.sh
dist_noinst_SCRIPTS += %D%/cases/ruby.sh
dist_noinst_SCRIPTS += %D%/cases/sqlite.sh
dist_noinst_SCRIPTS += %D%/cases/stress-ng.sh
dist_noinst_SCRIPTS += %D%/cases/su.sh
dist_noinst_SCRIPTS += %D%/cases/tcl.sh
dist_noinst_SCRIPTS += %D%/cases/texts.sh
dist_noinst_SCRIPTS += %D%/cases/unprivileged.sh
dist_noinst_SCRIPTS += %D%/cases/valgrind.sh

.PHONY: check-programs
if HAVE_MALLOC
check-programs: $(PROGRAM_OWN) %D%/deep_module.la bench/ferry-bench
check-programs: alloc/malloc/libferry-malloc.la
	$(SHELL) $(srcdir)/%D%/run.sh . $(PROGRAM_CASES)
else
check-programs:
	@echo 'check-programs: libferry-malloc.so is not built here'; exit 1
endif
