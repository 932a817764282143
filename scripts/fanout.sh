#!/usr/bin/env bash
# Fan-out: Ringkeeper beside a real ZooKeeper 3.9.4: how long until the last of 1,000 and 5,000 watchers has its event, and what a watch costs in
# memory: a million of them from 100 connections, on paths that all share and on paths of each connection's own.
#   scripts/fanout.sh [--pairs N] [--seconds S] [--paths N]       5 pairs of 10 s; 10,000 paths of each connection
# Memory is what the process has resident for Ringkeeper, the heap in use after a full collection for ZooKeeper: of the former the difference
# before and after, so is the latter. Needs a JDK and python3; SERVER names a server that is built already, ZOOKEEPER_PEER the script that
# starts ZooKeeper (default ../shared/tools/zookeeper-peer.sh beside the checkout). BASE_PORT (default 24980) moves the ports.
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=5 seconds=10 paths=10000 connections=100
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || set -- --help
  case $1 in
    --pairs) pairs=$2 ;; --seconds) seconds=$2 ;; --paths) paths=$2 ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
peer=${ZOOKEEPER_PEER:-../shared/tools/zookeeper-peer.sh}
base=${BASE_PORT:-24980}
server=${SERVER:-${CARGO_TARGET_DIR:-target}/release/ringkeeper}
[ -n "${SERVER:-}" ] || cargo build --release
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
rk_pid='' holder=''
cleanup() {
  [ -z "$holder" ] || kill "$holder" 2> /dev/null || true
  [ -z "$rk_pid" ] || kill "$rk_pid" 2> /dev/null || true
  "$peer" stop fanout > /dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
"$peer" start fanout 1 "$base" clientPortListenBacklog=8192
zk_pid=$(cat "$("$peer" dir fanout)/1/pid")
zookeeper=127.0.0.1:$((base + 1)) ringkeeper=127.0.0.1:$((base + 2))
"$server" serve --data-dir "$work/data" --listen "$ringkeeper" -Dzookeeper.maxClientCnxns=0 -Dzookeeper.clientPortListenBacklog=8192 2> "$work/log" &
rk_pid=$!
for _ in $(seq 300); do grep -q '^ready: ' "$work/log" && break; sleep 0.1; done
grep '^ready: ' "$work/log" || { cat "$work/log" >&2; exit 1; }

# Kibibytes in use now.
rk_kib() { awk '/^VmRSS:/ { print $2 }' "/proc/$rk_pid/status"; }
zk_kib() {
  jcmd "$zk_pid" GC.run > /dev/null && sleep 1
  jcmd "$zk_pid" GC.heap_info | sed -n 's/.* used \([0-9]*\)K.*/\1/p' | head -n 1
}
mkfifo "$work/hold"
for kind in shared own; do
  for name in ringkeeper zookeeper; do
    if [ "$name" = ringkeeper ]; then kib=rk_kib; else kib=zk_kib; fi
    before=$($kib)
    : > "$work/said"
    python3 tests/foreign/watches.py "${!name}" "$connections" "$paths" "$kind" < "$work/hold" > "$work/said" &
    holder=$!
    exec 9> "$work/hold"
    until grep -q watches "$work/said"; do kill -0 "$holder" || exit 1; sleep 0.2; done
    sleep 1
    after=$($kib)
    awk -v name="$name" -v kind="$kind" -v n=$((connections * paths)) -v kib=$((after - before)) \
      'BEGIN { printf "%s, %d watches on %s paths: %.1f MB, %.0f bytes each\n", name, n, kind, kib * 1.024 / 1000, kib * 1024 / n }'
    exec 9>&-
    wait "$holder" || true
    holder=
    sleep 2
  done
done

cat > "$work/cases" << END
watch fan-out to 1,000: --workload fan-out --watchers 1000 --closed --seconds $seconds --warmup 1
watch fan-out to 5,000: --workload fan-out --watchers 5000 --closed --seconds $seconds --warmup 1
END
"$server" bench compare "ringkeeper=$ringkeeper" "zookeeper=$zookeeper" --pairs "$pairs" --cases "$work/cases" \
  --durability-a "O_DIRECT log, O_DSYNC, group commit" --durability-b "fsync of the log (forceSync), group commit" --quorum 1 --keep fanout \
  --disk "$work" --limit "the generator shares the machine with the server it measures"
