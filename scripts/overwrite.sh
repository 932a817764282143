#!/usr/bin/env bash
# Memory of a million znodes of 100 bytes that are overwritten for half an hour, while at least five images are made.
#   scripts/overwrite.sh [--minutes M] [--rate N] [--spread BYTES] [--record]       SERVER, LOAD: see scripts/common.sh
# With --spread an overwrite has so many bytes more or less: records of many sizes leave gaps between them.
. "$(dirname "$0")/common.sh"
nodes=1000000 minutes=30 rate=10000 spread=0
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=$2; shift 2 ;; --rate) rate=$2; shift 2 ;; --spread) spread=$2; shift 2 ;; --record) shift ;;
    *) sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
# About six images, by the dice from four on.
start_server -Dzookeeper.snapCount=$((minutes * 60 * rate / 6)) --log-level warn,ringkeeper=info
"$load" --server "$address" --workload create --nodes "$nodes" --value-size 100 | tee -a "$work/notes" || exit 1
sleep 5
before=$(resident_mb)
"$load" --server "$address" --workload overwrite --nodes "$nodes" --value-size 100 --spread "$spread" --rate "$rate" --seconds $((minutes * 60)) > "$work/said" &
load_pid=$!
most=0
while kill -0 "$load_pid" 2> /dev/null; do
  now=$(resident_mb)
  [ "$now" -le "$most" ] || most=$now
  if [ $((SECONDS / 60)) -ne "${told:--1}" ]; then told=$((SECONDS / 60)); echo "resident $now MB" | tee -a "$work/notes"; fi
  sleep 1
done
load_pid=
cat "$work/said" | tee -a "$work/notes"
sleep 5
after=$(resident_mb)
images=$(grep -c 'image\.[0-9a-f]*: .* items' "$work/log")
grep 'image\.\|retention' "$work/log" | sed "s|$work|DATA|" | tee -a "$work/notes"
judge 'resident before' "$before" MB 450
judge 'resident after, of before' "$(awk -v a="$after" -v b="$before" 'BEGIN { printf "%.2f", a / b }')" '' 1.25
judge 'most resident meanwhile, of before' "$(awk -v a="$most" -v b="$before" 'BEGIN { printf "%.2f", a / b }')" '' 1.25
judge 'images that were not made, of five' "$((images >= 5 ? 0 : 5 - images))" '' 0
finish overwrite "Memory of a million znodes that are overwritten for $minutes minutes"
