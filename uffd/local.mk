# The kernel interface. Knows nothing of arenas or heaps.
noinst_LTLIBRARIES += %D%/libuffd.la
%C%_libuffd_la_SOURCES =
%C%_libuffd_la_SOURCES += %D%/sys.c
%C%_libuffd_la_SOURCES += %D%/sys.h
%C%_libuffd_la_SOURCES += %D%/uapi.h
%C%_libuffd_la_SOURCES += %D%/eligible.c
%C%_libuffd_la_SOURCES += %D%/mapping.c
%C%_libuffd_la_SOURCES += %D%/mapping.h
%C%_libuffd_la_SOURCES += %D%/reason.c
%C%_libuffd_la_SOURCES += %D%/smaps.c
%C%_libuffd_la_SOURCES += %D%/handle.h
%C%_libuffd_la_SOURCES += %D%/uffd.c
%C%_libuffd_la_SOURCES += %D%/ops.c
%C%_libuffd_la_SOURCES += %D%/backoff.c
%C%_libuffd_la_SOURCES += %D%/features.c
