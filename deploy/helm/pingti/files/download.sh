# download URL SHA256 FILE ...: fetches each file that is not there yet. A part that was fetched before
# an interruption is kept and continued; a file appears under its name only when its checksum is right.
# Pods that share a volume take turns: one fetches, the others wait and then find the file there.
# Told to end, it does so at once, whatever it is at: a shell that waits for a command in the foreground would
# not listen until that has ended, and as a container's first process not even then.
set -eu
fetch() {
  while [ $# -gt 0 ]; do
    url=$1 sha256=$2 file=$3
    shift 3
    if [ -f "$file" ]; then
      echo "$file is there"
      continue
    fi
    folder=$(dirname "$file")
    mkdir -p "$folder"
    exec 9>"$folder/.download.lock"
    if ! flock -n 9; then
      echo "$file: another pod is fetching into $folder; waiting for it"
      flock 9 || { echo "$folder: its volume cannot be locked" >&2; exit 1; }
    fi
    if [ -f "$file" ]; then
      echo "$file is there by now"
      continue
    fi
    # A complete part is not asked for again: there is nothing after its end to continue with.
    if [ -f "$file.part" ] && echo "$sha256  $file.part" | sha256sum -c - >/dev/null 2>&1; then
      mv "$file.part" "$file"
      echo "$file is complete"
      continue
    fi
    # The token goes over standard input, so that no process list shows it.
    printf '%s' "${TOKEN:+header = \"Authorization: Bearer $TOKEN\"}" |
      curl --config - --fail --location --silent --show-error --retry 10 --retry-connrefused \
        --retry-delay 2 --continue-at - --output "$file.part" "$url" || {
      code=$?
      # 33: the server cannot continue; 36: the part is longer than the file. Next time starts anew.
      if [ $code -eq 33 ] || [ $code -eq 36 ]; then rm -f "$file.part"; fi
      echo "$url: curl ended with $code" >&2
      exit 1
    }
    if ! echo "$sha256  $file.part" | sha256sum -c - >/dev/null 2>&1; then
      echo "$url: expected sha256 $sha256, got $(sha256sum "$file.part" | cut -d' ' -f1); removed" >&2
      rm -f "$file.part"
      exit 1
    fi
    mv "$file.part" "$file"
    echo "$file is complete"
  done
}
# Its commands are of its process group.
trap 'trap - TERM; kill 0; exit 143' TERM
fetch "$@" &
wait $!
