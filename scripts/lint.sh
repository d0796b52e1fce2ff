#!/usr/bin/env bash
# Formatting, include edges, shell syntax, and clang-tidy on the files that changed.
#   scripts/lint.sh [--all]      --all: clang-tidy on every file, not only the changed ones
source "$(dirname "$0")/lib.sh"

"$ROOT/scripts/install_packages.sh" lint
cd "$ROOT"
failed=false

step "formatting"
git ls-files -co --exclude-standard -z '*.cc' '*.h' '*.cu' '*.cuh' |
  xargs -0 -r clang-format --dry-run --Werror 2>"$BUILD_DIR.format" || {
  head -n 20 "$BUILD_DIR.format" >&2
  echo "clang-format -i mends these" >&2
  failed=true
}
rm -f "$BUILD_DIR.format"

step "include edges"
python3 tests/lint/check_includes.py || failed=true

step "shell scripts"
for script in scripts/*.sh .ci/run; do
  bash -n "$script" || failed=true
done

step "clang-tidy"
"$ROOT/scripts/build.sh" pingti_proto
if [ "${1:-}" = --all ]; then
  changed=$(git ls-files '*.cc')
else
  base=$(git merge-base HEAD origin/main 2>/dev/null || git rev-parse HEAD~1 2>/dev/null || git rev-parse HEAD)
  changed=$(git diff --name-only --diff-filter=d "$base" -- '*.cc'; git ls-files -o --exclude-standard '*.cc')
fi
# Only files that this build compiles: clang-tidy needs their flags.
for file in $(sort -u <<<"$changed"); do
  if grep -qF "\"$ROOT/$file\"" "$BUILD_DIR/compile_commands.json"; then
    echo "$file"
  fi
done >"$BUILD_DIR/tidy-files"
xargs -r -n 4 -P "$(nproc)" clang-tidy --quiet -p "$BUILD_DIR" <"$BUILD_DIR/tidy-files" 2>/dev/null || failed=true

$failed && die "lint found something (see above)"
echo "lint is clean"
