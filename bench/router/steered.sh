#!/usr/bin/env bash
# Question: what would streamed tokens cost the router if clients were behind a network card? On the
# loopback, the call that sends a packet also does the receiver's half of TCP. Baseline: the same,
# without the steering.
#   bench/router/steered.sh [BUILD_DIR]      (as root, two cores or more; default: build/release)
# Runs router_bench's `streams` in a network namespace of its own, with the router on CPU 0 and its
# workers and clients on CPU 1: three times as it is, and three times, in turns, with what the
# loopback receives steered to CPU 1 (see "RPS" in the kernel's scaling.rst). The kernel's
# hand-over to the other CPU stays with the router, as a card's would.
set -euo pipefail

build=$(realpath "${1:-build/release}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# router_bench starts the router that lies beside it.
mkdir "$work/bench" "$work/bin"
cp "$build/bench/router_bench" "$work/bench/"
printf '#!/bin/sh\nexec taskset -c 0 "%s" "$@"\n' "$build/bin/pingti-router" >"$work/bin/pingti-router"
chmod +x "$work/bin/pingti-router"

for _ in 1 2 3; do
  for mask in 0 2; do
    echo "loopback's packets received on CPUs of mask $mask (0: where they are sent)"
    unshare --net --mount sh -c "
      mount -t sysfs sysfs /sys && ip link set lo up &&
      echo $mask >/sys/class/net/lo/queues/rx-0/rps_cpus &&
      exec taskset -c 1 '$work/bench/router_bench' streams"
  done
done
