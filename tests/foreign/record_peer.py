"""Records the talk of a real ensemble: python record_peer.py DIRECTORY CLASSPATH BASEPORT OUT. Started by scripts/record-peer.sh.

Three servers are up when it begins. It plays an extra server on the election port, takes one follower down and plays that one too,
on both ports; then it starts the follower again behind a proxy, three times, and keeps what the real learner and the real leader say.
"""

import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, SessionExpiredError
from kazoo.security import make_acl, make_digest_acl

TOP, CLASSES, BASE, OUT = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), pathlib.Path(sys.argv[4])
SERVERS = (1, 2, 3)
HOST = "127.0.0.1"
SIGNATURE = b"\0\0\0\x0aBenWasHere"
# Types of packets.
ACK, PING, NEWLEADER, FOLLOWERINFO, UPTODATE, TRUNC, LEADERINFO, ACKEPOCH = 3, 5, 10, 11, 12, 14, 17, 18


def client_port(sid):
    return BASE + sid


def quorum_port(sid):
    return BASE + 100 + sid


def election_port(sid):
    return BASE + 200 + sid


def keep(name, data):
    (OUT / f"{name}.bin").write_bytes(data)
    print(f"{name}: {len(data)} bytes")


def mode(sid):
    try:
        with socket.create_connection((HOST, client_port(sid)), timeout=2) as s:
            s.sendall(b"srvr")
            text = b""
            while chunk := s.recv(65536):
                text += chunk
    except OSError:
        return None
    return next((line[6:] for line in text.decode().splitlines() if line.startswith("Mode: ")), None)


def until(what, holds, seconds=30):
    end = time.time() + seconds
    while not holds():
        if time.time() > end:
            sys.exit(f"in vain: {what}")
        time.sleep(0.1)


def client(sid, **options):
    zk = KazooClient(hosts=f"{HOST}:{client_port(sid)}", timeout=10, **options)
    zk.start(timeout=15)
    return zk


def gone(zk):
    zk.stop()
    zk.close()


def abandoned(sid):
    """A session whose connection is gone: its number and password."""
    with socket.create_connection((HOST, client_port(sid)), timeout=10) as s:
        body = struct.pack("!iqiqi", 0, 0, 10_000, 0, 16) + bytes(16)
        s.sendall(struct.pack("!i", len(body)) + body)
        answer = b""
        while len(answer) < 40:
            answer += s.recv(4096)
    _, _, _, number, length = struct.unpack_from("!iiiqi", answer)
    return number, answer[24 : 24 + length]


# The election port.

CONFIG = "".join(f"server.{n}={HOST}:{quorum_port(n)}:{election_port(n)}:participant\n" for n in SERVERS) + "version=0"


def preamble(sid):
    address = f"{HOST}:{election_port(sid)}".encode()
    return struct.pack("!qqi", -65536, sid, len(address)) + address


def looking(sid):
    config = CONFIG.encode()
    body = struct.pack("!iqqqqii", 0, sid, 0, 1, 0, 2, len(config)) + config
    return struct.pack("!i", len(body)) + body


def listen(seconds, s):
    """All that comes in so many seconds."""
    came = b""
    end = time.time() + seconds
    while (left := end - time.time()) > 0:
        s.settimeout(left)
        try:
            chunk = s.recv(65536)
        except TimeoutError:
            break
        if not chunk:
            break
        came += chunk
    return came


def election_as_caller(own, other):
    """A server with a larger number calls: its connection stays."""
    with socket.create_connection((HOST, election_port(other))) as s:
        said = preamble(own) + looking(own)
        s.sendall(preamble(own))
        s.sendall(looking(own))
        came = listen(1.5, s)
    keep(f"election-{own}-calls-{mode(other)}.said", said)
    keep(f"election-{own}-calls-{mode(other)}.came", came)


