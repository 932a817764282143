#!/usr/bin/env bash
# Parity: seeded scenarios at a real ZooKeeper 3.9.4 and at this server in lockstep, every answer compared (tests/parity). Ends with 1 where
# two answers differ; each difference comes with its seed, its step and the fewest steps that show it.
#   scripts/parity.sh [--seeds A..B] [--steps N] [--shards N] [--servers N] [--target HOST:PORT] [--replay FILE]
# Default: seeds 0..1000 of 300 steps, against servers that are started here. --target takes a server of ours that runs already, which needs
# extendedTypesEnabled, enforceQuota and a znode.container.checkIntervalMs of a day. --servers plays through a follower of so many servers, of both kinds.
# --replay plays the steps of a file: lines '> STEP', as they are printed.
# Needs java; ZOOKEEPER_PEER names the script that starts ZooKeeper (default ../shared/tools/zookeeper-peer.sh beside the checkout),
# ZOOKEEPER (HOST:PORT) one that runs already, PARITY a harness that is built already. BASE_PORT (default 24780) moves the ports.
set -euo pipefail
cd "$(dirname "$0")/.."
export RINGKEEPER_PARITY_SEEDS=0..1000 RINGKEEPER_PARITY_STEPS=300
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
  case $1 in
    --seeds) RINGKEEPER_PARITY_SEEDS=$2 ;;
    --steps) RINGKEEPER_PARITY_STEPS=$2 ;;
    --shards) export RINGKEEPER_PARITY_SHARDS=$2 ;;
    --servers) servers=$2; export RINGKEEPER_PARITY_ENSEMBLE=1 ;;
    --target) export RINGKEEPER_PARITY_RIGHT=$2 ;;
    --replay) export RINGKEEPER_PARITY_REPLAY=$2 ;;
    --capture) export RINGKEEPER_PARITY_CAPTURE=$2 ;; # for scripts/capture.sh
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
harness=${PARITY:-$(cargo test --test parity --no-run --message-format=json 2> /dev/null |
  sed -n 's/.*"executable":"\([^"]*\/parity-[^"]*\)".*/\1/p' | tail -n 1)}
[ -x "$harness" ] || { echo "the harness was not built" >&2; exit 1; }
# The client port of a follower, of a few from a port on; of a server alone its own.
follower() {
  local k
  for k in $(seq "$2"); do
    if timeout 2 bash -c 'exec 3<> "/dev/tcp/127.0.0.1/$0" && printf srvr >&3 && cat <&3' $(($1 + k)) | grep -qE '^Mode: (follower|standalone)'; then
      echo $(($1 + k)) && return
    fi
  done
  return 1
}
base=${BASE_PORT:-24780} servers=${servers:-1}
started=()
finish() { for what in "${started[@]}"; do $what > /dev/null 2>&1 || true; done; }
trap finish EXIT
if [ -z "${ZOOKEEPER:-}" ]; then
  peer=${ZOOKEEPER_PEER:-../shared/tools/zookeeper-peer.sh}
  export ZK_JAVA_OPTS="-Dzookeeper.forceSync=no -Dzookeeper.enforceQuota=true -Dznode.container.checkIntervalMs=86400000 ${ZK_JAVA_OPTS:-}"
  started+=("$peer stop parity-$base")
  "$peer" start "parity-$base" "$servers" "$base"
  ZOOKEEPER=127.0.0.1:$(follower "$base" "$servers")
fi
if [ "$servers" -gt 1 ] && [ -z "${RINGKEEPER_PARITY_RIGHT:-}" ]; then
  export CLUSTER_DIR=${CARGO_TARGET_DIR:-target}/parity-cluster CLUSTER_PORT=$((base - 400))
  export SERVE_ARGS="-Dzookeeper.extendedTypesEnabled=true -Dzookeeper.enforceQuota=true -Dznode.container.checkIntervalMs=86400000 -Dzookeeper.forceSync=no"
  SERVE_ARGS+="${RINGKEEPER_PARITY_SHARDS:+ --shards $RINGKEEPER_PARITY_SHARDS}"
  scripts/cluster.sh clean > /dev/null 2>&1 || true
  started+=("scripts/cluster.sh clean")
  scripts/cluster.sh start "$servers"
  RINGKEEPER_PARITY_RIGHT=127.0.0.1:$(follower "$CLUSTER_PORT" "$servers")
  export RINGKEEPER_PARITY_RIGHT
fi
RINGKEEPER_PARITY_LEFT=$ZOOKEEPER "$harness" --exact against_another --nocapture
