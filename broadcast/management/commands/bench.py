"""`manage.py bench`: measure the running installation, from another process."""

import selectors
import socket
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError
from django.utils.crypto import get_random_string

from broadcast.models import Stream
from broadcast.wire.frames import frame_header

#: Digits at the start of a publication: its number, and the clock when it was sent, in µs.
NUMBER = 10
CLOCK = 16
#: Seconds for everything that is under way to arrive.
PATIENCE = 10.0

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Origin: http://{host}\r\n\r\n"
)


class Failed(Exception):
    """A measurement that cannot be made; the reason is for a person."""


class Hearing:
    """One plain listener: all frames have one size, so bytes tell how many have come."""

    def __init__(self, sock: socket.socket, size: int) -> None:
        self.socket = sock
        self.head = len(frame_header(1, size))
        self.frame = self.head + size
        self.received = 0
        self.tail = b""

    @property
    def heard(self) -> int:
        return self.received // self.frame

    def read(self, buffer: memoryview) -> bytes:
        """Read once; answers the newest whole publication of it, b"" for none."""
        count = self.socket.recv_into(buffer)
        if not count:
            raise Failed("the server closed a listener")
        before, self.received = self.heard, self.received + count
        # The newest whole frame ends where the rest of the next one begins.
        rest = self.received % self.frame
        data = self.tail + bytes(buffer[max(count - self.frame - rest, 0) : count])
        self.tail = data[-(self.frame + rest) :]
        if self.heard == before:
            return b""
        newest = data[len(data) - rest - self.frame + self.head : len(data) - rest]
        if int(newest[:NUMBER]) != self.heard:
            raise Failed(f"publication {self.heard} was lost or came twice")
        return newest


