# The public headers, one per noun; installed as <ferry/NAME.h>.
pkgincludedir = $(includedir)/ferry
pkginclude_HEADERS =
pkginclude_HEADERS += %D%/ferry/version.h
