#!/usr/bin/env bash
# Every test: unit and golden tests through CTest, then end-to-end tests with real processes, then
# the chart, the dashboards and the rules.
#   scripts/test.sh [--preset asan-ubsan|tsan] [--unit] [--deploy] [--only REGEX]
# --unit runs the first kind alone, --deploy the last; --only builds and runs just the matching unit
# tests.
# The last line is "N passed, N failed"; the exit status is non-zero when anything failed.
source "$(dirname "$0")/lib.sh"

preset=release
unit=true
e2e=true
deploy=true
only=.
while [ $# -gt 0 ]; do
  case $1 in
    --preset) preset=${2:?--preset needs a name}; shift ;;
    --unit) e2e=false deploy=false ;;
    --deploy) unit=false e2e=false ;;
    --only) only=${2:?--only needs a regular expression}; e2e=false deploy=false; shift ;;
    *) die "unknown argument '$1': expected --preset NAME, --unit, --deploy or --only REGEX" ;;
  esac
  shift
done

"$ROOT/scripts/install_packages.sh" test
PINGTI_TEST_MODEL=$("$ROOT/scripts/fetch_model.sh")
PINGTI_PROMTOOL=$("$ROOT/scripts/fetch_promtool.sh")
export PINGTI_TEST_MODEL PINGTI_PROMTOOL
build="$ROOT/build/$preset"
if ! $unit; then
  "$ROOT/scripts/build.sh" --preset "$preset" pingti-router pingti-worker
elif [ "$only" = . ]; then
  "$ROOT/scripts/build.sh" --preset "$preset" all
else
  "$ROOT/scripts/build.sh" --preset "$preset" pingti_common_base
  mapfile -t programs < <(ctest --test-dir "$build" -N -R "$only" | sed -nE 's/^ +Test +#[0-9]+: (.*)/\1/p')
  [ ${#programs[@]} -gt 0 ] || die "no unit test matches '$only'"
  "$ROOT/scripts/build.sh" --preset "$preset" "${programs[@]}"
fi
results="$build/test-results"
rm -rf "$results" && mkdir -p "$results"
jobs=$(nproc)
failed=false
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS="suppressions=$ROOT/tests/tsan.supp:halt_on_error=1:second_deadlock_stack=1"
if $unit; then
  step "unit and golden tests"
  GTEST_OUTPUT="xml:$results/gtest/" ctest --test-dir "$build" --output-on-failure -j "$jobs" \
    -R "$only" --output-junit "$results/ctest.xml" || failed=true
fi

# run_pytest NAME FOLDER: what the tests of a folder say goes into pytest-NAME.xml.
run_pytest() {
  local venv="$ROOT/.venv"
  if ! cmp -s "$ROOT/tests/requirements.txt" "$venv/installed.txt"; then
    python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check \
      --requirement "$ROOT/tests/requirements.txt" ||
      die "the packages of tests/requirements.txt could not be installed: is the network up?"
    cp "$ROOT/tests/requirements.txt" "$venv/installed.txt"
  fi
  PINGTI_BIN="$build/bin" "$venv/bin/python" -m pytest -q "$ROOT/$2" \
    -o cache_dir="$build/.pytest_cache" --junitxml "$results/pytest-$1.xml" || failed=true
}

if $e2e; then
  step "end-to-end tests"
  run_pytest e2e tests/e2e
fi
if $deploy; then
  step "chart, dashboards and rules"
  run_pytest deploy tests/deploy
fi

python3 "$ROOT/tests/summarize.py" "$results" || failed=true
! $failed
