"""What scripts/migrate.sh asks of a server through kazoo: to be filled, to be kept busy, to be read back; and a comparison.

    migrate.py load PORT SEED [--extended]   fills, prints 'loaded SESSION PASSWORD', then keeps on until it is killed
    migrate.py attach PORT SESSION PASSWORD  ends with 1 where that session cannot be gone on with; leaves it open
    migrate.py visit PORT                    opens a session and closes it: the server writes the digest of its tree
    migrate.py read PORT FILE                every znode: data (null and empty apart), ACL, Stat
    migrate.py compare FILE FILE             ends with 1 where they differ
    migrate.py summary FILE                  one line about what is in it

The reader is the superuser, whom each server was told by -Dzookeeper.DigestAuthenticationProvider.superDigest.
"""
import base64
import collections
import json
import os
import random
import struct
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import InvalidACLError, KazooException
from kazoo.protocol.serialization import write_buffer, write_string
from kazoo.security import make_acl, make_digest_acl

QUOTA = '/zookeeper/quota'
# Longer than a case takes: no session of the load ends of itself while its ephemerals are compared.
TIMEOUT = 600
BULK = 1500


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
    result.get(timeout=30)


def client(port, timeout=TIMEOUT, auth=None):
    c = KazooClient(hosts=f'127.0.0.1:{port}', timeout=timeout)
    c.start(timeout=60)
    if auth:
        c.add_auth('digest', auth)
    return c


def fill(c, root):
    """One of everything."""
    c.create(root, b'')
    c.create(root + '/empty', b'')
    c.create(root + '/null', None)
    c.create(root + '/nulled', b'x')
    c.set(root + '/nulled', None)
    c.create(root + '/data', bytes(range(256)) * 4)
    for i in range(3):
        c.set(root + '/data', b'version %d' % i)
    for i in range(6):
        c.create(f'{root}/large-{i}', random.Random(i).randbytes(900_000))
    for name in ('\u00e9\u4e2d', '\uff21\u0416', 'a b', 'x\u0301', '...', '%2f'):
        c.create(f'{root}/{name}', name.encode())
    deep = root + '/deep'
    for i in range(40):
        c.create(deep, b'%d' % i)
        deep += '/d'
    numbered = [c.create(root + '/seq-', b'%d' % i, sequence=True) for i in range(8)]
    c.delete(numbered[2])
    user = make_digest_acl('user', 'password', read=True, write=True, admin=True)
    c.create(root + '/secret', b's', acl=[user, make_acl('ip', '127.0.0.1', all=True), make_acl('world', 'anyone', read=True)])
    c.create(root + '/hidden', b'h', acl=[make_digest_acl('someone', 'else', all=True)])
    far = [make_acl('ip', '10.0.0.0/8', all=True), make_acl('ip', '192.168.1.1', read=True)]
    c.create(root + '/far', b'f', acl=far)
    try:
        c.create(root + '/six', b'6', acl=[*far, make_acl('ip', 'fe80::/10', all=True)])
    except InvalidACLError:
        pass  # Release 3.8 knows no such addresses.
    c.add_auth('digest', 'mine:mine')
    c.create(root + '/mine', b'm', acl=[make_acl('auth', '', all=True)])
    c.create(root + '/shared', b'', acl=[make_acl('world', 'anyone', read=True, create=True, delete=True, admin=True)])
    c.set_acls(root + '/shared', [make_acl('world', 'anyone', read=True, create=True, delete=True)])
    t = c.transaction()
    t.create(root + '/multi', b'm')
    t.create(root + '/multi/a', b'a')
    t.create(root + '/multi/eph', b'e', ephemeral=True)
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
    for of in (root, root + '/deep'):
        c.ensure_path(QUOTA + of)
        c.create(QUOTA + of + '/zookeeper_limits', b'count=1000000,bytes=-1')
        c.create(QUOTA + of + '/zookeeper_stats', b'count=1,bytes=0')


def pick(c, local, root):
    """One request, unanswered."""
    path = f'{root}/{local.randrange(BULK):04}'
    small = b'%d' % local.randrange(10 ** local.randrange(1, 60))
    n = local.randrange(12)
    if n < 2:
        return c.create_async(path + '/n', small, ephemeral=n == 1)
    if n == 2:
        return c.delete_async(path + '/n')
    if n == 3:
        return c.create_async(path + '/n/below', b'')
    if n == 4:
        return c.delete_async(path + '/n/below')
    if n == 5:
        return c.delete_async(path)
    if n == 6:
        return c.create_async(path, b'again')
    if n == 7:
        return c.create_async(path + '/s-', small, sequence=True, ephemeral=local.randrange(2) == 0)
    if n == 8:
        return c.set_acls_async(path, [make_digest_acl('user', str(local.randrange(40)), all=True), make_acl('world', 'anyone', all=True)])
    if n == 9:
        t = c.transaction()
        t.create(path + '/m', b'm', ephemeral=local.randrange(2) == 0)
        t.set_data(f'{root}/{local.randrange(BULK):04}', small)
        t.create(path + '/m/below' if local.randrange(3) == 0 else path + '/o', b'')
        return t.commit_async()
    if n == 10:
        t = c.transaction()
        t.delete(path + '/m')
        t.delete(path + '/o')
        return t.commit_async()
    return c.set_async(path, small)


def work(port, seed, root, stays):
    local = random.Random(seed)
    while True:
        c = client(port, timeout=TIMEOUT + local.randrange(60))
        for _ in range(local.randrange(10, 30)) if not stays else iter(int, 1):
            for one in [pick(c, local, root) for _ in range(16)]:
                try:
                    one.get()
                except KazooException:
                    pass
        # Its ephemerals go in one transaction.
        c.stop()
        c.close()


