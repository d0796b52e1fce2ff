#!/usr/bin/env bash
# The main job, end to end on this machine: one router, two workers, one question, a streamed answer.
#   scripts/demo.sh [--once] [--model FILE]
# Stays up until Ctrl-C unless --once. Ports: 8080 (HTTP), 9000 (gRPC) and 9090 (admin) for the router,
# 9001, 9002 and 9091, 9092 for the workers; DEMO_PORT_OFFSET is added to each.
# Before anything else: without a trap, bash goes on when a child that it waits for outlives the Ctrl-C.
trap 'exit 130' INT TERM
source "$(dirname "$0")/lib.sh"

once=false
model=
model_id=SmolLM2-135M-Instruct
while [ $# -gt 0 ]; do
  case $1 in
    --once) once=true ;;
    --model) model=${2:?--model needs a file}; model_id=$(basename "${2%.gguf}"); shift ;;
    *) die "unknown argument '$1': expected --once or --model FILE" ;;
  esac
  shift
done

"$ROOT/scripts/build.sh"
if [ -z "$model" ]; then
  model=$("$ROOT/scripts/fetch_model.sh")
elif [ ! -e "$model" ]; then
  die "there is no model at $model"
fi

offset=${DEMO_PORT_OFFSET:-0}
[[ $offset =~ ^[0-9]{1,5}$ ]] || die "DEMO_PORT_OFFSET is '$offset': expected a number"
port() { echo $(($1 + offset)); }
api="http://127.0.0.1:$(port 8080)"
logs=$(mktemp -d "${TMPDIR:-/tmp}/pingti-demo.XXXXXX")
declare -A pid_of=()

stop_all() {
  trap - EXIT INT TERM
  # The router first, so that it drains against living workers.
  for name in router worker-1 worker-2; do
    [ -n "${pid_of[$name]:-}" ] || continue
    kill -TERM "${pid_of[$name]}" 2>/dev/null || true
    wait "${pid_of[$name]}" 2>/dev/null || true
  done
}
trap 'status=$?; stop_all; exit $status' EXIT

# start NAME PROGRAM ARGS...: the process ends with this script, however this script ends.
start() {
  local name=$1 program=$2
  shift 2
  setpriv --pdeathsig TERM "$BUILD_DIR/bin/$program" "$@" >"$logs/$name.log" 2>&1 &
  pid_of[$name]=$!
}

fail_with_log() {
  tail -n 8 "$logs/$1.log" >&2
  die "$1 stopped (its last words are above; whole log: $logs/$1.log)"
}

wait_ready() {
  local url=$1 deadline=$((SECONDS + 60))
  until curl --silent --fail --max-time 1 --output /dev/null "$url"; do
    for name in "${!pid_of[@]}"; do
      kill -0 "${pid_of[$name]}" 2>/dev/null || fail_with_log "$name"
    done
    [ $SECONDS -lt $deadline ] || die "the router was not ready within 60 s (logs: $logs)"
    sleep 0.05
  done
}

step "starting two workers and a router"
for i in 1 2; do
  start worker-$i pingti-worker --model "$model" --model-id "$model_id" --log-format text \
    --port "$(port 900$i)" --admin-port "$(port 909$i)"
done
start router pingti-router --address 127.0.0.1 --log-format text --min-ready-workers 2 \
  --workers "127.0.0.1:$(port 9001),127.0.0.1:$(port 9002)" \
  --http-port "$(port 8080)" --grpc-port "$(port 9000)" --admin-port "$(port 9090)"
wait_ready "http://127.0.0.1:$(port 9090)/readyz"

"$BUILD_DIR/bin/pingti" chat --url "$api" --temperature 0 \
  --once "What is the capital of France, and what is it known for?"

cat <<MSG

API       $api/v1   (OpenAI and DeepSeek clients; any API key)
gRPC      127.0.0.1:$(port 9000)   (pingti.v1.Inference)
metrics   http://127.0.0.1:$(port 9090)/metrics   workers: :$(port 9091)/metrics, :$(port 9092)/metrics
logs      $logs
talk      ${BUILD_DIR#"$PWD/"}/bin/pingti chat --url $api
MSG
if $once; then
  exit 0
fi
echo "Ctrl-C stops everything."
while :; do
  for name in "${!pid_of[@]}"; do
    kill -0 "${pid_of[$name]}" 2>/dev/null && continue
    echo "$name stopped; the others go on (log: $logs/$name.log)"
    unset "pid_of[$name]"
  done
  [ ${#pid_of[@]} -gt 0 ] || die "all processes stopped (logs: $logs)"
  sleep 0.5 &
  wait $! || true
done
