"""failover.py ROUNDS NAME=START,PIDFILE,PORT,PORT,PORT... : how long writes stand still when a leader is killed under load.

START is a command that takes a server's number (1..N) and starts it again; PIDFILE names the file with its process number, {} standing for the
server's. Ensembles take turns, round by round. With SIGNAL=TERM it is told to stop, and makes way. Writers, each on a connection of its own, set a znode of their own one write after another; a prober tries the survivors over
and over with new sessions, 10 ms apart, from the kill on. Told, in ms: from the kill to the first write done by the prober, and by any writer.
Ends with a line of JSON. Raw protocol, nothing but Python's own library.
"""
import json
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

WRITERS = 16


def frame(body):
    return struct.pack(">i", len(body)) + body


def receive(sock):
    data = b""
    while len(data) < 4:
        piece = sock.recv(4 - len(data))
        if not piece:
            raise OSError("closed")
        data += piece
    (length,) = struct.unpack(">i", data)
    body = b""
    while len(body) < length:
        piece = sock.recv(length - len(body))
        if not piece:
            raise OSError("closed")
        body += piece
    return body


def connect(port, timeout=0.5):
    sock = socket.create_connection(("127.0.0.1", port), timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(timeout)
    sock.sendall(frame(struct.pack(">iqiqi16s?", 0, 0, 10000, 0, 16, b"\0" * 16, False)))
    reply = receive(sock)
    if struct.unpack(">i", reply[4:8])[0] <= 0:
        raise OSError("no session")
    return sock


def text(value):
    return struct.pack(">i", len(value)) + value.encode()


def call(sock, op, body):
    sock.sendall(frame(struct.pack(">ii", 1, op) + body))
    while True:
        reply = receive(sock)
        xid, _, err = struct.unpack(">iqi", reply[:16])
        if xid == 1:
            return err


def create(sock, path):
    return call(sock, 1, text(path) + text("x") + struct.pack(">i", 1) + struct.pack(">i", 31) + text("world") + text("anyone") + struct.pack(">i", 0))


def put(sock, path, value):
    return call(sock, 5, text(path) + text(value) + struct.pack(">i", -1))


def mode(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5) as sock:
            sock.settimeout(1)
            sock.sendall(b"srvr")
            said = b""
            while piece := sock.recv(4096):
                said += piece
        return next((line.split()[1] for line in said.decode().splitlines() if line.startswith("Mode:")), None)
    except OSError:
        return None


class Writers:
    def __init__(self, ports):
        self.ports, self.done, self.stopping = ports, [], False
        self.threads = [threading.Thread(target=self.write, args=(i,), daemon=True) for i in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def write(self, i):
        at = i
        while not self.stopping:
            try:
                sock = connect(self.ports[at % len(self.ports)])
                create(sock, f"/w{i}")
                while not self.stopping:
                    if put(sock, f"/w{i}", "v" * 100) == 0:
                        self.done.append(time.monotonic())
            except OSError:
                at += 1
                time.sleep(0.01)

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(2)


class Ensemble:
    def __init__(self, said):
        self.name, _, rest = said.partition("=")
        self.start, self.pid_file, *ports = rest.split(",")
        self.ports = [int(port) for port in ports]
        self.probed, self.written = [], []

    def run(self, command, number):
        subprocess.run([*command.split(), str(number)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def whole(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            modes = [mode(port) for port in self.ports]
            if modes.count("leader") == 1 and modes.count("follower") == len(modes) - 1:
                return modes.index("leader")
            time.sleep(0.1)
        raise SystemExit(f"{self.name} is not whole: {modes}")

    def round(self):
        leader = self.whole()
        writers = Writers(self.ports)
        time.sleep(2)
        with open(self.pid_file.replace("{}", str(leader + 1))) as file:
            victim = int(file.read())
        killed = time.monotonic()
        os.kill(victim, getattr(signal, "SIG" + os.environ.get("SIGNAL", "KILL")))
        survivors = [port for i, port in enumerate(self.ports) if i != leader]
        at = 0
        while True:
            try:
                with connect(survivors[at % len(survivors)]) as sock:
                    if create(sock, "/probe") in (0, -110):
                        break
            except OSError:
                pass
            at += 1
            time.sleep(0.01)
            if time.monotonic() - killed > 60:
                raise SystemExit(f"{self.name}: no write was done within 60 s")
        probed = time.monotonic() - killed
        time.sleep(1)
        # A write that was on its way when the leader died may still have been answered just before.
        after = [done for done in writers.done if done > killed + 0.05]
        writers.stop()
        self.probed.append(round(probed * 1000, 1))
        self.written.append(round((min(after) - killed) * 1000, 1) if after else None)
        while os.path.exists(f"/proc/{victim}"):
            time.sleep(0.05)
        self.run(self.start, leader + 1)
        print(f"{self.name}: leader {leader + 1} killed: a new session wrote after {self.probed[-1]} ms, a writer after {self.written[-1]} ms", flush=True)


def main():
    rounds, ensembles = int(sys.argv[1]), [Ensemble(said) for said in sys.argv[2:]]
    for _ in range(rounds):
        for ensemble in ensembles:
            ensemble.round()
    told = {
        each.name: {"probe_ms": each.probed, "writer_ms": each.written, "probe_median_ms": statistics.median(each.probed)} for each in ensembles
    }
    print(json.dumps(told))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
