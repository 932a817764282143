#!/usr/bin/env bash
# Damage: data directories made by the real engines, hurt at random (bits flipped, sectors zeroed or swapped, files cut short, grown,
# lost, renamed or put back from before), and a start on each: it begins with what was true at some zxid and tells what it lost, or it is
# refused with its message and has changed nothing (src/server/trial). A slice of the same is in the gate.
#
#   scripts/damage.sh [CASES] [--record]     200000 cases unless told otherwise, on all cores
#
# Built as tests are, with overflow checks and debug assertions. BINARY names a test binary of the library that is there already. A case
# that fails is told with its number: RINGKEEPER_DAMAGE_CASE=NUMBER cargo test --lib a_hurt_directory -- --nocapture plays it again.
# Ends with 'N passed, M failed'.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
command_line="scripts/damage.sh${*:+ $*}"
cases=200000 record=''
for argument in "$@"; do
  case $argument in
    --record) record=yes ;;
    *[!0-9]* | '') echo "usage: scripts/damage.sh [CASES] [--record]" >&2; exit 2 ;;
    *) cases=$argument ;;
  esac
done
binary=${BINARY:-}
if [ -z "$binary" ]; then
  binary=$(cargo test --lib --no-run --message-format=json 2> /dev/null |
    sed -n 's/.*"executable":"\([^"]*\/ringkeeper-[^"]*\)".*/\1/p' | tail -n 1)
fi
[ -x "$binary" ] || { echo "the tests were not built: cargo test --lib --no-run" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

RINGKEEPER_DAMAGE_CASES=$cases "$binary" --nocapture --exact \
  server::trial::a_hurt_directory_starts_with_the_truth_or_is_refused 2>&1 | tee "$work/log"
read -r done failed seconds < <(sed -n 's/^cases: \([0-9]*\), failed: \([0-9]*\), seconds: \([0-9]*\)$/\1 \2 \3/p' "$work/log")
done=${done:-0} failed=${failed:-1} seconds=${seconds:-0}
# What was not played, or not judged well as a whole, did not pass.
if ! grep -q '^test result: ok' "$work/log" && [ "$failed" -eq 0 ]; then failed=1; fi
passed=$((done > failed ? done - failed : 0))

if [ -n "$record" ]; then
  stem=results/$(date +%F)-damage out=$stem n=2
  while [ -e "$out" ]; do out=$stem-$n; n=$((n + 1)); done
  mkdir -p "$out"
  {
    echo "# Damaged data directories, $(date +%F)"
    echo
    echo "Command: \`$command_line\`."
    echo
    echo "- commit: $(git rev-parse HEAD)$(git diff --quiet HEAD -- . ':!results' || echo ' with uncommitted changes')"
    echo "- processor: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"
    echo "- kernel: $(uname -sr)"
    echo "- load average at the end: $(cut -d ' ' -f 1-3 /proc/loadavg)"
    echo
    echo "$done cases in $seconds s, $failed failed. A case with several injuries counts in a row for each."
    echo
    grep '^|' "$work/log"
    echo
    cat << 'TEXT'
- *clean*: started with everything that was acknowledged, nothing to tell.
- *told*: the same, with a warning that names what was found.
- *refused*: not started, one line with file, place, zxid and next step; not a byte was changed.
- *unvouched*: started without the last transactions. They were acknowledged a moment before the end of the last life, and no later
  header, watermark or image said so yet: damage there looks as a torn tail does. Told.
- *unwitnessed*: the same after several injuries that also took every header, watermark, manifest and image that said so. Told.
- *untraced*: as one of the two before, and no readable trace of those transactions is left: the directory is what it once was. Nothing can
  be told.

Every start was held against a ghost of the history: digest, all znodes with their ACLs, and sessions at its zxid. After each start a second
one had to come to the same, and one in six was written on and started once more.
TEXT
  } > "$out/README.md"
  echo "recorded in $out"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
