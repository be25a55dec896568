# ferryctl, installed. All but its main is a library, which its unit tests link.
noinst_LTLIBRARIES += %D%/libctl.la
%C%_libctl_la_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(CURSES_CFLAGS)
%C%_libctl_la_SOURCES =
%C%_libctl_la_SOURCES += %D%/agent.c
%C%_libctl_la_SOURCES += %D%/agent.h
%C%_libctl_la_SOURCES += %D%/client.c
%C%_libctl_la_SOURCES += %D%/client.h
%C%_libctl_la_SOURCES += %D%/cmd_agent.c
%C%_libctl_la_SOURCES += %D%/cmd_classify.c
%C%_libctl_la_SOURCES += %D%/cmd_list.c
%C%_libctl_la_SOURCES += %D%/cmd_maps.c
%C%_libctl_la_SOURCES += %D%/cmd_migrate.c
%C%_libctl_la_SOURCES += %D%/cmd_reclaim.c
%C%_libctl_la_SOURCES += %D%/cmd_stat.c
%C%_libctl_la_SOURCES += %D%/cmd_top.c
%C%_libctl_la_SOURCES += %D%/cmd_watch.c
%C%_libctl_la_SOURCES += %D%/commands.c
%C%_libctl_la_SOURCES += %D%/ctl.h
%C%_libctl_la_SOURCES += %D%/frames.c
%C%_libctl_la_SOURCES += %D%/frames.h
%C%_libctl_la_SOURCES += %D%/job.c
%C%_libctl_la_SOURCES += %D%/job.h
%C%_libctl_la_SOURCES += %D%/kernel.c
%C%_libctl_la_SOURCES += %D%/kernel.h
%C%_libctl_la_SOURCES += %D%/lines.c
%C%_libctl_la_SOURCES += %D%/lines.h
%C%_libctl_la_SOURCES += %D%/mappings.c
%C%_libctl_la_SOURCES += %D%/mappings.h
%C%_libctl_la_SOURCES += %D%/nodes.c
%C%_libctl_la_SOURCES += %D%/nodes.h
%C%_libctl_la_SOURCES += %D%/opts.c
%C%_libctl_la_SOURCES += %D%/outside.c
%C%_libctl_la_SOURCES += %D%/outside.h
%C%_libctl_la_SOURCES += %D%/pages.c
%C%_libctl_la_SOURCES += %D%/pages.h
%C%_libctl_la_SOURCES += %D%/picture.c
%C%_libctl_la_SOURCES += %D%/picture.h
%C%_libctl_la_SOURCES += %D%/print.c
%C%_libctl_la_SOURCES += %D%/print.h
%C%_libctl_la_SOURCES += %D%/process.c
%C%_libctl_la_SOURCES += %D%/process.h
%C%_libctl_la_SOURCES += %D%/ranges.c
%C%_libctl_la_SOURCES += %D%/ranges.h
%C%_libctl_la_SOURCES += %D%/sample.c
%C%_libctl_la_SOURCES += %D%/sample.h
%C%_libctl_la_SOURCES += %D%/say.c

bin_PROGRAMS += %D%/ferryctl
%C%_ferryctl_SOURCES = %D%/main.c
%C%_ferryctl_LDADD = %D%/libctl.la runtime/libferry.la $(CURSES_LIBS) \
	$(JANSSON_LIBS) $(NUMA_LIBS)

# Where the shells look for completions of what is installed.
bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = %D%/completion/ferryctl
zshcompletiondir = $(datadir)/zsh/site-functions
dist_zshcompletion_DATA = %D%/completion/_ferryctl
fishcompletiondir = $(datadir)/fish/vendor_completions.d
dist_fishcompletion_DATA = %D%/completion/ferryctl.fish

EXTRA_DIST += %D%/DESIGN.md
