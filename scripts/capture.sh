#!/usr/bin/env bash
# Records what a real ZooKeeper 3.9.4 answers to the scenarios of some seeds, for the gate to compare with: tests/parity/golden/SEED.txt.
#   scripts/capture.sh SEED...      the variables are those of scripts/parity.sh
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { sed -n '2,3s/^# \{0,1\}//p' "$0" >&2; exit 2; }
for seed in "$@"; do
  scripts/parity.sh --seeds "$seed..$((seed + 1))" --capture tests/parity/golden
done
