#!/usr/bin/env bash
# Configures and builds a preset, quietly when there is nothing to do.
#   scripts/build.sh [--preset NAME] [TARGET...]      (default: release, the three programs)
# PINGTI_UNITY=ON in the environment of the first build of a preset compiles many sources at once:
# the quickest whole build, and a slow one after each change. Continuous integration sets it.
source "$(dirname "$0")/lib.sh"

preset=release
if [ "${1:-}" = --preset ]; then
  preset=${2:?--preset needs a name}
  shift 2
fi
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(pingti-router pingti-worker pingti)

"$ROOT/scripts/install_packages.sh" build
need_space_mib "$ROOT/build" 1500
cd "$ROOT"
if [ ! -f "build/$preset/build.ninja" ]; then
  step "configuring ($preset)"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; die "cmake could not configure"; }
fi
if ! ninja -C "build/$preset" -n "${targets[@]}" 2>/dev/null | grep -q 'no work to do'; then
  if [ ${#targets[@]} -gt 3 ]; then what="${#targets[@]} targets"; else what=${targets[*]}; fi
  step "building $what ($preset); the first build takes some minutes"
fi
NINJA_STATUS='[%f/%t, %es] ' cmake --build "build/$preset" --target "${targets[@]}" -- --quiet ||
  die "the build failed (see above)"
