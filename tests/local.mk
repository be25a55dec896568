# A test program is one line in the list of its layer. It links that layer's
# archive and those below, so that a call upwards does not link.
TEST_SUITE_LOG = %D%/test-suite.log
TEST_EXTENSIONS = .sh
LOG_DRIVER = $(SHELL) $(top_srcdir)/%D%/driver.sh
SH_LOG_DRIVER = $(LOG_DRIVER)
LOG_COMPILER = $(SAN_RUN)
SH_LOG_COMPILER = $(SAN_RUN)
AM_TESTS_ENVIRONMENT = FERRY_SRCDIR='$(abs_top_srcdir)'; export FERRY_SRCDIR; \
	FERRY_BUILDDIR='$(abs_top_builddir)'; export FERRY_BUILDDIR; \
	NM='$(NM)'; export NM; READELF='$(READELF)'; export READELF; \
	MANDOC='$(MANDOC)'; export MANDOC;
dist_noinst_SCRIPTS += %D%/driver.sh

CHECK_UFFD =
CHECK_UFFD += %D%/check_uffd_dirty
CHECK_UFFD += %D%/check_uffd_dirty_inject
CHECK_UFFD += %D%/check_uffd_eligible
CHECK_UFFD += %D%/check_uffd_fault
CHECK_UFFD += %D%/check_uffd_fault_end
CHECK_UFFD += %D%/check_uffd_fault_inject
CHECK_UFFD += %D%/check_uffd_fault_window
CHECK_UFFD += %D%/check_uffd_harness
CHECK_UFFD += %D%/check_uffd_immovable
CHECK_UFFD += %D%/check_uffd_inject
CHECK_UFFD += %D%/check_uffd_mapping
CHECK_UFFD += %D%/check_uffd_move
CHECK_UFFD += %D%/check_uffd_move_emulated
CHECK_UFFD += %D%/check_uffd_move_fallback
CHECK_UFFD += %D%/check_uffd_move_busy
CHECK_UFFD += %D%/check_uffd_move_huge
CHECK_UFFD += %D%/check_uffd_move_inject
CHECK_UFFD += %D%/check_uffd_move_refuse
CHECK_UFFD += %D%/check_uffd_move_refuse_emulated
CHECK_UFFD += %D%/check_uffd_node
CHECK_UFFD += %D%/check_uffd_node_apply
CHECK_UFFD += %D%/check_uffd_features
CHECK_UFFD += %D%/check_uffd_open
CHECK_UFFD += %D%/check_uffd_ops
CHECK_UFFD += %D%/check_uffd_pins
CHECK_UFFD += %D%/check_uffd_physmap
CHECK_UFFD += %D%/check_uffd_reserve
CHECK_UFFD += %D%/check_uffd_signal
CHECK_UFFD += %D%/check_uffd_smaps
CHECK_UFFD += %D%/check_uffd_sys
CHECK_UFFD += %D%/check_uffd_topology
CHECK_UFFD += %D%/stress_uffd_dirty
CHECK_UFFD += %D%/stress_uffd_fault
CHECK_UFFD += %D%/stress_uffd_move

