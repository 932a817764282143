#!/usr/bin/env bash
# Mixed: ensembles of this server and real ZooKeepers, each kind leading the other under writes.
#   scripts/mixed.sh [--rounds N]     N times (2) a server is wiped under writes, in either ensemble; about four minutes
# A wiped voter of ours keeps away for three and a half initLimits before it learns: so the ticks are short.
# First two ZooKeepers and ours, which follows: it catches up by the log (DIFF), then, wiped while clients write, by the whole state (SNAP), which a
# ZooKeeper leader writes while it goes on; then the leader is killed and ours serves on. Then ours leads two ZooKeepers, which catch up in both
# ways. Each time every znode is read at every server once all is quiet, and must be the same.
# SERVER names the server (target/release/ringkeeper, else target/debug/ringkeeper), ZOOKEEPER_PEER the script that knows where ZooKeeper 3.9.4 is: its
# `classpath` prints the class path (default ../shared/tools/zookeeper-peer.sh beside the checkout). BASE_PORT (23100) moves the ports. Needs java;
# kazoo 2.11 goes into target/foreign-venv unless PYTHON names a Python that has it. Ends with 'N passed, M failed'.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
rounds=2
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2; shift 2 ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
target=${CARGO_TARGET_DIR:-target}
peer=${ZOOKEEPER_PEER:-../shared/tools/zookeeper-peer.sh}
base=${BASE_PORT:-23100}
server=${SERVER:-$target/release/ringkeeper}
[ -x "$server" ] || server=$target/debug/ringkeeper
[ -x "$server" ] || { echo "no server: cargo build --release, or name one by SERVER" >&2; exit 1; }
class_path=$("$peer" classpath) || { echo "$peer prints no class path: name the script by ZOOKEEPER_PEER" >&2; exit 1; }
venv=$target/foreign-venv
python=${PYTHON:-$venv/bin/python}
if [ -z "${PYTHON:-}" ]; then
  [ -x "$python" ] || python3 -m venv "$venv" || exit 1
  "$python" -c 'import kazoo' 2> /dev/null || "$venv/bin/pip" install -q 'kazoo==2.11.0' || exit 1
fi
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
passed=0 failed=0 load_pid=''

pid() { local p; p=$(cat "$work/$1/pid" 2> /dev/null) && kill -0 "$p" 2> /dev/null && echo "$p"; }
down() {
  local p
  p=$(pid "$1") || return 0
  kill "-${2:-KILL}" "$p"
  for _ in $(seq 200); do kill -0 "$p" 2> /dev/null || return 0; sleep 0.05; done
  return 1
}
clean() {
  local k
  if [ -n "$load_pid" ]; then kill "$load_pid"; fi 2> /dev/null
  for k in 1 2 3; do down "$k"; done 2> /dev/null
}
trap 'clean; if [ "$failed" = 0 ]; then rm -rf "$work"; else echo "the logs are in $work"; fi' EXIT

