#!/usr/bin/env bash
# Installs the distribution packages that building and testing need. Does nothing when all are there.
#   scripts/install_packages.sh [build|test|lint]     (each includes the ones before)
source "$(dirname "$0")/lib.sh"

build_packages=(
  g++ cmake ninja-build ccache pkg-config make git
  libgrpc++-dev libgrpc-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev
  prometheus-cpp-dev libyaml-cpp-dev libspdlog-dev libcli11-dev libssl-dev
  libboost1.81-dev libboost-json1.81-dev libboost-url1.81-dev
  libpcre2-dev libutf8proc-dev libgtest-dev libgmock-dev
  ca-certificates curl unzip python3 python3-pip python3-venv
)
test_packages=(libbenchmark-dev chromium chromium-driver patchelf)
lint_packages=(clang clang-format clang-tidy libclang-rt-14-dev)

packages=("${build_packages[@]}")
case "${1:-build}" in
  build) ;;
  test) packages+=("${test_packages[@]}") ;;
  lint) packages+=("${test_packages[@]}" "${lint_packages[@]}") ;;
  *) die "unknown package set '$1': expected build, test or lint" ;;
esac

installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' 2>/dev/null | awk '$2 == "installed" {print $1}')
missing=()
for package in "${packages[@]}"; do
  grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null ||
  die "these packages are needed and this system has no apt-get: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || die "run as root, or install sudo, to install: ${missing[*]}"
  as_root=(sudo)
fi
step "installing ${#missing[@]} packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -qq &&
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  if grep -qiE 'could not resolve|temporary failure|failed to fetch|cannot initiate' "$log"; then
    die "the package mirror cannot be reached: check the network, then run this again"
  elif grep -qi 'no space left' "$log"; then
    die "the disk is full: free some space, then run this again"
  fi
  die "apt-get could not install the packages (its last words are above)"
fi
