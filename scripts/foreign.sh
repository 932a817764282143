#!/usr/bin/env bash
# Foreign: other people's clients play their programs of tests/foreign/ against the release build: Curator's recipes (Java), ZooKeeper's C
# client, node-zookeeper-client, and the crate zookeeper-client. Each in three worlds: one server, one with four shards, an ensemble of three;
# a server is killed and started again under each. Ends with 'N passed, M failed'.
#   scripts/foreign.sh [--only curator,c,node,rust] [--worlds one,shards,three,zookeeper] [--check WORDS]
# BINARY names a server that is built already, SERVER=HOST:PORT[,...] one that runs already (with extendedTypesEnabled and a
# znode.container.checkIntervalMs of a second; nothing is killed then). The world 'zookeeper' is a real 3.9.4: what the programs expect, it
# fulfils. --check plays those of Curator's checks that have these words in their names. Installs what is missing: Debian packages (as root
# or through sudo), the rest below target/. ZOOKEEPER_PEER names the script that has Curator's jars and starts a real ZooKeeper (default
# ../shared/tools/zookeeper-peer.sh beside the checkout). BASE_PORT (default 24900) moves the ports.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
only=curator,c,node,rust worlds=one,shards,three words=
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || set -- --help
  case $1 in
    --only) only=$2 ;; --worlds) worlds=$2 ;; --check) words=$2 ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
target=${CARGO_TARGET_DIR:-$PWD/target}
peer=${ZOOKEEPER_PEER:-$PWD/../shared/tools/zookeeper-peer.sh}
base=${BASE_PORT:-24900}
tools=$target/foreign
mkdir -p "$tools" || exit 1
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
passed=0 failed=0
failures=()
plays() { [[ ,$only, == *,$1,* ]]; }
fail() { echo "FAILED $1"; failed=$((failed + 1)) failures+=("$1"); }

# What a server is started with: containers and TTL znodes go soon.
properties=(-Dzookeeper.extendedTypesEnabled=true -Dznode.container.checkIntervalMs=1000 -Dzookeeper.tickTime=2000
  -Dzookeeper.maxClientCnxns=0)
server=${BINARY:-$target/release/ringkeeper}
if [ -z "${SERVER:-}" ] && [ "$worlds" != zookeeper ]; then
  if [ -z "${BINARY:-}" ]; then cargo build --release || exit 1; fi
  [ -x "$server" ] || { echo "$server is not there" >&2; exit 1; }
fi
export BINARY=$server CLUSTER_DIR=$work/cluster CLUSTER_PORT=$((base + 20)) SERVE_ARGS="${properties[*]}"
export ZK_HEAP=${ZK_HEAP:-1g} ZK_JAVA_OPTS="-Dzookeeper.forceSync=no -Dznode.container.checkIntervalMs=1000 ${ZK_JAVA_OPTS:-}"

# start_one ARGUMENT...: kills what was there, starts it again on the same port with the same data. A script, so that programs can call it.
cat > "$work/start" << END
#!/usr/bin/env bash
if [ -s "$work/pid" ]; then
  kill -KILL "\$(cat "$work/pid")" 2> /dev/null
  while kill -0 "\$(cat "$work/pid")" 2> /dev/null; do sleep 0.02; done
fi
: > "$work/log"
setsid "$server" serve --data-dir "$work/data" --listen 127.0.0.1:$((base + 1)) ${properties[*]} "\$@" >> "$work/log" 2>&1 < /dev/null &
echo \$! > "$work/pid"
for _ in \$(seq 300); do
  if grep -q '^ready: ' "$work/log"; then exit 0; fi
  kill -0 "\$(cat "$work/pid")" 2> /dev/null || break
  sleep 0.1
done
cat "$work/log" >&2
exit 1
END
stop_one() {
  if [ -s "$work/pid" ]; then kill "$(cat "$work/pid")" 2> /dev/null; while kill -0 "$(cat "$work/pid")" 2> /dev/null; do sleep 0.05; done; fi
  rm -rf "$work/pid" "$work/data"
}
cleanup() {
  stop_one
  [ ! -d "$CLUSTER_DIR" ] || scripts/cluster.sh clean
  [ ! -e "$work/zookeeper" ] || "$peer" stop foreign-script > /dev/null 2>&1
  rm -rf "$work"
}
trap cleanup EXIT

packages=()
need() { command -v "$1" > /dev/null || packages+=("$2"); }
if plays curator; then need javac default-jdk-headless; fi
if plays c; then
  need cc build-essential
  [ -e /usr/include/zookeeper/zookeeper.h ] || packages+=(libzookeeper-mt-dev)
