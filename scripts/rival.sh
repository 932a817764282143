#!/usr/bin/env bash
# Ringkeeper beside a real ZooKeeper 3.9.4 on this machine, by our own bench, end to end with one command.
#   scripts/rival.sh [--pairs N] [--seconds S] [--minutes M] [--shards N] [--nodes 3]    three servers of each, with cases of their own
# Starts both, each on its own fresh data and up throughout; runs every case in turn (A B A B ...) and keeps the comparison in
# results/YYYY-MM-DD-rival/ (rival-3 for three servers); then loads each for M minutes at a fixed rate and keeps both on one plot in
# results/YYYY-MM-DD-rival-over-time/. Needs java; SERVER names a server that is built already, ZOOKEEPER_PEER the script that starts ZooKeeper (default
# ../shared/tools/zookeeper-peer.sh beside the checkout). BASE_PORT (default 24380) moves the ports.
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=5 seconds=5 minutes=3 shards='' nodes=1
while [ $# -gt 0 ]; do
  case $1 in
    --pairs) pairs=$2 ;; --seconds) seconds=$2 ;; --minutes) minutes=$2 ;; --shards) shards=$2 ;; --nodes) nodes=$2 ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
case $nodes in 1 | 3 | 5) ;; *) echo "--nodes $nodes: 1, 3 or 5" >&2; exit 2 ;; esac
peer=${ZOOKEEPER_PEER:-../shared/tools/zookeeper-peer.sh}
base=${BASE_PORT:-24380}
zk_port=$((base + 1)) rk_port=$((base + 12))
server=${SERVER:-${CARGO_TARGET_DIR:-target}/release/ringkeeper}
[ -n "${SERVER:-}" ] || cargo build --release
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
rk_pids=()
cleanup() {
  [ $? -eq 0 ] || { echo "the servers' last lines:" >&2; tail -n 5 "$work"/log* >&2 || true; }
  [ ${#rk_pids[@]} -eq 0 ] || kill "${rk_pids[@]}" 2> /dev/null || true
  "$peer" stop rival > /dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
# A thousand clients that come at once would overflow the listen queue that either has unasked.
"$peer" start rival "$nodes" "$base" clientPortListenBacklog=4096
zookeeper='' ringkeeper=''
for k in $(seq "$nodes"); do
  zookeeper+=,127.0.0.1:$((zk_port + k - 1)) ringkeeper+=,127.0.0.1:$((rk_port + k - 1))
  mkdir -p "$work/data$k"
  {
    printf 'tickTime=2000\nmaxClientCnxns=0\nclientPortListenBacklog=4096\ndataDir=%s\nclientPort=%s\n' "$work/data$k" "$((rk_port + k - 1))"
    if [ "$nodes" != 1 ]; then
      echo "$k" > "$work/data$k/myid"
      printf 'initLimit=10\nsyncLimit=5\n'
      for j in $(seq "$nodes"); do echo "server.$j=127.0.0.1:$((base + 300 + j)):$((base + 400 + j))"; done
    fi
  } > "$work/zoo$k.cfg"
  # shellcheck disable=SC2086 # --shards N is two words or none
  "$server" serve "$work/zoo$k.cfg" --listen "127.0.0.1:$((rk_port + k - 1))" ${shards:+--shards $shards} 2> "$work/log$k" &
  rk_pids+=($!)
done
zookeeper=${zookeeper#,} ringkeeper=${ringkeeper#,}
ready='^ready: '
[ "$nodes" = 1 ] || ready='^leading \|^following '
for k in $(seq "$nodes"); do
  for _ in $(seq 300); do grep -q "$ready" "$work/log$k" && break; sleep 0.1; done
  grep "$ready" "$work/log$k" || { cat "$work/log$k" >&2; exit 1; }
done
sleep 8 # Log segments that are made ahead are made.

# Of each case the seconds are for each run.
cat > "$work/cases" << END
reads, 32 deep: --workload read --closed --connections 64 --in-flight 32 --seconds $seconds --warmup 1
reads, one at a time: --workload read --closed --connections 64 --in-flight 1 --seconds $seconds --warmup 1
writes, 32 deep: --workload set --closed --connections 64 --in-flight 32 --seconds $seconds --warmup 1
writes, one at a time: --workload set --closed --connections 64 --in-flight 1 --seconds $seconds --warmup 1
one connection, one write at a time: --workload set --closed --in-flight 1 --connections 1 --seconds $seconds --warmup 1
mixed 80/20, 32 deep: --workload mixed --closed --connections 64 --in-flight 32 --seconds $seconds --warmup 1
creates, 32 deep: --workload create --closed --connections 64 --in-flight 32 --seconds $seconds --warmup 1
multi of 10 sets, 8 deep: --workload multi --closed --connections 64 --in-flight 8 --seconds $seconds --warmup 1
reads at 10,000 a second: --workload read --connections 64 --rate 10000 --seconds $seconds --warmup 1
writes at 5,000 a second: --workload set --connections 64 --rate 5000 --seconds $seconds --warmup 1
mixed 80/20 at 20,000 a second: --workload mixed --connections 64 --rate 20000 --seconds $seconds --warmup 1
watch fan-out to 1,000: --workload fan-out --watchers 1000 --closed --seconds $seconds --warmup 1
watch fan-out to 5,000: --workload fan-out --watchers 5000 --closed --seconds $seconds --warmup 1
connect storm of 1,000: --workload connect-storm --connections 1000 --closed --seconds $seconds --warmup 0
END
[ "$nodes" = 1 ] || cat > "$work/cases" << END
reads, 32 deep: --workload read --closed --connections 66 --in-flight 32 --seconds $seconds --warmup 1
writes, 32 deep: --workload set --closed --connections 66 --in-flight 32 --seconds $seconds --warmup 1
writes, one at a time: --workload set --closed --connections 66 --in-flight 1 --seconds $seconds --warmup 1
mixed 80/20 at 8,000 a second: --workload mixed --connections 66 --rate 8000 --seconds $((seconds * 2)) --warmup 2
END
name=rival
[ "$nodes" = 1 ] || name=rival-$nodes
durability_a="O_DIRECT log, O_DSYNC, group commit" durability_b="fsync of the log (forceSync), group commit"
"$server" bench compare "ringkeeper=$ringkeeper" "zookeeper=$zookeeper" --pairs "$pairs" --cases "$work/cases" \
  --durability-a "$durability_a" --durability-b "$durability_b" --quorum "$((nodes / 2 + 1))" --keep "$name" --disk "$work" \
  --limit "the generator shares the machine with the server it measures" \
  --limit "the host may take processor time away at any moment: medians of $pairs interleaved runs of $seconds s"

[ "$minutes" != 0 ] || exit 0
for target in "zookeeper $zookeeper $durability_b" "ringkeeper $ringkeeper $durability_a"; do
  read -r label servers durability <<< "$target"
  "$server" bench run --servers "$label=$servers" --workload mixed --connections 64 --rate 10000 --nodes 10000 --seconds $((minutes * 60)) \
    --warmup 5 --durability "$durability" --quorum "$((nodes / 2 + 1))" --json "$work/$label.json"
done
"$server" bench show "$work/zookeeper.json" "$work/ringkeeper.json" --keep "$name-over-time" --disk "$work" \
  --title "Mixed 80/20 at 10,000 a second for $minutes minutes" --limit "the generator shares the machine with the servers"
