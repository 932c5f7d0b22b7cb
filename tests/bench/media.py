"""Live video: how many listeners one core carries. Prints Markdown, asserts nothing.

python -m tests.bench.media [--seconds 10] [--listeners 250,500,1000,2000,4000] [--rate 2]

The server runs on one core, the load on another. One streamer sends WebM of `--rate` Mbit/s, ten
frames a second, each a Cluster as Chrome makes them, each tenth with a key frame. More and more
plain listeners hear it, until the server or the load has no more to give, or they are late. Beside
it: the same bytes on a stream that the server does not look into. A sample of the listeners takes
the time from the streamer's write to their read; newcomers, one after another, that from the
beginning of their connection until they have the header and the first key frame.
"""

import argparse
import os
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.rig.films import block, cluster, webm

from . import report
from .__main__ import choose_cores, raise_file_limit
from .measuring import BUSY, SETTLE_SECONDS, Cores
from .processes import Failed, Process, busy_seconds, free_port, running
from .servers import ROOT, Broadcast

MAKE_STREAM = """
from broadcast.models import Stream
Stream.objects.create(slug="bench-media", title="Bench", kind="media", publishing="anyone")
"""
#: Frames in a second, and from one key frame to the next.
FRAMES, GROUP = 10, 10
#: Listeners that look at the time; seconds between two newcomers.
SAMPLE, JOIN_SECONDS = 20, 0.05
#: Milliseconds from which on the latest hundredth is late.
LATE = 1000.0
WARMUP_SECONDS = 2.0
HEADER = webm()
STAMP = 8


def handshake(port: int, path: str) -> socket.socket:
    """An open WebSocket; nothing behind the answer was read."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    connection.sendall(request.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connection.recv(1) or b""
        if not answer or len(answer) > 4096:
            raise Failed("a listener was refused")
    return connection


class Frames:
    """The messages of a server, out of the bytes of its frames; its pings are none."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        self.buffer += data
        while len(self.buffer) >= 2:
            width = {126: 2, 127: 8}.get(self.buffer[1], 0)
            length = int.from_bytes(self.buffer[2 : 2 + width]) if width else self.buffer[1]
            end = 2 + width + length
            if len(self.buffer) < max(end, 2 + width):
                return
            if not self.buffer[0] & 0x08:
                yield bytes(self.buffer[2 + width : end])
            del self.buffer[:end]


def picture(size: int, is_key: bool) -> bytes:
    """A Cluster with one block, of about so many bytes, with the time in it."""
    stamp = time.monotonic_ns().to_bytes(STAMP)
    return cluster(block(key=is_key, content=stamp + bytes(size - 40)))


def stamp_of(frame: bytes) -> int:
    start = len(cluster(block(content=b""))) + 2
    return int.from_bytes(frame[start : start + STAMP])


class Streamer(threading.Thread):
    """Sends frames of `size` bytes, FRAMES in a second, until it is told to stop."""

    def __init__(self, port: int, stream: str, size: int) -> None:
        super().__init__(daemon=True)
        self.socket = handshake(port, f"/ws/streamer/{stream}/")
        self.size = size
        self.stopped = threading.Event()

    def send(self, payload: bytes) -> None:
        # Masked with zeros, which is nothing to do.
        length = len(payload).to_bytes(8)
        self.socket.sendall(b"\x82\xff" + length + bytes(4) + payload)

    def run(self) -> None:
        self.send(HEADER)
        next_at, number = time.monotonic(), 0
        while not self.stopped.is_set():
            self.send(picture(self.size, number % GROUP == 0))
            number += 1
            next_at += 1 / FRAMES
            time.sleep(max(next_at - time.monotonic(), 0))


class Newcomers(threading.Thread):
    """Join one after another, and note how long it took to a key frame: milliseconds."""

    def __init__(self, port: int, stream: str) -> None:
        super().__init__(daemon=True)
        self.port, self.stream = port, stream
        self.stopped = threading.Event()
        self.found: list[float] = []

    def run(self) -> None:
        while not self.stopped.wait(JOIN_SECONDS):
            started = time.monotonic()
            with handshake(self.port, f"/ws/listener/{self.stream}/") as connection:
                self._hear(connection)
            self.found.append((time.monotonic() - started) * 1000)

    @staticmethod
    def _hear(connection: socket.socket) -> None:
        frames, heard = Frames(), 0
        while heard < 2:
            data = connection.recv(65536)
            if not data:
                raise Failed("a newcomer was sent away")
            heard += len(list(frames.feed(data)))


class Listeners:
    """So many sockets in one loop. They count bytes; the first of them look at the time."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.number = 0
        self.bytes = 0
        self.latencies: list[float] = []
        self.closed = 0
        self.buffer = bytearray(1 << 20)

    def open(self, port: int, stream: str, number: int) -> None:
        while self.number < number:
            connection = handshake(port, f"/ws/listener/{stream}/")
            connection.setblocking(False)
            frames = Frames() if self.number < SAMPLE else None
            self.selector.register(connection, selectors.EVENT_READ, frames)
            self.number += 1
            if self.number % 50 == 0:
                self.hear(0.0)

    def hear(self, seconds: float) -> None:
        """Read for so long, and what is there by then."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            for key, _ in self.selector.select(max(left, 0)):
                self._read(key.fileobj, key.data)
            if left <= 0:
                return

    def _read(self, connection: socket.socket, frames: Frames | None) -> None:  # type: ignore[override]
        count = connection.recv_into(self.buffer)
        if not count:
            self.closed += 1
            self.selector.unregister(connection)
            return
        self.bytes += count
        if frames is not None:
            now = time.monotonic_ns()
            for frame in frames.feed(memoryview(self.buffer)[:count]):
                if frame != HEADER:
                    self.latencies.append((now - stamp_of(frame)) / 1e6)

    def close(self) -> None:
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self.selector.close()


