#!/usr/bin/env bash
# Compiles kernels/ with its tests and benches, the worker with its GPU backend, the test programs
# that tests/gpu/run.sh runs, and every other bench; checks the compiler's report for register spills.
#   scripts/cuda_compile.sh [--architectures LIST]      (default: every one; CMake's list, "90a-real")
# Needs no GPU. Uses nvcc from PATH; without one, the toolkit that NVIDIA publishes as Python packages,
# kept in the cache.
source "$(dirname "$0")/lib.sh"

architectures=()
if [ "${1:-}" = --architectures ]; then
  architectures=(-DCMAKE_CUDA_ARCHITECTURES="${2:?--architectures needs a list}")
  shift 2
fi
[ $# -eq 0 ] || die "unknown argument '$1': expected --architectures LIST"
"$ROOT/scripts/install_packages.sh" test
find_cuda

build="$ROOT/build/cuda"
step "compiling kernels/ and the GPU worker ($(nvcc --version | grep -oE 'V[0-9.]+' | tail -n 1))"
mkdir -p "$build"
configure() {
  cmake "$@" >"$build.log" 2>&1 || { cat "$build.log" >&2; die "cmake could not configure: $*"; }
}
configure -S "$ROOT/kernels" -B "$ROOT/build/kernels" -G Ninja  # it has to do without the rest
cd "$ROOT"
configure --preset cuda -DPINGTI_KERNELS_TESTS=ON -DPINGTI_KERNELS_BENCH=ON -DPINGTI_BUILD_BENCHES=ON \
  "${architectures[@]}"
# Reports are added up over builds, so one that has nothing left to compile is checked as well.
mapfile -t cuda_tests < <(ctest --test-dir "$build" -N |
  sed -nE 's/^ +Test +#[0-9]+: (.*_cuda_.*test)$/\1/p')
[ ${#cuda_tests[@]} -gt 0 ] || die "no CUDA test program is declared below tests/"
if ! cmake --build "$build" --target kernels/all bench/all pingti-worker pingti model_logprobs \
  "${cuda_tests[@]}" \
  >"$build.log" 2>&1; then
  grep -E 'error|FAILED' -A 6 "$build.log" | head -n 60 >&2
  die "the CUDA build failed (whole log: $build.log)"
fi
cat "$build.log" >>"$build/ptxas.log"
"$ROOT/bench/kernels/check_spills.sh" "$build/ptxas.log"