CHECK_ALLOC =
CHECK_ALLOC += %D%/check_alloc_arena
CHECK_ALLOC += %D%/stress_alloc_arena
CHECK_ALLOC += %D%/check_alloc_agent
CHECK_ALLOC += %D%/check_alloc_agent_fork
CHECK_ALLOC += %D%/check_alloc_agent_ops
CHECK_ALLOC += %D%/check_alloc_agent_policy
CHECK_ALLOC += %D%/check_alloc_place
CHECK_ALLOC += %D%/check_alloc_inject
CHECK_ALLOC += %D%/check_alloc_service
CHECK_ALLOC += %D%/check_alloc_policy
CHECK_ALLOC += %D%/check_alloc_immovable
CHECK_ALLOC += %D%/check_alloc_node
CHECK_ALLOC += %D%/check_alloc_tier
CHECK_ALLOC += %D%/check_alloc_compact
CHECK_ALLOC += %D%/check_alloc_compact_inject
CHECK_ALLOC += %D%/check_alloc_compact_layout
CHECK_ALLOC += %D%/check_alloc_compact_transit
CHECK_ALLOC += %D%/stress_alloc_compact
CHECK_ALLOC += %D%/check_alloc_demand
CHECK_ALLOC += %D%/check_alloc_demand_clear
CHECK_ALLOC += %D%/check_alloc_demand_end
CHECK_ALLOC += %D%/check_alloc_demand_inject
CHECK_ALLOC += %D%/check_alloc_demand_staging
CHECK_ALLOC += %D%/stress_alloc_demand
CHECK_ALLOC += %D%/check_alloc_handover
CHECK_ALLOC += %D%/check_alloc_handover_hostile
CHECK_ALLOC += %D%/check_alloc_handover_kill
CHECK_ALLOC += %D%/stress_alloc_handover
CHECK_ALLOC += %D%/check_alloc_segment
CHECK_ALLOC += %D%/check_alloc_handover_inject
CHECK_ALLOC += %D%/check_alloc_handover_lazy
CHECK_ALLOC += %D%/check_alloc_pages
CHECK_ALLOC += %D%/check_alloc_lookup
CHECK_ALLOC += %D%/check_alloc_control
CHECK_ALLOC += %D%/check_alloc_pager
CHECK_ALLOC += %D%/check_alloc_pager_ahead
CHECK_ALLOC += %D%/check_alloc_pager_ahead_sigbus
CHECK_ALLOC += %D%/check_alloc_pager_fork
CHECK_ALLOC += %D%/check_alloc_pager_fork_inject
CHECK_ALLOC += %D%/check_alloc_pager_inject
CHECK_ALLOC += %D%/check_alloc_pager_policy
CHECK_ALLOC += %D%/check_alloc_pager_pressure
CHECK_ALLOC += %D%/check_alloc_pager_sigbus
CHECK_ALLOC += %D%/check_alloc_pager_slow
CHECK_ALLOC += %D%/check_alloc_pager_tier
CHECK_ALLOC += %D%/stress_alloc_pager
CHECK_ALLOC += %D%/check_alloc_store_file
CHECK_ALLOC += %D%/check_alloc_store_file_fork
CHECK_ALLOC += %D%/check_alloc_store_dict
CHECK_ALLOC += %D%/check_alloc_store_memory
CHECK_ALLOC += %D%/check_alloc_store_node
CHECK_ALLOC += %D%/stress_alloc_store

# These begin a server for each of their tests, which takes minutes where a
# kernel is emulated: not of the kernel matrix.
CHECK_SERVER =
if HAVE_HIREDIS
CHECK_SERVER += %D%/check_alloc_store_redis
CHECK_SERVER += %D%/check_alloc_store_redis_reach
endif

CHECK_MALLOC =
CHECK_MALLOC += %D%/check_alloc_conf
CHECK_MALLOC += %D%/check_alloc_ends
CHECK_MALLOC += %D%/check_alloc_hint
CHECK_MALLOC += %D%/check_alloc_limits
CHECK_MALLOC += %D%/check_alloc_malloc
CHECK_MALLOC += %D%/check_alloc_preload
CHECK_MALLOC += %D%/check_alloc_settings
CHECK_MALLOC += %D%/check_alloc_starter
CHECK_MALLOC += %D%/stress_alloc_malloc
CHECK_MALLOC += %D%/check_alloc_raw_fork
CHECK_MALLOC += %D%/check_alloc_wrap
if HAVE_MALLOC
CHECK_MALLOC += %D%/check_alloc_allocator
CHECK_MALLOC += %D%/check_alloc_allocator_store
# These look into the engine.
CHECK_MALLOC += %D%/check_alloc_bins
CHECK_MALLOC += %D%/check_alloc_holes
CHECK_MALLOC += %D%/stress_alloc_holes
endif

CHECK_RUNTIME =
CHECK_RUNTIME += %D%/check_runtime_heap
CHECK_RUNTIME += %D%/check_runtime_agent
CHECK_RUNTIME += %D%/check_runtime_alloc
CHECK_RUNTIME += %D%/check_runtime_mark
CHECK_RUNTIME += %D%/check_runtime_mark_race
CHECK_RUNTIME += %D%/check_runtime_flip
CHECK_RUNTIME += %D%/check_runtime_rounds
CHECK_RUNTIME += %D%/check_runtime_young
CHECK_RUNTIME += %D%/check_runtime_pace
CHECK_RUNTIME += %D%/check_runtime_stats
CHECK_RUNTIME += %D%/check_runtime_compact
CHECK_RUNTIME += %D%/check_runtime_compact_beside
CHECK_RUNTIME += %D%/check_runtime_compact_inject
CHECK_RUNTIME += %D%/check_runtime_stale
CHECK_RUNTIME += %D%/check_runtime_world
CHECK_RUNTIME += %D%/check_runtime_large
CHECK_RUNTIME += %D%/check_runtime_root
CHECK_RUNTIME += %D%/check_runtime_verify
CHECK_RUNTIME += %D%/check_runtime_version
CHECK_RUNTIME += %D%/check_runtime_identity
CHECK_RUNTIME += %D%/check_runtime_finalizer
CHECK_RUNTIME += %D%/check_runtime_ephemeron
CHECK_RUNTIME += %D%/check_runtime_weak
CHECK_RUNTIME += %D%/stress_runtime_model
CHECK_RUNTIME += %D%/check_runtime_conf
CHECK_RUNTIME += %D%/check_runtime_event
CHECK_RUNTIME += %D%/check_runtime_fork
CHECK_RUNTIME += %D%/check_runtime_model
CHECK_RUNTIME += %D%/check_runtime_policy
CHECK_RUNTIME += %D%/check_runtime_pressure
CHECK_RUNTIME += %D%/check_runtime_tier

