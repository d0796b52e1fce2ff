#!/usr/bin/env bash
# Builds the images pingti-router and pingti-worker with podman, buildah or docker, whichever is there.
#   scripts/images.sh [--base IMAGE] [--tag TAG] [--registry PREFIX] [--programs FOLDER]
#                     [--cuda | --cuda-programs FOLDER]
# --base compiles (Debian 12, or an image on top of it); --programs takes programs that are already
# built for this system instead, and compiles nothing. --cuda adds pingti-worker-cuda, for which
# --cuda-programs does the same. The same sources and base give the same images.
source "$(dirname "$0")/lib.sh"

base=docker.io/library/debian:12-slim
version=$(sed -nE 's/^project\(pingti VERSION ([0-9.]+).*/\1/p' "$ROOT/CMakeLists.txt")
tag=$version
registry=
programs=
cuda_programs=
images=(router worker)
while [ $# -gt 0 ]; do
  case $1 in
    --base) base=${2:?--base needs an image}; shift ;;
    --tag) tag=${2:?--tag needs a tag}; shift ;;
    --registry) registry=${2:?--registry needs a prefix}; shift ;;
    --programs) programs=$(cd "${2:?--programs needs a folder}" && pwd); shift ;;
    --cuda) images=(router worker worker-cuda) ;;
    --cuda-programs)
      cuda_programs=$(cd "${2:?--cuda-programs needs a folder}" && pwd)
      images=(router worker worker-cuda)
      shift ;;
    *) die "unknown argument '$1': expected --base, --tag, --registry, --programs, --cuda or --cuda-programs" ;;
  esac
  shift
done

tool=
for name in podman buildah docker; do
  if command -v "$name" >/dev/null; then tool=$name; break; fi
done
[ -n "$tool" ] || die "podman, buildah or docker is needed (apt-get install podman)"

revision=$(git -C "$ROOT" rev-parse HEAD 2>/dev/null || echo unknown)
# The time of the commit, so that the same commit gives the same image.
created=$(git -C "$ROOT" log -1 --format=%ct 2>/dev/null || echo 0)
common=(--build-arg "BASE=$base" --build-arg "VERSION=$version" --build-arg "REVISION=$revision"
  --file "$ROOT/deploy/images/Containerfile")

# build CONTEXT ARGS...: one image; the time-stamp option is called differently by docker.
build() {
  local context=$1
  shift
  case $tool in
    podman) podman build --quiet --timestamp "$created" "$@" "$context" ;;
    buildah) buildah build --quiet --timestamp "$created" "$@" "$context" ;;
    docker) SOURCE_DATE_EPOCH=$created docker build --quiet "$@" "$context" ;;
  esac
}

# collected NAME: makes an image of what collect.py left in $work/NAME/out.
collected() {
  printf 'FROM scratch\nCOPY out /out\n' >"$work/$1/Containerfile"
  build "$work/$1" --file "$work/$1/Containerfile" --tag "localhost/$1" >/dev/null ||
    die "the collected programs could not be put into an image"
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
collect="$ROOT/deploy/images/collect.py"
# docker finds this file by its name.
[ "$tool" = docker ] || common+=(--ignorefile "$ROOT/deploy/images/Containerfile.dockerignore")

# compiled STAGE NAME: makes an image of a stage that compiles. podman 4 cannot take a stage that an
# argument names, so it is built for itself, and the argument then names its image.
compiled() {
  step "compiling on $base with $tool"
  build "$ROOT" "${common[@]}" --target "$1" --tag "localhost/$2" >/dev/null ||
    die "the programs could not be compiled"
}
if [ -n "$programs" ]; then
  out="$work/pingti-programs/out"
  python3 "$collect" --out "$out/router" "$programs/pingti-router" "$programs/pingti"
  python3 "$collect" --out "$out/worker" "$programs/pingti-worker"
  collected pingti-programs
else
  compiled compiled pingti-programs
fi
common+=(--build-arg PROGRAMS=localhost/pingti-programs)
if [ -n "$cuda_programs" ]; then
  python3 "$collect" --out "$work/pingti-cuda-programs/out/worker-cuda" "$cuda_programs/pingti-worker"
  collected pingti-cuda-programs
elif [ "${#images[@]}" -eq 3 ]; then
  compiled compiled-cuda pingti-cuda-programs
fi
common+=(--build-arg CUDA_PROGRAMS=localhost/pingti-cuda-programs)

for image in "${images[@]}"; do
  name="${registry:+${registry%/}/}pingti-$image:$tag"
  step "building $name with $tool"
  build "$ROOT" "${common[@]}" --target "$image" --tag "$name" >/dev/null || die "$name could not be built"
  if [ "$tool" = buildah ]; then
    buildah images --format '{{.Name}}:{{.Tag}} {{.Size}}' "$name"
  else
    "$tool" image inspect --format "$name {{.Id}} {{.Size}} bytes" "$name"
  fi
done
