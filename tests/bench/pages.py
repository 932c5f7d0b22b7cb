"""Page sockets on this machine: prints Markdown, asserts nothing.

python -m tests.bench.pages [--seconds 4] [--repeat 3]

The server runs on one core, the load on another. Calls: the same view by HTTP keep-alive and
through page sockets, on as many connections, each with one call under way. Pushes: 500 pages that
are each subscribed to 10 channels, and beside them 500 plain listeners of one stream, in turn, with
publications of 128 bytes and equally many of them outstanding. Every socket must in the end have
got exactly the bytes that all publications make, and one of them is read message by message.
Memory: what the server grows by while 500 more pages open their sockets, each of a visitor of its
own, and stay until it has looked at them a few times.
"""

import argparse
import base64
import json
import os
import re
import selectors
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

from tests.rig.raw import TEXT, frame

from . import report
from .__main__ import choose_cores
from .measuring import Cores
from .processes import Failed
from .rpc import clocks, started

PAGES, CHANNELS = 500, 10
SIZE, WARMUP_SECONDS = 128, 1.0
#: Channels of the pages whose memory is measured, and seconds in which the server looks at them.
HEARD, LOOK_SECONDS = (10, 30), 10
#: Calls under way, and publications outstanding.
CALLERS, WINDOWS = (1, 8), (64, 640)
VIEW = "/api/streams/bench/"
URLS = {"DJANGO_SETTINGS_MODULE": "tests.settings", "ROOT_URLCONF": "tests.rig.page_views"}


class Figures(NamedTuple):
    rate: float
    #: CPU of the server for each, and its share of its core; the share of both that others took.
    microseconds: float
    server: float
    others: float


class Measurement:
    """What happens between `begin` and `end`, with the processors' clocks."""

    def __init__(self, process: Any, cores: Cores) -> None:
        self.process, self.cores = process, cores

    def run(self, work: Callable[[float], int], seconds: float) -> Figures:
        """`work` is done for so many seconds, and answers how often something happened."""
        work(WARMUP_SECONDS)
        before = clocks(self.process, self.cores)
        number = work(seconds)
        after = clocks(self.process, self.cores)
        elapsed, server, own, busy = (b - a for a, b in zip(before, after, strict=True))
        others = max(busy - server - own, 0) / elapsed
        return Figures(number / elapsed, server / number * 1e6, server / elapsed, others)


# -- sockets ---------------------------------------------------------------------------------------


