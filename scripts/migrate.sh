#!/usr/bin/env bash
# Moves between real ZooKeeper servers and ours and back, end to end: real servers (3.9.4 with each kind of snapshot, Debian's 3.8.0) and
# ours are loaded by kazoo and killed under the load, between and within fuzzy snapshots; each time everything is read back through kazoo
# (path, data, ACL, Stat) from the server that wrote it, started again on a copy, and from the one it was moved to; digests are compared.
#   scripts/migrate.sh [--rounds N] [--nodes N] [--record]       SERVER, LOAD: see scripts/common.sh
# --rounds repeats all of it, 0 leaves it out; --nodes adds one move of N znodes of 100 bytes, with its time and memory, there and back. Needs java; kazoo
# is installed below target/ where it is missing (PYTHON names a python that has it). Without Debian's package zookeeper that case fails.
# ZOOKEEPER_PEER names the script that starts a 3.9.4 (default ../shared/tools/zookeeper-peer.sh), BASE_PORT (24580) moves the ports.
case " $* " in *' --nodes '*) ;; *) LOAD=${LOAD:-/bin/true} ;; esac
. "$(dirname "$0")/common.sh"
nodes='' rounds=1
while [ $# -gt 0 ]; do
  case $1 in
    --nodes) nodes=$2; shift 2 ;; --rounds) rounds=$2; shift 2 ;; --record) shift ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
peer=${ZOOKEEPER_PEER:-../shared/tools/zookeeper-peer.sh}
base=${BASE_PORT:-24580}
port=$((base + 1))
venv=${CARGO_TARGET_DIR:-target}/foreign-venv
python=${PYTHON:-$venv/bin/python}
if [ -z "${PYTHON:-}" ]; then
  [ -x "$python" ] || python3 -m venv "$venv" || exit 1
  "$python" -c 'import kazoo' 2> /dev/null || "$venv/bin/pip" install -q 'kazoo==2.11.0' || exit 1
fi
debian_jar=/usr/share/java/zookeeper.jar
# The reader is super:secret. No session that the load leaves behind ends while its ephemerals are looked at.
super=-Dzookeeper.DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=
longest='maxSessionTimeout=900000'
printf 'tickTime=2000\n%s\n' "$longest" > "$work/ours.cfg"
loader_pid='' debian_pid=''
stop_loader() {
  if [ -n "$loader_pid" ]; then kill -9 "$loader_pid"; wait "$loader_pid"; fi 2> /dev/null
  loader_pid=
}
stop_real() {
  "$peer" stop "move-$base" > /dev/null 2>&1
  if [ -n "$debian_pid" ]; then kill -9 "$debian_pid"; wait "$debian_pid"; fi 2> /dev/null
  debian_pid=
}
trap 'stop_loader; stop_real; cleanup' EXIT

# check WHAT COMMAND...: counts it as passed or failed.
check() {
  local what=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    echo "ok: $what"
  else
    failed=$((failed + 1))
    echo "FAILED: $what" | tee -a "$work/notes"
  fi
}

word() {
  timeout 20 bash -c 'exec 3<> "/dev/tcp/127.0.0.1/$0" && printf %s "$1" >&3 && cat <&3' "$1" "$2" 2> /dev/null
}

# start_real VERSION DIRECTORY JVM-OPTION...: a real server on a data directory of ours to give.
start_real() {
  local version=$1 directory=$2 d
  shift 2
  stop_real
  if word "$port" srvr > /dev/null; then echo "somebody else serves on port $port: name another BASE_PORT" >&2; return 1; fi
  mkdir -p "$directory"
  if [ "$version" = 3.8.0 ]; then
    printf '%s\n' tickTime=2000 "dataDir=$directory" "clientPort=$port" clientPortAddress=127.0.0.1 admin.enableServer=false \
      '4lw.commands.whitelist=*' maxClientCnxns=0 "$longest" > "$work/debian.cfg"
    java -Xmx1g -Dzookeeper.extendedTypesEnabled=true "$super" "$@" -cp "$debian_jar" \
      org.apache.zookeeper.server.quorum.QuorumPeerMain "$work/debian.cfg" > "$work/debian.log" 2>&1 < /dev/null &
    debian_pid=$!
    for _ in $(seq 300); do
      if grep -q '^Mode' <<< "$(word "$port" srvr)"; then return 0; fi
      sleep 0.2
    done
    tail -n 20 "$work/debian.log" >&2
    return 1
  fi
  # The script makes its own directory; what is in it becomes a link to the one that is meant.
  d=$("$peer" dir "move-$base")/1
  if [ ! -e "$d/zoo.cfg" ] || [ ! -e "$work/peer-made" ]; then
    "$peer" start "move-$base" 1 "$base" "$longest" || return 1
    "$peer" stop "move-$base"
    : > "$work/peer-made"
  fi
  rm -rf "$d/data"
  ln -s "$directory" "$d/data"
  ZK_HEAP=${ZK_HEAP:-2g} ZK_JAVA_OPTS="$super $*" "$peer" restart "move-$base"
}

