#!/usr/bin/env bash
# Formatting, include edges, comments, the map of the folders, shell syntax, and clang-tidy on the files that changed.
#   scripts/lint.sh [--all]      --all: clang-tidy on every file, not only the changed ones
source "$(dirname "$0")/lib.sh"

"$ROOT/scripts/install_packages.sh" lint
cd "$ROOT"
failed=false
mkdir -p "$ROOT/build"
format=$(mktemp)
trap 'rm -f "$format"' EXIT

step "formatting"
git ls-files -co --exclude-standard -z '*.cc' '*.h' '*.cu' '*.cuh' |
  xargs -0 -r -n 32 -P "$(nproc)" clang-format --dry-run --Werror 2>"$format" || {
  head -n 20 "$format" >&2
  echo "clang-format -i mends these" >&2
  failed=true
}

step "include edges"
python3 tests/lint/check_includes.py || failed=true

step "comments"
python3 tests/lint/check_comments.py || failed=true

step "map of the folders"
python3 tests/lint/check_map.py || failed=true

step "shell scripts"
for script in scripts/*.sh .ci/run; do
  bash -n "$script" || failed=true
done

step "clang-tidy"
# A build folder of its own: where many sources are compiled at once (see build.sh), compile_commands.json
# lists no file of ours.
tidy="$ROOT/build/lint"
PINGTI_UNITY=OFF cmake --preset release -B "$tidy" >"$tidy.log" 2>&1 &&
  ninja -C "$tidy" --quiet pingti_proto_sources >>"$tidy.log" 2>&1 ||
  { cat "$tidy.log" >&2; die "cmake could not configure"; }
if [ "${1:-}" = --all ]; then
  changed=$(git ls-files '*.cc')
else
  base=$(git merge-base HEAD origin/main 2>/dev/null || git rev-parse HEAD~1 2>/dev/null || git rev-parse HEAD)
  changed=$(git diff --name-only --diff-filter=d "$base" -- '*.cc'; git ls-files -o --exclude-standard '*.cc')
fi
# Only files that this build compiles: clang-tidy needs their flags.
for file in $(sort -u <<<"$changed"); do
  if grep -qF "\"$ROOT/$file\"" "$tidy/compile_commands.json"; then
    echo "$file"
  fi
done >"$tidy/files"
xargs -r -n 4 -P "$(nproc)" clang-tidy --quiet -p "$tidy" <"$tidy/files" 2>/dev/null || failed=true

$failed && die "lint found something (see above)"
echo "lint is clean"
