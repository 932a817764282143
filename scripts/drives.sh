#!/usr/bin/env bash
# Drives: does group commit that finds its own setting do as well as the best fixed one, on several drives?
#   scripts/drives.sh OUT [DRIVE...]     drives: as-is throttled 2ms 10ms (all)
# For each: `tune flush` with the fixed settings and the adaptive one; then a minute under load with either, in which the load changes
# (20 s to 40 s: three times as much) and then the drive (from 40 s on a flush takes 4 ms longer). Leaves in OUT/DRIVE the reports, the
# records, the pictures, and what the server said of its knobs each second.
#   as-is      the drive below DIR (OUT)
#   throttled  300 writes a second, by a blkio cgroup (version 1; needs root)
#   2ms, 10ms  flush.delayMicros: each flush so much longer, several at a time
# SERVER names the program (target/release/ringkeeper), ROUNDS how often each setting is measured (3), PORT (24900) where the servers listen.
# About four minutes a drive, on a machine with nothing else to do.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- as-is throttled 2ms 10ms
server=$(realpath "${SERVER:-target/release/ringkeeper}")
port=${PORT:-24900} group=/sys/fs/cgroup/blkio/ringkeeper-drives pid=''
cleanup() {
  [ -z "$pid" ] || kill "$pid" 2> /dev/null || true
  rm -rf "$out/trial"
  [ ! -d "$group" ] || rmdir "$group" 2> /dev/null || true
}
trap cleanup EXIT
word() { timeout 5 bash -c 'exec 3<> "/dev/tcp/127.0.0.1/$0" && printf %s "$1" >&3 && cat <&3' "$port" "$1"; }
# config MODE DELAY: the server's configuration.
config() {
  printf '%s\n' "clientPort=$port" clientPortAddress=127.0.0.1 "dataDir=$out/trial/data" maxClientCnxns=0 '4lw.commands.whitelist=*' \
    preAllocSize=16384 "flush.mode=$1" "flush.delayMicros=$2" > "$out/trial/zoo.cfg"
}
# over_time DRIVE MODE DELAY RATE: a minute through both changes.
over_time() {
  local drive=$1 mode=$2 delay=$3 rate=$4 run more
  rm -rf "$out/trial" && mkdir -p "$out/trial"
  config "$mode" "$delay"
  "$server" serve "$out/trial/zoo.cfg" > "$out/trial/log" 2>&1 &
  pid=$!
  if [ "$drive" = throttled ]; then echo "$pid" > "$group/cgroup.procs"; fi
  until word ruok > /dev/null 2>&1; do sleep 0.1; done
  "$server" bench run --quiet --servers "$mode=127.0.0.1:$port" --workload set --rate "$rate" --connections 32 --in-flight 256 --warmup 0 --seconds 60 \
    --json "$out/$drive/$mode.json" > "$out/$drive/$mode.txt" &
  run=$!
  (for second in $(seq 60); do
    sleep 1
    echo "$second $(word mntr | sed -n 's/^zk_ringkeeper_flush_\(flights\|linger_us\|time_us\|decisions\)\t/\1 /p' | tr '\n' ' ')"
  done > "$out/$drive/$mode-knobs.txt") &
  sleep 20
  "$server" bench run --quiet --servers "127.0.0.1:$port" --workload set --rate "$((2 * rate))" --connections 32 --in-flight 256 --warmup 0 --seconds 20 > /dev/null &
  more=$!
  sleep 20
  config "$mode" "$((delay + 4000))"
  word rlod > "$out/$drive/$mode-reload.txt"
  wait "$run" "$more"
  kill "$pid" && wait "$pid" || true
  pid=''
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
  tune=("$server" tune flush --quiet --dir "$out/trial" --adaptive --methods dsync --batch-bytes 1m --linger '0,100,1000' --rounds "${ROUNDS:-3}"
    --set "flush.delayMicros=$delay" --json "$out/$drive/flush.json" --plots "$out/$drive")
  if [ "$drive" = throttled ]; then
    (echo "$BASHPID" > "$group/cgroup.procs" && exec "${tune[@]}") > "$out/$drive/flush.txt"
  else
    "${tune[@]}" > "$out/$drive/flush.txt"
  fi
  tail -n +8 "$out/$drive/flush.txt"
  # A tenth of the most that the defaults carry: the second load.
  rate=$(python3 -c 'import json, sys; print(max(20, round(json.load(open(sys.argv[1]))["points"][0]["loads"][1]["rate"])))' "$out/$drive/flush.json")
  for mode in fixed adaptive; do over_time "$drive" "$mode" "$delay" "$rate"; done
done
