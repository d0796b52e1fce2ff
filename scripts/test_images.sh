#!/usr/bin/env bash
# Runs the rendered chart with podman, from the real images: see tests/images/test_podman.py.
#   scripts/test_images.sh [--programs FOLDER]
# The images are built from --programs, or from build/release, which is built first. Says why and
# ends with status 77 where podman cannot run containers.
source "$(dirname "$0")/lib.sh"

programs=
while [ $# -gt 0 ]; do
  case $1 in
    --programs) programs=${2:?--programs needs a folder}; shift ;;
    *) die "unknown argument '$1': expected --programs" ;;
  esac
  shift
done

cannot() {
  printf 'skipped: the images are not run: %s\n' "$*" >&2
  exit 77
}
command -v podman >/dev/null || cannot "podman is not installed (apt-get install podman)"
[ "$(id -u)" -eq 0 ] || cannot "pods get addresses of their own, for which podman needs root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "${CONTAINERS_CONF:-}" ] && [ ! -d /run/systemd/system ]; then
  # Without systemd, podman has to keep cgroups and events itself, and may not raise limits.
  runtime=$(command -v crun runc | head -n 1)
  [ -n "$runtime" ] || cannot "neither crun nor runc is installed"
  cat >"$work/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=8192:8192", "nproc=8192:8192"]
[engine]
runtime = "$(basename "$runtime")"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
  export CONTAINERS_CONF="$work/containers.conf"
fi

if [ -z "$programs" ]; then
  "$ROOT/scripts/build.sh" pingti-router pingti-worker pingti
  programs="$BUILD_DIR/bin"
fi
"$ROOT/scripts/images.sh" --programs "$programs" --tag test
podman run --rm --network podman localhost/pingti-router:test --version >"$work/out" 2>&1 ||
  cannot "podman run failed: $(tail -n 1 "$work/out")"

PINGTI_TEST_MODEL=$("$ROOT/scripts/fetch_model.sh")
PINGTI_HELM=$("$ROOT/scripts/fetch_helm.sh")
export PINGTI_TEST_MODEL PINGTI_HELM
venv="$work/venv"
step "running the chart with podman"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check pytest==9.2.0 PyYAML==6.0.3 ||
  die "pytest could not be installed: is the network up?"
"$venv/bin/python" -m pytest -q -s "$ROOT/tests/images" -o cache_dir="$work/cache"
