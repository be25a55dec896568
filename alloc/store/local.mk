# Page stores. May use uffd/.
noinst_LTLIBRARIES += %D%/libstore.la

if HAVE_HIREDIS
# hiredis under other names and with other memory, as one object of ours.
HIREDIS_OBJECT = %D%/hiredis.lo
%D%/hiredis.lo: %D%/hiredis.sh %D%/archive.sh $(HIREDIS_ARCHIVE) Makefile
	$(AM_V_GEN)AR='$(AR)' NM='$(NM)' OBJCOPY='$(OBJCOPY)' LD='$(LD)' \
	  $(SHELL) $(srcdir)/%D%/hiredis.sh '$(HIREDIS_ARCHIVE)' $@
CLEANFILES += %D%/hiredis.lo %D%/.libs/hiredis.o
endif
EXTRA_DIST += %D%/archive.sh
EXTRA_DIST += %D%/hiredis.sh

%C%_libstore_la_CPPFLAGS = $(AM_CPPFLAGS) $(LZ4_CFLAGS) $(ZSTD_CFLAGS) \
	$(XXHASH_CFLAGS) $(URING_CFLAGS) $(HIREDIS_CFLAGS)
%C%_libstore_la_LIBADD = $(LZ4_ARCHIVE) $(ZSTD_ARCHIVE) \
	$(URING_ARCHIVE) $(HIREDIS_OBJECT)
%C%_libstore_la_SOURCES =
%C%_libstore_la_SOURCES += %D%/checksum.c
%C%_libstore_la_SOURCES += %D%/checksum.h
%C%_libstore_la_SOURCES += %D%/checksum_avx2.c
%C%_libstore_la_SOURCES += %D%/codec.c
%C%_libstore_la_SOURCES += %D%/codec.h
%C%_libstore_la_SOURCES += %D%/dict.c
%C%_libstore_la_SOURCES += %D%/dict.h
%C%_libstore_la_SOURCES += %D%/dicts.c
%C%_libstore_la_SOURCES += %D%/dicts.h
%C%_libstore_la_SOURCES += %D%/file.c
%C%_libstore_la_SOURCES += %D%/file.h
%C%_libstore_la_SOURCES += %D%/file_fork.c
%C%_libstore_la_SOURCES += %D%/file_io.c
%C%_libstore_la_SOURCES += %D%/gate.c
%C%_libstore_la_SOURCES += %D%/gate.h
%C%_libstore_la_SOURCES += %D%/generations.c
%C%_libstore_la_SOURCES += %D%/generations.h
%C%_libstore_la_SOURCES += %D%/parts.c
%C%_libstore_la_SOURCES += %D%/parts.h
%C%_libstore_la_SOURCES += %D%/map.c
%C%_libstore_la_SOURCES += %D%/map.h
%C%_libstore_la_SOURCES += %D%/memory.c
%C%_libstore_la_SOURCES += %D%/memory.h
%C%_libstore_la_SOURCES += %D%/memory_check.c
%C%_libstore_la_SOURCES += %D%/memory_put.c
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

if HAVE_HIREDIS
%C%_libstore_la_SOURCES += %D%/redis.c
%C%_libstore_la_SOURCES += %D%/redis.h
%C%_libstore_la_SOURCES += %D%/redis_address.c
%C%_libstore_la_SOURCES += %D%/redis_address.h
%C%_libstore_la_SOURCES += %D%/redis_fork.c
%C%_libstore_la_SOURCES += %D%/redis_link.c
%C%_libstore_la_SOURCES += %D%/redis_link.h
%C%_libstore_la_SOURCES += %D%/redis_pool.c
%C%_libstore_la_SOURCES += %D%/redis_pool.h
%C%_libstore_la_SOURCES += %D%/redis_server.c
else
%C%_libstore_la_SOURCES += %D%/redis_none.c
endif