class Figures(NamedTuple):
    listeners: int
    #: Megabytes in a second that came, and that should have.
    came: float
    due: float
    #: Shares of their core: the server's, the load's, what others took of both.
    server: float
    load: float
    others: float
    latencies: list[float]
    joins: list[float]

    def has_no_more(self) -> bool:
        late = quantile(self.latencies, 99) > LATE or self.came < 0.9 * self.due
        return late or self.server > BUSY or self.load > BUSY


@contextmanager
def started(cores: Cores) -> Iterator[tuple[Process, int]]:
    """A fresh server, and its port."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="broadcast-")))
        server = Broadcast(directory)
        server.prepare()
        server._manage("shell", "-c", MAKE_STREAM)
        port = free_port()
        process = stack.enter_context(
            running(
                server.command(port),
                cores=cores.server,
                directory=ROOT,
                environment=server.environment(),
                log=directory / "log",
            )
        )
        process.wait_until_accepting(port)
        time.sleep(SETTLE_SECONDS)
        yield process, port


def measure_stream(
    cores: Cores, stream: str, steps: Sequence[int], size: int, seconds: float
) -> Iterator[Figures]:
    """Figures for more and more listeners, up to those that are too many."""
    with started(cores) as (process, port):
        streamer = Streamer(port, stream, size)
        streamer.start()
        listeners = Listeners()
        try:
            for number in steps:
                listeners.open(port, stream, number)
                listeners.hear(WARMUP_SECONDS)
                figures = measure_step(cores, process, listeners, port, stream, size, seconds)
                yield figures
                if figures.has_no_more():
                    return
        finally:
            streamer.stopped.set()
            streamer.join()
            listeners.close()


def measure_step(
    cores: Cores,
    process: Process,
    listeners: Listeners,
    port: int,
    stream: str,
    size: int,
    seconds: float,
) -> Figures:
    newcomers = Newcomers(port, stream)
    listeners.latencies.clear()
    before, clocks = listeners.bytes, read_clocks(process, cores)
    newcomers.start()
    listeners.hear(seconds)
    elapsed, server, own, busy = (
        b - a for a, b in zip(clocks, read_clocks(process, cores), strict=True)
    )
    came = (listeners.bytes - before) / elapsed / 1e6
    newcomers.stopped.set()
    while newcomers.is_alive():
        listeners.hear(0.05)
    if listeners.closed:
        raise Failed(f"{listeners.closed} listeners were closed")
    due = listeners.number * len(picture(size, False)) * FRAMES / 1e6
    return Figures(
        *(listeners.number, came, due, server / elapsed, own / elapsed),
        *(max(busy - server - own, 0) / elapsed, list(listeners.latencies), newcomers.found),
    )


def read_clocks(process: Process, cores: Cores) -> tuple[float, float, float, float]:
    """Seconds that passed, and of CPU: the server's, our own, everybody's on the cores."""
    everybody = busy_seconds(cores.server | cores.load)
    return time.monotonic(), process.cpu_seconds(), time.process_time(), everybody


def quantile(values: list[float], percent: int) -> float:
    if len(values) < 2:
        return float("nan")
    return statistics.quantiles(values, n=100)[percent - 1]


def show(title: str, figures: Figures) -> None:
    joins = "–"
    if title == "media":
        joins = f"{quantile(figures.joins, 50):.0f} / {quantile(figures.joins, 99):.0f}"
    print(
        f"| {title} | {figures.listeners:,} | {figures.came:,.0f} of {figures.due:,.0f} "
        f"| {figures.server:.0%} | {figures.server / figures.listeners * 1e6:,.0f} "
        f"| {quantile(figures.latencies, 50):.1f} / {quantile(figures.latencies, 99):.1f} "
        f"| {joins} | {figures.load:.0%} | {figures.others:.0%} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--listeners", default="250,500,1000,2000,4000", help="how many, in turn")
    parser.add_argument("--rate", type=float, default=2, help="Mbit/s of the video")
    arguments = parser.parse_args()
    cores = choose_cores(shared=False)
    raise_file_limit()
    os.sched_setaffinity(0, cores.load)
    steps = [int(number) for number in arguments.listeners.split(",")]
    size = round(arguments.rate * 1e6 / 8 / FRAMES)
    print(f"{report.machine(cores)}\n")
    print(
        f"{arguments.rate:g} Mbit/s in {FRAMES} frames of {size:,} bytes a second\n\n"
        "| stream | listeners | MB/s | server | server's CPU, µs/s per listener "
        "| latency p50 / p99, ms | join to key frame p50 / p99, ms | load | others |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    for title, stream in (("media", "bench-media"), ("plain", Broadcast.stream)):
        for figures in measure_stream(cores, stream, steps, size, arguments.seconds):
            show(title, figures)


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"tests.bench.media: {failure}")