# begin_load PORT SEED [--extended]: in the background; returns when one of everything is there.
begin_load() {
  : > "$work/loaded"
  "$python" tests/foreign/migrate.py load "$@" > "$work/loaded" 2> "$work/load.log" &
  loader_pid=$!
  for _ in $(seq 1200); do
    if grep -q '^loaded' "$work/loaded"; then return 0; fi
    kill -0 "$loader_pid" 2> /dev/null || break
    sleep 0.1
  done
  tail -n 20 "$work/load.log" >&2
  return 1
}

read_all() { "$python" tests/foreign/migrate.py read "$1" "$2"; }
# session: of the last load, and its password.
session() { sed -n 's/^loaded //p' "$work/loaded"; }
# attach PORT SESSION PASSWORD
attach() { timeout 60 "$python" tests/foreign/migrate.py attach "$@"; }
# hot_copy FROM TO: as docs/migrate.md says it is to be made while the server runs, the snapshots first.
hot_copy() {
  rm -rf "$2"
  mkdir -p "$2/version-2"
  cp "$1"/version-2/snapshot.* "$2/version-2/" && cp --sparse=always "$1"/version-2/log.* "$2/version-2/"
}
# rehearse FROM: imports a copy of a server that works. Where the copy met the end of the log just as it moved another one is made.
rehearse() {
  local again
  for again in 1 2 3; do
    rm -rf "$work/data"
    hot_copy "$1" "$work/hot" || return 1
    if import "$work/hot" "$work/data" "$work/hot.log" && says "$work/hot.log" 'digest .*is the one that ZooKeeper wrote$'; then
      rm -rf "$work/data" "$work/hot"
      return 0
    fi
    echo "copy $again"
  done
  return 1
}
same() { "$python" tests/foreign/migrate.py compare "$1" "$2"; }
contents() { (cd "$1" && find . -type f ! -name 'zookeeper_server.pid' -exec sha256sum {} + | sort | sha256sum); }
port_of() { echo "${address##*:}"; }
says() { grep -q "$2" "$1" || { tail -n 5 "$1"; return 1; }; }
digest_in() { grep -o "digest \(is \)\?0x[0-9a-f]*" "$1" | tail -n 1 | grep -o "0x.*"; }
no_mismatch() { grep -q 'zk_digest_mismatches_count[^0-9]*0$' <<< "$(word "$port" mntr)"; }
kill_ours() { kill -9 "$server_pid"; wait "$server_pid" 2> /dev/null; server_pid=; }

# serve_ours: on $work/data.
serve_ours() { start_server "$work/ours.cfg" "$super" '-Dzookeeper.4lw.commands.whitelist=*'; }

# import FROM TO LOG
import() { "$server" migrate import --from "$1" --data-dir "$2" 2> "$3" || { cat "$3"; return 1; }; }
# export FROM TO LOG
export_to() { "$server" migrate export --data-dir "$1" --to "$2" 2> "$3" || { cat "$3"; return 1; }; }

# back NAME TRUTH SESSION VERSION...: exports $work/data, which reads as TRUTH, and starts real servers on what was exported.
back() {
  local name=$1 truth=$2 taken=$3 version
  shift 3
  for version in "$@"; do
    rm -rf "$work/exported"
    check "$name: export" export_to "$work/data" "$work/exported" "$work/export.log" || return 1
    sed "s,$work/,,g" "$work/export.log" | tee -a "$work/notes"
    check "$name: a real $version starts from it" start_real "$version" "$work/exported" -Dzookeeper.extendedTypesEnabled=true
    check "$name: kazoo reads all from the real $version" read_all "$port" "$work/back.json"
    check "$name: every znode is what it was (data, ACL, Stat) in the real $version" same "$truth" "$work/back.json"
    # shellcheck disable=SC2086 # two words
    check "$name: a session goes on with the real $version" attach "$port" $taken
    check "$name: the real $version finds no digest that does not fit" no_mismatch
    stop_real
    rm -rf "$work/again"
    check "$name: import of what the real $version made of it" import "$work/exported" "$work/again" "$work/again.log"
    # The real server wrote the digest of its own tree with the reader's session.
    check "$name: the real $version's digest is ours" says "$work/again.log" "$(digest_in "$work/export.log").*is the one that ZooKeeper wrote$"
  done
}

