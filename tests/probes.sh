#!/bin/sh
# SPDX-License-Identifier: MIT
# Every kind of event is a USDT probe of the library, and nothing else is.
#
# Environment: READELF.
set -u

library=$FERRY_BUILDDIR/runtime/.libs/libferry.so
if ! grep -q '^#define FERRY_PROBES 1' "$FERRY_BUILDDIR/config.h"; then
  echo "SKIP probes: built without them (no sys/sdt.h)"
  exit 77
fi
if ! command -v "${READELF:-readelf}" >/dev/null; then
  echo "SKIP probes: no readelf here to see them"
  exit 77
fi

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
sed -n 's/^\tFERRY_EVENT_\([A-Z_]*\).*/\1/p' \
  "$FERRY_SRCDIR/include/ferry/event.h" | tr '[:upper:]' '[:lower:]' | sort \
  >"$tmp/declared"
"${READELF:-readelf}" -n "$library" |
  awk '$1 == "Provider:" { ours = $2 == "ferry" }
       $1 == "Name:" && ours { print $2 }' | sort -u >"$tmp/probes"

status=0
missing=$(comm -23 "$tmp/declared" "$tmp/probes" | tr '\n' ' ')
if [ -n "$missing" ]; then
  echo "FAIL probes: events without a probe: $missing"
  status=1
fi
unknown=$(comm -13 "$tmp/declared" "$tmp/probes" | tr '\n' ' ')
if [ -n "$unknown" ]; then
  echo "FAIL probes: probes without an event: $unknown"
  status=1
fi
if [ ! -s "$tmp/declared" ]; then
  echo "FAIL probes: no events found: this check is broken"
  status=1
fi
echo "$(wc -l <"$tmp/probes") probes"
exit $status
