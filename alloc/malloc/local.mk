# The malloc over jemalloc. May use alloc/pager/, alloc/store/ and uffd/.
if HAVE_MALLOC
noinst_LTLIBRARIES += %D%/libmalloc.la
lib_LTLIBRARIES += %D%/libferry-malloc.la

# jemalloc under other names, as an object that links like one of ours.
%D%/engine.lo: %D%/engine.sh alloc/store/archive.sh $(JEMALLOC_PIC) Makefile
	$(AM_V_GEN)AR='$(AR)' NM='$(NM)' OBJCOPY='$(OBJCOPY)' LD='$(LD)' \
	  $(SHELL) $(srcdir)/%D%/engine.sh '$(JEMALLOC_PIC)' $@
CLEANFILES += %D%/engine.lo %D%/.libs/engine.o
endif

# All but the exported functions, for the library and its tests.
%C%_libmalloc_la_CFLAGS = $(AM_CFLAGS) -ftls-model=initial-exec
%C%_libmalloc_la_SOURCES =
%C%_libmalloc_la_SOURCES += %D%/arena.c
%C%_libmalloc_la_SOURCES += %D%/conf.c
%C%_libmalloc_la_SOURCES += %D%/conf.h
%C%_libmalloc_la_SOURCES += %D%/control.c
%C%_libmalloc_la_SOURCES += %D%/control.h
%C%_libmalloc_la_SOURCES += %D%/engine.c
%C%_libmalloc_la_SOURCES += %D%/engine.h
%C%_libmalloc_la_SOURCES += %D%/foreign.c
%C%_libmalloc_la_SOURCES += %D%/foreign.h
%C%_libmalloc_la_SOURCES += %D%/fork.c
%C%_libmalloc_la_SOURCES += %D%/grow.c
%C%_libmalloc_la_SOURCES += %D%/grow.h
%C%_libmalloc_la_SOURCES += %D%/hooks.c
%C%_libmalloc_la_SOURCES += %D%/hooks.h
%C%_libmalloc_la_SOURCES += %D%/imports.c
%C%_libmalloc_la_SOURCES += %D%/leave.c
%C%_libmalloc_la_SOURCES += %D%/leave.h
%C%_libmalloc_la_SOURCES += %D%/library.c
%C%_libmalloc_la_SOURCES += %D%/library.h
%C%_libmalloc_la_SOURCES += %D%/quiet.c
%C%_libmalloc_la_SOURCES += %D%/quiet.h
%C%_libmalloc_la_SOURCES += %D%/holes.c
%C%_libmalloc_la_SOURCES += %D%/holes.h
%C%_libmalloc_la_SOURCES += %D%/holes_jemalloc.c
%C%_libmalloc_la_SOURCES += %D%/holes_layout.h
%C%_libmalloc_la_SOURCES += %D%/holes_start.c
%C%_libmalloc_la_SOURCES += %D%/offload.c
%C%_libmalloc_la_SOURCES += %D%/offload.h
%C%_libmalloc_la_SOURCES += %D%/offload-internal.h
%C%_libmalloc_la_SOURCES += %D%/offload_quiet.c
%C%_libmalloc_la_SOURCES += %D%/path.c
%C%_libmalloc_la_SOURCES += %D%/path.h
%C%_libmalloc_la_SOURCES += %D%/report.c
%C%_libmalloc_la_SOURCES += %D%/report.h
%C%_libmalloc_la_SOURCES += %D%/socket.c
%C%_libmalloc_la_SOURCES += %D%/socket.h
%C%_libmalloc_la_SOURCES += %D%/space.c
%C%_libmalloc_la_SOURCES += %D%/space.h
%C%_libmalloc_la_SOURCES += %D%/starter.c
%C%_libmalloc_la_SOURCES += %D%/starter.h
%C%_libmalloc_la_SOURCES += %D%/stats.c
%C%_libmalloc_la_SOURCES += %D%/stats.h
%C%_libmalloc_la_SOURCES += %D%/tiers.c
%C%_libmalloc_la_SOURCES += %D%/tiers.h
%C%_libmalloc_la_LIBADD = %D%/engine.lo

%C%_libferry_malloc_la_CFLAGS = $(AM_CFLAGS) -ftls-model=initial-exec \
	-fno-builtin-malloc -fno-builtin-calloc
%C%_libferry_malloc_la_SOURCES =
%C%_libferry_malloc_la_SOURCES += %D%/surface.c
%C%_libferry_malloc_la_SOURCES += %D%/dlopen.c
%C%_libferry_malloc_la_SOURCES += %D%/advise.c
%C%_libferry_malloc_la_SOURCES += %D%/hint.c
%C%_libferry_malloc_la_SOURCES += %D%/info.c
%C%_libferry_malloc_la_SOURCES += %D%/fork_raw.c
%C%_libferry_malloc_la_SOURCES += %D%/wrap.c
%C%_libferry_malloc_la_LIBADD = %D%/libmalloc.la alloc/pager/libpager.la \
	alloc/store/libstore.la uffd/libuffd.la
# Bound at load: a handler must not find itself in the loader. malloc itself
# is jemalloc's own function, without a step in between.
%C%_libferry_malloc_la_LDFLAGS = $(AM_LDFLAGS) -avoid-version \
	$(NOUNDEF_LDFLAGS) -Wl,-z,now -Wl,-z,initfirst -Wl,-z,nodelete -Wl,--as-needed \
	-Wl,--defsym,malloc=ferry__je_malloc \
	-Wl,--version-script=$(srcdir)/%D%/malloc.map
EXTRA_%C%_libferry_malloc_la_DEPENDENCIES = %D%/malloc.map
EXTRA_DIST += %D%/engine.sh
EXTRA_DIST += %D%/malloc.map
