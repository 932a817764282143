#!/usr/bin/env bash
# The whole test suite of kazoo against the release build, standalone; test by test beside what passes on ZooKeeper 3.9.4.
#   scripts/kazoo.sh [--shards N] [words for pytest]
# KAZOO_SUITE names the script that runs the suite (default ../shared/tools/kazoo-suite/run.sh beside the checkout).
set -euo pipefail
cd "$(dirname "$0")/.."
shards=
if [ "${1:-}" = --shards ]; then shards=" --shards $2"; shift 2; fi
suite=${KAZOO_SUITE:-../shared/tools/kazoo-suite/run.sh}
cargo build --release
export CLUSTER_SIZE=1 SERVER_CMD="${CARGO_TARGET_DIR:-target}/release/ringkeeper serve {cfg} {props}$shards"
exec bash "$suite" "$@"
