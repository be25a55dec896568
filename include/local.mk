# The public headers, one per noun; installed as <ferry/NAME.h>.
pkgincludedir = $(includedir)/ferry
pkginclude_HEADERS =
pkginclude_HEADERS += %D%/ferry/arena.h
pkginclude_HEADERS += %D%/ferry/base.h
pkginclude_HEADERS += %D%/ferry/compact.h
pkginclude_HEADERS += %D%/ferry/demand.h
pkginclude_HEADERS += %D%/ferry/dirty.h
pkginclude_HEADERS += %D%/ferry/eligible.h
pkginclude_HEADERS += %D%/ferry/fault.h
pkginclude_HEADERS += %D%/ferry/ferry.h
pkginclude_HEADERS += %D%/ferry/move.h
pkginclude_HEADERS += %D%/ferry/uffd.h
pkginclude_HEADERS += %D%/ferry/version.h
