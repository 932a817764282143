#!/usr/bin/env bash
# Stops the machine after every change of files in scripted stories (append, segment roll, image, purge, restarts, import), in every way that
# leaves what was not synced there or not, and starts from each disk that this can leave: src/server/trial/crash.rs.
#   scripts/crash-points.sh [SAMPLES]
# SAMPLES (64) random subsets at each point where more than 8 changes are open, beside each single one, each but one and each prefix; up
# to 8, all subsets are tried. It is handed on as RINGKEEPER_CRASH_POINTS; without that variable the same tests are a part of the gate, with a few
# subsets each. Disks are made below /dev/shm where there is one.
# Prints the counts of each story and their sum, and ends with 'N passed, M failed'.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never RINGKEEPER_CRASH_POINTS=${1:-${RINGKEEPER_CRASH_POINTS:-64}}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --lib -- --nocapture crash_points 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
# 'crash points: STORY: N changes of files, N states, N of them different and started from; N starts cut short at N changes; N ms'
awk '
  /crash points: / {
    stories++
    sub(/.*crash points: [^:]*: /, "")
    points += $1; states += $5; different += $7; cut_short += $14
  }
  /^test result: / { p += $4; f += $6 }
  END {
    print stories + 0 " stories, " points + 0 " crash points, " states + 0 " states, " different + 0 " different ones started from, " \
      cut_short + 0 " starts cut short"
    if (status && !f) f = 1
    print p + 0 " passed, " f + 0 " failed"
    exit (f > 0 || p == 0)
  }' status="$status" "$log"