# moved NAME VERSION SEED OPTION...: a real server is filled, killed, moved to ours, used there, and moved back.
moved() {
  local name=$1 version=$2 seed=$3 theirs=$work/theirs copy=$work/copy before snapshots taken extended=--extended back_to=(3.9.4)
  shift 3
  echo "== $name"
  if [ "$version" = 3.8.0 ]; then
    back_to+=(3.8.0)
    check "$name: Debian's zookeeper is installed" [ -e "$debian_jar" ] || return
    [ -e "$debian_jar" ] || return
  fi
  rm -rf "$theirs" "$copy" "$work/data"
  start_real "$version" "$theirs" -Dzookeeper.snapCount=1000 -Dzookeeper.preAllocSize=4096 "$@" || { check "$name: start" false; return; }
  begin_load "$port" "$seed" $extended || { check "$name: load" false; return; }
  for _ in $(seq 600); do
    snapshots=$(find "$theirs/version-2" -name 'snapshot.*' | wc -l)
    [ "$snapshots" -lt 6 ] || break
    sleep 0.1
  done
  check "$name: import of a copy made while it works" rehearse "$theirs"
  sleep "$((RANDOM % 2)).$((RANDOM % 1000))"
  stop_real
  stop_loader
  taken=$(session)
  snapshots=$(find "$theirs/version-2" -name 'snapshot.*' | wc -l)
  cp -a --sparse=always "$theirs" "$copy"
  before=$(contents "$theirs")
  start_real "$version" "$copy" || { check "$name: it starts again" false; return; }
  check "$name: kazoo reads all from the real $version, killed and started on a copy" read_all "$port" "$work/truth.json"
  stop_real
  rm -rf "$copy"
  check "$name: import of what was killed under load" import "$theirs" "$work/data" "$work/import.log"
  sed "s,$work/,,g" "$work/import.log" | grep -v ': writing ' | tee -a "$work/notes"
  check "$name: the digest is the one that ZooKeeper wrote" says "$work/import.log" 'digest .*is the one that ZooKeeper wrote$'
  check "$name: nothing was written to the original ($snapshots snapshots)" [ "$before" = "$(contents "$theirs")" ]
  rm -rf "$theirs"
  serve_ours
  check "$name: kazoo reads all from ours" read_all "$(port_of)" "$work/ours.json"
  check "$name: every znode is what it was (data, ACL, Stat)" same "$work/truth.json" "$work/ours.json"
  # shellcheck disable=SC2086 # two words
  check "$name: a session of the real $version goes on with ours" attach "$(port_of)" $taken
  # It lives on here, before it goes back.
  check "$name: ours takes load" begin_load "$(port_of)" "${seed}9"
  sleep 2
  stop_loader
  sleep 1
  check "$name: kazoo reads all from ours after the load" read_all "$(port_of)" "$work/ours.json"
  kill_ours
  back "$name" "$work/ours.json" "$taken" "${back_to[@]}"
}

# left SEED: ours is filled, makes an image, is filled on and killed, and is moved to a real server.
left() {
  local name='ours, killed under load' zxid
  echo "== $name"
  rm -rf "$work/data" "$work/kept"
  serve_ours
  begin_load "$(port_of)" "$1" || { check "$name: load" false; return; }
  sleep 2
  zxid=$(word "$(port_of)" csnp)
  for _ in $(seq 100); do
    compgen -G "$work/data/images/image.[0-9a-f]*" > /dev/null && break
    sleep 0.1
  done
  check "$name: an image was made ($zxid)" compgen -G "$work/data/images/image.[0-9a-f]*"
  sleep "2.$((RANDOM % 1000))"
  kill_ours
  stop_loader
  cp -a --sparse=always "$work/data" "$work/kept"
  serve_ours
  check "$name: kazoo reads all from ours, killed and started on a copy" read_all "$(port_of)" "$work/truth.json"
  stop_server
  rm -rf "$work/data"
  mv "$work/kept" "$work/data"
  back "$name" "$work/truth.json" "$(session)" 3.9.4 3.8.0
}

