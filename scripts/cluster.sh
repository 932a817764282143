#!/usr/bin/env bash
# Cluster: an ensemble of local servers to play with: start it, kill its leader, cut its ways, and see who leads. --help tells how.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
target=${CARGO_TARGET_DIR:-$PWD/target}
dir=${CLUSTER_DIR:-$target/cluster}
base=${CLUSTER_PORT:-21800}
net=10.199.${CLUSTER_NET:-0}
prefix=rk${CLUSTER_NET:-0}

help() {
  cat <<TEXT
An ensemble of local servers.

  scripts/cluster.sh start [N] [--netns] [LINE...]   N servers (3) with their own data, and these lines added to each zoo.cfg
  scripts/cluster.sh status                          who leads, who follows, how far each is
  scripts/cluster.sh stop|kill|pause|cont WHO        SIGTERM, SIGKILL, SIGSTOP, SIGCONT
  scripts/cluster.sh up WHO                          start again what was stopped or killed
  scripts/cluster.sh log WHO [LINES]                 what it has told
  scripts/cluster.sh clean                           stop all, remove data and namespaces

WHO is a number, several (1,3), all, leader, or followers.

With --netns (needs root) each server has a network of its own, and ways can be cut:

  scripts/cluster.sh cut A B         what A sends to B is lost, what B sends to A is not: A and B are WHO
  scripts/cluster.sh partition A B   nothing goes between A and B, either way
  scripts/cluster.sh slow WHO HOW    HOW is a delay (50ms), a rate (1mbit), or off; it counts for what WHO sends
  scripts/cluster.sh heal            all ways are open and fast again

What is cut is lost without a word, as on a broken cable: connections stand until somebody notices. Clients of the host still reach
every server.

Try:
  scripts/cluster.sh start && scripts/cluster.sh status
  scripts/cluster.sh kill leader; scripts/cluster.sh status; scripts/cluster.sh up all; scripts/cluster.sh status
  sudo scripts/cluster.sh start 5 --netns tickTime=500 && sudo scripts/cluster.sh partition leader followers

Where: CLUSTER_DIR (target/cluster), CLUSTER_PORT (21800: clients at 21801..., in namespaces at 10.199.0.N:2181), CLUSTER_NET (the
third number of those addresses), SERVE_ARGS (more words for \`ringkeeper serve\`), BINARY (target/release/ringkeeper, else target/debug/ringkeeper), RINGKEEPER_LOG (info).
TEXT
}

die() { echo "cluster.sh: $*" >&2; exit 1; }
usage() { echo "cluster.sh: $*; scripts/cluster.sh --help tells how" >&2; exit 2; }
servers() { for d in "$dir"/[0-9]*/; do [ -d "$d" ] && basename "$d"; done | sort -n; }
has_nets() { [ -f "$dir/netns" ]; }
pid() { local p; p=$(cat "$dir/$1/pid" 2> /dev/null) && kill -0 "$p" 2> /dev/null && echo "$p"; }
address() { if has_nets; then echo "$net.$1 2181"; else echo "127.0.0.1 $((base + $1))"; fi; }

# A four-letter word to a server.
word() {
  local at
  read -ra at <<< "$(address "$1")"
  timeout 1 bash -c 'exec 3<> "/dev/tcp/$0/$1" && printf %s "$2" >&3 && cat <&3' "${at[@]}" "$2" 2> /dev/null
}
mode() { word "$1" srvr | sed -n 's/^Mode: //p'; }

# Numbers of those meant.
who() {
  local all k found=
  all=$(servers)
  [ -n "$all" ] || die "there is no ensemble in $dir: start one"
  case ${1:-} in
    all) echo "$all" ;;
    leader) for k in $all; do [ "$(mode "$k")" = leader ] && echo "$k" && found=1; done; [ -n "$found" ] || die "nobody leads" ;;
    followers) for k in $all; do case $(mode "$k") in follower | observer) echo "$k" ;; esac; done ;;
    '' | *[!0-9,]*) usage "who? a number, 1,3, all, leader or followers, not '${1:-}'" ;;
    *) for k in ${1//,/ }; do [ -d "$dir/$k" ] || die "there is no server $k"; echo "$k"; done ;;
  esac
}

binary() {
  [ -n "${BINARY:-}" ] && { echo "$BINARY"; return; }
  local b
  for b in "$target/release/ringkeeper" "$target/debug/ringkeeper"; do [ -x "$b" ] && { echo "$b"; return; }; done
  die "no binary: cargo build --release, or name one by BINARY"
}

launch() {
  local k=$1 in=() binary
  pid "$k" > /dev/null && return
  binary=$(binary) || exit 1
  has_nets && in=(ip netns exec "$prefix-$k")
  # shellcheck disable=SC2086
  RINGKEEPER_LOG=${RINGKEEPER_LOG:-info} setsid "${in[@]}" "$binary" serve "$dir/$k/zoo.cfg" ${SERVE_ARGS:-} >> "$dir/$k/log" 2>&1 < /dev/null &
  echo $! > "$dir/$k/pid"
}

# Waits until each of these serves, in the role that it has found.
await() {
  local k until=$((SECONDS + ${CLUSTER_PATIENCE:-30}))
  for k in "$@"; do
    until [ -n "$(mode "$k")" ]; do
      pid "$k" > /dev/null || die "server $k has ended: $(tail -n 1 "$dir/$k/log")"
      [ "$SECONDS" -lt "$until" ] || die "server $k does not serve (a quorum must be up): see $dir/$k/log"
      sleep 0.1
    done
  done
}

nets_down() {
  local k
  for k in $(ip netns list 2> /dev/null | sed -n "s/^$prefix-\([0-9]*\).*/\1/p"); do ip netns del "$prefix-$k"; done
  ip link del "$prefix-br" 2> /dev/null
  true
}

nets_up() {
  local k n=$1
  [ "$(id -u)" = 0 ] || die "--netns needs root"
  nets_down
  ip link add "$prefix-br" type bridge && ip addr add "$net.254/24" dev "$prefix-br" && ip link set "$prefix-br" up \
    || die "no bridge: is this kernel built without them?"
  for k in $(seq "$n"); do
    ip netns add "$prefix-$k" && ip link add "$prefix-v$k" type veth peer name eth0 netns "$prefix-$k" \
      && ip link set "$prefix-v$k" master "$prefix-br" up && ip -n "$prefix-$k" addr add "$net.$k/24" dev eth0 \
      && ip -n "$prefix-$k" link set eth0 up && ip -n "$prefix-$k" link set lo up || die "no namespace for server $k"
  done
}

start() {
  local n=3 nets= lines=() k j spec
  while [ $# -gt 0 ]; do
    case $1 in
      --netns) nets=1 ;;
      *=*) lines+=("$1") ;;
      *[!0-9]* | '') usage "what is '$1'?" ;;
      *) n=$1 ;;
    esac
    shift
  done
  [ "$n" -ge 1 ] && [ "$n" -le 99 ] || usage "1 to 99 servers"
  [ -z "$(servers)" ] || die "there is an ensemble in $dir: 'up all' starts it again, 'clean' removes it"
  binary > /dev/null || exit 1
  mkdir -p "$dir" || exit 1
  if [ -n "$nets" ]; then nets_up "$n" && touch "$dir/netns"; fi
  for k in $(seq "$n"); do
    mkdir -p "$dir/$k/data" && echo "$k" > "$dir/$k/data/myid"
    {
      printf '%s\n' tickTime=2000 initLimit=10 syncLimit=5 "dataDir=$dir/$k/data" maxClientCnxns=0 '4lw.commands.whitelist=*' \
        preAllocSize=16384
      if has_nets; then echo clientPort=2181; else printf '%s\n' "clientPort=$((base + k))" clientPortAddress=127.0.0.1; fi
      for j in $(seq "$n"); do
        if has_nets; then spec=$net.$j:2888:3888; else spec=127.0.0.1:$((base + 100 + j)):$((base + 200 + j)); fi
        echo "server.$j=$spec"
      done
      [ "${#lines[@]}" = 0 ] || printf '%s\n' "${lines[@]}"
    } > "$dir/$k/zoo.cfg"
    launch "$k"
  done
  # shellcheck disable=SC2046
  await $(seq "$n")
  status
}

status() {
  local k p state text at
  [ -n "$(servers)" ] || die "there is no ensemble in $dir: start one"
  for k in $(servers); do
    at=$(address "$k")
    if ! p=$(pid "$k"); then
      printf 'server %s  %-22s down\n' "$k" "${at/ /:}"
      continue
    fi
    state=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$p/status")
    text=$(word "$k" srvr)
    case $state$text in
      T*) text=paused ;;
      *Mode:*) text=$(sed -n 's/^Mode: \(.*\)/\1/p; s/^Zxid: \(.*\)/zxid \1/p; s/^Connections: \(.*\)/\1 connection(s)/p' <<< "$text" | sort -r | paste -sd' ') ;;
      *'not currently serving'*) text='looking for a leader' ;;
      *) text='does not answer' ;;
    esac
    printf 'server %s  %-22s pid %-8s %s\n' "$k" "${at/ /:}" "$p" "$text"
  done
}

signal() {
  local k p list
  list=$(who "${2:-}") || exit $?
  for k in $list; do
    if p=$(pid "$k"); then kill "-$1" "$p"; fi
  done
  case $1 in
    TERM | KILL) for k in $list; do for _ in $(seq 100); do pid "$k" > /dev/null || continue 2; sleep 0.05; done; die "server $k does not end"; done ;;
  esac
}

nets_only() { has_nets || die "only with namespaces: start --netns"; }

# What a sends to b is lost: b's address leads to nobody.
lose() { ip -n "$prefix-$1" neigh replace "$net.$2" lladdr 02:00:00:00:00:fe dev eth0 nud permanent; }

cut() {
  local a b as bs
  nets_only
  as=$(who "${1:-}") && bs=$(who "${2:-}") || exit $?
  for a in $as; do for b in $bs; do [ "$a" = "$b" ] || lose "$a" "$b"; done; done
}

slow() {
  local k list how=${2:-}
  nets_only
  list=$(who "${1:-}") || exit $?
  for k in $list; do
    ip netns exec "$prefix-$k" tc qdisc del dev eth0 root 2> /dev/null
    case $how in
      off) ;;
      *bit) ip netns exec "$prefix-$k" tc qdisc add dev eth0 root tbf rate "$how" burst 32kbit latency 500ms || exit 1 ;;
      *ms | *us | *s)
        ip netns exec "$prefix-$k" tc qdisc add dev eth0 root netem delay "$how" limit 100000 \
          || die "this kernel cannot delay (no sch_netem): a rate, such as 1mbit, may do" ;;
      *) usage "how slow? 50ms, 1mbit or off" ;;
    esac
  done
}

heal() {
  local a b
  nets_only
  for a in $(servers); do
    for b in $(servers); do ip -n "$prefix-$a" neigh del "$net.$b" dev eth0 2> /dev/null; done
    ip netns exec "$prefix-$a" tc qdisc del dev eth0 root 2> /dev/null
  done
  true
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  start) start "$@" ;;
  status) status ;;
  up) list=$(who "${1:-}") && for k in $list; do launch "$k"; done && await $list ;;
  stop) signal TERM "${1:-}" ;;
  kill) signal KILL "${1:-}" ;;
  pause) signal STOP "${1:-}" ;;
  cont) signal CONT "${1:-}" ;;
  log) list=$(who "${1:-}") && for k in $list; do tail -n "${2:-20}" "$dir/$k/log" | sed "s/^/$k: /"; done ;;
  cut) cut "${1:-}" "${2:-}" ;;
  partition) as=$(who "${1:-}") && bs=$(who "${2:-}") || exit $?; cut "${as//$'\n'/,}" "${bs//$'\n'/,}"; cut "${bs//$'\n'/,}" "${as//$'\n'/,}" ;;
  slow) slow "${1:-}" "${2:-}" ;;
  heal) heal ;;
  clean) for k in $(servers); do p=$(pid "$k") && kill -KILL "$p"; done; [ "$(id -u)" = 0 ] && has_nets && nets_down; rm -rf "$dir" ;;
  -h | --help | help) help ;;
  '') help; exit 2 ;;
  *) usage "there is no command '$command'" ;;
esac
