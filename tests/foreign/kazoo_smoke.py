"""A smoke test by kazoo, the Python client: python kazoo_smoke.py HOST:PORT. Ends with 'N passed, M failed'."""

import sys
import threading
import traceback
import uuid

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, NoNodeError, NodeExistsError, NotEmptyError, RolledBackError
from kazoo.recipe.election import Election
from kazoo.security import make_digest_acl

SERVER = sys.argv[1]
ROOT = f"/smoke-{uuid.uuid4().hex[:8]}"
WAIT = 10


def client(**options):
    zk = KazooClient(hosts=SERVER, timeout=6, **options)
    zk.start(timeout=WAIT)
    return zk


def gone(zk):
    zk.stop()
    zk.close()


def refused(error, call, *args, **options):
    try:
        call(*args, **options)
    except error:
        return
    raise AssertionError(f"{call.__name__} was not refused with {error.__name__}")


def test_create_get_set_delete(zk):
    path = f"{ROOT}/basic"
    assert zk.create(path, b"one") == path
    data, stat = zk.get(path)
    assert (data, stat.version, stat.data_length) == (b"one", 0, 3)
    assert zk.set(path, b"two", version=0).version == 1
    refused(BadVersionError, zk.set, path, b"three", version=0)
    refused(NodeExistsError, zk.create, path)
    refused(NoNodeError, zk.get, f"{path}/none")
    zk.create(f"{path}/child")
    refused(NotEmptyError, zk.delete, path)
    assert zk.get_children(path) == ["child"]
    zk.delete(path, recursive=True)
    assert zk.exists(path) is None


def test_empty_and_large_data(zk):
    path = f"{ROOT}/data"
    zk.create(path, b"")
    assert zk.get(path)[0] == b""
    large = bytes(range(256)) * 3500
    zk.set(path, large)
    assert zk.get(path)[0] == large


def test_sequence(zk):
    names = [zk.create(f"{ROOT}/seq/n-", sequence=True, makepath=True) for _ in range(5)]
    assert [int(name[-10:]) for name in names] == list(range(5))


def test_watches(zk):
    path = f"{ROOT}/watched"
    events, done = [], threading.Event()

    def saw(event):
        events.append((event.type, event.path))
        if len(events) == 4:
            done.set()

    assert zk.exists(path, watch=saw) is None
    zk.create(path, b"a")
    zk.get(path, watch=saw)
    zk.set(path, b"b")
    zk.get_children(path, watch=saw)
    zk.create(f"{path}/c")
    zk.delete(f"{path}/c")
    zk.exists(path, watch=saw)
    zk.delete(path)
    assert done.wait(WAIT), events
    assert events == [
        ("CREATED", path),
        ("CHANGED", path),
        ("CHILD", path),
        ("DELETED", path),
    ], events


def test_data_watch_follows(zk):
    path = f"{ROOT}/followed"
    zk.create(path, b"0")
    seen, done = [], threading.Event()

    @zk.DataWatch(path)
    def saw(data, _stat):
        seen.append(data)
        if data == b"5":
            done.set()

    for value in range(1, 6):
        zk.set(path, str(value).encode())
    assert done.wait(WAIT), seen
    assert seen == sorted(seen), seen


def test_ephemerals_go_with_their_session(zk):
    other = client()
    path = f"{ROOT}/ephemeral"
    other.create(path, ephemeral=True)
    _, stat = zk.get(path)
    assert stat.owner_session_id == other.client_id[0]
    left = threading.Event()
    zk.exists(path, watch=lambda _event: left.set())
    gone(other)
    assert left.wait(WAIT)
    assert zk.exists(path) is None


def test_transaction(zk):
    path = f"{ROOT}/multi"
    zk.create(path, b"x")
    good = zk.transaction()
    good.check(path, 0)
    good.create(f"{path}/a", b"1")
    good.set_data(path, b"y")
    results = good.commit()
    assert results[0] is True and results[1] == f"{path}/a" and results[2].version == 1, results
    bad = zk.transaction()
    bad.delete(f"{path}/a")
    bad.check(path, 0)
    bad.create(f"{path}/b")
    results = bad.commit()
    assert isinstance(results[0], RolledBackError) and isinstance(results[1], BadVersionError), results
    assert zk.get_children(path) == ["a"]


def test_digest_acl(zk):
    path = f"{ROOT}/secret"
    zk.create(path, b"s", acl=[make_digest_acl("u", "p", all=True)])
    try:
        zk.get(path)
    except Exception as error:
        assert type(error).__name__ == "NoAuthError", error
    else:
        raise AssertionError("a stranger has read it")
    friend = client(auth_data=[("digest", "u:p")])
    assert friend.get(path)[0] == b"s"
    assert friend.get_acls(path)[0][0].id.scheme == "digest"
    friend.delete(path)
    gone(friend)


def test_lock(zk):
    other = client()
    inside, order = [], []

    def work(who, name):
        for _ in range(5):
            with who.Lock(f"{ROOT}/lock", name):
                inside.append(name)
                assert len(inside) == 1, inside
                order.append(name)
                inside.pop()

    threads = [threading.Thread(target=work, args=args) for args in ((zk, "one"), (other, "two"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * WAIT)
    gone(other)
    assert sorted(order) == ["one"] * 5 + ["two"] * 5, order


def test_election(zk):
    other = client()
    leaders = []
    for who, name in ((zk, "one"), (other, "two")):
        Election(who, f"{ROOT}/election", name).run(leaders.append, name)
    gone(other)
    assert leaders == ["one", "two"], leaders


def test_pipeline(zk):
    path = f"{ROOT}/pipeline"
    zk.create(path)
    made = [zk.create_async(f"{path}/n{at:04}", str(at).encode()) for at in range(1000)]
    read = [zk.get_async(f"{path}/n{at:04}") for at in range(1000)]
    assert all(result.get(timeout=WAIT) for result in made)
    assert [int(result.get(timeout=WAIT)[0]) for result in read] == list(range(1000))
    assert len(zk.get_children(path)) == 1000


def test_reconnection_keeps_the_session(zk):
    other = client()
    path = f"{ROOT}/reconnect"
    other.create(path, ephemeral=True)
    session = other.client_id
    dropped, back = threading.Event(), threading.Event()
    states = {"SUSPENDED": dropped, "CONNECTED": back}
    other.add_listener(lambda state: states[state].set() if state in states else None)
    # The socket is cut as a network would cut it.
    other._connection._socket.shutdown(2)
    assert dropped.wait(WAIT)
    assert back.wait(WAIT)
    assert other.client_id == session
    _, stat = zk.get(path)
    assert stat.owner_session_id == session[0]
    gone(other)
    assert zk.exists(path) is None


def main():
    passed = failed = 0
    zk = client()
    zk.create(ROOT)
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            test(zk)
            passed += 1
            print(f"{name}: ok")
        except Exception:
            failed += 1
            print(f"{name}: FAILED")
            traceback.print_exc()
    zk.delete(ROOT, recursive=True)
    gone(zk)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
