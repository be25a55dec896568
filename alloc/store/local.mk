# Page stores. May use uffd/.
EXTRA_DIST += %D%/store.h