def opened(port: int, path: str, cookie: str = "") -> socket.socket:
    """A WebSocket that nothing has been read from yet but the handshake."""
    made = socket.create_connection(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    made.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Cookie: {cookie}\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += made.recv(1)
    if b" 101 " not in answer.split(b"\r\n")[0]:
        raise Failed(answer.decode())
    return made


class Visit(NamedTuple):
    """A page that was opened, and what its socket is opened with."""

    path: str
    cookie: str


def visit(port: int, channels: list[str]) -> Visit:
    """A page that hears the channels."""
    query = "&".join(f"subscribe={channel}" for channel in channels)
    with urlopen(Request(f"http://127.0.0.1:{port}/page/?{query}")) as answer:
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        found = re.search(rb'connection-id="(\w+)"', answer.read())
    if not found:
        raise Failed("the page has no connection id")
    return Visit(f"/ws/socket/?socket_connection_id={found[1].decode()}", cookie)


def subscribed(port: int, page: Visit) -> socket.socket:
    """The page's socket, which hears its channels."""
    made = opened(port, *page)
    made.sendall(frame(TEXT, b'{"id":1,"action":"ping"}'))
    if b"pong" not in made.recv(4096):
        raise Failed("the page's socket does not answer")
    return made


def payload_at(data: bytes, at: int) -> tuple[bytes, int]:
    """The payload of the server's frame at `at`, and where the next one begins."""
    length = data[at + 1]
    start = at + 2
    if length == 126:
        start, length = at + 4, int.from_bytes(data[at + 2 : at + 4], "big")
    return data[start : start + length], start + length


# -- calls -----------------------------------------------------------------------------------------


def by_http(port: int) -> tuple[socket.socket, bytes, bytes]:
    """A connection, what to say, and what its answers end with."""
    made = socket.create_connection(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made, f"GET {VIEW} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode(), b"}"


def by_socket(port: int) -> tuple[socket.socket, bytes, bytes]:
    call = {"id": 1, "action": "call-route", "method": "GET", "uri": VIEW}
    return (
        subscribed(port, visit(port, ["bench"])),
        frame(TEXT, json.dumps(call).encode()),
        b'"id":1}',
    )


def measure_calls(cores: Cores, door: Any, number: int, seconds: float) -> Figures:
    with started(cores, **URLS) as (process, _, port, _), selectors.DefaultSelector() as selector:
        for _ in range(number):
            connection, call, end = door(port)
            selector.register(connection, selectors.EVENT_READ, (call, end, bytearray()))

        def work(seconds: float) -> int:
            return call_for(selector, seconds)

        return Measurement(process, cores).run(work, seconds)


def call_for(selector: selectors.BaseSelector, seconds: float) -> int:
    """Keep one call under way on each connection; answers how many were answered."""
    connections = list(selector.get_map().values())
    for key in connections:
        key.fileobj.sendall(key.data[0])  # type: ignore[union-attr]
    answered, waiting, end = 0, len(connections), time.monotonic() + seconds
    while waiting:
        for key, _ in selector.select(10):
            call, ending, buffer = key.data
            buffer += key.fileobj.recv(65536)  # type: ignore[union-attr]
            if not buffer.endswith(ending):
                continue
            if b'"slug":"bench"' not in buffer.replace(b"\\", b"").replace(b" ", b""):
                raise Failed(buffer.decode())
            buffer.clear()
            answered += 1
            if time.monotonic() < end:
                key.fileobj.sendall(call)  # type: ignore[union-attr]
            else:
                waiting -= 1
    return answered


# -- pushes ----------------------------------------------------------------------------------------


class Crowd:
    """Sockets that hear, and streamers that publish while less than a window is outstanding."""

    def __init__(self, port: int, hearing: list[socket.socket], slugs: list[str]) -> None:
        self.hearing, self.slugs = hearing, slugs
        self.streamers = [opened(port, f"/ws/streamer/{slug}/") for slug in slugs]
        self.sent = 0
        #: Bytes of one publication as it comes, known when the first one has come.
        self.size = 0
        self.received = dict.fromkeys(hearing, 0)
        self.first = bytearray()
        self.buffer = bytearray(256 * 1024)
        self.selector = selectors.DefaultSelector()
        for made in hearing:
            made.setblocking(False)
            self.selector.register(made, selectors.EVENT_READ)

    @property
    def outstanding(self) -> float:
        """Publications that are to come, on average over those who hear."""
        if not self.size:
            return self.sent
        return self.sent - sum(self.received.values()) / self.size / len(self.hearing)

    def publish(self, window: int) -> None:
        room = int(window - self.outstanding)
        if room * 4 < window:
            return
        for turn, streamer in enumerate(self.streamers):
            numbers = range(self.sent, self.sent + room)
            own = [one for one in numbers if one % len(self.streamers) == turn]
            if own:
                streamer.sendall(b"".join(frame(TEXT, b"%0*d" % (SIZE, one)) for one in own))
        self.sent += room

    def hear(self) -> None:
        for key, _ in self.selector.select(1):
            made = key.fileobj
            size = made.recv_into(self.buffer)  # type: ignore[union-attr]
            self.received[made] += size  # type: ignore[index]
            if made is self.hearing[0]:
                self.first += self.buffer[:size]
                if not self.size:
                    self.size = payload_at(self.first, 0)[1]

    def work(self, seconds: float, window: int) -> int:
        """Answers how many publications were delivered, to all sockets together."""
        before, end = sum(self.received.values()), time.monotonic() + seconds
        while time.monotonic() < end:
            self.publish(window)
            self.hear()
        return (sum(self.received.values()) - before) // self.size

    def finish(self, number: Callable[[bytes], int]) -> None:
        """Failed: somebody did not get everything, once; or the first one not in order."""
        while self.outstanding:
            self.hear()
        if set(self.received.values()) != {self.sent * self.size}:
            raise Failed("somebody got more or less than was published")
        at, last = 0, [-1] * len(self.slugs)
        for _ in range(self.sent):
            payload, at = payload_at(self.first, at)
            one = number(payload)
            if one != (last[one % len(last)] + len(last) if last[one % len(last)] >= 0 else one):
                raise Failed(f"{one} came after {last[one % len(last)]}")
            last[one % len(last)] = one


def listeners(port: int) -> Crowd:
    made = [opened(port, "/ws/listener/bench/") for _ in range(PAGES)]
    return Crowd(port, made, ["bench"])


def pages(port: int) -> Crowd:
    slugs = [f"bench-{number:03d}" for number in range(CHANNELS)]
    # All pages first: a server sends pings to sockets that have been open for long.
    visits = [visit(port, slugs) for _ in range(PAGES)]
    return Crowd(port, [subscribed(port, page) for page in visits], slugs)


def number_of_page(payload: bytes) -> int:
    return int(json.loads(payload)["payload"])


def measure_pushes(cores: Cores, kind: Any, window: int, seconds: float) -> Figures:
    with started(cores, **URLS) as (process, _, port, _):
        crowd = kind(port)

        def work(seconds: float) -> int:
            return int(crowd.work(seconds, window))

        figures = Measurement(process, cores).run(work, seconds)
        crowd.finish(int if kind is listeners else number_of_page)
    return figures


# -- memory ----------------------------------------------------------------------------------------


def measure_memory(cores: Cores, channels: int) -> float:
    """KiB of the server for each open page that hears so many channels."""
    slugs = [f"bench-{number:03d}" for number in range(channels)]
    with started(cores, **URLS) as (process, _, port, _):
        visits = [visit(port, slugs) for _ in range(2 * PAGES)]
        # What the first ones need that the others share is not counted.
        opened = [subscribed(port, page) for page in visits[:PAGES]]
        time.sleep(LOOK_SECONDS)
        before = process.memory()
        opened += [subscribed(port, page) for page in visits[PAGES:]]
        time.sleep(LOOK_SECONDS)
        grown = process.memory() - before
        for made in opened:
            made.close()
    return grown / PAGES / 1024


# -- the report ------------------------------------------------------------------------------------


def compare(title: str, kinds: dict[str, Callable[[], Figures]], repeat: int) -> None:
    """Measure the kinds in turn, and print the medians; ratios are of the first kind's."""
    found: dict[str, list[Figures]] = {name: [] for name in kinds}
    for _ in range(repeat):
        for name, measure in kinds.items():
            found[name].append(measure())
    base = 0.0
    for name, of_kind in found.items():
        rates = sorted(one.rate for one in of_kind)
        median = sorted(of_kind)[len(of_kind) // 2]
        base = base or median.rate
        print(
            f"| {title}, {name} | {median.rate:,.0f} | {rates[0]:,.0f} – {rates[-1]:,.0f} "
            f"| {median.rate / base:.2f} | {median.microseconds:,.1f} | {median.server:.0%} "
            f"| {max(one.others for one in of_kind):.0%} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each")
    arguments = parser.parse_args()
    cores = choose_cores(shared=False)
    os.sched_setaffinity(0, cores.load)
    print(f"{report.machine(cores)}\n")
    print("| what | per second | of all runs | ratio | CPU µs | server | others |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for number in CALLERS:
        ways = {
            name: partial(measure_calls, cores, door, number, arguments.seconds)
            for name, door in {"by HTTP": by_http, "by socket": by_socket}.items()
        }
        compare(f"calls, {number} at a time", ways, arguments.repeat)
    for window in WINDOWS:
        ways = {
            name: partial(measure_pushes, cores, kind, window, arguments.seconds)
            for name, kind in {"to listeners": listeners, "to pages": pages}.items()
        }
        compare(f"deliveries, {window} outstanding", ways, arguments.repeat)
    print("\n| an open page that hears | KiB | of all runs |\n|---|---:|---:|")
    for channels in HEARD:
        found = sorted(measure_memory(cores, channels) for _ in range(arguments.repeat))
        spread = f"{found[0]:,.0f} – {found[-1]:,.0f}"
        print(f"| {channels} channels | {found[len(found) // 2]:,.1f} | {spread} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"tests.bench.pages: {failure}")