CHECK_BENCH =
CHECK_BENCH += %D%/check_bench_stats
CHECK_BENCH += %D%/check_bench_opts
CHECK_BENCH += %D%/check_bench_output
CHECK_BENCH += %D%/check_bench_gc

CHECK_CTL =
CHECK_CTL += %D%/check_ctl_client
CHECK_CTL += %D%/check_ctl_outside
CHECK_CTL += %D%/check_ctl_ranges
CHECK_CTL += %D%/check_ctl_top

if HAVE_CHECK
check_LTLIBRARIES += %D%/libharness.la
%C%_libharness_la_SOURCES =
%C%_libharness_la_SOURCES += %D%/feature.c
%C%_libharness_la_SOURCES += %D%/files.c
%C%_libharness_la_SOURCES += %D%/files.h
%C%_libharness_la_SOURCES += %D%/harness.c
%C%_libharness_la_SOURCES += %D%/harness.h
%C%_libharness_la_SOURCES += %D%/inject.c
%C%_libharness_la_SOURCES += %D%/inject.h
%C%_libharness_la_SOURCES += %D%/memory.c
%C%_libharness_la_SOURCES += %D%/memory.h
%C%_libharness_la_SOURCES += %D%/moving.c
%C%_libharness_la_SOURCES += %D%/moving.h
%C%_libharness_la_SOURCES += %D%/nodes.c
%C%_libharness_la_SOURCES += %D%/nodes.h
%C%_libharness_la_SOURCES += %D%/pin.c
%C%_libharness_la_SOURCES += %D%/pin.h
%C%_libharness_la_SOURCES += %D%/random.c
%C%_libharness_la_SOURCES += %D%/random.h
%C%_libharness_la_SOURCES += %D%/served.c
%C%_libharness_la_SOURCES += %D%/served.h
%C%_libharness_la_SOURCES += %D%/store_conform.c
%C%_libharness_la_SOURCES += %D%/store_conform.h
%C%_libharness_la_SOURCES += %D%/stored.c
%C%_libharness_la_SOURCES += %D%/stored.h
%C%_libharness_la_SOURCES += %D%/system.c
%C%_libharness_la_SOURCES += %D%/system.h
%C%_libharness_la_SOURCES += %D%/tiered.c
%C%_libharness_la_SOURCES += %D%/tiered.h
%C%_libharness_la_SOURCES += %D%/tree.c
%C%_libharness_la_SOURCES += %D%/tree.h
%C%_libharness_la_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_PROGRAMS += $(CHECK_UFFD) $(CHECK_ALLOC) $(CHECK_RUNTIME)
TESTS += $(CHECK_UFFD) $(CHECK_ALLOC) $(CHECK_RUNTIME)
check_PROGRAMS += $(CHECK_MALLOC)
TESTS += $(CHECK_MALLOC)
check_PROGRAMS += $(CHECK_SERVER)
TESTS += $(CHECK_SERVER)
check_PROGRAMS += $(CHECK_BENCH)
TESTS += $(CHECK_BENCH)
check_PROGRAMS += $(CHECK_CTL)
TESTS += $(CHECK_CTL)
endif

EXTRA_DIST += %D%/README.md

