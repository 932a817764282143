"""Watches that stay: python watches.py HOST:PORT CONNECTIONS PATHS shared|own. Each connection leaves a watch on so many paths, the same for
all or its own, where nothing is. Then it prints 'N watches' and holds them until its standard input ends."""

import select
import socket
import struct
import sys

HOST, PORT = sys.argv[1].rsplit(":", 1)
CONNECTIONS, PATHS, OWN = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "own"
BATCH = 500
EXISTS = 3


def exactly(link, count):
    parts = b""
    while len(parts) < count:
        some = link.recv(count - len(parts))
        if not some:
            sys.exit("the server has closed the connection")
        parts += some
    return parts


def packet(link):
    return exactly(link, struct.unpack(">i", exactly(link, 4))[0])


def connect():
    link = socket.create_connection((HOST, int(PORT)))
    body = struct.pack(">iqiqi", 0, 0, 40000, 0, 16) + bytes(16)
    link.sendall(struct.pack(">i", len(body)) + body)
    packet(link)
    return link


def watch(link, number):
    for start in range(0, PATHS, BATCH):
        some = range(start, min(start + BATCH, PATHS))
        out = b""
        for at in some:
            path = f"/watched/of-{number if OWN else 0:04}/znode-{at:08}".encode()
            body = struct.pack(">iii", at + 1, EXISTS, len(path)) + path + b"\1"
            out += struct.pack(">i", len(body)) + body
        link.sendall(out)
        for _ in some:
            packet(link)


def ping(links):
    for link in links:
        link.sendall(struct.pack(">iii", 8, -2, 11))
    for link in links:
        packet(link)


links = []
for number in range(CONNECTIONS):
    links.append(connect())
    watch(links[-1], number)
    ping(links)
print(f"{CONNECTIONS * PATHS} watches", flush=True)
while not select.select([sys.stdin], [], [], 5)[0]:
    ping(links)
