#!/usr/bin/env bash
# What clients notice while an image of a million znodes is written: p99.9 at a fixed rate with images, one after the other, and without, in
# turn; and the same load with snapshots by snapCount beside a real ZooKeeper 3.9.4, over time on one plot.
#   scripts/image-stall.sh [--rate N] [--pairs N] [--seconds S] [--minutes M] [--nodes N] [--record]       SERVER, LOAD: see scripts/common.sh
# M minutes of each for the plot; 0 makes none. ZOOKEEPER_PEER names the script that starts ZooKeeper (default
# ../shared/tools/zookeeper-peer.sh beside the checkout), BASE_PORT (default 24580) moves its port.
. "$(dirname "$0")/common.sh"
rate=10000 pairs=5 seconds=12 minutes=2 nodes=1000000
while [ $# -gt 0 ]; do
  case $1 in
    --rate) rate=$2; shift 2 ;; --pairs) pairs=$2; shift 2 ;; --seconds) seconds=$2; shift 2 ;;
    --minutes) minutes=$2; shift 2 ;; --nodes) nodes=$2; shift 2 ;; --record) shift ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
peer=${ZOOKEEPER_PEER:-../shared/tools/zookeeper-peer.sh}
base=${BASE_PORT:-24580}
trap 'cleanup; "$peer" stop stall > /dev/null 2>&1' EXIT
# run SECONDS JSON TARGET ARGUMENT...: the load, half reads and half sets of 10,000 znodes beside the million.
run() {
  "$server" bench run --servers "$3" --workload mixed --read-ratio 0.5 --connections 50 --rate "$rate" --nodes 10000 --seconds "$1" \
    --warmup 2 --quiet --json "$2" "${@:4}" > /dev/null
}
# p999 JSON: of all answers, us.
p999() {
  "$server" bench show "$1" | sed -n 's/^all /all /p' | sed 's/([^)]*)//g; s/,//g' | awk '{ print $7 }'
}
# Nothing ever comes from here: a pause that starts no process.
exec {nothing}<> <(:)
# watch_until PID KIND: until that process has ended, orders one image after the other and counts in $made those that were finished; of KIND
# quiet none. It asks as often either way, so that the asking is in both.
watch_until() {
  local at newest
  made=0 at=
  while kill -0 "$1" 2> /dev/null; do
    if [ "$2" = images ] && [ -z "$at" ]; then
      ask "$address" csnp
      at=${said%%$'\n'*}
    fi
    ask "$address" lgif
    newest=${said#*last_snapshot_idx$'\t'}
    if [ -n "$at" ] && [ "${newest%%$'\n'*}" -ge "$at" ]; then
      made=$((made + 1)) at=
    else
      read -r -t 0.2 -u "$nothing"
    fi
  done
}

start_server '-Dzookeeper.4lw.commands.whitelist=*'
"$load" --server "$address" --workload create --nodes "$nodes" --value-size 100 | tee -a "$work/notes" || exit 1
await_image
# With the policy's own images out of the way, a run has those that are ordered and no others.
stop_server
start_server '-Dzookeeper.4lw.commands.whitelist=*' -Dzookeeper.snapCount=1000000000
declare -A tails
for pair in $(seq "$pairs"); do
  kinds=(quiet images)
  [ $((pair % 2)) -eq 1 ] || kinds=(images quiet)
  for kind in "${kinds[@]}"; do
    json=$work/$kind-$pair.json
    run "$seconds" "$json" "$kind=$address" &
    running=$!
    sleep 2
    watch_until "$running" "$kind"
    wait "$running" || { failed=$((failed + 1)); break 2; }
    tail=$(p999 "$json")
    tails[$kind]+=" $tail"
    echo "pair $pair, $kind: p99.9 $tail us, $made images finished" | tee -a "$work/notes"
  done
done
# shellcheck disable=SC2086 # lists of numbers
quiet=$(median ${tails[quiet]}) images=$(median ${tails[images]})
judge 'p99.9 while images are written, to that without' "$(awk -v a="$images" -v b="$quiet" 'BEGIN { printf "%.2f", a / b }')" '' 1.5
if [ "$minutes" != 0 ]; then
  stop_server
  start_server '-Dzookeeper.4lw.commands.whitelist=*'
  run $((minutes * 60)) "$work/ringkeeper.json" "ringkeeper=$address" --durability 'O_DIRECT log, O_DSYNC, group commit; snapCount 100000' --quorum 1
  stop_server
  "$peer" start stall 1 "$base"
  "$load" --server "127.0.0.1:$((base + 1))" --workload create --nodes "$nodes" --value-size 100 | tee -a "$work/notes"
  sleep 20
  run $((minutes * 60)) "$work/zookeeper.json" "zookeeper=127.0.0.1:$((base + 1))" --durability 'fsync of the log, group commit; snapCount 100000' --quorum 1
  "$server" bench show "$work/zookeeper.json" "$work/ringkeeper.json" ${record:+--keep images-over-time} --disk "$work" \
    --title "Half reads, half sets, at $rate a second for $minutes minutes beside $nodes znodes, with snapshots by snapCount" \
    --limit 'the generator shares the machine with the servers'
fi
finish image-stall "Latency while images of $nodes znodes are written"
