# Arenas and page compaction. May use uffd/.
noinst_LTLIBRARIES += %D%/liballoc.la
# Thread-local data of liburcu is read twice in every look-up: by an offset
# known at load time, not by a call.
%C%_liballoc_la_CFLAGS = $(AM_CFLAGS) -ftls-model=initial-exec
%C%_liballoc_la_SOURCES =
%C%_liballoc_la_SOURCES += %D%/alloc-internal.h
%C%_liballoc_la_SOURCES += %D%/arena.c
%C%_liballoc_la_SOURCES += %D%/check.c
%C%_liballoc_la_SOURCES += %D%/fork.c
%C%_liballoc_la_SOURCES += %D%/lookup.c
%C%_liballoc_la_SOURCES += %D%/node.c
%C%_liballoc_la_SOURCES += %D%/pages.c
%C%_liballoc_la_SOURCES += %D%/compact-internal.h
%C%_liballoc_la_SOURCES += %D%/compact.c
%C%_liballoc_la_SOURCES += %D%/compact_layout.c
%C%_liballoc_la_SOURCES += %D%/compact_map.c
%C%_liballoc_la_SOURCES += %D%/compact_move.c
%C%_liballoc_la_SOURCES += %D%/compact_release.c
%C%_liballoc_la_SOURCES += %D%/demand-internal.h
%C%_liballoc_la_SOURCES += %D%/demand.c
%C%_liballoc_la_SOURCES += %D%/demand_check.c
%C%_liballoc_la_SOURCES += %D%/demand_clear.c
%C%_liballoc_la_SOURCES += %D%/demand_fault.c
%C%_liballoc_la_SOURCES += %D%/demand_install.c
%C%_liballoc_la_SOURCES += %D%/demand_provide.c
%C%_liballoc_la_SOURCES += %D%/demand_range.c
%C%_liballoc_la_SOURCES += %D%/demand_runs.c
%C%_liballoc_la_SOURCES += %D%/demand_staging.c
%C%_liballoc_la_SOURCES += %D%/demand_stats.c
%C%_liballoc_la_SOURCES += %D%/demand_step.c
%C%_liballoc_la_SOURCES += %D%/demand_unit.c
%C%_liballoc_la_SOURCES += %D%/policy.c
%C%_liballoc_la_SOURCES += %D%/service.c
%C%_liballoc_la_SOURCES += %D%/stats.c
EXTRA_DIST += %D%/DESIGN.md
EXTRA_DIST += %D%/DESIGN-malloc.md
