#!/usr/bin/env bash
# Sim: a campaign of simulated ensembles that can be stopped and taken up again. The seeds go on where the last run of it ended, and what
# was counted adds up in a file: faults, elections, ways to synchronise, simulated time.
#
#   scripts/sim.sh [SECONDS] [FILE]     60 seconds and target/sim-campaign.txt unless told otherwise
#
# Built optimised, with panics that unwind, so that a panic inside a run is told with its seed; with overflow checks and debug assertions.
# BINARY names a program that is there already. Ends with 'N passed, M failed'.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
seconds=${1:-60}
case $seconds in *[!0-9]* | '') echo "usage: scripts/sim.sh [SECONDS] [FILE]" >&2; exit 2 ;; esac
target=${CARGO_TARGET_DIR:-$PWD/target}
file=${2:-$target/sim-campaign.txt}
binary=${BINARY:-}
if [ -z "$binary" ]; then
  commit=$(git rev-parse --short HEAD)$(git diff --quiet HEAD -- src || echo ' with changes')
  RINGKEEPER_COMMIT=$commit cargo build --release --bin ringkeeper --target-dir "$target/sim" \
    --config 'profile.release.panic="unwind"' --config 'profile.release.lto=false' --config 'profile.release.codegen-units=16' \
    --config 'profile.release.overflow-checks=true' --config 'profile.release.debug-assertions=true' || exit 1
  binary=$target/sim/release/ringkeeper
fi
count() { sed -n "s/^\([0-9]*\) $1\$/\1/p" "$file" 2> /dev/null; }
before=$(count runs) failed_before=$(count failed)
"$binary" sim --campaign "$file" --seconds "$seconds" --keep-going
runs=$(count runs) failed=$(count failed)
echo "campaign so far, in $file:"
column -c 160 "$file" 2> /dev/null || cat "$file"
done=$((${runs:-0} - ${before:-0})) failed=$((${failed:-0} - ${failed_before:-0}))
[ "$done" -gt 0 ] || failed=1
echo "$((done > failed ? done - failed : 0)) passed, $failed failed"
[ "$failed" -eq 0 ]
