#!/usr/bin/env bash
# A smoke test by zkCli.sh, the Java client of the Debian package zookeeper: zkcli.sh HOST:PORT. Ends with 'N passed, M failed'.
set -uo pipefail
server=$1
cli=$(command -v zkCli.sh || echo /usr/share/zookeeper/bin/zkCli.sh)
root=/zkcli-$$
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# The lines are typed one by one: the watcher's line has to come out between two commands.
{
  sleep 2
  for line in \
    "create $root one" "get -w $root" "set $root two" "get -s $root" "addWatch -m PERSISTENT_RECURSIVE $root" \
    "create -s $root/seq- x" "create -s $root/seq- y" "create -e $root/eph e" "ls $root" "stat $root" \
    "set -v 0 $root nine" "get $root/none" "create $root again" "delete $root" \
    "getAcl $root" "sync $root" "removewatches $root" "delete $root/seq-0000000000" "quit"; do
    echo "$line"; sleep 0.3
  done
} | timeout 120 "$cli" -server "$server" > "$out" 2>&1
# A second client: the first one's session is closed, so its ephemeral is not there any more.
{ sleep 2; for line in "ls $root" "deleteall $root" "ls /" "quit"; do echo "$line"; sleep 0.3; done; } |
  timeout 120 "$cli" -server "$server" > "$out.2" 2>&1
cat "$out.2" >> "$out"; second=$(cat "$out.2"); rm -f "$out.2"

passed=0 failed=0
expect() { # WHAT PATTERN
  if grep -qE -- "$2" "$out"; then passed=$((passed + 1)); echo "$1: ok"; else failed=$((failed + 1)); echo "$1: FAILED ($2)"; fi
}
expect "a znode is created" "^Created $root\$"
expect "its data is read" '^one$'
expect "the watch fires" "WatchedEvent state:SyncConnected type:NodeDataChanged path:$root"
expect "the new data is read" '^two$'
expect "with its version" '^dataVersion = 1$'
expect "sequence numbers" "^Created $root/seq-0000000001\$"
expect "children are listed" '^\[eph, seq-0000000000, seq-0000000001\]$'
expect "and counted" '^numChildren = 3$'
expect "a recursive watch hears of what is below" "WatchedEvent state:SyncConnected type:NodeCreated path:$root/seq-0000000000"
expect "more than once" "WatchedEvent state:SyncConnected type:NodeCreated path:$root/eph"
expect "and can be removed" "type:PersistentWatchRemoved path:$root"
expect "a wrong version is refused" "version No is not valid : $root"
expect "a missing znode is told" "(Node does not exist|NoNode).*$root/none"
expect "a second create is refused" "Node already exists: $root"
expect "a parent is not deleted" "Node not empty: $root"
expect "the ACL is read" "^'world,'anyone"
expect "sync is answered" 'Sync is OK'
if ! grep -q "type:NodeDeleted path:$root/seq" "$out"; then passed=$((passed + 1)); echo "what is removed is silent: ok"
else failed=$((failed + 1)); echo "what is removed is silent: FAILED"; fi
if grep -qE '^\[seq-0000000001\]$' <<< "$second"; then passed=$((passed + 1)); echo "ephemerals go with their session: ok"
else failed=$((failed + 1)); echo "ephemerals go with their session: FAILED"; fi
if grep -qE '^\[.*zookeeper.*\]$' <<< "$second" && ! grep -q "^\[.*${root#/}[],]" <<< "$second"; then passed=$((passed + 1)); echo "deleteall: ok"
else failed=$((failed + 1)); echo "deleteall: FAILED"; fi
[ "$failed" -eq 0 ] || cat "$out"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
