#!/usr/bin/env bash
# Ringkeeper beside a real ZooKeeper 3.9.4 on this machine, by our own bench, end to end with one command.
#   scripts/rival.sh [--pairs N] [--seconds S] [--minutes M] [--shards N] [--nodes 3]
# Starts both, each on its own fresh data and up throughout; runs every case in turn (A B A B ...) and keeps the comparison in
# results/YYYY-MM-DD-rival/; then loads each for M minutes at a fixed rate and keeps both on one plot in
# results/YYYY-MM-DD-rival-over-time/. Needs java; ZOOKEEPER_PEER names the script that starts ZooKeeper (default
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
if [ "$nodes" != 1 ]; then
  echo "a comparison of $nodes nodes needs an ensemble of Ringkeeper servers, which is not here yet: only --nodes 1 can be run" >&2
  exit 2
fi
peer=${ZOOKEEPER_PEER:-../shared/tools/zookeeper-peer.sh}
base=${BASE_PORT:-24380}
zk_port=$((base + 1)) rk_port=$((base + 2))
server=${CARGO_TARGET_DIR:-target}/release/ringkeeper
cargo build --release
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
rk_pid=
cleanup() {
  [ $? -eq 0 ] || { echo "the server's last lines:" >&2; tail -n 5 "$work/log" >&2 || true; }
  [ -z "$rk_pid" ] || kill "$rk_pid" 2> /dev/null || true
  "$peer" stop rival > /dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
# A thousand clients that come at once would overflow the listen queue that either has unasked.
"$peer" start rival 1 "$base" clientPortListenBacklog=4096
printf 'tickTime=2000\nmaxClientCnxns=0\nclientPortListenBacklog=4096\ndataDir=%s\nclientPort=%s\n' "$work/data" "$rk_port" > "$work/zoo.cfg"
# shellcheck disable=SC2086 # --shards N is two words or none
"$server" serve "$work/zoo.cfg" --listen "127.0.0.1:$rk_port" ${shards:+--shards $shards} 2> "$work/log" &
rk_pid=$!
for _ in $(seq 300); do grep -q '^ready: ' "$work/log" && break; sleep 0.1; done
grep '^ready: ' "$work/log" || { cat "$work/log" >&2; exit 1; }
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
durability_a="O_DIRECT log, O_DSYNC, group commit" durability_b="fsync of the log (forceSync), group commit"
"$server" bench compare "ringkeeper=127.0.0.1:$rk_port" "zookeeper=127.0.0.1:$zk_port" --pairs "$pairs" --cases "$work/cases" \
  --durability-a "$durability_a" --durability-b "$durability_b" --quorum 1 --keep rival --disk "$work" \
  --limit "the generator shares the machine with the server it measures" \
  --limit "the host may take processor time away at any moment: medians of $pairs interleaved runs of $seconds s"

[ "$minutes" != 0 ] || exit 0
for target in "zookeeper $zk_port $durability_b" "ringkeeper $rk_port $durability_a"; do
  read -r label port durability <<< "$target"
  "$server" bench run --servers "$label=127.0.0.1:$port" --workload mixed --connections 64 --rate 10000 --nodes 10000 --seconds $((minutes * 60)) \
    --warmup 5 --durability "$durability" --quorum 1 --json "$work/$label.json"
done
"$server" bench show "$work/zookeeper.json" "$work/ringkeeper.json" --keep rival-over-time --disk "$work" \
  --title "Mixed 80/20 at 10,000 a second for $minutes minutes" --limit "the generator shares the machine with the servers"
