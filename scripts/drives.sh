#!/usr/bin/env bash
# Drives: does group commit that finds its own setting do as well as the best fixed one, on several drives?
#   scripts/drives.sh OUT [DRIVE...]     drives: as-is throttled 2ms 10ms (all)
# For each: `tune flush`, fixed settings and the adaptive one; at each of its rates the fixed setting that was the best there beside the
# adaptive one, server beside server, by the bench (the least of many figures flatters: it is measured anew); then a minute under load with the
# default and the adaptive one, in which the load changes (20 s to 40 s: three times as much) and then the drive (from 40 s on a flush takes 4 ms
# longer). Leaves in OUT/DRIVE the reports, the records, the pictures, and what the server said of its knobs each second.
#   as-is      the drive below DIR (OUT)
#   throttled  300 writes a second, by a blkio cgroup (version 1; needs root)
#   2ms, 10ms  flush.delayMicros: each flush so much longer, several at a time
# SERVER names the program (target/release/ringkeeper), ROUNDS how often each setting is measured (3), PAIRS how often the best beside the adaptive
# one (9), PORT (24900) from which port on the servers listen. About nine minutes a drive, on a machine with nothing else to do.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- as-is throttled 2ms 10ms
server=$(realpath "${SERVER:-target/release/ringkeeper}")
port=${PORT:-24900} group=/sys/fs/cgroup/blkio/ringkeeper-drives drive='' pids=()
stop() {
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2> /dev/null || true
  wait "${pids[@]}" || true
  pids=()
}
cleanup() {
  stop
  rm -rf "$out/trial"
  [ ! -d "$group" ] || rmdir "$group" 2> /dev/null || true
}
trap cleanup EXIT
word() { timeout 5 bash -c 'exec 3<> "/dev/tcp/127.0.0.1/$0" && printf %s "$1" >&3 && cat <&3' "$port" "$1"; }
# config NUMBER LINE...: the configuration of a server.
config() {
  printf '%s\n' "clientPort=$((port + $1))" clientPortAddress=127.0.0.1 "dataDir=$out/trial/$1" maxClientCnxns=0 '4lw.commands.whitelist=*' \
    preAllocSize=16384 "${@:2}" > "$out/trial/$1.cfg"
}
# start NUMBER LINE...: such a server, on fresh data and on the drive.
start() {
  rm -rf "$out/trial/$1"
  config "$@"
  "$server" serve "$out/trial/$1.cfg" > "$out/trial/$1.log" 2>&1 &
  pids+=($!)
  if [ "$drive" = throttled ]; then echo $! > "$group/cgroup.procs"; fi
  until grep -q '^ready' "$out/trial/$1.log"; do sleep 0.1; kill -0 $!; done
}
bench=(--workload set --connections 32 --in-flight 256)
# against_best DELAY: at each rate the best fixed setting and the adaptive one, in turn.
against_best() {
  local rate lines load=0
  while read -r rate lines; do
    load=$((load + 1))
    # shellcheck disable=SC2086 # Several lines, without blanks.
    start 1 flush.mode=fixed "flush.delayMicros=$1" $lines
    start 2 flush.mode=adaptive "flush.delayMicros=$1"
    echo "== $rate writes a second; the best fixed: $lines"
    "$server" bench run --quiet --servers "127.0.0.1:$((port + 2))" "${bench[@]}" --rate "$rate" --warmup 0 --seconds 15 > /dev/null
    "$server" bench compare "adaptive=127.0.0.1:$((port + 2))" "best=127.0.0.1:$((port + 1))" "${bench[@]}" --rate "$rate" --pairs "${PAIRS:-9}" --seconds 3 \
      --warmup 1 --quiet --keep "best-$load" --results "$out/$drive/against" --disk "$out" --limit "the generator shares the machine with the servers"
    stop
  done < <(python3 - "$out/$drive/flush.json" <<'PYTHON'
import json, sys

points = [point for point in json.load(open(sys.argv[1]))["points"] if not point["knobs"]["adaptive"]]
for at, load in enumerate(points[0]["loads"]):
    knobs = min((point for point in points if point["loads"][at]["carried"]), key=lambda point: point["loads"][at]["p99"], default=points[0])["knobs"]
    print(f"{load['rate']:.0f} flush.flights={knobs['flights']} flush.lingerMicros={knobs['linger_us']} flush.batchBytes={knobs['batch_bytes']}")
PYTHON
  ) > >(tee "$out/$drive/against-best.txt")
}
# over_time MODE DELAY RATE: a minute through both changes.
over_time() {
  local mode=$1 delay=$2 rate=$3 run knobs more
  start 0 "flush.mode=$mode" "flush.delayMicros=$delay"
  "$server" bench run --quiet --servers "$mode=127.0.0.1:$port" "${bench[@]}" --rate "$rate" --warmup 0 --seconds 60 --json "$out/$drive/$mode.json" \
    > "$out/$drive/$mode.txt" &
  run=$!
  (for second in $(seq 60); do
    sleep 1
    echo "$second $(word mntr | sed -n 's/^zk_ringkeeper_flush_\(flights\|linger_us\|time_us\|decisions\)\t/\1 /p' | tr '\n' ' ')"
  done > "$out/$drive/$mode-knobs.txt") &
  knobs=$!
  sleep 20
  "$server" bench run --quiet --servers "127.0.0.1:$port" "${bench[@]}" --rate "$((2 * rate))" --warmup 0 --seconds 20 > /dev/null &
  more=$!
  sleep 20
  config 0 "flush.mode=$mode" "flush.delayMicros=$((delay + 4000))"
  word rlod > "$out/$drive/$mode-reload.txt"
  wait "$run" "$more"
  kill "$knobs" 2> /dev/null || true
  stop
}
for drive in "$@"; do
  mkdir -p "$out/$drive" "$out/trial"
  delay=0
  case $drive in
    as-is) ;;
    throttled)
      mkdir -p "$group"
      echo "$(findmnt -no MAJ:MIN -T "$out") 300" > "$group/blkio.throttle.write_iops_device"
      ;;
    2ms) delay=2000 ;;
    10ms) delay=10000 ;;
    *) echo "no drive $drive" >&2; exit 2 ;;
  esac
  echo "== $drive"
  tune=("$server" tune flush --quiet --dir "$out/trial" --methods dsync --batch-bytes 1m --linger '0,100,1000' --rounds "${ROUNDS:-3}"
    --set "flush.delayMicros=$delay" --json "$out/$drive/flush.json" --plots "$out/$drive")
  if [ "$drive" = throttled ]; then
    (echo "$BASHPID" > "$group/cgroup.procs" && exec "${tune[@]}") > "$out/$drive/flush.txt"
  else
    "${tune[@]}" > "$out/$drive/flush.txt"
  fi
  tail -n +8 "$out/$drive/flush.txt"
  # A tenth of the most that the defaults carry: the second load.
  rate=$(python3 -c 'import json, sys; print(max(20, round(json.load(open(sys.argv[1]))["points"][0]["loads"][1]["rate"])))' "$out/$drive/flush.json")
  against_best "$delay"
  for mode in fixed adaptive; do over_time "$mode" "$delay" "$rate"; done
done
