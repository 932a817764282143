#!/usr/bin/env bash
# Records data directories of real ZooKeeper servers into tests/golden/migrate/: what is imported in tests/migrate.rs.
#   PEER=<script that starts a real ZooKeeper 3.9> PYTHON=<python with kazoo 2.11> scripts/record-migrate.sh
# PEER is called as `PEER start NAME N BASEPORT [zoo.cfg line...]`, `PEER restart NAME`, `PEER dir NAME` and `PEER stop NAME`; it serves
# on BASEPORT+1 with -Dzookeeper.extendedTypesEnabled=true. The directory 3.8 is written by the server of the Debian package zookeeper.
# Of each directory the snapshots and logs are kept, the zeros at the end of logs cut to 64. What a client read at last, while the
# server was up, is beside them in nodes.json: data, ACL and Stat of every znode that no session owned and that is not below /bulk.
set -euo pipefail
: "${PEER:?the script that starts a real ZooKeeper}" "${PYTHON:=python3}" "${BASE:=28100}"
here=$(cd "$(dirname "$0")/.." && pwd)
out=$here/tests/golden/migrate
work=$(mktemp -d)
debian_pid=
stop_all() { "$PEER" stop migrate; if [ -n "$debian_pid" ]; then kill -9 "$debian_pid" || true; fi; rm -rf "$work"; }
trap stop_all EXIT
export PORT=$((BASE + 1))

wait_for() {
  for _ in $(seq 150); do
    if timeout 1 bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT && printf srvr >&3 && cat <&3" 2> /dev/null | grep -q Mode; then return; fi
    sleep 0.2
  done
  echo 'the server does not answer' >&2
  exit 1
}

