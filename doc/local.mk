# Man pages, one per line. A page for several names is installed under each
# of them: the names are those of its NAME section.
dist_man_MANS =
dist_man_MANS += %D%/ferry-bench.1
dist_man_MANS += %D%/ferry-heap.7
dist_man_MANS += %D%/ferry-malloc.7
dist_man_MANS += %D%/ferry-probes.7
dist_man_MANS += %D%/ferry.7
dist_man_MANS += %D%/ferry_agent_start.3
dist_man_MANS += %D%/ferry_alloc.3
dist_man_MANS += %D%/ferry_allocator_create.3
dist_man_MANS += %D%/ferry_arena_create.3
dist_man_MANS += %D%/ferry_arena_stats.3
dist_man_MANS += %D%/ferry_compact_plan.3
dist_man_MANS += %D%/ferry_demand_create.3
dist_man_MANS += %D%/ferry_dirty_open.3
dist_man_MANS += %D%/ferry_fault_service_create.3
dist_man_MANS += %D%/ferry_features_get.3
dist_man_MANS += %D%/ferry_finalizer_add.3
dist_man_MANS += %D%/ferry_handover_send.3
dist_man_MANS += %D%/ferry_heap_collect.3
dist_man_MANS += %D%/ferry_heap_create.3
dist_man_MANS += %D%/ferry_heap_stats.3
dist_man_MANS += %D%/ferry_hint_cold.3
dist_man_MANS += %D%/ferry_identity_hash.3
dist_man_MANS += %D%/ferry_listener_add.3
dist_man_MANS += %D%/ferry_lookup.3
dist_man_MANS += %D%/ferry_move.3
dist_man_MANS += %D%/ferry_mutator_attach.3
dist_man_MANS += %D%/ferry_range_eligible.3
dist_man_MANS += %D%/ferry_heap_verify.3
dist_man_MANS += %D%/ferry_pin.3
dist_man_MANS += %D%/ferry_root_add_range.3
dist_man_MANS += %D%/ferry_tiering_create.3
dist_man_MANS += %D%/ferry_topology_get.3
dist_man_MANS += %D%/ferry_uffd_open.3
dist_man_MANS += %D%/ferry_uffd_register.3
dist_man_MANS += %D%/ferry_version.3
dist_man_MANS += %D%/ferry_visit.3
dist_man_MANS += %D%/ferry_weak_map_create.3
dist_man_MANS += %D%/ferry_weak_new.3
dist_man_MANS += %D%/ferryctl.1

dist_noinst_SCRIPTS += %D%/aliases.sh

install-data-hook:
	$(SHELL) $(srcdir)/%D%/aliases.sh $(srcdir)/%D% | \
	while read -r alias page; do \
	  dir="$(DESTDIR)$(mandir)/man$${page##*.}"; \
	  rm -f "$$dir/$$alias" && $(LN_S) "$$page" "$$dir/$$alias" || exit 1; \
	done
uninstall-hook:
	$(SHELL) $(srcdir)/%D%/aliases.sh $(srcdir)/%D% | \
	while read -r alias page; do \
	  rm -f "$(DESTDIR)$(mandir)/man$${page##*.}/$$alias"; \
	done

EXTRA_DIST += %D%/agent-protocol.md

# Pictures: of the heap and of pages by hand, the others drawn by ferry-bench --plot
# (malloc-idle without its marks).
EXTRA_DIST += %D%/img/cold-page.svg
EXTRA_DIST += %D%/img/compact-pages.svg
EXTRA_DIST += %D%/img/compact-runs8.svg
EXTRA_DIST += %D%/img/heap-cycle.svg
EXTRA_DIST += %D%/img/heap-flip.svg
EXTRA_DIST += %D%/img/heap-pauses.svg
EXTRA_DIST += %D%/img/malloc-idle.svg
EXTRA_DIST += %D%/img/move-batch.svg