# Checks of what is built, by scripts.
TESTS += %D%/exports.sh
TESTS += %D%/malloc_exports.sh
dist_noinst_SCRIPTS += %D%/malloc_exports.sh
TESTS += %D%/allocator_preloaded.sh
dist_noinst_SCRIPTS += %D%/allocator_preloaded.sh
TESTS += %D%/manpages.sh
TESTS += %D%/probes.sh
dist_noinst_SCRIPTS += %D%/exports.sh
dist_noinst_SCRIPTS += %D%/bench_run.sh
TESTS += %D%/bench_run.sh
dist_noinst_SCRIPTS += %D%/bench_gc.sh
TESTS += %D%/bench_gc.sh
# What the bench's verification has to notice; a module that is preloaded.
check_LTLIBRARIES += %D%/libbadmalloc.la
%C%_libbadmalloc_la_SOURCES = %D%/bad_malloc.c
%C%_libbadmalloc_la_LDFLAGS = -module -avoid-version -shared -rpath /nowhere
%C%_libbadmalloc_la_LIBADD =
dist_noinst_SCRIPTS += %D%/bench_policy.sh
TESTS += %D%/bench_policy.sh
dist_noinst_SCRIPTS += %D%/bench_malloc.sh
TESTS += %D%/bench_malloc.sh
check_LTLIBRARIES += %D%/libbadvmread.la
%C%_libbadvmread_la_SOURCES = %D%/bad_vm_read.c
%C%_libbadvmread_la_LDFLAGS = -module -avoid-version -shared -rpath /nowhere
%C%_libbadvmread_la_LIBADD =
dist_noinst_SCRIPTS += %D%/bench_handover.sh
TESTS += %D%/bench_handover.sh
# Whom ferryctl is tried on.
check_PROGRAMS += %D%/ctl_target
%C%_ctl_target_SOURCES = %D%/ctl_target.c
%C%_ctl_target_LDADD = runtime/libferry.la
dist_noinst_SCRIPTS += %D%/ferryctl.sh
TESTS += %D%/ferryctl.sh
dist_noinst_SCRIPTS += %D%/manpages.sh
dist_noinst_SCRIPTS += %D%/probes.sh
dist_noinst_SCRIPTS += %D%/installcheck.sh

# What a test of each layer links. The first is the default, so that a test
# of uffd/ is one line above; the others say which they mean.
LDADD = %D%/libharness.la uffd/libuffd.la $(CHECK_LIBS) $(FERRY_LIBS)
ALLOC_TEST_LIBS = %D%/libharness.la alloc/liballoc.la uffd/libuffd.la \
	$(CHECK_LIBS) $(FERRY_LIBS)
STORE_TEST_LIBS = %D%/libharness.la alloc/store/libstore.la uffd/libuffd.la \
	$(CHECK_LIBS) $(FERRY_LIBS)
RUNTIME_TEST_LIBS = %D%/libharness.la runtime/libruntime.la \
	alloc/liballoc.la uffd/libuffd.la $(CHECK_LIBS) $(FERRY_LIBS)
PAGER_TEST_LIBS = %D%/libharness.la alloc/pager/libpager.la \
	alloc/store/libstore.la uffd/libuffd.la $(CHECK_LIBS) $(PTHREAD_LIBS)
# The malloc is in these programs as in any program that links it. Where it
# is not built they skip.
MALLOC_TEST_LIBS = %D%/libharness.la
if HAVE_MALLOC
MALLOC_TEST_LIBS += alloc/malloc/libferry-malloc.la
endif
MALLOC_TEST_LIBS += uffd/libuffd.la $(CHECK_LIBS) $(FERRY_LIBS)
%C%_check_alloc_limits_LDADD = $(MALLOC_TEST_LIBS)
%C%_check_alloc_malloc_LDADD = $(MALLOC_TEST_LIBS)
%C%_check_alloc_hint_LDADD = $(MALLOC_TEST_LIBS)
%C%_check_alloc_preload_LDADD = $(MALLOC_TEST_LIBS)
%C%_check_alloc_raw_fork_LDADD = $(MALLOC_TEST_LIBS)
%C%_check_alloc_ends_SOURCES = %D%/check_alloc_ends.c %D%/again.c %D%/again.h
%C%_check_alloc_ends_LDADD = $(MALLOC_TEST_LIBS)
%C%_check_alloc_settings_SOURCES = %D%/check_alloc_settings.c %D%/again.c \
	%D%/again.h
%C%_check_alloc_settings_LDADD = $(MALLOC_TEST_LIBS)
%C%_check_alloc_conf_SOURCES = %D%/check_alloc_conf.c alloc/malloc/conf.c
%C%_check_alloc_allocator_LDADD = %D%/libharness.la \
	alloc/instance/libferry-alloc.la uffd/libuffd.la $(CHECK_LIBS) \
	$(FERRY_LIBS)
%C%_check_alloc_allocator_store_SOURCES = \
	%D%/check_alloc_allocator_store.c %D%/server.c %D%/server.h
