#!/usr/bin/env bash
# Chaos: an ensemble of real servers under load, faults one after the other, and every promise checked after each round.
# --help tells how. Ends with 1 on a violation; what shows how it came is kept and named.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
target=${CARGO_TARGET_DIR:-$PWD/target}
help() {
  cat <<TEXT
scripts/chaos.sh [--minutes N] [--rounds N] [--seed S] [--servers N] [--shards N] [--faults N] [--rest MS] [--counters FILE]

  --minutes N    so long (10); rounds that have begun are finished
  --rounds N     so many rounds instead
  --seed S       the same choices again: faults, lengths and operations, not the moments at which they meet
  --servers N    three (3), or five
  --shards N     the default, or 4
  --faults N     at most so many faults a round (2)
  --rest MS      each client rests so long after an answer (0): several runs at a time leave each other room
  --counters F   a file that all runs add to (target/chaos-counters), one at a time

SERVER names the binary (target/release/ringkeeper). As root each server has a network of its own, and ways are cut as well;
NO_NETS=1 forbids that.
TEXT
}
export RINGKEEPER_CHAOS_MINUTES=10 RINGKEEPER_CHAOS_SERVER=${SERVER:-$target/release/ringkeeper}
export RINGKEEPER_CHAOS_COUNTERS=$target/chaos-counters
[ -n "${NO_NETS:-}" ] || export RINGKEEPER_CHAOS_NETS=1
test=plain
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) help; exit 0 ;;
  esac
  [ $# -ge 2 ] || { help >&2; exit 2; }
  case $1 in
    --minutes) RINGKEEPER_CHAOS_MINUTES=$2 ;;
    --rounds) unset RINGKEEPER_CHAOS_MINUTES; export RINGKEEPER_CHAOS_ROUNDS=$2 ;;
    --seed) export RINGKEEPER_CHAOS_SEED=$2 ;;
    --servers) export RINGKEEPER_CHAOS_SERVERS=$2 ;;
    --shards) export RINGKEEPER_CHAOS_SHARDS=$2; test=sharded ;;
    --rest) export RINGKEEPER_CHAOS_REST=$2 ;;
    --faults) export RINGKEEPER_CHAOS_FAULTS=$2 ;;
    --counters) RINGKEEPER_CHAOS_COUNTERS=$(realpath -m "$2") ;;
    *) help >&2; exit 2 ;;
  esac
  shift 2
done
[ -x "$RINGKEEPER_CHAOS_SERVER" ] || { echo "$RINGKEEPER_CHAOS_SERVER is not there: cargo build --release" >&2; exit 1; }
RINGKEEPER_CHAOS_SERVER=$(realpath "$RINGKEEPER_CHAOS_SERVER")
# CHAOS names a harness that is built already.
harness=${CHAOS:-$(cargo test --test chaos --no-run --message-format=json 2> /dev/null |
  sed -n 's/.*"executable":"\([^"]*\/chaos-[^"]*\)".*/\1/p' | tail -n 1)}
[ -x "$harness" ] || { echo "the harness was not built" >&2; exit 1; }
exec "$harness" --exact "$test" --nocapture
