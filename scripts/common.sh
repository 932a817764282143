# Common parts of the scripts that measure one server: sourced by them, not run. They need target/release/ringkeeper (SERVER names
# another) and build the load generator where LOAD names none. The results of --record go to results/YYYY-MM-DD-TOPIC/README.md.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
command_line="scripts/$(basename "$0")${*:+ $*}"
server=${SERVER:-${CARGO_TARGET_DIR:-target}/release/ringkeeper}
load=${LOAD:-}
[ -x "$server" ] || { echo "$server is not there: cargo build --release" >&2; exit 1; }
if [ -z "$load" ]; then
  load=$(cargo bench --bench load --no-run --message-format=json 2> /dev/null |
    sed -n 's/.*"executable":"\([^"]*\/load-[^"]*\)".*/\1/p' | tail -n 1)
fi
[ -x "$load" ] || { echo "the load generator was not built" >&2; exit 1; }
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
server_pid='' load_pid='' passed=0 failed=0
record=''
for argument in "$@"; do [ "$argument" = --record ] && record=yes; done

stop_server() {
  if [ -n "$server_pid" ]; then kill "$server_pid"; wait "$server_pid"; fi 2> /dev/null
  server_pid=
}
cleanup() {
  if [ -n "$load_pid" ]; then kill "$load_pid"; fi 2> /dev/null
  stop_server
  rm -rf "$work"
}
trap cleanup EXIT

# start_server ARGUMENT...: on a port of the system's choice, with its data in $work/data; sets $server_pid and $address.
start_server() {
  : > "$work/log" # What the last one said is not taken for this one's.
  "$server" serve --data-dir "$work/data" --listen 127.0.0.1:0 -Dzookeeper.maxClientCnxns=0 "$@" 2>> "$work/log" &
  server_pid=$!
  for _ in $(seq 1200); do
    if grep -q '^ready: ' "$work/log"; then break; fi
    kill -0 "$server_pid" 2> /dev/null || break
    sleep 0.1
  done
  address=$(sed -n 's/^ready: \([^ ]*\) .*/\1/p' "$work/log")
  [ -n "$address" ] || { cat "$work/log" >&2; exit 1; }
}

# Processor time of the server so far, ms.
processor_ms() {
  cat /proc/"$server_pid"/task/*/schedstat | awk '{ sum += $1 } END { printf "%d", sum / 1000000 }'
}

resident_kib() {
  awk '/^VmRSS:/ { print $2 }' /proc/"$server_pid"/status
}

# Megabytes, of a million bytes, resident now.
resident_mb() {
  awk -v kib="$(resident_kib)" 'BEGIN { printf "%.0f", kib * 1024 / 1000000 }'
}

# ask ADDRESS WORD: sets $said to what a four-letter word is answered; to nothing where nobody is there. Starts no process: what is asked
# while latencies are measured must not be what is measured.
ask() {
  local socket line=''
  said=''
  { exec {socket}<> "/dev/tcp/${1%:*}/${1##*:}"; } 2> /dev/null || return 0
  printf %s "$2" >&"$socket"
  while IFS= read -r -t 5 -u "$socket" line || [ -n "$line" ]; do
    said+=$line$'\n'
    line=''
  done
  exec {socket}>&-
}

# word ADDRESS WORD: prints that answer.
word() {
  ask "$@"
  printf %s "$said"
}

# median NUMBER...: the lower one of two.
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }

# Waits until no image is being written.
await_image() {
  sleep 1
  for _ in $(seq 600); do [ -e "$work/data/images/image.tmp" ] || break; sleep 0.5; done
}

figures=()
# judge WHAT VALUE UNIT LIMIT: passes where VALUE is at most LIMIT.
judge() {
  local verdict=ok
  if awk -v value="$2" -v limit="$4" 'BEGIN { exit !(value <= limit) }'; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1)) verdict='TOO MUCH'
  fi
  echo "$1: $2 $3, limit $4 $3: $verdict"
  figures+=("| $1 | $2 $3 | $4 $3 | $verdict |")
}

# finish TOPIC TITLE: writes the record where it is asked for, and ends with the line that counts.
finish() {
  local stem out n=2
  if [ -n "$record" ]; then
    stem=results/$(date +%F)-$1 out=$stem
    while [ -e "$out" ]; do out=$stem-$n; n=$((n + 1)); done
    mkdir -p "$out"
    {
      echo "# $2, $(date +%F)"
      echo
      echo "Command: \`$command_line\`."
      echo
      echo "- commit: $(git rev-parse HEAD)$(git diff --quiet HEAD -- . ':!results' || echo ' with uncommitted changes')"
      echo "- server: $("$server" --version)"
      echo "- processor: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"
      echo "- kernel: $(uname -sr)"
      echo "- load average at the end: $(cut -d ' ' -f 1-3 /proc/loadavg)"
      echo
      echo "| Figure | Measured | Limit | |"
      echo "|---|---:|---:|---|"
      printf '%s\n' "${figures[@]}"
      if [ -s "$work/notes" ]; then
        echo
        sed 's/^/    /' "$work/notes"
      fi
    } > "$out/README.md"
    echo "recorded in $out"
  fi
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}