def election_as_called(own, other):
    """A server with a smaller number calls, and is called back."""
    with socket.create_server((HOST, election_port(own))) as door:
        door.settimeout(10)
        with socket.create_connection((HOST, election_port(other))) as s:
            s.sendall(preamble(own))
            back, _ = door.accept()
            hung_up = listen(1, s)
        with back:
            back.sendall(looking(own))
            came = listen(1.5, back)
    assert hung_up == b"", hung_up
    keep(f"election-{own}-called-back-by-{mode(other)}.said", looking(own))
    keep(f"election-{own}-called-back-by-{mode(other)}.came", came)


# The quorum port, played.


def packet(kind, zxid, data=None):
    body = struct.pack("!i", -1) if data is None else struct.pack("!i", len(data)) + data
    return struct.pack("!iq", kind, zxid) + body + struct.pack("!i", -1)


class Learner:
    """A learner that keeps both directions."""

    def __init__(self, leader):
        self.s = socket.create_connection((HOST, quorum_port(leader)))
        self.s.settimeout(20)
        self.said = self.came = b""
        self.at = 0

    def say(self, kind, zxid, data=None):
        self.said += packet(kind, zxid, data)
        self.s.sendall(packet(kind, zxid, data))

    def take(self, n):
        while len(self.came) < self.at + n:
            chunk = self.s.recv(65536)
            if not chunk:
                sys.exit("the leader hung up")
            self.came += chunk
        self.at += n
        return self.came[self.at - n : self.at]

    def hear(self):
        kind, zxid, length = struct.unpack("!iqi", self.take(16))
        data = None if length == -1 else self.take(length)
        assert struct.unpack("!i", self.take(4)) == (-1,)
        return kind, zxid, data


def truncated(sid, leader, epoch):
    """A voter that has logged what nobody knows: it is told to cut its log."""
    learner = Learner(leader)
    learner.say(FOLLOWERINFO, epoch << 32, struct.pack("!qiq", sid, 0x10000, 0))
    kind, zxid, _ = learner.hear()
    assert (kind, zxid) == (LEADERINFO, epoch << 32)
    learner.say(ACKEPOCH, (epoch << 32) + 0x999, struct.pack("!i", -1))
    seen = []
    while UPTODATE not in seen:
        kind, zxid, _ = learner.hear()
        seen.append(kind)
        if kind == NEWLEADER:
            learner.say(ACK, epoch << 32)
    assert seen[0] == TRUNC, seen
    learner.say(ACK, epoch << 32)
    kind, zxid, _ = learner.hear()
    assert kind == PING, kind
    learner.say(PING, zxid, b"")
    learner.s.close()
    keep("played-trunc.to-leader", learner.said)
    keep("played-trunc.to-learner", learner.came[: learner.at])


# The quorum port, listened to.


