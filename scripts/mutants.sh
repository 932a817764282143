#!/usr/bin/env bash
# Mutants: builds the simulator with one planted bug after the other (cfg(mutant = "m01"), see docs/sim.md) and says which promise each one
# breaks first, and at which seed. A mutant that lives is a hole in the checks.
#
#   scripts/mutants.sh [--seeds N] [m01 m02 ...]     50000 seeds at most; all that are planted unless told otherwise
#
# What is built is a package below target/ that has only the rooms that the simulator needs, so that a mutant costs seconds. Ends with the
# line 'N passed, M failed'. The table is in target/mutants/table.md.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
top=$PWD
target=${CARGO_TARGET_DIR:-$PWD/target}/mutants
seeds=50000 wanted=()
while [ $# -gt 0 ]; do
  case $1 in
    --seeds) seeds=$2; shift ;;
    m[0-9]* | none) wanted+=("$1") ;;
    *) echo "usage: scripts/mutants.sh [--seeds N] [m01 ...]" >&2; exit 2 ;;
  esac
  shift
done
if [ ${#wanted[@]} -eq 0 ]; then
  mapfile -t wanted < <(grep -rhoE 'mutant = "m[0-9]+"' src | grep -oE 'm[0-9]+' | sort -u)
fi

package=$target/package
mkdir -p "$package/src" "$target/wrap"
{
  printf '[package]\nname = "mutant"\nversion = "0.0.0"\nedition = "2024"\n\n[workspace]\n\n[dependencies]\n'
  grep -E '^(clap|crc32fast|smallvec|thiserror|tracing) = ' Cargo.toml
  printf '\n[profile.dev]\nopt-level = 2\ndebug = false\n'
} > "$package/Cargo.toml"
cp Cargo.lock "$package/Cargo.lock"
{
  echo '#![allow(dead_code, unused_imports, unexpected_cfgs)]'
  for room in ground proto storage zab sim; do
    echo "#[path = \"$top/src/$room/mod.rs\"] mod $room;"
  done
  echo 'mod cli {'
  for file in outcome progress sim; do echo "    #[path = \"$top/src/cli/$file.rs\"] pub mod $file;"; done
  echo '}'
  cat << 'RUST'
#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    sim: cli::sim::Sim,
}

fn main() -> std::process::ExitCode {
    <Cli as clap::Parser>::parse().sim.run()
}
RUST
} > "$package/src/main.rs"

# build [NAME]: leaves the program at $target/bin/NAME. The wrapper is one file a mutant: so cargo knows that they differ, and keeps what
# they depend on.
build() {
  local name=${1:-none} wrap=$target/wrap/${1:-none} flag=
  [ -z "${1:-}" ] || flag="--cfg 'mutant=\"$name\"'"
  printf '#!/bin/sh\nexec "$@" %s\n' "$flag" > "$wrap.new"
  chmod +x "$wrap.new"
  cmp -s "$wrap.new" "$wrap" && rm "$wrap.new" || mv "$wrap.new" "$wrap"
  RUSTC_WORKSPACE_WRAPPER=$wrap cargo build -q --manifest-path "$package/Cargo.toml" --target-dir "$target/build" || return 1
  mkdir -p "$target/bin"
  cp "$target/build/debug/mutant" "$target/bin/$name"
}

passed=0 failed=0
table=$target/table.md
printf '| mutant | broken first | seed | runs until then | what |\n|---|---|---:|---:|---|\n' > "$table"
for name in "${wanted[@]}"; do
  if ! build "${name#none}" > "$target/log" 2>&1; then
    echo "$name: does not build"; tail -n 20 "$target/log"; failed=$((failed + 1)); continue
  fi
  "$target/bin/$name" --seeds "0..$seeds" --threads "${MUTANT_THREADS:-2}" > "$target/$name.out" 2> "$target/$name.err"
  line=$(grep -m1 '^FAILED' "$target/$name.err")
  runs=$(sed -n 's/^ *\([0-9]*\)  runs$/\1/p' "$target/$name.out")
  if [ -n "$line" ]; then
    seed=$(sed -n 's/^FAILED seed \([0-9]*\).*/\1/p' <<< "$line")
    what=$(sed 's/^[^:]*: //' <<< "$line" | cut -c 1-200)
    echo "$name: caught at seed $seed after $runs runs: $what"
    echo "| $name | ${what%% *} | $seed | $runs | ${what#*: } |" >> "$table"
    passed=$((passed + 1))
  else
    echo "$name: LIVES after $runs runs"
    echo "| $name | **lives** | | $runs | |" >> "$table"
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
