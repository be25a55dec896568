# Small programs a newcomer copies from. They see only what an installed user
# sees: hence their own flags, without the tree's private headers.
FLAGS_OF_EXAMPLES = -I$(top_srcdir)/include
LIBS_OF_EXAMPLES = runtime/libferry.la $(PTHREAD_LIBS)
EXAMPLES =

noinst_PROGRAMS += $(EXAMPLES)
