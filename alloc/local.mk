# Arenas and page compaction. May use uffd/.
noinst_LTLIBRARIES += %D%/liballoc.la
%C%_liballoc_la_SOURCES =
%C%_liballoc_la_SOURCES += %D%/alloc-internal.h
%C%_liballoc_la_SOURCES += %D%/arena.c
%C%_liballoc_la_SOURCES += %D%/lookup.c
%C%_liballoc_la_SOURCES += %D%/pages.c
%C%_liballoc_la_SOURCES += %D%/compact-internal.h
%C%_liballoc_la_SOURCES += %D%/compact.c
%C%_liballoc_la_SOURCES += %D%/compact_layout.c
%C%_liballoc_la_SOURCES += %D%/compact_map.c
%C%_liballoc_la_SOURCES += %D%/compact_move.c
%C%_liballoc_la_SOURCES += %D%/compact_release.c
