# `make check-fuzz': random sequences of operations beside a model, by
# libFuzzer, for FUZZ_SECONDS each. The library is compiled in, with coverage.
#	fuzz_arena	what a user of arenas and compaction can call
#	fuzz_claims	what movers of pages call below it, and moves themselves
#	fuzz_smaps	the reader of /proc/PID/smaps
#	fuzz_conf	the reader of a heap's options
#	fuzz_agent	requests to the policy agent
#	fuzz_ranges	ferryctl's reader of ranges
# Another seed: make check-fuzz FUZZ_SEED=7. What it finds is left in the
# build folder as tests/fuzz/crash-*; run the program on that file again.
FUZZ_SECONDS = 30
FUZZ_SEED = 1
# liburcu places its per-thread records at less than the alignment that it
# declares for them, and inlines their use: hence no check of alignment.
FUZZ_FLAGS = -g -O1 -fsanitize=fuzzer,address,undefined \
	-fno-sanitize=alignment -fno-sanitize-recover=all

FUZZERS = %D%/fuzz_arena %D%/fuzz_claims %D%/fuzz_smaps
FUZZERS += %D%/fuzz_conf
FUZZERS += %D%/fuzz_agent
FUZZERS += %D%/fuzz_ranges
FUZZ_CLAIMS = %D%/fuzz_claims.c %D%/model.c
EXTRA_DIST += %D%/fuzz_agent.c
EXTRA_DIST += %D%/fuzz_arena.c
EXTRA_DIST += %D%/fuzz_smaps.c
EXTRA_DIST += %D%/fuzz_conf.c
EXTRA_DIST += %D%/fuzz_ranges.c
EXTRA_DIST += $(FUZZ_CLAIMS)
EXTRA_DIST += %D%/model.h
CLEANFILES += $(FUZZERS)

FUZZED = $(uffd_libuffd_la_SOURCES) $(alloc_liballoc_la_SOURCES)

# Compiles the *.c among the arguments into the target.
FUZZ_BUILD = $(MKDIR_P) %D% && $(CLANG) $(STD_CFLAGS) $(FUZZ_FLAGS) \
	$(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) $(CPPFLAGS) \
	$(PTHREAD_CFLAGS) -o $@ \
	`for f in $(FUZZED) $$sources; do case $$f in *.c) \
	  test -f $$f && echo $$f || echo $(srcdir)/$$f;; esac; done` \
	$(FERRY_LIBS)

%D%/fuzz_agent: %D%/fuzz_agent.c %D%/model.c $(FUZZED)
	$(AM_V_GEN)sources='%D%/fuzz_agent.c %D%/model.c'; $(FUZZ_BUILD)
%D%/fuzz_arena: %D%/fuzz_arena.c $(FUZZED)
	$(AM_V_GEN)sources=%D%/fuzz_arena.c; $(FUZZ_BUILD)
%D%/fuzz_claims: $(FUZZ_CLAIMS) %D%/model.h $(FUZZED)
	$(AM_V_GEN)sources='$(FUZZ_CLAIMS)'; $(FUZZ_BUILD)
%D%/fuzz_smaps: %D%/fuzz_smaps.c $(FUZZED)
	$(AM_V_GEN)sources=%D%/fuzz_smaps.c; $(FUZZ_BUILD)
%D%/fuzz_conf: %D%/fuzz_conf.c runtime/conf.c $(FUZZED)
	$(AM_V_GEN)sources='%D%/fuzz_conf.c runtime/conf.c'; \
	  $(FUZZ_BUILD)
FUZZ_RANGES = %D%/fuzz_ranges.c tools/ferryctl/kernel.c \
	tools/ferryctl/opts.c tools/ferryctl/ranges.c tools/ferryctl/say.c
%D%/fuzz_ranges: $(FUZZ_RANGES) $(FUZZED)
	$(AM_V_GEN)sources='$(FUZZ_RANGES)'; $(FUZZ_BUILD)

.PHONY: check-fuzz
if HAVE_CLANG
check-fuzz: $(FUZZERS)
	cd %D% && for program in $(FUZZERS); do \
	  ASAN_OPTIONS=detect_leaks=0 ./$${program##*/} -seed=$(FUZZ_SEED) \
	    -max_total_time=$(FUZZ_SECONDS) -max_len=1024 -len_control=20 \
	    -timeout=60 -print_final_stats=1 -verbosity=1 || exit 1; \
	done
else
check-fuzz:
	@echo 'check-fuzz: needs clang'; exit 1
endif