# client STEP: one part of what is done to a server.
client() {
  STEP=$1 NODES=$work/nodes.json "$PYTHON" - <<'PY'
import base64, collections, json, os, random, struct, sys, threading, time
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.serialization import write_buffer, write_string
from kazoo.security import make_acl, make_digest_acl

port, step = os.environ['PORT'], os.environ['STEP']


class CreateExtended(collections.namedtuple('CreateExtended', 'path data ttl')):
    """createTTL, or createContainer where there is no ttl: kazoo has neither."""

    @property
    def type(self):
        return 21 if self.ttl else 19

    def serialize(self):
        acl = struct.pack('!ii', 1, 31) + write_string('world') + write_string('anyone')
        kind = struct.pack('!iq', 5, self.ttl) if self.ttl else struct.pack('!i', 4)
        return write_string(self.path) + write_buffer(self.data) + acl + kind

    @classmethod
    def deserialize(cls, data, offset):
        return True


def extended(c, path, data, ttl=None):
    result = c.handler.async_result()
    c._call(CreateExtended(path, data, ttl), result)
    result.get(timeout=10)


def client(timeout=30):
    c = KazooClient(hosts=f'127.0.0.1:{port}', timeout=timeout)
    c.start()
    return c


def fill(c, root):
    c.create(root, b'')
    c.create(root + '/empty', b'')
    c.create(root + '/data', bytes(range(256)) * 4)
    c.create(root + '/\u00e9\u4e2d', 'caf\u00e9'.encode())
    numbered = [c.create(root + '/seq-', str(i).encode(), sequence=True) for i in range(5)]
    c.delete(numbered[2])
    for i in range(3):
        c.set(root + '/data', b'version %d' % i)
    c.create(root + '/secret', b's', acl=[make_digest_acl('user', 'password', read=True, write=True, admin=True),
                                            make_acl('ip', '127.0.0.1', all=True), make_acl('world', 'anyone', read=True)])
    c.create(root + '/shared', b'', acl=[make_acl('world', 'anyone', read=True, create=True, delete=True, admin=True)])
    c.set_acls(root + '/shared', [make_acl('world', 'anyone', read=True, create=True, delete=True)])
    t = c.transaction()
    t.create(root + '/multi', b'm')
    t.create(root + '/multi/a', b'a')
    t.set_data(root + '/data', b'by a multi')
    t.check(root + '/data', -1)
    t.delete(numbered[0])
    assert not any(isinstance(r, Exception) for r in t.commit())
    t = c.transaction()
    t.create(root + '/never', b'')
    t.delete(root + '/multi')
    assert isinstance(t.commit()[1], Exception)
    for bad in (lambda: c.create(root + '/data', b''), lambda: c.delete(root), lambda: c.set(root + '/none', b'')):
        try:
            bad()
        except KazooException:
            pass
    # What zkCli's setquota and the server make of it.
    c.ensure_path('/zookeeper/quota' + root)
    c.create('/zookeeper/quota' + root + '/zookeeper_limits', b'count=1000,bytes=-1')
    c.create('/zookeeper/quota' + root + '/zookeeper_stats', b'count=1,bytes=0')


def dump(c):
    # In one go, without ephemerals: their sessions may end in between.
    nodes, paths = {}, ['/']
    while paths:
        path = paths.pop()
        if path.startswith('/bulk/'):
            continue
        data, stat = c.get(path)
        acl = [[a.perms, a.id.scheme, a.id.id] for a in c.get_acls(path)[0]]
        paths += [path.rstrip('/') + '/' + name for name in c.get_children(path)]
        if not stat.ephemeralOwner:
            nodes[path] = dict(data=base64.b64encode(data).decode(), acl=acl, stat=list(stat))
    with open(os.environ['NODES'], 'w') as f:
        json.dump(nodes, f, sort_keys=True, separators=(',', ':'), ensure_ascii=False)
        f.write('\n')


if step == 'first':
    a, b = client(30), client(20)
    fill(a, '/app')
    a.create('/app/lock-', b'a', ephemeral=True, sequence=True)
    b.create('/app/lock-', b'b', ephemeral=True, sequence=True)
    b.create('/app/member', b'', ephemeral=True)
    b.stop()
elif step == 'churn':
    # While the server writes snapshot after snapshot (a small snapCount): creates, deletes and sessions that come and go.
    a = client()
    a.create('/bulk', b'')
    made = [a.create_async(f'/bulk/{i:03}', b'') for i in range(900)]
    [m.get() for m in made]
    end = time.time() + float(os.environ.get('SECONDS_OF_CHURN', '6'))

    def worker(n):
        local = random.Random(n)
        while time.time() < end:
            c = client()
            for _ in range(local.randrange(20, 60)):
                path = f'/bulk/{local.randrange(900):03}'
                asked = []
                for _ in range(8):
                    pick = local.randrange(8)
                    if pick < 2:
                        asked.append(c.create_async(path + '/n', b'%d' % local.randrange(99), ephemeral=pick == 1))
                    elif pick == 2:
                        asked.append(c.delete_async(path + '/n'))
                    elif pick == 3:
                        asked.append(c.create_async(path + '/n/below', b''))
                    elif pick == 4:
                        asked.append(c.delete_async(path + '/n/below'))
                    elif pick == 5:
                        asked.append(c.delete_async(path))
                    elif pick == 6:
                        asked.append(c.create_async(path, b'again'))
                    else:
                        asked.append(c.set_async(path, b'%d' % local.randrange(99)))
                for one in asked:
                    try:
                        one.get()
                    except KazooException:
                        pass
            c.stop()
            c.close()

    workers = [threading.Thread(target=worker, args=(n,)) for n in range(4)]
    [w.start() for w in workers]
    [w.join() for w in workers]
elif step == 'last':
    a, b = client(40), client(25)
    fill(a, '/last')
    if os.environ.get('EXTENDED'):
        extended(a, '/last/container', b'c')
        extended(a, '/last/container/child', b'')
        extended(a, '/last/ttl', b't', ttl=10 ** 9)
    for i in range(4):
        b.create('/last/eph-', b'e', ephemeral=True, sequence=True)
    dump(a)
    # The server is killed before the sessions are closed: they are in its files.
os._exit(0)
PY
}

