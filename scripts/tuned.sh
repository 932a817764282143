#!/usr/bin/env bash
# Tuned: is the setting that `tune flush` recommends as good as it says? Told by the bench, at fixed rates, server beside server.
#   scripts/tuned.sh FLUSH.json [AIM] [--against NAME] [--pairs N] [--seconds S] [--keep]     balanced, all three, 5 pairs, 4 s
# Against each other in turn (A B A B ...): the recommended setting and what ZooKeeper does by default (one flush at a time, fdatasync, no linger); and
# the settings of the grid with the least and the greatest 99th percentile at the middle rate (--against zookeeper, best, worst). Each server on fresh data below DIR (the
# working directory), the one that is not asked stands idle. With --keep each comparison becomes a directory in results/.
# SERVER names the program (target/release/ringkeeper), PORT (24960) the ports from which on they listen.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] && [ -f "$1" ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
flush=$(realpath "$1") aim=balanced pairs=5 seconds=4 keep='' others=(zookeeper best worst)
shift
while [ $# -gt 0 ]; do
  case $1 in
    --against) others=("$2"); shift ;;
    --pairs) pairs=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    --keep) keep=1 ;;
    latency | balanced | throughput) aim=$1 ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done
server=$(realpath "${SERVER:-target/release/ringkeeper}")
port=${PORT:-24960}
work=$(mktemp -d -p "${DIR:-target}")
pids=()
trap 'kill "${pids[@]}" 2> /dev/null || true; wait; rm -rf "$work"' EXIT
# Configurations by name, and the cases: the rates that were offered when it was tuned.
cases=$(python3 - "$flush" "$aim" "$work" <<'PYTHON'
import json, sys

report, aim, work = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3]
points = [point for point in report["points"] if not point["knobs"]["adaptive"]]
carried = [point for point in points if all(load["carried"] for load in point["loads"])]
middle = lambda point: point["loads"][len(point["loads"]) // 2]["p99"]
chosen = {
    "recommended": next(profile["knobs"] for profile in report["profiles"] if profile["aim"] == aim),
    "zookeeper": dict(fdatasync=True, flights=1, linger_us=0, batch_bytes=1 << 20, adaptive=False),
    "best": min(carried, key=middle)["knobs"],
    "worst": max(carried, key=middle)["knobs"],
}
for name, knobs in chosen.items():
    with open(f"{work}/{name}.cfg", "w") as file:
        file.write(f"flush.method={'fdatasync' if knobs['fdatasync'] else 'dsync'}\nflush.mode={'adaptive' if knobs['adaptive'] else 'fixed'}\n")
        file.write(f"flush.flights={knobs['flights']}\nflush.lingerMicros={knobs['linger_us']}\nflush.batchBytes={knobs['batch_bytes']}\n")
    print(f"{name}: {knobs}", file=sys.stderr)
for load in report["points"][0]["loads"]:
    print(f"{load['rate']:.0f} writes a second: --workload set --connections 32 --in-flight 256 --rate {load['rate']:.0f}")
PYTHON
)
printf '%s\n' "$cases" > "$work/cases"
n=0
declare -A at
for name in recommended zookeeper best worst; do
  printf '%s\n' "clientPort=$((port + n))" clientPortAddress=127.0.0.1 "dataDir=$work/$name" maxClientCnxns=0 >> "$work/$name.cfg"
  "$server" serve "$work/$name.cfg" > "$work/$name.log" 2>&1 &
  pids+=($!)
  at[$name]=127.0.0.1:$((port + n))
  n=$((n + 1))
  until grep -q '^ready' "$work/$name.log"; do sleep 0.1; kill -0 "${pids[-1]}"; done
done
for other in "${others[@]}"; do
  echo "== recommended ($aim) against $other"
  "$server" bench compare "recommended=${at[recommended]}" "$other=${at[$other]}" --cases "$work/cases" --pairs "$pairs" --seconds "$seconds" --warmup 1 --quiet \
    ${keep:+--keep "tuned-against-$other" --disk "$work" --limit "the generator shares the machine with the servers it measures"}
done