%C%_check_alloc_allocator_store_LDADD = $(%C%_check_alloc_allocator_LDADD)
%C%_stress_alloc_malloc_SOURCES = %D%/stress_alloc_malloc.c \
	%D%/heap_model.c %D%/heap_model.h
%C%_stress_alloc_malloc_LDADD = $(MALLOC_TEST_LIBS)
# All of it but the names of the C library, which stay those of the C library.
ENGINE_TEST_LIBS = %D%/libharness.la alloc/malloc/libmalloc.la \
	alloc/pager/libpager.la alloc/store/libstore.la uffd/libuffd.la \
	$(CHECK_LIBS) $(FERRY_LIBS)
%C%_check_alloc_control_SOURCES = %D%/check_alloc_control.c \
	alloc/malloc/control.c
%C%_check_alloc_control_LDADD = %D%/libharness.la uffd/libuffd.la \
	$(CHECK_LIBS) $(FERRY_LIBS)
%C%_check_alloc_starter_SOURCES = %D%/check_alloc_starter.c \
	alloc/malloc/starter.c
# These names are the C library's; here they are the program's.
%C%_check_alloc_wrap_SOURCES = %D%/check_alloc_wrap.c \
	alloc/malloc/fork_raw.c alloc/malloc/quiet.c alloc/malloc/wrap.c
%C%_check_alloc_bins_SOURCES = %D%/check_alloc_bins.c \
	alloc/instance/bins.c
%C%_check_alloc_bins_LDADD = $(ENGINE_TEST_LIBS)
%C%_check_alloc_holes_LDADD = $(ENGINE_TEST_LIBS)
%C%_stress_alloc_holes_LDADD = $(ENGINE_TEST_LIBS)
# The installed library alone, through its exported names.
SHARED_TEST_LIBS = %D%/libharness.la runtime/libferry.la $(CHECK_LIBS)

# All of ferryctl but its main.
CTL_TEST_LIBS = %D%/libharness.la tools/ferryctl/libctl.la \
	runtime/libferry.la $(CURSES_LIBS) $(JANSSON_LIBS) $(CHECK_LIBS) \
	$(NUMA_LIBS)
%C%_check_ctl_client_LDADD = $(CTL_TEST_LIBS)
%C%_check_ctl_outside_LDADD = $(CTL_TEST_LIBS)
%C%_check_ctl_ranges_LDADD = $(CTL_TEST_LIBS)
%C%_check_ctl_top_LDADD = $(CTL_TEST_LIBS)

# The frame of ferry-bench, and what it stands on.
BENCH_TEST_LIBS = %D%/libharness.la bench/libbench.la runtime/libferry.la \
	$(JANSSON_LIBS) $(CHECK_LIBS) -lm
%C%_check_bench_stats_LDADD = $(BENCH_TEST_LIBS)
%C%_check_bench_stats_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
%C%_check_bench_opts_LDADD = $(BENCH_TEST_LIBS)
%C%_check_bench_opts_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
%C%_check_bench_output_LDADD = $(BENCH_TEST_LIBS)
%C%_check_bench_output_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
%C%_check_bench_gc_LDADD = $(BENCH_TEST_LIBS)
%C%_check_bench_gc_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
%C%_check_alloc_agent_SOURCES = %D%/check_alloc_agent.c \
	%D%/agent_client.c %D%/agent_client.h
%C%_check_alloc_agent_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_agent_fork_SOURCES = %D%/check_alloc_agent_fork.c \
	%D%/agent_client.c %D%/agent_client.h
%C%_check_alloc_agent_fork_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_agent_ops_SOURCES = %D%/check_alloc_agent_ops.c \
	%D%/agent_client.c %D%/agent_client.h
%C%_check_alloc_agent_ops_LDADD = $(ALLOC_TEST_LIBS) $(JANSSON_LIBS)
%C%_check_alloc_agent_ops_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
%C%_check_alloc_agent_policy_SOURCES = %D%/check_alloc_agent_policy.c \
	%D%/agent_client.c %D%/agent_client.h
%C%_check_alloc_agent_policy_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_arena_LDADD = $(ALLOC_TEST_LIBS)
%C%_stress_alloc_arena_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_place_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_inject_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_service_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_policy_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_node_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_immovable_SOURCES = %D%/check_alloc_immovable.c \
	%D%/pager_bed.c %D%/pager_bed.h
%C%_check_alloc_immovable_LDADD = %D%/libharness.la alloc/liballoc.la \
	alloc/pager/libpager.la alloc/store/libstore.la uffd/libuffd.la \
	$(CHECK_LIBS) $(FERRY_LIBS)
