# ferry-bench, installed; never part of `make check'.
# The frame is a library of its own, which its unit tests link.
noinst_LTLIBRARIES += %D%/libbench.la
%C%_libbench_la_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) \
	-DFERRY_LIBDIR='"$(libdir)"'
%C%_libbench_la_SOURCES =
%C%_libbench_la_SOURCES += %D%/bench.h
%C%_libbench_la_SOURCES += %D%/doc.c
%C%_libbench_la_SOURCES += %D%/doc.h
%C%_libbench_la_SOURCES += %D%/gc_meter.c
%C%_libbench_la_SOURCES += %D%/gc_meter.h
%C%_libbench_la_SOURCES += %D%/gc_plan.c
%C%_libbench_la_SOURCES += %D%/gc_plan.h
%C%_libbench_la_SOURCES += %D%/hist.c
%C%_libbench_la_SOURCES += %D%/hist.h
%C%_libbench_la_SOURCES += %D%/machine.c
%C%_libbench_la_SOURCES += %D%/machine.h
%C%_libbench_la_SOURCES += %D%/opts.c
%C%_libbench_la_SOURCES += %D%/opts.h
%C%_libbench_la_SOURCES += %D%/output.c
%C%_libbench_la_SOURCES += %D%/output.h
%C%_libbench_la_SOURCES += %D%/plot.c
%C%_libbench_la_SOURCES += %D%/plot.h
%C%_libbench_la_SOURCES += %D%/pool.c
%C%_libbench_la_SOURCES += %D%/preload.c
%C%_libbench_la_SOURCES += %D%/preload.h
%C%_libbench_la_SOURCES += %D%/preload_child.c
%C%_libbench_la_SOURCES += %D%/report.c
%C%_libbench_la_SOURCES += %D%/report.h
%C%_libbench_la_SOURCES += %D%/rounds.c
%C%_libbench_la_SOURCES += %D%/stats.c
%C%_libbench_la_SOURCES += %D%/stats.h
%C%_libbench_la_SOURCES += %D%/table.c
%C%_libbench_la_SOURCES += %D%/util.c
%C%_libbench_la_SOURCES += %D%/util.h

# The commit that results belong to; "unknown" outside a checkout. Looked up
# by every make, written only when it has changed.
BUILT_SOURCES += %D%/commit.h
CLEANFILES += %D%/commit.h
.PHONY: bench-commit
bench-commit:
%D%/commit.h: bench-commit
	@$(MKDIR_P) %D%; \
	commit=$$(git -C $(srcdir) describe --always --dirty --abbrev=10 \
	  2>/dev/null || echo unknown); \
	echo "#define FERRY_BENCH_COMMIT \"$$commit\"" >$@.new; \
	cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# The workloads of ferry-bench gc are compiled once for each collector, so that
# every one is measured by its own inline calls.
GC_WORK =
GC_WORK += %D%/gc_mem.h
GC_WORK += %D%/gc_mem_ferry.h
GC_WORK += %D%/gc_work.c
GC_WORK += %D%/gc_work_alloc.c
GC_WORK += %D%/gc_work_chain.c
GC_WORK += %D%/gc_work_fragment.c
GC_WORK += %D%/gc_work_oldmut.c
GC_WORK += %D%/gc_work_tree.c

GC_LIBS =
GC_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
noinst_LTLIBRARIES += %D%/libgcnone.la
GC_LIBS += %D%/libgcnone.la
%C%_libgcnone_la_SOURCES = $(GC_WORK) %D%/gc_mem_none.h
%C%_libgcnone_la_CPPFLAGS = $(GC_CPPFLAGS) -DGC_VARIANT=none \
	-DGC_MEM_HEADER='"gc_mem_none.h"'
noinst_LTLIBRARIES += %D%/libgcferry.la
GC_LIBS += %D%/libgcferry.la
%C%_libgcferry_la_SOURCES = $(GC_WORK) %D%/gc_mem_ferry.h %D%/gc_ferry.c
%C%_libgcferry_la_CPPFLAGS = $(GC_CPPFLAGS) -DGC_VARIANT=ferry \
	-DGC_MEM_HEADER='"gc_mem_ferry.h"'
# The same with references in plain locals, found by scanning stacks.
noinst_LTLIBRARIES += %D%/libgcambiguous.la
GC_LIBS += %D%/libgcambiguous.la
%C%_libgcambiguous_la_SOURCES = $(GC_WORK) %D%/gc_mem_ferry.h
%C%_libgcambiguous_la_CPPFLAGS = $(GC_CPPFLAGS) -DGC_VARIANT=ambiguous \
	-DGC_AMBIGUOUS -DGC_MEM_HEADER='"gc_mem_ferry.h"'
if HAVE_BDWGC
noinst_LTLIBRARIES += %D%/libgcbdwgc.la
GC_LIBS += %D%/libgcbdwgc.la $(BDWGC_LIBS)
%C%_libgcbdwgc_la_SOURCES = $(GC_WORK) %D%/gc_mem_bdwgc.h %D%/gc_bdwgc.c
%C%_libgcbdwgc_la_CPPFLAGS = $(GC_CPPFLAGS) $(BDWGC_CFLAGS) -DGC_THREADS \
	-DGC_VARIANT=bdwgc -DGC_MEM_HEADER='"gc_mem_bdwgc.h"'
endif

bin_PROGRAMS += %D%/ferry-bench
%C%_ferry_bench_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(XXHASH_CFLAGS) \
	$(LZ4_CFLAGS) $(HIREDIS_CFLAGS)
