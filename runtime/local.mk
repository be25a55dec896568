# The library that is installed: every layer, exported through ferry.map.
noinst_LTLIBRARIES += %D%/libruntime.la
%C%_libruntime_la_SOURCES =
%C%_libruntime_la_SOURCES += %D%/extent.c
%C%_libruntime_la_SOURCES += %D%/extent.h
%C%_libruntime_la_SOURCES += %D%/large.c
%C%_libruntime_la_SOURCES += %D%/root.c
%C%_libruntime_la_SOURCES += %D%/stress.c
%C%_libruntime_la_SOURCES += %D%/stress.h
%C%_libruntime_la_SOURCES += %D%/version.c
%C%_libruntime_la_SOURCES += %D%/cgroup.c
%C%_libruntime_la_SOURCES += %D%/cgroup.h
%C%_libruntime_la_SOURCES += %D%/conf.c
%C%_libruntime_la_SOURCES += %D%/event.c
%C%_libruntime_la_SOURCES += %D%/event.h
%C%_libruntime_la_SOURCES += %D%/probe.h
%C%_libruntime_la_SOURCES += %D%/stats.c

lib_LTLIBRARIES += %D%/libferry.la
%C%_libferry_la_SOURCES =
%C%_libferry_la_LIBADD = %D%/libruntime.la alloc/liballoc.la uffd/libuffd.la \
	$(FERRY_LIBS)
%C%_libferry_la_LDFLAGS = $(AM_LDFLAGS) -version-info $(FERRY_LT_VERSION) \
	$(NOUNDEF_LDFLAGS) -Wl,--version-script=$(srcdir)/%D%/ferry.map
EXTRA_%C%_libferry_la_DEPENDENCIES = %D%/ferry.map
EXTRA_DIST += %D%/ferry.map
EXTRA_DIST += %D%/DESIGN.md
pkgconfig_DATA = %D%/ferry.pc
