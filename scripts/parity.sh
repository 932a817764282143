#!/usr/bin/env bash
# Parity: seeded scenarios at a real ZooKeeper 3.9.4 and at this server in lockstep, every answer compared (tests/parity). Ends with 1 where
# two answers differ; each difference comes with its seed, its step and the fewest steps that show it.
#   scripts/parity.sh [--seeds A..B] [--steps N] [--shards N] [--target HOST:PORT] [--replay FILE]
# Default: seeds 0..1000 of 300 steps, against servers that are started here. --target takes a server of ours that runs already, which needs
# extendedTypesEnabled and a znode.container.checkIntervalMs of a day. --replay plays the steps of a file: lines '> STEP', as they are printed.
# Needs java; ZOOKEEPER_PEER names the script that starts ZooKeeper (default ../shared/tools/zookeeper-peer.sh beside the checkout),
# ZOOKEEPER (HOST:PORT) one that runs already, PARITY a harness that is built already. BASE_PORT (default 24780) moves the ports.
set -euo pipefail
cd "$(dirname "$0")/.."
export RINGKEEPER_PARITY_SEEDS=0..1000 RINGKEEPER_PARITY_STEPS=300
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
  case $1 in
    --seeds) RINGKEEPER_PARITY_SEEDS=$2 ;;
    --steps) RINGKEEPER_PARITY_STEPS=$2 ;;
    --shards) export RINGKEEPER_PARITY_SHARDS=$2 ;;
    --target) export RINGKEEPER_PARITY_RIGHT=$2 ;;
    --replay) export RINGKEEPER_PARITY_REPLAY=$2 ;;
    --capture) export RINGKEEPER_PARITY_CAPTURE=$2 ;; # for scripts/capture.sh
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
harness=${PARITY:-$(cargo test --test parity --no-run --message-format=json 2> /dev/null |
  sed -n 's/.*"executable":"\([^"]*\/parity-[^"]*\)".*/\1/p' | tail -n 1)}
[ -x "$harness" ] || { echo "the harness was not built" >&2; exit 1; }
if [ -z "${ZOOKEEPER:-}" ]; then
  peer=${ZOOKEEPER_PEER:-../shared/tools/zookeeper-peer.sh} base=${BASE_PORT:-24780}
  export ZK_JAVA_OPTS="-Dzookeeper.forceSync=no -Dznode.container.checkIntervalMs=86400000 ${ZK_JAVA_OPTS:-}"
  trap '"$peer" stop parity-script > /dev/null 2>&1 || true' EXIT
  "$peer" start parity-script 1 "$base"
  ZOOKEEPER=127.0.0.1:$((base + 1))
fi
RINGKEEPER_PARITY_LEFT=$ZOOKEEPER "$harness" --exact against_another --nocapture
