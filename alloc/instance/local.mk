# Allocator instances: the engine for programs that link it. May use
# alloc/malloc/ (engine, regions, holes), alloc/pager/, alloc/store/ and uffd/.
if HAVE_MALLOC
lib_LTLIBRARIES += %D%/libferry-alloc.la
pkgconfig_DATA += %D%/ferry-alloc.pc
endif
%C%_libferry_alloc_la_CFLAGS = $(AM_CFLAGS) -ftls-model=initial-exec
%C%_libferry_alloc_la_SOURCES =
%C%_libferry_alloc_la_SOURCES += %D%/bins.c
%C%_libferry_alloc_la_SOURCES += %D%/bins.h
%C%_libferry_alloc_la_SOURCES += %D%/cache.c
%C%_libferry_alloc_la_SOURCES += %D%/engine_plain.c
%C%_libferry_alloc_la_SOURCES += %D%/fork.c
%C%_libferry_alloc_la_SOURCES += %D%/instance.c
%C%_libferry_alloc_la_SOURCES += %D%/instance.h
%C%_libferry_alloc_la_SOURCES += %D%/instance_stats.c
%C%_libferry_alloc_la_SOURCES += %D%/offload.c
%C%_libferry_alloc_la_SOURCES += %D%/space.c
# Of the malloc, what is not about being everybody's malloc.
%C%_libferry_alloc_la_SOURCES += alloc/malloc/arena.c
%C%_libferry_alloc_la_SOURCES += alloc/malloc/conf.c
%C%_libferry_alloc_la_SOURCES += alloc/malloc/holes.c
%C%_libferry_alloc_la_SOURCES += alloc/malloc/holes_jemalloc.c
%C%_libferry_alloc_la_SOURCES += alloc/malloc/holes_start.c
%C%_libferry_alloc_la_SOURCES += alloc/malloc/imports.c
%C%_libferry_alloc_la_SOURCES += alloc/malloc/space.c
%C%_libferry_alloc_la_SOURCES += alloc/malloc/tiers.c
%C%_libferry_alloc_la_LIBADD = alloc/malloc/engine.lo alloc/pager/libpager.la \
	alloc/store/libstore.la uffd/libuffd.la $(PTHREAD_LIBS)
# It stays when a module that needs it goes: threads, handlers around fork(2)
# and destructors of threads have its addresses.
%C%_libferry_alloc_la_LDFLAGS = $(AM_LDFLAGS) $(NOUNDEF_LDFLAGS) \
	-version-info $(FERRY_LT_VERSION) -Wl,-z,now -Wl,-z,nodelete \
	-Wl,--as-needed \
	-Wl,--version-script=$(srcdir)/%D%/alloc.map
EXTRA_%C%_libferry_alloc_la_DEPENDENCIES = %D%/alloc.map
EXTRA_DIST += %D%/alloc.map
