#!/usr/bin/env bash
# The whole test suite of kazoo against the release build; test by test beside what passes on ZooKeeper 3.9.4.
#   scripts/kazoo.sh [--servers N] [--shards N] [words for pytest]        one server, or an ensemble of N (3)
# KAZOO_SUITE names the script that runs the suite (default ../shared/tools/kazoo-suite/run.sh beside the checkout).
set -euo pipefail
cd "$(dirname "$0")/.."
shards= servers=1
while :; do
  case ${1:-} in
    --shards) shards=" --shards $2"; shift 2 ;;
    --servers) servers=$2; shift 2 ;;
    *) break ;;
  esac
done
suite=${KAZOO_SUITE:-../shared/tools/kazoo-suite/run.sh}
cargo build --release
export CLUSTER_SIZE=$servers SERVER_CMD="${CARGO_TARGET_DIR:-target}/release/ringkeeper serve {cfg} {props}$shards"
exec bash "$suite" "$@"
