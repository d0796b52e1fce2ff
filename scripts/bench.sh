#!/usr/bin/env bash
# Builds and runs the benchmarks that need no GPU, one folder of bench/ after another.
#   scripts/bench.sh [FOLDER...]      (default: all; see bench/README.md)
source "$(dirname "$0")/lib.sh"

"$ROOT/scripts/install_packages.sh" test
PINGTI_TEST_MODEL=$("$ROOT/scripts/fetch_model.sh")
export PINGTI_TEST_MODEL
cd "$ROOT"
cmake --preset release -DPINGTI_BUILD_BENCHES=ON >/dev/null || die "cmake could not configure"
"$ROOT/scripts/build.sh" all
ran=false
for program in "$BUILD_DIR"/bench/*_bench; do
  name=$(basename "$program" _bench)
  if [ $# -gt 0 ] && ! printf '%s\n' "$@" | grep -qxF -- "${name%%_*}"; then
    continue
  fi
  step "$name"
  "$program"
  ran=true
done
$ran || die "no benchmark belongs to: $*"
