# Cold pages: out to a store and back. May use alloc/store/ and uffd/.
EXTRA_DIST += %D%/pager.h
