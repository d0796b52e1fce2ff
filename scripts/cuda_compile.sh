#!/usr/bin/env bash
# Compiles kernels/, its tests and its benches for every architecture, and checks the compiler's
# report for register spills. Needs no GPU. Uses nvcc from PATH; without one, the toolkit that NVIDIA
# publishes as Python packages, kept in the cache.
source "$(dirname "$0")/lib.sh"

"$ROOT/scripts/install_packages.sh" build
if ! command -v nvcc >/dev/null; then
  toolkit="$CACHE_DIR/cuda-13.0"
  if [ ! -e "$toolkit/complete" ]; then
    need_space_mib "$CACHE_DIR" 4000
    step "fetching the CUDA 13.0 compiler into $toolkit"
    rm -rf "$toolkit"
    python3 -m venv "$toolkit" && "$toolkit/bin/pip" install --quiet --disable-pip-version-check \
      nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
      nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-cublas==13.0.2.14 ||
      die "the CUDA compiler could not be fetched: is the network up?"
    # The packages carry libcublasLt.so.13, but not the name that linkers look for.
    for library in "$toolkit"/lib/python3*/site-packages/nvidia/cu13/lib/*.so.13; do
      ln -s "$(basename "$library")" "${library%.13}"
    done
    touch "$toolkit/complete"
  fi
  cu13=$(echo "$toolkit"/lib/python3*/site-packages/nvidia/cu13)
  export PATH="$cu13/bin:$PATH" CUDAToolkit_ROOT="$cu13"
fi

build="$ROOT/build/kernels"
step "compiling kernels/ for CUDA ($(nvcc --version | grep -oE 'V[0-9.]+' | tail -n 1))"
mkdir -p "$build"
cmake -S "$ROOT/kernels" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release >"$build.log" 2>&1 ||
  { cat "$build.log" >&2; die "cmake could not configure kernels/"; }
# Reports are added up over builds, so one that has nothing left to compile is checked as well.
if ! cmake --build "$build" >"$build.log" 2>&1; then
  grep -E 'error|FAILED' -A 6 "$build.log" | head -n 60 >&2
  die "kernels/ does not compile (whole log: $build.log)"
fi
cat "$build.log" >>"$build/ptxas.log"
"$ROOT/bench/kernels/check_spills.sh" "$build/ptxas.log"