%C%_check_alloc_tier_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_compact_SOURCES = %D%/check_alloc_compact.c %D%/compact_heap.c \
	%D%/compact_heap.h
%C%_check_alloc_compact_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_compact_inject_SOURCES = %D%/check_alloc_compact_inject.c \
	%D%/compact_heap.c %D%/compact_heap.h
%C%_check_alloc_compact_inject_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_compact_layout_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_compact_transit_SOURCES = %D%/check_alloc_compact_transit.c \
	%D%/compact_heap.c %D%/compact_heap.h
%C%_check_alloc_compact_transit_LDADD = $(ALLOC_TEST_LIBS)
%C%_stress_alloc_compact_SOURCES = %D%/stress_alloc_compact.c \
	%D%/compact_heap.c %D%/compact_heap.h
%C%_stress_alloc_compact_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_demand_SOURCES = %D%/check_alloc_demand.c %D%/demand_bed.c \
	%D%/demand_bed.h
%C%_check_alloc_demand_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_demand_clear_SOURCES = %D%/check_alloc_demand_clear.c %D%/demand_bed.c \
	%D%/demand_bed.h
%C%_check_alloc_demand_clear_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_demand_end_SOURCES = %D%/check_alloc_demand_end.c %D%/demand_bed.c \
	%D%/demand_bed.h
%C%_check_alloc_demand_end_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_demand_inject_SOURCES = %D%/check_alloc_demand_inject.c %D%/demand_bed.c \
	%D%/demand_bed.h
%C%_check_alloc_demand_inject_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_demand_staging_SOURCES = %D%/check_alloc_demand_staging.c %D%/demand_bed.c \
	%D%/demand_bed.h
%C%_check_alloc_demand_staging_LDADD = $(ALLOC_TEST_LIBS)
%C%_stress_alloc_demand_SOURCES = %D%/stress_alloc_demand.c %D%/demand_bed.c \
	%D%/demand_bed.h
%C%_stress_alloc_demand_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_handover_SOURCES = %D%/check_alloc_handover.c \
	%D%/handover_bed.c %D%/handover_bed.h
%C%_check_alloc_handover_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_handover_kill_SOURCES = %D%/check_alloc_handover_kill.c \
	%D%/handover_bed.c %D%/handover_bed.h
%C%_check_alloc_handover_kill_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_handover_hostile_SOURCES = %D%/check_alloc_handover_hostile.c \
	%D%/handover_bed.c %D%/handover_bed.h
%C%_check_alloc_handover_hostile_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_handover_lazy_SOURCES = %D%/check_alloc_handover_lazy.c \
	%D%/handover_bed.c %D%/handover_bed.h
%C%_check_alloc_handover_lazy_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_handover_inject_SOURCES = %D%/check_alloc_handover_inject.c \
	%D%/handover_bed.c %D%/handover_bed.h
%C%_check_alloc_handover_inject_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_segment_SOURCES = %D%/check_alloc_segment.c \
	%D%/handover_bed.c %D%/handover_bed.h
%C%_check_alloc_segment_LDADD = $(ALLOC_TEST_LIBS)
%C%_stress_alloc_handover_SOURCES = %D%/stress_alloc_handover.c \
	%D%/handover_bed.c %D%/handover_bed.h
%C%_stress_alloc_handover_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_pages_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_lookup_LDADD = $(ALLOC_TEST_LIBS)
%C%_check_alloc_pager_SOURCES = %D%/check_alloc_pager.c %D%/pager_bed.c \
	%D%/pager_bed.h
%C%_check_alloc_pager_LDADD = $(PAGER_TEST_LIBS)
%C%_check_alloc_pager_ahead_SOURCES = %D%/check_alloc_pager_ahead.c \
	%D%/pager_bed.c %D%/pager_bed.h
%C%_check_alloc_pager_ahead_LDADD = $(PAGER_TEST_LIBS)
%C%_check_alloc_pager_ahead_sigbus_SOURCES = %D%/check_alloc_pager_ahead.c \
	%D%/pager_bed.c %D%/pager_bed.h
%C%_check_alloc_pager_ahead_sigbus_CPPFLAGS = $(AM_CPPFLAGS) -DSIGBUS_MODE
%C%_check_alloc_pager_ahead_sigbus_LDADD = $(PAGER_TEST_LIBS)
%C%_check_alloc_pager_fork_SOURCES = %D%/check_alloc_pager_fork.c \
	%D%/pager_bed.c %D%/pager_bed.h
