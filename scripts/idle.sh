#!/usr/bin/env bash
# Processor time of a server with 1,000 sessions that only ping (sessions of 10 s, three pings in that time, as kazoo sends them),
# over 30 s, in percent of one core: 2 at most. And with no session at all, for comparison.
#   scripts/idle.sh [--record]       SERVER, LOAD: see scripts/common.sh
. "$(dirname "$0")/common.sh"
limit=2 seconds=30

# percent COMMAND...: what the server used while the command ran, of one core.
percent() {
  local before began
  before=$(processor_ms) began=$(date +%s%N)
  "$@"
  awk -v used="$(($(processor_ms) - before))" -v ns="$(($(date +%s%N) - began))" 'BEGIN { printf "%.2f", used * 100000000 / ns }'
}

for shards in default 4; do
  arguments=()
  [ "$shards" = default ] || arguments=(--shards "$shards")
  start_server "${arguments[@]}"
  sleep 8 # The segments that are made ahead are made.
  judge "no session, $shards shards" "$(percent sleep 10)" % "$limit"
  "$load" --server "$address" --workload idle --connections 1000 --timeout-ms 10000 --seconds $((seconds + 6)) > "$work/idle" &
  load_pid=$!
  sleep 8 # The sessions are open.
  judge "1,000 idle sessions, $shards shards" "$(percent sleep "$seconds")" % "$limit"
  wait "$load_pid"
  load_pid=
  tee -a "$work/notes" < "$work/idle"
  judge "sessions ended, $shards shards" "$(sed -n 's/.* in [0-9]* s: \([0-9]*\) ended.*/\1/p' "$work/idle")" sessions 0
  stop_server
  rm -rf "$work/data"
done
finish idle 'Processor time of a server that has little to do'
