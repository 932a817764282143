"""mixed.py load SECONDS PORT... | walk PORT...: what scripts/mixed.sh asks of an ensemble of both kinds of server.

load: writers, two at each port, create, set, delete, change lists, open and close sessions, in multis too, for so many seconds; servers may come and go
meanwhile. The last line says how many operations were answered. walk: every znode at each port, with its data, list and Stat, as a number and a hash,
a line a port; ends badly where two differ. /zookeeper/config is left out: each server tells it in its own words. Needs kazoo 2.11.
"""
import hashlib
import logging
import random
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError, NotEmptyError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import make_acl

logging.basicConfig(level=logging.CRITICAL)
REFUSED = (NodeExistsError, NoNodeError, NotEmptyError)


def connect(port, timeout):
    zk = KazooClient(hosts=f"127.0.0.1:{port}", timeout=timeout, connection_retry={"max_tries": 0})
    try:
        zk.start(timeout=timeout)
    except BaseException:
        leave(zk)
        raise
    return zk


def leave(zk):
    try:
        zk.stop()
        zk.close()
    except Exception:
        pass


def ask(zk, dice, below):
    """One request on its way."""
    path = f"{below}/n{dice.randrange(60)}"
    under = f"{path}/c{dice.randrange(3)}"
    kind = dice.random()
    if kind < 0.3:
        return zk.create_async(path, b"x" * dice.randrange(300))
    if kind < 0.4:
        return zk.create_async(under, b"c", ephemeral=dice.random() < 0.2)
    if kind < 0.6:
        return zk.set_async(path, b"y" * dice.randrange(300))
    if kind < 0.65:
        return zk.set_acls_async(path, [make_acl("world", "anyone", read=True, write=True, create=True, delete=True, admin=True),
                                        make_acl("digest", f"user{dice.randrange(10**6)}:x", read=True)])
    if kind < 0.75:
        return zk.create_async(f"{below}/s-", b"", sequence=True, ephemeral=dice.random() < 0.3)
    if kind < 0.8:
        multi = zk.transaction()
        multi.create(path, b"m")
        multi.set_data(path, b"mm")
        multi.delete(under)
        return multi.commit_async()
    return zk.delete_async(under if kind < 0.87 else path)


def writer(number, port, until, counts):
    dice, zk, below = random.Random(number), None, f"/w{number}"
    while time.time() < until:
        try:
            if zk is None:
                zk = connect(port, 6)
                zk.ensure_path(below)
            for answer in [ask(zk, dice, below) for _ in range(10)]:
                try:
                    answer.get(timeout=5)
                except REFUSED:
                    pass
                counts[number] += 1
            if dice.random() < 0.02:
                leave(zk)
                zk = None
        except (KazooException, KazooTimeoutError, OSError):
            leave(zk)
            zk = None
            time.sleep(0.2)
    if zk is not None:
        leave(zk)


def load(seconds, ports):
    until, counts = time.time() + seconds, [0] * (2 * len(ports))
    writers = [threading.Thread(target=writer, args=(n, ports[n // 2], until, counts)) for n in range(len(counts))]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    print(sum(counts))


def walk(port):
    zk = connect(port, 15)
    zk.sync("/")
    digest, count, rest = hashlib.sha256(), 0, ["/"]
    while rest:
        path = rest.pop()
        if path == "/zookeeper/config":
            continue
        data, stat = zk.get(path)
        lists = sorted(str(acl) for acl in zk.get_acls(path)[0])
        digest.update(repr((path, data, tuple(stat), lists)).encode())
        count += 1
        rest.extend(path.rstrip("/") + "/" + name for name in sorted(zk.get_children(path)))
    leave(zk)
    return count, digest.hexdigest()[:16]


def main():
    if sys.argv[1] == "load":
        load(float(sys.argv[2]), sys.argv[3:])
        return 0
    found = [walk(port) for port in sys.argv[2:]]
    for port, (count, digest) in zip(sys.argv[2:], found):
        print(f"{port}: {count} znodes {digest}")
    return 0 if len(set(found)) == 1 else 1


sys.exit(main())