# measured LOG COMMAND...: prints seconds and the peak of resident memory, MB.
measured() {
  "$python" - "$@" <<'PY'
import os, subprocess, sys, time
log, *command = sys.argv[1:]
began = time.monotonic()
with open(log, 'w') as err:
    child = subprocess.Popen(command, stderr=err)
    _, status, usage = os.wait4(child.pid, 0)
print(f'{time.monotonic() - began:.1f} {usage.ru_maxrss * 1024 / 1e6:.0f}')
sys.exit(0 if status == 0 else 1)
PY
}
znode_count() { word "$1" mntr | awk '$1 == "zk_znode_count" { print $2 }'; }

# large: the same with many znodes, by digests alone.
large() {
  local seconds mb theirs=$work/theirs count began
  echo "== $nodes znodes"
  rm -rf "$theirs" "$work/data" "$work/exported" "$work/again"
  ZK_HEAP=4g start_real 3.9.4 "$theirs" || { check 'start' false; return; }
  check 'load' "$load" --server "127.0.0.1:$port" --workload create --nodes "$nodes" --value-size 100
  count=$(znode_count "$port")
  stop_real
  read -r seconds mb < <(measured "$work/import.log" "$server" migrate import --from "$theirs" --data-dir "$work/data")
  sed "s,$work/,,g" "$work/import.log" | tail -n 1 | tee -a "$work/notes"
  du -sh --apparent-size "$work/data" | sed "s,$work/,our ," | tee -a "$work/notes"
  check 'the digest is the one that ZooKeeper wrote' says "$work/import.log" 'digest .*is the one that ZooKeeper wrote$'
  judge "import of $count znodes, time" "$seconds" s "$((10 + nodes / 20000))"
  judge "import of $count znodes, peak of resident memory" "$mb" MB "$((100 + nodes * 12 / 10000))"
  began=$(date +%s%N)
  serve_ours
  echo "ours serves it after $((($(date +%s%N) - began) / 1000000)) ms" | tee -a "$work/notes"
  check "ours has $count znodes" [ "$(znode_count "$(port_of)")" = "$count" ]
  stop_server
  read -r seconds mb < <(measured "$work/export.log" "$server" migrate export --data-dir "$work/data" --to "$work/exported")
  sed "s,$work/,,g" "$work/export.log" | tail -n 1 | tee -a "$work/notes"
  judge "export of $count znodes, time" "$seconds" s "$((10 + nodes / 20000))"
  judge "export of $count znodes, peak of resident memory" "$mb" MB "$((100 + nodes * 12 / 10000))"
  began=$(date +%s%N)
  ZK_HEAP=4g start_real 3.9.4 "$work/exported" || { check 'a real 3.9.4 starts from it' false; return; }
  echo "a real 3.9.4 serves it after $((($(date +%s%N) - began) / 1000000)) ms" | tee -a "$work/notes"
  check "the real 3.9.4 has $count znodes" [ "$(znode_count "$port")" = "$count" ]
  check 'the real 3.9.4 finds no digest that does not fit' no_mismatch
  check 'a session is opened and closed there' "$python" tests/foreign/migrate.py visit "$port"
  stop_real
  check 'import of what the real 3.9.4 made of it' import "$work/exported" "$work/again" "$work/again.log"
  check "the real 3.9.4's digest is ours" says "$work/again.log" 'digest .*is the one that ZooKeeper wrote$'
}

began=$SECONDS
for round in $(seq "$rounds"); do
  [ "$rounds" = 1 ] || echo "= round $round" | tee -a "$work/notes"
  moved '3.9.4, plain snapshots' 3.9.4 "$round"1
  moved '3.9.4, gz snapshots' 3.9.4 "$round"2 -Dzookeeper.snapshot.compression.method=gz
  moved '3.9.4, snappy snapshots' 3.9.4 "$round"3 -Dzookeeper.snapshot.compression.method=snappy
  moved "Debian's 3.8.0" 3.8.0 "$round"4
  left "$round"5
done
[ -z "$nodes" ] || large
figures+=("| checks passed in $((SECONDS - began)) s | $passed | | $([ "$failed" -eq 0 ] && echo ok || echo "$failed FAILED") |")
finish migrate 'Moves between real ZooKeeper servers and ours, and back'
