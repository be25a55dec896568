# Page stores. May use uffd/.
noinst_LTLIBRARIES += %D%/libstore.la
%C%_libstore_la_CPPFLAGS = $(AM_CPPFLAGS) $(LZ4_CFLAGS) $(ZSTD_CFLAGS) \
	$(XXHASH_CFLAGS) $(URING_CFLAGS)
%C%_libstore_la_LIBADD = $(LZ4_ARCHIVE) $(ZSTD_ARCHIVE) \
	$(URING_ARCHIVE)
%C%_libstore_la_SOURCES =
%C%_libstore_la_SOURCES += %D%/checksum.c
%C%_libstore_la_SOURCES += %D%/checksum.h
%C%_libstore_la_SOURCES += %D%/codec.c
%C%_libstore_la_SOURCES += %D%/codec.h
%C%_libstore_la_SOURCES += %D%/file.c
%C%_libstore_la_SOURCES += %D%/file.h
%C%_libstore_la_SOURCES += %D%/file_fork.c
%C%_libstore_la_SOURCES += %D%/file_io.c
%C%_libstore_la_SOURCES += %D%/generations.c
%C%_libstore_la_SOURCES += %D%/generations.h
%C%_libstore_la_SOURCES += %D%/map.c
%C%_libstore_la_SOURCES += %D%/map.h
%C%_libstore_la_SOURCES += %D%/memory.c
%C%_libstore_la_SOURCES += %D%/memory.h
%C%_libstore_la_SOURCES += %D%/memory_check.c
%C%_libstore_la_SOURCES += %D%/node.c
%C%_libstore_la_SOURCES += %D%/node.h
%C%_libstore_la_SOURCES += %D%/nodes.c
%C%_libstore_la_SOURCES += %D%/nodes.h
%C%_libstore_la_SOURCES += %D%/ring.c
%C%_libstore_la_SOURCES += %D%/ring.h
%C%_libstore_la_SOURCES += %D%/slab.c
%C%_libstore_la_SOURCES += %D%/slab.h
%C%_libstore_la_SOURCES += %D%/slab-internal.h
%C%_libstore_la_SOURCES += %D%/slab_compact.c
%C%_libstore_la_SOURCES += %D%/slots.c
%C%_libstore_la_SOURCES += %D%/slots.h
%C%_libstore_la_SOURCES += %D%/store.h
%C%_libstore_la_SOURCES += %D%/table.c
%C%_libstore_la_SOURCES += %D%/table.h
