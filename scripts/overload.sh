#!/usr/bin/env bash
# A load that never lets up, for two minutes, while 50 sessions of the shortest legal timeout (2 ticks of 100 ms) keep pinging: none
# of them may be ended. The load: reads and writes by halves, 256 connections that keep 32 requests in flight each.
#   scripts/overload.sh [--seconds N] [--record]       SERVER, LOAD: see scripts/common.sh
. "$(dirname "$0")/common.sh"
seconds=120
[ "${1:-}" = --seconds ] && seconds=$2
connections=256 depth=32
# Those who ping are clients on machines of their own: the load must not keep them from the processor.
nice=()
if nice -n -10 true 2> /dev/null; then nice=(nice -n -10); fi

for shards in default 4; do
  arguments=()
  [ "$shards" = default ] || arguments=(--shards "$shards")
  start_server "${arguments[@]}" -Dzookeeper.tickTime=100 -Dzookeeper.maxSessionTimeout=60000
  "$server" bench run --servers "$address" --workload mixed --read-ratio 0.5 --closed --connections "$connections" \
    --in-flight "$depth" --warmup 1 --seconds "$((seconds + 8))" --quiet > "$work/load" &
  load_pid=$!
  sleep 4
  "${nice[@]}" "$load" --server "$address" --workload idle --connections 50 --timeout-ms 200 --seconds "$seconds" > "$work/idle"
  if ! wait "$load_pid"; then failed=$((failed + 1)); fi
  load_pid=
  sed "s/^/$shards shards: /" "$work/load" "$work/idle" | tee -a "$work/notes"
  ended=$(sed -n 's/.* in [0-9]* s: \([0-9]*\) ended.*/\1/p' "$work/idle")
  lapsed=$(sed -n 's/.* by the server, \([0-9]*\) after.*/\1/p' "$work/idle")
  [ "${lapsed:-50}" -lt 25 ] || { echo "the machine kept most sessions from pinging: this says nothing"; failed=$((failed + 1)); }
  judge "sessions of 200 ms ended, $shards shards" "${ended:-50}" sessions 0
  stop_server
  rm -rf "$work/data"
done
finish overload 'Sessions of the shortest timeout under a load that never lets up'
