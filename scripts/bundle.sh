#!/usr/bin/env bash
# Packs the programs with the libraries they load into one archive that runs wherever it is unpacked,
# on hosts without our packages: only the C library is the host's own.
#   scripts/bundle.sh [--out FOLDER] [--programs FOLDER] [--cuda | --cuda-programs FOLDER]
#                     [--xz-level 0-9]
# --programs takes programs that are already built. --cuda packs the GPU worker with cuBLASLt instead
# of the CPU's; --cuda-programs names the folder of one that is already built. The same programs give
# the same bytes.
source "$(dirname "$0")/lib.sh"

out=$ROOT/build/bundle
programs=
cuda=false
cuda_programs=
level=
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=${2:?--out needs a folder}; shift ;;
    --programs) programs=${2:?--programs needs a folder}; shift ;;
    --cuda) cuda=true ;;
    --cuda-programs) cuda=true cuda_programs=${2:?--cuda-programs needs a folder}; shift ;;
    --xz-level) level=${2:?--xz-level needs a number}; shift ;;
    *) die "unknown argument '$1': expected --out, --programs, --cuda, --cuda-programs or --xz-level" ;;
  esac
  shift
done
for tool in patchelf xz objdump; do
  command -v "$tool" >/dev/null || die "$tool is needed (apt-get install patchelf xz-utils binutils)"
done
if [ -z "$programs" ]; then
  "$ROOT/scripts/build.sh"
  programs=$BUILD_DIR/bin
fi
worker=$programs/pingti-worker
suffix=
threads=1
if $cuda; then
  if [ -z "$cuda_programs" ]; then
    find_cuda
    "$ROOT/scripts/build.sh" --preset cuda pingti-worker
    cuda_programs=$ROOT/build/cuda/bin
  fi
  worker=$cuda_programs/pingti-worker
  major=$(objdump -p "$worker" | sed -nE 's/^ *NEEDED +libcublasLt\.so\.([0-9]+)$/\1/p')
  [ -n "$major" ] || die "$worker was built without CUDA: expected one that loads cuBLASLt"
  suffix=-cuda$major
  # cuBLASLt is 542 MB of much alike kernels: level 6 would take minutes more for little. From two
  # threads on their number does not change the bytes, since the size of blocks is the level's.
  level=${level:-1} threads=$(($(nproc) > 2 ? $(nproc) : 2))
fi
level=${level:-6}
need_space_mib "$out" "$($cuda && echo 2000 || echo 500)"

version=$(sed -nE 's/^project\(pingti VERSION ([0-9.]+).*/\1/p' "$ROOT/CMakeLists.txt")
name=pingti-$version-linux-$(uname -m)$suffix
work=$(mktemp -d "$out/.bundle-XXXXXX")
trap 'rm -rf "$work"' EXIT
step "collecting programs and libraries"
python3 "$ROOT/deploy/images/collect.py" --out "$work/collected" \
  "$programs/pingti-router" "$worker" "$programs/pingti"

bundle=$work/$name
mkdir -p "$bundle/bin" "$bundle/lib" "$bundle/etc/pingti" "$bundle/share/doc"
cp "$work"/collected/usr/bin/* "$bundle/bin/"
cp -R "$work/collected/usr/share/doc/." "$bundle/share/doc/"
cp "$work/collected/usr/share/pingti/sbom.cdx.json" "$bundle/share/"
# These belong together with the host's loader and name services, and cannot be carried along.
c_library='^(ld-linux.*|libc|libm|libmvec|libpthread|libdl|librt|libresolv|libutil|libanl|libnss_.*)\.so'
while IFS= read -r library; do
  file=$(basename "$library")
  [[ $file =~ $c_library ]] || cp "$library" "$bundle/lib/$file"
done < <(find "$work/collected" -name '*.so*' -type f)
# The old kind of path, which also holds for what libraries load in turn.
for file in "$bundle"/bin/*; do patchelf --force-rpath --set-rpath '$ORIGIN/../lib' "$file"; done
for file in "$bundle"/lib/*; do patchelf --force-rpath --set-rpath '$ORIGIN' "$file"; done

for program in pingti-router pingti-worker; do
  env -i "$bundle/bin/$program" --print-config >"$bundle/etc/pingti/$program.yaml"
done
glibc=$(objdump -T "$bundle"/bin/* "$bundle"/lib/* | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -n 1)
cp "$ROOT/LICENSE" "$bundle/"
cat >"$bundle/VERSION" <<EOF
pingti $version
revision $(git -C "$ROOT" rev-parse HEAD 2>/dev/null || echo unknown)
needs ${glibc/GLIBC_/glibc } or newer, $(uname -m)
EOF
if $cuda; then
  echo "needs an NVIDIA driver for CUDA $major (580 or newer for 13), compute capability 8.x or 9.0" \
    >>"$bundle/VERSION"
fi
find "$bundle" -type f -exec chmod u+rw,go+r,go-w {} + -o -type d -exec chmod 0755 {} +
(cd "$bundle" && find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum >"$work/sums")
mv "$work/sums" "$bundle/SHA256SUMS"
chmod 0644 "$bundle/SHA256SUMS"

step "packing $name.tar.xz"
# Neither times nor owners nor the order of a directory go in.
LC_ALL=C tar --create --directory "$work" --sort=name --mtime=@0 --owner=0 --group=0 \
  --numeric-owner --format=gnu "$name" | xz "--threads=$threads" "-$level" >"$work/archive"
mv "$work/archive" "$out/$name.tar.xz"
(cd "$out" && sha256sum "$name.tar.xz" >"$name.tar.xz.sha256")
printf '%s\n' "$out/$name.tar.xz"
