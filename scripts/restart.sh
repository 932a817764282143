#!/usr/bin/env bash
# How long a killed server takes until it serves again, with a million znodes of 100 bytes, beside a real ZooKeeper 3.9.4 with the same;
# and what memory it has then.
#   scripts/restart.sh [--nodes N] [--rounds N] [--alone] [--record]       SERVER, LOAD: see scripts/common.sh
# --alone starts no ZooKeeper. ZOOKEEPER_PEER names the script that starts it (default ../shared/tools/zookeeper-peer.sh beside the
# checkout), BASE_PORT (default 24480) moves its port.
. "$(dirname "$0")/common.sh"
nodes=1000000 rounds=5 alone=''
while [ $# -gt 0 ]; do
  case $1 in
    --nodes) nodes=$2; shift 2 ;; --rounds) rounds=$2; shift 2 ;;
    --alone) alone=yes; shift ;; --record) shift ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
peer=${ZOOKEEPER_PEER:-../shared/tools/zookeeper-peer.sh}
base=${BASE_PORT:-24480}
words='-Dzookeeper.4lw.commands.whitelist=*'
trap 'cleanup; [ -n "$alone" ] || "$peer" stop restart > /dev/null 2>&1' EXIT

# serves ADDRESS BEGAN: waits until it says that it serves; prints the ms since BEGAN, ns.
serves() {
  for _ in $(seq 6000); do
    if word "$1" srvr | grep -q '^Mode: '; then break; fi
    sleep 0.01
  done
  echo $((($(date +%s%N) - $2) / 1000000))
}
settle() { sleep 5; }
kill_server() { kill -9 "$server_pid"; wait "$server_pid" 2> /dev/null; server_pid=; }

start_server "$words"
"$load" --server "$address" --workload create --nodes "$nodes" --value-size 100 | tee -a "$work/notes" || exit 1
if [ -z "$alone" ]; then
  "$peer" start restart 1 "$base" || exit 1
  theirs=127.0.0.1:$((base + 1))
  "$load" --server "$theirs" --workload create --nodes "$nodes" --value-size 100 | tee -a "$work/notes" || exit 1
fi
# As it is after any load: what came since the last image is in the log alone. An image that is due is finished first.
await_image
settle
resident=$(resident_mb)
ours=() theirs_all=()
for round in $(seq "$rounds"); do
  kill_server
  sync
  began=$(date +%s%N)
  start_server "$words" --log-level warn,ringkeeper=info
  ms=$(serves "$address" "$began")
  ours+=("$ms")
  echo "round $round: ringkeeper $ms ms, $(grep '^ready: ' "$work/log")" | tee -a "$work/notes"
  grep 'loaded in' "$work/log" | tee -a "$work/notes"
  if [ -z "$alone" ]; then
    "$peer" stop restart
    sync
    began=$(date +%s%N)
    "$peer" restart restart &
    waiting=$!
    ms=$(serves "$theirs" "$began")
    wait "$waiting"
    theirs_all+=("$ms")
    echo "round $round: zookeeper $ms ms" | tee -a "$work/notes"
  fi
done
settle
limit=$((nodes * 450 / 1000000))
judge 'resident after images were made' "$resident" MB "$limit"
judge "resident after a restart" "$(resident_mb)" MB "$limit"
echo "ringkeeper: median $(median "${ours[@]}") ms of ${ours[*]}" | tee -a "$work/notes"
if [ -z "$alone" ]; then
  echo "zookeeper: median $(median "${theirs_all[@]}") ms of ${theirs_all[*]}" | tee -a "$work/notes"
  ratio=$(awk -v a="$(median "${ours[@]}")" -v b="$(median "${theirs_all[@]}")" 'BEGIN { printf "%.3f", a / b }')
  judge "restart, part of ZooKeeper's time" "$ratio" '' 0.125
fi
finish restart "A killed server with $nodes znodes starts again"