# policy measures the engines behind the agent, which no library exports.
%C%_ferry_bench_LDADD = $(GC_LIBS) %D%/libbench.la runtime/libferry.la \
	uffd/libuffd.la $(JANSSON_LIBS) $(NUMA_LIBS) \
	$(XXHASH_LIBS) $(LZ4_LIBS) $(HIREDIS_LIBS) $(PTHREAD_LIBS) -lm
%C%_ferry_bench_SOURCES =
%C%_ferry_bench_SOURCES += %D%/main.c
%C%_ferry_bench_SOURCES += %D%/compact.c
%C%_ferry_bench_SOURCES += %D%/compact.h
%C%_ferry_bench_SOURCES += %D%/compact_heap.c
%C%_ferry_bench_SOURCES += %D%/compact_objects.c
%C%_ferry_bench_SOURCES += %D%/compact_readers.c
%C%_ferry_bench_SOURCES += %D%/compact_work.c
%C%_ferry_bench_SOURCES += %D%/dirty.c
%C%_ferry_bench_SOURCES += %D%/fault.c
%C%_ferry_bench_SOURCES += %D%/features.c
%C%_ferry_bench_SOURCES += %D%/gc.c
%C%_ferry_bench_SOURCES += %D%/gc.h
%C%_ferry_bench_SOURCES += %D%/gc_cell.c
%C%_ferry_bench_SOURCES += %D%/gc_none.c
%C%_ferry_bench_SOURCES += %D%/gc_plots.c
%C%_ferry_bench_SOURCES += %D%/gc_rss.c
%C%_ferry_bench_SOURCES += %D%/gc_run.c
%C%_ferry_bench_SOURCES += %D%/gc_run.h
%C%_ferry_bench_SOURCES += %D%/gc_show.c
%C%_ferry_bench_SOURCES += %D%/hand.c
%C%_ferry_bench_SOURCES += %D%/hand.h
%C%_ferry_bench_SOURCES += %D%/handover.c
%C%_ferry_bench_SOURCES += %D%/handover.h
%C%_ferry_bench_SOURCES += %D%/handover_cell.c
%C%_ferry_bench_SOURCES += %D%/handover_show.c
%C%_ferry_bench_SOURCES += %D%/handover_work.c
%C%_ferry_bench_SOURCES += %D%/handover_work.h
%C%_ferry_bench_SOURCES += %D%/handover_work_copy.c
%C%_ferry_bench_SOURCES += %D%/handover_work_ferry.c
%C%_ferry_bench_SOURCES += %D%/handover_work_hand.c
%C%_ferry_bench_SOURCES += %D%/lookup.c
%C%_ferry_bench_SOURCES += %D%/malloc.c
%C%_ferry_bench_SOURCES += %D%/malloc.h
%C%_ferry_bench_SOURCES += %D%/malloc_cell.c
%C%_ferry_bench_SOURCES += %D%/malloc_show.c
%C%_ferry_bench_SOURCES += %D%/malloc_targets.c
%C%_ferry_bench_SOURCES += %D%/malloc_work.c
%C%_ferry_bench_SOURCES += %D%/malloc_work.h
%C%_ferry_bench_SOURCES += %D%/malloc_work_churn.c
%C%_ferry_bench_SOURCES += %D%/malloc_work_heap.c
%C%_ferry_bench_SOURCES += %D%/malloc_work_process.c
%C%_ferry_bench_SOURCES += %D%/malloc_work_threads.c
%C%_ferry_bench_SOURCES += %D%/move.c
%C%_ferry_bench_SOURCES += %D%/move_bed.c
%C%_ferry_bench_SOURCES += %D%/move_bed.h
%C%_ferry_bench_SOURCES += %D%/move_team.c
%C%_ferry_bench_SOURCES += %D%/move_team.h
%C%_ferry_bench_SOURCES += %D%/offload.c
%C%_ferry_bench_SOURCES += %D%/offload.h
%C%_ferry_bench_SOURCES += %D%/offload_idle.c
%C%_ferry_bench_SOURCES += %D%/offload_page.c
%C%_ferry_bench_SOURCES += %D%/offload_redis.c
%C%_ferry_bench_SOURCES += %D%/offload_run.c
%C%_ferry_bench_SOURCES += %D%/offload_show.c
%C%_ferry_bench_SOURCES += %D%/offload_swap.c
%C%_ferry_bench_SOURCES += %D%/offload_swap.h
%C%_ferry_bench_SOURCES += %D%/offload_table.c
%C%_ferry_bench_SOURCES += %D%/offload_value.c
%C%_ferry_bench_SOURCES += %D%/offload_work.c
%C%_ferry_bench_SOURCES += %D%/offload_work.h
%C%_ferry_bench_SOURCES += %D%/offload_work_base.c
%C%_ferry_bench_SOURCES += %D%/offload_work_idle.c
%C%_ferry_bench_SOURCES += %D%/offload_work_page.c
%C%_ferry_bench_SOURCES += %D%/offload_work_zipf.c
%C%_ferry_bench_SOURCES += %D%/policy.c
%C%_ferry_bench_SOURCES += %D%/policy.h
%C%_ferry_bench_SOURCES += %D%/policy_client.c
%C%_ferry_bench_SOURCES += %D%/policy_idle.c
%C%_ferry_bench_SOURCES += %D%/policy_phys.c
%C%_ferry_bench_SOURCES += %D%/policy_work.c
%C%_ferry_bench_SOURCES += %D%/raw.c
%C%_ferry_bench_SOURCES += %D%/raw.h
%C%_ferry_bench_SOURCES += %D%/tour.c

EXTRA_DIST += %D%/DESIGN.md