%C%_check_alloc_pager_fork_LDADD = $(PAGER_TEST_LIBS)
%C%_check_alloc_pager_fork_inject_SOURCES = \
	%D%/check_alloc_pager_fork_inject.c %D%/pager_bed.c %D%/pager_bed.h
%C%_check_alloc_pager_fork_inject_LDADD = $(PAGER_TEST_LIBS)
%C%_check_alloc_pager_inject_SOURCES = %D%/check_alloc_pager_inject.c \
	%D%/pager_bed.c %D%/pager_bed.h
%C%_check_alloc_pager_inject_LDADD = $(PAGER_TEST_LIBS)
%C%_check_alloc_pager_policy_SOURCES = %D%/check_alloc_pager_policy.c \
	%D%/pager_bed.c %D%/pager_bed.h
%C%_check_alloc_pager_policy_LDADD = $(PAGER_TEST_LIBS)
%C%_check_alloc_pager_pressure_LDADD = $(PAGER_TEST_LIBS)
# The same facts, served in the faulting thread.
%C%_check_alloc_pager_sigbus_SOURCES = %D%/check_alloc_pager.c %D%/pager_bed.c \
	%D%/pager_bed.h
%C%_check_alloc_pager_sigbus_CPPFLAGS = $(AM_CPPFLAGS) -DSIGBUS_MODE
%C%_check_alloc_pager_sigbus_LDADD = $(PAGER_TEST_LIBS)
%C%_check_alloc_pager_slow_SOURCES = %D%/check_alloc_pager_slow.c \
	%D%/pager_bed.c %D%/pager_bed.h
%C%_check_alloc_pager_slow_LDADD = $(PAGER_TEST_LIBS)
%C%_check_alloc_pager_tier_SOURCES = %D%/check_alloc_pager_tier.c \
	%D%/pager_bed.c %D%/pager_bed.h
%C%_check_alloc_pager_tier_LDADD = $(PAGER_TEST_LIBS) $(FERRY_LIBS)
%C%_stress_alloc_pager_SOURCES = %D%/stress_alloc_pager.c \
	%D%/pager_bed.c %D%/pager_bed.h
%C%_stress_alloc_pager_LDADD = $(PAGER_TEST_LIBS)
%C%_check_alloc_store_file_SOURCES = %D%/check_alloc_store_file.c \
	%D%/store_file_bed.c %D%/store_file_bed.h
%C%_check_alloc_store_file_LDADD = $(STORE_TEST_LIBS)
%C%_check_alloc_store_file_fork_SOURCES = \
	%D%/check_alloc_store_file_fork.c %D%/store_file_bed.c \
	%D%/store_file_bed.h
%C%_check_alloc_store_file_fork_LDADD = $(STORE_TEST_LIBS)
%C%_check_alloc_store_dict_LDADD = $(STORE_TEST_LIBS)
%C%_check_alloc_store_memory_LDADD = $(STORE_TEST_LIBS)
%C%_check_alloc_store_node_LDADD = $(STORE_TEST_LIBS)
%C%_check_alloc_store_redis_SOURCES = %D%/check_alloc_store_redis.c \
	%D%/server.c %D%/server.h %D%/store_redis_bed.c \
	%D%/store_redis_bed.h
%C%_check_alloc_store_redis_LDADD = $(STORE_TEST_LIBS)
%C%_check_alloc_store_redis_CPPFLAGS = $(AM_CPPFLAGS) $(HIREDIS_CFLAGS)
%C%_check_alloc_store_redis_reach_SOURCES = \
	%D%/check_alloc_store_redis_reach.c %D%/relay.c %D%/relay.h \
	%D%/server.c %D%/server.h %D%/store_redis_bed.c \
	%D%/store_redis_bed.h
%C%_check_alloc_store_redis_reach_LDADD = $(STORE_TEST_LIBS)
%C%_check_alloc_store_redis_reach_CPPFLAGS = $(AM_CPPFLAGS) $(HIREDIS_CFLAGS)
%C%_stress_alloc_store_LDADD = $(STORE_TEST_LIBS)
%C%_check_runtime_agent_SOURCES = %D%/check_runtime_agent.c \
	%D%/agent_client.c %D%/agent_client.h %D%/cells.c %D%/cells.h
%C%_check_runtime_agent_LDADD = $(RUNTIME_TEST_LIBS) $(JANSSON_LIBS)
%C%_check_runtime_agent_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
%C%_check_runtime_heap_SOURCES = %D%/check_runtime_heap.c \
	%D%/cells.c %D%/cells.h
