# ferry-bench, installed; never part of `make check'.
# The frame is a library of its own, which its unit tests link.
noinst_LTLIBRARIES += %D%/libbench.la
%C%_libbench_la_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
%C%_libbench_la_SOURCES =
%C%_libbench_la_SOURCES += %D%/bench.h
%C%_libbench_la_SOURCES += %D%/doc.c
%C%_libbench_la_SOURCES += %D%/doc.h
%C%_libbench_la_SOURCES += %D%/machine.c
%C%_libbench_la_SOURCES += %D%/machine.h
%C%_libbench_la_SOURCES += %D%/opts.c
%C%_libbench_la_SOURCES += %D%/opts.h
%C%_libbench_la_SOURCES += %D%/output.c
%C%_libbench_la_SOURCES += %D%/output.h
%C%_libbench_la_SOURCES += %D%/plot.c
%C%_libbench_la_SOURCES += %D%/plot.h
%C%_libbench_la_SOURCES += %D%/pool.c
%C%_libbench_la_SOURCES += %D%/rounds.c
%C%_libbench_la_SOURCES += %D%/stats.c
%C%_libbench_la_SOURCES += %D%/stats.h
%C%_libbench_la_SOURCES += %D%/table.c
%C%_libbench_la_SOURCES += %D%/util.c
%C%_libbench_la_SOURCES += %D%/util.h

bin_PROGRAMS += %D%/ferry-bench
%C%_ferry_bench_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(XXHASH_CFLAGS)
%C%_ferry_bench_LDADD = %D%/libbench.la runtime/libferry.la $(JANSSON_LIBS) \
	$(XXHASH_LIBS) $(PTHREAD_LIBS) -lm
%C%_ferry_bench_SOURCES =
%C%_ferry_bench_SOURCES += %D%/main.c

EXTRA_DIST += %D%/DESIGN.md