class Load:
    """A streamer and its listeners, in one thread."""

    def __init__(self, url: str, stream: str, size: int) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.host = parts.netloc
        self.stream = stream
        self.size = size
        self.selector = selectors.DefaultSelector()
        self.buffer = memoryview(bytearray(256 * 1024))
        self.listeners: list[Hearing] = []
        self.sent = 0
        self.delivered = 0
        self.latencies: list[float] = []

    def connect(self, path: str) -> socket.socket:
        try:
            sock = socket.create_connection(self.address, timeout=PATIENCE)
        except OSError as error:
            raise Failed(f"no server answers at {self.host}: {error}") from None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(HANDSHAKE.format(path=path, host=self.host).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            # A byte at a time: nothing of the first frame may be taken.
            byte = sock.recv(1)
            if not byte:
                raise Failed("the server closed a connection in its handshake")
            answer += byte
        if b" 101 " not in answer:
            raise Failed(f"the handshake was refused: {answer.splitlines()[0].decode()}")
        return sock

    def listen(self, listeners: int) -> None:
        for _ in range(listeners):
            sock = self.connect(f"/ws/listener/{self.stream}/")
            hearing = Hearing(sock, self.size)
            self.listeners.append(hearing)
            self.selector.register(sock, selectors.EVENT_READ, hearing)

    def stream_from_here(self) -> None:
        self.streamer = self.connect(f"/ws/streamer/{self.stream}/")

    def publish(self, count: int) -> None:
        """Send so many publications in one write. The mask is 0: masking them costs nothing."""
        length = self.size
        header = bytearray(frame_header(1, length) + b"\0\0\0\0")
        header[1] |= 0x80
        clock = b"%0*d" % (CLOCK, time.perf_counter_ns() // 1000)
        frames = []
        for number in range(self.sent + 1, self.sent + count + 1):
            frames.append(bytes(header) + (b"%0*d" % (NUMBER, number) + clock).ljust(length, b"x"))
        self.sent += count
        self.streamer.sendall(b"".join(frames))

    def receive(self, timeout: float) -> None:
        for key, _ in self.selector.select(timeout):
            hearing: Hearing = key.data
            before = hearing.heard
            newest = hearing.read(self.buffer)
            self.delivered += hearing.heard - before
            if newest:
                sent_at = int(newest[NUMBER : NUMBER + CLOCK])
                self.latencies.append(time.perf_counter_ns() / 1000 - sent_at)

    def settle(self) -> None:
        """Wait until everything that was sent has arrived."""
        deadline = time.monotonic() + PATIENCE
        while self.delivered < self.sent * len(self.listeners):
            if time.monotonic() > deadline:
                missing = self.sent * len(self.listeners) - self.delivered
                raise Failed(f"{missing} deliveries did not arrive within {PATIENCE:g} s")
            self.receive(0.1)

    def close(self) -> None:
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self.selector.close()
        if hasattr(self, "streamer"):
            self.streamer.close()


def flood(load: Load, seconds: float, window: int) -> tuple[float, float]:
    """Publish as fast as it goes, `window` outstanding; answers deliveries/s, publications/s."""
    listeners = len(load.listeners)
    load.publish(1)
    load.settle()
    started, published, delivered = time.perf_counter(), load.sent, load.delivered
    while time.perf_counter() - started < seconds:
        room = window - (load.sent - load.delivered // listeners)
        if room > 0:
            load.publish(room)
        load.receive(1)
    load.settle()
    took = time.perf_counter() - started
    return (load.delivered - delivered) / took, (load.sent - published) / took


def paced(load: Load, seconds: float, rate: float) -> tuple[float, float]:
    """Publish `rate` times a second; answers the latency's p50 and p99 in ms."""
    load.publish(1)
    load.settle()
    load.latencies.clear()
    following = time.perf_counter()
    ends = following + seconds
    while following < ends:
        load.publish(1)
        following += 1 / rate
        while (left := following - time.perf_counter()) > 0:
            load.receive(left)
    load.settle()
    ordered = sorted(load.latencies)
    return ordered[len(ordered) // 2] / 1000, ordered[len(ordered) * 99 // 100] / 1000


class Command(BaseCommand):
    help = (
        "Measure the running installation: joins, deliveries per second with everything lost "
        "counted, and latency. The load runs in this process; on a machine of several cores give "
        "the server one of its own (taskset). Makes a stream for it, and deletes it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server")
        parser.add_argument("--listeners", type=int, default=500)
        parser.add_argument("--size", type=int, default=128, help="bytes of a publication")
        parser.add_argument("--window", type=int, default=64, help="publications outstanding")
        parser.add_argument("--rate", type=float, default=20, help="publications/s for latency")
        parser.add_argument("--seconds", type=float, default=5, help="seconds of a measurement")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["size"] < NUMBER + CLOCK:
            raise CommandError(f"--size is at least {NUMBER + CLOCK}")
        if min(options[name] for name in ("listeners", "window", "rate", "seconds")) <= 0:
            raise CommandError("--listeners, --window, --rate and --seconds are more than 0")
        try:
            with self.stream() as slug:
                self.measure(slug, options)
        except (Failed, OSError) as error:
            raise CommandError(str(error)) from None

    @contextmanager
    def stream(self) -> Iterator[str]:
        stream = Stream.objects.create(
            slug=f"bench-{get_random_string(8).lower()}",
            title="Benchmark",
            visibility=Stream.Visibility.UNLISTED,
            publishing=Stream.Publishing.ANYONE,
        )
        try:
            yield stream.slug
        finally:
            stream.delete()

    def measure(self, slug: str, options: dict[str, Any]) -> None:
        load = Load(options["url"], slug, options["size"])
        try:
            load.stream_from_here()
            started = time.perf_counter()
            load.listen(options["listeners"])
            joins = options["listeners"] / (time.perf_counter() - started)
            self.stdout.write(f"{'joins/s, one after another':32}{joins:14,.0f}")
            deliveries, publications = flood(load, options["seconds"], options["window"])
            self.stdout.write(f"{'deliveries/s':32}{deliveries:14,.0f}")
            self.stdout.write(f"{'publications/s':32}{publications:14,.0f}")
            p50, p99 = paced(load, options["seconds"], options["rate"])
            self.stdout.write(f"{'latency p50 / p99, ms':32}{p50:14.1f} / {p99:.1f}")
            self.stdout.write("Every publication arrived at every listener, once and in order.")
        finally:
            load.close()
