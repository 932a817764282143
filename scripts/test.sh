#!/usr/bin/env bash
# The one gate: everything that must hold before a change goes in. Ends with the line 'N passed, M failed'.
# Installs what is missing (Debian packages, as root or through sudo; kazoo into a virtual environment below target/). Needs
# a Rust tool chain of the version in Cargo.toml. A step that fails does not hide the others.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never
target=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "$target"
work=$(mktemp -d -p "$target")
passed=0 failed=0
failures=()
server_pid=
stop_server() {
  if [ -n "$server_pid" ]; then kill "$server_pid"; wait "$server_pid"; fi 2>/dev/null
  server_pid=
}
trap 'stop_server; rm -rf "$work"' EXIT

# step NAME COMMAND...: runs it, shows its output and adds up what it counts. What counts nothing counts as one.
step() {
  local name=$1 status p f began=$SECONDS
  shift
  echo "== $name"
  "$@" 2>&1 | tee "$work/log"
  status=${PIPESTATUS[0]}
  # cargo test: 'test result: ok. 3 passed; 0 failed; ...'; nextest: 'Summary [...] 3 tests run: 3 passed, 1 failed, ...';
  # our scripts: '3 passed, 0 failed' as the last line, which has counted whatever stands above it.
  read -r p f < <(awk '
    /^[0-9]+ passed, [0-9]+ failed$/ { p = f = 0 }
    /^test result: / || /^ *Summary \[/ || /^[0-9]+ passed, [0-9]+ failed$/ {
      for (i = 2; i <= NF; i++) {
        if ($i ~ /^passed/) p += $(i - 1)
        if ($i ~ /^failed/) f += $(i - 1)
        if ($i ~ /^timed/) f += $(i - 1)
      }
    }
    END { print p + 0, f + 0 }' "$work/log")
  if [ "$((p + f))" -eq 0 ] && [ "$status" -eq 0 ]; then p=1; fi
  if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
  passed=$((passed + p)) failed=$((failed + f))
  [ "$f" -eq 0 ] || failures+=("$name")
  echo "== $name: $p passed, $f failed in $((SECONDS - began)) s"
}

packages=()
need() { command -v "$1" > /dev/null || packages+=("$2"); }
need cc build-essential
need java default-jre-headless
need python3 python3
python3 -c 'import ensurepip, venv' 2> /dev/null || packages+=(python3-venv)
[ -x /usr/share/zookeeper/bin/zkCli.sh ] || need zkCli.sh zookeeper
[ -e /usr/include/zookeeper/zookeeper.h ] || packages+=(libzookeeper-mt-dev)
install_packages() {
  local root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  "${root[@]}" apt-get update -q && "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "$@"
}
[ ${#packages[@]} -eq 0 ] || step "packages ${packages[*]}" install_packages "${packages[@]}"

step 'format' cargo fmt --check
step 'clippy' cargo clippy --all-targets -- -D warnings
# The crash rounds have their own step below. All of it plays the binary of the dev profile; what is measured, and
# scripts/crash.sh, take the release build.
if cargo nextest --version > /dev/null 2>&1; then
  # A machine that is taken away for a while makes a process test late; what passes only the second time is listed as FLAKY.
  step 'tests' cargo nextest run --no-fail-fast --retries 2 --show-progress none -E 'not (binary(crash) and test(/_shards$/))'
else
  step 'tests' cargo test --no-fail-fast --bins --lib --tests -- --skip _shards
fi
step 'documentation tests' cargo test --doc
# Tiny, so that they cannot rot; the library's own tests have run above.
step 'benches' cargo test --bench '*' --no-fail-fast

venv=$target/foreign-venv
make_venv() {
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || return 1
  "$venv/bin/python" -c 'import kazoo' 2> /dev/null || "$venv/bin/pip" install -q 'kazoo==2.11.0'
}
step 'kazoo installed' make_venv
# The rest of other people's clients is scripts/foreign.sh: Curator's jars, a crate and an npm package are too much for here.
basics_c=$work/basics-c
step 'C client compiled' cc -std=gnu11 -Wall -Wextra -O1 -o "$basics_c" tests/foreign/basics.c -lzookeeper_mt -lpthread

# start_server ARGUMENT...: sets $address.
start_server() {
  local port data
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  data=$(mktemp -d -p "$work")
  address=127.0.0.1:$port
  "$target/debug/ringkeeper" serve --data-dir "$data" --listen "$address" "$@" > "$work/server.log" 2>&1 &
  server_pid=$!
  for _ in $(seq 150); do
    if grep -q '^ready: ' "$work/server.log"; then return 0; fi
    kill -0 "$server_pid" 2> /dev/null || break
    sleep 0.1
  done
  cat "$work/server.log"
  return 1
}
alive() { kill -0 "$server_pid" 2> /dev/null || { cat "$work/server.log"; return 1; }; }
for shards in default 4; do
  arguments=(-Dzookeeper.extendedTypesEnabled=true)
  [ "$shards" = default ] || arguments+=(--shards "$shards")
  # Not through step: the server has to be a child of this shell.
  if start_server "${arguments[@]}"; then
    step "kazoo, $shards shards" "$venv/bin/python" tests/foreign/kazoo_smoke.py "$address"
    step "zkCli.sh, $shards shards" bash tests/foreign/zkcli.sh "$address"
    step "C client, $shards shards" timeout 120 "$basics_c" "$address"
    step "server still there, $shards shards" alive
  else
    failed=$((failed + 1)) failures+=("server start, $shards shards")
  fi
  stop_server
done

step 'crash' env RINGKEEPER_CRASH_ROUNDS="${RINGKEEPER_CRASH_ROUNDS:-3}" cargo test --test crash -- --nocapture _shards

[ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
