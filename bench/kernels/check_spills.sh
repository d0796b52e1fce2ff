#!/usr/bin/env bash
# Fails if a kernel spills registers to local memory.
#
#   bench/kernels/check_spills.sh BUILD_LOG
#
# BUILD_LOG is the output of a full build of kernels/, which compiles with -Xptxas -v.
set -euo pipefail

log="$1"
awk '
  /Compiling entry function/ { split($0, part, "\047"); entry = part[2]; arch = part[4] }
  /bytes spill stores/ {
    ++kernels
    if ($0 !~ / 0 bytes spill stores, 0 bytes spill loads/) {
      print "spills: " arch " " entry ": " $0
      ++spills
    }
  }
  END {
    printf "%d kernels compiled, %d spill\n", kernels, spills
    exit spills > 0
  }' "$log"