class Proxy:
    """Stands between a learner and the quorum port of a server. Keeps both directions of the last connection."""

    def __init__(self, port, sid):
        self.sid, self.sides = sid, None
        self.door = socket.create_server((HOST, port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.door.accept()
            try:
                far = socket.create_connection((HOST, quorum_port(self.sid)))
            except OSError:
                near.close()
                continue
            self.sides = (bytearray(), bytearray())
            for source, sink, kept in ((near, far, self.sides[0]), (far, near, self.sides[1])):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.pump, args=(source, sink, kept), daemon=True).start()

    def pump(self, source, sink, kept):
        try:
            while chunk := source.recv(65536):
                kept += chunk
                sink.sendall(chunk)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Follower:
    """The real server that was taken down, started again behind proxies."""

    def __init__(self, sid, leader, observes=False):
        directory = TOP / str(sid)
        lines = []
        for line in (directory / "zoo.cfg").read_text().splitlines():
            key, _, value = line.partition("=")
            if key.startswith("server."):
                n = int(key[7:])
                port = quorum_port(n) + (200 if n != sid else 0)
                line = f"{key}={HOST}:{port}:{election_port(n)}" + (":observer" if observes and n == sid else "")
            lines.append(line)
        if observes:
            lines.append("peerType=observer")
        (directory / "proxied.cfg").write_text("\n".join(lines) + "\n")
        log4j = f"-Dlog4j2.configurationFile=file:{TOP}/log4j2.properties"
        command = ["java", "-Xmx256m", log4j, "-cp", CLASSES, "org.apache.zookeeper.server.quorum.QuorumPeerMain"]
        with open(directory / "proxied.log", "w") as log:
            self.process = subprocess.Popen(command + [directory / "proxied.cfg"], stdout=log, stderr=log)
        wanted = "observer" if observes else "follower"
        until(f"server {sid} joins", lambda: mode(sid) == wanted)

    def stop(self, name, proxy):
        time.sleep(1.5)
        self.process.kill()
        self.process.wait()
        time.sleep(0.5)
        for side, kept in zip(("to-leader", "to-learner"), proxy.sides):
            keep(f"{name}.{side}", bytes(kept))


def fill(zk, root):
    """Transactions of every kind that this client makes."""
    zk.create(root, b"")
    zk.create(root + "/data", bytes(range(256)))
    zk.create(root + "/\u00e9", "caf\u00e9".encode())
    zk.create(root + "/secret", b"s", acl=[make_digest_acl("user", "password", all=True), make_acl("ip", HOST, read=True)])
    zk.create(root + "/seq-", b"", sequence=True)
    zk.create(root + "/eph", b"e", ephemeral=True)
    zk.set(root + "/data", b"more")
    zk.set_acls(root + "/data", [make_acl("world", "anyone", all=True), make_digest_acl("user", "password", read=True)])
    both = zk.transaction()
    both.create(root + "/a", b"1")
    both.set_data(root + "/data", b"2")
    both.commit()
    neither = zk.transaction()
    neither.create(root + "/b", b"1")
    neither.delete(root + "/none")
    neither.commit()
    zk.delete(root + "/a")
    try:
        zk.delete(root + "/none")
    except KazooException:
        pass


def live(sid, leader, root):
    """What a follower and its leader have to say to each other while clients are there."""
    here, there = client(sid), client(leader)
    fill(here, root)
    fill(there, root + "-there")
    here.sync(root)
    # A session moves to the follower and is alive; another one moves there and is closed.
    session = abandoned(leader)
    again = client(sid, client_id=session)
    assert again.client_id == session
    again.create(root + "/moved", b"", ephemeral=True)
    # A follower asks its leader only where the password is right.
    closed = client(leader)
    session = closed.client_id
    gone(closed)
    stranger = KazooClient(hosts=f"{HOST}:{client_port(sid)}", timeout=10, client_id=session)
    try:
        stranger.start(timeout=15)
    except (SessionExpiredError, KazooException):
        pass
    # A tick and a half: pings with the sessions heard of in them.
    time.sleep(3)
    for zk in (again, here, there, stranger):
        gone(zk)


def main():
    until("an ensemble", lambda: sorted(filter(None, map(mode, SERVERS))) == ["follower", "follower", "leader"])
    leader = next(sid for sid in SERVERS if mode(sid) == "leader")
    sid = min(n for n in SERVERS if n != leader)
    assert sid < leader, "server 1 leads: record again"
    for old in OUT.glob("*.bin"):
        old.unlink()
    zk = client(leader)
    fill(zk, "/wire")

    election_as_caller(4, leader)
    election_as_caller(4, sid)
    os.kill(int((TOP / str(sid) / "pid").read_text()), signal.SIGKILL)
    until("the follower is gone", lambda: mode(sid) is None)
    election_as_called(sid, leader)

    epoch = zk.exists("/wire").czxid >> 32
    truncated(sid, leader, epoch)

    proxies = {n: Proxy(quorum_port(n) + 200, n) for n in SERVERS if n != sid}
    shutil.rmtree(TOP / str(sid) / "data" / "version-2")
    follower = Follower(sid, leader)
    live(sid, leader, "/live")
    follower.stop("follower-snap", proxies[leader])

    fill(zk, "/missed")
    follower = Follower(sid, leader)
    zk.set("/wire/data", b"live")
    follower.stop("follower-diff", proxies[leader])

    fill(zk, "/missed-too")
    follower = Follower(sid, leader, observes=True)
    here = client(sid)
    here.set("/wire/data", b"by way of the observer")
    here.sync("/wire")
    zk.set("/wire/data", b"live")
    gone(here)
    follower.stop("observer-diff", proxies[leader])
    gone(zk)


main()
