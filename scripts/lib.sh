# Shared by the scripts beside it: where things are, and how errors are told.

set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD_DIR="$ROOT/build/release"
CACHE_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/pingti
# ccache then takes a file that two build folders compile with the same flags for one: the CUDA build
# finds what it shares with the release build.
export CCACHE_BASEDIR="$ROOT"

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Says what begins. Where PINGTI_STEPS names a file, the time is noted there too (see .ci/run).
step() {
  printf '==> %s\n' "$*" >&2
  if [ -n "${PINGTI_STEPS:-}" ]; then printf '%s %s\n' "$(date +%s)" "$*" >>"$PINGTI_STEPS"; fi
}

# Puts nvcc on PATH: the one that is there, or the toolkit that NVIDIA publishes as Python packages,
# kept in the cache.
find_cuda() {
  local cu13
  if command -v nvcc >/dev/null; then return; fi
  cu13=$("$ROOT/scripts/fetch_cuda.sh")
  export PATH="$cu13/bin:$PATH" CUDAToolkit_ROOT="$cu13"
}

# Fails early when fewer than $2 MiB are free where $1 will be written.
need_space_mib() {
  local folder=$1 need=$2 free
  mkdir -p "$folder" || die "cannot create $folder"
  free=$(df -Pm "$folder" | awk 'NR == 2 {print $4}')
  [ "$free" -ge "$need" ] ||
    die "not enough disk space in $folder: $free MiB free, $need MiB needed"
}