# keep DIRECTORY NAME: the files that the tests read.
keep() {
  rm -rf "${out:?}/$2"
  mkdir -p "$out/$2/version-2"
  cp "$1"/version-2/snapshot.* "$out/$2/version-2/"
  for log in "$1"/version-2/log.*; do
    "$PYTHON" -c 'import sys; d = open(sys.argv[1], "rb").read().rstrip(b"\0"); open(sys.argv[2], "wb").write(d + bytes(64))' \
      "$log" "$out/$2/version-2/$(basename "$log")"
  done
  cp "$work/nodes.json" "$out/$2/"
}

# newest DIRECTORY [COUNT]: leaves the newest snapshots and the logs after the first of them, to save room.
newest() {
  "$PYTHON" - "$out/$1/version-2" "${2:-1}" <<'PY'
import os, sys
top, count = sys.argv[1], int(sys.argv[2])
number = lambda name: int(name.split('.')[1], 16)
snapshots = sorted((n for n in os.listdir(top) if n.startswith('snapshot.')), key=number)
logs = sorted((n for n in os.listdir(top) if n.startswith('log.')), key=number)
kept = snapshots[-count:]
begin = max((number(n) for n in logs if number(n) <= number(kept[0]) + 1), default=0)
for name in snapshots[:-count] + [n for n in logs if number(n) < begin]:
    os.remove(os.path.join(top, name))
PY
}

# One directory: two runs of a server, the second on the snapshot and log of the first.
"$PEER" start migrate 1 "$BASE"
data=$("$PEER" dir migrate)/1/data
client first
"$PEER" stop migrate
"$PEER" restart migrate
EXTENDED=1 client last
"$PEER" stop migrate
keep "$data" 3.9

for method in gz snappy; do
  ZK_JAVA_OPTS=-Dzookeeper.snapshot.compression.method=$method "$PEER" start migrate 1 "$BASE"
  client first
  "$PEER" stop migrate
  ZK_JAVA_OPTS=-Dzookeeper.snapshot.compression.method=$method "$PEER" restart migrate
  client last
  "$PEER" stop migrate
  keep "$data" "3.9-$method"
  newest "3.9-$method"
done

# Fuzzy snapshots: written while four clients create and delete.
ZK_JAVA_OPTS='-Dzookeeper.snapCount=100 -Dzookeeper.snapshot.compression.method=gz' "$PEER" start migrate 1 "$BASE"
client first
client churn
client last
"$PEER" stop migrate
keep "$data" 3.9-fuzzy
[ -z "${ALL_OF_CHURN:-}" ] || { rm -rf "$ALL_OF_CHURN"; cp -r "$out/3.9-fuzzy" "$ALL_OF_CHURN"; }
newest 3.9-fuzzy 3

mkdir -p "$work/debian"
printf '%s\n' tickTime=2000 "dataDir=$work/debian" "clientPort=$PORT" clientPortAddress=127.0.0.1 admin.enableServer=false \
  '4lw.commands.whitelist=*' maxClientCnxns=0 > "$work/zoo.cfg"
debian() {
  java -Xmx512m -cp "$(sed -n 's/^CLASSPATH="\(.*\)"$/\1/p' /etc/zookeeper/conf/environment | sed "s,\$ZOOCFGDIR,/etc/zookeeper/conf,")" \
    org.apache.zookeeper.server.quorum.QuorumPeerMain "$work/zoo.cfg" > "$work/debian.log" 2>&1 < /dev/null &
  debian_pid=$!
  wait_for
}
debian
client first
kill -9 "$debian_pid"
debian
client last
kill -9 "$debian_pid"
debian_pid=
keep "$work/debian" 3.8
du -sb "$out"/*