def load(port, seed, is_extended):
    c = client(port)
    root = f'/app{seed}'
    fill(c, root)
    bulk = f'/bulk{seed}'
    c.create(bulk, b'')
    [made.get() for made in [c.create_async(f'{bulk}/{i:04}', b'') for i in range(BULK)]]
    c.ensure_path(QUOTA + bulk)
    c.create(QUOTA + bulk + '/zookeeper_limits', b'count=1000000,bytes=1000000000')
    c.create(QUOTA + bulk + '/zookeeper_stats', b'count=1,bytes=0')
    if is_extended:
        extended(c, root + '/container', b'c')
        extended(c, root + '/container/child', b'')
        extended(c, root + '/ttl', b't', ttl=10 ** 9)
    for _ in range(4):
        c.create(root + '/eph-', b'e', ephemeral=True, sequence=True)
    for n in range(5):
        # Three come and go, two stay; each has a part of the tree that others change too.
        threading.Thread(target=work, args=(port, f'{seed}-{n}', bulk, n < 2), daemon=True).start()
    session, password = c.client_id
    print('loaded', session, password.hex(), flush=True)
    while True:
        time.sleep(1)


def attach(port, session, password):
    c = KazooClient(hosts=f'127.0.0.1:{port}', timeout=TIMEOUT, client_id=(session, bytes.fromhex(password)))
    c.start(timeout=60)
    paths = [f'/{app}/{name}' for app in c.get_children('/') if app.startswith('app') for name in c.get_children('/' + app)]
    mine = [path for path in paths if '/eph-' in path and c.exists(path).ephemeralOwner == session]
    is_same = c.client_id[0] == session
    print(f'session {session:#x} {"goes on" if is_same else "is over"}, with {len(mine)} ephemerals', flush=True)
    # Not closed: its ephemerals are to stay.
    os._exit(0 if is_same and mine else 1)


def read(port, file):
    c = client(port, timeout=60, auth='super:secret')
    nodes, level = {}, ['/']
    while level:
        below = []
        for at in range(0, len(level), 200):
            part = level[at:at + 200]
            asked = [(path, c.get_async(path), c.get_acls_async(path), c.get_children_async(path)) for path in part]
            for path, data, acl, children in asked:
                (data, stat), (acl, _), children = data.get(), acl.get(), children.get()
                nodes[path] = dict(data=None if data is None else base64.b64encode(data).decode(),
                                   acl=[[a.perms, a.id.scheme, a.id.id] for a in acl], stat=list(stat))
                below += [path.rstrip('/') + '/' + name for name in children]
        level = below
    c.stop()
    with open(file, 'w') as out:
        json.dump(nodes, out, sort_keys=True)
    print(summary(nodes))


def used(nodes, path):
    """What a quota's statistics must say, by what is there."""
    of = path[len(QUOTA):-len('/zookeeper_stats')]
    below = [n for p, n in nodes.items() if p == of or p.startswith(of + '/')]
    return f'count={len(below)},bytes={sum(n["stat"][8] for n in below)}'


def compare(a, b):
    """A server keeps the use of quotas without transactions and lets it drift when it replays: of that, `b` is held to the truth."""
    wrong = []
    for path in sorted(a.keys() | b.keys()):
        one, other = a.get(path), b.get(path)
        if one is None or other is None:
            wrong.append(f'{path}: only in the {"second" if one is None else "first"}: {str(one or other):.300}')
            continue
        if path.startswith(QUOTA + '/') and path.endswith('/zookeeper_stats'):
            said = base64.b64decode(other['data'] or '').decode()
            if said.split('=;')[0] != used(b, path):
                wrong.append(f'{path}: {said}, there are {used(b, path)}')
            first = base64.b64decode(one['data'] or '').decode()
            if first.split('=;')[0] != used(a, path):
                print(f'  drifted in the first: {path}: {first}, there are {used(a, path)}')
            one, other = dict(one), dict(other)
            for node in one, other:
                node['data'] = None
                node['stat'] = node['stat'][:8] + [0] + node['stat'][9:]
        wrong += [f'{path}: {key} {one[key]!r:.300} and {other[key]!r:.300}' for key in one if one[key] != other[key]]
    for line in wrong[:20]:
        print(f'  differs: {line}')
    if len(wrong) > 20:
        print(f'  and {len(wrong) - 20} more')
    return not wrong


def summary(nodes):
    owners = collections.Counter(n['stat'][7] for n in nodes.values())
    # Of a container or a TTL znode the Stat tells no owner.
    plain = owners.pop(0)
    null = sum(1 for n in nodes.values() if n['data'] is None)
    lists = len({json.dumps(n['acl']) for n in nodes.values()})
    size = sum(n['stat'][8] for n in nodes.values())
    return (f'{len(nodes)} znodes, {len(nodes) - plain} of them ephemeral of {len(owners)} sessions, {size} bytes of data, '
            f'{null} null, {lists} lists')


def main():
    step, *rest = sys.argv[1:]
    if step == 'load':
        load(int(rest[0]), rest[1], '--extended' in rest)
    elif step == 'visit':
        client(int(rest[0])).stop()
    elif step == 'attach':
        attach(int(rest[0]), int(rest[1]), rest[2])
    elif step == 'read':
        read(int(rest[0]), rest[1])
    else:
        files = []
        for name in rest:
            with open(name) as file:
                files.append(json.load(file))
        if step == 'compare':
            sys.exit(0 if compare(*files) else 1)
        print(summary(files[0]))


main()
