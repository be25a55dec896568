# Arenas and page compaction. May use uffd/.
noinst_LTLIBRARIES += %D%/liballoc.la
%C%_liballoc_la_SOURCES =