fi
if plays node; then need node nodejs; need npm npm; fi
if [ ${#packages[@]} -gt 0 ]; then
  root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  "${root[@]}" apt-get update -q && "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${packages[@]}" ||
    fail "packages ${packages[*]}"
fi

# The programs, made ready; of what cannot be, one failure is counted, and it is not played.
programs=()
if plays curator; then
  if jars=$("$peer" classpath) && rm -rf "$tools/classes" && mkdir "$tools/classes" &&
    javac -encoding UTF-8 -cp "$jars" -d "$tools/classes" tests/foreign/curator/*.java; then
    programs+=(curator)
  else
    fail 'Curator: not compiled'
  fi
fi
if plays c; then
  if cc -std=gnu11 -Wall -Wextra -O1 -o "$tools/basics-c" tests/foreign/basics.c -lzookeeper_mt -lpthread; then programs+=(c); else fail 'C client: not compiled'; fi
fi
if plays node; then
  if [ -d "$tools/node/node_modules/node-zookeeper-client" ] ||
    { mkdir -p "$tools/node" && (cd "$tools/node" && npm install --no-audit --no-fund --silent node-zookeeper-client@1.1.3); }; then
    programs+=(node)
  else
    fail 'node-zookeeper-client: not installed'
  fi
fi
if plays rust; then
  # A copy: its lock file is no part of the repository.
  if mkdir -p "$tools/rust-client" && cp -r tests/foreign/rust-client/. "$tools/rust-client" &&
    CARGO_TARGET_DIR=$tools/rust-target cargo build -q --manifest-path "$tools/rust-client/Cargo.toml"; then
    programs+=(rust)
  else
    fail 'zookeeper-client: not built'
  fi
fi

# play WORLD SERVERS: every program against these. RESTART is in their environment, or is not.
play() {
  local program p f began status
  for program in "${programs[@]}"; do
    echo "== $program, $1"
    began=$SECONDS
    case $program in
      # Names in UTF-8 are among what is tried: the locale must not spoil them.
      curator) LC_ALL=C.UTF-8 timeout 1800 java -Xmx512m -XX:+UseSerialGC -Dfile.encoding=UTF-8 -Dlog4j2.level=off -cp "$tools/classes:$jars" Curator "$2" ${words:+"$words"} 2> "$work/stderr" ;;
      c) timeout 600 "$tools/basics-c" "$2" 2> "$work/stderr" ;;
      node) NODE_PATH=$tools/node/node_modules timeout 600 node tests/foreign/basics.js "$2" 2> "$work/stderr" ;;
      rust) timeout 600 "$tools/rust-target/debug/foreign-basics" "$2" 2> "$work/stderr" ;;
    esac | tee "$work/out"
    status=${PIPESTATUS[0]}
    p=0 f=0
    read -r p _ f _ < <(tail -n 1 "$work/out" | grep -E '^[0-9]+ passed, [0-9]+ failed$')
    if [ $((p + f)) -eq 0 ] || { [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; }; then
      # It has not come to its end.
      p=$(grep -c '^ok ' "$work/out") f=$(($(grep -c '^FAILED ' "$work/out") + 1))
      tail -n 20 "$work/stderr"
    fi
    passed=$((passed + p)) failed=$((failed + f))
    [ "$f" -eq 0 ] || failures+=("$program, $1")
    echo "== $program, $1: $p passed, $f failed in $((SECONDS - began)) s"
  done
}

if [ -n "${SERVER:-}" ]; then
  unset RESTART
  play "at $SERVER" "$SERVER"
else
  for world in ${worlds//,/ }; do
    case $world in
      one | shards)
        arguments=
        [ "$world" = one ] || arguments=' --shards 4'
        export RESTART="bash $work/start$arguments"
        if $RESTART; then
          play "$world" "127.0.0.1:$((base + 1))"
          kill -0 "$(cat "$work/pid")" 2> /dev/null || fail "the server is gone, $world"
        else
          fail "server start, $world"
        fi
        stop_one
        ;;
      three)
        export RESTART='scripts/cluster.sh kill leader && scripts/cluster.sh up all'
        if scripts/cluster.sh start 3; then
          play "$world" "$(printf '127.0.0.1:%s,' $((CLUSTER_PORT + 1)) $((CLUSTER_PORT + 2)) $((CLUSTER_PORT + 3)) | sed 's/,$//')"
          scripts/cluster.sh status
        else
          fail "ensemble start"
        fi
        scripts/cluster.sh clean
        ;;
      zookeeper)
        export RESTART="'$peer' stop foreign-script && '$peer' restart foreign-script"
        touch "$work/zookeeper"
        if "$peer" start foreign-script 1 $((base + 10)); then play "$world" "127.0.0.1:$((base + 11))"; else fail 'ZooKeeper start'; fi
        "$peer" stop foreign-script
        ;;
      *) echo "there is no world '$world'" >&2; exit 2 ;;
    esac
  done
fi
[ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
