"""What compression saves, and what it costs. Prints Markdown, asserts nothing.

python -m tests.bench.compression [--seconds 10] [--listeners 300] [--rate 100]

The server runs on one core, the load on another. A program publishes `--rate` messages per second:
prices, the state of a match, lines of a chat. All listeners offer `permessage-deflate`, or none
does, in turn. Counted are the bytes that each listener reads, frames included, and the server's
processor time: what it differs by is less than the writes to 300 sockets vary by. So the time to
deflate a message is also measured by itself. One listener more inflates everything, and is held to
each message.
"""

import argparse
import json
import random
import selectors
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from websockets.sync.client import connect

from broadcast.publications import Draft, Publication
from broadcast.wire.deflate import Context
from broadcast.wire.frames import PLAIN_FRAMES
from tests.rig.publications import published

from .__main__ import choose_cores, raise_file_limit
from .measuring import Cores
from .processes import Failed, Process, free_port, running
from .servers import ROOT, Broadcast

OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
WARMUP_SECONDS = 2.0
TEXT = (
    "the of to and a in is it you that he was for on are with as his they at be this have from or "
    "one had by word but not what all were we when your can said there use an each which she do "
    "how their if will up other about out many then them these so some her would make like him "
    "into time has look two more write go see number no way could people my than first water been"
)


def prices(numbers: random.Random) -> Iterator[Any]:
    """Six shares, whose prices move a little: 130 bytes each."""
    last = {name: 100 + numbers.random() * 100 for name in ("ACME", "GLOB", "INIT", "HOOL", "STRK")}
    while True:
        name = numbers.choice(list(last))
        last[name] += numbers.gauss(0, 0.1)
        yield {
            "symbol": name,
            "bid": round(last[name] - 0.01, 4),
            "ask": round(last[name] + 0.01, 4),
            "last": round(last[name], 4),
            "volume": numbers.randrange(100, 9000),
            "time": 1_764_500_000 + round(numbers.random() * 1000, 3),
            "venue": "XNAS",
        }