# check WHAT COMMAND...: counts it as passed or failed.
check() {
  local what=$1
  shift
  if "$@"; then passed=$((passed + 1)); echo "ok: $what"; else failed=$((failed + 1)); echo "FAILED: $what"; fi
}
word() { timeout 2 bash -c 'exec 3<> "/dev/tcp/127.0.0.1/$0" && printf %s "$1" >&3 && cat <&3' "$((base + $1))" "$2" 2> /dev/null; }
mode() { word "$1" srvr | sed -n 's/^Mode: //p'; }
leader() { local k; for k in 1 2 3; do [ "$(mode "$k")" = leader ] && echo "$k" && return; done; return 1; }
await() {
  local k
  for k in "$@"; do
    for _ in $(seq 300); do [ -n "$(mode "$k")" ] && continue 2; pid "$k" > /dev/null || return 1; sleep 0.2; done
    return 1
  done
}
up() {
  local k=$1
  if [ -e "$work/$k/java" ]; then
    setsid java -Xmx512m -Dzookeeper.extendedTypesEnabled=true "-Dlog4j2.configurationFile=file:$work/log4j2.properties" -cp "$class_path" \
      org.apache.zookeeper.server.quorum.QuorumPeerMain "$work/$k/zoo.cfg" >> "$work/$k/log" 2>&1 < /dev/null &
  else
    RINGKEEPER_LOG=${RINGKEEPER_LOG:-info} setsid "$server" serve "$work/$k/zoo.cfg" >> "$work/$k/log" 2>&1 < /dev/null &
  fi
  echo $! > "$work/$k/pid"
  disown
}
wipe() { find "$work/$1/data" -mindepth 1 ! -name myid -delete; }
# Three new servers; ours is the third.
found() {
  local k j
  clean
  rm -rf "$work"/[123]
  printf '%s\n' 'rootLogger.level=info' 'rootLogger.appenderRef.c.ref=C' 'appender.c.type=Console' 'appender.c.name=C' \
    'appender.c.layout.type=PatternLayout' 'appender.c.layout.pattern=%d %p %c{1} %m%n' > "$work/log4j2.properties"
  for k in 1 2 3; do
    mkdir -p "$work/$k/data" && echo "$k" > "$work/$k/data/myid"
    [ "$k" = 3 ] || touch "$work/$k/java"
    {
      printf '%s\n' tickTime=500 initLimit=10 syncLimit=10 "dataDir=$work/$k/data" "clientPort=$((base + k))" clientPortAddress=127.0.0.1 \
        admin.enableServer=false '4lw.commands.whitelist=*' maxClientCnxns=0
      for j in 1 2 3; do echo "server.$j=127.0.0.1:$((base + 10 + j)):$((base + 20 + j))"; done
    } > "$work/$k/zoo.cfg"
  done
}
ports() { local k; for k in "$@"; do echo $((base + k)); done; }
# load SECONDS SERVER...: writes for so long. begin_load does not wait.
load() { local s=$1; shift; "$python" tests/foreign/mixed.py load "$s" $(ports "$@"); }
begin_load() { load "$@" > "$work/load" & load_pid=$!; }
end_load() { wait "$load_pid"; load_pid=; local n; n=$(tail -n 1 "$work/load"); echo "  $n operations were answered"; [ "${n:-0}" -gt 0 ]; }
same() { sleep 1; timeout 120 "$python" tests/foreign/mixed.py walk $(ports "$@") | sed 's/^/  /'; [ "${PIPESTATUS[0]}" = 0 ]; }
count() { grep -c "$2" "$work/$1/log"; }
more() { [ "$(count "$1" "$2")" -gt "$3" ]; }
no_more() { [ "$(count "$1" "$2")" -eq "$3" ]; }

ours_whole='received the state at' java_whole='Getting a snapshot from leader' java_diff='Getting a diff from the leader'

echo "two ZooKeepers, and ours follows"
found
up 1; up 2
check 'two ZooKeepers lead and follow' await 1 2
up 3
check 'ours joins them' await 3
check 'ours follows' test "$(mode 3)" = follower
check 'clients write at all three' test "$(load 4 1 2 3)" -gt 0
down 3 TERM
had=$(count 3 "$ours_whole")
check 'clients write without ours' test "$(load 3 1 2)" -gt 0
up 3
check 'ours comes back' await 3
check 'by the log' no_more 3 "$ours_whole" "$had"
check 'all have the same' same 1 2 3
for round in $(seq "$rounds"); do
  begin_load 40 1 2 3
  sleep 6
  down 3 && wipe 3
  had=$(count 3 "$ours_whole")
  up 3
  check "round $round: ours, wiped under writes, comes back" await 3
  check "round $round: by the whole state" more 3 "$ours_whole" "$had"
  check "round $round: clients were served" end_load
  check "round $round: ours serves still" await 3
  grep 'transactions into the state that came' "$work/3/log" | tail -n 1 | sed 's/^.*took/  took/'
  check "round $round: all have the same" same 1 2 3
done
begin_load 15 1 2 3
sleep 3
old=$(leader)
check 'a ZooKeeper leads' test "${old:-3}" != 3
down "$old"
check 'its leader killed, ours serves on' await 3
check 'clients were served' end_load
up "$old"
check 'the old leader comes back' await "$old"
check 'all have the same' same 1 2 3

echo "ours leads two ZooKeepers"
found
up 3; up 1; up 2
check 'three servers serve' await 1 2 3
for _ in 1 2 3; do
  old=$(leader)
  [ "$old" = 3 ] && break
  down "$old"; await 3; up "$old"; await 1 2 3
done
check 'ours leads' test "$(leader)" = 3
check 'clients write at all three' test "$(load 4 1 2 3)" -gt 0
down 1
check 'clients write without the first' test "$(load 3 2 3)" -gt 0
had=$(count 1 "$java_diff")
up 1
check 'the first comes back' await 1
check 'by the log' more 1 "$java_diff" "$had"
check 'all have the same' same 1 2 3
for round in $(seq "$rounds"); do
  begin_load 20 2 3
  sleep 3
  down 1 && wipe 1
  had=$(count 1 "$java_whole")
  up 1
  check "round $round: a ZooKeeper, wiped under writes, comes back" await 1
  check "round $round: by the whole state" more 1 "$java_whole" "$had"
  check "round $round: clients were served" end_load
  check "round $round: all have the same" same 1 2 3
done
check 'ours leads still' test "$(leader)" = 3

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
