# The malloc over jemalloc. May use alloc/pager/, alloc/store/ and uffd/.