def match(numbers: random.Random) -> Iterator[Any]:
    """Two teams of five players, of whom some have moved: 750 bytes."""
    players = [
        {"id": number, "x": 0.0, "y": 0.0, "stamina": 100, "name": f"Player {number}"}
        for number in range(10)
    ]
    for clock in range(1 << 30):
        for player in numbers.sample(players, 3):
            player["x"] = round(numbers.random() * 100, 2)
            player["y"] = round(numbers.random() * 60, 2)
        yield {"clock": clock, "score": [clock // 900, clock // 1700], "players": players}


def chat(numbers: random.Random) -> Iterator[Any]:
    """Sixteen words by one of four people: 120 bytes."""
    words = TEXT.split()
    while True:
        yield {
            "user": numbers.choice(["Ada", "Grace", "Edsger", "Barbara"]),
            "text": " ".join(numbers.choices(words, k=16)),
            "at": 1_764_500_000 + round(numbers.random() * 1000, 3),
        }


KINDS: dict[str, Callable[[random.Random], Iterator[Any]]] = {
    "prices": prices,
    "state of a match": match,
    "chat": chat,
}


def alone(kind: str, number: int = 3000) -> float:
    """Seconds of processor time to make the frame of a message, deflated, less those as it is."""
    messages = KINDS[kind](random.Random(7))
    drafts = [Draft.of(json.dumps(next(messages))) for _ in range(number)]
    publications = published(drafts)

    def seconds(make: Callable[[list[Publication]], bytes]) -> float:
        started = time.process_time()
        for one in publications:
            make([one])
        return time.process_time() - started

    context = Context(PLAIN_FRAMES.each)
    return (seconds(context.frames) - seconds(PLAIN_FRAMES.publications)) / number


class Figures(NamedTuple):
    """Of one publication: bytes as it was published, bytes a listener reads, and seconds."""

    size: float
    read: float
    cpu: float


class Listeners(threading.Thread):
    """Sockets that count the bytes that come."""

    def __init__(self, port: int, number: int, offers: bool) -> None:
        super().__init__(daemon=True)
        self.selector = selectors.DefaultSelector()
        self.bytes = 0
        self.stopped = False
        for _ in range(number):
            self.selector.register(open_listener(port, offers), selectors.EVENT_READ)

    def run(self) -> None:
        while not self.stopped:
            for key, _ in self.selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                self.bytes += len(key.fileobj.recv(1 << 16))

    def stop(self) -> None:
        self.stopped = True
        self.join()
        for key in list(self.selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()


def open_listener(port: int, offers: bool) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    request = (
        f"GET /ws/listener/bench/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{OFFER if offers else ''}\r\n"
    )
    connection.sendall(request.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connection.recv(1)
        if not answer.startswith(b"HTTP/1.1 101"[: len(answer)]):
            raise Failed("a listener was refused")
    if (b"permessage-deflate" in answer) != offers:
        raise Failed("compression was not agreed on as it was offered")
    return connection


class Checker(threading.Thread):
    """A listener that inflates, and keeps what it hears."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.client = connect(url, proxy=None, max_size=None)
        self.heard: list[str] = []

    def run(self) -> None:
        for message in self.client:
            assert isinstance(message, str)
            self.heard.append(message)


def measure(
    process: Process, port: int, kind: str, offers: bool, options: argparse.Namespace
) -> Figures:
    said: list[str] = []
    messages = KINDS[kind](random.Random(7))
    with ExitStack() as stack:
        listeners = Listeners(port, options.listeners, offers)
        listeners.start()
        stack.callback(listeners.stop)
        checker = Checker(f"ws://127.0.0.1:{port}/ws/listener/bench/")
        checker.start()
        stack.callback(checker.client.close)
        streamer = stack.enter_context(
            connect(f"ws://127.0.0.1:{port}/ws/streamer/bench/", compression=None, proxy=None)
        )

        def publish(seconds: float) -> int:
            until, next_at, number = time.monotonic() + seconds, time.monotonic(), 0
            while time.monotonic() < until:
                said.append(json.dumps(next(messages)))
                streamer.send(said[-1])
                number += 1
                next_at += 1 / options.rate
                time.sleep(max(next_at - time.monotonic(), 0))
            return number

        publish(WARMUP_SECONDS)
        wait_for(checker, said)
        before, cpu, start = listeners.bytes, process.cpu_seconds(), len(said)
        number = publish(options.seconds)
        wait_for(checker, said)
        time.sleep(0.5)
        size = sum(map(len, said[start:])) / number
        read = (listeners.bytes - before) / number / options.listeners
        return Figures(size, read, (process.cpu_seconds() - cpu) / number)


def wait_for(checker: Checker, said: list[str]) -> None:
    until = time.monotonic() + 30
    while len(checker.heard) < len(said):
        if time.monotonic() > until:
            raise Failed("a listener did not hear everything")
        time.sleep(0.05)
    if checker.heard != said:
        raise Failed("a listener heard something else than was said")


def run(options: argparse.Namespace, cores: Cores, directory: Path) -> None:
    broadcast = Broadcast(directory)
    broadcast.prepare()
    print("| what | bytes | read, plain | deflated | of them | CPU per publication | to deflate |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for kind in KINDS:
        figures = []
        for offers in (False, True):
            port = free_port()
            with running(
                broadcast.command(port),
                cores=cores.server,
                directory=ROOT,
                environment=broadcast.environment(),
                log=directory / "log",
            ) as process:
                process.wait_until_accepting(port)
                print(f"{kind}, {'deflated' if offers else 'plain'} …", file=sys.stderr)
                figures.append(measure(process, port, kind, offers, options))
        plain, deflated = figures
        cpu = f"{plain.cpu * 1e6:.0f} µs, {deflated.cpu * 1e6:.0f} µs deflated"
        print(
            f"| {kind} | {plain.size:.0f} | {plain.read:.1f} | {deflated.read:.1f} "
            f"| {deflated.read / plain.read:.0%} | {cpu} | {alone(kind) * 1e6:.1f} µs |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--listeners", type=int, default=300)
    parser.add_argument("--rate", type=float, default=100.0)
    options = parser.parse_args()
    raise_file_limit()
    cores = choose_cores(shared=False)
    with tempfile.TemporaryDirectory() as directory:
        run(options, cores, Path(directory))


if __name__ == "__main__":
    main()
