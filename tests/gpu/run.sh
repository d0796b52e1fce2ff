#!/usr/bin/env bash
# Runs every CUDA test program on a machine with a GPU, one after another, and prints one table. Needs
# no build tree and no compiler: the programs may have been copied here (README.md beside this file).
#   tests/gpu/run.sh [--model FILE] [--e2e] [--wheels FOLDER] [FOLDER] [-- PYTEST_ARGUMENT...]
# FOLDER (default build/cuda) holds tests/ (programs *_cuda_*test, and kernel_* in any folder), bin/
# (for --e2e) and, for programs that were copied, lib/ with the libraries they need. --model is the
# default model's file. --e2e also runs the end-to-end tests that make sense against a GPU worker;
# --wheels unpacks their Python packages for them. The last line is "N passed, N failed, N skipped";
# fails when something failed, when nothing ran, or when a program found no device.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)

E2E=(test_openai_client.py test_structured_output.py test_faults.py test_tensor_parallel.py)
LIMIT_S=600    # a program
NO_DEVICE=77   # how test programs end without one

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

folder=$ROOT/build/cuda
model=${PINGTI_TEST_MODEL:-}
e2e=false
wheels=
while [ $# -gt 0 ]; do
  case $1 in
    --model) model=${2:?--model needs a file}; shift ;;
    --e2e) e2e=true ;;
    --wheels) wheels=${2:?--wheels needs a folder}; shift ;;
    --) shift; break ;;
    -*) die "unknown argument '$1': expected --model, --e2e, --wheels, a folder or --" ;;
    *) folder=$1 ;;
  esac
  shift
done
pytest_arguments=("$@")
folder=$(cd "$folder" 2>/dev/null && pwd) || die "there is no folder of programs; expected build/cuda or a copy"
[ -z "$model" ] || [ -f "$model" ] || die "--model '$model': no such file"
mapfile -t programs < <(find "$folder" -type f -perm -u+x \( -name '*_cuda_*test' -o -name 'kernel_*' \) |
  LC_ALL=C sort)
[ ${#programs[@]} -gt 0 ] || die "no CUDA test program is below $folder"

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
[ ! -d "$folder/lib" ] || export LD_LIBRARY_PATH="$folder/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PINGTI_SOURCE_DIR=$ROOT PINGTI_TEST_MODEL=$model

passed=0 failed=0 skipped=0 without_device=0
row() { printf '%-44s %7s %7s %8s %9s  %s\n' "$@"; }
# number REGEX LOG: the number that the last match's group holds, or 0.
number() { sed -nE "s/$1/\1/p" "$2" | tail -n 1 | grep . || echo 0; }
# add NAME PASSED FAILED SKIPPED SECONDS NOTE
add() {
  passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
  row "$@"
}

run_program() {
  local name begin=$SECONDS status=0 log ok bad left note=
  name=$(basename "$1") log=$logs/$(basename "$1").log
  timeout "$LIMIT_S" "$1" >"$log" 2>&1 || status=$?
  # GoogleTest's closing lines, or the kernel tests'.
  ok=$(number '^\[  PASSED  \] ([0-9]+) tests?\.$' "$log")
  bad=$(number '^\[  FAILED  \] ([0-9]+) tests?, listed below:$' "$log")
  left=$(number '^\[  SKIPPED \] ([0-9]+) tests?, listed below:$' "$log")
  if grep -qE '^[a-z0-9_]+: [0-9]+ passed, [0-9]+ failed' "$log"; then
    ok=$(number '^[a-z0-9_]+: ([0-9]+) passed, [0-9]+ failed.*$' "$log")
    bad=$(number '^[a-z0-9_]+: [0-9]+ passed, ([0-9]+) failed.*$' "$log")
  fi
  if [ "$status" -eq "$NO_DEVICE" ]; then
    without_device=$((without_device + 1)) left=1 note=$(grep -m 1 SKIPPED "$log" || echo 'no device')
  elif [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
    bad=1 note="ended with status $status"
  fi
  add "$name" "$ok" "$bad" "$left" "$((SECONDS - begin))" "$note"
  if [ "$bad" -gt 0 ]; then tail -n 60 "$log" | sed 's/^/    | /'; fi
}

# Wheels with compiled parts cannot be imported as they are, so each is unpacked.
unpack_wheels() {
  local wheel
  mkdir "$logs/packages"
  for wheel in "$1"/*.whl; do
    [ -f "$wheel" ] || die "--wheels '$1' holds no wheel"
    python3 -m zipfile -e "$wheel" "$logs/packages"
  done
  export PYTHONPATH="$logs/packages${PYTHONPATH:+:$PYTHONPATH}"
}

run_e2e() {
  local begin=$SECONDS status=0 log=$logs/e2e.log line bad note=
  [ -x "$folder/bin/pingti-worker" ] || die "--e2e needs the programs in $folder/bin"
  [ -n "$model" ] || die "--e2e needs --model"
  [ -z "$wheels" ] || unpack_wheels "$wheels"
  # Two workers share the device.
  GPU_MEMORY_FRACTION=0.3 PINGTI_BIN="$folder/bin" timeout 1800 python3 -m pytest -q -p no:cacheprovider \
    "${E2E[@]/#/$ROOT/tests/e2e/}" "${pytest_arguments[@]}" >"$log" 2>&1 || status=$?
  line=$(tail -n 1 "$log")
  count() { grep -oE "[0-9]+ $1" <<<"$line" | grep -oE '[0-9]+' || echo 0; }
  bad=$(($(count failed) + $(count 'errors?')))
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1 note="pytest ended with status $status"; fi
  add "tests/e2e" "$(count passed)" "$bad" "$(count skipped)" "$((SECONDS - begin))" "$note"
  if [ "$bad" -gt 0 ]; then tail -n 80 "$log" | sed 's/^/    | /'; fi
}

row program passed failed skipped seconds ''
for program in "${programs[@]}"; do run_program "$program"; done
if $e2e; then run_e2e; fi
if [ "$without_device" -gt 0 ]; then
  printf 'error: %d of %d programs found no device\n' "$without_device" "${#programs[@]}" >&2
fi
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ] && [ "$without_device" -eq 0 ]
