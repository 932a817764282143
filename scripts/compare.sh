#!/usr/bin/env bash
# Ringkeeper and a real ZooKeeper 3.9.4 under the same load on the same machine, run by run in turn (A B A B).
#   scripts/compare.sh [--runs N] [--seconds S] [--open-seconds S] [--warmup S] [--shards N] [--out DIR]
# Builds release, starts both servers once, each on its own fresh data, and writes results/YYYY-MM-DD-standalone/ (never over
# an older one): README.md with the table, and one JSON file a run. Needs java; ZOOKEEPER_PEER names the script that starts
# ZooKeeper (default ../shared/tools/zookeeper-peer.sh beside the checkout). BASE_PORT (default 23380) moves the ports.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=5 seconds=10 open_seconds=60 warmup=3 shards='' out=''
while [ $# -gt 0 ]; do
  case $1 in
    --runs) runs=$2 ;; --seconds) seconds=$2 ;; --open-seconds) open_seconds=$2 ;; --warmup) warmup=$2 ;;
    --shards) shards=$2 ;; --out) out=$2 ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
peer=${ZOOKEEPER_PEER:-../shared/tools/zookeeper-peer.sh}
base=${BASE_PORT:-23380}
zk_port=$((base + 1)) rk_port=$((base + 2))
target=${CARGO_TARGET_DIR:-target}

cargo build --release
load=$(cargo bench --bench load --no-run --message-format=json 2>/dev/null |
  sed -n 's/.*"executable":"\([^"]*\/load-[^"]*\)".*/\1/p' | tail -n 1)
[ -x "$load" ] || { echo "the load generator was not built" >&2; exit 1; }

if [ -z "$out" ]; then
  stem=results/$(date +%F)-standalone out=$stem n=2
  while [ -e "$out" ]; do out=$stem-$n; n=$((n + 1)); done
fi
mkdir -p "$out"
data=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
rk_pid=
cleanup() {
  [ -z "$rk_pid" ] || kill "$rk_pid" 2>/dev/null || true
  "$peer" stop compare >/dev/null 2>&1 || true
  rm -rf "$data"
}
trap cleanup EXIT

"$peer" start compare 1 "$base"
peer_dir=$("$peer" dir compare)
printf 'tickTime=2000\nmaxClientCnxns=0\ndataDir=%s\nclientPort=%s\n' "$data" "$rk_port" > "$data/zoo.cfg"
# shellcheck disable=SC2086 # --shards N is two words or none
"$target/release/ringkeeper" serve "$data/zoo.cfg" --data-dir "$data" --listen "127.0.0.1:$rk_port" ${shards:+--shards $shards} \
  2> "$out/ringkeeper.log" &
rk_pid=$!
for _ in $(seq 100); do grep -q '^ready: ' "$out/ringkeeper.log" && break; sleep 0.1; done
grep '^ready: ' "$out/ringkeeper.log" || { echo "ringkeeper did not become ready, see $out/ringkeeper.log" >&2; exit 1; }

# NAME SECONDS ARGUMENTS of each case.
cases=(
  "reads-depth-32 $seconds --workload read --depth 32 --connections 64"
  "sets-depth-32 $seconds --workload set --depth 32 --connections 64"
  "reads-depth-1 $seconds --workload read --depth 1 --connections 64"
  "sets-depth-1 $seconds --workload set --depth 1 --connections 64"
  "one-set-at-a-time $seconds --workload set --depth 1 --connections 1"
  "open-loop-20000 $open_seconds --workload mixed --read-ratio 0.8 --rate 20000 --depth 32 --connections 64"
)
for case in "${cases[@]}"; do
  read -r name length arguments <<< "$case"
  for run in $(seq "$runs"); do
    for server in zookeeper ringkeeper; do
      port=$zk_port; [ $server = zookeeper ] || port=$rk_port
      printf '%-20s run %s %-10s ' "$name" "$run" "$server"
      # shellcheck disable=SC2086 # the arguments are words
      "$load" --server "127.0.0.1:$port" --setup --warmup "$warmup" --seconds "$length" --seed "$run" $arguments \
        --json "$out/$name.$server.$run.json"
    done
  done
done

disk_of() { df -T "$1" | awk 'NR == 2 { print $1 " (" $2 ")" }'; }
{
  echo "# Ringkeeper beside ZooKeeper 3.9.4, standalone, $(date +%F)"
  echo
  echo "Command: \`scripts/compare.sh --runs $runs --seconds $seconds --open-seconds $open_seconds --warmup $warmup${shards:+ --shards $shards}\`."
  echo "Runs of the two servers alternate; both stay up throughout, each on its own data; the generator shares the machine."
  echo
  echo "- commit: $(git rev-parse HEAD)$(git diff --quiet HEAD -- . ':!results' || echo ' with uncommitted changes')"
  echo "- processor: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"
  echo "- kernel: $(uname -sr)"
  echo "- disk of the data: Ringkeeper $(disk_of "$data"), ZooKeeper $(disk_of "$peer_dir")"
  echo "- java: $(java -version 2>&1 | head -n 1)"
  echo "- ringkeeper: $(grep '^ready: ' "$out/ringkeeper.log" | sed 's/^ready: //')"
  echo
  python3 scripts/compare_table.py "$out"
} > "$out/README.md"
cat "$out/README.md"
