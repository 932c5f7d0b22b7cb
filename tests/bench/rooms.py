"""Rooms: prints Markdown, asserts nothing but that nothing is lost.

python -m tests.bench.rooms [--seconds 5] [--repeat 3]

The server runs on one core; the load on another, and Redis beside it. *Joins*: 400 clients that are
connected join 100 rooms of 4 at once; it ends when each was told `joined_room` and of whoever came
later. *Relays*: in each room 4 offers of 1 KiB are on their way; who gets one sends one to the
next. *Latency*: 200 offers in a second, one after another, from sending one until it is read.
"""

import argparse
import json
import os
import selectors
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.rig.raw import TEXT, frame, handshake

from . import report
from .__main__ import choose_cores
from .measuring import SETTLE_SECONDS, Cores
from .processes import Failed, Process, free_port, running
from .redis_server import RedisServer
from .rpc import clocks
from .servers import ROOT, Broadcast

ROOMS, PEERS = 100, 4
SDP = "x" * 1000
#: Relays per second, where it is measured how long each takes.
RATE = 200
WARMUP_SECONDS = 1.0
PING, PONG = 9, 10


class Peer:
    """A client of a room, by hand: a client library is slower than the server."""

    def __init__(self, port: int, room: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(10)
        self.socket.sendall(handshake("/ws/signaling/"))
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.socket.recv(65536)
        self.buffer = self.buffer.partition(b"\r\n\r\n")[2]
        self.room = room
        self.id = ""
        self.known: set[str] = set()
        #: An offer to the next one in the room, as a frame, and that one.
        self.offer = b""
        self.next = self

    def say(self, **message: Any) -> None:
        self.socket.sendall(frame(TEXT, json.dumps(message).encode()))

    def hear(self) -> list[bytes]:
        """The messages that came by now, of which there is something to read."""
        self.buffer += self.socket.recv(65536)
        found = []
        at = 0
        while len(self.buffer) >= at + 4:
            length, start = self.buffer[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(self.buffer[at + 2 : at + 4], "big"), at + 4
            if len(self.buffer) < start + length:
                break
            payload = self.buffer[start : start + length]
            if self.buffer[at] & 15 == PING:
                self.socket.sendall(frame(PONG, payload))
            else:
                found.append(payload)
            at = start + length
        self.buffer = self.buffer[at:]
        return found

    def note(self, text: bytes) -> None:
        """What it is told while all come."""
        said = json.loads(text)
        if said["event"] == "joined_room":
            self.id = said["own_id"]
            self.known |= {one["peer_id"] for one in said["peers"]}
        elif said["event"] == "new_peer":
            self.known.add(said["peer_id"])
        else:
            raise Failed(f"it was told {said}")


class Figures(NamedTuple):
    joins: float
    relays: float
    #: CPU of the server per relay, its share of its core, what others took; milliseconds.
    microseconds: float
    server: float
    others: float
    p50: float
    p99: float


@contextmanager
def started(cores: Cores, on_redis: bool) -> Iterator[tuple[Process, int]]:
    """A fresh server, and its port. Its Redis runs beside the load."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="broadcast-")))
        redis = stack.enter_context(RedisServer(directory, cores.load)) if on_redis else None
        server = Broadcast(directory)
        server.prepare()
        port = free_port()
        process = stack.enter_context(
            running(
                server.command(port),
                cores=cores.server,
                directory=ROOT,
                environment=server.environment(redis.port if redis else None),
                log=directory / "log",
            )
        )
        process.wait_until_accepting(port)
        time.sleep(SETTLE_SECONDS)
        yield process, port


def measure(cores: Cores, seconds: float, on_redis: bool) -> Figures:
    with started(cores, on_redis) as (process, port), selectors.DefaultSelector() as selector:
        peers = [Peer(port, room) for _ in range(PEERS) for room in range(ROOMS)]
        for peer in peers:
            selector.register(peer.socket, selectors.EVENT_READ, peer)
        joins = measure_joins(selector, peers)
        address(peers)
        latencies = measure_latency(peers, seconds)
        relays = measure_relays(selector, peers, process, cores, seconds)
        for peer in peers:
            peer.socket.close()
    p99 = statistics.quantiles(latencies, n=100)[98]
    return Figures(joins, *relays, statistics.median(latencies), p99)


def heard(selector: selectors.BaseSelector) -> Iterator[tuple[Peer, list[bytes]]]:
    """Who is told something next, and what. Failed: nobody is for long."""
    ready = selector.select(10)
    if not ready:
        raise Failed("something was lost")
    for key, _ in ready:
        yield key.data, key.data.hear()


def measure_joins(selector: selectors.BaseSelector, peers: list[Peer]) -> float:
    """Joins per second, of all at once."""
    started = time.monotonic()
    for peer in peers:
        peer.say(event="join_room", room_id=f"room {peer.room}")
    missing = len(peers) * PEERS
    while missing:
        for peer, messages in heard(selector):
            before = len(peer.known) + bool(peer.id)
            for text in messages:
                peer.note(text)
            missing -= len(peer.known) + bool(peer.id) - before
    return len(peers) / (time.monotonic() - started)


def address(peers: list[Peer]) -> None:
    """Each sends its offers to the next one of its room."""
    rooms: dict[int, list[Peer]] = {}
    for peer in peers:
        rooms.setdefault(peer.room, []).append(peer)
    for room in rooms.values():
        for peer, other in zip(room, room[1:] + room[:1], strict=True):
            if other.id not in peer.known:
                raise Failed("they do not know each other")
            data = {"event": "offer", "sdp": SDP}
            said = {"event": "send_to_peer", "peer_id": other.id, "data": data}
            peer.next = other
            peer.offer = frame(TEXT, json.dumps(said).encode())


def measure_latency(peers: list[Peer], seconds: float) -> list[float]:
    """Milliseconds that each relay took."""
    found = []
    for number in range(round(seconds * RATE)):
        peer = peers[number % len(peers)]
        started = time.perf_counter()
        peer.socket.sendall(peer.offer)
        while not peer.next.hear():
            pass
        found.append((time.perf_counter() - started) * 1000)
        time.sleep(1 / RATE)
    return found


def measure_relays(
    selector: selectors.BaseSelector,
    peers: list[Peer],
    process: Process,
    cores: Cores,
    seconds: float,
) -> tuple[float, float, float, float]:
    """Relays per second, CPU of the server for each in µs, its share of its core, and of others."""
    for peer in peers:
        peer.socket.sendall(peer.offer)
    relay(selector, WARMUP_SECONDS)
    before = clocks(process, cores)
    count = relay(selector, seconds)
    elapsed, server, own, busy = (
        after - first for after, first in zip(clocks(process, cores), before, strict=True)
    )
    others = max(busy - server - own, 0) / elapsed
    return count / elapsed, server / count * 1e6, server / elapsed, others


def relay(selector: selectors.BaseSelector, seconds: float) -> int:
    """Who gets an offer sends one; so many came."""
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        for peer, messages in heard(selector):
            for text in messages:
                if not text.startswith(b'{"event":"offer"'):
                    raise Failed(f"it was told {text[:100]!r}")
            peer.socket.sendall(peer.offer * len(messages))
            count += len(messages)
    return count


def show(title: str, found: list[Figures]) -> None:
    median = sorted(found, key=lambda one: one.relays)[len(found) // 2]
    relays = sorted(one.relays for one in found)
    print(
        f"| {title} | {statistics.median(one.joins for one in found):,.0f} "
        f"| {median.relays:,.0f} | {relays[0]:,.0f} – {relays[-1]:,.0f} "
        f"| {median.microseconds:.0f} | {median.server:.0%} "
        f"| {max(one.others for one in found):.0%} "
        f"| {statistics.median(one.p50 for one in found):.1f} "
        f"| {statistics.median(one.p99 for one in found):.1f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each")
    arguments = parser.parse_args()
    cores = choose_cores(shared=False)
    os.sched_setaffinity(0, cores.load)
    print(f"{report.machine(cores)}\n")
    print(
        f"| {ROOMS} rooms of {PEERS} | joins/s | relays/s | of all runs | CPU µs | server | others "
        "| p50 ms | p99 ms |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for title, on_redis in (("in memory", False), ("on Redis", True)):
        runs = range(arguments.repeat)
        show(title, [measure(cores, arguments.seconds, on_redis) for _ in runs])


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"tests.bench.rooms: {failure}")
