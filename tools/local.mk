# Scripts for those who work on the tree; nothing here is installed.
dist_noinst_SCRIPTS += %D%/check-format

.PHONY: format check-format
format:
	CLANG_FORMAT='$(CLANG_FORMAT)' $(SHELL) $(srcdir)/%D%/check-format --fix
check-format:
	CLANG_FORMAT='$(CLANG_FORMAT)' $(SHELL) $(srcdir)/%D%/check-format
