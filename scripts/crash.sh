#!/usr/bin/env bash
# Kill -9 under load, many times, against the release build: ROUNDS rounds (50) with the default shards, as many with four.
#   scripts/crash.sh [ROUNDS]      RINGKEEPER_CRASH_SHARDS, RINGKEEPER_CRASH_SEED as in tests/crash/main.rs
# Prints a line a round and ends with 'N passed, M failed'.
set -uo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --release || exit 1
export RINGKEEPER_CRASH_ROUNDS=${1:-${RINGKEEPER_CRASH_ROUNDS:-50}}
# Only the server needs to be fast; the harness is the one that the tests have built already.
export RINGKEEPER_CRASH_COMMAND="$target/release/ringkeeper serve {cfg} --data-dir {dir} --listen 127.0.0.1:{port} {shards}"
passed=0 failed=0
for case in default_shards many_shards; do
  if cargo test --test crash -- --exact "$case" --nocapture; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
