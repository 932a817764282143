#!/usr/bin/env bash
# Mutants: plays the simulator with one planted bug after the other (cfg(mutant = "m01"), see docs/sim.md) and says which promise each one
# breaks first, and at which seed. A mutant that lives is a hole in the checks.
#
#   scripts/mutants.sh [--seeds N] [m01 m02 ...]     50000 seeds at most; all that are planted unless told otherwise; none: no bug
#
# What is built is a package below target/ that has only the rooms that the simulator needs, with all the bugs in it: which one is on is
# asked when it runs. Ends with the line 'N passed, M failed'. The table is in target/mutants/table.md. BINARY names a program that was built
# so before; BUILD=only plays nothing.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
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

rooms=(ground proto tree watch session auth storage zab engine sim)
package=$target/package
build() {
  rm -rf "$package/src"
  mkdir -p "$package/src/cli"
  {
    printf '[package]\nname = "mutant"\nversion = "0.0.0"\nedition = "2024"\n\n[workspace]\n\n[dependencies]\n'
    sed -n '/^\[dependencies\]/,/^\[/p' Cargo.toml | grep -E '^(ahash|base64|clap|crc32fast|hashbrown|mimalloc|rkyv|sha1|smallvec|thiserror|tracing|triomphe) '
    printf '\n[profile.dev]\nopt-level = 2\ndebug = false\n'
  } > "$package/Cargo.toml"
  cp Cargo.lock "$package/Cargo.lock"
  local room file
  for room in "${rooms[@]}"; do cp -r "src/$room" "$package/src/"; done
  for file in outcome progress sim; do cp "src/cli/$file.rs" "$package/src/cli/"; done
  # Each `mutant = "m05"` in a condition becomes a question to the running program.
  grep -rlE 'mutant = "m' "$package/src" | xargs sed -i -E \
    -e 's/cfg!\(any\(mutant = "m([0-9]+)", mutant = "m([0-9]+)"\)\)/(crate::is_mutant("m\1") || crate::is_mutant("m\2"))/g' \
    -e 's/cfg!\(mutant = "m([0-9]+)"\)/crate::is_mutant("m\1")/g'
  {
    echo '#![allow(dead_code, unused_imports, unexpected_cfgs, unused_variables)]'
    for room in "${rooms[@]}"; do echo "mod $room;"; done
    cat << 'RUST'
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod cli {
    pub mod outcome;
    pub mod progress;
    pub mod sim;
}

/// Whether this planted bug is on.
pub fn is_mutant(name: &str) -> bool {
    static ON: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    ON.get_or_init(|| std::env::var("MUTANT").unwrap_or_default()) == name
}

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
  cargo build -q --manifest-path "$package/Cargo.toml" --target-dir "$target/build" || return 1
  mkdir -p "$target/bin"
  cp "$target/build/debug/mutant" "$target/bin/mutant"
}

binary=${BINARY:-}
if [ -z "$binary" ]; then
  build || exit 1
  binary=$target/bin/mutant
fi
[ "${BUILD:-}" != only ] || exit 0

passed=0 failed=0
table=$target/table.md
printf '| mutant | broken first | seed | runs until then | what |\n|---|---|---:|---:|---|\n' > "$table"
for name in "${wanted[@]}"; do
  MUTANT=$name "$binary" --seeds "0..$seeds" --threads "${MUTANT_THREADS:-2}" > "$target/$name.out" 2> "$target/$name.err"
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
