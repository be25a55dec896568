# `make check-fuzz': random sequences of operations beside a model, by
# libFuzzer, for FUZZ_SECONDS. The library is compiled in, with coverage.
# Another seed: make check-fuzz FUZZ_SEED=7. What it finds is left in the
# build folder as tests/fuzz/crash-*; run the program on that file again.
FUZZ_SECONDS = 30
FUZZ_SEED = 1
# liburcu places its per-thread records at less than the alignment that it
# declares for them, and inlines their use: hence no check of alignment.
FUZZ_FLAGS = -g -O1 -fsanitize=fuzzer,address,undefined \
	-fno-sanitize=alignment -fno-sanitize-recover=all

EXTRA_DIST += %D%/fuzz_arena.c
CLEANFILES += %D%/fuzz_arena

FUZZED = %D%/fuzz_arena.c $(uffd_libuffd_la_SOURCES) \
	$(alloc_liballoc_la_SOURCES)

%D%/fuzz_arena: $(FUZZED)
	$(AM_V_GEN)$(MKDIR_P) %D% && $(CLANG) $(STD_CFLAGS) $(FUZZ_FLAGS) \
	  $(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) $(CPPFLAGS) \
	  $(PTHREAD_CFLAGS) -o $@ \
	  `for f in $(FUZZED); do case $$f in *.c) \
	    test -f $$f && echo $$f || echo $(srcdir)/$$f;; esac; done` \
	  $(FERRY_LIBS)

.PHONY: check-fuzz
if HAVE_CLANG
check-fuzz: %D%/fuzz_arena
	cd %D% && ASAN_OPTIONS=detect_leaks=0 ./fuzz_arena -seed=$(FUZZ_SEED) \
	  -max_total_time=$(FUZZ_SECONDS) -max_len=1024 -len_control=20 \
	  -timeout=60 -print_final_stats=1 -verbosity=1
else
check-fuzz:
	@echo 'check-fuzz: needs clang'; exit 1
endif
