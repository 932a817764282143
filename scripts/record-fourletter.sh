#!/usr/bin/env bash
# Records what a real Apache ZooKeeper answers to the four-letter words, byte for byte, into tests/golden/fourletter/.
#   PEER=<script that starts a real ZooKeeper> PYTHON=<python with kazoo 2.11> scripts/record-fourletter.sh
# PEER is called as `PEER start NAME N BASEPORT [zoo.cfg line...]`, `PEER dir NAME`, `PEER classpath` and `PEER stop NAME`; it serves
# on BASEPORT+1 with all words allowed.
# fresh-* is a server nobody has used, busy-* one with four sessions, reset-* the same after crst and srst, refused-* one whose
# whitelist is short, netty-* one on Netty, ipv6-* one met over IPv6. Only the paths and names of the machine are replaced, nothing else.
set -euo pipefail
: "${PEER:?the script that starts a real ZooKeeper}" "${PYTHON:=python3}" "${BASE:=23380}"
here=$(cd "$(dirname "$0")/.." && pwd)
export OUT=$here/tests/golden/fourletter PORT=$((BASE + 1))
mkdir -p "$OUT"
trap '"$PEER" stop admin' EXIT

"$PEER" start admin 1 "$BASE"
ROOT=$("$PEER" dir admin)
CLASSES=$("$PEER" classpath 2>/dev/null || true)
export ROOT CLASSES
"$PYTHON" - <<'PY'
import collections, os, socket, struct, time
from kazoo.client import KazooClient
from kazoo.protocol.serialization import write_string

port, out = int(os.environ['PORT']), os.environ['OUT']
host = f'127.0.0.1:{port}'
swaps = [(os.environ['CLASSES'], '/opt/zookeeper/lib/*'), (os.environ['ROOT'], '/var/lib/zookeeper'),
         (os.getcwd(), '/srv'), (os.path.expanduser('~'), '/var/lib/zookeeper')]


def ask(word):
    with socket.create_connection(('127.0.0.1', port)) as s:
        s.sendall(word.encode())
        text = b''
        while chunk := s.recv(65536):
            text += chunk
    return text.decode()


def record(prefix, *words):
    for word in words:
        text = ask(word)
        for old, new in swaps:
            if old and (len(old) > 4 or word == 'envi'):
                text = text.replace(old, new)
        if word == 'envi':
            text = '\n'.join(line if not line.startswith('host.name=') else 'host.name=host.example' for line in text.split('\n'))
        with open(f'{out}/{prefix}-{word}.txt', 'w', newline='') as f:
            f.write(text)


class AddWatch(collections.namedtuple('AddWatch', 'path mode')):
    """addWatch, which kazoo lacks: mode 0 persistent, 1 persistent recursive."""
    type = 106

    def serialize(self):
        return write_string(self.path) + struct.pack('!i', self.mode)

    @classmethod
    def deserialize(cls, data, offset):
        return True


def add_watch(c, path, mode):
    result = c.handler.async_result()
    c._call(AddWatch(path, mode), result)
    result.get(timeout=10)


def client(timeout):
    c = KazooClient(hosts=host, timeout=timeout)
    c.start()
    return c


listing = ('srvr', 'stat', 'mntr', 'cons', 'dump', 'wchs', 'wchc', 'wchp')
record('fresh', 'ruok', 'isro', 'conf', 'envi', 'dirs', 'gtmk', *listing)

a, b, c, d = client(30), client(10), client(30), client(12)
mark = lambda event: None
a.create('/app', b'')
a.create('/app/config', b'x' * 300)
a.create('/app/members', b'')
a.create('/app/members/a-1', b'one', ephemeral=True)
a.create('/app/members/a-2', b'two', ephemeral=True)
b.create('/app/members/b-', b'', ephemeral=True, sequence=True)
a.get('/app/config', watch=mark)
a.exists('/app/none', watch=mark)
a.get_children('/app/members', watch=mark)
b.get('/app/config', watch=mark)
add_watch(b, '/app', 1)
c.get('/app/members', watch=mark)
add_watch(c, '/app/members', 0)
c.set('/app/config', b'y' * 200)
a.get('/app/config', watch=mark)
b.get('/app/config', watch=mark)
# A connection without a session, in the lists of connections.
bare = socket.create_connection(('127.0.0.1', port))
for i in range(200):
    a.create(f'/app/n{i:03}', b'z' * 100)
    c.get(f'/app/n{i:03}')
for i in range(20):
    d.exists('/app/none')
time.sleep(1)
record('busy', 'hash', *listing)
record('reset', 'crst', 'cons', 'srst', 'srvr', 'mntr')
bare.close()
for x in (a, b, c, d):
    x.stop()
PY
"$PEER" stop admin

"$PEER" start admin 1 "$BASE" '4lw.commands.whitelist=ruok, mntr'
ask() { exec 3<>"/dev/tcp/${2:-127.0.0.1}/$PORT"; printf '%s' "$1" >&3; cat <&3; exec 3>&-; }
for word in cons wchp srvr isro ruok; do ask "$word" | head -n 1 > "$OUT/refused-$word.txt"; done
"$PEER" stop admin

ZK_JAVA_OPTS=-Dzookeeper.serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory "$PEER" start admin 1 "$BASE"
for word in dump cons; do ask "$word" > "$OUT/netty-$word.txt"; done
"$PEER" stop admin

"$PEER" start admin 1 "$BASE" clientPortAddress=::
ask cons ::1 > "$OUT/ipv6-cons.txt"
"$PEER" stop admin

# leader-* and follower-* are two of an ensemble of four that nobody has used.
"$PEER" start admin 4 "$BASE"
for k in 1 2 3 4; do
  PORT=$((BASE + k))
  role=$(ask srvr | sed -n 's/^Mode: //p')
  [ "$role" = leader ] || [ "$k" -lt 3 ] || continue
  for word in srvr mntr conf; do ask "$word" | sed "s|$ROOT|/var/lib/zookeeper|g" > "$OUT/$role-$word.txt"; done
done
rm -f "$OUT/leader-conf.txt"
