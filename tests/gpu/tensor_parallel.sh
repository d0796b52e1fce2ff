#!/usr/bin/env bash
# Checks tensor parallelism on a machine with several GPUs, then times Qwen2.5-72B's shape on them through
# the router, random weights. Needs no compiler: the programs may have been copied (README.md beside).
#   tests/gpu/tensor_parallel.sh [--ranks N] [--check-only] [FOLDER]
# N (default 2) GPUs, from the first on. FOLDER (default build/cuda) holds tests/, bin/ and, for programs that
# were copied, lib/. What fails does not keep the rest from running; the last line is "N parts failed, S s".
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
# NVLink multicast stays off, for NCCL too.
export NCCL_NVLS_ENABLE=0

ranks=2
measure=true
folder=$ROOT/build/cuda
while [ $# -gt 0 ]; do
  case $1 in
    --ranks) ranks=${2:?--ranks needs a number}; shift ;;
    --check-only) measure=false ;;
    -*) printf "error: unknown argument '%s': expected --ranks, --check-only or a folder\n" "$1" >&2; exit 2 ;;
    *) folder=$1 ;;
  esac
  shift
done
folder=$(cd "$folder" && pwd) || exit 2
[ ! -d "$folder/lib" ] || export LD_LIBRARY_PATH="$folder/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PINGTI_SOURCE_DIR=$ROOT

failed=0
begin=$SECONDS
# part LIMIT_S NAME COMMAND...
part() {
  local limit=$1 name=$2 status=0 from=$SECONDS
  shift 2
  printf '\n== %s\n' "$name"
  timeout "$limit" "$@" 2>&1 | tail -n 60 || status=$?
  [ "$status" -eq 0 ] || failed=$((failed + 1))
  printf '== %s: status %s, %s s\n' "$name" "$status" "$((SECONDS - from))"
}

# serve DTYPE RUN...: each RUN is one call of `pingti bench`.
serve() {
  local dtype=$1 run arguments=()
  shift
  for run in "$@"; do arguments+=(--run "$run"); done
  part 120 "72B $dtype on $ranks" python3 "$ROOT/bench/serving/serve_random_model.py" --bin "$folder/bin" \
    --shape "$ROOT/bench/backend/shapes/qwen2.5-72b" --worker dtype="$dtype" --worker device=cuda \
    --worker tensor_parallel="$ranks" --worker gpu_memory_fraction=0.95 --worker max_batch_size=64 \
    --worker log_format=text "${arguments[@]}"
}

for test in worker_comm_cuda_nccl_test worker_comm_cuda_peer_test worker_model_cuda_tensor_parallel_model_test; do
  program=$(find "$folder" -type f -name "$test" | head -n 1)
  if [ -z "$program" ]; then
    printf 'error: no %s below %s\n' "$test" "$folder"
    failed=$((failed + 1))
  else
    part 120 "$test" "$program" --gtest_brief=1
  fi
done
if $measure; then
  one="--concurrency 1 --input-tokens 128 --output-tokens 128 --requests 4"
  many="--concurrency 32 --input-tokens 128 --output-tokens 256 --requests 32"
  long="--concurrency 1 --input-tokens 2000 --output-tokens 2 --requests 4"
  serve int8 "$one" "$many" "$long"
  serve bf16 "$one" "$many" "$long"
fi
printf '\n%d parts failed, %d s\n' "$failed" "$((SECONDS - begin))"
[ "$failed" -eq 0 ]