%C%_check_runtime_heap_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_alloc_SOURCES = %D%/check_runtime_alloc.c \
	%D%/cells.c %D%/cells.h
%C%_check_runtime_alloc_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_mark_SOURCES = %D%/check_runtime_mark.c \
	%D%/cells.c %D%/cells.h
%C%_check_runtime_mark_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_mark_race_SOURCES = %D%/check_runtime_mark_race.c \
	%D%/cells.c %D%/cells.h
%C%_check_runtime_mark_race_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_flip_SOURCES = %D%/check_runtime_flip.c \
	%D%/cells.c %D%/cells.h
%C%_check_runtime_flip_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_rounds_SOURCES = %D%/check_runtime_rounds.c \
	%D%/cells.c %D%/cells.h
%C%_check_runtime_rounds_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_young_SOURCES = %D%/check_runtime_young.c \
	%D%/cells.c %D%/cells.h
%C%_check_runtime_young_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_tier_SOURCES = %D%/check_runtime_tier.c \
	%D%/cells.c %D%/cells.h
%C%_check_runtime_tier_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_pace_SOURCES = %D%/check_runtime_pace.c \
	%D%/cells.c %D%/cells.h
%C%_check_runtime_pace_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_stats_SOURCES = %D%/check_runtime_stats.c \
	%D%/cells.c %D%/cells.h
%C%_check_runtime_stats_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_compact_SOURCES = %D%/check_runtime_compact.c \
	%D%/cells.c %D%/cells.h %D%/ways.c %D%/ways.h
%C%_check_runtime_compact_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_compact_beside_SOURCES = %D%/check_runtime_compact_beside.c \
	%D%/cells.c %D%/cells.h %D%/ways.c %D%/ways.h
%C%_check_runtime_compact_beside_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_stale_SOURCES = %D%/check_runtime_stale.c \
	%D%/cells.c %D%/cells.h %D%/ways.c %D%/ways.h
%C%_check_runtime_stale_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_compact_inject_SOURCES = %D%/check_runtime_compact_inject.c \
	%D%/cells.c %D%/cells.h
%C%_check_runtime_compact_inject_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_world_SOURCES = %D%/check_runtime_world.c \
	%D%/cells.c %D%/cells.h
%C%_check_runtime_world_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_large_LDADD = $(RUNTIME_TEST_LIBS)
%C%_stress_runtime_model_SOURCES = %D%/stress_runtime_model.c \
	%D%/model.c %D%/model.h
%C%_stress_runtime_model_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_root_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_verify_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_version_LDADD = $(SHARED_TEST_LIBS)
%C%_check_runtime_identity_SOURCES = %D%/check_runtime_identity.c \
	%D%/graph.c %D%/graph.h
%C%_check_runtime_identity_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_finalizer_SOURCES = %D%/check_runtime_finalizer.c \
	%D%/graph.c %D%/graph.h
%C%_check_runtime_finalizer_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_ephemeron_SOURCES = %D%/check_runtime_ephemeron.c \
	%D%/graph.c %D%/graph.h
%C%_check_runtime_ephemeron_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_weak_SOURCES = %D%/check_runtime_weak.c %D%/graph.c \
	%D%/graph.h
%C%_check_runtime_weak_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_conf_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_event_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_fork_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_model_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_policy_LDADD = $(RUNTIME_TEST_LIBS)
%C%_check_runtime_pressure_LDADD = $(RUNTIME_TEST_LIBS)

INSTALLED_ALLOC_EXAMPLE =
if HAVE_MALLOC
INSTALLED_ALLOC_EXAMPLE += $(srcdir)/examples/allocator.c
endif
.PHONY: installcheck-examples
installcheck-local: installcheck-examples
installcheck-examples:
	CC='$(CC)' bindir='$(bindir)' pkgconfigdir='$(pkgconfigdir)' \
	  DESTDIR='$(DESTDIR)' ALLOC_EXAMPLE='$(INSTALLED_ALLOC_EXAMPLE)' $(SHELL) $(srcdir)/%D%/installcheck.sh \
	  $(EXAMPLES:%=$(srcdir)/%.c)

# The same facts, with every move emulated.
%C%_check_uffd_move_emulated_SOURCES = %D%/check_uffd_move.c
%C%_check_uffd_move_emulated_CPPFLAGS = $(AM_CPPFLAGS) -DEMULATED
%C%_check_uffd_move_refuse_emulated_SOURCES = %D%/check_uffd_move_refuse.c
%C%_check_uffd_move_refuse_emulated_CPPFLAGS = $(AM_CPPFLAGS) -DEMULATED
