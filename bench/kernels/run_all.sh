#!/usr/bin/env bash
# Builds the kernels, checks them, times them, and prints one table.
#
#   bench/kernels/run_all.sh [--sanitize] [BUILD_DIR]
#
# Needs CUDA 13, CMake and a GPU of compute capability 8.0 or 9.0. A test that fails stops the run:
# nothing is timed that is not right. --sanitize also runs the tests under compute-sanitizer's
# memcheck and synccheck (minutes). Full output of every program: BUILD_DIR/reports/.
set -euo pipefail

sanitize=0
build_dir=""
for argument in "$@"; do
  case "$argument" in
    --sanitize) sanitize=1 ;;
    -*) echo "unknown option '$argument'" >&2; exit 2 ;;
    *) build_dir="$argument" ;;
  esac
done
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
build_dir="${build_dir:-$root/build/kernels}"
reports="$build_dir/reports"
mkdir -p "$reports"

cmake -S "$root/kernels" -B "$build_dir" -DCMAKE_BUILD_TYPE=Release > "$reports/configure.txt"
cmake --build "$build_dir" --parallel > "$reports/build.txt" 2>&1 ||
  { tail -40 "$reports/build.txt"; exit 1; }
"$root/bench/kernels/check_spills.sh" "$reports/build.txt"

run_test() {  # run_test NAME COMMAND...
  local name="$1" status=0
  shift
  "$@" > "$reports/$name.txt" 2>&1 || status=$?
  if [ "$status" = 77 ]; then
    tail -1 "$reports/$name.txt"
    exit 77
  elif [ "$status" != 0 ]; then
    tail -20 "$reports/$name.txt"
    echo "$name: exit status $status"
    exit 1
  fi
  grep -E '[0-9]+ passed' "$reports/$name.txt" | tail -1
}

mapfile -t tests < <(find "$build_dir/tests" -type f -name 'kernel_*' -perm -u+x | sort)
for program in "${tests[@]}"; do
  name="$(basename "$program")"
  run_test "$name" "$program"
  if [ "$sanitize" = 1 ]; then
    for tool in memcheck synccheck; do
      echo -n "$tool: "
      run_test "$name.$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 "$program"
    done
  fi
done

mapfile -t benches < <(find "$build_dir/bench" -type f -name 'bench_*' -perm -u+x | sort)
for program in "${benches[@]}"; do
  name="$(basename "$program")"
  case "$name" in *autotune*) continue ;; esac
  echo
  echo "== $name"
  # 77: says which devices it lacks.
  "$program" | tee "$reports/$name.txt" || [ "${PIPESTATUS[0]}" = 77 ]
done
