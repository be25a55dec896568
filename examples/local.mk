# Small programs a newcomer copies from. They see only what an installed user
# sees: their flags leave out the tree's private headers. `make check' runs
# them all, and `make installcheck' builds them against what is installed.
#
# To add one, three lines:
#	EXAMPLES += %D%/NAME
#	%C%_NAME_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
#	%C%_NAME_LDADD = $(LIBS_OF_EXAMPLES)
EXAMPLES =
EXAMPLES += %D%/demand
EXAMPLES += %D%/dirty
EXAMPLES += %D%/arena
EXAMPLES += %D%/batches
EXAMPLES += %D%/compact
EXAMPLES += %D%/eligible
EXAMPLES += %D%/fault
EXAMPLES += %D%/lazy
EXAMPLES += %D%/move
EXAMPLES += %D%/restart
EXAMPLES += %D%/conservative
EXAMPLES += %D%/minimal
EXAMPLES += %D%/threads
FLAGS_OF_EXAMPLES = -I$(top_srcdir)/include
LIBS_OF_EXAMPLES = runtime/libferry.la $(PTHREAD_LIBS)

%C%_demand_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_demand_LDADD = $(LIBS_OF_EXAMPLES)
%C%_dirty_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_dirty_LDADD = $(LIBS_OF_EXAMPLES)
%C%_arena_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_arena_LDADD = $(LIBS_OF_EXAMPLES)
%C%_batches_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_batches_LDADD = $(LIBS_OF_EXAMPLES)
%C%_compact_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_compact_LDADD = $(LIBS_OF_EXAMPLES)
%C%_eligible_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_eligible_LDADD = $(LIBS_OF_EXAMPLES)
%C%_fault_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_fault_LDADD = $(LIBS_OF_EXAMPLES)
%C%_lazy_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_lazy_LDADD = $(LIBS_OF_EXAMPLES)
%C%_move_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_move_LDADD = $(LIBS_OF_EXAMPLES)
%C%_restart_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_restart_LDADD = $(LIBS_OF_EXAMPLES)
%C%_conservative_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_conservative_LDADD = $(LIBS_OF_EXAMPLES)
%C%_minimal_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_minimal_LDADD = $(LIBS_OF_EXAMPLES)
%C%_threads_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_threads_LDADD = $(LIBS_OF_EXAMPLES)

noinst_PROGRAMS += $(EXAMPLES)
TESTS += $(EXAMPLES)

# Over allocator instances, which are a library of their own.
ALLOC_EXAMPLES =
LIBS_OF_ALLOC_EXAMPLES = alloc/instance/libferry-alloc.la
if HAVE_MALLOC
ALLOC_EXAMPLES += %D%/allocator
endif
if HAVE_LUA
ALLOC_EXAMPLES += %D%/lua
endif
if HAVE_SQLITE
ALLOC_EXAMPLES += %D%/sqlite
endif
%C%_allocator_CPPFLAGS = $(FLAGS_OF_EXAMPLES)
%C%_allocator_LDADD = $(LIBS_OF_ALLOC_EXAMPLES)
%C%_lua_CPPFLAGS = $(FLAGS_OF_EXAMPLES) $(LUA_CFLAGS)
%C%_lua_LDADD = $(LIBS_OF_ALLOC_EXAMPLES) $(LUA_LIBS)
%C%_sqlite_CPPFLAGS = $(FLAGS_OF_EXAMPLES) $(SQLITE_CFLAGS)
%C%_sqlite_LDADD = $(LIBS_OF_ALLOC_EXAMPLES) $(SQLITE_LIBS)
noinst_PROGRAMS += $(ALLOC_EXAMPLES)
TESTS += $(ALLOC_EXAMPLES)
