#!/usr/bin/env bash
# Prints the path of promtool. Taken out of Debian's prometheus package without installing it: that
# package would start a server on this machine.
source "$(dirname "$0")/lib.sh"

if command -v promtool; then
  exit 0
fi
tool="$CACHE_DIR/tools/usr/bin/promtool"
if [ ! -x "$tool" ]; then
  mkdir -p "$CACHE_DIR/downloads" "$CACHE_DIR/tools"
  cd "$CACHE_DIR/downloads"
  apt-get download -qq prometheus >&2 ||
    die "apt-get could not download the package prometheus: is the network up?"
  dpkg -x prometheus_*.deb "$CACHE_DIR/tools"
  rm -f prometheus_*.deb
fi
echo "$tool"
