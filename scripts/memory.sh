#!/usr/bin/env bash
# Memory of a million znodes of 100 bytes with paths of 33 bytes, created over the wire: with one shard, with two, after a restart.
#   scripts/memory.sh [--record]       SERVER, LOAD: see scripts/common.sh
. "$(dirname "$0")/common.sh"
nodes=1000000

# Megabytes, of a million bytes.
mb() { awk -v kib="$1" 'BEGIN { printf "%.0f", kib * 1024 / 1000000 }'; }
# settled: resident memory, KiB, once it has not fallen for two seconds.
settled() {
  local least now same=0
  least=$(resident_kib)
  for _ in $(seq 20); do
    sleep 1
    now=$(resident_kib)
    if [ "$now" -lt "$least" ]; then least=$now same=0; else same=$((same + 1)); fi
    [ "$same" -lt 2 ] || break
  done
  resident_kib
}

declare -A resident
for shards in 1 2; do
  start_server --shards "$shards"
  "$load" --server "$address" --workload create --nodes "$nodes" --value-size 100 | tee -a "$work/notes" || failed=$((failed + 1))
  resident[$shards]=$(settled)
  stop_server
  began=$SECONDS
  start_server --shards "$shards"
  echo "restarted with $shards shard(s) in $((SECONDS - began)) s: $(grep '^ready: ' "$work/log")" | tee -a "$work/notes"
  resident[again$shards]=$(settled)
  stop_server
  rm -rf "$work/data"
done
judge 'resident, 1 shard' "$(mb "${resident[1]}")" MB 390
judge 'resident, 1 shard, after a restart' "$(mb "${resident[again1]}")" MB 390
judge 'a second shard' "$(mb $((resident[2] - resident[1])))" MB 64
judge 'a second shard, after a restart' "$(mb $((resident[again2] - resident[again1])))" MB 64
finish memory 'Memory of a million znodes'
