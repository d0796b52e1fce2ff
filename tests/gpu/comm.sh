#!/usr/bin/env bash
# Builds kernels/ on a machine with GPUs, checks the all-reduces there, times them, and prints the tables.
#   tests/gpu/comm.sh [--quick] [BUILD_DIR]
# Needs CUDA 13, CMake, ninja and two GPUs that reach each other (with one, ranks share it and only the checks
# say something). --quick leaves out the variants. NCCL is looked for in python3's packages; PINGTI_NCCL names
# another libnccl.so.2. Everything runs within a limit, and what fails does not keep the rest from running; the
# last line is "N parts failed, S s".
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
LIMIT_S=60
# NVLink multicast stays off, for NCCL too.
export NCCL_NVLS_ENABLE=0

variants=true
build=$ROOT/build/comm
for argument in "$@"; do
  case $argument in
    --quick) variants=false ;;
    -*) printf "error: unknown argument '%s'\n" "$argument" >&2; exit 2 ;;
    *) build=$argument ;;
  esac
done

failed=0
begin=$SECONDS
# part NAME COMMAND...: runs it within the limit.
part() {
  local name=$1 status=0
  shift
  printf '\n== %s\n' "$name"
  timeout -k 5 "$LIMIT_S" "$@" 2>&1 | awk '++n <= 400' || status=$?
  printf -- '-- %s: status %d, %d s since the start\n' "$name" "$status" "$((SECONDS - begin))"
  [ "$status" -eq 0 ] || failed=$((failed + 1))
}

nvidia-smi --query-gpu=index,name,clocks.sm,clocks.max.sm --format=csv,noheader
nvidia-smi topo -m 2>/dev/null | head -12
mkdir -p "$build"
cmake -S "$ROOT/kernels" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CUDA_ARCHITECTURES=90a-real >"$build/configure.txt" 2>&1 || { tail -n 20 "$build/configure.txt"; exit 1; }
if ! timeout 240 cmake --build "$build" --parallel "$(nproc)" \
  --target kernel_all_reduce_test kernel_all_reduce_norm_test bench_comm >"$build/build.txt" 2>&1; then
  grep -E 'error|FAILED' "$build/build.txt" | head -n 20
fi
printf 'built after %d s\n' "$((SECONDS - begin))"
"$ROOT/bench/kernels/check_spills.sh" "$build/build.txt"

nccl=${PINGTI_NCCL:-$(python3 - <<'PYTHON'
import glob, site, sys
folders = site.getsitepackages() + sys.path
found = [path for folder in folders for path in glob.glob(folder + "/nvidia/nccl/lib/libnccl.so.2")]
print(found[0] if found else "")
PYTHON
)}
printf 'NCCL: %s\n' "${nccl:-not found}"

part 'sums' "$build"/tests/comm/kernel_all_reduce_test
part 'sums with norm' "$build"/tests/comm/kernel_all_reduce_norm_test
part 'times' "$build"/bench/comm/bench_comm ${nccl:+--nccl "$nccl"}
if $variants; then part 'variants' "$build"/bench/comm/bench_comm --variants; fi
printf '\n%d parts failed, %d s\n' "$failed" "$((SECONDS - begin))"
[ "$failed" -eq 0 ]
