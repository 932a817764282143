#!/usr/bin/env bash
# Records a data directory of a release into tests/golden/data-VERSION/: what later releases must open, tried in tests/server/durable.rs.
#   SERVER=<ringkeeper of that release> PYTHON=<python with kazoo 2.11> scripts/record-data.sh VERSION
# The server is killed under load. What a client had read when the last write was answered is in nodes.json: path, data, Stat.
set -euo pipefail
: "${SERVER:?the binary of the release}" "${PYTHON:=python3}"
here=$(cd "$(dirname "$0")/.." && pwd)
out=$here/tests/golden/data-$1
[ ! -e "$out" ] || { echo "$out is there already, and nothing is recorded over it" >&2; exit 1; }
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2> /dev/null; rm -rf "$work"' EXIT
"$SERVER" serve --data-dir "$work/data" --listen 127.0.0.1:0 -Dzookeeper.preAllocSize=16384 2> "$work/log" &
pid=$!
for _ in $(seq 100); do grep -q '^ready: ' "$work/log" && break; sleep 0.1; done
address=$(sed -n 's/^ready: \([^ ]*\) .*/\1/p' "$work/log")
ADDRESS=$address NODES=$work/nodes.json "$PYTHON" - <<'PY'
import base64, json, os
from kazoo.client import KazooClient
from kazoo.security import make_acl, make_digest_acl
c = KazooClient(hosts=os.environ['ADDRESS'])
c.start()
c.create('/plain', b'data')
c.create('/null', None)
c.create('/deep/er/and/deeper', b'x' * 5000, makepath=True)
c.create('/acl', b'secret', acl=[make_digest_acl('user', 'word', all=True), make_acl('world', 'anyone', read=True)])
for n in range(40):
    c.create('/seq/n-', b'%d' % n, sequence=True, makepath=True)
c.create('/mine', b'owned', ephemeral=True)
for n in range(10):
    c.set('/plain', b'data %d' % n)
for n in range(0, 40, 4):
    c.delete('/seq/n-%010d' % n)
t = c.transaction()
t.create('/multi', b'm')
t.set_data('/plain', b'by multi')
t.delete('/seq/n-0000000001')
t.commit()
t = c.transaction()
t.create('/not', b'')
t.check('/plain', 99)
t.commit()
gone = KazooClient(hosts=os.environ['ADDRESS'])
gone.start()
gone.create('/gone', b'', ephemeral=True)
gone.stop()
nodes = {}
def walk(path):
    data, stat = c.get(path)
    nodes[path] = {'data': None if data is None else base64.b64encode(data).decode(), 'stat': list(stat)}
    for name in c.get_children(path):
        walk(path.rstrip('/') + '/' + name)
walk('/')
json.dump(nodes, open(os.environ['NODES'], 'w'), indent=0, sort_keys=True)
os._exit(0)
PY
kill -9 "$pid"
wait "$pid" 2> /dev/null || true
mkdir -p "$out"
cp "$work/nodes.json" "$out/"
# The files that begin with a log's name; spares are made again.
for file in "$work"/data/log/log.*; do gzip -9n < "$file" > "$out/$(basename "$file").gz"; done
ls -l "$out"
